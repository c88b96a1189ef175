"""When two numbers count as the same."""

import numpy as np

from minicnn.plain import Array

# How far a number may be from the right one, as a share of the largest number of the array; everything is float64, so
# that any order of summation passes and float32 does not.
TOLERANCE = 1e-9
SMALLEST = 1e-6  # what this share is at least taken of: sums that are truly 0 come out as rounding errors


def differing(expected: Array, got: Array) -> Array:
    """Which numbers of two arrays of one shape are not the same, up to rounding; NaN and infinity must be in place."""
    with np.errstate(invalid="ignore"):
        largest = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
        return ~np.isclose(got, expected, rtol=0, atol=TOLERANCE * max(largest, SMALLEST), equal_nan=True)


def agree(expected: Array, got: Array) -> bool:
    """Whether two arrays have one shape and the same numbers, up to rounding; NaN and infinity in the same places."""
    return expected.shape == got.shape and not differing(expected, got).any()
