"""Pieces: how a batch, of images of one size or of many, is cut into work.

The output of each image is cut into rectangles, the *pieces*, and the pieces in their order are grouped into *blocks*,
what a kernel carries through at a time. Where a piece is, and how large its images are, stands in its row of a table,
so that a kernel does not know whether the batch is (N, C, H, W) or `Images`. How the work is cut depends on sizes only;
the number of threads decides no more than who does which blocks.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn.backends.cpu.runtime.jit import inlined
from minicnn.backends.cpu.runtime.launch import unpack
from minicnn.backends.cpu.runtime.program import Given, Place
from minicnn.plain import Array

SMALL = 64 * 64  # weights of fewer (f, c) pairs are prepared by one thread: waking a second costs more
SUMS_BYTES = 32 * 1024 * 1024  # what the partial sums of a weight gradient may take


class View(NamedTuple):
    """A batch and how kernels get at it: a source to read it through or a sink to write it through, see `patches`.

    `pitch` is how many numbers of the array each pixel has: image n starts at pitch * (pixels before it). `bounded`
    says that no number can be far above those around it, see `balance`.
    """

    access: Callable[..., None]
    arrays: tuple[Place, ...]
    channels: int
    sizes: Array  # (N, 2)
    pitch: int
    bounded: bool = False

    @property
    def form(self) -> "View":
        """What a program depends on: everything but the arrays, and the sizes, which are in its plan."""
        nothing: Any = None  # an array could not be looked up by
        return self._replace(arrays=(), sizes=nothing)

    def given(self, first: int) -> "View":
        """The same with four arrays that a program is given, from this position on."""
        return self._replace(arrays=tuple(map(Given, range(first, first + 4))))


class Piece(NamedTuple):
    """Rows p0 to p1 and columns q0 to q1 of the output of one image; a row of the table."""

    number: int  # of the image
    x_first: int  # pixels before the image in the batch that is read
    H: int
    W: int
    y_first: int  # and in the batch that is written
    OH: int
    OW: int
    p0: int
    p1: int
    q0: int
    q1: int


class Layout:
    """The pieces of a batch, for each block the number of its first piece, and what the blocks before it cost.

    pieces (pieces, 11), blocks and costs (blocks + 1,). Every image has a piece.
    """

    def __init__(self, pieces: Array, blocks: Array, costs: Array) -> None:
        self.pieces, self.blocks, self.costs = pieces, blocks, costs
        rows, columns = sides_of(pieces)
        self.pixels = int((rows * columns).sum())  # of the output
        image: Any = Piece(*pieces.T).number
        self.first_of_image = np.flatnonzero(np.diff(image, prepend=-1))  # (N,), the number of a piece
        self._tables: dict[int, Array] = {}  # by the number of shares

    @property
    def n_blocks(self) -> int:
        return len(self.blocks) - 1

    def tables(self, shares: int) -> Array:
        """What a kernel reads of the layout, in a row: where each of the shares begins, blocks, pieces.

        Share i of the blocks goes from number i to number i + 1; all cost about the same.
        """
        if shares not in self._tables:
            ends = np.searchsorted(self.costs, np.arange(shares + 1) * self.costs[-1] // shares)
            self._tables[shares] = np.concatenate([ends, self.blocks, self.pieces.ravel()])
        return self._tables[shares]


PIECE_NUMBERS = len(Piece._fields)


@inlined
def piece_number(numbers: Array, pieces_at: int, index: int) -> Piece:
    """Row `index` of the table, in a kernel."""
    at = pieces_at + index * PIECE_NUMBERS
    return Piece(*unpack(numbers[at : at + PIECE_NUMBERS], PIECE_NUMBERS))


def sides_of(pieces: Array) -> tuple[Array, Array]:
    """How many rows and how many columns each piece of a table has."""
    columns: Any = Piece(*pieces.T)
    return columns.p1 - columns.p0, columns.q1 - columns.q0


def cut(x_sizes: Array, y_sizes: Array, piece_sizes: Array) -> Array:
    """The table of the pieces, of at most piece_sizes[n] rows and columns for image n. All arguments (N, 2)."""
    parts = -(-y_sizes // piece_sizes)
    counts = parts.prod(axis=1)
    n = np.repeat(np.arange(len(counts)), counts)
    p, q = np.divmod(np.arange(len(n)) - np.repeat(counts.cumsum() - counts, counts), parts[n, 1])
    first = np.stack([p, q], axis=1) * piece_sizes[n]
    stop = np.minimum(first + piece_sizes[n], y_sizes[n])
    (p0, q0), (p1, q1) = first.T, stop.T
    x_first, (H, W) = pixels_before(x_sizes)[n], x_sizes[n].T
    y_first, (OH, OW) = pixels_before(y_sizes)[n], y_sizes[n].T
    return np.stack([n, x_first, H, W, y_first, OH, OW, p0, p1, q0, q1], axis=1)  # as in `Piece`


def one_to_a_block(pieces: Array) -> Layout:
    """The layout in which every piece is a block, at the cost of its pixels."""
    rows, columns = sides_of(pieces)
    return Layout(pieces, np.arange(len(pieces) + 1), sums_before(rows * columns))


def grouped(pieces: Array, costs: Array, most: int) -> Layout:
    """The layout in which as many pieces make a block as cost `most` together; a larger piece is one by itself."""
    firsts, cost = [], most
    for piece, of_piece in enumerate(costs.tolist()):
        if cost + of_piece > most:
            firsts.append(piece)
            cost = 0
        cost += of_piece
    blocks = np.array([*firsts, len(pieces)])
    return Layout(pieces, blocks, sums_before(costs)[blocks])


def numbers_of(job: Any, layout: Layout, shares: int, extra: Sequence[int] = ()) -> Array:
    """A kernel's numbers: the job, a named tuple, which says where the tables are, `extra`, and the tables, in
    `shares` shares."""
    shares_at = len(job) + len(extra)
    blocks_at = shares_at + shares + 1
    job = job._replace(shares_at=shares_at, blocks_at=blocks_at, pieces_at=blocks_at + len(layout.blocks))
    return np.concatenate([np.array((*job, *extra), np.int64), layout.tables(shares)])


def number_of_shares(blocks: int, share_bytes: int) -> int:
    """Partial sums of a weight gradient, from sizes only: a power of two, so that it divides well among threads.

    Many large ones would cost more to clear and to add than they bring.
    """
    shares = 1
    while shares < 16 and 4 * shares < blocks and 2 * shares * share_bytes <= SUMS_BYTES:
        shares *= 2
    return min(shares, blocks)


def sizes_from(sizes: bytes) -> Array:
    """(N, 2) from an array's bytes, which a cache can tell from others; not to be written to."""
    return np.frombuffer(sizes, np.int64).reshape(-1, 2)


def pixels_before(sizes: Array) -> Array:
    """(N,): how many pixels the images before each one have."""
    return sums_before(sizes[:, 0] * sizes[:, 1])[:-1]


def sums_before(numbers: Array) -> Array:
    """(N + 1,): the sum of the numbers before each one, and of all."""
    return np.concatenate([[0], numbers.cumsum()])
