"""The forward convolution, which is also the input gradient: M = V U, and Aᵀ M A."""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numba import get_num_threads

from minicnn.backends.cpu.convolution.gather_gemm import Factors, Gathered, Out, gather_gemm
from minicnn.backends.cpu.convolution.patches import Image, Window, lanes_up, padded_bias, sink_address
from minicnn.backends.cpu.convolution.pieces import View, numbers_of, piece_number
from minicnn.backends.cpu.convolution.registers import LANES, ROWS, TERMS
from minicnn.backends.cpu.convolution.vectors import load, store
from minicnn.backends.cpu.convolution.winograd.balance import (
    pack_weight,
    places_of_pixels,
    places_of_taps,
    sum_plainly,
    windows_balanced,
)
from minicnn.backends.cpu.convolution.winograd.fallback import fallbacks_for, read_tile, tile_patch_size, tile_sides
from minicnn.backends.cpu.convolution.winograd.plan import (
    JOB_NUMBERS,
    POINTS,
    Job,
    Plan,
    inputs_in_order,
    kernel_parts,
    pitch_of,
    tile_outputs,
    tiles_of,
    tiles_of_block,
)
from minicnn.backends.cpu.convolution.winograd.tiles import SUMS, count_unbalanced, job_of
from minicnn.backends.cpu.convolution.winograd.transforms import Grid, output_transform
from minicnn.backends.cpu.convolution.winograd.weights import Packed, packed_size, packing_launch
from minicnn.backends.cpu.runtime.jit import by_pointer, inlined
from minicnn.backends.cpu.runtime.launch import Launch, call, unpack
from minicnn.backends.cpu.runtime.program import Given, Place, Program, Room
from minicnn.plain import Array

KEPT_TILES = ROWS  # tiles whose products M are kept: all 36 of them in or near the first-level cache
M_SIZE = KEPT_TILES * (POINTS * 2 * LANES + LANES)


def run(plan: Plan, x: View, y: View, weight: Array, bias: Array | None) -> None:
    """Read the batch x through its source, convolve, and write y through its sink, as `plan` has it."""
    dtype, threads = weight.dtype, get_num_threads()
    padded, missing = padded_bias(bias, y.channels, dtype), np.zeros(threads, dtype)
    for fallback in fallbacks_for(forward_fallback, dtype):
        program = _program(plan, x.form, y.form, weight.shape, dtype, fallback, threads)
        program.run(*x.arrays, *y.arrays, weight, padded, missing)
        if not missing.any():
            break
        missing[:] = 0


@lru_cache(maxsize=256)
def _program(
    plan: Plan, x: View, y: View, shape: tuple[int, ...], dtype: np.dtype[Any], fallback: int, threads: int
) -> Program:
    """Weights transformed, then the convolution: kept, since to work it out takes longer than a small picture takes the
    kernels. It is given the arrays of x and y, the weight, the bias and `missing`. At most `threads` workers."""
    U, weight, bias, missing = Room(packed_size(shape, plan.flip)), Given(8), Given(9), Given(10)
    packed = Packed(U, weight)
    convolution = forward_launch(plan, x.given(0), y.given(4), packed, bias, dtype, missing, fallback)
    return Program([packing_launch(weight, U, shape, plan.flip), convolution], dtype)


def forward_launch(
    plan: Plan, x: View, y: View, packed: Packed, bias: Place, dtype: Any, missing: Place, fallback: int
) -> Launch:
    """The launch that does it, of the weights as the kernel reads them and the bias up to whole vectors.

    missing: 0, and for each worker set to 1 where there were tiles to be summed plainly but no fallback.
    """
    parts = kernel_parts(plan.kernel_size)
    n_inputs, n_taps = parts[0] * parts[1] * x.channels, math.prod(plan.kernel_size) * x.channels
    V_size = plan.tiles * (POINTS * parts[0] * parts[1] * lanes_up(x.channels) + LANES)
    workers, guard = min(get_num_threads(), plan.layout.n_blocks), not x.bounded
    sink = sink_address(y.access, dtype)
    job = job_of(plan, x, y, dtype, sink=sink, gradient=False, guard=guard, fallback=fallback, V_size=V_size)
    for_fallback = tile_patch_size(x.channels, *parts) + n_taps * lanes_up(y.channels) if fallback else 0
    return Launch(
        forward_kernel,
        (*x.arrays, *y.arrays, packed.weight, bias, packed.plain_weight, missing),
        numbers_of(job, plan.layout, workers),
        workers,
        table_size=n_inputs + plan.tiles + ROWS + 3 * plan.tiles + 1 + 16 + ROWS + n_taps,
        scratch_size=plan.patch_size + V_size + M_SIZE + (plan.tiles * SUMS if guard else 0) + for_fallback,
    )


