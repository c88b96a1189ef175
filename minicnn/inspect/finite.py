"""Norms, and the check that numbers are finite."""

import math

import numpy as np

from minicnn.backends import reference
from minicnn.plain import Array


def norm(array: Array) -> float:
    """The root of the sum of squares, added up in float64."""
    return math.sqrt(reference.sum_of_squares(array))


def require_finite(array: Array, what: str) -> None:
    """Raise ValueError where there is a NaN or an infinity, or numbers too large to be squared."""
    if not np.issubdtype(array.dtype, np.floating) or math.isfinite(norm(array)):
        return
    nans, infinities = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    if nans or infinities:
        bad = np.argwhere(~np.isfinite(array))[0].tolist()
        got = f"{nans} NaN and {infinities} infinite of {array.size}, the first at {bad}"
    else:
        got = f"numbers up to {np.abs(array).max():.3g}, whose squares are too large"
    raise ValueError(f"inspect: {what}: expected finite numbers, got {got}")
