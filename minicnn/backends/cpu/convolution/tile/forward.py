"""The forward convolution, which is also the input gradient: for each output pixel the sum over its taps."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import get_num_threads

from minicnn.backends.cpu.convolution.gather_gemm import Factors, Gathered, Out, gather_gemm
from minicnn.backends.cpu.convolution.patches import (
    Image,
    Window,
    lanes_up,
    padded_bias,
    sink_address,
    source_address,
)
from minicnn.backends.cpu.convolution.pieces import View, numbers_of, piece_number
from minicnn.backends.cpu.convolution.registers import LANES, ROWS, TERMS
from minicnn.backends.cpu.convolution.tile.patch import fill_patch, group_of
from minicnn.backends.cpu.convolution.tile.plan import Plan
from minicnn.backends.cpu.convolution.tile.weights import PHASE_NUMBERS, Packed, Phase, packed_size, packing_launches
from minicnn.backends.cpu.convolution.vectors import load, store
from minicnn.backends.cpu.runtime.jit import by_pointer, inlined
from minicnn.backends.cpu.runtime.launch import Launch, call, unpack
from minicnn.backends.cpu.runtime.program import Given, Place, Program, Room
from minicnn.plain import Array

TAPS = TERMS  # taps in a pass: their weights, 32 KiB, stay close while all pixels of the piece pass by


class Job(NamedTuple):
    """The numbers of the kernel, before those of its phases.

    A pixel (a + p * out_h, b + q * out_w) of phase (a, b) has its patch pixel at (p * step_h, q * step_w), and tap t
    adds (row[t], column[t]).
    """

    source: int
    sink: int
    group: int  # channels that lie side by side in the patch
    C: int
    x_pitch: int
    F: int
    y_pitch: int
    patch_size: int
    pixels: int  # in the largest piece
    out_h: int
    out_w: int
    step_h: int
    step_w: int
    first_row: int
    first_column: int
    last_row: int
    last_column: int
    phases: int
    shares_at: int = 0  # these three are set by `numbers_of`
    blocks_at: int = 0
    pieces_at: int = 0


JOB_NUMBERS = len(Job._fields)


def run(plan: Plan, x: View, y: View, weight: Array, bias: Array | None) -> None:
    """Read the batch x through its source, convolve, and write y through its sink, as `plan` has it."""
    program = _program(plan, x.form, y.form, weight.shape, weight.dtype, get_num_threads())
    program.run(*x.arrays, *y.arrays, weight, padded_bias(bias, y.channels, weight.dtype))


@lru_cache(maxsize=256)
def _program(plan: Plan, x: View, y: View, shape: tuple[int, ...], dtype: np.dtype[Any], threads: int) -> Program:
    """Weights packed, then the convolution: kept, since to work it out takes longer than a small picture takes the
    kernels. It is given the arrays of x and y, the weight and the bias. A launch has at most `threads` workers."""
    packed, weight, bias = Room(packed_size(shape, plan.flip)), Given(8), Given(9)
    launches, phases = packing_launches(plan.taps, weight, packed, shape, plan.flip)
    convolution = forward_launch(plan, x.given(0), y.given(4), Packed(packed, phases), bias, dtype)
    return Program([*launches, convolution], dtype)


def forward_launch(plan: Plan, x: View, y: View, packed: Packed, bias: Place, dtype: Any) -> Launch:
    """The launch that does it, of the weights as the kernel reads them and the bias up to whole vectors."""
    workers = min(get_num_threads(), plan.layout.n_blocks)
    n_phases = len(plan.taps[0]) * len(plan.taps[1])
    job = Job(
        source=source_address(x.access, dtype),
        sink=sink_address(y.access, dtype),
        group=group_of(x),
        C=x.channels,
        x_pitch=x.pitch,
        F=y.channels,
        y_pitch=y.pitch,
        patch_size=plan.patch_size,
        pixels=plan.pixels,
        out_h=plan.out_step[0],
        out_w=plan.out_step[1],
        step_h=plan.patch_step[0],
        step_w=plan.patch_step[1],
        first_row=plan.first[0],
        first_column=plan.first[1],
        last_row=plan.last[0],
        last_column=plan.last[1],
        phases=n_phases,
    )
    most_taps = max(len(down) * len(across) for down in plan.taps[0] for across in plan.taps[1])
    return Launch(
        forward_kernel,
        (*x.arrays, *y.arrays, packed.weight, bias),
        numbers_of(job, plan.layout, workers, packed.phases),
        workers,
        table_size=plan.pixels + ROWS + max(TAPS, most_taps),
        scratch_size=plan.patch_size + 2 * LANES * (plan.pixels + ROWS) * (1 if n_phases == 1 else 2),
    )


@by_pointer
def forward_kernel(arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, worker: int) -> None:
    """The output of this worker's blocks, of one piece each. arrays: 4 of the source, 4 of the sink, weights, bias.

    numbers: the job, then for each phase a `Phase`, its taps' rows and their columns.
    """
    job = Job(*unpack(numbers, JOB_NUMBERS))
    source_arrays, sink_arrays = arrays[0:4], arrays[4:8]
    weights, bias = arrays[8:10]
    padded_F = lanes_up(job.F)
    patch = scratch[: job.patch_size]
    # A vector of filters after the other; the register tile may write up to ROWS pixels too many.
    vector = LANES * (job.pixels + ROWS)
    y_patch = scratch[job.patch_size : job.patch_size + 2 * vector]
    M = scratch[job.patch_size + 2 * vector :]
    for b in range(numbers[job.shares_at + worker], numbers[job.shares_at + worker + 1]):
        piece = piece_number(numbers, job.pieces_at, b)
        high, wide = piece.p1 - piece.p0, piece.q1 - piece.q0
        window = Window(
            0,
            piece.p0 // job.out_h * job.step_h + job.first_row,
            piece.q0 // job.out_w * job.step_w + job.first_column,
            ((high + job.out_h - 1) // job.out_h - 1) * job.step_h + job.last_row - job.first_row + 1,
            ((wide + job.out_w - 1) // job.out_w - 1) * job.step_w + job.last_column - job.first_column + 1,
        )
        image = Image(piece.number, piece.x_first * job.x_pitch, job.C, piece.H, piece.W)
        fill_patch(job.source, source_arrays, image, window, job.group, patch)
        y_image = Image(piece.number, piece.y_first * job.y_pitch, job.F, piece.OH, piece.OW)
        for f0 in range(0, padded_F, 2 * LANES):
            width = min(2 * LANES, padded_F - f0)
            at = JOB_NUMBERS
            for _ in range(job.phases):
                phase = Phase(*unpack(numbers[at:], PHASE_NUMBERS))
                taps = numbers[at + PHASE_NUMBERS : at + PHASE_NUMBERS + 2 * phase.n_taps]
                at += PHASE_NUMBERS + 2 * phase.n_taps
                out = y_patch if job.phases == 1 else M  # the pixels of the only phase are those of the piece
                _run_phase(job, phase, taps, window, f0, width, high, wide, patch, weights, bias, table, out, vector)
                if job.phases > 1:
                    _spread(job, phase, width, high, wide, M, y_patch, vector)
            for f in range(0, width, LANES):
                y_window = Window(f0 + f, piece.p0, piece.q0, high, wide)
                call(job.sink, (sink_arrays, y_image, y_window, wide, b, y_patch[f // LANES * vector :]))


@inlined
def _size_of_phase(job: Job, phase: Phase, high: int, wide: int) -> tuple[int, int]:
    """Rows and columns of the piece's pixels that belong to the phase."""
    return (high - phase.row + job.out_h - 1) // job.out_h, (wide - phase.column + job.out_w - 1) // job.out_w


