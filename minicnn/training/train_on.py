"""Training on from a given network: another number of classes, frozen layers, and the weights that fit.

network = minicnn.replace_head(minicnn.load("pets.safetensors"), num_classes=3)
trained = minicnn.freeze(network, "conv1", "bn1")           # all but these
trainer = minicnn.Trainer(network, loss, minicnn.Adam(trained, lr=1e-3))
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicnn.checks import as_int
from minicnn.layers import Conv2d, Layer, Linear
from minicnn.layers.initialisation import as_generator
from minicnn.network import Sequential
from minicnn.residual import SHORTCUT, Residual
from minicnn.training.checkpoint import read_weights, require_finite


class Loaded(NamedTuple):
    """What `load_matching` did, by names of arrays.

    loaded: taken over.
    missing: of the network, which the file has not; they stay as they were.
    unexpected: of the file, which the network has not.
    misshapen: {name: (shape in the network, shape in the file)}; they stay as they were.
    """

    loaded: list[str]
    missing: list[str]
    unexpected: list[str]
    misshapen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} of {len(self.loaded) + len(self.missing) + len(self.misshapen)} arrays loaded"]
        if self.missing:
            lines.append(f"not in the file, as they were: {', '.join(self.missing)}")
        if self.unexpected:
            lines.append(f"not in the network: {', '.join(self.unexpected)}")
        lines += [
            f"of another shape, as it was: {name}, {mine} and not {theirs}"
            for name, (mine, theirs) in self.misshapen.items()
        ]
        return "\n".join(lines)


def load_matching(network: Sequential, path: str | Path) -> Loaded:
    """Take over the arrays of a file whose names and shapes the network has, and leave the others as they are.

    Args:
        network: of any layers.
        path: a file of `save_weights`, `save`, a `Classifier` or PyTorch, as for `load_weights`.

    Returns a `Loaded`; `print` says it in words.

    Raises FileNotFoundError; ValueError where the file is damaged, has NaN or infinity, or nothing in it fits. The
    network is then as it was.
    """
    arrays = read_weights(path)
    require_finite(arrays, path)
    mine = network.state_dict()
    misshapen = {
        name: (mine[name].shape, arrays[name].shape)
        for name in mine
        if name in arrays and mine[name].shape != arrays[name].shape
    }
    fitting = {name: arrays[name] for name in mine if name in arrays and name not in misshapen}
    if not fitting:
        raise ValueError(
            f"load_matching: expected arrays of this network's names and shapes in {path}, got none; the network has "
            f"{', '.join(mine)}, the file {', '.join(arrays)}"
        )
    try:
        network.load_state_dict(mine | fitting)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    missing = [name for name in mine if name not in arrays]
    return Loaded(list(fitting), missing, [name for name in arrays if name not in mine], misshapen)


def replace_head(network: Sequential, num_classes: int, rng: np.random.Generator | int | None = None) -> Sequential:
    """A copy of the network whose last Linear or Conv2d is a new one with `num_classes` outputs.

    Args:
        network: it stays as it is.
        num_classes: K, at least 1.
        rng: a Generator or a seed for the first weights of the new layer.

    Raises ValueError where there is no such layer, or it is part of a `Residual`, whose sum needs the channels it has.
    """
    as_int(num_classes, "replace_head: num_classes", 1)
    network = copy.deepcopy(network)
    last = None
    for parent, name, layer, is_in_a_sum in _places(network):
        if isinstance(layer, (Linear, Conv2d)):
            last = parent, name, layer, is_in_a_sum
    if last is None:
        raise ValueError("replace_head: expected a network with a Linear or a Conv2d at its end, got neither")
    parent, name, old, is_in_a_sum = last
    if is_in_a_sum:
        raise ValueError(
            f"replace_head: expected a Linear or a Conv2d behind the last Residual, got {name} within it, whose "
            "outputs are added to others; end the network with a Linear of its own"
        )
    bias, rng = "bias" in old.params, as_generator(rng)
    new: Layer
    if isinstance(old, Linear):
        new = Linear(old.in_features, num_classes, bias, rng)
    else:
        settings = old.kernel_size, old.stride, old.padding, old.dilation, 1
        new = Conv2d(old.in_channels, num_classes, *settings, bias, rng)
    backend = getattr(old.ops, "backend", old.ops).__name__.rpartition(".")[2]  # of functions given to `use`, too
    parent.children[name] = new.to(backend, old.params["weight"].dtype)
    return network


def freeze(network: Sequential, *names: str) -> Sequential:
    """The layers that are still trained where those called `names` are not: what an optimiser is made of.

    The layers are the network's own. Frozen batchnorms are switched to evaluation mode, so that their statistics stay,
    too; `network.train()` would switch them back. Backward still passes through frozen layers and fills their `grads`,
    which nobody uses.

    Args:
        network: that will be trained.
        names: of children, dotted where they are nested; a network's name stands for all its layers.

    Raises ValueError for an unknown name, or where nothing is left to train.

    >>> network = Sequential(a=Linear(2, 2), b=Linear(2, 1))
    >>> list(freeze(network, "a").state_dict())
    ['b.weight', 'b.bias']
    """
    for name in names:
        try:
            network[name].eval()
        except KeyError as error:
            raise ValueError(f"freeze: {error.args[0]}") from None
    trained = _without(network, set(names), "")
    if not any(layer.params for layer in trained.values()) and not any(
        list(layer.named_params()) for layer in trained.values() if isinstance(layer, Sequential)
    ):
        raise ValueError("freeze: expected layers that are left to train, got none")
    return Sequential(**trained)


def _without(network: Sequential, names: set[str], prefix: str) -> dict[str, Layer]:
    kept: dict[str, Layer] = {}
    for name, child in network.children.items():
        if f"{prefix}{name}" in names:
            continue
        if not isinstance(child, Sequential):
            kept[name] = child
        elif inner := _without(child, names, f"{prefix}{name}."):
            # Where all of f is frozen, what is left of a Residual is its shortcut, and no sum.
            is_a_sum = isinstance(child, Residual) and inner.keys() != {SHORTCUT}
            kept[name] = Residual(**inner) if is_a_sum else Sequential(**inner)
    return kept


def _places(network: Sequential, is_in_a_sum: bool = False) -> Iterator[tuple[Sequential, str, Any, bool]]:
    """(its network, its name there, layer, whether it is in a `Residual`) of every layer that is no network, in forward
    order."""
    is_in_a_sum = is_in_a_sum or isinstance(network, Residual)
    for name, child in network.children.items():
        if isinstance(child, Sequential):
            yield from _places(child, is_in_a_sum)
        else:
            yield network, name, child, is_in_a_sum
