"""One forward and one backward pass, layer by layer, and all that each layer was given, gave and kept.

x = a[0] -> layer 0 -> a[1] -> layer 1 -> …  -> a[L] = output -> loss
    da[0] <-           da[1] <-         …  <-  da[L]          <-
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeGuard

import numpy as np

from minicnn.backends.protocol import Operations
from minicnn.checks import DTYPES, refuse_images
from minicnn.inspect.finite import require_finite
from minicnn.layers import Layer
from minicnn.network import Sequential
from minicnn.plain import Array
from minicnn.residual import SHORTCUT, Residual
from minicnn.verify.isolate import flattened_children

NOT_KEPT = ("y_shape", "y_dtype", "training")  # in a layer's memory, but only to check dy or to choose a formula


@dataclass
class LayerPass:
    """What one layer did: x -> y forward, and dy -> dx backward, which `run_backward` adds.

    kept: what forward kept for backward, by name; None in place of what is not an array.
    memory: the layer's memory between the passes; state: its state before them.
    ways: of a residual the passes of the layers on either way, which are empty for the identity; else none.
    """

    index: int
    name: str
    layer: Layer
    x: Array
    y: Array
    kept: dict[str, Array | None]
    memory: Any
    state: dict[str, Array]
    ways: tuple[list["LayerPass"], ...] = ()
    dy: Array = field(init=False)
    dx: Array = field(init=False)

    def params(self) -> dict[str, tuple[Array, Array | None]]:
        """{name: (param, grad or None)}; of a network in a layer's place those of all its layers."""
        if not isinstance(self.layer, Sequential):
            return {key: (param, self.layer.grads.get(key)) for key, param in self.layer.params.items()}
        return {name: (layer.params[key], layer.grads.get(key)) for name, layer, key in self.layer.named_params()}


def run_forward(layers: Sequence[tuple[str, Layer]], ops: Operations, x: Array) -> list[LayerPass]:
    """A `LayerPass` for each layer, with all that is known after the forward pass."""
    return _forward(layers, ops, x, ops.asarray(x.copy()))[0]


def _forward(
    layers: Iterable[tuple[str, Layer]], ops: Operations, x: Array, below: Any
) -> tuple[list[LayerPass], Any, Array]:
    """(passes, what the last layer gave, the same as a NumPy array); `below` is x as the first layer is given it."""
    passes: list[LayerPass] = []
    for index, (name, layer) in enumerate(layers):
        for which in ("params", "state"):
            for key, array in named_arrays(layer, which):
                require_finite(ops.to_numpy(array), f"{name}.{key}")
        state = {key: np.array(array) for key, array in named_arrays(layer, "state")}
        before = _attributes(layer)
        shape = np.shape(below)
        ways: tuple[list[LayerPass], ...] = ()
        try:
            if is_residual(layer):
                (f, fx, _), (s, sx, _) = (_forward(way, ops, x, below) for way in ways_of(name, layer))
                above, ways = layer.joined(below, fx, sx), (f, s)
            else:
                above = layer.forward(below)
        except Exception as error:
            raise RuntimeError(_failed("forward", name, layer, f"an input of shape {shape}", error)) from error
        y = _as_array(ops, above, name, layer, "forward", "an output")
        require_finite(y, f"the output of layer {name!r}, {_in_a_line(layer)}")
        kept = _kept(layer, before)
        passes.append(LayerPass(index, name, layer, x, y, kept, layer.memory, state, ways))
        below, x = above, y
    return passes, below, x


def is_residual(layer: Layer) -> TypeGuard[Residual]:
    """Whether it is a residual that computes as that does, so that its two ways can be gone through."""
    return isinstance(layer, Residual) and all(
        getattr(type(layer), name) is getattr(Residual, name) for name in ("forward", "backward")
    )


def ways_of(name: str, residual: Residual) -> list[list[tuple[str, Layer]]]:
    """[(name, layer) of the layers, of the shortcut], flattened."""
    shortcut = {} if residual.shortcut is None else {SHORTCUT: residual.shortcut}
    return [list(flattened_children(way, f"{name}.")) for way in (residual.path, shortcut)]


def run_backward(passes: Sequence[LayerPass], ops: Operations, dy: Array) -> None:
    """Complete the passes from the last layer to the first."""
    _backward(passes, ops, dy, ops.asarray(dy.copy()))


