"""Arrays on the host as kernels take them, from whatever NumPy can read; and the types of signatures."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

# An array of the backend that computes: a NumPy array, and on `cuda` one on the device, which has the same attributes.
Array: TypeAlias = NDArray[Any]
Pair: TypeAlias = tuple[int, int]  # (vertical, horizontal)
Pads: TypeAlias = tuple[Pair, Pair]  # padding that may differ before and after: ((top, bottom), (left, right))
Sizes: TypeAlias = Pair | Array  # (H, W) of images of one size; of images of different sizes (N, 2), a row for each


def as_plain_array(array: ArrayLike, what: str | None = None) -> Array:
    """`array` as a NumPy array of no subclass, in C-contiguous, aligned, writeable memory, dtype kept.

    A matrix becomes the array of its numbers. Raises TypeError, which begins with `what` the array is, for a masked
    array, whose masked numbers would count.
    """
    if type(array) is np.ndarray and array.flags.carray:  # all three; asking so takes a tenth of the time
        return array
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"{what + ': ' if what else ''}expected an array without a mask, got a masked array of shape "
            f"{array.shape}; say what its masked numbers are with array.filled(0)"
        )
    return np.require(array, requirements=["C", "A", "W", "E"])


def memory_of(array: Array) -> Pair:
    """(start, stop) of a contiguous array's memory, in bytes; on a device an interval that no other array has."""
    if isinstance(array, np.ndarray):
        start = array.__array_interface__["data"][0]
        return start, start + array.nbytes
    return id(array), id(array) + 1
