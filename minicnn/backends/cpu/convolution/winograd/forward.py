"""The forward convolution, which is also the input gradient: M = V U, and Aᵀ M A."""

import math

import numpy as np
from numba import get_num_threads

from minicnn.backends.cpu.convolution.balance import (
    pack_weight,
    places_of_pixels,
    places_of_taps,
    sum_plainly,
    windows_balanced,
)
from minicnn.backends.cpu.convolution.patches import Image, Window, lanes_up, padded_bias, sink_address
from minicnn.backends.cpu.convolution.pieces import numbers_of, piece_number
from minicnn.backends.cpu.convolution.vectors import LANES, ROWS, TERMS, gather_gemm, load, store
from minicnn.backends.cpu.convolution.winograd.menders import menders_for, read_tile, tile_patch_size, tile_sides
from minicnn.backends.cpu.convolution.winograd.plan import (
    JOB_NUMBERS,
    POINTS,
    Job,
    inputs_in_order,
    kernel_parts,
    pitch_of,
    tile_outputs,
    tiles_of,
    tiles_of_block,
)
from minicnn.backends.cpu.convolution.winograd.tiles import SUMS, count_unbalanced, input_tiles, job_of
from minicnn.backends.cpu.convolution.winograd.transforms import output_transform
from minicnn.backends.cpu.convolution.winograd.weights import transformed_weight
from minicnn.backends.cpu.runtime.jit import by_pointer, inlined
from minicnn.backends.cpu.runtime.launch import call, launch, unpack

KEPT_TILES = ROWS  # tiles whose products M are kept: all 36 of them in or near the first-level cache
M_SIZE = KEPT_TILES * (POINTS * 2 * LANES + LANES)


def run(plan, x, y, weight, bias):
    """Read the batch x through its source, convolve, and write y through its sink, as `plan` has it."""
    dtype, parts = weight.dtype, kernel_parts(plan.kernel_size)
    n_inputs, n_taps = parts[0] * parts[1] * x.channels, math.prod(plan.kernel_size) * x.channels
    V_size = plan.tiles * (POINTS * parts[0] * parts[1] * lanes_up(x.channels) + LANES)
    workers = min(get_num_threads(), plan.layout.n_blocks)
    guard, unmended = not x.bounded, np.empty(workers, dtype)
    constants = transformed_weight(weight, plan.flip), padded_bias(bias, y.channels, dtype), weight, unmended
    table_size = n_inputs + plan.tiles + ROWS + 3 * plan.tiles + 1 + 16 + ROWS + n_taps
    scratch_size = plan.patch_size + V_size + M_SIZE + (plan.tiles * SUMS if guard else 0)

    for mender in menders_for(forward_mender, dtype):
        job = job_of(plan, x, y, sink_address(y.access, dtype), (input_tiles,), guard, mender, V_size, dtype)
        numbers = numbers_of(job, plan.layout, workers)
        for_mender = tile_patch_size(x.channels, *parts) + n_taps * lanes_up(y.channels) if mender else 0
        arrays = (*x.arrays, *y.arrays, *constants)
        launch(forward_kernel, arrays, numbers, table_size, scratch_size + for_mender, workers, dtype)
        if not (guard and unmended.any()):
            break


