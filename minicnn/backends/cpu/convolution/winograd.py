"""Rung 4, Winograd convolution F(4×4, 3×3): 36 multiplications where the plain sum needs 144 (Lavin and Gray, 2016).

For stride 1. With a 3 × 3 kernel, a 4 × 4 tile of the output needs a 6 × 6 tile d of the input and the kernel g:

    forward            y  = Aᵀ [ (G g Gᵀ) * (Bᵀ d B) ] A                     * is elementwise, summed over channels
    weight gradient    dg = Gᵀ [ sum over tiles of (A dy Aᵀ) * (Bᵀ d B) ] G  its adjoint in g
    input gradient     a forward convolution of dy with g turned by half a turn, filters and channels exchanged

Write U = G g Gᵀ (36, C, F), V = Bᵀ d B (T, 36, C) and Q = A dy Aᵀ (T, 36, F) for T tiles. The elementwise products,
summed over channels or over tiles, are 36 small matrix products, which `gather_gemm` computes near the machine's peak:

    forward            M[:, k]  = V[:, k] U[k]        (T, F)
    weight gradient    dU[k]    = V[:, k]ᵀ Q[:, k]    (C, F)

A larger kernel is a sum of 3 × 3 ones: zeros make its sides multiples of 3, and part (a, b) of it meets the input 3a
rows further down and 3b columns to the right. So a 5 × 5 kernel on C channels is a 3 × 3 kernel on 4 C, which are the C
channels in four positions; the code calls them the inputs.

Vectors run over channels. A block of at most MAX_TILES tiles is carried from input to output within the L2 cache:
source → patch → V → M → patch → sink.

Who owns what: a worker of the forward kernel owns the output of its blocks. A worker of the weight gradient owns one of
several partial sums; their number depends on the shapes only, and they are added in order.

Cost per output pixel and part: 2.25 C F multiply-adds, and for the transforms about 9 C + 6.25 F additions and
multiplications.

Error: the transforms add numbers with weights up to 8, which costs digits: in float32 the largest error is 1e-6 to
1e-5 of the largest output (16 to 1024 channels; the register tile's is 1e-7 to 1e-6), in float64 1e-14. Where the
numbers of a tile are so far apart that small outputs would be lost beside large ones, or not finite, the tile is summed
plainly, see `balance`: so an output is off by at most 2e-4 of the sum of its products' magnitudes, a weight's gradient
by 1e-3, and NaN and infinity are where the plain sum has them. Weights that are not `fit` go to the register tile.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import get_num_threads, types
from numba.extending import intrinsic

from minicnn.backends.cpu.convolution.balance import (
    PARTS,
    add_squares,
    balanced,
    fit,
    pack_weight,
    places_of_pixels,
    places_of_taps,
    quarters_balanced,
    sum_plainly,
    windows_balanced,
)
from minicnn.backends.cpu.convolution.patches import (
    SOURCE_ARRAYS,
    Image,
    Window,
    lanes_up,
    sink_address,
    source_address,
)
from minicnn.backends.cpu.convolution.pieces import (
    Layout,
    cut,
    grouped,
    numbers_of,
    piece_number,
)
from minicnn.backends.cpu.convolution.vectors import (
    LANES,
    ROWS,
    TERMS,
    constant,
    fill,
    gather_gemm,
    itemsize,
    load,
    load_vector,
    pointer_to,
    store,
    store_vector,
    vector_type,
)
from minicnn.backends.cpu.runtime.jit import addressed, part, serial
from minicnn.backends.cpu.runtime.launch import address, call, flat, kernel_signature, launch, unpack
from minicnn.backends.cpu.runtime.memory import empty

POINTS = 36  # products for a tile
MAX_TILES = 64  # tiles in a block
KEPT_TILES = ROWS  # tiles whose products M are kept: all 36 of them in or near the first-level cache
BLOCK_BYTES = 384 * 1024  # what V of a block may take, about a third of the L2 cache
SMALL = 64 * 64  # weights of fewer (f, c) pairs are transformed by one thread: waking a second costs more
NONE, PLAIN, UNMENDED = 0, 1, -1  # what became of the unbalanced tiles of a share of the weight gradient
SUMS = 2 * PARTS * LANES  # of squares for each tile: of the kernel's first 3 × 3 part, and of the others
M_SIZE = KEPT_TILES * (POINTS * 2 * LANES + LANES)
SUMS_BYTES = 32 * 1024 * 1024  # what the partial sums of a weight gradient may take


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
        def codegen(context, builder, sig, args):
            _emit_transform(context, builder, source, target, args, one_d, size)
            return context.get_dummy_value()

        return types.void(source, *_PLACE, target, *_PLACE), codegen

    return tile_transform


_PLACE = (types.intp,) * 3  # of a tile in an array: where it starts, from row to row, from column to column


def _emit_transform(context, builder, source, target, args, one_d, size):
    """The instructions of a transform."""
    source_array, source_at, source_row, source_column = args[:4]
    target_array, target_at, target_row, target_column = args[4:]
    vector, size_of_one = vector_type(context, source), itemsize(source)

    def element(array_type, array, start, row, column, i, j):
        i, j = (ir.Constant(context.get_value_type(types.intp), number) for number in (i, j))
        offset = builder.add(builder.mul(row, i), builder.mul(column, j))
        return pointer_to(context, builder, array_type, array, builder.add(start, offset))

    def load_element(i, j):
        place = element(source, source_array, source_at, source_row, source_column, i, j)
        return _Vector(builder, load_vector(builder, vector, place, size_of_one))

    columns = []
    for j in range(size):
        columns.append(one_d([load_element(i, j) for i in range(size)]))
    for p in range(len(columns[0])):
        for q, result in enumerate(one_d([column[p] for column in columns])):
            place = element(target, target_array, target_at, target_row, target_column, p, q)
            store_vector(builder, result.value, place, size_of_one)


input_transform = _tile_transform(input_1d, 6)
output_transform = _tile_transform(output_1d, 6)
output_adjoint_transform = _tile_transform(output_adjoint_1d, 4)
weight_transform = _tile_transform(weight_1d, 3)
weight_adjoint_transform = _tile_transform(weight_adjoint_1d, 6)


# How the output is cut into blocks of tiles.


class Plan(NamedTuple):
    """A convolution on a batch: how it is cut, its kernel, and the padding of the pass in question."""

    layout: Layout
    tiles: int  # in the largest block
    patch_size: int  # numbers in the largest patch, of the input or of the output
    kernel_size: tuple
    padding: tuple
    flip: bool  # the input gradient: filters and channels exchanged, the kernel turned

    @property
    def pieces(self):
        """How many pieces a sink or a source of a gradient meets."""
        return len(self.layout.pieces)


def plan_forward(kernel_size, stride, padding, inputs, x_sizes, y_sizes, number_bytes):
    """How to convolve images of x_sizes (N, 2) into y_sizes, `inputs` channels of numbers of so many bytes."""
    return _plan(kernel_size, padding, False, inputs, x_sizes, y_sizes, number_bytes)


def plan_input_gradient(kernel_size, stride, padding, inputs, dy_sizes, dx_sizes, number_bytes):
    """The same for the convolution from dy to dx; `inputs` are the filters."""
    padding = tuple(kernel - 1 - pad for kernel, pad in zip(kernel_size, padding, strict=True))
    return _plan(kernel_size, padding, True, inputs, dy_sizes, dx_sizes, number_bytes)


def _plan(kernel_size, padding, flip, channels, x_sizes, y_sizes, number_bytes):
    parts = kernel_parts(kernel_size)
    tile_bytes = POINTS * parts[0] * parts[1] * lanes_up(channels) * number_bytes
    budget = max(16, min(MAX_TILES, BLOCK_BYTES // tile_bytes // 16 * 16))
    return Plan(*_layout(x_sizes.tobytes(), y_sizes.tobytes(), parts, budget), tuple(kernel_size), padding, flip)


@lru_cache(maxsize=64)
def _layout(x_sizes, y_sizes, parts, budget):
    """The layout in blocks of at most `budget` tiles; the tiles of the largest, and the largest patch."""
    x_sizes, y_sizes = (np.frombuffer(sizes, np.int64).reshape(-1, 2) for sizes in (x_sizes, y_sizes))
    pieces = cut(x_sizes, y_sizes, np.array([_piece_size(*size, budget) for size in y_sizes.tolist()]))
    tiles_h, tiles_w = (pieces[:, [8, 10]] - pieces[:, [7, 9]] + 3).T // 4
    layout = grouped(pieces, tiles_h * tiles_w, budget)
    tiles = int(np.diff(layout.costs).max())
    patch_size = int(((4 * tiles_h + 3 * parts[0] - 1) * (4 * tiles_w + 3 * parts[1] - 1)).max())
    return layout, tiles, max(patch_size, 2 * 16 * tiles) * LANES


@lru_cache(maxsize=4096)
def _piece_size(out_height, out_width, budget):
    """Rows and columns of pieces of at most `budget` tiles, all of about the same size."""
    tiles_h, tiles_w = -(-out_height // 4), -(-out_width // 4)
    wide = min(tiles_w, 8)
    high = _even_share(tiles_h, min(tiles_h, max(1, budget // wide)))
    if high == tiles_h:
        wide = _even_share(tiles_w, min(tiles_w, budget // high))
    return 4 * high, 4 * wide


def _even_share(total, most):
    """The size of a share when `total` is cut into as few shares of at most `most` as there can be."""
    return -(-total // -(-total // most))


@lru_cache(maxsize=256)
def kernel_parts(kernel_size):
    """How many 3 × 3 kernels a kernel is the sum of, down and across."""
    return tuple(-(-kernel // 3) for kernel in kernel_size)


@serial
def _rows_up(rows):
    return (rows + ROWS - 1) // ROWS * ROWS


@serial
def _pitch(padded_channels):
    """From one tile to the next in V, M and Q, which are laid out (tiles, 36, channels): one vector more than that, so
    that the same product of many tiles does not fall into one cache set."""
    return POINTS * padded_channels + LANES


class Job(NamedTuple):
    """The numbers of a kernel: addresses of source and sink, channels, numbers a pixel, parts of the kernel, sizes.

    For a forward convolution x is what is read through `source` and y what is written through `sink`; for a weight
    gradient the second is dy, read through the source `sink`.
    """

    source: int
    sink: int
    input_tiles: int  # addresses of what transforms the tiles of x, and those of dy
    gradient_tiles: int
    C: int
    x_pitch: int
    F: int
    y_pitch: int
    KH: int
    KW: int
    parts_h: int
    parts_w: int
    pad_h: int
    pad_w: int
    flip: int  # see `transform_weight_kernel`
    guard: int  # whether tiles may be unbalanced
    mender: int  # address of what sums unbalanced tiles plainly, 0 where it is not compiled yet
    patch_size: int
    V_size: int
    tiles: int
    shares_at: int = 0  # these three are set by `numbers_of`
    blocks_at: int = 0
    pieces_at: int = 0


JOB_NUMBERS = len(Job._fields)


@part
def _tiles(piece):
    """How many tiles down and across."""
    return (piece.p1 - piece.p0 + 3) // 4, (piece.q1 - piece.q0 + 3) // 4


@part
def _tiles_of_block(numbers, job, block):
    """How many tiles its pieces have together."""
    count = 0
    for index in range(numbers[job.blocks_at + block], numbers[job.blocks_at + block + 1]):
        tiles_h, tiles_w = _tiles(piece_number(numbers, job.pieces_at, index))
        count += tiles_h * tiles_w
    return count


# Kernels: one worker's share of the blocks.


@addressed
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
    _inputs_in_order(job, taps)
    for b in range(numbers[job.shares_at + worker], numbers[job.shares_at + worker + 1]):
        first, stop = numbers[job.blocks_at + b], numbers[job.blocks_at + b + 1]
        call(job.input_tiles, (source_arrays, numbers, b, patch, V, sums, unbalanced))
        tiles = 0
        for index in range(first, stop):
            tiles_h, tiles_w = _tiles(piece_number(numbers, job.pieces_at, index))
            for p in range(tiles_h):
                for q in range(tiles_w):
                    t = tiles + p * tiles_w + q
                    rows[t] = t * _pitch(inputs)
                    places[2 * t], places[2 * t + 1] = 16 * (tiles + p * tiles_w) + 4 * q, 4 * tiles_w
            tiles += tiles_h * tiles_w
        for t in range(tiles, tiles + ROWS):
            rows[t] = rows[tiles - 1]
        n_unbalanced = _count(unbalanced, tiles) if job.guard else 0
        for f0 in range(0, padded_F, 2 * LANES):
            width = min(2 * LANES, padded_F - f0)
            for t0 in range(0, tiles, KEPT_TILES):
                t1 = min(tiles, t0 + KEPT_TILES)
                _products(job, V, U, bias, f0, width, t0, t1, taps, rows, M)
                for t in range(t0, t1):
                    for f in range(0, width, LANES):
                        patch_at = (f * 16 * tiles) + places[2 * t] * LANES
                        M_at = (t - t0) * _pitch(width) + f
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
                    tiles_h, tiles_w = _tiles(piece)
                    image = Image(piece.number, piece.y_first * job.y_pitch, job.F, piece.OH, piece.OW)
                    window = Window(f0 + f, piece.p0, piece.q0, piece.p1 - piece.p0, piece.q1 - piece.q0)
                    call(job.sink, (sink_arrays, image, window, 4 * tiles_w, index, patch[patch_at:]))
                    patch_at += tiles_h * tiles_w * 16 * LANES


@part
def _inputs_in_order(job, places):
    """places[i] = where input i, channel i modulo C of part i // C, stands among the inputs up to whole vectors."""
    for ab in range(job.parts_h * job.parts_w):
        for c in range(job.C):
            places[ab * job.C + c] = ab * lanes_up(job.C) + c


