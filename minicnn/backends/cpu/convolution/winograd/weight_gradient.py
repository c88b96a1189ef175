"""The weight gradient: dU = Vᵀ Q, and Gᵀ dU G.

A worker carries one share of the sum after the other through the same memory, which stays in its cache, and of each
stores Gᵀ dU G alone, a quarter of dU.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numba import get_num_threads

from minicnn.backends.cpu.convolution.gather_gemm import Factors, Gathered, Out, gather_gemm
from minicnn.backends.cpu.convolution.patches import Image, Window, lanes_up, source_address
from minicnn.backends.cpu.convolution.pieces import SMALL, View, number_of_shares, numbers_of, piece_number
from minicnn.backends.cpu.convolution.registers import LANES, ROWS
from minicnn.backends.cpu.convolution.vectors import load, store
from minicnn.backends.cpu.convolution.winograd.balance import (
    PARTS,
    places_of_pixels,
    places_of_taps,
    quarters_balanced,
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
    plan_forward,
    rows_up,
    tile_outputs,
    tiles_of,
    tiles_of_block,
)
from minicnn.backends.cpu.convolution.winograd.tiles import (
    SUMS,
    clear,
    count_unbalanced,
    job_of,
    tile_to_compare,
)
from minicnn.backends.cpu.convolution.winograd.transforms import Grid, weight_adjoint_transform
from minicnn.backends.cpu.runtime.jit import by_pointer, inlined
from minicnn.backends.cpu.runtime.launch import Launch, call, unpack
from minicnn.backends.cpu.runtime.program import Given, Place, Program, Room
from minicnn.plain import Array, Pair

NONE, PLAIN, MISSING = 0, 1, -1  # what became of the unbalanced tiles of a share: there are none, or summed, or not


def run_weight_gradient(x: View, dy: View, kernel_size: Pair, stride: Pair, padding: Pair, dtype: np.dtype) -> Array:
    """dweight (F, C, KH, KW) of the batches x and dy, each read through its source."""
    plan = plan_forward(kernel_size, stride, padding, max(x.channels, dy.channels), x.sizes, dy.sizes, dtype.itemsize)
    dweight = np.empty((dy.channels, x.channels, *kernel_size), dtype)
    state = np.empty(_shares(plan, x.channels, dy.channels, dtype), dtype)
    for fallback in fallbacks_for(weight_gradient_fallback, dtype):
        program = _program(plan, x.form, dy.form, dtype, fallback, get_num_threads())
        program.run(*x.arrays, *dy.arrays, state, dweight)
        if not (state == MISSING).any():
            break
    return dweight


def _shares(plan: Plan, C: int, F: int, dtype: np.dtype) -> int:
    parts = kernel_parts(plan.kernel_size)
    return number_of_shares(plan.layout.n_blocks, _share_size(parts[0] * parts[1] * C, F) * dtype.itemsize)


def _share_size(n_inputs: int, F: int) -> int:
    return POINTS * rows_up(n_inputs) * lanes_up(F)


@lru_cache(maxsize=256)
def _program(plan: Plan, x: View, dy: View, dtype: np.dtype[Any], fallback: int, threads: int) -> Program:
    """The partial sums, and they added up: kept, since to work it out takes longer than a small picture takes the
    kernels. It is given the arrays of x and dy, for each share its state, and dweight. At most `threads` workers."""
    parts, C, F = kernel_parts(plan.kernel_size), x.channels, dy.channels
    n_inputs, padded_F = parts[0] * parts[1] * C, lanes_up(F)
    n_taps = rows_up(math.prod(plan.kernel_size) * C)
    V_size = plan.tiles * (POINTS * parts[0] * parts[1] * lanes_up(C) + LANES)
    Q_size = plan.tiles * (POINTS * padded_F + LANES)
    shares = _shares(plan, C, F, dtype)
    guard = not (x.bounded and dy.bounded)
    sums, state, dweight = Room(shares * n_inputs * 9 * padded_F), Given(8), Given(9)
    plain_sums = Room(shares * n_taps * padded_F) if guard else None
    scratch_size = plan.patch_size + V_size + _share_size(n_inputs, F) + Q_size
    if guard:
        scratch_size += 2 * plan.tiles * SUMS + tile_patch_size(C, *parts)
    sink, workers = source_address(dy.access, dtype), min(threads, shares)
    job = job_of(plan, x, dy, dtype, sink=sink, gradient=True, guard=guard, fallback=fallback, V_size=V_size)
    summing = Launch(
        weight_gradient_kernel,
        (*x.given(0).arrays, *dy.given(4).arrays, sums, plain_sums, state),
        numbers_of(job, plan.layout, shares, (shares, workers)),
        workers,
        table_size=rows_up(n_inputs) + 2 * plan.tiles + n_taps + 16 + ROWS,
        scratch_size=scratch_size,
    )
    return Program([summing, finish_launch(sums, plain_sums, state, dweight, (F, C, *plan.kernel_size), shares)], dtype)


def finish_launch(
    sums: Place, plain_sums: Place, state: Place, dweight: Place, shape: tuple[int, ...], shares: int
) -> Launch:
    """The launch that makes dweight, of this shape, of what the shares summed."""
    F, C = shape[:2]
    workers = min(C, get_num_threads()) if C * F >= SMALL else 1
    arrays, numbers = (sums, plain_sums, state, dweight), (*shape, shares, workers)
    return Launch(finish_weight_gradient_kernel, arrays, numbers, workers, scratch_size=LANES)


@by_pointer
def weight_gradient_kernel(
    arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, worker: int
) -> None:
    """This worker's shares of the sum dU = Vᵀ Q, each of them transformed to Gᵀ dU G.

    arrays: 4 of the source of x, 4 of the source of dy, the sums (shares, inputs, 9, F rounded up), those of unbalanced
    tiles, and for each share what became of these: NONE, PLAIN or MISSING. numbers: the job, shares, workers.
    """
    job = Job(*unpack(numbers, JOB_NUMBERS))
    x_arrays, dy_arrays = arrays[0:4], arrays[4:8]
    sums_of_shares, _, state = arrays[8:11]
    shares, workers = unpack(numbers[JOB_NUMBERS:], 2)
    padded_F = lanes_up(job.F)
    patch = scratch[: job.patch_size]
    V = scratch[job.patch_size : job.patch_size + job.V_size]
    dU = scratch[job.patch_size + job.V_size :]
    Q = dU[dU_size(job) :]
    sums = Q[job.tiles * pitch_of(padded_F) :]
    n_rows = job.parts_h * job.parts_w * job.C
    height = rows_up(n_rows)
    rows, taps, unbalanced = table[:height], table[height:], table[height + job.tiles :]
    inputs_in_order(job, rows)
    for row in range(n_rows, height):
        rows[row] = rows[n_rows - 1]
    for share in range(worker * shares // workers, (worker + 1) * shares // workers):
        state[share] = NONE
        first_block, last_block = numbers[job.shares_at + share], numbers[job.shares_at + share + 1]
        if first_block == last_block:
            clear(dU, 0, dU_size(job) // LANES)
        for b in range(first_block, last_block):
            call(job.input_tiles, (x_arrays, numbers, b, patch, V, sums, unbalanced))
            call(job.gradient_tiles, (dy_arrays, numbers, b, patch, Q, sums[job.tiles * SUMS :], unbalanced))
            tiles = tiles_of_block(numbers, job, b)
            if job.guard and count_unbalanced(unbalanced, tiles) > 0:
                if job.fallback != 0:
                    call(job.fallback, (arrays, numbers, table, scratch, b, share))
                else:
                    state[share] = MISSING
            add_products(job, V, Q, 0, padded_F, tiles, rows, taps, b > first_block, dU)
        transform_sums(job, dU, share, sums_of_shares)


@inlined
def transform_sums(job: Job, dU: Array, share: int, sums_of_shares: Array) -> None:
    """sums_of_shares[share] = Gᵀ dU G."""
    n_rows, padded_F = job.parts_h * job.parts_w * job.C, lanes_up(job.F)
    height = rows_up(n_rows)
    for row in range(n_rows):
        for f in range(0, padded_F, LANES):
            products = Grid(dU, row * padded_F + f, 6 * height * padded_F, height * padded_F)
            at = (share * n_rows + row) * 9 * padded_F + f
            weight_adjoint_transform(products, Grid(sums_of_shares, at, 3 * padded_F, padded_F))


@inlined
def dU_size(job: Job) -> int:
    """dU is laid out (36, inputs up to whole ROWS, filters up to whole vectors)."""
    return POINTS * rows_up(job.parts_h * job.parts_w * job.C) * lanes_up(job.F)


@inlined
def add_products(
    job: Job, V: Array, Q: Array, f0: int, width: int, tiles: int, rows: Array, taps: Array, add: bool, dU: Array
) -> None:
    """dU[k] = V[:, k]ᵀ Q[:, k] of a block's tiles, where Q has `width` filters from f0 on; where `add`, added to what
    dU holds."""
    padded_F, inputs = lanes_up(job.F), job.parts_h * job.parts_w * lanes_up(job.C)
    n_rows = job.parts_h * job.parts_w * job.C
    height, pitch = rows_up(n_rows), pitch_of(width)
    for t in range(tiles):
        taps[t] = t * pitch_of(inputs)
    for k in range(POINTS):
        for f in range(0, width, 2 * LANES):
            w = Factors(Q, k * width + f, pitch)
            for row in range(0, n_rows, ROWS):
                out = Out(dU, (k * height + row) * padded_F + f0 + f, padded_F, LANES)
                x = Gathered(V, k * inputs, rows, row, taps, 0, tiles)
                if width - f > LANES:
                    gather_gemm(2, out, x, w, add)
                else:
                    gather_gemm(1, out, x, w, add)


@by_pointer
def finish_weight_gradient_kernel(
    arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, worker: int
) -> None:
    """dg = the sum of the shares + the plain sums, each in order. Worker i owns the channels i, i + workers, …

    arrays: sums (shares, inputs, 9, F rounded up), plain sums (shares, taps rounded up, F rounded up), which of these
    are there (shares), dweight; numbers: F, C, KH, KW, shares, workers.
    """
    sums, plain, state, dweight = arrays[:4]
    F, C, KH, KW, shares, workers = unpack(numbers, 6)
    parts_h, parts_w = (KH + 2) // 3, (KW + 2) // 3
    padded = lanes_up(F)
    size, plain_size = parts_h * parts_w * C * 9 * padded, rows_up(C * KH * KW) * padded
    n_plain = 0
    for share in range(shares):
        n_plain += state[share] == PLAIN
    for c in range(worker, C, workers):
        for i in range(KH):
            for j in range(KW):
                part, g = i // 3 * parts_w + j // 3, i % 3 * 3 + j % 3
                for f in range(0, padded, LANES):
                    at = ((part * C + c) * 9 + g) * padded + f
                    value = load(sums, at)
                    for share in range(1, shares):
                        value = value + load(sums, share * size + at)
                    for share in range(shares if n_plain > 0 else 0):
                        if state[share] == PLAIN:
                            value = value + load(plain, share * plain_size + ((c * KH + i) * KW + j) * padded + f)
                    store(scratch, 0, value)
                    for lane in range(min(LANES, F - f)):
                        dweight[(((f + lane) * C + c) * KH + i) * KW + j] = scratch[lane]


@by_pointer
def weight_gradient_fallback(
    arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, b: int, share: int
) -> None:
    """Take block b's unbalanced tiles out of V and Q, and add their products to the plain sums of the share.
    Everything is the `weight_gradient_kernel`'s."""
    job = Job(*unpack(numbers, JOB_NUMBERS))
    x_arrays, dy_arrays = arrays[0:4], arrays[4:8]
    _, plain_sums, state = arrays[8:11]
    padded_F, inputs = lanes_up(job.F), job.parts_h * job.parts_w * lanes_up(job.C)
    patch = scratch[: job.patch_size]
    V = scratch[job.patch_size : job.patch_size + job.V_size]
    Q = scratch[job.patch_size + job.V_size + dU_size(job) :]
    sums = Q[job.tiles * pitch_of(padded_F) :]
    dy_sums = sums[job.tiles * SUMS :]
    tile_patch = dy_sums[job.tiles * SUMS :]
    unbalanced = table[rows_up(job.parts_h * job.parts_w * job.C) + job.tiles :]
    rows = unbalanced[job.tiles :]
    n_rows = job.C * job.KH * job.KW
    pixels = rows[rows_up(n_rows) :]
    size = rows_up(n_rows) * padded_F
    plain = plain_sums[share * size : (share + 1) * size]
    high, wide = tile_sides(job)
    vectors = PARTS if job.parts_h * job.parts_w == 1 else 2 * PARTS
    t = -1
    for index in range(numbers[job.blocks_at + b], numbers[job.blocks_at + b + 1]):
        piece = piece_number(numbers, job.pieces_at, index)
        tiles_h, tiles_w = tiles_of(piece)
        for p in range(tiles_h):
            for q in range(tiles_w):
                t += 1
                if unbalanced[t] == 0:
                    continue
                rows_left, columns_left = tile_outputs(piece, p, q)
                # Where the image ends above them, the lower quarters of x are 0; likewise on the right.
                lower = rows_left > 2 and piece.p0 + 4 * p + 3 - job.pad_h < piece.H
                right = columns_left > 2 and piece.q0 + 4 * q + 3 - job.pad_w < piece.W
                other = tile_to_compare(t, p, q, tiles_w, rows_left, columns_left) * SUMS
                if quarters_balanced(sums, t * SUMS, vectors, lower, right, other) and quarters_balanced(
                    dy_sums, t * SUMS, PARTS, rows_left > 2, columns_left > 2, other
                ):
                    continue
                if state[share] == NONE:
                    state[share] = PLAIN
                    for cell in range(size):
                        plain[cell] = 0
                    places_of_taps(job.C, high, wide, job.KH, job.KW, rows)
                    for row in range(n_rows, rows_up(n_rows)):
                        rows[row] = rows[n_rows - 1]
                read_tile(x_arrays, job, piece, p, q, tile_patch)
                places_of_pixels(rows_left, columns_left, wide, pixels)
                image = Image(piece.number, piece.y_first * job.y_pitch, job.F, piece.OH, piece.OW)
                count = rows_left * columns_left
                for f in range(0, padded_F, LANES):
                    window = Window(f, piece.p0 + 4 * p, piece.q0 + 4 * q, rows_left, columns_left)
                    call(job.sink, (dy_arrays, image, window, patch))
                    for row in range(0, n_rows, ROWS):
                        out = Out(plain, row * padded_F + f, padded_F, 0)
                        x = Gathered(tile_patch, 0, rows, row, pixels, 0, count)
                        gather_gemm(1, out, x, Factors(patch, 0, LANES), True)
                clear(V, t * pitch_of(inputs), pitch_of(inputs) // LANES)
                clear(Q, t * pitch_of(padded_F), pitch_of(padded_F) // LANES)
