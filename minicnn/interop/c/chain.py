"""A network as a chain of layers that can be written in C, with the shapes of what goes between them; or why not.

Everything is checked here, before a file is touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn.checks import DTYPES, as_int
from minicnn.geometry import ceil_output_size, dilated_size, output_size
from minicnn.interop.chain import require_chain, steps_of, steps_of_path
from minicnn.layers import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    LogSoftmax,
    MaxPool2d,
)
from minicnn.layers.spatial import checked_settings
from minicnn.network import Sequential
from minicnn.plain import Array, Pair
from minicnn.residual import SHORTCUT, Residual

LARGEST_SIDE = 32767  # of an image, a kernel, …: products of two are ints of 32 bits
MOST_NUMBERS = 2**31 - 1  # of an array, whose numbers C counts in ints
ON_IMAGES = (Conv2d, BatchNorm2d, MaxPool2d, AvgPool2d, AdaptiveMaxPool2d, AdaptiveAvgPool2d)
ON_VECTORS = (Linear, LogSoftmax)


class Shape(NamedTuple):
    """Of what one layer hands to the next for the largest image; vectors of D features are (D, 1, 1)."""

    channels: int
    height: int
    width: int
    is_vector: bool = False

    @property
    def size(self) -> int:
        return self.channels * self.height * self.width

    def __str__(self) -> str:
        return f"({self.channels})" if self.is_vector else f"({self.channels}, {self.height}, {self.width})"


class Link(NamedTuple):
    """One layer of the chain. A residual has two ways, each a chain: its layers, and its shortcut or nothing."""

    name: str
    layer: Any
    arrays: dict[str, Array]  # what it computes with, by name
    x: Shape
    y: Shape
    ways: Sequence[list[Link]] = ()


def every_link(links: Iterable[Link]) -> Iterator[Link]:
    """All links, those of the ways of a residual before it."""
    for link in links:
        for way in link.ways:
            yield from every_link(way)
        yield link


def chain_of(network: Sequential, max_height: int, max_width: int) -> list[Link]:
    """The layers of `network`, in forward order. Raises TypeError or ValueError, which name the layer."""
    if not isinstance(network, Sequential):
        raise TypeError(f"export_c: expected a Sequential or a Classifier, got {type(network).__name__}")
    require_chain(network, "export_c")
    size = as_side(max_height, "max_height"), as_side(max_width, "max_width")
    layers: list[tuple[str, Any]] = list(network.named_layers())
    shape = Shape(input_channels(layers, *size), *size)
    if shape.size > MOST_NUMBERS:
        raise ValueError(f"export_c: expected images of at most {MOST_NUMBERS} numbers, got {shape}")
    links = _linked(steps_of(network), shape, size)
    if not links[-1].y.is_vector:
        raise ValueError(
            f"export_c: expected a network whose output is a vector, got images {links[-1].y} from {layers[-1][0]}; "
            "end it with Flatten()"
        )
    require_one_dtype(links)
    return links


def _linked(steps: Iterable[tuple[str, Any]], x: Shape, size: Pair) -> list[Link]:
    """Steps that follow each other, the first of which is given x for an image of `size`."""
    links: list[Link] = []
    for name, layer in steps:
        if isinstance(layer, Residual):
            links.append(_sum(name, layer, x, size))
        else:
            try:
                y = output_shape(layer, x)
                require_small(layer, y)
                links.append(Link(name, layer, arrays_of(layer), x, y))
            except (TypeError, ValueError) as error:
                raise type(error)(
                    f"export_c: {name}, given {x} for an image of {size[0]} × {size[1]}: {error}"
                ) from None
        x = links[-1].y
    return links


def _sum(name: str, layer: Residual, x: Shape, size: Pair) -> Link:
    shortcut = {} if layer.shortcut is None else {SHORTCUT: layer.shortcut}
    f, s = (_linked(steps_of_path(way, name), x, size) for way in (layer.path, shortcut))
    of_f, of_s = (way[-1].y if way else x for way in (f, s))
    if of_f != of_s:
        raise ValueError(
            f"export_c: {name}, given {x} for an image of {size[0]} × {size[1]}: Residual: expected f(x) and the "
            f"shortcut's output of one shape, got {of_f} and {of_s}"
        )
    return Link(name, layer, {}, x, of_f, (f, s))


def as_side(value: Any, what: str) -> int:
    """`value` as the side of an image."""
    side = as_int(value, f"export_c: {what}", 1)
    if side > LARGEST_SIDE:
        raise ValueError(f"export_c: {what}: expected at most {LARGEST_SIDE}, got {side}")
    return side


def input_channels(layers: list[tuple[str, Any]], height: int, width: int) -> int:
    """C of the network's input, from the first layer that tells it."""
    shape = Shape(1, height, width)
    for _, layer in layers:
        if isinstance(layer, Conv2d):
            return layer.in_channels
        if isinstance(layer, BatchNorm2d):
            return layer.num_features
        if isinstance(layer, Linear):
            return max(layer.in_features // shape.size, 1)  # where it does not divide, Linear is refused
        shape = output_shape(layer, shape)
    raise ValueError(
        "export_c: expected a Conv2d, BatchNorm2d or Linear, which says how many channels an image has, got none"
    )


def output_shape(layer: Any, x: Shape) -> Shape:
    """What `layer` makes of `x`. Raises ValueError where it cannot take it."""
    kind = type(layer).__name__
    if isinstance(layer, ON_IMAGES) and x.is_vector:
        raise ValueError(f"{kind}: expected images, got vectors")
    if isinstance(layer, ON_VECTORS) and not x.is_vector:
        raise ValueError(f"{kind}: expected vectors, got images; put Flatten() before it")
    if isinstance(layer, (Conv2d, BatchNorm2d)):
        channels = layer.in_channels if isinstance(layer, Conv2d) else layer.num_features
        if channels != x.channels:
            raise ValueError(f"{kind}: expected {channels} channels, got {x.channels}")
    if isinstance(layer, Conv2d):
        height, width = layer.output_size((x.height, x.width))
        return Shape(layer.out_channels, int(height), int(width))
    if isinstance(layer, (MaxPool2d, AvgPool2d)):
        count = ceil_output_size if layer.ceil_mode else output_size
        height, width = map(count, (x.height, x.width), *checked_settings(layer))
        if min(height, width) < 1:
            raise ValueError(f"{kind}: expected an image at least as large as the kernel {layer.kernel_size}")
        return Shape(x.channels, height, width)
    if isinstance(layer, (AdaptiveMaxPool2d, AdaptiveAvgPool2d)):
        out_h, out_w = (None if n is None else as_int(n, f"{kind}: output_size", 1) for n in layer.output_size)
        return Shape(x.channels, out_h or x.height, out_w or x.width)
    if isinstance(layer, Flatten):
        return Shape(x.size, 1, 1, is_vector=True)
    if isinstance(layer, Linear):
        if layer.in_features != x.channels:
            raise ValueError(
                f"Linear: expected {layer.in_features} features, got {x.channels}; max_height and max_width must be "
                "a size that the network takes"
            )
        return Shape(layer.out_features, 1, 1, is_vector=True)
    return x


def require_small(layer: Any, y: Shape) -> None:
    """Raise ValueError where something would not be counted by an int of 32 bits."""
    settings = [getattr(layer, name, (0, 0)) for name in ("kernel_size", "stride")]
    if isinstance(layer, Conv2d):
        settings += [*layer.pads(), tuple(map(dilated_size, layer.kernel_size, layer.dilation))]
    elif isinstance(layer, (MaxPool2d, AvgPool2d)):
        settings.append(layer.padding)
    longest = max(y.height, y.width, *(side for pair in settings for side in pair))
    if longest > LARGEST_SIDE:
        raise ValueError(f"{type(layer).__name__}: expected sides of at most {LARGEST_SIDE}, got {longest}")
    if y.size > MOST_NUMBERS:
        raise ValueError(
            f"{type(layer).__name__}: expected at most {MOST_NUMBERS} numbers, got {y}; "
            "make max_height and max_width smaller"
        )
    if isinstance(layer, (MaxPool2d, AvgPool2d)) and any(
        2 * padding > kernel for padding, kernel in zip(layer.padding, layer.kernel_size, strict=True)
    ):
        raise ValueError(
            f"{type(layer).__name__}: expected padding of at most half the kernel {layer.kernel_size}, "
            f"got {layer.padding}"
        )
    if isinstance(layer, AvgPool2d) and layer.divisor_override is not None:
        as_int(layer.divisor_override, "AvgPool2d: divisor_override", 1)


def arrays_of(layer: Layer) -> dict[str, Array]:
    """What `layer` computes with in evaluation, by name: its parameters, and of a batchnorm scale, mean and bias."""
    kind, arrays = type(layer).__name__, {}
    for key, shape in layer.shapes().items():
        held = layer.params if key in layer.params else layer.state
        if key not in held:
            raise ValueError(f"{kind}: expected an array {key}, got none")
        array = np.asarray(layer.ops.to_numpy(held[key]))
        if array.shape != shape or array.dtype not in DTYPES:
            raise ValueError(f"{kind}: expected {key} of floats, shape {shape}, got {array.dtype}, shape {array.shape}")
        arrays[key] = array
    if isinstance(layer, BatchNorm2d):
        with np.errstate(all="ignore"):  # what is not finite is refused below
            std = np.sqrt(arrays["running_var"].astype(np.float64) + layer.eps)
            scale = (arrays["weight"] / std).astype(arrays["weight"].dtype)
        arrays = {"scale": scale, "mean": arrays["running_mean"], "bias": arrays["bias"]}
    for key, array in arrays.items():
        if not np.isfinite(array).all():
            what = "scale = weight / sqrt(running_var + eps)" if key == "scale" else key
            raise ValueError(f"{kind}: expected finite numbers, got NaN or infinity in {what}; train it again")
    return arrays


def require_one_dtype(links: list[Link]) -> None:
    """Raise TypeError where some layers are of float32 and others of float64."""
    of = {str(array.dtype): link.name for link in every_link(links) for array in link.arrays.values()}
    if len(of) > 1:
        found = ", ".join(f"{dtype} in {name}" for dtype, name in sorted(of.items()))
        raise TypeError(f"export_c: expected arrays of one dtype, got {found}; convert them with .to(dtype=np.float32)")
