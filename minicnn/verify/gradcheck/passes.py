"""The copy of a layer that is checked, in float64 on the host, and its forward and backward pass."""

import inspect
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from minicnn.checks import require_shape
from minicnn.images import Images
from minicnn.layers import Dropout, Layer
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
    for part in parts_of(copied):
        if isinstance(part, Dropout):
            part.counts_steps = False  # every forward has the same mask, and so a derivative
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
) -> tuple[Array | Images, Array | Images, dict[str, Array | Images], list[str]]:
    """(output, dy, gradients by name, breaches) of one forward and one backward. The breaches are sentences: what was
    written to that is not the layer's own. The parameters are given their numbers back."""
    name, breaches = type(layer).__name__, []
    before = {key: param.copy() for key, param in params.items()}
    given_x = checked_copy(x)
    output = checked_copy(layer.forward(given_x), f"gradcheck: the output of {name}.forward")
    if not np.array_equal(flat(given_x), flat(x)):
        breaches.append(f"{name}.forward writes into its input x, which is the output of the layer before")
        flat(given_x)[:] = flat(x)
    breaches += _given_back(layer, before, f"{name}.forward")
    require_finite(output, f"the output of {name}.forward")
    if loss is None:
        dy = like(output, rng.standard_normal(flat(output).size))
    else:
        loss.forward(checked_copy(output), labels)
        dy = checked_copy(loss.backward(), f"gradcheck: the gradient of {type(loss).__name__}.backward", output)
    given_dy = checked_copy(dy)
    gradients = {"x": checked_copy(layer.backward(given_dy), f"gradcheck: dx of {name}.backward", x)}
    if not np.array_equal(flat(given_dy), flat(dy), equal_nan=True):
        breaches.append(f"{name}.backward writes into dy, which others may need")
    if not np.array_equal(flat(given_x), flat(x)):
        breaches.append(f"{name}.backward writes into the x that forward was given, which others may need")
    breaches += _given_back(layer, before, f"{name}.backward")
    grads = grads_of(layer)
    for key, param in params.items():
        if grads.get(key) is None:
            raise ValueError(f"gradcheck: expected {name}.backward to assign a gradient of {key!r}, got none")
        gradients[key] = checked_copy(grads[key], f"gradcheck: the gradient of {key!r} of {name}.backward", param)
    return output, dy, gradients, breaches


def _given_back(layer: Layer, before: dict[str, Array], who: str) -> list[str]:
    """The sentences about parameters that are not as they were `before`, which they are again after the call."""
    breaches = []
    for name, param in params_of(layer).items():
        if not np.array_equal(param, before[name]):
            breaches.append(f"{who} writes into the parameter {name}, which only an optimiser may change")
            param[...] = before[name]
    return breaches


def memories(
    layer: Layer,
    fresh: Layer,
    x: Array | Images,
    dy: Array | Images,
    gradients: dict[str, Array | Images],
    rng: np.random.Generator,
) -> list[str]:
    """The sentences about what a layer keeps of earlier passes.

    `gradients` are those of its first pass, for this x and dy: the same pass once more doubles those that are added to.
    `fresh` is a copy that has made no pass: given another x and other parameters, as after a step of an optimiser, it
    says what the layer should give, which has.
    """
    again = _gradients(layer, x, dy)
    changed = [name for name, first in gradients.items() if not _are(flat(first), again[name])]
    added = [name for name in changed if _are(2 * flat(gradients[name]), again[name])]
    of_others = 0.9 * flat(x) if isinstance(x, Images) or len(x) < 2 else flat(x[::-1].copy())
    other, other_dy = like(x, of_others), like(dy, rng.permutation(flat(dy)))
    params, before = params_of(layer), {name: array.copy() for name, array in params_of(layer).items()}
    for name, of_fresh in params_of(fresh).items():
        params[name][...] = of_fresh[...] = before[name] * rng.uniform(0.9, 1.1, of_fresh.shape)
    expected, got = _gradients(fresh, other, other_dy), _gradients(layer, other, other_dy)
    for name, array in before.items():
        params[name][...] = array
    kept = [name for name in gradients if name not in added and not _are(expected[name], got[name])]
    left_out = []
    if "need_dx" in inspect.signature(layer.backward).parameters:
        alone = _gradients(layer, x, dy, need_dx=False)
        others = [name for name in params if name not in added + kept]
        left_out = [name for name in others if not _are(flat(gradients[name]), alone[name])]
    return [
        *(
            f"backward adds to the gradient of {name} that stands there from the pass before; a layer assigns its "
            "gradients, = and not +="
            for name in added
        ),
        *(
            f"after a pass on another x the gradient of {name} is not what a new copy of the layer gives; look for "
            "what it keeps of an earlier pass, such as the first x in place of the last, or a copy of its parameters"
            for name in kept
        ),
        *(
            f"with need_dx=False, as the first layer is asked in training, backward gives another gradient of {name}; "
            "leave out dx and nothing else"
            for name in left_out
        ),
    ]


def _gradients(layer: Layer, x: Array | Images, dy: Array | Images, need_dx: bool = True) -> dict[str, Array]:
    """The gradients by name of one more pass, each as all its numbers in a row; without need_dx none of x."""
    layer.forward(checked_copy(x))
    if need_dx:
        grads = {"x": checked_copy(layer.backward(checked_copy(dy)))}
    else:
        layer.backward(checked_copy(dy), need_dx=False)
        grads = {}
    grads |= {name: checked_copy(grad) for name, grad in grads_of(layer).items() if grad is not None}
    return {name: flat(array).copy() for name, array in grads.items()}


def _are(expected: Array, got: Array) -> bool:
    """Whether these are the same numbers, up to rounding of the largest, or of sums that are truly 0."""
    scale = np.abs(expected).max(initial=0)
    return bool(np.allclose(got, expected, rtol=0, atol=1e-9 * max(scale, 1e-3), equal_nan=True))


def redraw(layer: Layer, rng: np.random.Generator) -> None:
    """Give parameters and statistics whose numbers are all alike others: a weight that is 1 hides that it was
    forgotten, and a bias or a mean that is 0 as well."""
    for part in parts_of(layer):
        for arrays in (part.params, part.state):
            for array in arrays.values():
                if array.dtype.kind == "f" and np.ptp(array) == 0:
                    drawn = 0.5 * rng.standard_normal(array.shape)
                    array[...] = array * rng.uniform(0.5, 1.5, array.shape) if array.any() else drawn


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
