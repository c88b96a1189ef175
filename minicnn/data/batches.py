"""Batches: a set of labelled images, a few at a time, in an order that can be resumed."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minicnn.checks import as_count, as_int, as_plain, require_entries
from minicnn.data.order import share_of
from minicnn.images import Images
from minicnn.plain import Array, as_plain_array


class Batches:
    """Iterate over images and labels, `batch_size` at a time; each `for` loop is one epoch.

    Args:
        images: array whose first axis counts images, (N, C, H, W); or an `Images`, or a list of arrays (C, H, W), of
            which the batches are `Images`.
        labels: array (N,).
        batch_size: how many; the last batch is smaller where N does not divide by it.
        shuffle: whether each epoch has a new random order.
        rng: a numpy Generator or a seed for the order; needed to repeat a run.

    Raises:
        ValueError: no images, or another number of labels than of images; what `Images` raises for the list.

    `state_dict()` says where in which epoch the iteration stands; after `load_state_dict` the next `for` loop goes
    on from there, through the same batches as the run that was saved. `batches_in(epochs)` says how many batches come.

    >>> batches = Batches(np.arange(5), np.arange(5), batch_size=2)
    >>> [x.tolist() for x, y in batches]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        images: ArrayLike | Images | list[Array],
        labels: ArrayLike,
        batch_size: int,
        shuffle: bool = False,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        if isinstance(images, list) and images:
            images = Images(images)
        self.images: Array | Images = (
            images if isinstance(images, Images) else as_plain_array(images, "Batches: images")
        )
        self.labels = as_plain_array(labels, "Batches: labels")
        self.batch_size = as_int(batch_size, "Batches: batch_size", 1)
        if not len(self.images):
            raise ValueError("Batches: expected at least one image, got none")
        if len(self.images) != len(self.labels):
            raise ValueError(f"Batches: expected {len(self.images)} labels, one an image, got {len(self.labels)}")
        self.shuffle = bool(shuffle)
        self._rng = np.random.default_rng(rng)
        self._epoch_start = self._rng.bit_generator.state  # from here the epoch's order can be drawn again
        self._position = 0  # batches of this epoch that were handed out
        self._resume_at = 0

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.images) // self.batch_size)

    def batches_in(self, epochs: int) -> int:
        """How many batches the next `epochs` loops give; the first may be the rest of an epoch that was begun.

        Raises TypeError or ValueError for a number of epochs that is no integer of at least 0.
        """
        epochs = as_int(epochs, "Batches.batches_in: epochs", 0)
        return epochs * len(self) - (self._resume_at if epochs else 0)

    def __iter__(self) -> Iterator[tuple[Any, Array]]:
        return self.share(0, 1)

    def share(self, rank: int, size: int) -> Iterator[tuple[Any, Array]]:
        """An epoch, but of each batch only the share of process `rank` of `size`: (None, no labels) if it has none."""
        self._epoch_start = self._rng.bit_generator.state
        order = self._rng.permutation(len(self.images)) if self.shuffle else np.arange(len(self.images))
        first, self._resume_at = self._resume_at, 0
        for position in range(first, len(self)):
            chosen = share_of(order[position * self.batch_size : (position + 1) * self.batch_size], rank, size)
            self._position = position + 1
            yield self.images[chosen] if len(chosen) else None, self.labels[chosen]
        self._epoch_start, self._position = self._rng.bit_generator.state, 0

    def state_dict(self) -> dict[str, Any]:
        """The random state at the start of this epoch, and how many of its batches were handed out."""
        return {
            "images": len(self.images),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "rng": as_plain(self._epoch_start),
            "position": self._position,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state` at the next `for` loop.

        Raises ValueError, and changes nothing, where `state` belongs to another number of images, batch size, or
        order, or is damaged.
        """
        mine, what = self.state_dict(), "Batches.load_state_dict"
        require_entries(state, mine, what)
        for key in ("images", "batch_size", "shuffle"):
            if state[key] != mine[key]:
                raise ValueError(f"{what}: expected {key} {state[key]} as in the run saved, got {mine[key]}")
        position = as_count(state["position"], f"{what}: position", len(self))
        rng = as_plain(state["rng"])
        _require_state_of(self._rng.bit_generator, rng, f"{what}: rng")
        self._rng.bit_generator.state = self._epoch_start = rng
        self._position = self._resume_at = position


def _require_state_of(bit_generator: np.random.BitGenerator, state: Any, what: str) -> None:
    """Raise ValueError where `state` is none of this kind of bit generator."""
    name, trial = type(bit_generator).__name__, type(bit_generator)()
    try:
        trial.state = state
        taken = as_plain(trial.state) == state
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{what}: expected the state of a {name}, got another's or a damaged one: {error}") from error
    # NumPy does not check that the position is within its buffer, and would read beyond it.
    bounds = [(trial.state.get("has_uint32", 0), 1)]
    if name == "MT19937":
        bounds.append((trial.state["state"]["pos"], len(trial.state["state"]["key"])))
    if name == "Philox":
        bounds.append((trial.state["buffer_pos"], len(trial.state["buffer"])))
    if not (taken and all(0 <= number <= most for number, most in bounds)):
        raise ValueError(f"{what}: expected the state of a {name}, got a damaged one")
