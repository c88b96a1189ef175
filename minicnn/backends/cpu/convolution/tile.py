"""Rung 3, the register tile: direct convolution of any kernel size, stride and padding.

    y[n, f, p, q]  = bias[f] + sum over c, i, j of  x[n, c, p * sh - ph + i, q * sw - pw + j] * weight[f, c, i, j]
    dx[n, c, r, s] = sum over f, i, j of  dy[n, f, (r + ph - i) / sh, (s + pw - j) / sw] * weight[f, c, i, j]
                     over those i and j for which both divide
    dweight        = sum over n, p, q of  x[n, c, p * sh - ph + i, q * sw - pw + j] * dy[n, f, p, q]

All three are `gather_gemm` on a zero-padded patch of the image: a pixel has an address, a tap (c, i, j) has an offset,
and the sum over taps (or, for dweight, over pixels) is a matrix product that is never laid out in memory. ROWS pixels
times two vectors of filters stay in registers over the whole sum.

The input gradient is cut into sh * sw phases. The pixels of dx with r modulo sh = a and s modulo sw = b meet the same
taps, so that each phase is a forward convolution of dy, with stride 1 and those taps alone: no zero is multiplied.

Who owns what: a worker of the forward kernel owns the output of its blocks. A worker of the weight gradient owns one of
several partial sums; their number depends on the shapes only, and they are added in order.

Cost: C * KH * KW * F multiply-adds for each output pixel, in each pass.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import get_num_threads

from minicnn.backends.cpu.convolution.patches import (
    Image,
    Window,
    lanes_up,
    padded_bias,
    plane_source,
    sink_address,
    source_address,
)
from minicnn.backends.cpu.convolution.pieces import (
    SMALL,
    Layout,
    cut,
    number_of_shares,
    numbers_of,
    one_to_a_block,
    piece_number,
)
from minicnn.backends.cpu.convolution.vectors import LANES, ROWS, TERMS, gather_gemm, load, store
from minicnn.backends.cpu.runtime.jit import by_pointer, inlined
from minicnn.backends.cpu.runtime.launch import call, launch, unpack
from minicnn.backends.cpu.runtime.memory import empty

PIXELS = 512  # output pixels in a piece
PATCH_BYTES = 256 * 1024  # what the padded patch of the input may take
TAPS = TERMS  # taps in a pass: their weights, 32 KiB, stay close while all pixels of the piece pass by


class Job(NamedTuple):
    """The numbers of the forward kernel, before those of its phases.

    A pixel (a + p * out_h, b + q * out_w) of phase (a, b) has its patch pixel at (p * step_h, q * step_w), and tap t
    adds (row[t], column[t]).
    """

    source: int
    sink: int
    group: int  # channels that lie side by side in the patch: LANES, or 1 where the source gives planes
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


class GradientJob(NamedTuple):
    """The numbers of the weight gradient's kernel."""

    x_source: int
    dy_source: int
    group: int
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
    shares_at: int = 0
    blocks_at: int = 0
    pieces_at: int = 0


JOB_NUMBERS = len(Job._fields)
GRADIENT_JOB_NUMBERS = len(GradientJob._fields)


# Kernels: one worker's share of the blocks. A block is one piece.


