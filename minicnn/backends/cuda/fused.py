"""Convolution, batchnorm and relu as one block: what a convolution does as it reads and as it writes.

An activation is stored as the convolution's raw output y, with five numbers for each channel, the *coefficients*. With
scale = weight / sqrt(var + eps) of batchnorm:

    forward     a = relu(z),  z = scale * (y - mean) + shift         by the next convolution, as it reads y
    backward    g = da where z > 0, else 0                           by the next one's input gradient, as it writes
                dy = scale * g - c1 - c2 * (y - mean)                by this one's two gradients, as they read g
                c1 = scale * mean(g),  c2 = scale * mean(g * (y - mean)) / (var + eps)

The sums behind mean, var, c1 and c2 are taken while a tile is still in registers (`products`, the sinks MOMENTS and
MASKED), and the tiles' sums are joined in the order of the tiles, by `moments`: the same bits in every run.

Who owns what in the kernels here: a thread its number, its channel, or where a plane's maximum is sought, a block its
plane. Cost: a pass over memory, or a few numbers for each channel.
"""

from functools import lru_cache
from math import sqrt

import numpy as np

from minicnn.backends.contract import C1, C2, MEAN, SCALE, SHIFT, Activation, Gradient, Stored
from minicnn.backends.cuda import passes, products
from minicnn.backends.cuda.arrays import guarded
from minicnn.backends.cuda.batches import flat, image_table
from minicnn.backends.cuda.coefficients import ROWS, activated, coefficient, distance_and_z
from minicnn.backends.cuda.conv import output_sizes, reading
from minicnn.backends.cuda.elementwise import beats, blocks_for, own_number, sum_over_block, winner_of_block
from minicnn.backends.cuda.moments import added, merged_moments
from minicnn.backends.cuda.runtime.device import cuda, inlined
from minicnn.backends.cuda.runtime.device_array import constant, empty, from_host, launch
from minicnn.backends.cuda.tiles import MOST_BLOCKS, THREADS
from minicnn.images import Images

# The operations.


@guarded
def fused_conv_forward(below, weight, bias, norm, stride, padding):
    """One block forward. Where `norm.mean` is None, mean and var are taken from the batch."""
    from_batch = norm.mean is None
    stored, records = _convolve(
        below, weight, bias, stride, padding, products.MOMENTS if from_batch else products.PLAIN
    )
    if from_batch:
        norm = norm._replace(**dict(zip(("mean", "var"), merged_moments(records), strict=True)))
    return Activation(stored._replace(coefficients=_coefficients(norm)), norm, from_batch)


@guarded
def fused_conv_predict(below, weight, bias, norm, stride, padding):
    """One block in evaluation: batchnorm is folded into the convolution, and only relu is left for the reader."""
    stored, _ = _convolve(below, *_folded(weight, bias, norm), stride, padding, products.PLAIN)
    return Activation(stored._replace(coefficients=_relu_alone(len(weight), weight.dtype)), None, from_batch=False)


@guarded
def fused_conv_predict_max(below, weight, bias, norm, stride, padding):
    """One block in evaluation, and the global maximum of its output, (N, F)."""
    y, _ = fused_max(fused_conv_predict(below, weight, bias, norm, stride, padding))
    return y


@guarded
def fused_output(activation):
    """The activation as an ordinary batch, (N, F, OH, OW) or `Images`."""
    stored = activation.y
    y = empty(stored.raw.size, stored.raw.dtype)
    images = _images(stored)
    launch(
        _activate(y.dtype.type),
        _planes(stored),
        THREADS,
        stored.raw,
        stored.coefficients,
        images,
        y,
        stored.filters,
    )
    batch = Images.of(y, stored.filters, stored.sizes)
    return batch if stored.mixed else batch.as_array()


@guarded
def fused_output_backward(da, activation):
    """g from the gradient of `fused_output`."""
    stored = activation.y
    blocks = _planes(stored)
    g = empty(stored.raw.size, stored.raw.dtype)
    records = empty((len(stored.sizes) * blocks[1], stored.filters, 2), g.dtype)
    launch(
        _mask(g.dtype.type),
        blocks,
        THREADS,
        flat(da),
        stored.raw,
        stored.coefficients,
        _images(stored),
        g,
        records,
        stored.filters,
    )
    return Gradient(g, *added(records))


