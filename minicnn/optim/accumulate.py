"""Accumulate: large batches in several parts, where one would not fit into memory."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.backends.protocol import Operations
from minicnn.checks import as_int, require_entries
from minicnn.optim.optimizer import Optimizer, Setting
from minicnn.plain import Array


def _at_least_one(value: object, what: str) -> int:
    return as_int(value, what, 1)


class Accumulate(Optimizer):
    """Another optimiser's step once in `every` steps, with the mean of all their gradients.

        total = total + grad
        every `every` steps: the optimiser's step with total / every, and total = 0

    So 4 batches of 8 images are learnt from like one of 32, but that batchnorm takes the statistics of 8. The learning
    rate and the other settings are the optimiser's, and are set here as there; a schedule is made for this one. What is
    added up when an epoch ends goes on in the next, and is part of a checkpoint.

    Args:
        optimizer: that makes the steps; from now on step this one instead.
        every: how many gradients make one step, at least 1.

    Raises ValueError for `every` below 1, TypeError for something else than an optimiser, or one on a device.
    """

    every = Setting(_at_least_one)

    def __init__(self, optimizer: Optimizer, every: int) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"Accumulate: expected an optimiser, got {type(optimizer).__name__}")
        vars(self)["inner"] = optimizer
        self.every, self.steps = every, 0
        self.network = optimizer.network
        self.slots, self.settings = (*optimizer.slots, "total"), (*optimizer.settings, "every")
        totals = {name: np.zeros_like(layer.params[key]) for name, layer, key in optimizer.network.named_params()}
        if not all(isinstance(total, np.ndarray) for total in totals.values()):
            raise TypeError('Accumulate: expected a network on "cpu" or "reference", got one on a device')
        self.state = optimizer.state | {"total": totals}
        self._separate = []

    @property
    def lr(self) -> float:  # type: ignore[override]
        return self.inner.lr

    @property
    def weight_decay(self) -> float:  # type: ignore[override]
        return self.inner.weight_decay

    @property
    def decay_vectors(self) -> bool:  # type: ignore[override]
        return self.inner.decay_vectors

    def __getattr__(self, name: str) -> Any:
        """The optimiser's own settings, such as betas."""
        inner = vars(self).get("inner")
        if inner is None or name not in inner.settings:
            raise AttributeError(f"Accumulate has no attribute {name!r}")
        return getattr(inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.inner.settings:
            setattr(self.inner, name, value)
        else:
            super().__setattr__(name, value)

    def __copy__(self) -> "Accumulate":
        """One with an optimiser of its own, whose settings may be set without changing the first."""
        other = type(self).__new__(type(self))
        vars(other).update(vars(self) | {"inner": copy.copy(self.inner)})
        return other

    def stays_finite(self, gradient_norm: float) -> bool:
        return self.inner.stays_finite(gradient_norm)

    def state_dict(self) -> tuple[dict[str, Array], dict[str, Any]]:
        arrays, settings = super().state_dict()
        return arrays, settings | {"inner": type(self.inner).__name__}

    def checked_state(self, arrays: Any, settings: Any) -> tuple[dict[str, Array], dict[str, Any]]:
        what, mine = "Accumulate.load_state_dict", type(self.inner).__name__
        require_entries(settings, ("class",), what)
        if settings["class"] == "Accumulate" and settings.get("inner") != mine:
            raise ValueError(f"{what}: expected the state of {mine}, got that of {settings.get('inner')!s:.200}")
        return super().checked_state(arrays, settings)

    def _is_sound(self, slot: str, array: Array) -> bool:
        return super()._is_sound(slot, array) if slot == "total" else self.inner._is_sound(slot, array)

    def _update(
        self,
        ops: Operations,
        params: Sequence[Array],
        slots: Sequence[Sequence[Array]],
        grads: Sequence[Array],
        weight_decay: float,
    ) -> None:
        *inner_slots, totals = slots
        for total, grad in zip(totals, grads, strict=True):
            total += grad
        if self.steps % self.every:
            return
        for total in totals:
            total /= self.every
        self.inner.steps = self.steps // self.every
        self.inner._update(ops, params, inner_slots, totals, weight_decay)
        for total in totals:
            total[...] = 0
