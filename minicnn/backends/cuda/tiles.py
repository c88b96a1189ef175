"""Every block size and tile shape of this backend, in one place.

A *block* of threads shares memory and can wait for one another; blocks know nothing of each other. The sizes are
powers of two, so that a sum over a block can be halved until one number is left.

In the simulator, where a thread that waits takes two milliseconds, blocks are as small as they can be.
"""

from minicnn.backends.cuda.runtime.numba_internals import SIMULATED
from minicnn.plain import Pair

THREADS = 8 if SIMULATED else 128  # of a block that goes over an array, or adds one up
MOST_BLOCKS = 2 if SIMULATED else 64  # that share a sum, or a plane
CHUNK = (2 if SIMULATED else 8) * THREADS  # pixels of a channel that a block goes over; see `chunks`
LARGE_WINDOW = 20 if SIMULATED else 256  # cells from which on a pooling window has a block to itself
COLUMN_CHUNK = 4 if SIMULATED else 64  # rows of a matrix of which a thread sums a column

# Products of matrices, convolution among them. A block makes a tile of the result, each of its threads a square of it
# in registers, from strips of both factors DEPTH deep that the block has in shared memory.
SIDE = 8  # of a thread's square: 64 sums, each used 64 times for 16 numbers read
DEPTH = 8
# (rows, columns) of the tile of a block: TILE_THREADS squares. Flat tiles are for few rows, that is few filters.
TILES = ((8, 32), (16, 16)) if SIMULATED else ((16, 256), (32, 128), (64, 64))
PIXELS = 8 if SIMULATED else 64  # that a weight gradient looks up at a time
WEIGHT_BLOCKS = 4 if SIMULATED else 512  # about as many share the work of a weight gradient
MATRIX_BLOCKS = 4 if SIMULATED else 256  # and of a product of matrices, if its sums are long,
SHORTEST_PART = 16 if SIMULATED else 128  # but none adds up fewer terms
TILE_THREADS = TILES[0][0] * TILES[0][1] // SIDE**2


def tile_for(rows: int, columns: int) -> Pair:
    """The one of TILES that covers rows × columns with the least work on what lies beyond them, and of equals the
    squarest, which for a term of its sums fetches the fewest numbers: 64 × 64 takes 128, 16 × 256 takes 272.

    >>> tile_for(10, 10**6), tile_for(32, 10**6), tile_for(64, 1024), tile_for(32, 144)
    ((16, 256), (32, 128), (64, 64), (32, 128))
    """

    def work(tile: Pair) -> Pair:
        covered = -(-rows // tile[0]) * tile[0] * -(-columns // tile[1]) * tile[1]
        return covered, sum(tile)

    return min(TILES, key=work)
