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
from typing import NamedTuple

import numpy as np
from numba import get_num_threads

from minicnn.backends.cpu.convolution.launch import call, launch, unpack
from minicnn.backends.cpu.convolution.patches import (
    Image,
    Window,
    four,
    lanes_up,
    nchw_sink,
    nchw_source,
    plane_source,
    sink_address,
    source_address,
)
from minicnn.backends.cpu.convolution.vectors import LANES, ROWS, gather_gemm, load, store
from minicnn.backends.cpu.convolution.winograd import number_of_parts, padded_bias
from minicnn.backends.cpu.jit import serial
from minicnn.backends.cpu.memory import empty
from minicnn.geometry import output_size

PIXELS = 512  # output pixels in a block
PATCH_BYTES = 256 * 1024  # what the padded patch of the input may take
TAPS = 256  # taps in a pass: their weights, 32 KiB, stay close while all pixels of the block pass by


class Job(NamedTuple):
    """The numbers of the forward kernel, before those of its phases.

    A pixel (a + p * out_h, b + q * out_w) of phase (a, b) has its patch pixel at (p * step_h, q * step_w), and tap t
    adds (row[t], column[t]).
    """

    source: int
    sink: int
    group: int  # channels that lie side by side in the patch: LANES, or 1 where the source gives planes
    N: int
    C: int
    H: int
    W: int
    x_image: int  # numbers from one image of x to the next
    F: int
    OH: int
    OW: int
    y_image: int
    workers: int
    patch_size: int
    block_h: int
    block_w: int
    blocks_h: int
    blocks_w: int
    out_h: int
    out_w: int
    step_h: int
    step_w: int
    first_row: int
    first_column: int
    last_row: int
    last_column: int
    phases: int


class GradientJob(NamedTuple):
    """The numbers of the weight gradient's kernel."""

    x_source: int
    dy_source: int
    group: int
    N: int
    C: int
    H: int
    W: int
    x_image: int
    F: int
    OH: int
    OW: int
    dy_image: int
    parts: int
    patch_size: int
    block_h: int
    block_w: int
    blocks_h: int
    blocks_w: int
    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int
    KH: int
    KW: int


JOB_NUMBERS = len(Job._fields)
GRADIENT_JOB_NUMBERS = len(GradientJob._fields)


# Kernels: one worker's share of the blocks.


