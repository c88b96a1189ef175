"""Convolution as a product of matrices that are never written down; the kernels are in `convolution`.

    y[n, f, p, q] = bias[f] + sum over c, i, j of  weight[f, c, i, j] * x[n, c, p * sh + i - ph, q * sw + j - pw]

    forward            weight (F, taps)  times  what each tap sees (taps, pixels of y)          taps (c, i, j)
    input gradient     weight (C, taps)  times  what each tap sends back (taps, pixels of x)    taps (f, i, j)
    weight gradient    dy (F, pixels of y)  times  what each tap sees (pixels of y, taps)

The input gradient is turned round: no output adds to its window's pixels, which would have to be atomic, but each pixel
collects from the outputs that saw it. With a stride most taps of a pixel have no output, and are looked at in vain.
They add weight * 0, so that a weight that is not finite makes these pixels of dx NaN, where the reference adds nothing.
Cost: N * F * C * KH * KW * OH * OW multiply-adds each, the input gradient sh * sw times as many.
"""

import numpy as np

from minicnn.backends.cuda.arrays import guarded
from minicnn.backends.cuda.batches import empty_batch, flat, sizes_table
from minicnn.backends.cuda.convolution import passes
from minicnn.backends.cuda.convolution.sides import Sink, Source
from minicnn.backends.cuda.moments import channel_sums
from minicnn.geometry import output_size
from minicnn.images import Batch, Images
from minicnn.plain import Array, Pair, Sizes


@guarded
def conv2d_forward(x: Batch, weight: Array, bias: Array | None, stride: Pair, padding: Pair) -> Batch:
    y = empty_batch(x, len(weight), output_sizes(sizes_table(x), weight.shape[2:], stride, padding), x.dtype)
    passes.forward(reading(x), weight, bias, writing(y), stride, padding)
    return y


@guarded
def conv2d_input_gradient(dy: Batch, weight: Array, input_size: Sizes, stride: Pair, padding: Pair) -> Batch:
    dx = empty_batch(dy, weight.shape[1], input_size, dy.dtype)
    passes.input_gradient(reading(dy), weight, writing(dx), stride, padding)
    return dx


@guarded
def conv2d_weight_gradient(dy: Batch, x: Batch, kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
    return passes.weight_gradient(reading(x), reading(dy), kernel_size, stride, padding, dy.dtype)


@guarded
def conv2d_bias_gradient(dy: Batch) -> Array:
    return channel_sums(dy)


def reading(batch: Array | Images) -> Source:
    """A batch as the source of a pass."""
    return Source(flat(batch), batch.shape[1], sizes_table(batch))


def writing(batch: Array | Images) -> Sink:
    """A batch as the sink of a pass."""
    return Sink(flat(batch), batch.shape[1], sizes_table(batch))


def output_sizes(sizes: Array, kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
    """(N, 2) of the output for images of `sizes` (N, 2)."""
    return output_size(sizes, np.array(kernel_size), np.array(stride), np.array(padding))