@part
def _products(job, V, U, bias, f0, width, t0, t1, taps, rows, M):
    """M[t, k] = V[t, k] U[k] for tiles t0 to t1 and `width` filters from f0 on.

    The bias goes into product (1, 1): Aᵀ turns a constant there into a constant tile.
    """
    padded_F, inputs, n_taps = lanes_up(job.F), job.parts_h * job.parts_w * lanes_up(job.C), len(taps)
    pitch = _pitch(width)
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


# The transforms of a block's tiles: long, so compiled by themselves, once for both kernels.


@addressed
def input_tiles(source_arrays, numbers, block, patch, V, sums, unbalanced):
    """V[t, k, input] = (Bᵀ d B)[k] for every tile t of a block; where tiles are guarded also its sums of squares, and
    whether these look `unbalanced`."""
    job = Job(*unpack(numbers, JOB_NUMBERS))
    first, stop = numbers[job.blocks_at + block], numbers[job.blocks_at + block + 1]
    padded = lanes_up(job.C)
    inputs = job.parts_h * job.parts_w * padded
    vectors = PARTS if inputs == padded else 2 * PARTS
    if job.guard:
        for t in range(job.tiles):
            _clear(sums, t * SUMS, vectors)
    for c0 in range(0, padded, LANES):
        at, t = c0, 0
        for index in range(first, stop):
            piece = piece_number(numbers, job.pieces_at, index)
            tiles_h, tiles_w = _tiles(piece)
            rows, columns = 4 * tiles_h + 3 * job.parts_h - 1, 4 * tiles_w + 3 * job.parts_w - 1
            image = Image(piece.number, piece.x_first * job.x_pitch, job.C, piece.H, piece.W)
            window = Window(c0, piece.p0 - job.pad_h, piece.q0 - job.pad_w, rows, columns)
            call(job.source, (source_arrays, image, window, patch))
            for p in range(tiles_h):
                for q in range(tiles_w):
                    for a in range(job.parts_h):
                        for b in range(job.parts_w):
                            patch_at = ((4 * p + 3 * a) * columns + 4 * q + 3 * b) * LANES
                            V_at = at + (a * job.parts_w + b) * padded
                            row, row_V = columns * LANES, 6 * inputs
                            input_transform(patch, patch_at, row, LANES, V, V_at, row_V, inputs)
                            if job.guard:
                                sums_at = t * SUMS + (0 if a + b == 0 else PARTS * LANES)
                                add_squares(patch, patch_at, row, 6, sums, sums_at)
                    at += _pitch(inputs)
                    if job.guard and c0 + LANES == padded:
                        rows_left, columns_left = _tile_outputs(piece, p, q)
                        other = _to_compare(t, p, q, tiles_w, rows_left, columns_left)
                        good = balanced(sums, t * SUMS, vectors, rows_left > 2, columns_left > 2, other * SUMS)
                        unbalanced[t] = 0 if good else 1
                    t += 1