@by_pointer
def forward_kernel(arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, worker: int) -> None:
    """The output of this worker's blocks.

    arrays: 4 of the source, 4 of the sink, U, bias, weight, and for each worker whether there were tiles to be summed
    plainly but no fallback.
    """
    job = Job(*unpack(numbers, JOB_NUMBERS))
    source_arrays, sink_arrays = arrays[0:4], arrays[4:8]
    U, bias, _, missing = arrays[8:12]
    padded_F = lanes_up(job.F)
    patch = scratch[: job.patch_size]  # of the input, later of the output
    V = scratch[job.patch_size : job.patch_size + job.V_size]
    M = scratch[len(patch) + len(V) : len(patch) + len(V) + M_SIZE]
    sums = scratch[len(patch) + len(V) + M_SIZE :]
    taps = table[: job.parts_h * job.parts_w * job.C]
    rows = table[len(taps) : len(taps) + job.tiles + ROWS]
    places = table[len(taps) + len(rows) :]  # of each tile in the patch of the output, and its row's length
    unbalanced = places[2 * job.tiles :]
    unbalanced[job.tiles] = 0  # nothing is prepared for plain sums yet
    inputs_in_order(job, taps)
    for b in range(numbers[job.shares_at + worker], numbers[job.shares_at + worker + 1]):
        first, stop = numbers[job.blocks_at + b], numbers[job.blocks_at + b + 1]
        call(job.input_tiles, (source_arrays, numbers, b, patch, V, sums, unbalanced))
        tiles = places_of_tiles(job, numbers, b, rows, places)
        n_unbalanced = count_unbalanced(unbalanced, tiles) if job.guard else 0
        for f0 in range(0, padded_F, 2 * LANES):
            outputs_of_filters(job, V, U, bias, f0, tiles, taps, rows, places, M, patch)
            if n_unbalanced > 0:
                if job.fallback != 0:
                    call(job.fallback, (arrays, numbers, table, scratch, b, f0))
                else:
                    missing[worker] = 1
            write_outputs(job, sink_arrays, numbers, first, stop, f0, tiles, patch)


@inlined
def places_of_tiles(job: Job, numbers: Array, b: int, rows: Array, places: Array) -> int:
    """rows[t] = where tile t of block b begins in V, places[2 t] = where in the patch of the output, in pixels, and
    places[2 t + 1] how long a row is there. Returns how many tiles there are."""
    inputs = job.parts_h * job.parts_w * lanes_up(job.C)
    tiles = 0
    for index in range(numbers[job.blocks_at + b], numbers[job.blocks_at + b + 1]):
        tiles_h, tiles_w = tiles_of(piece_number(numbers, job.pieces_at, index))
        for p in range(tiles_h):
            for q in range(tiles_w):
                t = tiles + p * tiles_w + q
                rows[t] = t * pitch_of(inputs)
                places[2 * t], places[2 * t + 1] = 16 * (tiles + p * tiles_w) + 4 * q, 4 * tiles_w
        tiles += tiles_h * tiles_w
    for t in range(tiles, tiles + ROWS):
        rows[t] = rows[tiles - 1]
    return tiles


@inlined
def outputs_of_filters(
    job: Job,
    V: Array,
    U: Array,
    bias: Array,
    f0: int,
    tiles: int,
    taps: Array,
    rows: Array,
    places: Array,
    M: Array,
    patch: Array,
) -> None:
    """patch = Aᵀ M A + bias for the tiles of a block and two vectors of filters from f0 on, or the last one."""
    width = min(2 * LANES, lanes_up(job.F) - f0)
    for t0 in range(0, tiles, KEPT_TILES):
        t1 = min(tiles, t0 + KEPT_TILES)
        _products(job, V, U, f0, width, t0, t1, taps, rows, M)
        for f in range(0, width, LANES):
            of_filters = load(bias, f0 + f)
            for t in range(t0, t1):
                place, row = places[2 * t], places[2 * t + 1]
                products = Grid(M, (t - t0) * pitch_of(width) + f, 6 * width, width)
                outputs = Grid(patch, (f * 16 * tiles) + place * LANES, row * LANES, LANES)
                output_transform(products, outputs, of_filters)


