"""Arrays of the CPU backend: NumPy's own, in the one memory layout that the kernels are compiled for."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import ArrayLike

from minicnn.backends import foreach, guard
from minicnn.backends.cpu.runtime.jit import CHUNK, chunks, parallel, serial_sum
from minicnn.plain import Array, as_plain_array

FEW = 16 * CHUNK  # numbers that are added up sooner than other threads are woken


def asarray(array: ArrayLike) -> Array:
    """`array` as a plain NumPy array in C-contiguous, aligned, writeable memory, dtype kept; the same object where it
    is that already. Raises TypeError for a masked array."""
    return as_plain_array(array)


guarded, guarded_lists = guard.guarded(asarray), foreach.guarded_lists(asarray)


def to_numpy(array: Array) -> Array:
    return array


def copy(array: Array) -> Array:
    return array.copy()


def prefetch(batches: Iterable[tuple[Any, Any]]) -> Iterable[tuple[Any, Any]]:
    return batches


@guarded
def sum_of_squares(array: Array) -> float:
    """sum of a² as a Python float, added up in float64. Worker: one chunk and its partial sum."""
    if array.size <= FEW:
        return _few_squares(array.reshape(-1))
    partial = np.empty(chunks(array.size))
    _many_squares(array.reshape(-1), partial)
    return float(partial.sum())


@guarded
def scale_(array: Array, factor: float) -> None:
    array *= array.dtype.type(factor)


@parallel
def _many_squares(array: Array, partial: Array) -> None:
    for chunk in prange(partial.size):
        partial[chunk] = _few_squares(array[chunk * CHUNK : (chunk + 1) * CHUNK])


@serial_sum
def _few_squares(values: Array) -> float:
    total = 0.0
    for value in values:
        total += np.float64(value) * np.float64(value)
    return total