def _tiles_signature(dtype):
    source_arrays, numbers = types.UniTuple(flat(dtype), SOURCE_ARRAYS), flat(np.int64)
    return source_arrays, numbers, types.intp, flat(dtype), flat(dtype), flat(dtype), numbers


@part
def _count(unbalanced, tiles):
    """How many tiles look unbalanced."""
    count = 0
    for t in range(tiles):
        count += unbalanced[t]
    return count


@part
def _clear(array, at, vectors):
    """So many vectors from `at` on."""
    zero = fill(array, 0.0)
    for vector in range(vectors):
        store(array, at + vector * LANES, zero)


@part
def _tile_outputs(piece, p, q):
    """How many rows and columns of tile (p, q) are within the image."""
    return min(4, piece.p1 - piece.p0 - 4 * p), min(4, piece.q1 - piece.q0 - 4 * q)


@part
def _to_compare(t, p, q, tiles_w, rows, columns):
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


@addressed
def gradient_tiles(source_arrays, numbers, block, patch, Q, sums, unbalanced):
    """Q[t, k, f] = (A dy Aᵀ)[k] for every tile t of a block; where tiles are guarded also its sums of squares, and
    whether these, too, look `unbalanced`."""
    job = Job(*unpack(numbers, JOB_NUMBERS))
    first, stop = numbers[job.blocks_at + block], numbers[job.blocks_at + block + 1]
    padded = lanes_up(job.F)
    if job.guard:
        for t in range(job.tiles):
            _clear(sums, t * SUMS, PARTS)
    for f0 in range(0, padded, LANES):
        at, t = f0, 0
        for index in range(first, stop):
            piece = piece_number(numbers, job.pieces_at, index)
            tiles_h, tiles_w = _tiles(piece)
            image = Image(piece.number, piece.y_first * job.y_pitch, job.F, piece.OH, piece.OW)
            # A piece ends at the image's border or on whole tiles: what a tile has beyond it, the source makes 0.
            window = Window(f0, piece.p0, piece.q0, 4 * tiles_h, 4 * tiles_w)
            call(job.sink, (source_arrays, image, window, patch))
            for p in range(tiles_h):
                for q in range(tiles_w):
                    patch_at = (4 * p * 4 * tiles_w + 4 * q) * LANES
                    row = 4 * tiles_w * LANES
                    output_adjoint_transform(patch, patch_at, row, LANES, Q, at, 6 * padded, padded)
                    if job.guard:
                        add_squares(patch, patch_at, row, 4, sums, t * SUMS)
                    at += _pitch(padded)
                    if job.guard and f0 + LANES == padded and unbalanced[t] == 0:
                        rows, columns = _tile_outputs(piece, p, q)
                        other = _to_compare(t, p, q, tiles_w, rows, columns)
                        good = balanced(sums, t * SUMS, PARTS, rows > 2, columns > 2, other * SUMS)
                        unbalanced[t] = 0 if good else 1
                    t += 1