@inlined
def write_outputs(
    job: Job, sink_arrays: tuple[Array, ...], numbers: Array, first: int, stop: int, f0: int, tiles: int, patch: Array
) -> None:
    """Hand the patch of the output to the sink, pieces first to stop, a vector of filters at a time."""
    for f in range(0, min(2 * LANES, lanes_up(job.F) - f0), LANES):
        patch_at = f * 16 * tiles
        for index in range(first, stop):
            piece = piece_number(numbers, job.pieces_at, index)
            tiles_h, tiles_w = tiles_of(piece)
            image = Image(piece.number, piece.y_first * job.y_pitch, job.F, piece.OH, piece.OW)
            window = Window(f0 + f, piece.p0, piece.q0, piece.p1 - piece.p0, piece.q1 - piece.q0)
            call(job.sink, (sink_arrays, image, window, 4 * tiles_w, index, patch[patch_at:]))
            patch_at += tiles_h * tiles_w * 16 * LANES


@inlined
def _products(
    job: Job,
    V: Array,
    U: Array,
    f0: int,
    width: int,
    t0: int,
    t1: int,
    taps: Array,
    rows: Array,
    M: Array,
) -> None:
    """M[t, k] = V[t, k] U[k] for tiles t0 to t1 and `width` filters from f0 on."""
    padded_F, inputs, n_taps = lanes_up(job.F), job.parts_h * job.parts_w * lanes_up(job.C), len(taps)
    pitch = pitch_of(width)
    for k in range(POINTS):
        for first in range(0, n_taps, TERMS):
            n = min(TERMS, n_taps - first)
            w, add = Factors(U, (k * padded_F + f0) * n_taps + first * width, width), first > 0
            for t in range(t0, t1, ROWS):
                out = Out(M, (t - t0) * pitch + k * width, pitch, LANES)
                x = Gathered(V, k * inputs, rows, t, taps, first, n)
                if width > LANES:
                    gather_gemm(2, out, x, w, add)
                else:
                    gather_gemm(1, out, x, w, add)


@by_pointer
def forward_fallback(arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, b: int, f0: int) -> None:
    """Put the plain sums of block b's unbalanced tiles, of two vectors of filters from f0 on, into the patch of the
    output. Everything is the `forward_kernel`'s."""
    job = Job(*unpack(numbers, JOB_NUMBERS))
    source_arrays = arrays[0:4]
    _, bias, weight, _ = arrays[8:12]
    patch = scratch[: job.patch_size]
    M = scratch[job.patch_size + job.V_size :]
    tile_patch = M[M_SIZE + job.tiles * SUMS :]
    packed = tile_patch[tile_patch_size(job.C, job.parts_h, job.parts_w) :]
    places = table[job.parts_h * job.parts_w * job.C + job.tiles + ROWS :]
    unbalanced = places[2 * job.tiles :]
    pixels = unbalanced[job.tiles + 1 :]
    taps = pixels[16 + ROWS :]
    high, wide = tile_sides(job)
    if unbalanced[job.tiles] == 0:
        unbalanced[job.tiles] = 1
        pack_weight(weight, job.C, job.F, job.KH * job.KW, job.flip, packed)
        places_of_taps(job.C, high, wide, job.KH, job.KW, taps)
        places_of_pixels(4, 4, wide, pixels)
    first, stop = numbers[job.blocks_at + b], numbers[job.blocks_at + b + 1]
    width, tiles = min(2 * LANES, lanes_up(job.F) - f0), tiles_of_block(numbers, job, b)
    t = -1
    for index in range(first, stop):
        piece = piece_number(numbers, job.pieces_at, index)
        tiles_h, tiles_w = tiles_of(piece)
        for p in range(tiles_h):
            for q in range(tiles_w):
                t += 1
                if unbalanced[t] == 0:
                    continue
                read_tile(source_arrays, job, piece, p, q, tile_patch)
                rows, columns = tile_outputs(piece, p, q)
                if f0 == 0 and windows_balanced(tile_patch, job.C, high, wide, job.KH, job.KW, rows, columns):
                    unbalanced[t] = 0
                    continue
                sum_plainly(tile_patch, job.C, high * wide, job.KH * job.KW, packed, bias, f0, width, pixels, taps, M)
                for f in range(0, width, LANES):
                    for pixel in range(16):
                        place = f * 16 * tiles + (places[2 * t] + pixel // 4 * places[2 * t + 1] + pixel % 4) * LANES
                        store(patch, place, load(M, f * (16 + ROWS) + pixel * LANES))
