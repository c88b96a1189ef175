"""Arrays on the host as kernels take them, from whatever NumPy can read."""

import numpy as np


def as_plain_array(array, what=None):
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
    return np.require(array, requirements="CAWE")


def memory_of(array):
    """(start, stop) of a contiguous array's memory, in bytes; of one on a device a place that is its own."""
    if isinstance(array, np.ndarray):
        start = array.__array_interface__["data"][0]
        return start, start + array.nbytes
    return id(array), id(array) + 1
