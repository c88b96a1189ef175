"""The operators of ONNX that compute what a network does, as plain tuples and arrays; `onnx` makes a file of them.

ONNX (https://onnx.ai/onnx/operators/) has our layers, but for adaptive pooling. For that the windows of `geometry` are
computed in the graph, from the height and width that an image turns out to have: first the maximum (or mean) over the
rows of each of OH bands, then over the columns of each of OW bands of that. A window is rows × columns, all of its rows
are equally long, and so the maximum of maxima is its maximum, and the mean of means its mean.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn import geometry
from minicnn.layers import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    LogSoftmax,
    MaxPool2d,
    ReLU,
)
from minicnn.layers.spatial import checked_settings
from minicnn.plain import Array

ROWS, COLUMNS = 2, 3  # axes of images (N, C, H, W)


class Node(NamedTuple):
    """One operator: its name in ONNX, the names of the tensors that it reads and makes, and its settings."""

    operator: str
    inputs: list[str]
    outputs: list[str]
    settings: dict[str, Any]


class Graph:
    """Operators in the order in which they compute.

    Attributes:
        nodes: the operators.
        constants: arrays that they read, by name.
        input: (name, shape) of the tensor that the graph is given.
        value: the name of the tensor that the last layer made.
        shape: the shape of `value` without its first axis, N: (C, H, W) or (D,); None where it depends on the image.
    """

    def __init__(self, name: str, shape: tuple[int | None, ...]) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self.input = name, shape
        self.value, self.shape = name, shape

    def constant(self, name: str, values: Any) -> str:
        """A constant tensor, integers as int64. Returns its name."""
        array = np.asarray(values)
        self.constants[name] = array.astype(np.int64) if array.dtype.kind in "iu" else array
        return name

    def node(self, operator: str, output: str, *inputs: str, **settings: Any) -> str:
        """An operator with one output, whose name is returned."""
        self.nodes.append(Node(operator, list(inputs), [output], settings))
        return output

    def apply(self, operator: str, name: str, *constants: str, **settings: Any) -> None:
        """An operator that takes `value` and `constants`, and makes the next value; it is the whole layer `name`."""
        self.value = self.node(operator, f"{name}.output", self.value, *constants, **settings)

    def end(self, output: str) -> None:
        """Call what was made last `output`."""
        if not self.nodes:
            self.apply("Identity", "")
        self.nodes[-1].outputs[0] = self.value = output


def add_layer(graph: Graph, name: str, layer: Layer, arrays: dict[str, Array]) -> None:
    """Add what `layer` does in evaluation mode; `arrays` are its parameters and statistics.

    Raises ValueError where it does not fit what comes before it, TypeError for settings that ONNX cannot say.
    """
    try:
        OPERATORS[type(layer)](graph, name, layer, arrays)
    except ValueError as error:
        raise ValueError(f"export_onnx: {name} does not fit what comes before it: {error}") from error


def add_sum(graph: Graph, name: str, add_f: Callable[[], None], add_shortcut: Callable[[], None]) -> None:
    """Add both ways of a residual, which begin at `value`, and their sum. Raises ValueError where they do not fit."""
    value, shape = graph.value, graph.shape
    add_f()
    of_f, shape_of_f = graph.value, graph.shape
    graph.value, graph.shape = value, shape
    add_shortcut()
    pairs = list(zip(shape_of_f, graph.shape, strict=False))
    if len(shape_of_f) != len(graph.shape) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
        raise ValueError(
            f"export_onnx: {name} (Residual): expected f(x) and the shortcut's output of one shape, got "
            f"{_described(shape_of_f)} and {_described(graph.shape)}"
        )
    graph.shape = tuple(b if a is None else a for a, b in pairs)
    graph.value = graph.node("Add", f"{name}.output", of_f, graph.value)


def input_shape(layers: Sequence[Any]) -> tuple[int | None, ...]:
    """The shape that a network of these layers takes, without N: (C, H, W) or (D,), None where any number will do."""
    for layer in layers:
        if isinstance(layer, Conv2d):
            return layer.in_channels, None, None
        if isinstance(layer, BatchNorm2d):
            return layer.num_features, None, None
        if isinstance(layer, Linear):
            return (layer.in_features,)
        if isinstance(layer, LogSoftmax):
            return (None,)
        if isinstance(layer, Flatten):
            break
    return None, None, None


def _conv(graph: Graph, name: str, layer: Conv2d, arrays: dict[str, Array]) -> None:
    size = _image_size(graph, layer, layer.in_channels)
    (top, bottom), (left, right) = layer.pads()
    settings = {"kernel_shape": layer.kernel_size, "strides": layer.stride, "dilations": layer.dilation}
    constants = [graph.constant(f"{name}.{key}", arrays[key]) for key in ("weight", "bias") if key in arrays]
    graph.apply("Conv", name, *constants, **settings, pads=(top, left, bottom, right), group=layer.groups)
    graph.shape = layer.out_channels, *_conv_size(layer, size)


def _batchnorm(graph: Graph, name: str, layer: BatchNorm2d, arrays: dict[str, Array]) -> None:
    size = _image_size(graph, layer, layer.num_features)
    keys = ("weight", "bias", "running_mean", "running_var")
    constants = [graph.constant(f"{name}.{key}", arrays[key]) for key in keys]
    graph.apply("BatchNormalization", name, *constants, epsilon=layer.eps)
    graph.shape = layer.num_features, *size


def _relu(graph: Graph, name: str, layer: ReLU, arrays: dict[str, Array]) -> None:
    graph.apply("Relu", name)


def _max_pool(graph: Graph, name: str, layer: MaxPool2d, arrays: dict[str, Array]) -> None:
    _fixed_pool(graph, name, layer, "MaxPool")


def _avg_pool(graph: Graph, name: str, layer: AvgPool2d, arrays: dict[str, Array]) -> None:
    """A sum divided by `divisor_override` is the mean over all cells of a window, padding counted, made larger."""
    divisor = layer.divisor_override
    if divisor is not None and layer.ceil_mode:
        raise TypeError(
            f"export_onnx: {name} (AvgPool2d) has a divisor_override and ceil_mode, of which ONNX has either; take "
            "ceil_mode=False, or no divisor_override"
        )
    _fixed_pool(
        graph, name, layer, "AveragePool", count_include_pad=int(layer.count_include_pad or divisor is not None)
    )
    if divisor is not None:
        larger = np.float32(math.prod(layer.kernel_size) / divisor)
        graph.apply("Mul", f"{name}.divisor", graph.constant(f"{name}.factor", larger))


def _fixed_pool(graph: Graph, name: str, layer: MaxPool2d | AvgPool2d, operator: str, **settings: int) -> None:
    size = _image_size(graph, layer)
    kernel, stride, padding = checked_settings(layer)
    settings |= {"ceil_mode": int(layer.ceil_mode)}
    graph.apply(operator, name, kernel_shape=kernel, strides=stride, pads=padding + padding, **settings)
    graph.shape = graph.shape[0], *_fixed_size(layer, size)


def _adaptive_max_pool(graph: Graph, name: str, layer: AdaptiveMaxPool2d, arrays: dict[str, Array]) -> None:
    _adaptive_pool(graph, name, layer, "GlobalMaxPool", "ReduceMax")


def _adaptive_avg_pool(graph: Graph, name: str, layer: AdaptiveAvgPool2d, arrays: dict[str, Array]) -> None:
    _adaptive_pool(graph, name, layer, "GlobalAveragePool", "ReduceMean")


def _adaptive_pool(
    graph: Graph, name: str, layer: AdaptiveMaxPool2d | AdaptiveAvgPool2d, whole: str, reduce: str
) -> None:
    size = _image_size(graph, layer)
    if layer.output_size == (1, 1):
        graph.apply(whole, name)
    else:
        for axis, n_out in zip((ROWS, COLUMNS), layer.output_size, strict=True):
            if n_out is not None:
                graph.value = _in_bands(graph, f"{name}.{'rows' if axis == ROWS else 'columns'}", axis, n_out, reduce)
    height, width = (n_in if n_out is None else n_out for n_in, n_out in zip(size, layer.output_size, strict=True))
    graph.shape = graph.shape[0], height, width


def _in_bands(graph: Graph, name: str, axis: int, n_out: int, reduce: str) -> str:
    """`value` with one cell along `axis` for each of n_out windows, as `adaptive_start` and `adaptive_stop` place them:

    start[p] = p * n_in / n_out        stop[p] = ((p + 1) * n_in + n_out - 1) / n_out        in integers
    """
    image, axes = graph.value, graph.constant(f"{name}.axis", [axis])
    if n_out == 1:
        return graph.node(reduce, f"{name}.output", image, axes, keepdims=1)
    n_in = graph.node("Shape", f"{name}.size", image, start=axis, end=axis + 1)
    count = graph.constant(f"{name}.count", [n_out])
    first, after = (graph.constant(f"{name}.{key}", np.arange(n_out) + k) for k, key in enumerate(("p", "p+1")))
    start = graph.node("Div", f"{name}.start", graph.node("Mul", f"{name}.p*size", first, n_in), count)
    last = graph.node("Mul", f"{name}.(p+1)*size", after, n_in)
    rounded_up = graph.node("Add", f"{name}.(p+1)*size+rest", last, graph.constant(f"{name}.rest", [n_out - 1]))
    stop = graph.node("Div", f"{name}.stop", rounded_up, count)
    bands = []
    for p, (begin, end) in enumerate(zip(_split(graph, start, n_out), _split(graph, stop, n_out), strict=True)):
        band = graph.node("Slice", f"{name}.band.{p}", image, begin, end, axes)
        bands.append(graph.node(reduce, f"{name}.cell.{p}", band, axes, keepdims=1))
    return graph.node("Concat", f"{name}.output", *bands, axis=axis)


def _split(graph: Graph, name: str, n_out: int) -> list[str]:
    """The entries of a vector, each a tensor (1,)."""
    entries = [f"{name}.{p}" for p in range(n_out)]
    graph.nodes.append(Node("Split", [name], entries, {"axis": 0, "num_outputs": n_out}))
    return entries


def _flatten(graph: Graph, name: str, layer: Flatten, arrays: dict[str, Array]) -> None:
    graph.apply("Flatten", name, axis=1)
    known = [n for n in graph.shape if n is not None]
    graph.shape = (math.prod(known) if len(known) == len(graph.shape) else None,)


def _dropout(graph: Graph, name: str, layer: Dropout, arrays: dict[str, Array]) -> None:
    """Nothing: in evaluation the output is the input."""


def _linear(graph: Graph, name: str, layer: Linear, arrays: dict[str, Array]) -> None:
    if len(graph.shape) != 1 or graph.shape[0] not in (None, layer.in_features):
        raise ValueError(f"Linear: expected input of shape (N, {layer.in_features}), got {_described(graph.shape)}")
    constants = [graph.constant(f"{name}.{key}", arrays[key]) for key in ("weight", "bias") if key in arrays]
    graph.apply("Gemm", name, *constants, transB=1)
    graph.shape = (layer.out_features,)


def _log_softmax(graph: Graph, name: str, layer: LogSoftmax, arrays: dict[str, Array]) -> None:
    if len(graph.shape) != 1:
        raise ValueError(f"LogSoftmax: expected input of shape (N, K), got {_described(graph.shape)}")
    graph.apply("LogSoftmax", name, axis=1)


OPERATORS: dict[type[Layer], Callable[[Graph, str, Any, dict[str, Array]], None]] = {
    AdaptiveAvgPool2d: _adaptive_avg_pool,
    AdaptiveMaxPool2d: _adaptive_max_pool,
    AvgPool2d: _avg_pool,
    BatchNorm2d: _batchnorm,
    Conv2d: _conv,
    Dropout: _dropout,
    Flatten: _flatten,
    Linear: _linear,
    LogSoftmax: _log_softmax,
    MaxPool2d: _max_pool,
    ReLU: _relu,
}


def _image_size(graph: Graph, layer: Layer, channels: int | None = None) -> tuple[int | None, int | None]:
    """(H, W) of the images before `layer`. Raises ValueError where there are none, or they have not these channels."""
    expected = "C" if channels is None else channels
    if len(graph.shape) != 3 or (channels is not None and graph.shape[0] not in (None, channels)):
        raise ValueError(
            f"{type(layer).__name__}: expected input of shape (N, {expected}, H, W), got {_described(graph.shape)}"
        )
    _, height, width = graph.shape
    return height, width


def _fixed_size(layer: MaxPool2d | AvgPool2d, size: tuple[int | None, int | None]) -> tuple[int | None, int | None]:
    """(OH, OW) of a pooling with windows of one size; raises ValueError where a known size is too small for one."""
    count = geometry.ceil_output_size if layer.ceil_mode else geometry.output_size
    sizes = zip(size, *checked_settings(layer), strict=True)
    height, width = (None if n_in is None else count(n_in, *settings) for n_in, *settings in sizes)
    if min(n for n in (height, width, 1) if n is not None) < 1:
        raise ValueError(f"{type(layer).__name__}: expected an image at least as large as the kernel, got {size}")
    return height, width


def _conv_size(layer: Conv2d, size: tuple[int | None, int | None]) -> tuple[int | None, int | None]:
    """(OH, OW); raises ValueError where a known size is too small for the kernel. An unknown one counts as enough."""
    kernel = map(geometry.dilated_size, layer.kernel_size, layer.dilation)
    height, width = (k if n_in is None else n_in for n_in, k in zip(size, kernel, strict=True))
    out_height, out_width = layer.output_size((height, width))
    return None if size[0] is None else out_height, None if size[1] is None else out_width


def _described(shape: tuple[int | None, ...]) -> str:
    letters = "CHW" if len(shape) == 3 else "D"
    return f"(N, {', '.join(letter if n is None else str(n) for n, letter in zip(shape, letters, strict=True))})"