@by_pointer
def forward_kernel(arrays, numbers, table, scratch, worker):
    """The output of this worker's blocks.

    arrays: 4 of the source, 4 of the sink, U, bias, weight, and whether there were tiles but no mender (workers).
    """
    job = Job(*unpack(numbers, JOB_NUMBERS))
    source_arrays, sink_arrays, U, bias, unmended = arrays[0:4], arrays[4:8], arrays[8], arrays[9], arrays[11]
    padded_F, inputs = lanes_up(job.F), job.parts_h * job.parts_w * lanes_up(job.C)
    patch = scratch[: job.patch_size]  # of the input, later of the output
    V = scratch[job.patch_size : job.patch_size + job.V_size]
    M = scratch[len(patch) + len(V) : len(patch) + len(V) + M_SIZE]
    sums = scratch[len(patch) + len(V) + M_SIZE :]
    taps = table[: job.parts_h * job.parts_w * job.C]
    rows = table[len(taps) : len(taps) + job.tiles + ROWS]
    places = table[len(taps) + len(rows) :]  # of each tile in the patch of the output, and its row's length
    unbalanced = places[2 * job.tiles :]
    unbalanced[job.tiles] = 0  # nothing is prepared for plain sums yet
    unmended[worker] = 0
    inputs_in_order(job, taps)
    for b in range(numbers[job.shares_at + worker], numbers[job.shares_at + worker + 1]):
        first, stop = numbers[job.blocks_at + b], numbers[job.blocks_at + b + 1]
        call(job.input_tiles, (source_arrays, numbers, b, patch, V, sums, unbalanced))
        tiles = 0
        for index in range(first, stop):
            tiles_h, tiles_w = tiles_of(piece_number(numbers, job.pieces_at, index))
            for p in range(tiles_h):
                for q in range(tiles_w):
                    t = tiles + p * tiles_w + q
                    rows[t] = t * pitch_of(inputs)
                    places[2 * t], places[2 * t + 1] = 16 * (tiles + p * tiles_w) + 4 * q, 4 * tiles_w
            tiles += tiles_h * tiles_w
        for t in range(tiles, tiles + ROWS):
            rows[t] = rows[tiles - 1]
        n_unbalanced = count_unbalanced(unbalanced, tiles) if job.guard else 0
        for f0 in range(0, padded_F, 2 * LANES):
            width = min(2 * LANES, padded_F - f0)
            for t0 in range(0, tiles, KEPT_TILES):
                t1 = min(tiles, t0 + KEPT_TILES)
                _products(job, V, U, bias, f0, width, t0, t1, taps, rows, M)
                for t in range(t0, t1):
                    for f in range(0, width, LANES):
                        patch_at = (f * 16 * tiles) + places[2 * t] * LANES
                        M_at = (t - t0) * pitch_of(width) + f
                        output_transform(M, M_at, 6 * width, width, patch, patch_at, places[2 * t + 1] * LANES, LANES)
            if n_unbalanced > 0:
                if job.mender != 0:
                    call(job.mender, (arrays, numbers, table, scratch, b, f0))
                else:
                    unmended[worker] = 1
            for f in range(0, width, LANES):
                patch_at = f * 16 * tiles
                for index in range(first, stop):
                    piece = piece_number(numbers, job.pieces_at, index)
                    tiles_h, tiles_w = tiles_of(piece)
                    image = Image(piece.number, piece.y_first * job.y_pitch, job.F, piece.OH, piece.OW)
                    window = Window(f0 + f, piece.p0, piece.q0, piece.p1 - piece.p0, piece.q1 - piece.q0)
                    call(job.sink, (sink_arrays, image, window, 4 * tiles_w, index, patch[patch_at:]))
                    patch_at += tiles_h * tiles_w * 16 * LANES


@inlined
def _products(job, V, U, bias, f0, width, t0, t1, taps, rows, M):
    """M[t, k] = V[t, k] U[k] for tiles t0 to t1 and `width` filters from f0 on.

    The bias goes into product (1, 1): Aᵀ turns a constant there into a constant tile.
    """
    padded_F, inputs, n_taps = lanes_up(job.F), job.parts_h * job.parts_w * lanes_up(job.C), len(taps)
    pitch = pitch_of(width)
    for t in range(t1 - t0):
        for f in range(width):
            M[t * pitch + 7 * width + f] = bias[f0 + f]
    for k in range(POINTS):
        for first in range(0, n_taps, TERMS):
            n = min(TERMS, n_taps - first)
            U_at = (k * padded_F + f0) * n_taps + first * width
            add = k == 7 or first > 0
            for t in range(t0, t1, ROWS):
                at, V_at = (t - t0) * pitch + k * width, k * inputs
                if width > LANES:
                    gather_gemm(2, M, at, pitch, LANES, V, V_at, rows, t, taps, first, n, U, U_at, width, add)
                else:
                    gather_gemm(1, M, at, pitch, LANES, V, V_at, rows, t, taps, first, n, U, U_at, width, add)


@by_pointer
def forward_mender(arrays, numbers, table, scratch, b, f0):
    """Put the plain sums of block b's unbalanced tiles, of two vectors of filters from f0 on, into the patch of the
    output. Everything is the `forward_kernel`'s."""
    job = Job(*unpack(numbers, JOB_NUMBERS))
    source_arrays, bias, weight = arrays[0:4], arrays[9], arrays[10]
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
