"""Rung 4, Winograd convolution F(4×4, 3×3): 36 multiplications where the plain sum needs 144 (Lavin and Gray, 2016).

For 3 × 3 kernels with stride 1. A 4 × 4 tile of the output needs a 6 × 6 tile d of the input and the kernel g:

    forward            y  = Aᵀ [ (G g Gᵀ) * (Bᵀ d B) ] A                     * is elementwise, summed over channels
    weight gradient    dg = Gᵀ [ sum over tiles of (A dy Aᵀ) * (Bᵀ d B) ] G  its adjoint in g
    input gradient     a forward convolution of dy with g turned by half a turn, filters and channels exchanged

Write U = G g Gᵀ (36, C, F), V = Bᵀ d B (T, 36, C) and Q = A dy Aᵀ (T, 36, F) for T tiles. The elementwise products,
summed over channels or over tiles, are 36 small matrix products, which `gather_gemm` computes near the machine's peak:

    forward            M[:, k]  = V[:, k] U[k]        (T, F)
    weight gradient    dU[k]    = V[:, k]ᵀ Q[:, k]    (C, F)

Vectors run over channels. A block of at most MAX_TILES tiles is carried from input to output within the L2 cache:
source → patch → V → M → patch → sink.

Who owns what: a worker of the forward kernel owns the output of its blocks. A worker of the weight gradient owns one of
several partial sums; their number depends on the shapes only, and they are added in order.

Cost per output pixel: 2.25 C F multiply-adds, and for the transforms about 9 C + 6.25 F additions and multiplications.

Error: the transforms add numbers with weights up to 8, which costs digits: in float32 the largest error is 1e-6 to
1e-5 of the largest output (16 to 300 channels; the register tile's is 1e-7 to 2e-6), in float64 1e-14. One NaN or
infinite pixel makes its whole 4 × 4 tiles NaN.
"""

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import get_num_threads, types
from numba.extending import intrinsic

from minicnn.backends.cpu.convolution.launch import call, launch, unpack
from minicnn.backends.cpu.convolution.patches import (
    Image,
    Window,
    four,
    lanes_up,
    nchw_sink,
    nchw_source,
    sink_address,
    source_address,
)
from minicnn.backends.cpu.convolution.vectors import (
    LANES,
    ROWS,
    constant,
    gather_gemm,
    itemsize,
    load,
    load_vector,
    pointer_to,
    store,
    store_vector,
    vector_type,
)
from minicnn.backends.cpu.jit import serial
from minicnn.backends.cpu.memory import empty

POINTS = 36  # products for a tile
MAX_TILES = 64  # tiles in a block
KEPT_TILES = ROWS  # tiles whose products M are kept: all 36 of them in or near the first-level cache
BLOCK_BYTES = 384 * 1024  # what V of a block may take, about a third of the L2 cache
SMALL = 64 * 64  # weights of fewer (f, c) pairs are transformed by one thread: waking a second costs more
PARTS_BYTES = 32 * 1024 * 1024  # what the partial sums of a weight gradient may take


# The five transforms in one dimension. They are plain Python on anything that has + - *: here on vectors in
# registers, LANES tiles at once.


def input_1d(d):
    """Bᵀ d, 6 → 6."""
    even, odd = d[4] - 4 * d[2], d[3] - 4 * d[1]
    even2, odd2 = d[4] - d[2], d[3] - d[1]
    return [
        4 * d[0] - 5 * d[2] + d[4],
        even + odd,
        even - odd,
        even2 + 2 * odd2,
        even2 - 2 * odd2,
        4 * d[1] - 5 * d[3] + d[5],
    ]


def output_1d(m):
    """Aᵀ m, 6 → 4."""
    even, odd = m[1] + m[2], m[1] - m[2]
    even2, odd2 = m[3] + m[4], m[3] - m[4]
    return [m[0] + even + even2, odd + 2 * odd2, even + 4 * even2, odd + 8 * odd2 + m[5]]


