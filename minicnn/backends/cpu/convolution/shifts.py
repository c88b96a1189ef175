"""Rung 2, shifts of contiguous memory: a convolution in plain loops that vectorise.

    y[n, f, p, q] = bias[f] + sum over c, i, j of  weight[f, c, i, j] * x_padded[n, c, p * sh + i, q * sw + j]

The inner loop of a convolution is fast when it runs along contiguous memory. So the image is copied once, with
its padding, into *phase planes*: plane (a, b) holds the cells whose row is a modulo sh and whose column is b
modulo sw, with rows laid end to end, `pitch` cells apart. In the plane (i % sh, j % sw) the cells that tap
(i, j) touches are neighbours, also across row ends: output t = p * pitch + q reads cell t + shift, with

    shift = (i // sh) * pitch + j // sw

With stride 1 there is one plane, the padded image itself. All three passes are one line in three directions:

    forward           y[f, t]                    +=  weight[f, c, i, j] * plane[c, t + shift]
    input gradient    d_plane[c, t + shift]      +=  weight[f, c, i, j] * dy[f, t]
    weight gradient   dweight[f, c, i, j]         =  sum over n, t of dy[n, f, t] * plane[n, c, t + shift]

Columns q between OW and pitch are computed and thrown away (forward) or are zero (dy), which costs a few
percent and keeps the loop whole. FILTERS output maps are worked on at once, so that a cell that was loaded is
used more than once, and BLOCK_CELLS output cells at a time, so that they stay in the L1 cache.

Who owns what: forward, (image, FILTERS filters of y); input gradient, (image, one channel of dx); weight
gradient, (FILTERS filters, one channel) of dweight, adding up the images in order.

Cost: N * F * C * KH * KW * OH * OW multiply-adds for each pass, and one padded copy of x.
"""

from functools import partial

import numpy as np
from numba import prange

from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.runtime.jit import parallel, serial, serial_sum, unravel
from minicnn.geometry import output_size
from minicnn.plain import Array, Pair

FILTERS = 4
BLOCK_CELLS = 1024


@partial(guarded, name="conv2d_forward")
def forward(x: Array, weight: Array, bias: Array | None, stride: Pair, padding: Pair) -> Array:
    n_filters = weight.shape[0]
    out_h, out_w = _output_sizes(x.shape[2:], weight.shape[2:], stride, padding)
    if bias is None:
        bias = np.zeros(n_filters, x.dtype)
    planes, pitch = _phase_planes(x, weight.shape[2:], stride, padding)
    y = np.empty((x.shape[0], n_filters, out_h, out_w), x.dtype)
    _forward(planes, pitch, _whole_blocks(weight), bias, stride, y)
    return y


@partial(guarded, name="conv2d_input_gradient")
def input_gradient(dy: Array, weight: Array, input_size: Pair, stride: Pair, padding: Pair) -> Array:
    n_channels = weight.shape[1]
    pitch, length = _plane_layout(input_size, weight.shape[2:], stride, padding)
    dx = np.empty((dy.shape[0], n_channels, *input_size), dy.dtype)
    _input_gradient(_pitched(dy, pitch), pitch, length, weight, stride, padding, dx)
    return dx


