"""How large the numbers are that rounding makes where the truth is 0: the least scales that a difference refers to."""

import numpy as np

from minicnn.plain import Array
from minicnn.verify.compare.pairing import Ends

ROUNDINGS = 4  # of a number, that a step or a sum may add


def largest(array: Array) -> float:
    """The largest magnitude of the finite numbers of an array."""
    return float(np.abs(array[np.isfinite(array)]).max(initial=0))


def rounding_of_batchnorm(kind: str | None, there: Ends) -> float:
    """What rounding of x to its dtype makes of the output of a batchnorm; 0 for other layers."""
    if kind != "BatchNorm2d" or there.x is None or there.x.ndim != 4:
        return 0.0
    return ROUNDINGS * float(np.finfo(there.x.dtype).eps) * largest(there.x) * _slope(there)


def floor_of_dx(kind: str | None, there: Ends, tolerance: float) -> float:
    """The scale of dx of a batchnorm or a log-softmax, each a difference of larger numbers; 0 for other layers."""
    if there.dy is None or kind not in ("BatchNorm2d", "LogSoftmax"):
        return 0.0
    slope = _slope(there) if kind == "BatchNorm2d" and there.x.ndim == 4 else 1.0
    return largest(there.dy) * slope * (1 + rounding_of_batchnorm(kind, there) / tolerance)


def floor_of_sum(kind: str | None, there: Ends, kind_after: str | None, after: Ends | None, tolerance: float) -> float:
    """The scale of the gradient of a bias, a sum of dy over all pixels, which is truly 0 before a batchnorm; and of a
    batchnorm's own parameters, from what rounding makes of its output."""
    if there.dy is None or there.dy.ndim != 4:
        return 0.0
    pixels = there.dy.size / there.dy.shape[1]
    own = rounding_of_batchnorm(kind, there) / tolerance * largest(there.dy)
    roundings = ROUNDINGS * float(np.finfo(there.dy.dtype).eps) / tolerance
    of_after = 0.0 if after is None else roundings * floor_of_dx(kind_after, after, tolerance)
    return pixels * max(own, of_after)


def _slope(there: Ends) -> float:
    """By how much a batchnorm stretches a channel: weight / sqrt(var + eps), the largest of them."""
    x, y = (array.astype(np.float64).std(axis=(0, 2, 3)) for array in (there.x, there.y))
    return float((y[x > 0] / x[x > 0]).max(initial=0))