@serial
def forward_kernel(arrays, numbers, table, scratch, worker):
    """The output of this worker's blocks. arrays: 4 of the source, 4 of the sink, packed weights, bias.

    numbers: the job, then for each phase a, b, its number of taps, where its weights start, the taps' rows and columns.
    """
    job = Job(*unpack(numbers, JOB_NUMBERS))
    source_arrays, sink_arrays, weights, bias = arrays[0:4], arrays[4:8], arrays[8], arrays[9]
    padded_F = lanes_up(job.F)
    block_pixels = job.block_h * job.block_w
    patch = scratch[: job.patch_size]
    y_patch = scratch[job.patch_size : job.patch_size + 2 * LANES * block_pixels]
    M = scratch[job.patch_size + 2 * LANES * block_pixels :]
    blocks = job.N * job.blocks_h * job.blocks_w
    for b in range(worker * blocks // job.workers, (worker + 1) * blocks // job.workers):
        n = b // (job.blocks_h * job.blocks_w)
        p0, q0 = b // job.blocks_w % job.blocks_h * job.block_h, b % job.blocks_w * job.block_w
        p1, q1 = min(job.OH, p0 + job.block_h), min(job.OW, q0 + job.block_w)
        window = Window(
            0,
            p0 // job.out_h * job.step_h + job.first_row,
            q0 // job.out_w * job.step_w + job.first_column,
            ((p1 - p0 + job.out_h - 1) // job.out_h - 1) * job.step_h + job.last_row - job.first_row + 1,
            ((q1 - q0 + job.out_w - 1) // job.out_w - 1) * job.step_w + job.last_column - job.first_column + 1,
        )
        image = Image(n, n * job.x_image, job.C, job.H, job.W)
        _fill_patch(job.source, source_arrays, image, window, job.group, patch)
        y_image = Image(n, n * job.y_image, job.F, job.OH, job.OW)
        for f0 in range(0, padded_F, 2 * LANES):
            width = min(2 * LANES, padded_F - f0)
            at = JOB_NUMBERS
            for _ in range(job.phases):
                n_taps = numbers[at + 2]
                phase = numbers[at : at + 4 + 2 * n_taps]
                at += 4 + 2 * n_taps
                _run_phase(job, phase, window, f0, width, p1 - p0, q1 - q0, patch, weights, bias, table, M, y_patch)
            for f in range(0, width, LANES):
                y_window = Window(f0 + f, p0, q0, p1 - p0, q1 - q0)
                call(job.sink, (sink_arrays, y_image, y_window, q1 - q0, b, y_patch[f * block_pixels :]))


@serial
def _run_phase(job, phase, window, f0, width, block_h, block_w, patch, weights, bias, table, M, y_patch):
    """The pixels of one phase of the block, `width` filters from f0 on, into y_patch."""
    a, b, n_taps, weights_at = phase[0], phase[1], phase[2], phase[3]
    tap_rows, tap_columns = phase[4 : 4 + n_taps], phase[4 + n_taps :]
    rows, columns = (block_h - a + job.out_h - 1) // job.out_h, (block_w - b + job.out_w - 1) // job.out_w
    if rows <= 0 or columns <= 0:
        return
    block_pixels = job.block_h * job.block_w
    pixels, taps = table[: block_pixels + ROWS], table[block_pixels + ROWS :]
    count = rows * columns
    for p in range(rows):
        for q in range(columns):
            pixels[p * columns + q] = (p * job.step_h * window.columns + q * job.step_w) * job.group
    for t in range(count, count + ROWS):
        pixels[t] = pixels[count - 1]
    for t in range(count):
        for f in range(width):
            M[t * width + f] = bias[f0 + f]

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
            if width > LANES:
                gather_gemm(2, M, t * width, width, patch, 0, pixels, t, taps, 0, size, weights, at, width, True)
            else:
                gather_gemm(1, M, t * width, width, patch, 0, pixels, t, taps, 0, size, weights, at, width, True)

    for f in range(0, width, LANES):
        for p in range(rows):
            for q in range(columns):
                pixel = (a + p * job.out_h) * block_w + b + q * job.out_w
                store(y_patch, f * block_pixels + pixel * LANES, load(M, (p * columns + q) * width + f))


@serial
def weight_gradient_kernel(arrays, numbers, table, scratch, worker):
    """Partial sum number `worker` of dweight. arrays: 4 of the source of x, 4 of that of dy, the sums."""
    job = GradientJob(*unpack(numbers, GRADIENT_JOB_NUMBERS))
    x_arrays, dy_arrays = arrays[0:4], arrays[4:8]
    padded_F = lanes_up(job.F)
    n_taps = job.C * job.KH * job.KW
    part_size = (n_taps + ROWS - 1) // ROWS * ROWS * padded_F
    part = arrays[8][worker * part_size : (worker + 1) * part_size]
    patch, dy_patch = scratch[: job.patch_size], scratch[job.patch_size :]
    rows, pixels = table[: n_taps + ROWS], table[n_taps + ROWS :]
    blocks = job.N * job.blocks_h * job.blocks_w
    first = worker * blocks // job.parts
    for b in range(first, (worker + 1) * blocks // job.parts):
        n = b // (job.blocks_h * job.blocks_w)
        p0, q0 = b // job.blocks_w % job.blocks_h * job.block_h, b % job.blocks_w * job.block_w
        high, wide = min(job.OH, p0 + job.block_h) - p0, min(job.OW, q0 + job.block_w) - q0
        window = Window(
            0,
            p0 * job.stride_h - job.pad_h,
            q0 * job.stride_w - job.pad_w,
            (high - 1) * job.stride_h + job.KH,
            (wide - 1) * job.stride_w + job.KW,
        )
        image = Image(n, n * job.x_image, job.C, job.H, job.W)
        _fill_patch(job.x_source, x_arrays, image, window, job.group, patch)
        _tap_offsets(job, window, n_taps, rows)
        for p in range(high):
            for q in range(wide):
                pixels[p * wide + q] = (p * job.stride_h * window.columns + q * job.stride_w) * job.group
        dy_image = Image(n, n * job.dy_image, job.F, job.OH, job.OW)
        count, add = high * wide, b > first
        for f in range(0, padded_F, LANES):
            call(job.dy_source, (dy_arrays, dy_image, Window(f, p0, q0, high, wide), dy_patch))
            for k in range(0, n_taps, ROWS):
                at = k * padded_F + f
                gather_gemm(1, part, at, padded_F, patch, 0, rows, k, pixels, 0, count, dy_patch, 0, LANES, add)


@serial
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


@serial
def _fill_patch(source, arrays, image, window, group, patch):
    """The patch (C / group, rows, columns, group) of all channels."""
    for c in range(0, image.channels, group):
        part = Window(c, window.row, window.column, window.rows, window.columns)
        call(source, (arrays, image, part, patch[c * window.rows * window.columns :]))


@serial
def pack_weight(weight, flip, taps_i, taps_j, packed):
    """packed (blocks of 2 vectors of outputs, inputs, taps, lanes): the order in which `gather_gemm` reads.

    flip: inputs are filters and outputs channels (input gradient). The loops follow the weight's own order.
    """
    F, C = weight.shape[:2]
    inputs, outputs = (F, C) if flip else (C, F)
    padded = lanes_up(outputs)
    for o in range(padded):
        first = o // (2 * LANES) * 2 * LANES
        width = min(2 * LANES, padded - first)
        at = first * inputs * len(taps_i) + o - first
        for c in range(inputs):
            for t in range(len(taps_i)):
                if o >= outputs:
                    packed[at] = 0
                elif flip:
                    packed[at] = weight[c, o, taps_i[t], taps_j[t]]
                else:
                    packed[at] = weight[o, c, taps_i[t], taps_j[t]]
                at += width


@serial
def add_parts(parts, dweight):
    """dweight (F, C, KH, KW) = the sum of the parts (parts, taps up to ROWS, F up to LANES), in order."""
    n_filters = len(dweight)
    n_taps = dweight.size // n_filters
    padded = lanes_up(n_filters)
    flat_dweight = dweight.reshape(n_filters, n_taps)
    for part in range(1, len(parts)):
        for cell in range(n_taps * padded):
            parts[0, cell] += parts[part, cell]
    for f in range(n_filters):
        for k in range(n_taps):
            flat_dweight[f, k] = parts[0, k * padded + f]


# How the work is laid out: plain Python, from shapes only.


class Plan(NamedTuple):
    """Blocks of the output, and for each axis the phases with their taps.

    taps[axis][phase] is a list of (index into the kernel, offset in the patch); out_step pixels of the output lie
    between neighbours of a phase, and their patch pixels patch_step apart.
    """

    out_step: tuple
    patch_step: tuple
    taps: tuple
    first: tuple
    last: tuple
    block: tuple
    blocks: tuple
    patch_size: int


def plan_forward(kernel_size, stride, padding, channels, out_size, number_bytes):
    """Every output pixel meets all taps: one phase."""
    taps = tuple([[(i, i - pad) for i in range(kernel)]] for kernel, pad in zip(kernel_size, padding, strict=True))
    return _plan((1, 1), stride, taps, channels, out_size, number_bytes)


def plan_input_gradient(kernel_size, stride, padding, channels, out_size, number_bytes):
    """Pixel r of dx meets those taps i for which r + ph - i divides by the stride: a phase for each remainder."""

    def phases(kernel, step, pad):
        meets = [[i for i in range(kernel) if (a + pad - i) % step == 0] for a in range(step)]
        return [[(i, (a + pad - i) // step) for i in taps] for a, taps in enumerate(meets)]

    taps = tuple(map(phases, kernel_size, stride, padding))
    return _plan(tuple(stride), (1, 1), taps, channels, out_size, number_bytes)


def _plan(out_step, patch_step, taps, channels, out_size, number_bytes):
    offsets = [[offset for phase in axis for _, offset in phase] or [0] for axis in taps]
    first, last = tuple(map(min, offsets)), tuple(map(max, offsets))

    def patch_size(block):
        sides = [
            (-(-size // unit) - 1) * step + high - low + 1
            for size, unit, step, low, high in zip(block, out_step, patch_step, first, last, strict=True)
        ]
        return lanes_up(channels) * sides[0] * sides[1]

    block = _cut(out_size, out_step, lambda block: patch_size(block) * number_bytes)
    blocks = tuple(-(-size // part) for size, part in zip(out_size, block, strict=True))
    return Plan(out_step, tuple(patch_step), taps, first, last, block, blocks, patch_size(block))


def _cut(out_size, unit, patch_bytes):
    """A block of at most PIXELS output pixels, its sides multiples of `unit`, whose patch takes PATCH_BYTES if it can.

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


# Drivers: any source and any sink. Shapes are (N, C, H, W), `x_image` the numbers from one image to the next.


def run(plan, flip, source, source_arrays, sink, sink_arrays, weight, bias, x_shape, x_image, y_shape, y_image):
    """Read x through `source`, convolve, and write y through `sink`; with `flip`, x is dy and y is dx."""
    dtype = weight.dtype
    (N, C, H, W), (_, F, OH, OW) = x_shape, y_shape
    packed = empty(C * lanes_up(F) * weight.shape[2] * weight.shape[3], dtype)
    phases, start = [], 0
    for a, rows in enumerate(plan.taps[0]):
        for b, columns in enumerate(plan.taps[1]):
            taps = np.array([(i, j, r, s) for i, r in rows for j, s in columns], np.int64).reshape(-1, 4).T
            size = C * lanes_up(F) * taps.shape[1]
            pack_weight(weight, flip, taps[0].copy(), taps[1].copy(), packed[start : start + size])
            phases += [a, b, taps.shape[1], start, *taps[2], *taps[3]]
            start += size

    block_pixels = plan.block[0] * plan.block[1]
    workers = min(get_num_threads(), N * plan.blocks[0] * plan.blocks[1])
    addresses = source_address(source, dtype), sink_address(sink, dtype)
    group = 1 if source is plane_source else LANES
    shapes = (N, C, H, W, x_image, F, OH, OW, y_image)
    steps = (*plan.out_step, *plan.patch_step, *plan.first, *plan.last)
    n_phases = len(plan.taps[0]) * len(plan.taps[1])
    job = Job(*addresses, group, *shapes, workers, plan.patch_size, *plan.block, *plan.blocks, *steps, n_phases)
    arrays = (*source_arrays, *sink_arrays, packed, padded_bias(bias, F, dtype))
    table_size = block_pixels + ROWS + max(TAPS, weight.shape[2] * weight.shape[3])
    scratch_size = plan.patch_size + 2 * LANES * (2 * block_pixels + ROWS)
    launch(forward_kernel, arrays, (*job, *phases), table_size, scratch_size, workers, dtype)


def run_weight_gradient(
    x_source, x_arrays, dy_source, dy_arrays, x_shape, x_image, dy_shape, dy_image, kernel_size, stride, padding, dtype
):
    """dweight (F, C, KH, KW) of x and dy, each read through its source."""
    (N, C, H, W), (_, F, OH, OW) = x_shape, dy_shape
    plan = plan_forward(kernel_size, stride, padding, C, (OH, OW), dtype.itemsize)
    n_taps = C * kernel_size[0] * kernel_size[1]
    part_size = -(-n_taps // ROWS) * ROWS * lanes_up(F)
    parts = number_of_parts(N * plan.blocks[0] * plan.blocks[1], part_size * dtype.itemsize)
    sums = empty((parts, part_size), dtype)
    addresses = source_address(x_source, dtype), source_address(dy_source, dtype)
    group = 1 if x_source is plane_source else LANES
    shapes = (N, C, H, W, x_image, F, OH, OW, dy_image)
    windows = (*stride, *padding, *kernel_size)
    job = GradientJob(*addresses, group, *shapes, parts, plan.patch_size, *plan.block, *plan.blocks, *windows)
    block_pixels = plan.block[0] * plan.block[1]
    table_size, scratch_size = n_taps + ROWS + block_pixels, plan.patch_size + LANES * block_pixels
    launch(weight_gradient_kernel, (*x_arrays, *dy_arrays, sums), job, table_size, scratch_size, parts, dtype)
    dweight = np.empty((F, C, *kernel_size), dtype)
    add_parts(sums, dweight)
    return dweight


# On images (N, C, H, W).


def forward(x, weight, bias, stride, padding):
    kernel_size, channels = weight.shape[2:], x.shape[1]
    out_size = tuple(map(output_size, x.shape[2:], kernel_size, stride, padding))
    y = empty((len(x), len(weight), *out_size), x.dtype)
    plan = plan_forward(kernel_size, stride, padding, channels, out_size, x.itemsize)
    arrays = (plane_source, four(x), nchw_sink, four(y), weight, bias)
    run(plan, False, *arrays, x.shape, x[0].size, y.shape, y[0].size)
    return y


def input_gradient(dy, weight, input_size, stride, padding):
    dx = empty((len(dy), weight.shape[1], *input_size), dy.dtype)
    plan = plan_input_gradient(weight.shape[2:], stride, padding, dy.shape[1], input_size, dy.itemsize)
    arrays = (plane_source, four(dy), nchw_sink, four(dx), weight, None)
    run(plan, True, *arrays, dy.shape, dy[0].size, dx.shape, dx[0].size)
    return dx


def weight_gradient(dy, x, kernel_size, stride, padding):
    arrays = (plane_source, four(x), nchw_source, four(dy))
    shapes = (x.shape, x[0].size, dy.shape, dy[0].size)
    return run_weight_gradient(*arrays, *shapes, kernel_size, stride, padding, x.dtype)
