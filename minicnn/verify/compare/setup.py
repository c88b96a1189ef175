"""What both sides are asked to do: one batch, one loss, one step of one optimiser.

Loss and optimiser are given to the other side as a `Spec`, a name and settings that minicnn and PyTorch have in common.
So a loss or an optimiser of one's own, a subclass of minicnn's, is held against the one that it inherits from.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from minicnn import losses, optim
from minicnn.backends import get_backend
from minicnn.checks import as_floats, refuse_images
from minicnn.layers import Flatten
from minicnn.network import Sequential
from minicnn.optim import Optimizer
from minicnn.plain import Array

ClassificationLoss: TypeAlias = losses.CrossEntropyLoss | losses.NLLLoss
T = TypeVar("T")

LOSSES: tuple[type[ClassificationLoss], ...] = (losses.CrossEntropyLoss, losses.NLLLoss)
# AdamW before Adam, from which it inherits.
OPTIMIZERS: tuple[type[Optimizer], ...] = (optim.SGD, optim.AdamW, optim.Adam)


class Spec(NamedTuple):
    """A loss or an optimiser: the name of its class and its settings, as JSON can hold them."""

    name: str
    settings: dict[str, Any]


class Setup(NamedTuple):
    """x (N, …) and labels (N,) int64; whether in training mode; the loss and the optimiser."""

    x: Array
    labels: Array
    training: bool
    loss: Spec
    optimizer: Spec


def as_batch(x: Array, y: ArrayLike, who: str) -> tuple[Array, Array]:
    """x as an array (N, …) of floats and y as labels (N,) int64, both copies."""
    refuse_images(x, f"{who}: x")
    x = np.array(as_floats(get_backend("reference"), x, f"{who}: x"))
    if x.ndim < 2 or not x.size:
        raise ValueError(f"{who}: expected x of shape (N, …) with at least one element, got shape {x.shape}")
    labels = np.asarray(y)
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != (len(x),):
        raise ValueError(
            f"{who}: expected y as {len(x)} integer labels, one for each of the {len(x)} images of x, "
            f"got dtype {labels.dtype} of shape {labels.shape}"
        )
    return x, labels.astype(np.int64)


def loss_spec(loss: object, who: str) -> Spec:
    """The `Spec` of a loss object. Raises TypeError for one that PyTorch has no counterpart for."""
    for kind in LOSSES:
        if isinstance(loss, kind):
            settings: dict[str, Any] = {"weight": None if loss.weight is None else loss.weight.tolist()}
            if isinstance(loss, losses.CrossEntropyLoss):
                settings["label_smoothing"] = loss.label_smoothing
            standard = kind()  # recordings that were made before there were these have only what is not standard
            for name in ("ignore_index", "reduction"):
                if getattr(loss, name) != getattr(standard, name):
                    settings[name] = getattr(loss, name)
            return Spec(kind.__name__, settings)
    raise TypeError(
        f"{who}: expected CrossEntropyLoss(), NLLLoss() or one of your own that inherits from one of them, got {loss!r}"
    )


def made_loss(spec: Spec) -> ClassificationLoss:
    """minicnn's own loss of a `Spec`."""
    settings = dict(spec.settings)
    if settings["weight"] is not None:
        settings["weight"] = np.array(settings["weight"], np.float64)
    return _named(spec.name, LOSSES)(**settings)


def optimizer_spec(optimizer: object, who: str) -> Spec:
    """The `Spec` of an optimiser object. Raises TypeError for one that PyTorch has no counterpart for."""
    for kind in OPTIMIZERS:
        if isinstance(optimizer, kind):
            settings = {name: getattr(optimizer, name) for name in kind.settings}
            if settings["decay_vectors"]:
                del settings["decay_vectors"]  # as before, which earlier recordings do not name
            return Spec(kind.__name__, {n: list(v) if isinstance(v, tuple) else v for n, v in settings.items()})
    names = ", ".join(kind.__name__ for kind in OPTIMIZERS)
    raise TypeError(
        f"{who}: expected as optimizer {names} or a class of your own that inherits from one of them, called with a "
        f"network and lr; got one that makes {type(optimizer).__name__}"
    )


def made_optimizer(spec: Spec, network: Sequential) -> Optimizer:
    """minicnn's own optimiser of a `Spec`."""
    return _named(spec.name, OPTIMIZERS)(network, **spec.settings)


def _named(name: str, kinds: tuple[type[T], ...]) -> type[T]:
    """The class of that name, which may come from a file. Raises KeyError."""
    return {kind.__name__: kind for kind in kinds}[name]


def spec_without_network(optimizer: Callable[[Sequential, float], Optimizer], lr: float, who: str) -> Spec:
    """The `Spec` of what `optimizer(network, lr)` makes, where there is no network yet."""
    return optimizer_spec(optimizer(Sequential(Flatten()), lr), who)
