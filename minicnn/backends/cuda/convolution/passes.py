"""The three passes of a convolution, launched: what plain and fused convolutions share.

A `Source` says where a pass reads pixels and what it does to them on the way, a `Sink` where it writes.
"""

from typing import Any

import numpy as np

from minicnn.backends.cuda.convolution import kernels
from minicnn.backends.cuda.convolution.plan import count_pixels, make_plan, make_taps
from minicnn.backends.cuda.convolution.sides import PLAIN, Sink, Source
from minicnn.backends.cuda.elementwise import blocks_for, real_of
from minicnn.backends.cuda.moments import Records
from minicnn.backends.cuda.products import add_partial_sums
from minicnn.backends.cuda.runtime.device_array import empty, launch, zeros
from minicnn.backends.cuda.tiles import PIXELS, THREADS, TILE_THREADS, WEIGHT_BLOCKS, tile_for
from minicnn.plain import Array, Pair


def forward(
    source: Source, weight: Array, bias: Array | None, sink: Sink, stride: Pair, padding: Pair
) -> Records | None:
    """y = bias + weight * x. Returns the sink's Records, or None where it keeps none."""
    _, n_channels, *kernel_size = weight.shape
    taps = make_taps(n_channels, tuple(kernel_size), 1)
    plan = make_plan(source, sink, taps, (*stride, *padding), row_pitch=len(taps))
    return _convolve(source, weight, bias, sink, plan, transposed=False, strided=tuple(stride) != (1, 1))


def input_gradient(source: Source, weight: Array, sink: Sink, stride: Pair, padding: Pair) -> Records | None:
    """dx of dy: every pixel of dx collects what went out through it."""
    n_filters, n_channels, kernel_h, kernel_w = weight.shape
    taps = make_taps(n_filters, (kernel_h, kernel_w), n_channels)
    plan = make_plan(source, sink, taps, (*stride, *padding), row_pitch=kernel_h * kernel_w)
    return _convolve(source, weight, None, sink, plan, transposed=True, strided=tuple(stride) != (1, 1))


def weight_gradient(x: Source, dy: Source, kernel_size: Pair, stride: Pair, padding: Pair, dtype: np.dtype) -> Array:
    """dweight (F, C, KH, KW) from the sources of x and dy."""
    taps, pixels = make_taps(x.channels, tuple(kernel_size), 1), count_pixels(dy.sizes)
    rows, columns = tile = tile_for(dy.channels, len(taps))
    tiles = -(-len(taps) // columns), -(-dy.channels // rows)
    chunk = _chunk(pixels, WEIGHT_BLOCKS // (tiles[0] * tiles[1]))
    parts = -(-pixels // chunk)
    partial = empty((parts, dy.channels, len(taps)), dtype)
    launch(
        kernels.weight_gradient(real_of(partial), tile, x.kind, dy.kind),
        (*tiles, parts),
        TILE_THREADS,
        x.x,
        _or_nothing(x.coefficients, dtype),
        dy.x,
        _or_nothing(dy.raw, dtype),
        _or_nothing(dy.coefficients, dtype),
        make_plan(x, dy, taps, (*stride, *padding), chunk=chunk),
        partial,
    )
    dweight = empty((dy.channels, x.channels, *kernel_size), dtype)
    launch(add_partial_sums, blocks_for(dweight.size), THREADS, partial, dweight, dweight.size, parts)
    return dweight


def _convolve(
    source: Source, weight: Array, bias: Array | None, sink: Sink, plan: Array, transposed: bool, strided: bool
) -> Records | None:
    dtype, pixels = weight.dtype, count_pixels(sink.sizes)
    rows, columns = tile = tile_for(sink.channels, pixels)
    tiles = -(-pixels // columns)
    records = None if sink.kind == PLAIN else empty((tiles, sink.channels, 2), dtype)
    launch(
        kernels.convolution(real_of(weight), tile, source.kind, sink.kind, transposed, strided),
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
    return None if records is None else Records(records, pixels, columns)


def _chunk(pixels: int, parts: int) -> int:
    """Pixels of each of about `parts` parts, in whole groups of PIXELS, and at least four of them."""
    return max(-(-pixels // max(parts, 1)) + PIXELS - 1, 4 * PIXELS) // PIXELS * PIXELS


def _or_nothing(array: Array | None, dtype: np.dtype[Any]) -> Array:
    """`array`, or for an argument that this variant of a kernel never looks at, some array."""
    return zeros(1, dtype) if array is None else array
