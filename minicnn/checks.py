"""Checks at the door: a value as what it should be, or an error that says class, what, expected and got."""

import numpy as np

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def as_floats(ops, array, what):
    """`array` on the backend `ops`, or TypeError where it is not float32 or float64."""
    array = ops.asarray(array)
    if array.dtype not in DTYPES:
        raise TypeError(
            f"{what}: expected dtype float32 or float64, got {array.dtype}; convert with array.astype(np.float32)"
        )
    return array


def as_pair(value, what, minimum):
    """An int or a pair of ints as a pair (h, w), each at least `minimum`.

    >>> as_pair(3, "Conv2d: kernel_size", 1), as_pair((3, 5), "Conv2d: kernel_size", 1)
    ((3, 3), (3, 5))
    """
    pair = value if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{what}: expected an int or a pair (h, w), got {value!r}")
    return tuple(as_int(part, what, minimum) for part in pair)


def as_int(value, what, minimum):
    """`value` as an int, at least `minimum`; a bool or a float is refused."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{what}: expected an integer, got {value!r} of type {type(value).__name__}")
    if value < minimum:
        raise ValueError(f"{what}: expected at least {minimum}, got {value}")
    return int(value)
