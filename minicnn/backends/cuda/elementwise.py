"""What kernels that go over an array have in common."""

from typing import Any

from minicnn.backends.cuda.runtime.device import cuda, inlined
from minicnn.backends.cuda.tiles import THREADS
from minicnn.images import Images
from minicnn.plain import Array


def real_of(array: Array | Images) -> Any:
    """The type of the array's numbers, which factories of kernels are given: np.float32 or np.float64."""
    return array.dtype.type


def blocks_for(size: int) -> int:
    """How many blocks it takes to have a thread for each of `size` numbers."""
    return -(-size // THREADS)


@inlined
def own_number() -> int:
    """The number that this thread owns, counted over all blocks."""
    return cuda.blockIdx.x * THREADS + cuda.threadIdx.x


@inlined
def sum_over_block(shared: Array, thread: int) -> None:
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
def beats(value: Any, place: int, other_value: Any, other_place: int) -> bool:
    """Whether one cell wins over another: the larger, of equals the first; a NaN over numbers, the last over NaNs."""
    if value != value:
        return other_value == other_value or place > other_place
    return value > other_value or (value == other_value and place < other_place)


@inlined
def winner_of_block(values: Array, places: Array, thread: int) -> None:
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
