"""ReLU.

    y = max(x, 0)            dx = dy where y > 0, else 0

At x = 0 the slope is taken as 0, as PyTorch takes it. NaN passes through in both directions, so that a bad
number is seen at the loss and not hidden in a zero.
"""

import numpy as np

from minicnn.plain import Array


def relu_forward(x: Array) -> Array:
    """y for x, both of any shape."""
    return np.maximum(x, 0)


def relu_backward(dy: Array, y: Array) -> Array:
    """dx for dy and the output y, all of any shape.

    forward: y = max(x, 0)
    """
    # learn: where y is 0 the slope is 0, elsewhere it is 1
    return np.where(y <= 0, dy.dtype.type(0), dy)
