"""ReLU.

    y = max(x, 0)            dx = dy where y > 0, else 0

At x = 0 the slope is taken as 0, as PyTorch takes it. NaN passes through in both directions, so that a bad
number is seen at the loss and not hidden in a zero.
"""

import numpy as np

from minicnn.images import Images


def relu_forward(x):
    if isinstance(x, Images):
        return x.like(relu_forward(x.data))
    return np.maximum(x, 0)


def relu_backward(dy, y):
    if isinstance(dy, Images):
        return dy.like(relu_backward(dy.data, y.data))
    # learn: where y is 0 the slope is 0, elsewhere it is 1
    return np.where(y <= 0, dy.dtype.type(0), dy)
