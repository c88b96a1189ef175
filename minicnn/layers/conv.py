"""Conv2d: each output pixel is a weighted sum of a small window of all input channels."""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from minicnn.backends.protocol import Operations
from minicnn.checks import as_int, as_pair, described, layout_remedy
from minicnn.geometry import dilated_size, same_padding
from minicnn.images import Batch, sizes_of
from minicnn.layers.general import GeneralConvolution
from minicnn.layers.initialisation import as_generator, uniform_by_fan_in
from minicnn.layers.spatial import SpatialLayer, batched, fixed_output_size, like_input
from minicnn.plain import Pads, Pair, Sizes


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
    With dilation the taps lie dh and dw pixels apart: i * dh and j * dw above, and (KH - 1) * dh + 1 for KH in OH. With
    groups the channels are cut into as many parts, and the filters too; each filter sees its own part, so that weight
    is (F, C / groups, KH, KW). With as many groups as channels the convolution is depthwise.

    Args:
        in_channels, out_channels: C and F.
        kernel_size, stride, padding, dilation: an int, or a pair (vertical, horizontal), in pixels. As padding also
            "valid", which is 0, and with stride 1 "same", for an output of the input's size; where that padding is
            odd, the pixel more is on the right and at the bottom.
        groups: a divisor of C and of F.
        bias: False for a layer without one.
        rng: a numpy Generator or a seed for the first weights (see `initialisation`).

    Raises:
        ValueError: groups that do not divide C and F, padding "same" with a stride; wrong number of channels, wrong
            rank, empty input, kernel larger than the padded image.
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
        general_conv.py      in each of them, with groups, dilation or uneven padding
    """

    operations: tuple[str, ...] = ("conv",)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair | str = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__()
        self.in_channels = as_int(in_channels, "Conv2d: in_channels", 1)
        self.out_channels = as_int(out_channels, "Conv2d: out_channels", 1)
        self.kernel_size = as_pair(kernel_size, "Conv2d: kernel_size", 1)
        self.stride = as_pair(stride, "Conv2d: stride", 1)
        self.padding: Any = padding if isinstance(padding, str) else as_pair(padding, "Conv2d: padding", 0)
        self.dilation = as_pair(dilation, "Conv2d: dilation", 1)
        self.groups = as_int(groups, "Conv2d: groups", 1)
        self.pads()  # refuses what does not go together
        if not self.is_plain:
            self.operations = ("conv", "general_conv")

        rng = as_generator(rng)
        shape = self.shapes()["weight"]
        fan_in = math.prod(shape[1:])
        self.params["weight"] = uniform_by_fan_in(rng, shape, fan_in)
        if bias:
            self.params["bias"] = uniform_by_fan_in(rng, (self.out_channels,), fan_in)

    def predict(self, x: Batch) -> Batch:
        x = self.as_images(x)
        weight, bias = self.params["weight"], self.params.get("bias")
        ops, padding = self.convolution()
        return like_input(ops.conv2d_forward(batched(x), weight, bias, self.stride, padding), x)

    def forward(self, x: Batch) -> Batch:
        x = self.as_images(x)
        weight, bias = self.params["weight"], self.params.get("bias")
        ops, padding = self.convolution()
        y = like_input(ops.conv2d_forward(batched(x), weight, bias, self.stride, padding), x)
        self.remember(y, x=x)  # dweight multiplies dy with x
        return y

    def backward(self, dy: Batch, need_dx: bool = True) -> Any:
        dy, memory = self.recall(dy)
        dy, x = batched(dy), batched(memory.x)
        ops, padding = self.convolution()

        self.grads["weight"] = ops.conv2d_weight_gradient(dy, x, self.kernel_size, self.stride, padding)
        if "bias" in self.params:
            self.grads["bias"] = self.ops.conv2d_bias_gradient(dy)
        if not need_dx:
            return None
        dx = ops.conv2d_input_gradient(dy, self.params["weight"], sizes_of(x), self.stride, padding)
        return like_input(dx, memory.x)

    def convolution(self) -> tuple[Operations | GeneralConvolution, Pair]:
        """(the backend's plain convolution, or its general one; the padding before)."""
        (top, _), (left, _) = pads = self.pads()
        ops = self.ops if self._is_plain(pads) else GeneralConvolution(self.ops, pads, self.dilation, self.groups)
        return ops, (top, left)

    def pads(self) -> Pads:
        """((top, bottom), (left, right)), the padding in pixels.

        Checks all settings, which may have been set, and makes pairs of them as the constructor does.
        """
        given = self.kernel_size, self.stride, self.padding, self.dilation
        pairs = (tuple(value) if isinstance(value, list) else value for value in given)
        settings = _checked_settings(*pairs, self.groups, self.in_channels, self.out_channels)
        kernel_size, stride, padding, dilation, pads = settings
        if settings[:4] != given:
            self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        return pads

    @property
    def is_plain(self) -> bool:
        """Whether it has neither dilation nor groups, nor uneven padding."""
        return self._is_plain(self.pads())

    def _is_plain(self, pads: Pads) -> bool:
        (top, bottom), (left, right) = pads
        return (self.dilation, self.groups, top, left) == ((1, 1), 1, bottom, right)

    def as_images(self, x: Batch) -> Batch:
        """x checked against this layer's channels and kernel, (N, C, H, W), `Images` or (C, H, W)."""
        x = super().as_images(x)
        if x.shape[-3] != self.in_channels:
            raise ValueError(
                f"Conv2d: expected {self.in_channels} input channels, got {x.shape[-3]} in {described(x.shape)}"
                f"{layout_remedy(x.shape, self.in_channels)}"
            )
        self.output_size(sizes_of(x))
        return x

    def output_size(self, input_size: Sizes) -> Sizes:
        """(OH, OW) for an image of (H, W), or sizes (N, 2) for the sizes (N, 2) of images.

        Raises ValueError where the kernel is larger than the padded image.
        """
        (top, bottom), (left, right) = self.pads()
        kernel_h, kernel_w = map(dilated_size, self.kernel_size, self.dilation)
        if (top, left) != (bottom, right):  # uneven: the rest is as if it were of the image
            uneven = bottom - top, right - left
            given = input_size
            input_size = (given[0] + uneven[0], given[1] + uneven[1]) if isinstance(given, tuple) else given + uneven
        return fixed_output_size("Conv2d", input_size, (kernel_h, kernel_w), self.stride, (top, left))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        self.pads()  # groups may have been set
        weight = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        return {"weight": weight, "bias": (self.out_channels,)} if "bias" in self.params else {"weight": weight}

    def describe(self) -> str:
        dilation = "" if self.dilation == (1, 1) else f", dilation={self.dilation}"
        groups = "" if self.groups == 1 else f", groups={self.groups}"
        bias = "" if "bias" in self.params else ", bias=False"
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding!r}{dilation}{groups}{bias}"
        )