@addressed
def weight_gradient_kernel(arrays, numbers, table, scratch, worker):
    """Partial sum number `worker` of dU = Vᵀ Q.

    arrays: 4 of the source of x, 4 of the source of dy, the sums, those of unbalanced tiles, and for each share what
    became of these: NONE, PLAIN or UNMENDED.
    """
    job = Job(*unpack(numbers, JOB_NUMBERS))
    x_arrays, dy_arrays, state = arrays[0:4], arrays[4:8], arrays[10]
    padded_F, inputs = lanes_up(job.F), job.parts_h * job.parts_w * lanes_up(job.C)
    patch = scratch[: job.patch_size]
    V = scratch[job.patch_size : job.patch_size + job.V_size]
    Q = scratch[job.patch_size + job.V_size :]
    sums = Q[job.tiles * _pitch(padded_F) :]
    n_rows = job.parts_h * job.parts_w * job.C
    height = _rows_up(n_rows)
    part_size = POINTS * height * padded_F
    dU = arrays[8][worker * part_size : (worker + 1) * part_size]
    rows, taps, unbalanced = table[:height], table[height:], table[height + job.tiles :]
    state[worker] = NONE
    _inputs_in_order(job, rows)
    for row in range(n_rows, height):
        rows[row] = rows[n_rows - 1]
    first_block = numbers[job.shares_at + worker]
    last_block = numbers[job.shares_at + worker + 1]
    if first_block == last_block:
        for cell in range(part_size):
            dU[cell] = 0
    for b in range(first_block, last_block):
        call(job.input_tiles, (x_arrays, numbers, b, patch, V, sums, unbalanced))
        call(job.gradient_tiles, (dy_arrays, numbers, b, patch, Q, sums[job.tiles * SUMS :], unbalanced))
        tiles = _tiles_of_block(numbers, job, b)
        if job.guard and _count(unbalanced, tiles) > 0:
            if job.mender != 0:
                call(job.mender, (arrays, numbers, table, scratch, b, worker))
            else:
                state[worker] = UNMENDED
        for t in range(tiles):
            taps[t] = t * _pitch(inputs)
        pitch, add = _pitch(padded_F), b > first_block
        for k in range(POINTS):
            for f0 in range(0, padded_F, 2 * LANES):
                V_at, Q_at = k * inputs, k * padded_F + f0
                for row in range(0, n_rows, ROWS):
                    at = (k * height + row) * padded_F + f0
                    if padded_F - f0 > LANES:
                        gather_gemm(2, dU, at, padded_F, LANES, V, V_at, rows, row, taps, 0, tiles, Q, Q_at, pitch, add)
                    else:
                        gather_gemm(1, dU, at, padded_F, LANES, V, V_at, rows, row, taps, 0, tiles, Q, Q_at, pitch, add)