@guarded
def fused_max(activation):
    """The largest value of each channel, (N, F), and the pixel of each image where it is, (N, F) int32."""
    stored = activation.y
    y = empty((len(stored.sizes), stored.filters), stored.raw.dtype)
    peaks = empty(y.shape, np.int32)
    launch(
        _peak(y.dtype.type),
        y.size,
        THREADS,
        stored.raw,
        stored.coefficients,
        _images(stored),
        y,
        peaks,
        stored.filters,
    )
    return y, peaks


@guarded
def fused_max_backward(dy, peaks, activation):
    """g from the gradient of `fused_max`: dy at the peaks, if relu let them through, and 0 elsewhere."""
    stored = activation.y
    g = empty(stored.raw.size, dy.dtype)
    records = empty((len(stored.sizes), stored.filters, 2), g.dtype)
    launch(
        _peak_gradient(g.dtype.type),
        _planes(stored),
        THREADS,
        dy,
        peaks,
        stored.raw,
        stored.coefficients,
        _images(stored),
        g,
        records,
        stored.filters,
    )
    return Gradient(g, *added(records))


@guarded
def fused_conv_backward(gradient, activation, below, weight, stride, padding, need_below):
    """One block backward: (dweight, dbias) of the convolution, (dweight, dbias) of batchnorm, and what is below's.

    The last is the gradient for the next call where `below` is an activation, dx where it is the images, and
    None unless asked for.
    """
    stored, norm, from_batch = activation
    dtype, n_channels = weight.dtype, weight.shape[1]
    coefficients, dbias, d_norm_weight = _backward_numbers(gradient, stored, norm, from_batch)
    dy = passes.Source(gradient.g, stored.filters, stored.sizes, products.GRADIENT, stored.raw, coefficients)
    x = _reading(below)
    dweight = passes.weight_gradient(x, dy, weight.shape[2:], stride, padding, dtype)
    gradient_below = None
    if need_below:
        dx = empty(int(n_channels * x.sizes.prod(axis=1).sum()), dtype)
        if isinstance(below, Activation):
            sink = passes.Sink(dx, n_channels, x.sizes, products.MASKED, x.x, x.coefficients)
            records = passes.input_gradient(dy, weight, sink, stride, padding)
            gradient_below = Gradient(dx, *added(records.pairs))
        else:
            passes.input_gradient(dy, weight, passes.Sink(dx, n_channels, x.sizes), stride, padding)
            images = Images.of(dx, n_channels, x.sizes)
            gradient_below = images if isinstance(below, Images) else images.as_array()
    return (dweight, dbias), (d_norm_weight, gradient.sum_g), gradient_below


# What they are made of.


def _convolve(below, weight, bias, stride, padding, kind):
    source = _reading(below)
    sizes = output_sizes(source.sizes, weight.shape[2:], stride, padding)
    raw = empty(int(len(weight) * sizes.prod(axis=1).sum()), weight.dtype)
    records = passes.forward(source, weight, bias, passes.Sink(raw, len(weight), sizes, kind), stride, padding)
    mixed = below.y.mixed if isinstance(below, Activation) else isinstance(below, Images)
    return Stored(raw, None, len(weight), sizes, mixed), records


def _reading(below):
    """An activation, or images, as the source of a pass."""
    if not isinstance(below, Activation):
        return reading(below)
    stored = below.y
    return passes.Source(
        stored.raw, stored.filters, stored.sizes, products.ACTIVATION, coefficients=stored.coefficients
    )


def _images(stored):
    return constant(image_table(stored.sizes))


def _planes(stored):
    """Blocks (N * F, some for each plane)."""
    largest = int(stored.sizes.prod(axis=1).max())
    return len(stored.sizes) * stored.filters, min(blocks_for(largest), MOST_BLOCKS)


def _coefficients(norm):
    n_channels = norm.weight.size
    coefficients = empty((ROWS, n_channels), norm.weight.dtype)
    real = norm.weight.dtype.type
    arrays = norm.weight, norm.bias, norm.mean, norm.var, coefficients
    launch(_make_coefficients(real), blocks_for(n_channels), THREADS, *arrays, real(norm.eps), n_channels)
    return coefficients


