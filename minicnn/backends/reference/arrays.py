"""Arrays of the reference backend: NumPy's own."""

import numpy as np

from minicnn.plain import as_plain_array


def asarray(array):
    """`array` as a plain NumPy array in C-contiguous, aligned, writeable memory, dtype kept; the same object where it
    is that already. Raises TypeError for a masked array."""
    return as_plain_array(array)


def to_numpy(array):
    return array


def copy(array):
    return array.copy()


def prefetch(batches):
    return batches


def sum_of_squares(array):
    """sum of a² as a Python float, added up in float64."""
    return float(np.sum(np.square(array, dtype=np.float64)))


def scale_(array, factor):
    array *= array.dtype.type(factor)
