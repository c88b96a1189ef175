"""Convolution, one kernel tap at a time.

    y[n, f, p, q] = bias[f] + sum over c, i, j of  weight[f, c, i, j] * x_padded[n, c, p * sh + i, q * sw + j]

Fix the tap (i, j) and let p, q run: the cells it touches are one strided slice of the padded image, the tap's
*view*. Then all three passes are the same line read in its three directions:

    forward           y           += weight[:, :, i, j]   applied to    view
    input gradient    view of dx  += weight[:, :, i, j]ᵀ  applied to    dy
    weight gradient   dweight[:, :, i, j] = dy            paired with   view

The input gradient adds, since the views of different taps overlap: a pixel has a share in up to KH * KW
outputs, and its gradient is the sum of what comes back from each.

Cost: N * F * C * KH * KW * OH * OW multiply-adds for each pass.
"""

import numpy as np

from minicnn.plain import Array, Pair


def conv2d_forward(x: Array, weight: Array, bias: Array | None, stride: Pair, padding: Pair) -> Array:
    """y (N, F, OH, OW) for x (N, C, H, W), weight (F, C, KH, KW), bias (F,) or None."""
    n_images, _, height, width = x.shape
    n_filters, _, kernel_h, kernel_w = weight.shape
    x_padded = _pad(x, padding)
    out_h = (height + 2 * padding[0] - kernel_h) // stride[0] + 1
    out_w = (width + 2 * padding[1] - kernel_w) // stride[1] + 1

    y = np.zeros((n_images, n_filters, out_h, out_w), x.dtype)
    for i in range(kernel_h):
        for j in range(kernel_w):
            view = _tap_view(x_padded, i, j, out_h, out_w, stride)
            y += np.einsum("fc,ncpq->nfpq", weight[:, :, i, j], view, optimize=True)
    if bias is not None:
        y += bias[:, None, None]
    return y


def conv2d_input_gradient(dy: Array, weight: Array, input_size: Pair, stride: Pair, padding: Pair) -> Array:
    """dx (N, C, H, W) for dy (N, F, OH, OW), weight (F, C, KH, KW), input_size (H, W).

    forward: y[n, f, p, q] += weight[f, c, i, j] * x_padded[n, c, p * sh + i, q * sw + j]
    """
    n_images, _, out_h, out_w = dy.shape
    _, n_channels, kernel_h, kernel_w = weight.shape
    (height, width), (pad_h, pad_w) = input_size, padding

    dx_padded = np.zeros((n_images, n_channels, height + 2 * pad_h, width + 2 * pad_w), dy.dtype)
    for i in range(kernel_h):
        for j in range(kernel_w):
            view = _tap_view(dx_padded, i, j, out_h, out_w, stride)
            # learn: what this tap sends back to the cells that it saw
            view += np.einsum("fc,nfpq->ncpq", weight[:, :, i, j], dy, optimize=True)
    # What flowed into the padding is nobody's gradient.
    return np.ascontiguousarray(dx_padded[:, :, pad_h : pad_h + height, pad_w : pad_w + width])


def conv2d_weight_gradient(dy: Array, x: Array, kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
    """dweight (F, C, KH, KW) for dy (N, F, OH, OW), x (N, C, H, W), kernel_size (KH, KW).

    forward: y[n, f, p, q] += weight[f, c, i, j] * x_padded[n, c, p * sh + i, q * sw + j]
    """
    _, n_filters, out_h, out_w = dy.shape
    kernel_h, kernel_w = kernel_size
    x_padded = _pad(x, padding)

    dweight = np.empty((n_filters, x.shape[1], kernel_h, kernel_w), dy.dtype)
    for i in range(kernel_h):
        for j in range(kernel_w):
            view = _tap_view(x_padded, i, j, out_h, out_w, stride)
            # learn: every product of dy with what this tap saw, added up
            dweight[:, :, i, j] = np.einsum("nfpq,ncpq->fc", dy, view, optimize=True)
    return dweight


def conv2d_bias_gradient(dy: Array) -> Array:
    """dbias (F,) for dy (N, F, OH, OW).

    forward: y[n, f, p, q] += bias[f]
    """
    # learn: the bias was added to every output of its filter
    return dy.sum(axis=(0, 2, 3))


def _pad(x: Array, padding: Pair) -> Array:
    pad_h, pad_w = padding
    return np.pad(x, ((0, 0), (0, 0), (pad_h, pad_h), (pad_w, pad_w)))


def _tap_view(x_padded: Array, i: int, j: int, out_h: int, out_w: int, stride: Pair) -> Array:
    """The (N, C, OH, OW) slice that tap (i, j) sees: cells (p * sh + i, q * sw + j), without a copy."""
    stride_h, stride_w = stride
    return x_padded[:, :, i : i + out_h * stride_h : stride_h, j : j + out_w * stride_w : stride_w]
