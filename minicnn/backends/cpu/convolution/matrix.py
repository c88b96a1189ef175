"""Rung 3 turned round, for 1 × 1 kernels: the product of the weights and the image as it lies, channels by pixels.

    forward            y[n]  = weight x[n] + bias        (F, C) times (C, pixels), where a stride leaves pixels out
    input gradient     dx[n] = weightᵀ dy[n]             (C, F) times (F, pixels)

A pixel meets no neighbour, so nothing need be gathered, and in (C, H, W) a vector of pixels is contiguous memory:
`gather_gemm` runs with its vectors along pixels and its rows along filters, and writes each tile where it belongs. The
register tile would turn the image to channels last and back, which for one tap takes longer than the products. The
bias is the weight of one more channel, whose pixels are all 1.

Who owns what: a worker owns the output of its blocks. Cost: C F multiply-adds for each pixel.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import get_num_threads

from minicnn.backends.cpu.convolution.gather_gemm import Factors, Gathered, Out, gather_gemm
from minicnn.backends.cpu.convolution.pieces import (
    Layout,
    Piece,
    View,
    cut,
    numbers_of,
    one_to_a_block,
    piece_number,
    sizes_from,
)
from minicnn.backends.cpu.convolution.registers import LANES, ROWS, TERMS
from minicnn.backends.cpu.convolution.vectors import fill, load, store
from minicnn.backends.cpu.runtime.jit import by_pointer, serial
from minicnn.backends.cpu.runtime.launch import launch, unpack
from minicnn.plain import Array, Pair

WIDE = 2 * LANES  # pixels in a tile
PATCH_NUMBERS = 64 * 1024  # of the input that are copied at a time
PIXELS = 512  # of a piece


class Job(NamedTuple):
    C: int  # of the image
    taps: int  # the same, or one more for the bias
    F: int
    stride_h: int
    stride_w: int
    shares_at: int = 0  # these three are set by `numbers_of`
    blocks_at: int = 0
    pieces_at: int = 0


JOB_NUMBERS = len(Job._fields)


@by_pointer
def forward_kernel(arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, worker: int) -> None:
    """The output of this worker's blocks. arrays: x, weight (F, taps), y."""
    job = Job(*unpack(numbers, JOB_NUMBERS))
    x, weight, y = arrays[:3]
    edge, patch = scratch[: ROWS * WIDE], scratch[ROWS * WIDE :]  # a tile that does not fit into y; the input
    rows, taps = table[: job.F + ROWS], table[job.F + ROWS :]
    for f in range(job.F + ROWS):
        rows[f] = min(f, job.F - 1) * job.taps  # past the last filter, it is there again
    for c in range(job.taps):
        taps[c] = c
    for b in range(numbers[job.shares_at + worker], numbers[job.shares_at + worker + 1]):
        piece = piece_number(numbers, job.pieces_at, b)
        pixels = (piece.p1 - piece.p0) * (piece.q1 - piece.q0)  # whole rows, or a part of one: contiguous
        plane = piece.OH * piece.OW
        y_at = piece.y_first * job.F + piece.p0 * piece.OW + piece.q0
        _fill_patch(job, piece, x, patch)
        for t in range(0, pixels, WIDE):
            for f in range(0, job.F, ROWS):
                high, wide = min(ROWS, job.F - f), min(WIDE, pixels - t)
                if high == ROWS and wide == WIDE:
                    out = Out(y, y_at + f * plane + t, plane, LANES)
                else:
                    out = Out(edge, 0, WIDE, LANES)
                for c in range(0, job.taps, TERMS):
                    weights = Gathered(weight, 0, rows, f, taps, c, min(TERMS, job.taps - c))
                    gather_gemm(2, out, weights, Factors(patch, t * job.taps + c * WIDE, WIDE), c > 0)
                if high == ROWS and wide == WIDE:
                    continue
                for a in range(high):
                    for s in range(wide):
                        y[y_at + (f + a) * plane + t + s] = edge[a * WIDE + s]


@serial
def _fill_patch(job: Job, piece: Piece, x: Array, patch: Array) -> None:
    """patch (tiles of WIDE pixels, taps, WIDE): the pixels of the piece, each tile's together. The last tile may hold
    leftovers beyond the piece, which are computed with and not written anywhere."""
    high, wide = piece.p1 - piece.p0, piece.q1 - piece.q0
    pitch = job.taps * WIDE  # from tile to tile
    for c in range(job.C, job.taps):
        for t in range((high * wide + WIDE - 1) // WIDE):
            store(patch, t * pitch + c * WIDE, fill(patch, 1.0))
            store(patch, t * pitch + c * WIDE + LANES, fill(patch, 1.0))
    for c in range(job.C):
        x_at = piece.x_first * job.C + (c * piece.H + piece.p0 * job.stride_h) * piece.W + piece.q0 * job.stride_w
        if job.stride_h == 1 and job.stride_w == 1:
            tiles = high * wide // WIDE
            for t in range(tiles):
                store(patch, t * pitch + c * WIDE, load(x, x_at + t * WIDE))
                store(patch, t * pitch + c * WIDE + LANES, load(x, x_at + t * WIDE + LANES))
            for s in range(high * wide - tiles * WIDE):
                patch[tiles * pitch + c * WIDE + s] = x[x_at + tiles * WIDE + s]
        else:
            t = 0
            for p in range(high):
                for q in range(wide):
                    patch[t // WIDE * pitch + c * WIDE + t % WIDE] = x[
                        x_at + p * job.stride_h * piece.W + q * job.stride_w
                    ]
                    t += 1


def supports(kernel_size: Pair, padding: Pair) -> bool:
    return tuple(kernel_size) == (1, 1) and tuple(padding) == (0, 0)


def run(x: View, y: View, weight: Array, bias: Array | None, stride: Pair) -> None:
    """Fill the `View` y from x, both with (C, H, W) images; weight (F, C) or for the input gradient (C, F)."""
    F, C = weight.shape
    if bias is not None:
        weight = np.column_stack([weight, bias])
    taps = weight.shape[1]
    pixels = max(WIDE, min(PIXELS, PATCH_NUMBERS // taps // WIDE * WIDE))
    layout = _layout(x.sizes.tobytes(), y.sizes.tobytes(), pixels)
    workers = min(get_num_threads(), layout.n_blocks)
    tiles = -(-int(np.diff(layout.costs).max()) // WIDE)
    launch(
        forward_kernel,
        (*x.arrays[:1], weight, *y.arrays[:1]),
        numbers_of(Job(C, taps, F, *stride), layout, workers),
        table_size=F + ROWS + taps,
        scratch_size=(ROWS + tiles * taps) * WIDE,
        workers=workers,
        dtype=weight.dtype,
    )


@lru_cache(maxsize=64)
def _layout(x_bytes: bytes, y_bytes: bytes, pixels: int) -> Layout:
    """Pieces of at most `pixels` pixels: whole rows, or a part of one."""
    x_sizes, y_sizes = sizes_from(x_bytes), sizes_from(y_bytes)
    width = y_sizes[:, 1]
    return one_to_a_block(
        cut(x_sizes, y_sizes, np.column_stack([np.maximum(1, pixels // width), np.minimum(width, pixels)]))
    )
