"""What this machine can do: multiply-adds, and bytes to and from memory, a second, on all threads of Numba."""

import numba
import numpy as np

from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.convolution.vectors import fma, load, store

# Three arrays of this many bytes are together about what a step on 128 × 32² moves: a large cache helps both alike.
ARRAY = 64 << 20


@numba.njit
def multiply_add(numbers, repeats):
    b, c = load(numbers, 0), load(numbers, LANES)
    v0, v1, v2, v3, v4, v5 = b, c, b + c, b + b, c + c, b - c
    v6, v7, v8, v9, v10, v11 = v0 + v2, v1 + v2, v3 + v2, v4 + v2, v5 + v2, v2 + v2
    for _ in range(repeats):
        v0, v1, v2 = fma(v0, b, c), fma(v1, b, c), fma(v2, b, c)
        v3, v4, v5 = fma(v3, b, c), fma(v4, b, c), fma(v5, b, c)
        v6, v7, v8 = fma(v6, b, c), fma(v7, b, c), fma(v8, b, c)
        v9, v10, v11 = fma(v9, b, c), fma(v10, b, c), fma(v11, b, c)
    store(numbers, 0, v0 + v1 + v2 + v3 + v4 + v5 + v6 + v7 + v8 + v9 + v10 + v11)


@numba.njit(parallel=True)
def multiply_add_on_all_threads(numbers, repeats):
    for thread in numba.prange(len(numbers)):
        multiply_add(numbers[thread], repeats)


@numba.njit(parallel=True)
def triad(a, b, c):
    for i in numba.prange(len(a)):
        a[i] = b[i] + np.float32(3) * c[i]


def flops_per_second(measure):
    """Multiply-adds on registers alone. `measure` gives the seconds of a call."""
    repeats = 5_000_000
    numbers = np.full((numba.get_num_threads(), 2 * LANES), 0.5, np.float32)
    flops = 2 * 12 * LANES * repeats * len(numbers)
    return flops / measure(lambda: multiply_add_on_all_threads(numbers, repeats))


def bytes_per_second(measure):
    """Two arrays read and one written, as the STREAM benchmark counts: what is fetched to be overwritten is not."""
    a, b, c = (np.ones(ARRAY // 4, np.float32) for _ in range(3))
    return 3 * ARRAY / measure(lambda: triad(a, b, c))