def output_adjoint_1d(y):
    """A y, 4 → 6."""
    even, odd = y[0] + y[2], y[1] + y[3]
    even2, odd2 = y[0] + 4 * y[2], 2 * y[1] + 8 * y[3]
    return [y[0], even + odd, even - odd, even2 + odd2, even2 - odd2, y[3]]


def weight_1d(g):
    """G g, 3 → 6."""
    even, even2 = -1 / 6 * (g[0] + g[2]), 1 / 24 * g[0] + 1 / 6 * g[2]
    return [
        1 / 4 * g[0],
        even - 1 / 6 * g[1],
        even + 1 / 6 * g[1],
        even2 + 1 / 12 * g[1],
        even2 - 1 / 12 * g[1],
        g[2],
    ]


def weight_adjoint_1d(u):
    """Gᵀ u, 6 → 3."""
    a, b = u[1] + u[2], u[3] + u[4]
    return [
        1 / 4 * u[0] - 1 / 6 * a + 1 / 24 * b,
        1 / 6 * (u[2] - u[1]) + 1 / 12 * (u[3] - u[4]),
        1 / 6 * (b - a) + u[5],
    ]


class _Vector:
    """A vector in a register of the code that is being generated: + - * emit instructions."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def _emit(self, operation, a, b):
        return _Vector(self.builder, getattr(self.builder, operation)(a, b, flags=("contract",)))

    def __add__(self, other):
        return self._emit("fadd", self.value, other.value)

    def __sub__(self, other):
        return self._emit("fsub", self.value, other.value)

    def __rmul__(self, number):
        return self._emit("fmul", self.value, constant(self.value.type, float(number)))


def _tile_transform(one_d, size):
    """An intrinsic that applies `one_d` to the columns and then to the rows of LANES tiles, size × size, side by side.

    Element (i, j) is read at source_at + i * source_row + j * source_column, and the result's is written likewise.
    """

    @intrinsic
    def tile_transform(
        typingctx, source, source_at, source_row, source_column, target, target_at, target_row, target_column
    ):
        intp = types.intp

        def codegen(context, builder, sig, args):
            source_array, source_at, source_row, source_column = args[:4]
            target_array, target_at, target_row, target_column = args[4:]
            vector, size_of_one = vector_type(context, source), itemsize(source)

            def index(i):
                return ir.Constant(context.get_value_type(intp), i)

            def element(array_type, array, start, row, column, i, j):
                offset = builder.add(builder.mul(row, index(i)), builder.mul(column, index(j)))
                return pointer_to(context, builder, array_type, array, builder.add(start, offset))

            def load_element(i, j):
                place = element(source, source_array, source_at, source_row, source_column, i, j)
                return _Vector(builder, load_vector(builder, vector, place, size_of_one))

            columns = [one_d([load_element(i, j) for i in range(size)]) for j in range(size)]
            for p in range(len(columns[0])):
                for q, result in enumerate(one_d([column[p] for column in columns])):
                    place = element(target, target_array, target_at, target_row, target_column, p, q)
                    store_vector(builder, result.value, place, size_of_one)
            return context.get_dummy_value()

        return types.void(source, intp, intp, intp, target, intp, intp, intp), codegen

    return tile_transform


input_transform = _tile_transform(input_1d, 6)
output_transform = _tile_transform(output_1d, 6)
output_adjoint_transform = _tile_transform(output_adjoint_1d, 4)
weight_transform = _tile_transform(weight_1d, 3)
weight_adjoint_transform = _tile_transform(weight_adjoint_1d, 6)


# How the output is cut into blocks of tiles.


class Cut(NamedTuple):
    """Tiles of a block (rows, columns), images of a block, and blocks to an image (rows, columns) and in all."""

    block_h: int
    block_w: int
    images: int
    blocks_h: int
    blocks_w: int
    blocks: int


class Block(NamedTuple):
    """Images n0 to n1 and tiles p0 to p1 × q0 to q1 of a block."""

    n0: int
    n1: int
    p0: int
    p1: int
    q0: int
    q1: int


def cut_into_blocks(n_images, out_height, out_width, channels, number_bytes):
    """How to cut; depends on shapes only, never on the number of threads. Small images share a block."""
    tile_bytes = POINTS * lanes_up(channels) * number_bytes
    budget = max(16, min(MAX_TILES, BLOCK_BYTES // tile_bytes // 16 * 16))
    tiles_h, tiles_w = -(-out_height // 4), -(-out_width // 4)
    block_w = min(tiles_w, 8)
    block_h = _even_share(tiles_h, min(tiles_h, max(1, budget // block_w)))
    if block_h == tiles_h:
        block_w = _even_share(tiles_w, min(tiles_w, budget // block_h))
    whole_images = (block_h, block_w) == (tiles_h, tiles_w)
    images = min(n_images, max(1, budget // (tiles_h * tiles_w))) if whole_images else 1
    blocks_h, blocks_w = -(-tiles_h // block_h), -(-tiles_w // block_w)
    return Cut(block_h, block_w, images, blocks_h, blocks_w, -(-n_images // images) * blocks_h * blocks_w)


def _even_share(total, most):
    """The size of a share when `total` is cut into as few shares of at most `most` as there can be."""
    return -(-total // -(-total // most))


@serial
def _block_number(b, job):
    block_q = b % job.blocks_w
    block_p = b // job.blocks_w % job.blocks_h
    block_n = b // (job.blocks_w * job.blocks_h)
    tiles_h, tiles_w = (job.OH + 3) // 4, (job.OW + 3) // 4
    return Block(
        block_n * job.images,
        min(job.N, (block_n + 1) * job.images),
        block_p * job.block_h,
        min(tiles_h, (block_p + 1) * job.block_h),
        block_q * job.block_w,
        min(tiles_w, (block_q + 1) * job.block_w),
    )


@serial
def _rows_up(rows):
    return (rows + ROWS - 1) // ROWS * ROWS


@serial
def _pitch(padded_channels):
    """From one tile to the next in V, M and Q, which are laid out (tiles, 36, channels): one vector more than that, so
    that the same product of many tiles does not fall into one cache set."""
    return POINTS * padded_channels + LANES


class Job(NamedTuple):
    """The numbers of a kernel: shapes, where images start, addresses of source and sink, the cut, scratch sizes.

    For a forward convolution x is what is read through `source` and y what is written through `sink`; for a weight
    gradient the second is dy, read through the source `sink`.
    """

    source: int
    sink: int
    N: int
    C: int
    H: int
    W: int
    x_image: int  # numbers from one image of x to the next
    F: int
    OH: int
    OW: int
    y_image: int
    padding: int
    workers: int
    patch_size: int
    V_size: int
    block_h: int
    block_w: int
    images: int
    blocks_h: int
    blocks_w: int
    blocks: int


JOB_NUMBERS = len(Job._fields)


# Kernels: one worker's share of the blocks.


@serial
def forward_kernel(arrays, numbers, table, scratch, worker):
    """The output of this worker's blocks. arrays: 4 of the source, 4 of the sink, U, bias."""
    job = Job(*unpack(numbers, JOB_NUMBERS))
    source_arrays, sink_arrays, U, bias = arrays[0:4], arrays[4:8], arrays[8], arrays[9]
    patch = scratch[: job.patch_size]  # of the input, later of the output
    V = scratch[job.patch_size : job.patch_size + job.V_size]
    M = scratch[job.patch_size + job.V_size :]
    taps, rows = table[: job.C], table[job.C :]
    padded_C, padded_F = lanes_up(job.C), lanes_up(job.F)
    for c in range(job.C):
        taps[c] = c
    for b in range(worker * job.blocks // job.workers, (worker + 1) * job.blocks // job.workers):
        block = _block_number(b, job)
        tiles_h, tiles_w = block.p1 - block.p0, block.q1 - block.q0
        tiles = (block.n1 - block.n0) * tiles_h * tiles_w
        _input_tiles(source_arrays, job, block, patch, V)
        for t in range(tiles + ROWS):
            rows[t] = min(t, tiles - 1) * _pitch(padded_C)
        for f0 in range(0, padded_F, 2 * LANES):
            width = min(2 * LANES, padded_F - f0)
            for t0 in range(0, tiles, KEPT_TILES):
                t1 = min(tiles, t0 + KEPT_TILES)
                _products(job, V, U, bias, f0, width, t0, t1, taps, rows, M)
                for t in range(t0, t1):
                    row, q = t // tiles_w, t % tiles_w
                    for f in range(0, width, LANES):
                        patch_at = f * 16 * tiles + (16 * row * tiles_w + 4 * q) * LANES
                        M_at = (t - t0) * _pitch(width) + f
                        output_transform(M, M_at, 6 * width, width, patch, patch_at, 4 * tiles_w * LANES, LANES)
            for f in range(0, width, LANES):
                for n in range(block.n0, block.n1):
                    patch_at = f * 16 * tiles + (n - block.n0) * tiles_h * tiles_w * 16 * LANES
                    image = Image(n, n * job.y_image, job.F, job.OH, job.OW)
                    p, q = 4 * block.p0, 4 * block.q0
                    window = Window(f0 + f, p, q, min(4 * block.p1, job.OH) - p, min(4 * block.q1, job.OW) - q)
                    record = n * job.blocks_h * job.blocks_w + b % (job.blocks_h * job.blocks_w)
                    call(job.sink, (sink_arrays, image, window, 4 * tiles_w, record, patch[patch_at:]))


@serial
def _products(job, V, U, bias, f0, width, t0, t1, taps, rows, M):
    """M[t, k] = V[t, k] U[k] for tiles t0 to t1 and `width` filters from f0 on.

    The bias goes into product (1, 1): Aᵀ turns a constant there into a constant tile.
    """
    padded_C, padded_F = lanes_up(job.C), lanes_up(job.F)
    pitch = _pitch(width)
    for t in range(t1 - t0):
        for f in range(width):
            M[t * pitch + 7 * width + f] = bias[f0 + f]
    for k in range(POINTS):
        U_at = (k * padded_F + f0) * job.C
        for t in range(t0, t1, ROWS):
            at = (t - t0) * pitch + k * width
            if width > LANES:
                gather_gemm(2, M, at, pitch, V, k * padded_C, rows, t, taps, 0, job.C, U, U_at, width, k == 7)
            else:
                gather_gemm(1, M, at, pitch, V, k * padded_C, rows, t, taps, 0, job.C, U, U_at, width, k == 7)


@serial
def _input_tiles(source_arrays, job, block, patch, V):
    """V[t, k, c] = (Bᵀ d B)[k] for every tile t of the block."""
    padded = lanes_up(job.C)
    tiles_h, tiles_w = block.p1 - block.p0, block.q1 - block.q0
    rows, columns = 4 * tiles_h + 2, 4 * tiles_w + 2
    for c0 in range(0, padded, LANES):
        at = c0
        for n in range(block.n0, block.n1):
            image = Image(n, n * job.x_image, job.C, job.H, job.W)
            window = Window(c0, 4 * block.p0 - job.padding, 4 * block.q0 - job.padding, rows, columns)
            call(job.source, (source_arrays, image, window, patch))
            for p in range(tiles_h):
                for q in range(tiles_w):
                    patch_at = (4 * p * columns + 4 * q) * LANES
                    input_transform(patch, patch_at, columns * LANES, LANES, V, at, 6 * padded, padded)
                    at += _pitch(padded)


@serial
def _gradient_tiles(source_arrays, job, block, patch, Q):
    """Q[t, k, f] = (A dy Aᵀ)[k] for every tile t of the block."""
    padded = lanes_up(job.F)
    tiles_h, tiles_w = block.p1 - block.p0, block.q1 - block.q0
    rows, columns = 4 * tiles_h, 4 * tiles_w
    for f0 in range(0, padded, LANES):
        at = f0
        for n in range(block.n0, block.n1):
            image = Image(n, n * job.y_image, job.F, job.OH, job.OW)
            window = Window(f0, 4 * block.p0, 4 * block.q0, rows, columns)
            call(job.sink, (source_arrays, image, window, patch))
            for p in range(tiles_h):
                for q in range(tiles_w):
                    patch_at = (4 * p * columns + 4 * q) * LANES
                    output_adjoint_transform(patch, patch_at, columns * LANES, LANES, Q, at, 6 * padded, padded)
                    at += _pitch(padded)


@serial
def weight_gradient_kernel(arrays, numbers, table, scratch, worker):
    """Partial sum number `worker` of dU = Vᵀ Q. arrays: 4 of the source of x, 4 of the source of dy, the sums."""
    job = Job(*unpack(numbers, JOB_NUMBERS))
    x_arrays, dy_arrays = arrays[0:4], arrays[4:8]
    patch = scratch[: job.patch_size]
    V = scratch[job.patch_size : job.patch_size + job.V_size]
    Q = scratch[job.patch_size + job.V_size :]
    padded_C, padded_F, height = lanes_up(job.C), lanes_up(job.F), _rows_up(lanes_up(job.C))
    part_size = POINTS * height * padded_F
    dU = arrays[8][worker * part_size : (worker + 1) * part_size]
    first = worker * job.blocks // job.workers
    for b in range(first, (worker + 1) * job.blocks // job.workers):
        block = _block_number(b, job)
        tiles = (block.n1 - block.n0) * (block.p1 - block.p0) * (block.q1 - block.q0)
        _input_tiles(x_arrays, job, block, patch, V)
        _gradient_tiles(dy_arrays, job, block, patch, Q)
        taps, rows = table[:tiles], table[tiles:]
        for c in range(_rows_up(job.C)):
            rows[c] = min(c, job.C - 1)
        for t in range(tiles):
            taps[t] = t * _pitch(padded_C)
        pitch, add = _pitch(padded_F), b > first
        for k in range(POINTS):
            for f0 in range(0, padded_F, 2 * LANES):
                Q_at = k * padded_F + f0
                for c in range(0, job.C, ROWS):
                    at = (k * height + c) * padded_F + f0
                    if padded_F - f0 > LANES:
                        gather_gemm(2, dU, at, padded_F, V, k * padded_C, rows, c, taps, 0, tiles, Q, Q_at, pitch, add)
                    else:
                        gather_gemm(1, dU, at, padded_F, V, k * padded_C, rows, c, taps, 0, tiles, Q, Q_at, pitch, add)


@serial
def transform_weight_kernel(arrays, numbers, table, scratch, worker):
    """U = G g Gᵀ, laid out (36, blocks of 2 vectors of outputs, inputs, lanes) as `gather_gemm` reads it.

    Worker i owns the vectors i, i + workers, … of outputs.
    arrays: weight (F, C, 3, 3), U; numbers: F, C, flip, workers.
    flip 0: inputs are channels and outputs filters. flip 1: the reverse, the kernel turned (input gradient).
    """
    weight, U = arrays[0], arrays[1]
    F, C, flip, workers = unpack(numbers, 4)
    inputs, outputs = (F, C) if flip else (C, F)
    padded = lanes_up(outputs)
    step = inputs * padded
    for o in range(worker * LANES, padded, workers * LANES):
        first = o // (2 * LANES) * 2 * LANES
        width = min(2 * LANES, padded - first)
        for cell in range(9 * LANES):
            scratch[cell] = 0
        for c in range(inputs):
            for lane in range(min(LANES, outputs - o)):
                at = (c * C + o + lane) * 9 if flip else ((o + lane) * C + c) * 9
                for ij in range(9):
                    scratch[ij * LANES + lane] = weight[at + 8 - ij] if flip else weight[at + ij]
            U_at = first * inputs + c * width + o - first
            weight_transform(scratch, 0, 3 * LANES, LANES, U, U_at, 6 * step, step)


@serial
def finish_weight_gradient_kernel(arrays, numbers, table, scratch, worker):
    """dg = Gᵀ [sum of the parts of dU, in order] G. Worker i owns the channels i, i + workers, …

    arrays: parts (parts, 36, C rounded up, F rounded up), dweight (F, C, 3, 3); numbers: F, C, parts, workers.
    """
    sums, dweight = arrays[0], arrays[1]
    F, C, parts, workers = unpack(numbers, 4)
    padded, height = lanes_up(F), _rows_up(lanes_up(C))
    size = POINTS * height * padded
    for c in range(worker, C, workers):
        for f in range(0, padded, LANES):
            for k in range(POINTS):
                at = (k * height + c) * padded + f
                value = load(sums, at)
                for part in range(1, parts):
                    value = value + load(sums, part * size + at)
                store(scratch, (9 + k) * LANES, value)
            weight_adjoint_transform(scratch, 9 * LANES, 6 * LANES, LANES, scratch, 0, 3 * LANES, LANES)
            for lane in range(min(LANES, F - f)):
                at = ((f + lane) * C + c) * 9
                for ij in range(9):
                    dweight[at + ij] = scratch[ij * LANES + lane]


# Drivers: any source and any sink. Shapes are (N, C, H, W), `x_image` the numbers from one image to the next.


def run_forward(source, source_arrays, sink, sink_arrays, U, bias, x_shape, x_image, y_shape, y_image, padding):
    """Read x through `source`, convolve, and write y through `sink`. bias (F rounded up to whole vectors)."""
    dtype = U.dtype
    (N, C, H, W), (_, F, OH, OW) = x_shape, y_shape
    cut = cut_into_blocks(N, OH, OW, C, dtype.itemsize)
    patch_size, V_size = _scratch_sizes(cut, C)
    M_size = KEPT_TILES * (POINTS * 2 * LANES + LANES)
    workers = min(get_num_threads(), cut.blocks)
    addresses = source_address(source, dtype), sink_address(sink, dtype)
    job = Job(*addresses, N, C, H, W, x_image, F, OH, OW, y_image, padding, workers, patch_size, V_size, *cut)
    arrays = (*source_arrays, *sink_arrays, U, bias)
    launch(forward_kernel, arrays, job, C + MAX_TILES + ROWS, patch_size + V_size + M_size, workers, dtype)


def pieces(y_shape, channels, dtype):
    """How many records the forward kernel hands to its sink for each vector of filters."""
    cut = cut_into_blocks(y_shape[0], *y_shape[2:], channels, dtype.itemsize)
    return y_shape[0] * cut.blocks_h * cut.blocks_w


def run_weight_gradient(x_source, x_arrays, dy_source, dy_arrays, x_shape, x_image, dy_shape, dy_image, padding, dtype):
    """dweight (F, C, 3, 3) of x and dy, each read through its source."""
    (N, C, H, W), (_, F, OH, OW) = x_shape, dy_shape
    cut = cut_into_blocks(N, OH, OW, max(C, F), dtype.itemsize)
    patch_size, V_size = _scratch_sizes(cut, C)
    Q_size = cut.block_h * cut.block_w * cut.images * (POINTS * lanes_up(F) + LANES)
    part_size = POINTS * -(-lanes_up(C) // ROWS) * ROWS * lanes_up(F)
    parts = number_of_parts(cut.blocks, part_size * dtype.itemsize)
    sums = empty((parts, part_size), dtype)
    addresses = source_address(x_source, dtype), source_address(dy_source, dtype)
    job = Job(*addresses, N, C, H, W, x_image, F, OH, OW, dy_image, padding, parts, patch_size, V_size, *cut)
    table_size = -(-C // ROWS) * ROWS + MAX_TILES
    arrays = (*x_arrays, *dy_arrays, sums)
    launch(weight_gradient_kernel, arrays, job, table_size, patch_size + V_size + Q_size, parts, dtype)

    dweight = np.empty((F, C, 3, 3), dtype)
    workers = min(C, get_num_threads()) if C * F >= SMALL else 1
    numbers = (F, C, parts, workers)
    launch(finish_weight_gradient_kernel, (sums, dweight), numbers, 1, (9 + POINTS) * LANES, workers, dtype)
    return dweight


def number_of_parts(blocks, part_bytes):
    """Partial sums of a weight gradient, from shapes only: a power of two, so that it divides well among threads.

    Many large ones would cost more to clear and to add than they bring.
    """
    parts = 1
    while parts < 16 and 4 * parts < blocks and 2 * parts * part_bytes <= PARTS_BYTES:
        parts *= 2
    return min(parts, blocks)


def transformed(weight, flip):
    """U = G g Gᵀ as the forward kernel reads it; `flip` for the input gradient."""
    F, C = weight.shape[:2]
    inputs, outputs = (F, C) if flip else (C, F)
    U = empty(POINTS * inputs * lanes_up(outputs), weight.dtype)
    workers = min(lanes_up(outputs) // LANES, get_num_threads()) if C * F >= SMALL else 1
    launch(transform_weight_kernel, (weight, U), (F, C, int(flip), workers), 1, 9 * LANES, workers, weight.dtype)
    return U


def padded_bias(bias, filters, dtype):
    """The bias, or zeros, with zeros up to whole vectors."""
    padded = np.zeros(lanes_up(filters), dtype)
    if bias is not None:
        padded[:filters] = bias
    return padded


def _scratch_sizes(cut, channels):
    """Numbers in a patch and in V, for one worker."""
    tiles = cut.block_h * cut.block_w * cut.images
    patch_size = max((4 * cut.block_h + 2) * (4 * cut.block_w + 2), 2 * 16 * tiles) * LANES
    return patch_size, tiles * (POINTS * lanes_up(channels) + LANES)


# On images (N, C, H, W).


def serves(inputs, kernel_size, stride, padding):
    """Whether these kernels can do it, and fast: with few input channels the transforms cost more than they save."""
    return tuple(kernel_size) == (3, 3) and tuple(stride) == (1, 1) and padding[0] == padding[1] <= 2 and inputs >= 8


def forward(x, weight, bias, padding):
    n_images, _, height, width = x.shape
    y_shape = (n_images, len(weight), height + 2 * padding[0] - 2, width + 2 * padding[1] - 2)
    return _convolve(x, weight, bias, y_shape, padding[0], flip=False)


def input_gradient(dy, weight, input_size, padding):
    return _convolve(dy, weight, None, (len(dy), weight.shape[1], *input_size), 2 - padding[0], flip=True)


def weight_gradient(dy, x, padding):
    arrays = (nchw_source, four(x), nchw_source, four(dy))
    return run_weight_gradient(*arrays, x.shape, x[0].size, dy.shape, dy[0].size, padding[0], x.dtype)


def _convolve(x, weight, bias, y_shape, padding, flip):
    y = empty(y_shape, x.dtype)
    bias = padded_bias(bias, y_shape[1], x.dtype)
    arrays = (nchw_source, four(x), nchw_sink, four(y), transformed(weight, flip), bias)
    run_forward(*arrays, x.shape, x[0].size, y_shape, y[0].size, padding)
    return y
