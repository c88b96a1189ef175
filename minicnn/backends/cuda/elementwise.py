"""What kernels that go over an array have in common."""

from minicnn.backends.cuda.runtime.device import cuda, inlined
from minicnn.backends.cuda.tiles import THREADS


def blocks_for(size):
    """How many blocks it takes to have a thread for each of `size` numbers."""
    return -(-size // THREADS)


@inlined
def own_number():
    """The number that this thread owns, counted over all blocks."""
    return cuda.blockIdx.x * THREADS + cuda.threadIdx.x


@inlined
def sum_over_block(shared, thread):
    """Add up the THREADS numbers of `shared`, which each thread has written one of; the sum is then shared[0].

    Halving keeps the order of additions fixed. All threads of the block must come here.
    """
    cuda.syncthreads()
    step = THREADS // 2
    while step > 0:
        if thread < step:
            shared[thread] += shared[thread + step]
        cuda.syncthreads()
        step //= 2


@inlined
def beats(value, place, other_value, other_place):
    """Whether one cell wins over another: the larger, of equals the first; a NaN over numbers, the last over NaNs."""
    if value != value:
        return other_value == other_value or place > other_place
    return value > other_value or (value == other_value and place < other_place)


@inlined
def winner_of_block(values, places, thread):
    """Find the winner by `beats` among THREADS cells, which each thread has written one of; it is then at 0.

    All threads of the block must come here.
    """
    cuda.syncthreads()
    step = THREADS // 2
    while step > 0:
        if thread < step and beats(values[thread + step], places[thread + step], values[thread], places[thread]):
            values[thread], places[thread] = values[thread + step], places[thread + step]
        cuda.syncthreads()
        step //= 2
