"""Arrays of the reference backend: NumPy's own."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minicnn.plain import Array, as_plain_array


def asarray(array: ArrayLike) -> Array:
    """`array` as a plain NumPy array in C-contiguous, aligned, writeable memory, dtype kept; the same object where it
    is that already. Raises TypeError for a masked array."""
    return as_plain_array(array)


def to_numpy(array: Array) -> Array:
    """`array` itself."""
    return array


def copy(array: Array) -> Array:
    """`array` in memory of its own."""
    return array.copy()


def prefetch(batches: Iterable[tuple[Any, Any]]) -> Iterable[tuple[Any, Any]]:
    """`batches` as they are: there is nowhere to send them."""
    return batches


def sum_of_squares(array: Array) -> float:
    """The sum of the squares of `array`, of any shape, added up in float64."""
    return float(np.sum(np.square(array, dtype=np.float64)))


def scale_(array: Array, factor: float) -> None:
    """Multiply `array`, of any shape, by `factor`."""
    array *= array.dtype.type(factor)
