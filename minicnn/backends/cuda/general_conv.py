"""Convolution with all of PyTorch's arguments: groups, dilation, and padding that differs before and after.

    y[n, f, p, q] = bias[f] + sum over c, i, j of
                    weight[f, c, i, j] * x[n, g * CG + c, p * sh + i * dh - top, q * sw + j * dw - left]

The input gradient is turned round, as that of pooling: no output adds to its window's pixels, which would have to be
atomic, but each pixel goes through the outputs that saw it.

Who owns what: forward, a thread one output; in the input gradient, a thread one pixel of dx; in the weight gradient, a
block one weight, whose threads share the outputs of all images and then add up what they found.
Cost: N * F * CG * KH * KW * OH * OW multiply-adds for each pass.

Kernels find images in a table, see `windows`; to them an array (N, C, H, W) is one image of N * C channels.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from minicnn.backends.cuda.arrays import asarray, guarded
from minicnn.backends.cuda.batches import empty_batch, flat, sizes_table
from minicnn.backends.cuda.elementwise import blocks_for, own_number, real_of, sum_over_block
from minicnn.backends.cuda.runtime.device import Kernel, cuda
from minicnn.backends.cuda.runtime.device_array import empty, launch
from minicnn.backends.cuda.tiles import THREADS
from minicnn.backends.cuda.windows import HEIGHT, WIDTH, X, Y, cell_of, images_plan, plane_of
from minicnn.geometry import general_output_sizes
from minicnn.images import Batch
from minicnn.plain import Array, Pads, Pair, Sizes


class Window(NamedTuple):
    """What an output sees: kernel, stride, dilation and padding before, of which each has kernels of its own."""

    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    top: int
    left: int


@guarded
def general_conv2d_forward(
    x: Batch, weight: Array, bias: Array | None, stride: Pair, pads: Pads, dilation: Pair, groups: int
) -> Batch:
    window = _window(weight.shape[2:], stride, pads, dilation)
    sizes = general_output_sizes(sizes_table(x), weight.shape[2:], stride, pads, dilation)
    y: Batch = empty_batch(x, len(weight), sizes, x.dtype)
    biases = asarray(np.zeros(len(weight), x.dtype)) if bias is None else bias
    arguments = flat(x), weight, biases, *_groups(x, y, groups), *images_plan(x, y), flat(y), y.size
    launch(_forward(real_of(x), window), blocks_for(y.size), THREADS, *arguments)
    return y


@guarded
def general_conv2d_input_gradient(
    dy: Batch, weight: Array, input_size: Sizes, stride: Pair, pads: Pads, dilation: Pair, groups: int
) -> Batch:
    window = _window(weight.shape[2:], stride, pads, dilation)
    dx: Batch = empty_batch(dy, groups * weight.shape[1], input_size, dy.dtype)
    arguments = flat(dy), weight, *_groups(dx, dy, groups), *images_plan(dx, dy), flat(dx), dx.size
    launch(_input_gradient(real_of(dx), window), blocks_for(dx.size), THREADS, *arguments)
    return dx


@guarded
def general_conv2d_weight_gradient(
    dy: Batch, x: Batch, kernel_size: Pair, stride: Pair, pads: Pads, dilation: Pair, groups: int
) -> Array:
    window = _window(kernel_size, stride, pads, dilation)
    dweight = empty((dy.shape[1], x.shape[1] // groups, *kernel_size), x.dtype)
    outputs = dy.size // dy.shape[1]
    arguments = flat(dy), flat(x), *_groups(x, dy, groups), *images_plan(x, dy), dweight, outputs
    launch(_weight_gradient(real_of(x), window), dweight.size, THREADS, *arguments)
    return dweight


def _window(kernel_size: Pair, stride: Pair, pads: Pads, dilation: Pair) -> Window:
    (top, _), (left, _) = pads
    return Window(*kernel_size, *stride, *dilation, top, left)


def _groups(x: Batch, y: Batch, groups: int) -> tuple[int, int, int]:
    """(groups, channels of a group, filters of a group)."""
    return groups, x.shape[1] // groups, y.shape[1] // groups


# Kernels.


@lru_cache
def _forward(real: Any, window: Window) -> Kernel:
    kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, top, left = window

    def kernel(
        x: Array,
        weight: Array,
        bias: Array,
        groups: int,
        channels: int,
        filters: int,
        table: Array,
        n_images: int,
        y: Array,
        size: int,
    ) -> None:
        number = own_number()
        if number < size:
            at, plane_number, p, q = cell_of(number, table, Y, groups * filters, n_images)
            height, width = table[np.uint64(at + X + HEIGHT)], table[np.uint64(at + X + WIDTH)]
            f = plane_number % (groups * filters)
            first = plane_number // filters * channels  # of the channels that this filter sees
            total = bias[np.uint64(f)]
            for c in range(channels):
                plane, _ = plane_of(first + c, table, at + X, groups * channels)
                for i in range(kernel_h):
                    r = p * stride_h + i * dilation_h - top
                    if r >= 0 and r < height:
                        for j in range(kernel_w):
                            s = q * stride_w + j * dilation_w - left
                            if s >= 0 and s < width:
                                tap = ((f * channels + c) * kernel_h + i) * kernel_w + j
                                total += weight[np.uint64(tap)] * x[np.uint64(plane + r * width + s)]
            y[np.uint64(number)] = total

    return kernel


@lru_cache
def _input_gradient(real: Any, window: Window) -> Kernel:
    """dx = the sum of weight * dy over the filters of the group and the outputs that saw the pixel."""
    kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, top, left = window
    zero = real(0)

    def kernel(
        dy: Array,
        weight: Array,
        groups: int,
        channels: int,
        filters: int,
        table: Array,
        n_images: int,
        dx: Array,
        size: int,
    ) -> None:
        number = own_number()
        if number < size:
            at, plane_number, r, s = cell_of(number, table, X, groups * channels, n_images)
            out_h, out_w = table[np.uint64(at + Y + HEIGHT)], table[np.uint64(at + Y + WIDTH)]
            group, c = plane_number // channels, plane_number % channels
            total = zero
            for k in range(filters):
                plane, _ = plane_of(group * filters + k, table, at + Y, groups * filters)
                f = group % groups * filters + k
                for i in range(kernel_h):
                    above = r + top - i * dilation_h
                    p = above // stride_h
                    if above >= 0 and p * stride_h == above and p < out_h:
                        for j in range(kernel_w):
                            before = s + left - j * dilation_w
                            q = before // stride_w
                            if before >= 0 and q * stride_w == before and q < out_w:
                                tap = ((f * channels + c) * kernel_h + i) * kernel_w + j
                                total += weight[np.uint64(tap)] * dy[np.uint64(plane + p * out_w + q)]
            dx[np.uint64(number)] = total

    return kernel


@lru_cache
def _weight_gradient(real: Any, window: Window) -> Kernel:
    """dweight, by a block for each: every thread takes every THREADS-th output of the filter."""
    kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, top, left = window
    zero = real(0)

    def kernel(
        dy: Array,
        x: Array,
        groups: int,
        channels: int,
        filters: int,
        table: Array,
        n_images: int,
        dweight: Array,
        outputs: int,
    ) -> None:
        sums = cuda.shared.array(THREADS, real)
        thread = cuda.threadIdx.x
        own = np.int64(cuda.blockIdx.x)
        filter_and_channel = own // (kernel_h * kernel_w)
        i, j = own // kernel_w % kernel_h, own % kernel_w
        f, c = filter_and_channel // channels, filter_and_channel % channels
        seen = f // filters * channels + c
        total = zero
        for number in range(thread, outputs, THREADS):
            # As if images had one filter; those of an array are then planes of one image.
            at, image, p, q = cell_of(number, table, Y, 1, n_images)
            r, s = p * stride_h + i * dilation_h - top, q * stride_w + j * dilation_w - left
            plane, width = plane_of(image * groups * channels + seen, table, at + X, groups * channels)
            if r >= 0 and r < table[np.uint64(at + X + HEIGHT)] and s >= 0 and s < width:
                of_outputs, out_w = plane_of(image * groups * filters + f, table, at + Y, groups * filters)
                total += dy[np.uint64(of_outputs + p * out_w + q)] * x[np.uint64(plane + r * width + s)]
        sums[thread] = total
        sum_over_block(sums, thread)
        if thread == 0:
            dweight[np.uint64(own)] = sums[0]

    return kernel
