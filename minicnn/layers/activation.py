"""ReLU: keep what is positive."""

from minicnn.images import Batch
from minicnn.layers.base import Layer


class ReLU(Layer):
    """Rectified linear unit, `torch.nn.ReLU`'s numbers.

        y = max(x, 0)            dx = dy where y > 0, else 0

    Backward asks only whether y is positive, so y is kept and x is not: in a network y is what the next layer
    keeps anyway. The slope at x = 0 is taken as 0. NaN passes in both directions.

    Shapes: any, y and dx like x; or `Images`.  Raises TypeError for input that is not float32 or float64.

    >>> import numpy as np
    >>> relu = ReLU()
    >>> relu.forward(np.float32([-1, 0, 2])), relu.backward(np.float32([10, 10, 10]))
    (array([0., 0., 2.], dtype=float32), array([ 0.,  0., 10.], dtype=float32))

    The arithmetic, in `minicnn/backends/`:
        reference/activation.py    to read
        cpu/activation.py          to run
        cuda/activation.py         to run on a GPU
    """

    operations = ("activation",)
    takes_images = True

    def predict(self, x: Batch) -> Batch:
        return self.ops.relu_forward(self.as_input(x))

    def forward(self, x: Batch) -> Batch:
        y = self.predict(x)
        self.remember(y, y=y)
        return y

    def backward(self, dy: Batch, need_dx: bool = True) -> Batch:
        dy, memory = self.recall(dy)
        return self.ops.relu_backward(dy, memory.y)
