"""How the output is cut into blocks of tiles, and the numbers that the kernels are given."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from minicnn.backends.cpu.convolution.patches import lanes_up
from minicnn.backends.cpu.convolution.pieces import (
    Layout,
    Piece,
    cut,
    grouped,
    piece_number,
    sides_of,
    sizes_from,
)
from minicnn.backends.cpu.convolution.registers import LANES, ROWS
from minicnn.backends.cpu.runtime.jit import inlined, serial
from minicnn.plain import Array, Pair

POINTS = 36  # products for a tile
MAX_TILES = 64  # tiles in a block
FEWEST_BLOCKS = 4  # of a single small image, so that it serves several threads; but a block has at least 16 tiles
BLOCK_BYTES = 384 * 1024  # what V of a block may take, about a third of the L2 cache


class Plan(NamedTuple):
    """A convolution on a batch: how it is cut, its kernel, and the padding of the pass in question."""

    layout: Layout
    tiles: int  # in the largest block
    patch_size: int  # numbers in the largest patch, of the input or of the output
    kernel_size: Pair
    padding: Pair
    flip: bool  # the input gradient: filters and channels exchanged, the kernel turned

    @property
    def pieces(self) -> int:
        """How many pieces a sink or a source of a gradient meets."""
        return len(self.layout.pieces)


def plan_forward(
    kernel_size: Pair, stride: Pair, padding: Pair, inputs: int, x_sizes: Array, y_sizes: Array, number_bytes: int
) -> Plan:
    """How to convolve images of x_sizes (N, 2) into y_sizes, `inputs` channels of numbers of so many bytes."""
    return _plan(kernel_size, padding, False, inputs, x_sizes, y_sizes, number_bytes)


def plan_input_gradient(
    kernel_size: Pair, stride: Pair, padding: Pair, inputs: int, dy_sizes: Array, dx_sizes: Array, number_bytes: int
) -> Plan:
    """The same for the convolution from dy to dx; `inputs` are the filters."""
    (KH, KW), (pad_h, pad_w) = kernel_size, padding
    return _plan(kernel_size, (KH - 1 - pad_h, KW - 1 - pad_w), True, inputs, dy_sizes, dx_sizes, number_bytes)


def _plan(
    kernel_size: Pair, padding: Pair, flip: bool, channels: int, x_sizes: Array, y_sizes: Array, number_bytes: int
) -> Plan:
    parts = kernel_parts(kernel_size)
    tile_bytes = POINTS * parts[0] * parts[1] * lanes_up(channels) * number_bytes
    budget = max(16, min(MAX_TILES, BLOCK_BYTES // tile_bytes // 16 * 16))
    return Plan(*_layout(x_sizes.tobytes(), y_sizes.tobytes(), parts, budget), kernel_size, padding, flip)


@lru_cache(maxsize=64)
def _layout(x_bytes: bytes, y_bytes: bytes, parts: Pair, budget: int) -> tuple[Layout, int, int]:
    """The layout in blocks of at most `budget` tiles; the tiles of the largest, and the largest patch."""
    x_sizes, y_sizes = sizes_from(x_bytes), sizes_from(y_bytes)
    share = int(((y_sizes + 3) // 4).prod(axis=1).sum()) // FEWEST_BLOCKS
    budget = max(16, min(budget, share // 16 * 16))
    pieces = cut(x_sizes, y_sizes, np.array([_piece_size(*size, budget) for size in y_sizes.tolist()]))
    tiles_h, tiles_w = ((side + 3) // 4 for side in sides_of(pieces))
    layout = grouped(pieces, tiles_h * tiles_w, budget)
    tiles = int(np.diff(layout.costs).max())
    patch_size = int(((4 * tiles_h + 3 * parts[0] - 1) * (4 * tiles_w + 3 * parts[1] - 1)).max())
    return layout, tiles, max(patch_size, 2 * 16 * tiles) * LANES


@lru_cache(maxsize=4096)
def _piece_size(out_height: int, out_width: int, budget: int) -> Pair:
    """Rows and columns of pieces of at most `budget` tiles, all of about the same size."""
    tiles_h, tiles_w = -(-out_height // 4), -(-out_width // 4)
    wide = min(tiles_w, 8)
    high = _even_share(tiles_h, min(tiles_h, max(1, budget // wide)))
    if high == tiles_h:
        wide = _even_share(tiles_w, min(tiles_w, budget // high))
    return 4 * high, 4 * wide


def _even_share(total: int, most: int) -> int:
    """The size of a share when `total` is cut into as few shares of at most `most` as there can be."""
    return -(-total // -(-total // most))


@lru_cache(maxsize=256)
def kernel_parts(kernel_size: Pair) -> Pair:
    """How many 3 × 3 kernels a kernel is the sum of, down and across."""
    KH, KW = kernel_size
    return -(-KH // 3), -(-KW // 3)


@serial
def rows_up(rows: int) -> int:
    return (rows + ROWS - 1) // ROWS * ROWS


@serial
def pitch_of(padded_channels: int) -> int:
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
    fallback: int  # address of what sums unbalanced tiles plainly, 0 where it is not compiled yet
    patch_size: int
    V_size: int
    tiles: int
    shares_at: int = 0  # these three are set by `numbers_of`
    blocks_at: int = 0
    pieces_at: int = 0


JOB_NUMBERS = len(Job._fields)


@inlined
def tiles_of(piece: Piece) -> Pair:
    """How many tiles down and across."""
    return (piece.p1 - piece.p0 + 3) // 4, (piece.q1 - piece.q0 + 3) // 4


@inlined
def tiles_of_block(numbers: Array, job: Job, block: int) -> int:
    """How many tiles its pieces have together."""
    count = 0
    for index in range(numbers[job.blocks_at + block], numbers[job.blocks_at + block + 1]):
        tiles_h, tiles_w = tiles_of(piece_number(numbers, job.pieces_at, index))
        count += tiles_h * tiles_w
    return count


@inlined
def tile_outputs(piece: Piece, p: int, q: int) -> Pair:
    """How many rows and columns of tile (p, q) are within the image."""
    return min(4, piece.p1 - piece.p0 - 4 * p), min(4, piece.q1 - piece.q0 - 4 * q)


@inlined
def inputs_in_order(job: Job, places: Array) -> None:
    """places[i] = where input i, channel i modulo C of part i // C, stands among the inputs up to whole vectors."""
    for ab in range(job.parts_h * job.parts_w):
        for c in range(job.C):
            places[ab * job.C + c] = ab * lanes_up(job.C) + c
