"""Layers on images: a batch or a single image, and windows of a fixed size over it."""

from functools import lru_cache
from typing import Protocol

import numpy as np

from minicnn import geometry
from minicnn.checks import as_pair
from minicnn.images import Batch, Images, sizes_of
from minicnn.layers.base import Layer
from minicnn.plain import Array, Pair, Sizes


class SpatialLayer(Layer):
    """A layer on images: a batch (N, C, H, W) or `Images`, or one unbatched image (C, H, W), as PyTorch's layers take.

    The operations know batches only. So a layer hands them `batched(x)` and gives back `like_input(y, x)`.
    """

    takes_images = True

    def as_images(self, x: Batch) -> Batch:
        """x checked, (N, C, H, W), `Images` or (C, H, W)."""
        x = self.as_input(x)
        if x.ndim not in (3, 4):
            raise ValueError(f"{type(self).__name__}: expected input of shape (N, C, H, W) or (C, H, W), got {x.shape}")
        geometry.require_countable(sizes_of(x), f"{type(self).__name__}: input")
        return x


class Windowed(Protocol):
    """A layer with windows of one size at a fixed stride."""

    kernel_size: Pair
    stride: Pair
    padding: Pair


def batched(x: Batch) -> Batch:
    """(N, C, H, W) and `Images` as they are, (C, H, W) as a batch of one."""
    return x if x.ndim == 4 else x.reshape(1, *x.shape)  # type: ignore[union-attr]  # `Images` have 4 axes


def like_input(y: Batch, x: Array | Images) -> Batch:
    """The batch y as it is, or the only image of it where x was not a batch."""
    return y if x.ndim == 4 else y.reshape(y.shape[1:])  # type: ignore[attr-defined,union-attr]  # as above


def checked_settings(layer: Windowed) -> tuple[Pair, Pair, Pair]:
    """kernel_size, stride and padding of `layer`, made pairs as the constructor made them: they may have been set."""
    given = layer.kernel_size, layer.stride, layer.padding
    pairs = _as_pairs(type(layer).__name__, *(tuple(pair) if isinstance(pair, list) else pair for pair in given))
    if pairs != given:
        layer.kernel_size, layer.stride, layer.padding = pairs
    return pairs


@lru_cache(maxsize=1024)
def _as_pairs(name: str, kernel_size: Pair, stride: Pair, padding: Pair) -> tuple[Pair, Pair, Pair]:
    return (
        as_pair(kernel_size, f"{name}: kernel_size", 1),
        as_pair(stride, f"{name}: stride", 1),
        as_pair(padding, f"{name}: padding", 0),
    )


def fixed_output_size(
    name: str, input_size: Sizes, kernel: Pair, stride: Pair, padding: Pair, ceil_mode: bool = False
) -> Sizes:
    """(OH, OW) for an image of (H, W), or sizes (N, 2) for sizes (N, 2), of the layer `name`.

    Raises ValueError where the kernel is larger than the padded image, and of several images names the first.
    """
    count = geometry.ceil_output_size if ceil_mode else geometry.output_size
    output_size: Sizes
    if isinstance(input_size, tuple):
        height, width = map(count, input_size, kernel, stride, padding)
        output_size, smallest, got = (height, width), min(height, width), f"{input_size}"
    else:
        output_size = count(input_size, np.array(kernel), np.array(stride), np.array(padding))
        smallest, first = output_size.min(), int(np.argmax((output_size < 1).any(axis=1)))
        got = f"{tuple(input_size[first].tolist())} for image {first}"
    if smallest < 1:
        raise ValueError(
            f"{name}: expected an image at least as large as the kernel {kernel}, got {got} with padding {padding}"
        )
    geometry.require_countable(output_size, f"{name}: output")
    return output_size
