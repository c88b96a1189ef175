"""The transforms of a block's tiles: long, so compiled by themselves, once for both kernels."""

from typing import Any

import numpy as np
from numba import types

from minicnn.backends.cpu.convolution.patches import SOURCE_ARRAYS, Image, Window, lanes_up, source_address
from minicnn.backends.cpu.convolution.pieces import View, piece_number
from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.convolution.vectors import fill, store
from minicnn.backends.cpu.convolution.winograd.balance import PARTS, add_squares, balanced
from minicnn.backends.cpu.convolution.winograd.plan import (
    JOB_NUMBERS,
    Job,
    Plan,
    kernel_parts,
    pitch_of,
    tile_outputs,
    tiles_of,
)
from minicnn.backends.cpu.convolution.winograd.transforms import Grid, input_transform, output_adjoint_transform
from minicnn.backends.cpu.runtime.jit import by_pointer, inlined
from minicnn.backends.cpu.runtime.launch import address, call, flat, unpack
from minicnn.plain import Array

SUMS = 2 * PARTS * LANES  # of squares for each tile: of the kernel's first 3 × 3 part, and of the others


@by_pointer
def input_tiles(
    source_arrays: tuple[Array, ...], numbers: Array, block: int, patch: Array, V: Array, sums: Array, unbalanced: Array
) -> None:
    """V[t, k, input] = (Bᵀ d B)[k] for every tile t of a block; where tiles are guarded also its sums of squares, and
    whether these look `unbalanced`."""
    job = Job(*unpack(numbers, JOB_NUMBERS))
    first, stop = numbers[job.blocks_at + block], numbers[job.blocks_at + block + 1]
    padded = lanes_up(job.C)
    inputs = job.parts_h * job.parts_w * padded
    vectors = PARTS if inputs == padded else 2 * PARTS
    if job.guard:
        for t in range(job.tiles):
            clear(sums, t * SUMS, vectors)
    for c0 in range(0, padded, LANES):
        at, t = c0, 0
        for index in range(first, stop):
            piece = piece_number(numbers, job.pieces_at, index)
            tiles_h, tiles_w = tiles_of(piece)
            rows, columns = 4 * tiles_h + 3 * job.parts_h - 1, 4 * tiles_w + 3 * job.parts_w - 1
            image = Image(piece.number, piece.x_first * job.x_pitch, job.C, piece.H, piece.W)
            window = Window(c0, piece.p0 - job.pad_h, piece.q0 - job.pad_w, rows, columns)
            call(job.source, (source_arrays, image, window, patch))
            for p in range(tiles_h):
                for q in range(tiles_w):
                    for a in range(job.parts_h):
                        for b in range(job.parts_w):
                            patch_at = ((4 * p + 3 * a) * columns + 4 * q + 3 * b) * LANES
                            V_at, row = at + (a * job.parts_w + b) * padded, columns * LANES
                            input_transform(Grid(patch, patch_at, row, LANES), Grid(V, V_at, 6 * inputs, inputs))
                            if job.guard:
                                sums_at = t * SUMS + (0 if a + b == 0 else PARTS * LANES)
                                add_squares(patch, patch_at, row, 6, sums, sums_at)
                    at += pitch_of(inputs)
                    if job.guard and c0 + LANES == padded:
                        rows_left, columns_left = tile_outputs(piece, p, q)
                        other = tile_to_compare(t, p, q, tiles_w, rows_left, columns_left)
                        good = balanced(sums, t * SUMS, vectors, rows_left > 2, columns_left > 2, other * SUMS)
                        unbalanced[t] = 0 if good else 1
                    t += 1