@lru_cache
def _relu_alone(n_channels, dtype):
    """Coefficients that leave y as it is: mean 0, scale 1, shift 0."""
    coefficients = np.zeros((ROWS, n_channels), dtype)
    coefficients[SCALE] = 1
    return from_host(coefficients)


def _folded(weight, bias, norm):
    """Weight and bias of the one convolution that does what convolution and batchnorm do: W' = scale * W."""
    real, n_filters = weight.dtype.type, len(weight)
    taps = weight.size // n_filters
    new_weight, new_bias = empty(weight.shape, weight.dtype), empty(n_filters, weight.dtype)
    arrays = weight, passes.zeros(n_filters, weight.dtype) if bias is None else bias
    arrays += norm.weight, norm.bias, norm.mean, norm.var, new_weight, new_bias
    launch(_fold(real), blocks_for(weight.size), THREADS, *arrays, real(norm.eps), taps, weight.size)
    return new_weight, new_bias


def _backward_numbers(gradient, stored, norm, from_batch):
    """Coefficients with c1 and c2, the gradient of the convolution's bias, and that of batchnorm's weight."""
    real, n_channels = stored.raw.dtype.type, stored.filters
    coefficients = empty((ROWS, n_channels), stored.raw.dtype)
    dbias, dweight = empty(n_channels, stored.raw.dtype), empty(n_channels, stored.raw.dtype)
    arrays = gradient.sum_g, gradient.sum_g_distance, norm.var, stored.coefficients, coefficients, dbias, dweight
    one_over_count = real(n_channels / stored.raw.size)
    body = _make_backward_numbers(real, from_batch)
    launch(body, blocks_for(n_channels), THREADS, *arrays, real(norm.eps), one_over_count, n_channels)
    return coefficients, dbias, dweight


# Kernels. Where there is a block for each plane, plane k is channel k % F of image k // F.


@lru_cache
def _make_coefficients(real):
    zero = real(0)

    def kernel(weight, bias, mean, var, coefficients, eps, n_channels):
        c = own_number()
        if c < n_channels:
            coefficients[np.uint64(MEAN * n_channels + c)] = mean[np.uint64(c)]
            coefficients[np.uint64(SCALE * n_channels + c)] = weight[np.uint64(c)] / sqrt(var[np.uint64(c)] + eps)
            coefficients[np.uint64(SHIFT * n_channels + c)] = bias[np.uint64(c)]
            coefficients[np.uint64(C1 * n_channels + c)] = zero
            coefficients[np.uint64(C2 * n_channels + c)] = zero

    return kernel


@lru_cache
def _make_backward_numbers(real, from_batch):
    """c1 and c2 are 0 where the statistics are constants. In a batch the bias of the convolution has gradient 0."""
    zero = real(0)

    def kernel(sum_g, sum_g_distance, var, old, coefficients, dbias, dweight, eps, one_over_count, n_channels):
        c = own_number()
        if c < n_channels:
            at = np.uint64(c)
            scale, spread = coefficient(old, SCALE, c, n_channels), var[at] + eps
            dweight[at] = sum_g_distance[at] / sqrt(spread)
            coefficients[np.uint64(MEAN * n_channels + c)] = coefficient(old, MEAN, c, n_channels)
            coefficients[np.uint64(SCALE * n_channels + c)] = scale
            coefficients[np.uint64(SHIFT * n_channels + c)] = coefficient(old, SHIFT, c, n_channels)
            c1, c2 = zero, zero
            if from_batch:
                c1 = scale * sum_g[at] * one_over_count
                c2 = scale * sum_g_distance[at] * one_over_count / spread
            coefficients[np.uint64(C1 * n_channels + c)] = c1
            coefficients[np.uint64(C2 * n_channels + c)] = c2
            dbias[at] = zero if from_batch else scale * sum_g[at]

    return kernel