@partial(guarded, name="conv2d_weight_gradient")
def weight_gradient(dy: Array, x: Array, kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
    planes, pitch = _phase_planes(x, kernel_size, stride, padding)
    dweight = np.empty((dy.shape[1], x.shape[1], *kernel_size), dy.dtype)
    _weight_gradient(_pitched(dy, pitch), planes, pitch, stride, dweight)
    return dweight


def _output_sizes(input_size: Pair, kernel_size: Pair, stride: Pair, padding: Pair) -> Pair:
    out_h, out_w = map(output_size, input_size, kernel_size, stride, padding)
    return out_h, out_w


def _plane_layout(input_size: Pair, kernel_size: Pair, stride: Pair, padding: Pair) -> Pair:
    """(pitch, length) of a phase plane: rows `pitch` apart, and the cells past the last row that shifts reach."""
    rows, pitch = (-(-(n + 2 * pad) // step) for n, pad, step in zip(input_size, padding, stride, strict=True))
    return pitch, rows * pitch + (kernel_size[1] - 1) // stride[1]


def _phase_planes(x: Array, kernel_size: Pair, stride: Pair, padding: Pair) -> tuple[Array, int]:
    """x (N, C, H, W) as phase planes (N, C, sh, sw, length), zero where the padding is."""
    pitch, length = _plane_layout(x.shape[2:], kernel_size, stride, padding)
    planes = np.zeros((*x.shape[:2], *stride, length), x.dtype)
    _to_planes(x, padding, pitch, planes)
    return planes, pitch


def _pitched(dy: Array, pitch: int) -> Array:
    """dy (N, F, OH, OW) with its rows `pitch` cells apart and zeros between: (N, F, OH * pitch)."""
    n_images, n_filters, out_h, out_w = dy.shape
    pitched = np.zeros((n_images, n_filters, out_h, pitch), dy.dtype)
    pitched[..., :out_w] = dy
    return pitched.reshape(n_images, n_filters, out_h * pitch)


def _whole_blocks(weight: Array) -> Array:
    """The weights with zero filters added, so that their number divides by FILTERS."""
    missing = -len(weight) % FILTERS
    return np.concatenate([weight, np.zeros((missing, *weight.shape[1:]), weight.dtype)])


@parallel
def _to_planes(x: Array, padding: Pair, pitch: int, planes: Array) -> None:
    n_images, n_channels = x.shape[:2]
    for item in prange(n_images * n_channels):
        n, c = unravel(item, n_channels)
        _split(x[n, c], padding, pitch, planes[n, c])


@serial
def _split(image: Array, padding: Pair, pitch: int, planes: Array) -> None:
    """Deal the cells of a channel (H, W) out to its phase planes (sh, sw, length)."""
    stride_h, stride_w = planes.shape[:2]
    height, width = image.shape
    for r in range(height):
        row, a = divmod(r + padding[0], stride_h)
        for s in range(width):
            column, b = divmod(s + padding[1], stride_w)
            planes[a, b, row * pitch + column] = image[r, s]


@serial
def _join(planes: Array, padding: Pair, pitch: int, image: Array) -> None:
    """The way back: collect a channel (H, W) from its phase planes (sh, sw, length)."""
    stride_h, stride_w = planes.shape[:2]
    height, width = image.shape
    for r in range(height):
        row, a = divmod(r + padding[0], stride_h)
        for s in range(width):
            column, b = divmod(s + padding[1], stride_w)
            image[r, s] = planes[a, b, row * pitch + column]


@parallel
def _forward(planes: Array, pitch: int, weight: Array, bias: Array, stride: Pair, y: Array) -> None:
    n_images = len(y)
    n_blocks = len(weight) // FILTERS
    for item in prange(n_images * n_blocks):
        n, block = unravel(item, n_blocks)
        f = block * FILTERS
        _forward_block(planes[n], pitch, weight[f : f + FILTERS], bias[f : f + FILTERS], stride, y[n, f : f + FILTERS])


@serial
def _forward_block(planes: Array, pitch: int, weight: Array, bias: Array, stride: Pair, y: Array) -> None:
    """FILTERS filters of one image: planes (C, sh, sw, length), weight (FILTERS, C, KH, KW), y (≤ FILTERS, OH, OW)."""
    _, n_channels, kernel_h, kernel_w = weight.shape
    n_filters, out_h, out_w = y.shape
    stride_h, stride_w = stride
    block_rows = max(1, BLOCK_CELLS // pitch)
    sums = np.empty((FILTERS, block_rows * pitch), y.dtype)
    for first in range(0, out_h, block_rows):
        rows = min(block_rows, out_h - first)
        sums[:] = 0
        for c in range(n_channels):
            for i in range(kernel_h):
                for j in range(kernel_w):
                    plane = planes[c, i % stride_h, j % stride_w]
                    shift = (first + i // stride_h) * pitch + j // stride_w
                    w0, w1, w2, w3 = weight[0, c, i, j], weight[1, c, i, j], weight[2, c, i, j], weight[3, c, i, j]
                    for t in range(rows * pitch):
                        cell = plane[t + shift]
                        sums[0, t] += w0 * cell
                        sums[1, t] += w1 * cell
                        sums[2, t] += w2 * cell
                        sums[3, t] += w3 * cell
        for f in range(n_filters):
            for p in range(rows):
                for q in range(out_w):
                    y[f, first + p, q] = sums[f, p * pitch + q] + bias[f]


@parallel
def _input_gradient(dy: Array, pitch: int, length: int, weight: Array, stride: Pair, padding: Pair, dx: Array) -> None:
    n_images, n_channels = dx.shape[:2]
    for item in prange(n_images * n_channels):
        n, c = unravel(item, n_channels)
        d_planes = np.zeros((stride[0], stride[1], length), dx.dtype)
        _input_gradient_channel(dy[n], pitch, weight[:, c], d_planes)
        _join(d_planes, padding, pitch, dx[n, c])


@serial
def _input_gradient_channel(dy: Array, pitch: int, weight: Array, d_planes: Array) -> None:
    """One channel of one image: dy (F, OH * pitch), weight (F, KH, KW), adding into d_planes (sh, sw, length)."""
    n_filters, kernel_h, kernel_w = weight.shape
    stride_h, stride_w = d_planes.shape[:2]
    for first in range(0, dy.shape[1], BLOCK_CELLS):
        cells = min(BLOCK_CELLS, dy.shape[1] - first)
        for f in range(n_filters):
            dy_block = dy[f, first : first + cells]
            for i in range(kernel_h):
                for j in range(kernel_w):
                    shift = first + (i // stride_h) * pitch + j // stride_w
                    d_plane = d_planes[i % stride_h, j % stride_w, shift : shift + cells]
                    w = weight[f, i, j]
                    for t in range(cells):
                        d_plane[t] += w * dy_block[t]


@parallel
def _weight_gradient(dy: Array, planes: Array, pitch: int, stride: Pair, dweight: Array) -> None:
    n_filters, n_channels = dweight.shape[:2]
    n_blocks = (n_filters + FILTERS - 1) // FILTERS
    for item in prange(n_blocks * n_channels):
        block, c = unravel(item, n_channels)
        f = block * FILTERS
        dweight[f : f + FILTERS, c] = 0
        for n in range(len(dy)):
            _weight_gradient_image(dy[n, f : f + FILTERS], planes[n, c], pitch, stride, dweight[f : f + FILTERS, c])


@serial_sum
def _weight_gradient_image(dy: Array, planes: Array, pitch: int, stride: Pair, dweight: Array) -> None:
    """One image's share, dy (≤ FILTERS, OH * pitch) with planes (sh, sw, length), added to dweight."""
    n_filters, kernel_h, kernel_w = dweight.shape
    stride_h, stride_w = stride
    for f in range(n_filters):
        for i in range(kernel_h):
            for j in range(kernel_w):
                plane = planes[i % stride_h, j % stride_w, (i // stride_h) * pitch + j // stride_w :]
                total = dweight.dtype.type(0)
                for t in range(dy.shape[1]):
                    total += dy[f, t] * plane[t]
                dweight[f, i, j] += total