def _backward(passes: Sequence[LayerPass], ops: Operations, dy: Array, above: Any) -> Any:
    """What the first layer gave; `above` is dy as the last layer is given it."""
    for one in reversed(passes):
        one.dy = dy
        name, layer = one.name, one.layer
        try:
            if one.ways:
                above, _ = layer.recall(above)
                below = layer.ops.add(*(_backward(way, ops, dy, above) for way in one.ways))
            else:
                below = layer.backward(above)
        except Exception as error:
            raise RuntimeError(_failed("backward", name, layer, f"dy of shape {dy.shape}", error)) from error
        one.dx = dy = _as_array(ops, below, name, layer, "backward", "dx", one.x.shape)
        require_finite(dy, f"dx of layer {name!r}, {_in_a_line(layer)}")
        for key, (param, grad) in one.params().items():
            if grad is not None:
                grad = _as_array(ops, grad, name, layer, "backward", f"the gradient of {key}", param.shape)
                require_finite(grad, f"the gradient of {name}.{key}")
        above = below
    return above


def named_arrays(layer: Layer, which: str) -> Iterator[tuple[str, Array]]:
    """(name, array) of a layer's params or state; of a network in a layer's place those of all its layers."""
    for name, part in _layers_in(layer):
        for key, array in getattr(part, which).items():
            yield f"{name}.{key}".lstrip("."), array


def _layers_in(layer: Layer) -> list[tuple[str, Layer]]:
    """(name, layer) of a network's layers; of any other layer itself, without a name."""
    return list(layer.named_layers()) if isinstance(layer, Sequential) else [("", layer)]


def _failed(which: str, name: str, layer: Layer, given: str, error: Exception) -> str:
    return (
        f"inspect: the {which} pass failed in layer {name!r}, {_in_a_line(layer)}, which got {given}: "
        f"{type(error).__name__}: {error}"
    )


def _in_a_line(layer: Layer) -> str:
    """A layer's repr; of a network, which takes many lines, its name."""
    return type(layer).__name__ if isinstance(layer, Sequential) else repr(layer)


def _as_array(
    ops: Operations,
    array: Any,
    name: str,
    layer: Layer,
    which: str,
    what: str,
    shape: tuple[int, ...] | None = None,
) -> Array:
    """What a layer gave, as a NumPy array of our own. An own layer may give anything."""
    place = f"inspect: layer {name!r}, {_in_a_line(layer)}"
    if not hasattr(array, "dtype") or not hasattr(array, "shape"):
        raise TypeError(f"{place}: expected an array as {what} of its {which}, got {type(array).__name__}")
    refuse_images(array, place)
    if array.dtype not in DTYPES:
        raise TypeError(f"{place}: expected {what} of float32 or float64 from its {which}, got {array.dtype}")
    array = np.array(ops.to_numpy(array))  # a copy: another layer may write to it
    if shape is not None and array.shape != shape:
        raise ValueError(f"{place}: expected {what} of shape {shape} from its {which}, got {array.shape}")
    if not array.size or not array.ndim:
        raise ValueError(
            f"{place}: expected {what} with an axis of images and at least one element, got shape {array.shape}"
        )
    return array


def _attributes(layer: Layer) -> dict[tuple[str, str], Array]:
    """The arrays that a layer has as attributes, {(name of an inner layer, attribute): array}."""
    return {
        (name, key): value
        for name, part in _layers_in(layer)
        for key, value in vars(part).items()
        if isinstance(value, np.ndarray)
    }


def _kept(layer: Layer, before: dict[tuple[str, str], Array]) -> dict[str, Array | None]:
    """What forward kept, by `remember` or, in an own layer, in attributes of its own; None for what is not an array."""
    kept: dict[str, Array | None] = {}
    for name, part in _layers_in(layer):
        for key, value in vars(part.memory).items() if isinstance(part.memory, SimpleNamespace) else ():
            if key not in NOT_KEPT:
                kept[f"{name}: {key}".lstrip(": ")] = value if isinstance(value, np.ndarray) else None
    for (name, key), value in _attributes(layer).items():
        if before.get((name, key)) is not value:
            kept[f"{name}: {key}".lstrip(": ")] = value
    return kept