@lru_cache
def _fold(real):
    def kernel(weight, bias, norm_weight, norm_bias, mean, var, new_weight, new_bias, eps, taps, size):
        i = own_number()
        if i < size:
            f = np.uint64(i // taps)
            scale = norm_weight[f] / sqrt(var[f] + eps)
            new_weight[np.uint64(i)] = scale * weight[np.uint64(i)]
            if i % taps == 0:
                new_bias[f] = scale * (bias[f] - mean[f]) + norm_bias[f]

    return kernel


@lru_cache
def _activate(real):
    """y = relu(z). Each thread owns every so many numbers of its plane."""
    zero = real(0)

    def kernel(raw, coefficients, images, y, n_channels):
        c, area, start = plane_of(cuda.blockIdx.x, images, n_channels)
        for pixel in range(own_row(), area, cuda.gridDim.y * THREADS):
            at = np.uint64(start + pixel)
            y[at] = activated(raw[at], coefficients, c, n_channels, zero)

    return kernel


@lru_cache
def _mask(real):
    """g = da where z > 0, else 0; and a record for each block of its sums of g and g * (y - mean)."""
    zero = real(0)

    def kernel(da, raw, coefficients, images, g, records, n_channels):
        sums = cuda.shared.array(THREADS, real)
        sums_2 = cuda.shared.array(THREADS, real)
        thread = cuda.threadIdx.x
        c, area, start = plane_of(cuda.blockIdx.x, images, n_channels)
        total, total_2 = zero, zero
        for pixel in range(own_row(), area, cuda.gridDim.y * THREADS):
            at = np.uint64(start + pixel)
            distance, z = distance_and_z(raw[at], coefficients, c, n_channels)
            number = zero if z <= zero else da[at]
            g[at] = number
            total += number
            total_2 += number * distance
        sums[thread], sums_2[thread] = total, total_2
        sum_over_block(sums, thread)
        sum_over_block(sums_2, thread)
        if thread == 0:
            record = cuda.blockIdx.x // n_channels * cuda.gridDim.y + cuda.blockIdx.y
            records[np.uint64((record * n_channels + c) * 2)] = sums[0]
            records[np.uint64((record * n_channels + c) * 2 + 1)] = sums_2[0]

    return kernel


@lru_cache
def _peak(real):
    """A block finds the largest relu(z) of its plane: first each thread of its own pixels, then by halving.

    As in `pooling` the first of equals wins, and the last NaN over everything.
    """
    zero = real(0)

    def kernel(raw, coefficients, images, y, peaks, n_channels):
        values = cuda.shared.array(THREADS, real)
        places = cuda.shared.array(THREADS, np.int32)
        thread, plane = cuda.threadIdx.x, cuda.blockIdx.x
        c, area, start = plane_of(plane, images, n_channels)
        best, place = zero, area  # no a is below 0, and every pixel is before this place
        for pixel in range(thread, area, THREADS):
            a = activated(raw[np.uint64(start + pixel)], coefficients, c, n_channels, zero)
            if beats(a, pixel, best, place):
                best, place = a, pixel
        values[thread], places[thread] = best, place
        winner_of_block(values, places, thread)
        if thread == 0:
            y[np.uint64(plane)], peaks[np.uint64(plane)] = values[0], places[0]

    return kernel


@lru_cache
def _peak_gradient(real):
    """g is dy at the peak, if z > 0 there, and 0 elsewhere. The record of a plane is written by the peak's thread."""
    zero = real(0)

    def kernel(dy, peaks, raw, coefficients, images, g, records, n_channels):
        plane = cuda.blockIdx.x
        c, area, start = plane_of(plane, images, n_channels)
        for pixel in range(own_row(), area, cuda.gridDim.y * THREADS):
            number = zero
            if pixel == peaks[np.uint64(plane)]:
                distance, z = distance_and_z(raw[np.uint64(start + pixel)], coefficients, c, n_channels)
                number = zero if z <= zero else dy[np.uint64(plane)]
                records[np.uint64(plane * 2)] = number
                records[np.uint64(plane * 2 + 1)] = number * distance
            g[np.uint64(start + pixel)] = number

    return kernel


@inlined
def plane_of(plane, images, n_channels):
    """Channel, area, and first number of a plane."""
    n = plane // n_channels
    area = images[np.uint64(n * 3)] * images[np.uint64(n * 3 + 1)]
    c = plane - n * n_channels
    return c, area, images[np.uint64(n * 3 + 2)] * n_channels + c * area


@inlined
def own_row():
    """The number along blockIdx.y that this thread begins with."""
    return cuda.blockIdx.y * THREADS + cuda.threadIdx.x