@by_pointer
def gradient_tiles(
    source_arrays: tuple[Array, ...], numbers: Array, block: int, patch: Array, Q: Array, sums: Array, unbalanced: Array
) -> None:
    """Q[t, k, f] = (A dy Aᵀ)[k] for every tile t of a block; where tiles are guarded also its sums of squares, and
    whether these, too, look `unbalanced`."""
    job = Job(*unpack(numbers, JOB_NUMBERS))
    first, stop = numbers[job.blocks_at + block], numbers[job.blocks_at + block + 1]
    padded = lanes_up(job.F)
    if job.guard:
        for t in range(job.tiles):
            clear(sums, t * SUMS, PARTS)
    for f0 in range(0, padded, LANES):
        at, t = f0, 0
        for index in range(first, stop):
            piece = piece_number(numbers, job.pieces_at, index)
            tiles_h, tiles_w = tiles_of(piece)
            image = Image(piece.number, piece.y_first * job.y_pitch, job.F, piece.OH, piece.OW)
            # A piece ends at the image's border or on whole tiles: what a tile has beyond it, the source makes 0.
            window = Window(f0, piece.p0, piece.q0, 4 * tiles_h, 4 * tiles_w)
            call(job.sink, (source_arrays, image, window, patch))
            for p in range(tiles_h):
                for q in range(tiles_w):
                    patch_at = (4 * p * 4 * tiles_w + 4 * q) * LANES
                    row = 4 * tiles_w * LANES
                    output_adjoint_transform(Grid(patch, patch_at, row, LANES), Grid(Q, at, 6 * padded, padded))
                    if job.guard:
                        add_squares(patch, patch_at, row, 4, sums, t * SUMS)
                    at += pitch_of(padded)
                    if job.guard and f0 + LANES == padded and unbalanced[t] == 0:
                        rows, columns = tile_outputs(piece, p, q)
                        other = tile_to_compare(t, p, q, tiles_w, rows, columns)
                        good = balanced(sums, t * SUMS, PARTS, rows > 2, columns > 2, other * SUMS)
                        unbalanced[t] = 0 if good else 1
                    t += 1


def tiles_signature(dtype: Any) -> tuple[Any, ...]:
    source_arrays, numbers = types.UniTuple(flat(dtype), SOURCE_ARRAYS), flat(np.int64)
    return source_arrays, numbers, types.intp, flat(dtype), flat(dtype), flat(dtype), numbers


@inlined
def count_unbalanced(unbalanced: Array, tiles: int) -> int:
    """How many tiles look unbalanced."""
    count = 0
    for t in range(tiles):
        count += unbalanced[t]
    return count


@inlined
def clear(array: Array, at: int, vectors: int) -> None:
    """Set this many vectors to 0, from `at` on."""
    zero = fill(array, 0.0)
    for vector in range(vectors):
        store(array, at + vector * LANES, zero)


@inlined
def tile_to_compare(t: int, p: int, q: int, tiles_w: int, rows: int, columns: int) -> int:
    """The tile with which tile t, of rows × columns outputs, must be balanced: itself, or at the border, where it has
    less than two quarters in one direction, the one beside or above it. A weight that meets nothing of a tile at the
    border must not suffer from it."""
    other = t
    if rows <= 2 or columns <= 2:
        if q > 0:
            other = t - 1
        elif p > 0:
            other = t - tiles_w
    return other


def job_of(
    plan: Plan,
    x: View,
    y: View,
    dtype: Any,
    *,
    sink: int,
    gradient: bool,
    guard: bool,
    fallback: int,
    V_size: int,
) -> Job:
    """The numbers of a kernel; `sink` is the address by which it gets at y, `gradient` whether it transforms that."""
    KH, KW = plan.kernel_size
    parts_h, parts_w = kernel_parts(plan.kernel_size)
    pad_h, pad_w = plan.padding
    return Job(
        source=source_address(x.access, dtype),
        sink=sink,
        input_tiles=address(input_tiles, dtype, tiles_signature),
        gradient_tiles=address(gradient_tiles, dtype, tiles_signature) if gradient else 0,
        C=x.channels,
        x_pitch=x.pitch,
        F=y.channels,
        y_pitch=y.pitch,
        KH=KH,
        KW=KW,
        parts_h=parts_h,
        parts_w=parts_w,
        pad_h=pad_h,
        pad_w=pad_w,
        flip=plan.flip,
        guard=guard,
        fallback=fallback,
        patch_size=plan.patch_size,
        V_size=V_size,
        tiles=plan.tiles,
    )
