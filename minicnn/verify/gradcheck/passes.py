"""The copy of a layer that is checked, in float64 on the host, and its forward and backward pass."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from minicnn.checks import require_shape
from minicnn.images import Images
from minicnn.layers import Layer
from minicnn.losses import Loss
from minicnn.network import Sequential
from minicnn.plain import Array
from minicnn.verify.gradcheck.arrays import flat, like, require_finite
from minicnn.verify.isolate import own_copy


def float64_copy(layer: Layer) -> Layer:
    """A copy in float64 on the host, without what earlier passes left in the layer."""
    instead: dict[int, object] = {}
    for part in parts_of(layer):
        for array in [*part.params.values(), *part.state.values()]:
            instead[id(array)] = np.array(part.ops.to_numpy(array))
        instead[id(part.grads)] = {}
        if isinstance(part.memory, SimpleNamespace):
            instead[id(part.memory)] = SimpleNamespace()
    copied = own_copy(layer, "gradcheck", type(layer).__name__, instead)
    return copied.to("cpu" if backend_of(layer) == "cuda" else None, np.float64)


def parts_of(layer: Layer) -> Iterator[Layer]:
    """The layer, and if it is a network all layers in it."""
    yield layer
    for child in layer.children.values() if isinstance(layer, Sequential) else ():
        yield from parts_of(child)


def backend_of(layer: Layer) -> str:
    return layer.ops.__name__.rpartition(".")[2]


def params_of(layer: Layer) -> dict[str, Array]:
    """All parameters by name, of a network with the layer's name before: "conv1.weight"."""
    if isinstance(layer, Sequential):
        return {name: part.params[key] for name, part, key in layer.named_params()}
    return dict(layer.params)


def grads_of(layer: Layer) -> dict[str, Any]:
    """All gradients by their parameters' names; None, or no entry, where backward assigned none."""
    if isinstance(layer, Sequential):
        return {name: part.grads.get(key) for name, part, key in layer.named_params()}
    return layer.grads


def both_passes(
    layer: Layer,
    x: Array | Images,
    labels: Any,
    loss: Loss | None,
    params: dict[str, Array],
    rng: np.random.Generator,
) -> tuple[Array | Images, Array | Images, dict[str, Array | Images]]:
    """(output, dy, gradients by name) of one forward and one backward."""
    name = type(layer).__name__
    output = checked_copy(layer.forward(checked_copy(x)), f"gradcheck: the output of {name}.forward")
    require_finite(output, f"the output of {name}.forward")
    if loss is None:
        dy = like(output, rng.standard_normal(flat(output).size))
    else:
        loss.forward(checked_copy(output), labels)
        dy = checked_copy(loss.backward(), f"gradcheck: the gradient of {type(loss).__name__}.backward", output)
    gradients = {"x": checked_copy(layer.backward(checked_copy(dy)), f"gradcheck: dx of {name}.backward", x)}
    grads = grads_of(layer)
    for key, param in params.items():
        if grads.get(key) is None:
            raise ValueError(f"gradcheck: expected {name}.backward to assign a gradient of {key!r}, got none")
        gradients[key] = checked_copy(grads[key], f"gradcheck: the gradient of {key!r} of {name}.backward", param)
    return output, dy, gradients


def checked_copy(array: object, what: str = "", expected: Array | Images | None = None) -> Any:
    """A copy of what a layer gave or is given; it must be of float64, and of the shape of `expected`."""
    if isinstance(array, np.floating):
        array = np.asarray(array)  # a parameter may be one number
    if not isinstance(array, (np.ndarray, Images)):
        raise TypeError(f"{what}: expected an array, got {type(array).__name__}")
    if array.dtype != np.float64:
        raise TypeError(f"{what}: expected float64 as the input is, got {array.dtype}; keep the dtype of the input")
    if expected is not None:
        require_shape(array, expected.shape, what)
    return array.astype(np.float64)
