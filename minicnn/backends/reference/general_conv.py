"""Convolution with all of PyTorch's arguments: groups, dilation, and padding that differs before and after.

    y[n, f, p, q] = bias[f] + sum over c, i, j of
                    weight[f, c, i, j] * x_padded[n, g * CG + c, p * sh + i * dh, q * sw + j * dw]

Filter f belongs to group g = f // (F / groups) and sees the CG = C / groups channels of its group and no others; with
as many groups as channels the convolution is depthwise. Taps lie dh rows and dw columns apart. Each group is a
convolution of its own, so the three passes are those of `conv`, with a letter g beside n that nothing is summed over.
The bias gradient is that of `conv`.

Cost: N * F * CG * KH * KW * OH * OW multiply-adds for each pass.
"""

import numpy as np

from minicnn.plain import Array, Pads, Pair


def general_conv2d_forward(
    x: Array, weight: Array, bias: Array | None, stride: Pair, pads: Pads, dilation: Pair, groups: int
) -> Array:
    """y (N, F, OH, OW) for x (N, C, H, W), weight (F, CG, KH, KW), bias (F,) or None."""
    views = _views(x, weight.shape[2:], stride, pads, dilation, groups)
    y = np.einsum("gfcij,ngcijpq->ngfpq", _grouped(weight, groups), views, optimize=True)
    y = y.reshape(len(x), len(weight), *y.shape[3:])
    return y if bias is None else y + bias[:, None, None]


def general_conv2d_input_gradient(
    dy: Array, weight: Array, input_size: Pair, stride: Pair, pads: Pads, dilation: Pair, groups: int
) -> Array:
    """dx (N, C, H, W) for dy (N, F, OH, OW), weight (F, CG, KH, KW), input_size (H, W).

    forward: y[n, g, f, p, q] += weight[g, f, c, i, j] * x_padded[n, g, c, p * sh + i * dh, q * sw + j * dw]
    """
    n_images, n_filters, *out_size = dy.shape
    (top, bottom), (left, right) = pads
    n_channels, (height, width) = groups * weight.shape[1], input_size
    dx_padded = np.zeros((n_images, n_channels, top + height + bottom, left + width + right), dy.dtype)
    dy = dy.reshape(n_images, groups, n_filters // groups, *out_size)
    weight = _grouped(weight, groups)
    for i, j in np.ndindex(weight.shape[3:]):
        view = _tap_view(dx_padded, i, j, out_size, stride, dilation)
        back = np.einsum("gfc,ngfpq->ngcpq", weight[:, :, :, i, j], dy, optimize=True)
        view += back.reshape(view.shape)
    # What flowed into the padding is nobody's gradient.
    return np.ascontiguousarray(dx_padded[:, :, top : top + height, left : left + width])


def general_conv2d_weight_gradient(
    dy: Array, x: Array, kernel_size: Pair, stride: Pair, pads: Pads, dilation: Pair, groups: int
) -> Array:
    """dweight (F, CG, KH, KW) for dy (N, F, OH, OW), x (N, C, H, W), kernel_size (KH, KW).

    forward: y[n, g, f, p, q] += weight[g, f, c, i, j] * x_padded[n, g, c, p * sh + i * dh, q * sw + j * dw]
    """
    n_images, n_filters, *out_size = dy.shape
    views = _views(x, kernel_size, stride, pads, dilation, groups)
    dy = dy.reshape(n_images, groups, n_filters // groups, *out_size)
    dweight = np.einsum("ngfpq,ngcijpq->gfcij", dy, views, optimize=True)
    return dweight.reshape(n_filters, *dweight.shape[2:])


def _grouped(weight: Array, groups: int) -> Array:
    """(groups, filters of a group, CG, KH, KW)"""
    return weight.reshape(groups, len(weight) // groups, *weight.shape[1:])


def _views(x: Array, kernel_size: Pair, stride: Pair, pads: Pads, dilation: Pair, groups: int) -> Array:
    """(N, groups, CG, KH, KW, OH, OW): for each tap, the cells that it sees."""
    x_padded = np.pad(x, ((0, 0), (0, 0), *pads))
    lasts = (d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True))
    out_size = [(n - last - 1) // s + 1 for n, last, s in zip(x_padded.shape[2:], lasts, stride, strict=True)]
    views = [_tap_view(x_padded, i, j, out_size, stride, dilation) for i, j in np.ndindex(kernel_size)]
    shape = len(x), groups, x.shape[1] // groups, *kernel_size, *out_size
    return np.stack(views, axis=2).reshape(shape)


def _tap_view(x_padded: Array, i: int, j: int, out_size: list[int], stride: Pair, dilation: Pair) -> Array:
    """(N, C, OH, OW): the cells that tap (i, j) sees, a view."""
    rows, columns = (
        slice(tap * d, tap * d + (n - 1) * s + 1, s)
        for tap, d, n, s in zip((i, j), dilation, out_size, stride, strict=True)
    )
    return x_padded[:, :, rows, columns]
