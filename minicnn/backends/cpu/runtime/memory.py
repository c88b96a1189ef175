"""Memory that is used again: large arrays from a pool, so that a training step allocates nothing after the first.

A fresh array of 30 MB costs a page fault for every 4 KiB at its first use, at each step: about a tenth of the time of
a step on 128 pictures of 32 × 32. `empty` hands out a buffer that was used before, if one that fits is free. How much
is kept for this is said in `backends.pool`: about as much again as was in use at once.

A buffer is free when no array uses it any more. Each array from `empty` rests on a `_Lease`, and so do all views of
it; when the last of them dies, so does the lease, and gives the buffer back. An array that a user keeps is never
overwritten. Several threads may ask at once.
"""

import math
from typing import Any

import numpy as np

from minicnn.backends.pool import Pool
from minicnn.plain import Array

POOLED = 65536  # bytes; smaller arrays are the allocator's own business
ALIGNMENT = 64  # bytes: a cache line, and the widest vector


def _allocate(size: int, _: object) -> tuple[Array, int]:
    """A buffer: memory, and the first address in it that is aligned."""
    memory = np.empty(size + ALIGNMENT, np.uint8)
    address = memory.ctypes.data
    return memory, address + -address % ALIGNMENT


_pool = Pool(_allocate)


class _Lease:
    """Owns a buffer for as long as an array rests on it."""

    __slots__ = ("__array_interface__", "_loan")

    def __init__(self, loan: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._loan = loan
        _, address = loan[0]
        self.__array_interface__ = {"data": (address, False), "shape": shape, "typestr": dtype.str, "version": 3}

    def __del__(
        self, give_back: Any = _pool.give_back
    ) -> None:  # named here, since when Python ends modules are emptied first
        give_back(self._loan)


def empty(shape: int | tuple[int, ...], dtype: Any) -> Array:
    """Like `numpy.empty`, from the pool where the array is large."""
    dtype = np.dtype(dtype)
    shape = shape if isinstance(shape, tuple) else (shape,)
    array_bytes = math.prod(shape) * dtype.itemsize
    if array_bytes < POOLED:
        return np.empty(shape, dtype)
    return np.asarray(_Lease(_pool.take(array_bytes), shape, dtype))


def release() -> None:
    """Give all free buffers back to the system."""
    _pool.release()
