"""Flatten: from images to vectors."""

from minicnn.layers.base import Layer
from minicnn.plain import Array


class Flatten(Layer):
    """All axes but the first in one, `torch.nn.Flatten`'s default: (N, C, H, W) -> (N, C * H * W).

        y[n, c * H * W + r * W + s] = x[n, c, r, s]            dx[n, c, r, s] = dy[n, c * H * W + r * W + s]

    Nothing is computed, so backward only gives dy the old shape back.

    Raises ValueError for input without a batch axis and one more, TypeError for input that is not float32 or float64,
    or is `Images`, whose vectors would differ in length: an adaptive pooling brings them to one size.

    >>> import numpy as np
    >>> flatten = Flatten()
    >>> flatten.forward(np.zeros((2, 3, 4, 5))).shape, flatten.backward(np.zeros((2, 60))).shape
    ((2, 60), (2, 3, 4, 5))
    """

    def predict(self, x: Array) -> Array:
        x = self.as_input(x)
        if x.ndim < 2:
            raise ValueError(f"Flatten: expected input of shape (N, ...), got {x.shape}")
        return x.reshape(len(x), -1)

    def forward(self, x: Array) -> Array:
        x = self.as_input(x)
        y = self.predict(x)
        self.remember(y, x_shape=x.shape)
        return y

    def backward(self, dy: Array, need_dx: bool = True) -> Array:
        dy, memory = self.recall(dy)
        return dy.reshape(memory.x_shape)
