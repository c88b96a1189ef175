"""The three passes of a convolution, launched: what plain and fused convolutions share.

A `Source` says where a pass reads pixels and what it does to them on the way, a `Sink` where it writes; see `products`.
Sizes are those of all images, (N, 2).
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from minicnn.backends.cuda import products
from minicnn.backends.cuda.batches import image_table
from minicnn.backends.cuda.elementwise import blocks_for
from minicnn.backends.cuda.moments import Records
from minicnn.backends.cuda.runtime.device_array import constant, empty, from_host, launch
from minicnn.backends.cuda.tiles import DEPTH, PIXELS, THREADS, TILE_THREADS, WEIGHT_BLOCKS, tile_for


class Source(NamedTuple):
    """Pixels of `channels` channels: x, and for kinds that need them y and the coefficients (5, channels)."""

    x: Any
    channels: int
    sizes: Any  # (N, 2)
    kind: int = products.PLAIN
    raw: Any = None
    coefficients: Any = None


class Sink(NamedTuple):
    """Pixels that are written: y, and for kinds that need them the raw output and coefficients of what lies there."""

    y: Any
    channels: int
    sizes: Any  # (N, 2)
    kind: int = products.PLAIN
    raw: Any = None
    coefficients: Any = None


def forward(source, weight, bias, sink, stride, padding):
    """y = bias + weight * x. Returns the sink's Records, or None where it keeps none."""
    _, n_channels, kernel_h, kernel_w = weight.shape
    area = kernel_h * kernel_w
    plan = _plan(source, sink, n_channels * area, _taps(n_channels, area, kernel_w, 1), (*stride, *padding))
    return _convolve(source, weight, bias, sink, plan, transposed=False, strided=tuple(stride) != (1, 1))


def input_gradient(source, weight, sink, stride, padding):
    """dx of dy: every pixel of dx collects what went out through it."""
    n_filters, n_channels, kernel_h, kernel_w = weight.shape
    area = kernel_h * kernel_w
    plan = _plan(source, sink, area, _taps(n_filters, area, kernel_w, n_channels), (*stride, *padding))
    return _convolve(source, weight, None, sink, plan, transposed=True, strided=tuple(stride) != (1, 1))


def weight_gradient(x, dy, kernel_size, stride, padding, dtype):
    """dweight (F, C, KH, KW) from the sources of x and dy."""
    area = kernel_size[0] * kernel_size[1]
    taps, pixels = x.channels * area, _pixels(dy.sizes)
    rows, columns = tile = tile_for(dy.channels, taps)
    tiles = -(-taps // columns), -(-dy.channels // rows)
    stretch = _stretch(pixels, WEIGHT_BLOCKS // (tiles[0] * tiles[1]))
    parts = -(-pixels // stretch)
    partial = empty((parts, dy.channels, taps), dtype)
    launch(
        products.weight_gradient(dtype.type, tile, x.kind, dy.kind),
        (*tiles, parts),
        TILE_THREADS,
        x.x,
        _or_nothing(x.coefficients, dtype),
        dy.x,
        _or_nothing(dy.raw, dtype),
        _or_nothing(dy.coefficients, dtype),
        _plan(x, dy, stretch, _taps(x.channels, area, kernel_size[1], 1), (*stride, *padding)),
        partial,
    )
    dweight = empty((dy.channels, x.channels, *kernel_size), dtype)
    size = dweight.size
    launch(products.add_partial_sums, blocks_for(size), THREADS, partial, dweight, size, parts)
    return dweight


def _convolve(source, weight, bias, sink, plan, transposed, strided):
    dtype, pixels = weight.dtype, _pixels(sink.sizes)
    rows, columns = tile = tile_for(sink.channels, pixels)
    tiles = -(-pixels // columns)
    keeps_records = sink.kind != products.PLAIN
    records = empty((tiles, sink.channels, 2), dtype) if keeps_records else None
    launch(
        products.convolution(dtype.type, tile, source.kind, sink.kind, transposed, strided),
        (tiles, -(-sink.channels // rows)),
        TILE_THREADS,
        source.x,
        _or_nothing(source.raw, dtype),
        _or_nothing(source.coefficients, dtype),
        weight,
        zeros(sink.channels, dtype) if bias is None else bias,
        plan,
        sink.y,
        _or_nothing(sink.raw, dtype),
        _or_nothing(sink.coefficients, dtype),
        _or_nothing(records, dtype),
    )
    return Records(records, pixels, columns) if keeps_records else None


def _plan(reads, writes, pitch, taps, steps):
    """The numbers of the job, taps and images of a pass, as one table on the device.

    Where the taps are no whole strips, ones that see nothing follow: their weight is 0, and what it is multiplied with
    must be 0 too, for 0 times an infinite pixel would be NaN.
    """
    images = np.column_stack([image_table(reads.sizes), image_table(writes.sizes)])
    job = reads.channels, writes.channels, pitch, len(taps), _pixels(writes.sizes), len(images), *steps
    filling = np.full(-len(taps) % DEPTH * products.TAP, products.NOWHERE)
    return constant(np.concatenate([job, taps.reshape(-1), filling, images.reshape(-1)]))


@lru_cache
def _taps(channels, area, kernel_w, step):
    """(channels * area, 4): channel, i, j, and where its weight lies, a channel being `step` kernels from the next."""
    channel, place = np.divmod(np.arange(channels * area), area)
    i, j = np.divmod(place, kernel_w)
    return np.column_stack([channel, i, j, channel * step * area + place])


def _stretch(pixels, parts):
    """Pixels of each of about `parts` parts, in whole groups of PIXELS, and at least four of them."""
    return max(-(-pixels // max(parts, 1)) + PIXELS - 1, 4 * PIXELS) // PIXELS * PIXELS


def _pixels(sizes):
    return int(sizes.prod(axis=1).sum())


def _or_nothing(array, dtype):
    """`array`, or for an argument that this variant of a kernel never looks at, some array."""
    return zeros(1, dtype) if array is None else array


@lru_cache
def zeros(size, dtype):
    """As many zeros, on the device."""
    return from_host(np.zeros(size, dtype))
