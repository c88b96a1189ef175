"""The weight gradient: the sum over pixels of x times dy, for each tap."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import get_num_threads

from minicnn.backends.cpu.convolution.gather_gemm import Factors, Gathered, Out, gather_gemm
from minicnn.backends.cpu.convolution.patches import Image, Window, lanes_up, source_address
from minicnn.backends.cpu.convolution.pieces import SMALL, View, number_of_shares, numbers_of, piece_number
from minicnn.backends.cpu.convolution.registers import LANES, ROWS
from minicnn.backends.cpu.convolution.tile.patch import fill_patch, group_of
from minicnn.backends.cpu.convolution.tile.plan import Plan, plan_forward
from minicnn.backends.cpu.convolution.vectors import load, store
from minicnn.backends.cpu.runtime.jit import by_pointer, inlined
from minicnn.backends.cpu.runtime.launch import Launch, call, unpack
from minicnn.backends.cpu.runtime.program import Given, Program, Room
from minicnn.plain import Array, Pair


class Job(NamedTuple):
    """The numbers of the kernel."""

    x_source: int
    dy_source: int
    group: int  # channels that lie side by side in the patch
    C: int
    x_pitch: int
    F: int
    dy_pitch: int
    patch_size: int
    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int
    KH: int
    KW: int
    shares_at: int = 0  # these three are set by `numbers_of`
    blocks_at: int = 0
    pieces_at: int = 0


JOB_NUMBERS = len(Job._fields)


def run_weight_gradient(x: View, dy: View, kernel_size: Pair, stride: Pair, padding: Pair, dtype: np.dtype) -> Array:
    """dweight (F, C, KH, KW) of the batches x and dy, each read through its source."""
    plan = plan_forward(kernel_size, stride, padding, x.channels, x.sizes, dy.sizes, dtype.itemsize)
    dweight = np.empty((dy.channels, x.channels, *kernel_size), dtype)
    program = _program(plan, x.form, dy.form, kernel_size, stride, padding, dtype, get_num_threads())
    program.run(*x.arrays, *dy.arrays, dweight)
    return dweight


@lru_cache(maxsize=256)
def _program(
    plan: Plan, x: View, dy: View, kernel_size: Pair, stride: Pair, padding: Pair, dtype: np.dtype[Any], threads: int
) -> Program:
    """The partial sums, and they added up. It is given the arrays of x and dy, and dweight."""
    n_taps = x.channels * kernel_size[0] * kernel_size[1]
    share_size = -(-n_taps // ROWS) * ROWS * lanes_up(dy.channels)
    shares = number_of_shares(plan.layout.n_blocks, share_size * dtype.itemsize)
    sums, dweight = Room(shares * share_size), Given(8)
    job = Job(
        x_source=source_address(x.access, dtype),
        dy_source=source_address(dy.access, dtype),
        group=group_of(x),
        C=x.channels,
        x_pitch=x.pitch,
        F=dy.channels,
        dy_pitch=dy.pitch,
        patch_size=plan.patch_size,
        stride_h=stride[0],
        stride_w=stride[1],
        pad_h=padding[0],
        pad_w=padding[1],
        KH=kernel_size[0],
        KW=kernel_size[1],
    )
    summing = Launch(
        weight_gradient_kernel,
        (*x.given(0).arrays, *dy.given(4).arrays, sums),
        numbers_of(job, plan.layout, shares),
        workers=shares,
        table_size=n_taps + ROWS + plan.pixels,
        scratch_size=plan.patch_size + LANES * plan.pixels,
    )
    workers = min(n_taps, threads) if x.channels * dy.channels >= SMALL else 1
    numbers = (dy.channels, n_taps, shares, workers)
    adding = Launch(add_shares_kernel, (sums, dweight), numbers, workers, scratch_size=LANES)
    return Program([summing, adding], dtype)


@by_pointer
def weight_gradient_kernel(
    arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, worker: int
) -> None:
    """Partial sum number `worker` of dweight. arrays: 4 of the source of x, 4 of that of dy, the sums."""
    job = Job(*unpack(numbers, JOB_NUMBERS))
    x_arrays, dy_arrays, sums = arrays[0:4], arrays[4:8], arrays[8]
    padded_F = lanes_up(job.F)
    n_taps = job.C * job.KH * job.KW
    share_size = (n_taps + ROWS - 1) // ROWS * ROWS * padded_F
    share = sums[worker * share_size : (worker + 1) * share_size]
    patch, dy_patch = scratch[: job.patch_size], scratch[job.patch_size :]
    rows, pixels = table[: n_taps + ROWS], table[n_taps + ROWS :]
    first = numbers[job.shares_at + worker]
    stop = numbers[job.shares_at + worker + 1]
    if first == stop:
        for cell in range(share_size):
            share[cell] = 0
    for b in range(first, stop):
        piece = piece_number(numbers, job.pieces_at, b)
        high, wide = piece.p1 - piece.p0, piece.q1 - piece.q0
        window = Window(
            0,
            piece.p0 * job.stride_h - job.pad_h,
            piece.q0 * job.stride_w - job.pad_w,
            (high - 1) * job.stride_h + job.KH,
            (wide - 1) * job.stride_w + job.KW,
        )
        image = Image(piece.number, piece.x_first * job.x_pitch, job.C, piece.H, piece.W)
        fill_patch(job.x_source, x_arrays, image, window, job.group, patch)
        _tap_offsets(job, window, n_taps, rows)
        for p in range(high):
            for q in range(wide):
                pixels[p * wide + q] = (p * job.stride_h * window.columns + q * job.stride_w) * job.group
        dy_image = Image(piece.number, piece.y_first * job.dy_pitch, job.F, piece.OH, piece.OW)
        count, add = high * wide, b > first
        for f in range(0, padded_F, LANES):
            call(job.dy_source, (dy_arrays, dy_image, Window(f, piece.p0, piece.q0, high, wide), dy_patch))
            for k in range(0, n_taps, ROWS):
                out = Out(share, k * padded_F + f, padded_F, 0)
                x = Gathered(patch, 0, rows, k, pixels, 0, count)
                gather_gemm(1, out, x, Factors(dy_patch, 0, LANES), add)


@inlined
def _tap_offsets(job: Job, window: Window, n_taps: int, rows: Array) -> None:
    """Where each tap (c, i, j) reads in the patch, relative to a pixel; the last again, up to a whole tile."""
    k = 0
    for c in range(job.C):
        for i in range(job.KH):
            for j in range(job.KW):
                row = c // job.group * window.rows + i
                rows[k] = (row * window.columns + j) * job.group + c % job.group
                k += 1
    for k in range(n_taps, n_taps + ROWS):
        rows[k] = rows[n_taps - 1]


@by_pointer
def add_shares_kernel(arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, worker: int) -> None:
    """dweight (F, C * KH * KW) = the sum of the shares (shares, taps up to ROWS, F up to LANES), in order.

    Worker i owns the taps i, i + workers, … arrays: sums, dweight; numbers: F, taps, shares, workers.
    """
    sums, dweight = arrays[:2]
    F, n_taps, shares, workers = unpack(numbers, 4)
    padded = lanes_up(F)
    size = (n_taps + ROWS - 1) // ROWS * ROWS * padded
    for k in range(worker, n_taps, workers):
        for f in range(0, padded, LANES):
            value = load(sums, k * padded + f)
            for share in range(1, shares):
                value = value + load(sums, share * size + k * padded + f)
            store(scratch, 0, value)
            for lane in range(min(LANES, F - f)):
                dweight[(f + lane) * n_taps + k] = scratch[lane]
