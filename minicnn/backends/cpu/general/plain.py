"""The plain forms of a general convolution: a plane by its definition.

y[n, f, p, q] = bias[f] + sum over c, i, j of
                weight[f, c, i, j] * x[n, g * CG + c, p * sh + i * dh - top, q * sw + j * dw - left]
"""

import numpy as np

from minicnn.backends.cpu.general.job import Convolution
from minicnn.backends.cpu.runtime.jit import serial
from minicnn.plain import Array


@serial
def forward_plane(x: Array, n: int, f: int, weight: Array, bias: float, conv: Convolution, y: Array) -> None:
    """Filter f of image n."""
    first = (n * conv.groups + f // conv.filters) * conv.channels
    y_at = (n * conv.groups * conv.filters + f) * conv.out_h * conv.out_w
    for p in range(conv.out_h):
        for q in range(conv.out_w):
            total = np.float64(bias)
            for c in range(conv.channels):
                for i in range(conv.kernel_h):
                    r = p * conv.stride_h + i * conv.dilation_h - conv.top
                    if 0 <= r < conv.height:
                        for j in range(conv.kernel_w):
                            s = q * conv.stride_w + j * conv.dilation_w - conv.left
                            if 0 <= s < conv.width:
                                pixel = x[((first + c) * conv.height + r) * conv.width + s]
                                total += weight[(c * conv.kernel_h + i) * conv.kernel_w + j] * pixel
            y[y_at + p * conv.out_w + q] = total


@serial
def input_gradient_plane(dy: Array, group: int, c: int, weight: Array, conv: Convolution, dx: Array) -> None:
    """Channel c of a group, numbered through all images; weight: (filters, channels * taps) of the group."""
    dx[:] = 0
    for f in range(conv.filters):
        dy_at = (group * conv.filters + f) * conv.out_h * conv.out_w
        for p in range(conv.out_h):
            for q in range(conv.out_w):
                gradient = dy[dy_at + p * conv.out_w + q]
                for i in range(conv.kernel_h):
                    r = p * conv.stride_h + i * conv.dilation_h - conv.top
                    if 0 <= r < conv.height:
                        for j in range(conv.kernel_w):
                            s = q * conv.stride_w + j * conv.dilation_w - conv.left
                            if 0 <= s < conv.width:
                                dx[r * conv.width + s] += (
                                    weight[f, (c * conv.kernel_h + i) * conv.kernel_w + j] * gradient
                                )


@serial
def weight_gradient_plane(dy: Array, dy_plane: int, x: Array, x_plane: int, conv: Convolution, dweight: Array) -> None:
    """One filter's weights of one channel, from one image."""
    for i in range(conv.kernel_h):
        for j in range(conv.kernel_w):
            total = 0.0  # float64: a plane may be large
            for p in range(conv.out_h):
                r = p * conv.stride_h + i * conv.dilation_h - conv.top
                if 0 <= r < conv.height:
                    for q in range(conv.out_w):
                        s = q * conv.stride_w + j * conv.dilation_w - conv.left
                        if 0 <= s < conv.width:
                            gradient = dy[(dy_plane * conv.out_h + p) * conv.out_w + q]
                            total += gradient * x[(x_plane * conv.height + r) * conv.width + s]
            dweight[i * conv.kernel_w + j] += total