# Menders: for the tiles of a block that look unbalanced the kernels call these. They are seldom needed, and compiled
# when they are.


@addressed
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
    high, wide = _tile_sides(job)
    if unbalanced[job.tiles] == 0:
        unbalanced[job.tiles] = 1
        pack_weight(weight, job.C, job.F, job.KH * job.KW, job.flip, packed)
        places_of_taps(job.C, high, wide, job.KH, job.KW, taps)
        places_of_pixels(4, 4, wide, pixels)
    first, stop = numbers[job.blocks_at + b], numbers[job.blocks_at + b + 1]
    width, tiles = min(2 * LANES, lanes_up(job.F) - f0), _tiles_of_block(numbers, job, b)
    t = -1
    for index in range(first, stop):
        piece = piece_number(numbers, job.pieces_at, index)
        tiles_h, tiles_w = _tiles(piece)
        for p in range(tiles_h):
            for q in range(tiles_w):
                t += 1
                if unbalanced[t] == 0:
                    continue
                _read_tile(source_arrays, job, piece, p, q, tile_patch)
                rows, columns = _tile_outputs(piece, p, q)
                if f0 == 0 and windows_balanced(tile_patch, job.C, high, wide, job.KH, job.KW, rows, columns):
                    unbalanced[t] = 0
                    continue
                sum_plainly(tile_patch, job.C, high * wide, job.KH * job.KW, packed, bias, f0, width, pixels, taps, M)
                for f in range(0, width, LANES):
                    for pixel in range(16):
                        place = f * 16 * tiles + (places[2 * t] + pixel // 4 * places[2 * t + 1] + pixel % 4) * LANES
                        store(patch, place, load(M, f * (16 + ROWS) + pixel * LANES))


@addressed
def weight_gradient_mender(arrays, numbers, table, scratch, b, worker):
    """Take block b's unbalanced tiles out of V and Q, and add their products to the plain sums of the share.
    Everything is the `weight_gradient_kernel`'s."""
    job = Job(*unpack(numbers, JOB_NUMBERS))
    x_arrays, dy_arrays, state = arrays[0:4], arrays[4:8], arrays[10]
    padded_F, inputs = lanes_up(job.F), job.parts_h * job.parts_w * lanes_up(job.C)
    patch = scratch[: job.patch_size]
    V = scratch[job.patch_size : job.patch_size + job.V_size]
    Q = scratch[job.patch_size + job.V_size :]
    sums = Q[job.tiles * _pitch(padded_F) :]
    dy_sums = sums[job.tiles * SUMS :]
    tile_patch = dy_sums[job.tiles * SUMS :]
    unbalanced = table[_rows_up(job.parts_h * job.parts_w * job.C) + job.tiles :]
    rows = unbalanced[job.tiles :]
    n_rows = job.C * job.KH * job.KW
    pixels = rows[_rows_up(n_rows) :]
    size = _rows_up(n_rows) * padded_F
    plain = arrays[9][worker * size : (worker + 1) * size]
    high, wide = _tile_sides(job)
    vectors = PARTS if job.parts_h * job.parts_w == 1 else 2 * PARTS
    t = -1
    for index in range(numbers[job.blocks_at + b], numbers[job.blocks_at + b + 1]):
        piece = piece_number(numbers, job.pieces_at, index)
        tiles_h, tiles_w = _tiles(piece)
        for p in range(tiles_h):
            for q in range(tiles_w):
                t += 1
                if unbalanced[t] == 0:
                    continue
                rows_left, columns_left = _tile_outputs(piece, p, q)
                # Where the image ends above them, the lower quarters of x are 0; likewise on the right.
                lower = rows_left > 2 and piece.p0 + 4 * p + 3 - job.pad_h < piece.H
                right = columns_left > 2 and piece.q0 + 4 * q + 3 - job.pad_w < piece.W
                other = _to_compare(t, p, q, tiles_w, rows_left, columns_left) * SUMS
                if quarters_balanced(sums, t * SUMS, vectors, lower, right, other) and quarters_balanced(
                    dy_sums, t * SUMS, PARTS, rows_left > 2, columns_left > 2, other
                ):
                    continue
                if state[worker] == NONE:
                    state[worker] = PLAIN
                    for cell in range(size):
                        plain[cell] = 0
                    places_of_taps(job.C, high, wide, job.KH, job.KW, rows)
                    for row in range(n_rows, _rows_up(n_rows)):
                        rows[row] = rows[n_rows - 1]
                _read_tile(x_arrays, job, piece, p, q, tile_patch)
                places_of_pixels(rows_left, columns_left, wide, pixels)
                image = Image(piece.number, piece.y_first * job.y_pitch, job.F, piece.OH, piece.OW)
                count = rows_left * columns_left
                for f in range(0, padded_F, LANES):
                    window = Window(f, piece.p0 + 4 * p, piece.q0 + 4 * q, rows_left, columns_left)
                    call(job.sink, (dy_arrays, image, window, patch))
                    for row in range(0, n_rows, ROWS):
                        at = row * padded_F + f
                        gather_gemm(
                            1, plain, at, padded_F, 0, tile_patch, 0, rows, row, pixels, 0, count, patch, 0, LANES, True
                        )
                _clear(V, t * _pitch(inputs), _pitch(inputs) // LANES)
                _clear(Q, t * _pitch(padded_F), _pitch(padded_F) // LANES)


@part
def _tile_sides(job):
    """Rows and columns of the input that a tile meets."""
    return 3 * job.parts_h + 3, 3 * job.parts_w + 3


@serial
def tile_patch_size(C, parts_h, parts_w):
    """What `_read_tile` fills, and one number more for each pixel."""
    return (lanes_up(C) + 1) * (3 * parts_h + 3) * (3 * parts_w + 3)


@part
def _read_tile(source_arrays, job, piece, p, q, tile_patch):
    """tile_patch (C / LANES, rows, columns, LANES) = all channels of what tile (p, q) of the piece meets."""
    high, wide = _tile_sides(job)
    image = Image(piece.number, piece.x_first * job.x_pitch, job.C, piece.H, piece.W)
    for c in range(0, job.C, LANES):
        window = Window(c, piece.p0 + 4 * p - job.pad_h, piece.q0 + 4 * q - job.pad_w, high, wide)
        call(job.source, (source_arrays, image, window, tile_patch[c * high * wide :]))


@addressed
def transform_weight_kernel(arrays, numbers, table, scratch, worker):
    """U = G g Gᵀ, laid out (36, blocks of 2 vectors of outputs, inputs, lanes) as `gather_gemm` reads it.

    Worker i owns the vectors i, i + workers, … of outputs.
    arrays: weight (F, C, KH, KW), U; numbers: F, C, KH, KW, flip, workers.
    flip 0: from channels to filters. flip 1: from filters to channels, the kernel turned (input gradient).
    """
    weight, U = arrays[0], arrays[1]
    F, C, KH, KW, flip, workers = unpack(numbers, 6)
    channels, outputs = (F, C) if flip else (C, F)
    parts_h, parts_w = (KH + 2) // 3, (KW + 2) // 3
    inputs, padded = parts_h * parts_w * channels, lanes_up(outputs)
    step = inputs * padded
    for o in range(worker * LANES, padded, workers * LANES):
        first = o // (2 * LANES) * 2 * LANES
        width = min(2 * LANES, padded - first)
        for cell in range(9 * LANES):
            scratch[cell] = 0
        for a in range(parts_h):
            for b in range(parts_w):
                for c in range(channels):
                    for lane in range(min(LANES, outputs - o)):
                        at = ((c * C + o + lane) if flip else ((o + lane) * C + c)) * KH * KW
                        for i in range(3 * a, 3 * a + 3):
                            for j in range(3 * b, 3 * b + 3):
                                g = weight.dtype.type(0)
                                if i < KH and j < KW:
                                    g = weight[at + ((KH - 1 - i) * KW + KW - 1 - j if flip else i * KW + j)]
                                scratch[((i - 3 * a) * 3 + j - 3 * b) * LANES + lane] = g
                    U_at = first * inputs + ((a * parts_w + b) * channels + c) * width + o - first
                    weight_transform(scratch, 0, 3 * LANES, LANES, U, U_at, 6 * step, step)


@addressed
def finish_weight_gradient_kernel(arrays, numbers, table, scratch, worker):
    """dg = Gᵀ [sum of the shares of dU, in order] G + the plain sums, in order. Worker i owns the channels i,
    i + workers, …

    arrays: sums (shares, 36, inputs rounded up, F rounded up), plain sums (shares, taps rounded up, F rounded up),
    which of these are there (shares), dweight; numbers: F, C, KH, KW, shares, workers.
    """
    sums, plain, state, dweight = arrays[0], arrays[1], arrays[2], arrays[3]
    F, C, KH, KW, shares, workers = unpack(numbers, 6)
    parts_h, parts_w = (KH + 2) // 3, (KW + 2) // 3
    padded, height = lanes_up(F), _rows_up(parts_h * parts_w * C)
    size, plain_size = POINTS * height * padded, _rows_up(C * KH * KW) * padded
    n_plain = 0
    for share in range(shares):
        n_plain += state[share] == PLAIN
    for c in range(worker, C, workers):
        for a in range(parts_h):
            for b in range(parts_w):
                for f in range(0, padded, LANES):
                    for k in range(POINTS):
                        at = (k * height + (a * parts_w + b) * C + c) * padded + f
                        value = load(sums, at)
                        for share in range(1, shares):
                            value = value + load(sums, share * size + at)
                        store(scratch, (9 + k) * LANES, value)
                    weight_adjoint_transform(scratch, 9 * LANES, 6 * LANES, LANES, scratch, 0, 3 * LANES, LANES)
                    for i in range(3 * a, min(KH, 3 * a + 3)):
                        for j in range(3 * b, min(KW, 3 * b + 3)):
                            g = ((i - 3 * a) * 3 + j - 3 * b) * LANES
                            for share in range(shares if n_plain > 0 else 0):
                                if state[share] == PLAIN:
                                    at = share * plain_size + ((c * KH + i) * KW + j) * padded + f
                                    store(scratch, g, load(scratch, g) + load(plain, at))
                            for lane in range(min(LANES, F - f)):
                                dweight[(((f + lane) * C + c) * KH + i) * KW + j] = scratch[g + lane]


# Drivers: any source and any sink.


def run(plan, x, y, weight, bias):
    """Read the batch x through its source, convolve, and write y through its sink, as `plan` has it."""
    dtype, parts = weight.dtype, kernel_parts(plan.kernel_size)
    n_inputs, n_taps = parts[0] * parts[1] * x.channels, math.prod(plan.kernel_size) * x.channels
    V_size = plan.tiles * (POINTS * parts[0] * parts[1] * lanes_up(x.channels) + LANES)
    workers = min(get_num_threads(), plan.layout.n_blocks)
    guard, unmended = not x.bounded, np.empty(workers, dtype)
    constants = _transformed(weight, plan.flip), padded_bias(bias, y.channels, dtype), weight, unmended
    table_size = n_inputs + plan.tiles + ROWS + 3 * plan.tiles + 1 + 16 + ROWS + n_taps
    scratch_size = plan.patch_size + V_size + M_SIZE + (plan.tiles * SUMS if guard else 0)

    for mender in _menders_for(forward_mender, dtype):
        job = _job(plan, x, y, sink_address(y.access, dtype), (input_tiles,), guard, mender, V_size, dtype)
        numbers = numbers_of(job, plan.layout, workers)
        for_mender = tile_patch_size(x.channels, *parts) + n_taps * lanes_up(y.channels) if mender else 0
        arrays = (*x.arrays, *y.arrays, *constants)
        launch(forward_kernel, arrays, numbers, table_size, scratch_size + for_mender, workers, dtype)
        if not (guard and unmended.any()):
            break


def run_weight_gradient(x, dy, kernel_size, stride, padding, dtype):
    """dweight (F, C, KH, KW) of the batches x and dy, each read through its source."""
    plan = plan_forward(kernel_size, stride, padding, max(x.channels, dy.channels), x.sizes, dy.sizes, dtype.itemsize)
    parts = kernel_parts(kernel_size)
    n_inputs, padded_F = parts[0] * parts[1] * x.channels, lanes_up(dy.channels)
    n_taps = _rows_up(math.prod(kernel_size) * x.channels)
    V_size = plan.tiles * (POINTS * parts[0] * parts[1] * lanes_up(x.channels) + LANES)
    Q_size = plan.tiles * (POINTS * padded_F + LANES)
    share_size = POINTS * _rows_up(n_inputs) * padded_F
    shares = number_of_shares(plan.layout.n_blocks, share_size * dtype.itemsize)
    sums, state = empty((shares, share_size), dtype), np.empty(shares, dtype)
    guard = not (x.bounded and dy.bounded)
    plain_sums = empty((shares, n_taps * padded_F), dtype) if guard else None
    table_size = _rows_up(n_inputs) + 2 * plan.tiles + n_taps + 16 + ROWS
    scratch_size = plan.patch_size + V_size + Q_size
    if guard:
        scratch_size += 2 * plan.tiles * SUMS + tile_patch_size(x.channels, *parts)

    for mender in _menders_for(weight_gradient_mender, dtype):
        transforms = input_tiles, gradient_tiles
        job = _job(plan, x, dy, source_address(dy.access, dtype), transforms, guard, mender, V_size, dtype)
        numbers = numbers_of(job, plan.layout, shares)
        arrays = (*x.arrays, *dy.arrays, sums, plain_sums, state)
        launch(weight_gradient_kernel, arrays, numbers, table_size, scratch_size, shares, dtype)
        if not (guard and (state == UNMENDED).any()):
            break
    dweight = np.empty((dy.channels, x.channels, *kernel_size), dtype)
    workers = min(x.channels, get_num_threads()) if x.channels * dy.channels >= SMALL else 1
    numbers = (*dweight.shape, shares, workers)
    arrays = (sums, plain_sums, state, dweight)
    launch(finish_weight_gradient_kernel, arrays, numbers, 1, (9 + POINTS) * LANES, workers, dtype)
    return dweight


_menders = {}  # (mender, dtype) -> address, of those that were needed


def _menders_for(mender, dtype):
    """The address of the mender to run a pass with, or 0; and where that was not enough, to run it again with.

    A mender takes seconds to compile and most networks never need it, so it is compiled when it is called for, and
    the pass is done again. It writes the same places anew.
    """
    yield _menders.get((mender, dtype), 0)
    _menders[mender, dtype] = address(mender, dtype, _mender_signature)
    yield _menders[mender, dtype]


def _mender_signature(dtype):
    arrays, numbers, table, scratch, number = kernel_signature(dtype)
    return arrays, numbers, table, scratch, number, number


def _job(plan, x, y, y_address, transforms, guard, mender, V_size, dtype):
    channels = (x.channels, x.pitch, y.channels, y.pitch)
    kernel = (*plan.kernel_size, *kernel_parts(plan.kernel_size), *plan.padding, plan.flip)
    sizes = (plan.patch_size, V_size, plan.tiles)
    transforms = [address(transform, dtype, _tiles_signature) for transform in transforms]
    addresses = source_address(x.access, dtype), y_address, *transforms, *[0] * (2 - len(transforms))
    return Job(*addresses, *channels, *kernel, guard, mender, *sizes)


def number_of_shares(blocks, share_bytes):
    """Partial sums of a weight gradient, from sizes only: a power of two, so that it divides well among threads.

    Many large ones would cost more to clear and to add than they bring.
    """
    shares = 1
    while shares < 16 and 4 * shares < blocks and 2 * shares * share_bytes <= SUMS_BYTES:
        shares *= 2
    return min(shares, blocks)


def _transformed(weight, flip):
    """U = G g Gᵀ as the forward kernel reads it."""
    F, C = weight.shape[:2]
    inputs, outputs = (F, C) if flip else (C, F)
    parts = kernel_parts(weight.shape[2:])
    U = empty(POINTS * parts[0] * parts[1] * inputs * lanes_up(outputs), weight.dtype)
    workers = min(lanes_up(outputs) // LANES, get_num_threads()) if C * F >= SMALL else 1
    launch(transform_weight_kernel, (weight, U), (*weight.shape, flip, workers), 1, 9 * LANES, workers, weight.dtype)
    return U


def padded_bias(bias, filters, dtype):
    """The bias, or zeros, with zeros up to whole vectors."""
    padded = np.zeros(lanes_up(filters), dtype)
    if bias is not None:
        padded[:filters] = bias
    return padded


def serves(inputs, kernel_size, stride, padding, weight=None):
    """Whether these kernels can do it, and fast: with few input channels the transforms cost more than they save, and
    so do kernels of which a 3 × 3 part is mostly zeros. Where `weight` is given, it must be fit to be transformed."""
    parts = kernel_parts(tuple(kernel_size))
    return (
        tuple(stride) == (1, 1)
        and inputs >= 8
        and 3 * parts[0] * parts[1] <= kernel_size[0] * kernel_size[1]
        and all(pad < kernel for pad, kernel in zip(padding, kernel_size, strict=True))
        and (weight is None or fit(weight))
    )