@lru_cache(maxsize=1024)
def _checked_settings(
    kernel_size: Any, stride: Any, padding: Any, dilation: Any, groups: Any, in_channels: int, out_channels: int
) -> tuple[Pair, Pair, Pair | str, Pair, Pads]:
    """kernel_size, stride, padding and dilation as the layer keeps them, and `Conv2d.pads`."""
    kernel_size, stride = as_pair(kernel_size, "Conv2d: kernel_size", 1), as_pair(stride, "Conv2d: stride", 1)
    dilation, groups = as_pair(dilation, "Conv2d: dilation", 1), as_int(groups, "Conv2d: groups", 1)
    if in_channels % groups or out_channels % groups:
        raise ValueError(
            f"Conv2d: expected groups that divide in_channels and out_channels, {in_channels} and {out_channels}, "
            f"got {groups}"
        )
    if not isinstance(padding, str):
        padding = top, left = as_pair(padding, "Conv2d: padding", 0)
        return kernel_size, stride, padding, dilation, ((top, top), (left, left))
    if padding == "valid":
        return kernel_size, stride, padding, dilation, ((0, 0), (0, 0))
    if padding != "same":
        raise ValueError(f"Conv2d: padding: expected a number of pixels, a pair, 'same' or 'valid', got {padding!r}")
    if stride != (1, 1):
        raise ValueError(f"Conv2d: padding: expected stride 1 with 'same', got {stride}; give the padding in pixels")
    rows, columns = map(same_padding, kernel_size, dilation)
    return kernel_size, stride, padding, dilation, (rows, columns)
