"""A backend's general convolution, for groups, dilation and uneven padding, in the form of its plain one."""

from typing import Any, NamedTuple

from minicnn.backends.protocol import Operations
from minicnn.plain import Array, Pads, Pair, Sizes


class GeneralConvolution(NamedTuple):
    """The operations of `conv2d` but for the bias gradient; `pads` stands in place of the argument `padding`."""

    ops: Operations
    pads: Pads
    dilation: Pair
    groups: int

    def conv2d_forward(self, x: Any, weight: Array, bias: Array | None, stride: Pair, padding: Pair) -> Any:
        return self.ops.general_conv2d_forward(x, weight, bias, stride, self.pads, self.dilation, self.groups)

    def conv2d_input_gradient(self, dy: Any, weight: Array, input_size: Sizes, stride: Pair, padding: Pair) -> Any:
        settings = stride, self.pads, self.dilation, self.groups
        return self.ops.general_conv2d_input_gradient(dy, weight, input_size, *settings)

    def conv2d_weight_gradient(self, dy: Any, x: Any, kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
        settings = stride, self.pads, self.dilation, self.groups
        return self.ops.general_conv2d_weight_gradient(dy, x, kernel_size, *settings)
