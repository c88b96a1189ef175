"""What batchnorm and relu are to do to a convolution's output y: five numbers for each channel, and how they are used.

Coefficients are an array (5, channels), whose rows are the names below:

    z = scale * (y - mean) + shift          a = relu(z)
    dy = scale * g - c1 - c2 * (y - mean)   g the gradient at z

See `fused` for where they come from.
"""

import numpy as np

from minicnn.backends.contract import C1, C2, MEAN, SCALE, SHIFT
from minicnn.backends.cuda.runtime.device import inlined

ROWS = 5


@inlined
def coefficient(coefficients, row, c, channels):
    """One of the five numbers of channel c."""
    return coefficients[np.uint64(row * channels + c)]


@inlined
def distance_and_z(y, coefficients, c, channels):
    """y - mean, and z."""
    distance = y - coefficient(coefficients, MEAN, c, channels)
    scale, shift = coefficient(coefficients, SCALE, c, channels), coefficient(coefficients, SHIFT, c, channels)
    return distance, scale * distance + shift


@inlined
def activated(y, coefficients, c, channels, zero):
    """a; NaN stays."""
    _, z = distance_and_z(y, coefficients, c, channels)
    return zero if z <= zero else z


@inlined
def gradient_of_y(g, y, coefficients, c, channels):
    """dy"""
    distance = y - coefficient(coefficients, MEAN, c, channels)
    scale = coefficient(coefficients, SCALE, c, channels)
    c1, c2 = coefficient(coefficients, C1, c, channels), coefficient(coefficients, C2, c, channels)
    return scale * g - c1 - c2 * distance
