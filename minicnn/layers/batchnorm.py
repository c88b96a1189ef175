"""BatchNorm2d: bring every channel to mean 0 and variance 1, then let it learn its own scale and shift."""

import numpy as np

from minicnn.checks import as_int, described, kind_of
from minicnn.images import Batch, Images
from minicnn.layers.base import Layer
from minicnn.plain import Array, as_plain_array


class BatchNorm2d(Layer):
    """Batch normalisation (Ioffe and Szegedy, 2015, arXiv:1502.03167), `torch.nn.BatchNorm2d`'s numbers.

        x_hat = (x - mean) / sqrt(var + eps)          y = weight * x_hat + bias

    per channel. In training, mean and var are taken over all pixels of all images of the batch (var divided by
    the count n), and the running statistics move a step of size `momentum` towards them (there with var
    divided by n - 1). In evaluation mean and var are the running ones.

    Backward, with a = weight / sqrt(var + eps):

        evaluation    dx = a * dy                                                 the statistics are constants
        training      dx = a * (dy - mean(dy) - x_hat * mean(dy * x_hat))         they are functions of x
        both          dweight = sum of dy * x_hat,  dbias = sum of dy

    In training dx sums to 0 over each channel, and so does dx * x_hat (but for eps): y does not change when a
    constant is added to x or x is scaled, so dx has no part in either of these two directions.

    `Images` count pixel by pixel: the n of a channel is P, the sum of H_n * W_n, and a large image weighs more than a
    small one.

    Shapes: x, y (N, C, H, W) or `Images`; all parameters and statistics (C,), num_batches_tracked () int64.

    Args:
        num_features: C.
        eps: added to var, so that a constant channel does not divide by zero.
        momentum: the step of the running statistics, in [0, 1].

    Raises:
        ValueError: wrong rank or number of channels, or one value per channel in training (its variance is 0).
        TypeError: input that is not float32 or float64, or not of the weights' dtype.

    >>> bn = BatchNorm2d(1, eps=0)
    >>> bn.forward(np.float32([[[[1, 3, 1, 3]]]]))                     # mean 2, variance 1
    array([[[[-1.,  1., -1.,  1.]]]], dtype=float32)
    >>> bn.backward(np.float32([[[[4, 0, 0, 0]]]]))                    # what would shift or scale x is taken out of dy
    array([[[[ 2.,  0., -2.,  0.]]]], dtype=float32)

    The arithmetic, in `minicnn/backends/`:
        reference/batchnorm.py    to read
        cpu/batchnorm.py          to run
        cuda/batchnorm.py         to run on a GPU
    """

    operations = ("batchnorm",)
    takes_images = True
    # False where a batch is shared out among processes (see `minicnn.distributed`): then the values of all are counted.
    has_whole_batch = True

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.num_features = as_int(num_features, "BatchNorm2d: num_features", 1)
        if eps is None or not eps >= 0:
            raise ValueError(f"BatchNorm2d: expected eps of at least 0, got {eps}")
        if momentum is None or not 0 <= momentum <= 1:
            raise ValueError(f"BatchNorm2d: expected momentum from 0 to 1, got {momentum}")
        self.eps, self.momentum = float(eps), float(momentum)
        self.params["weight"] = np.ones(self.num_features, np.float32)
        self.params["bias"] = np.zeros(self.num_features, np.float32)
        self.state["running_mean"] = np.zeros(self.num_features, np.float32)
        self.state["running_var"] = np.ones(self.num_features, np.float32)
        self.state["num_batches_tracked"] = np.zeros((), np.int64)

    def predict(self, x: Batch) -> Batch:
        return self._normalise(self._as_images(x), self.state["running_mean"], self.state["running_var"])

    def forward(self, x: Batch) -> Batch:
        x = self._as_images(x)
        if self.training:
            count = x.size // x.shape[1]
            self.require_several_values(count)
            mean, var = self.ops.batchnorm2d_statistics(x)
        else:
            mean, var = self.ops.copy(self.state["running_mean"]), self.ops.copy(self.state["running_var"])
        y = self._normalise(x, mean, var)
        if self.training:  # after all else, so that an error leaves the running statistics as they were
            self.track(mean, var, count)
        # x_hat is not kept: to recompute it from x, mean and var costs less than the memory.
        self.remember(y, x=x, mean=mean, var=var, training=self.training)
        return y

    def backward(self, dy: Batch, need_dx: bool = True) -> Batch:
        dy, memory = self.recall(dy)
        ops = self.ops
        backward = ops.batchnorm2d_train_backward if memory.training else ops.batchnorm2d_eval_backward
        dx, self.grads["weight"], self.grads["bias"] = backward(
            dy, memory.x, self.params["weight"], memory.mean, memory.var, self.eps
        )
        return dx

    def require_several_values(self, count: int) -> None:
        """Raise ValueError where a batch has only one value per channel: its variance would be 0."""
        if count == 1 and self.has_whole_batch:
            raise ValueError(
                "BatchNorm2d: expected more than one value per channel in training, got one image of one pixel; "
                "use a larger batch or image, or eval()"
            )

    def track(self, mean: Array, var: Array, count: int) -> None:
        """Move the running statistics towards those of a batch of `count` values per channel."""
        state = self.state
        self.ops.update_running_statistics_(
            state["running_mean"], state["running_var"], mean, var, count, self.momentum
        )
        state["num_batches_tracked"] += 1

    def _normalise(self, x: Batch, mean: Array, var: Array) -> Batch:
        return self.ops.batchnorm2d_forward(x, self.params["weight"], self.params["bias"], mean, var, self.eps)

    def _as_images(self, x: Batch) -> Batch:
        x = self.as_input(x)
        if x.ndim != 4:
            raise ValueError(f"BatchNorm2d: expected input of shape (N, C, H, W), got {x.shape}")
        if x.shape[1] != self.num_features:
            raise ValueError(
                f"BatchNorm2d: expected {self.num_features} channels, got {x.shape[1]} in {described(x.shape)}"
            )
        return x

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (self.num_features,))

    def require_params(self, x: Array | Images) -> None:
        super().require_params(x)
        count = self.state.get("num_batches_tracked")
        if not isinstance(count, np.ndarray) or count.shape or count.dtype.kind not in "iu":
            raise TypeError(
                f"BatchNorm2d: expected num_batches_tracked as an integer array of shape (), got {kind_of(count)}"
            )
        self.state["num_batches_tracked"] = as_plain_array(count, "BatchNorm2d: num_batches_tracked")

    def describe(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"
