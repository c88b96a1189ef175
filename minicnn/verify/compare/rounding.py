"""How large the numbers are that rounding makes where the truth is 0: the least scales that a difference refers to."""

import numpy as np

from minicnn.plain import Array
from minicnn.verify.compare.pairing import Ends

ROUNDINGS = 4  # of a number, that a step or a sum may add

# Layers that hand dy down as it is, in parts or in sums: what a batchnorm behind them takes out is missing before them.
AVERAGING = {"AvgPool2d", "AdaptiveAvgPool2d"}
PASSING = AVERAGING | {"ReLU", "MaxPool2d", "AdaptiveMaxPool2d", "Identity"}

# weight / sqrt(var + eps) of a channel that is constant, by PyTorch's usual weight and eps, 1 and 1e-5.
SLOPE_OF_CONSTANT = 1e-5**-0.5


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


def floor_of_output(kinds: set[str], there: Ends, tolerance: float) -> float:
    """The scale of the output of layers of these kinds: of a batchnorm, from what rounding of x becomes in it; of an
    average pooling, from the rounding of a mean, which is truly 0 over all pixels behind a batchnorm."""
    if kinds == {"BatchNorm2d"}:
        return rounding_of_batchnorm("BatchNorm2d", there) / tolerance
    return floor_of_mean(there, tolerance) if kinds & AVERAGING else 0.0


def floor_of_mean(there: Ends, tolerance: float) -> float:
    """The scale of means of x, from its rounding: they may be truly 0."""
    return ROUNDINGS * float(np.finfo(there.x.dtype).eps) * largest(there.x) / tolerance


def floor_of_sum(kind: str | None, there: Ends, kind_after: str | None, after: Ends | None, tolerance: float) -> float:
    """The scale of the gradient of a bias, a sum of dy over all pixels, which is truly 0 before a batchnorm, also where
    layers that are `PASSING` lie between them; and of a batchnorm's own parameters, from what rounding makes of its
    output."""
    if there.dy is None or there.dy.ndim != 4:
        return 0.0
    pixels = max(ends.dy.size / ends.dy.shape[1] for ends in (there, after) if ends is not None and ends.dy is not None)
    own = rounding_of_batchnorm(kind, there) / tolerance * largest(there.dy)
    roundings = ROUNDINGS * float(np.finfo(there.dy.dtype).eps) / tolerance
    of_after = 0.0 if after is None else roundings * floor_of_dx(kind_after, after, tolerance)
    return pixels * max(own, of_after)


def _slope(there: Ends) -> float:
    """By how much a batchnorm stretches a channel: weight / sqrt(var + eps), the largest of them. Of a channel that is
    constant, which shows no such number, a usual one, and more where many numbers are summed."""
    x, y = (array.astype(np.float64).std(axis=(0, 2, 3)) for array in (there.x, there.y))
    magnitude = np.abs(there.x.astype(np.float64)).max(axis=(0, 2, 3))
    varies = x > 1e-15 * magnitude
    count = there.x.size / len(magnitude)  # of x - mean nothing is left there but the rounding of the mean's sum
    constant = SLOPE_OF_CONSTANT * max(1.0, np.sqrt(count) / 2) if (magnitude[~varies] > 0).any() else 0.0
    return float((y[varies] / x[varies]).max(initial=constant))