@by_pointer
def forward_kernel(arrays, numbers, table, scratch, worker):
    """The output of this worker's blocks. arrays: 4 of the source, 4 of the sink, packed weights, bias.

    numbers: the job, then for each phase a, b, its number of taps, where its weights start, the taps' rows and columns.
    """
    job = Job(*unpack(numbers, JOB_NUMBERS))
    source_arrays, sink_arrays, weights, bias = arrays[0:4], arrays[4:8], arrays[8], arrays[9]
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
        _fill_patch(job.source, source_arrays, image, window, job.group, patch)
        y_image = Image(piece.number, piece.y_first * job.y_pitch, job.F, piece.OH, piece.OW)
        for f0 in range(0, padded_F, 2 * LANES):
            width = min(2 * LANES, padded_F - f0)
            at = JOB_NUMBERS
            for _ in range(job.phases):
                n_taps = numbers[at + 2]
                phase = numbers[at : at + 4 + 2 * n_taps]
                at += 4 + 2 * n_taps
                out = y_patch if job.phases == 1 else M  # the pixels of the only phase are those of the piece
                _run_phase(job, phase, window, f0, width, high, wide, patch, weights, bias, table, out, vector)
                if job.phases > 1:
                    _spread(job, phase, width, high, wide, M, y_patch, vector)
            for f in range(0, width, LANES):
                y_window = Window(f0 + f, piece.p0, piece.q0, high, wide)
                call(job.sink, (sink_arrays, y_image, y_window, wide, b, y_patch[f // LANES * vector :]))


@inlined
def _size_of_phase(job, phase, high, wide):
    """Rows and columns of the piece's pixels that belong to the phase."""
    return (high - phase[0] + job.out_h - 1) // job.out_h, (wide - phase[1] + job.out_w - 1) // job.out_w


@inlined
def _run_phase(job, phase, window, f0, width, high, wide, patch, weights, bias, table, M, vector):
    """M[v, t] = vector v of the `width` filters from f0 on, at pixel t of the phase."""
    n_taps, weights_at = phase[2], phase[3]
    tap_rows, tap_columns = phase[4 : 4 + n_taps], phase[4 + n_taps :]
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
        at = weights_at + f0 * job.C * n_taps + c0 * n_taps * width
        for t in range(0, count, ROWS):
            M_at = t * LANES
            if width > LANES:
                gather_gemm(2, M, M_at, LANES, vector, patch, 0, pixels, t, taps, 0, size, weights, at, width, True)
            else:
                gather_gemm(1, M, M_at, LANES, vector, patch, 0, pixels, t, taps, 0, size, weights, at, width, True)


@inlined
def _spread(job, phase, width, high, wide, M, y_patch, vector):
    """The pixels of a phase to their places among those of the piece."""
    rows, columns = _size_of_phase(job, phase, high, wide)
    for f in range(0, width, LANES):
        at = f // LANES * vector
        for p in range(rows):
            for q in range(columns):
                pixel = (phase[0] + p * job.out_h) * wide + phase[1] + q * job.out_w
                store(y_patch, at + pixel * LANES, load(M, at + (p * columns + q) * LANES))


@by_pointer
def weight_gradient_kernel(arrays, numbers, table, scratch, worker):
    """Partial sum number `worker` of dweight. arrays: 4 of the source of x, 4 of that of dy, the sums."""
    job = GradientJob(*unpack(numbers, GRADIENT_JOB_NUMBERS))
    x_arrays, dy_arrays = arrays[0:4], arrays[4:8]
    padded_F = lanes_up(job.F)
    n_taps = job.C * job.KH * job.KW
    share_size = (n_taps + ROWS - 1) // ROWS * ROWS * padded_F
    share = arrays[8][worker * share_size : (worker + 1) * share_size]
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
        _fill_patch(job.x_source, x_arrays, image, window, job.group, patch)
        _tap_offsets(job, window, n_taps, rows)
        for p in range(high):
            for q in range(wide):
                pixels[p * wide + q] = (p * job.stride_h * window.columns + q * job.stride_w) * job.group
        dy_image = Image(piece.number, piece.y_first * job.dy_pitch, job.F, piece.OH, piece.OW)
        count, add = high * wide, b > first
        for f in range(0, padded_F, LANES):
            call(job.dy_source, (dy_arrays, dy_image, Window(f, piece.p0, piece.q0, high, wide), dy_patch))
            for k in range(0, n_taps, ROWS):
                at = k * padded_F + f
                gather_gemm(1, share, at, padded_F, 0, patch, 0, rows, k, pixels, 0, count, dy_patch, 0, LANES, add)


@inlined
def _tap_offsets(job, window, n_taps, rows):
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


@inlined
def _fill_patch(source, arrays, image, window, group, patch):
    """The patch (C / group, rows, columns, group) of all channels."""
    for c in range(0, image.channels, group):
        part = Window(c, window.row, window.column, window.rows, window.columns)
        call(source, (arrays, image, part, patch[c * window.rows * window.columns :]))


@by_pointer
def pack_weight_kernel(arrays, numbers, table, scratch, worker):
    """The weights of one phase, laid out (blocks of 2 vectors of outputs, inputs, taps, lanes), as `gather_gemm` reads.

    Worker i owns the vectors i, i + workers, … of outputs. arrays: weight (F, C, KH, KW), packed.
    numbers: F, C, KH * KW, flip, workers, where the phase's weights start, and its taps' places in the kernel.
    flip 0: from channels to filters. flip 1: from filters to channels (input gradient).
    """
    weight, packed = arrays[0], arrays[1]
    F, C, kernel, flip, workers, start = unpack(numbers, 6)
    taps = numbers[6:]
    inputs, outputs = (F, C) if flip else (C, F)
    padded = lanes_up(outputs)
    for vector in range(worker * LANES, padded, workers * LANES):
        first = vector // (2 * LANES) * 2 * LANES
        width = min(2 * LANES, padded - first)
        for o in range(vector, vector + LANES):
            at = start + first * inputs * len(taps) + o - first
            for c in range(inputs):
                weight_at = (c * C + o if flip else o * C + c) * kernel
                for t in range(len(taps)):
                    packed[at] = weight[weight_at + taps[t]] if o < outputs else 0
                    at += width


@by_pointer
def add_shares_kernel(arrays, numbers, table, scratch, worker):
    """dweight (F, C * KH * KW) = the sum of the shares (shares, taps up to ROWS, F up to LANES), in order.

    Worker i owns the taps i, i + workers, … arrays: sums, dweight; numbers: F, taps, shares, workers.
    """
    sums, dweight = arrays[0], arrays[1]
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


# How the work is laid out: plain Python, from sizes only.


class Plan(NamedTuple):
    """How a batch is cut, and for each axis the phases with their taps.

    taps[axis][phase] is a tuple of (index into the kernel, offset in the patch); out_step pixels of the output lie
    between neighbours of a phase, and their patch pixels patch_step apart.
    """

    layout: Layout
    pixels: int  # in the largest piece
    patch_size: int
    out_step: tuple
    patch_step: tuple
    taps: tuple
    first: tuple
    last: tuple
    flip: bool  # the input gradient: filters and channels exchanged

    @property
    def pieces(self):
        """How many pieces a sink or a source of a gradient meets."""
        return len(self.layout.pieces)


def plan_forward(kernel_size, stride, padding, inputs, x_sizes, y_sizes, number_bytes):
    """How to convolve images of x_sizes (N, 2) into y_sizes, `inputs` channels of numbers of so many bytes.

    Every output pixel meets all taps: one phase.
    """
    taps = tuple(
        (tuple((i, i - pad) for i in range(kernel)),) for kernel, pad in zip(kernel_size, padding, strict=True)
    )
    return _plan((1, 1), tuple(stride), taps, False, inputs, x_sizes.tobytes(), y_sizes.tobytes(), number_bytes)


def plan_input_gradient(kernel_size, stride, padding, inputs, dy_sizes, dx_sizes, number_bytes):
    """The same for the convolution from dy to dx; `inputs` are the filters.

    Pixel r of dx meets those taps i for which r + ph - i divides by the stride: a phase for each remainder.
    """

    def phases(kernel, step, pad):
        meets = [[i for i in range(kernel) if (a + pad - i) % step == 0] for a in range(step)]
        return tuple(tuple((i, (a + pad - i) // step) for i in taps) for a, taps in enumerate(meets))

    taps = tuple(map(phases, kernel_size, stride, padding))
    return _plan(tuple(stride), (1, 1), taps, True, inputs, dy_sizes.tobytes(), dx_sizes.tobytes(), number_bytes)


@lru_cache(maxsize=64)
def _plan(out_step, patch_step, taps, flip, channels, x_sizes, y_sizes, number_bytes):
    x_sizes, y_sizes = (np.frombuffer(sizes, np.int64).reshape(-1, 2) for sizes in (x_sizes, y_sizes))
    offsets = [[offset for phase in axis for _, offset in phase] or [0] for axis in taps]
    first, last = tuple(map(min, offsets)), tuple(map(max, offsets))

    def patch_size(piece):
        sides = [
            (-(-size // unit) - 1) * step + high - low + 1
            for size, unit, step, low, high in zip(piece, out_step, patch_step, first, last, strict=True)
        ]
        return lanes_up(channels) * sides[0] * sides[1]

    cuts = {size: _cut(size, out_step, lambda piece: patch_size(piece) * number_bytes) for size in _distinct(y_sizes)}
    layout = one_to_a_block(cut(x_sizes, y_sizes, np.array([cuts[size] for size in map(tuple, y_sizes.tolist())])))
    pixels, patch = max(h * w for h, w in cuts.values()), max(map(patch_size, cuts.values()))
    return Plan(layout, pixels, patch, out_step, patch_step, taps, first, last, flip)


def _distinct(sizes):
    return set(map(tuple, sizes.tolist()))


def _cut(out_size, unit, patch_bytes):
    """A piece of at most PIXELS output pixels, its sides multiples of `unit`, whose patch takes PATCH_BYTES if it can.

    Halves the height first: long rows are read and written faster.
    """

    def share(size, most, unit):
        parts = math.ceil(size / max(unit, most))
        return math.ceil(math.ceil(size / parts) / unit) * unit

    width = share(out_size[1], 64, unit[1])
    height = share(out_size[0], max(1, PIXELS // width), unit[0])
    while patch_bytes((height, width)) > PATCH_BYTES and (height > unit[0] or width > 8 * unit[1]):
        if height > unit[0]:
            height = max(unit[0], height // 2 // unit[0] * unit[0])
        else:
            width = max(8 * unit[1], width // 2 // unit[1] * unit[1])
    return height, width


# Drivers: any source and any sink.


def run(plan, x, y, weight, bias):
    """Read the batch x through its source, convolve, and write y through its sink, as `plan` has it."""
    dtype = weight.dtype
    F, C, KH, KW = weight.shape
    packed = empty(x.channels * lanes_up(y.channels) * KH * KW, dtype)
    packers = min(lanes_up(y.channels) // LANES, get_num_threads()) if F * C >= SMALL else 1
    phases, start = [], 0
    for a, rows in enumerate(plan.taps[0]):
        for b, columns in enumerate(plan.taps[1]):
            taps = [(i * KW + j, r, s) for i, r in rows for j, s in columns]
            places, tap_rows, tap_columns = zip(*taps, strict=True) if taps else ((), (), ())
            numbers = (F, C, KH * KW, plan.flip, packers, start, *places)
            launch(pack_weight_kernel, (weight, packed), numbers, 1, 1, packers, dtype)
            phases += [a, b, len(taps), start, *tap_rows, *tap_columns]
            start += x.channels * lanes_up(y.channels) * len(taps)

    n_phases = len(plan.taps[0]) * len(plan.taps[1])
    workers = min(get_num_threads(), plan.layout.n_blocks)
    addresses = source_address(x.access, dtype), sink_address(y.access, dtype)
    channels = (_group(x), x.channels, x.pitch, y.channels, y.pitch)
    steps = (*plan.out_step, *plan.patch_step, *plan.first, *plan.last)
    job = Job(*addresses, *channels, plan.patch_size, plan.pixels, *steps, n_phases)
    arrays = (*x.arrays, *y.arrays, packed, padded_bias(bias, y.channels, dtype))
    table_size = plan.pixels + ROWS + max(TAPS, KH * KW)
    scratch_size = plan.patch_size + 2 * LANES * (plan.pixels + ROWS) * (1 if n_phases == 1 else 2)
    numbers = numbers_of(job, plan.layout, workers, phases)
    launch(forward_kernel, arrays, numbers, table_size, scratch_size, workers, dtype)


def run_weight_gradient(x, dy, kernel_size, stride, padding, dtype):
    """dweight (F, C, KH, KW) of the batches x and dy, each read through its source."""
    plan = plan_forward(kernel_size, stride, padding, x.channels, x.sizes, dy.sizes, dtype.itemsize)
    n_taps = x.channels * kernel_size[0] * kernel_size[1]
    share_size = -(-n_taps // ROWS) * ROWS * lanes_up(dy.channels)
    shares = number_of_shares(plan.layout.n_blocks, share_size * dtype.itemsize)
    sums = empty((shares, share_size), dtype)
    addresses = source_address(x.access, dtype), source_address(dy.access, dtype)
    channels = (_group(x), x.channels, x.pitch, dy.channels, dy.pitch)
    job = GradientJob(*addresses, *channels, plan.patch_size, *stride, *padding, *kernel_size)
    table_size, scratch_size = n_taps + ROWS + plan.pixels, plan.patch_size + LANES * plan.pixels
    arrays, numbers = (*x.arrays, *dy.arrays, sums), numbers_of(job, plan.layout, shares)
    launch(weight_gradient_kernel, arrays, numbers, table_size, scratch_size, shares, dtype)

    dweight = np.empty((dy.channels, x.channels, *kernel_size), dtype)
    workers = min(n_taps, get_num_threads()) if x.channels * dy.channels >= SMALL else 1
    numbers = (dy.channels, n_taps, shares, workers)
    launch(add_shares_kernel, (sums, dweight), numbers, 1, LANES, workers, dtype)
    return dweight


def _group(x):
    return 1 if x.access is plane_source else LANES