@inlined
def _run_phase(
    job: Job,
    phase: Phase,
    phase_taps: Array,
    window: Window,
    f0: int,
    width: int,
    high: int,
    wide: int,
    patch: Array,
    weights: Array,
    bias: Array,
    table: Array,
    M: Array,
    vector: int,
) -> None:
    """M[v, t] = vector v of the `width` filters from f0 on, at pixel t of the phase."""
    n_taps = phase.n_taps
    tap_rows, tap_columns = phase_taps[:n_taps], phase_taps[n_taps:]
    rows, columns = _size_of_phase(job, phase, high, wide)
    if rows <= 0 or columns <= 0:
        return
    pixels, taps = table[: job.pixels + ROWS], table[job.pixels + ROWS :]
    count = rows * columns
    for p in range(rows):
        for q in range(columns):
            pixels[p * columns + q] = (p * job.step_h * window.columns + q * job.step_w) * job.group
    for t in range(count, count + ROWS):
        pixels[t] = pixels[count - 1]
    for f in range(0, width, LANES):
        of_filters = load(bias, f0 + f)
        for t in range(count):
            store(M, f // LANES * vector + t * LANES, of_filters)

    channels = max(1, TAPS // max(1, n_taps))  # in a pass
    for c0 in range(0, job.C, channels):
        size = 0
        for c in range(c0, min(job.C, c0 + channels)):
            for t in range(n_taps):
                row = c // job.group * window.rows + tap_rows[t] - job.first_row
                column = tap_columns[t] - job.first_column
                taps[size] = (row * window.columns + column) * job.group + c % job.group
                size += 1
        w = Factors(weights, phase.weights_at + f0 * job.C * n_taps + c0 * n_taps * width, width)
        for t in range(0, count, ROWS):
            out, x = Out(M, t * LANES, LANES, vector), Gathered(patch, 0, pixels, t, taps, 0, size)
            if width > LANES:
                gather_gemm(2, out, x, w, True)
            else:
                gather_gemm(1, out, x, w, True)


@inlined
def _spread(job: Job, phase: Phase, width: int, high: int, wide: int, M: Array, y_patch: Array, vector: int) -> None:
    """The pixels of a phase to their places among those of the piece."""
    rows, columns = _size_of_phase(job, phase, high, wide)
    for f in range(0, width, LANES):
        at = f // LANES * vector
        for p in range(rows):
            for q in range(columns):
                pixel = (phase.row + p * job.out_h) * wide + phase.column + q * job.out_w
                store(y_patch, at + pixel * LANES, load(M, at + (p * columns + q) * LANES))
