"""LogSoftmax: scores to log-probabilities."""

from minicnn.layers.base import Layer
from minicnn.plain import Array


class LogSoftmax(Layer):
    """Log-softmax over the classes, `torch.nn.LogSoftmax(dim=1)`'s numbers.

        y = x - log(sum of exp(x))                dx = dy - exp(y) * sum of dy

    exp(y) is the softmax, so backward needs y and not x. Followed by NLLLoss, dy is -1/N at the target and 0
    elsewhere, and dx comes out as (softmax - onehot) / N.

    A second log-softmax changes nothing, since the exp(y) already sum to 1 and log 1 = 0. That is why
    CrossEntropyLoss, which has a log-softmax inside, does no harm on top of this layer.

    Shapes: x, y (N, K).  Raises ValueError for another rank or an empty input, TypeError for input that is not
    float32 or float64, or is `Images`.

    >>> import numpy as np
    >>> LogSoftmax().forward(np.float64([[0, 0]]))
    array([[-0.69314718, -0.69314718]])

    The arithmetic, in `minicnn/backends/`:
        reference/log_softmax.py    to read
        cpu/log_softmax.py          to run
        cuda/log_softmax.py         to run on a GPU
    """

    operations = ("log_softmax",)

    def predict(self, x: Array) -> Array:
        x = self.as_input(x)
        if x.ndim != 2:
            raise ValueError(f"LogSoftmax: expected input of shape (N, K), got {x.shape}")
        return self.ops.log_softmax_forward(x)

    def forward(self, x: Array) -> Array:
        y = self.predict(x)
        self.remember(y, y=y)
        return y

    def backward(self, dy: Array, need_dx: bool = True) -> Array:
        dy, memory = self.recall(dy)
        return self.ops.log_softmax_backward(dy, memory.y)
