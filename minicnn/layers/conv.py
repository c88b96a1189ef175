"""Conv2d: each output pixel is a weighted sum of a small window of all input channels."""

from typing import Any

import numpy as np

from minicnn.checks import as_int, as_pair, described
from minicnn.images import Batch, sizes_of
from minicnn.layers.initialisation import as_generator, uniform_by_fan_in
from minicnn.layers.spatial import SpatialLayer, batched, fixed_output_size, like_input
from minicnn.plain import Pair, Sizes


class Conv2d(SpatialLayer):
    """2-d convolution (cross-correlation, as all frameworks have it), `torch.nn.Conv2d`'s arguments and numbers.

        y[n, f, p, q] = bias[f] + sum over c, i, j of  weight[f, c, i, j] * x[n, c, p * sh + i - ph, q * sw + j - pw]

    with zeros where the index leaves the image. Read backwards, every product gives two messages: to the pixel,
    "you were multiplied by this weight", and to the weight, "you were multiplied by this pixel":

        dx[n, c, r, s]        = sum of weight[f, c, i, j] * dy[n, f, p, q]   over the outputs that looked at (r, s)
        dweight[f, c, i, j]   = sum of dy[n, f, p, q] * x[n, c, p * sh + i - ph, q * sw + j - pw]   over n, p, q
        dbias[f]              = sum of dy[n, f, p, q]   over n, p, q

    Shapes: x (N, C, H, W) or (C, H, W); weight (F, C, KH, KW); bias (F,); y (N, F, OH, OW) with
    OH = (H + 2 * ph - KH) // sh + 1 and OW likewise. For `Images` x, y is `Images`, each of its own OH_n × OW_n.

    Args:
        in_channels, out_channels: C and F.
        kernel_size, stride, padding: an int, or a pair (vertical, horizontal), in pixels.
        bias: False for a layer without one.
        rng: a numpy Generator or a seed for the first weights (see `initialisation`).

    Raises:
        ValueError: wrong number of channels, wrong rank, empty input, kernel larger than the padded image.
        TypeError: input that is not float32 or float64, or not of the weights' dtype.

    >>> import numpy as np
    >>> conv = Conv2d(1, 1, kernel_size=2, bias=False, rng=0)
    >>> conv.params["weight"][:] = [[1, 2], [3, 4]]
    >>> conv.forward(np.eye(2, dtype=np.float32)[None, None])      # 1 * 1 + 4 * 1
    array([[[[5.]]]], dtype=float32)
    >>> conv.backward(np.ones((1, 1, 1, 1), np.float32))           # each pixel gets the weight it met
    array([[[[1., 2.],
             [3., 4.]]]], dtype=float32)
    >>> conv.grads["weight"]                                       # each weight gets the pixel it met
    array([[[[1., 0.],
             [0., 1.]]]], dtype=float32)

    The arithmetic, in `minicnn/backends/`:
        reference/conv.py    to read
        cpu/conv.py          to run, by `convolution/`: `winograd/`, `tile/` or `matrix.py`
        cuda/conv.py         to run on a GPU
    """

    operations = ("conv",)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        bias: bool = True,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = as_int(in_channels, "Conv2d: in_channels", 1)
        self.out_channels = as_int(out_channels, "Conv2d: out_channels", 1)
        self.kernel_size = as_pair(kernel_size, "Conv2d: kernel_size", 1)
        self.stride = as_pair(stride, "Conv2d: stride", 1)
        self.padding = as_pair(padding, "Conv2d: padding", 0)

        rng = as_generator(rng)
        fan_in = self.in_channels * self.kernel_size[0] * self.kernel_size[1]
        shape = (self.out_channels, self.in_channels, *self.kernel_size)
        self.params["weight"] = uniform_by_fan_in(rng, shape, fan_in)
        if bias:
            self.params["bias"] = uniform_by_fan_in(rng, (self.out_channels,), fan_in)

    def predict(self, x: Batch) -> Batch:
        x = self.as_images(x)
        weight, bias = self.params["weight"], self.params.get("bias")
        y = self.ops.conv2d_forward(batched(x), weight, bias, self.stride, self.padding)
        return like_input(y, x)

    def forward(self, x: Batch) -> Batch:
        x = self.as_images(x)
        weight, bias = self.params["weight"], self.params.get("bias")
        y = like_input(self.ops.conv2d_forward(batched(x), weight, bias, self.stride, self.padding), x)
        self.remember(y, x=x)  # dweight multiplies dy with x
        return y

    def backward(self, dy: Batch, need_dx: bool = True) -> Any:
        dy, memory = self.recall(dy)
        dy, x = batched(dy), batched(memory.x)

        self.grads["weight"] = self.ops.conv2d_weight_gradient(dy, x, self.kernel_size, self.stride, self.padding)
        if "bias" in self.params:
            self.grads["bias"] = self.ops.conv2d_bias_gradient(dy)
        if not need_dx:
            return None
        dx = self.ops.conv2d_input_gradient(dy, self.params["weight"], sizes_of(x), self.stride, self.padding)
        return like_input(dx, memory.x)

    def as_images(self, x: Batch) -> Batch:
        """x checked against this layer's channels and kernel, (N, C, H, W), `Images` or (C, H, W)."""
        x = super().as_images(x)
        if x.shape[-3] != self.in_channels:
            raise ValueError(
                f"Conv2d: expected {self.in_channels} input channels, got {x.shape[-3]} in {described(x.shape)}"
            )
        self.output_size(sizes_of(x))
        return x

    def output_size(self, input_size: Sizes) -> Sizes:
        """(OH, OW) for an image of (H, W), or sizes (N, 2) for the sizes (N, 2) of images.

        Raises ValueError where the kernel is larger than the padded image.
        """
        return fixed_output_size(self, input_size)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        weight = (self.out_channels, self.in_channels, *self.kernel_size)
        return {"weight": weight, "bias": (self.out_channels,)} if "bias" in self.params else {"weight": weight}

    def describe(self) -> str:
        bias = "" if "bias" in self.params else ", bias=False"
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}{bias}"
        )
