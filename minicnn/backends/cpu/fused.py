"""Convolution, batchnorm and relu as one block: other sources and sinks for the kernels of `convolution`.

An activation is stored as the convolution's raw output y, channels last and filled up to whole vectors, with a few
numbers for each channel, the *coefficients*. With scale = weight / sqrt(var + eps) of batchnorm:

    forward     a = relu(z),  z = scale * (y - mean) + shift        by the source of the next convolution, as it reads y
    backward    g = da where z > 0, else 0                          by the sink of the next one's input gradient
                dy = scale * g - c1 - c2 * (y - mean)               by the source of this one's two gradients
                c1 = scale * mean(g),  c2 = scale * mean(g * (y - mean)) / (var + eps)

So a block costs, forward, one read and one write, and backward, a write and two reads of g and three reads of y. The
sums behind mean, var, c1 and c2 are taken by the sinks while a piece of at most 1024 pixels is in the cache, and the
pieces' sums are joined in float64 in the order of the pieces: the same bits for any number of threads.

The mean is float64, as in `batchnorm`, and y - mean must not lose it: coefficients hold the mean rounded to y's dtype,
and what was rounded off goes into `shift` and c1.

Who owns what: as in the kernels; a sink writes its window of the output and its own record of sums.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import get_num_threads

from minicnn.backends.contract import Activation
from minicnn.backends.cpu.convolution import tile, winograd
from minicnn.backends.cpu.convolution.launch import call, launch, unpack
from minicnn.backends.cpu.convolution.patches import (
    Image,
    Window,
    clear_outside,
    four,
    inside,
    lanes_up,
    nchw_sink,
    nchw_source,
    plane_source,
    sink_address,
    source_address,
)
from minicnn.backends.cpu.convolution.vectors import (
    LANES,
    fill,
    fma,
    load,
    relu,
    store,
    where_greater,
    where_positive,
)
from minicnn.backends.cpu.jit import serial
from minicnn.backends.cpu.memory import empty
from minicnn.geometry import output_size

MEAN, SCALE, SHIFT, C1, C2 = range(5)  # rows of the coefficients
STRIP = 1024  # pixels that are copied at a time where no convolution is involved


class Stored(NamedTuple):
    """An activation's y: raw (N, H, W, F up to whole vectors), coefficients (5, the same), and F."""

    raw: Any
    coefficients: Any
    filters: int

    @property
    def shape(self):
        n_images, height, width, _ = self.raw.shape
        return n_images, self.filters, height, width


class Gradient(NamedTuple):
    """g, or where it comes from a global maximum its peaks alone; and sums of g and g * (y - mean), (F,) float64."""

    g: Any
    peaks: Any
    sum_g: Any
    sum_g_distance: Any


class Reading(NamedTuple):
    """How to read something: a source with its arrays, the shape (N, C, H, W), and numbers from image to image."""

    source: Any
    arrays: tuple
    shape: tuple
    image: int


# The operations.


def fused_conv_forward(below, weight, bias, norm, stride, padding):
    """One block forward. Where `norm.mean` is None, mean and var are taken from the batch."""
    from_batch = norm.mean is None
    raw, records = _convolve(below, weight, bias, stride, padding, moments_sink if from_batch else store_sink)
    if from_batch:
        mean, var = _joined_moments(records[:, :, : len(weight)])
        norm = norm._replace(mean=mean, var=var)
    stored = Stored(raw, _coefficients(norm, raw), len(weight))
    return Activation(stored, norm, from_batch)


def fused_conv_predict(below, weight, bias, norm, stride, padding):
    """One block in evaluation: batchnorm is folded into the convolution, and only relu is left for the reader."""
    raw, _ = _convolve(below, *_folded(weight, bias, norm), stride, padding, store_sink)
    return Activation(Stored(raw, _relu_alone(raw), len(weight)), None, from_batch=False)


def fused_conv_predict_max(below, weight, bias, norm, stride, padding):
    """One block in evaluation, and the global maximum of its output, (N, F). The output itself is never stored."""
    _, maxima = _convolve(below, *_folded(weight, bias, norm), stride, padding, max_sink)
    n_images = len(_reading(below).arrays[0])
    return np.maximum(maxima.reshape(n_images, -1, maxima.shape[-1]).max(axis=1)[:, : len(weight)], 0)


def fused_output(activation):
    """The activation as an ordinary array, (N, F, OH, OW)."""
    stored = activation.y
    a = empty(stored.shape, stored.raw.dtype)
    _copy(_reading(activation), nchw_sink, four(a), a[0].size, stored.raw.dtype)
    return a


def fused_output_backward(da, activation):
    """g from the gradient of `fused_output`."""
    stored = activation.y
    g = empty(stored.raw.shape, da.dtype)
    reading = _reading(da)._replace(source=nchw_source)
    sums = np.empty((len(da) * _strips(da.shape), 2, g.shape[3]), da.dtype)
    _copy(reading, relu_gradient_sink, (g, stored.raw, stored.coefficients, sums), g[0].size, da.dtype)
    return Gradient(g, None, *_joined_sums(sums, activation))


def fused_max(activation):
    """The largest value of each channel, (N, F), and peaks (N, 3, F up to whole vectors): value, row and column."""
    stored = activation.y
    n_images, height, width, padded = stored.raw.shape
    peaks = np.empty((n_images, 3, padded), stored.raw.dtype)
    workers = min(n_images, get_num_threads())
    arrays, numbers = (stored.raw, stored.coefficients, peaks), (n_images, height, width, padded, workers)
    launch(max_kernel, arrays, numbers, 1, 1, workers, stored.raw.dtype)
    return peaks[:, 0, : stored.filters].copy(), peaks


def fused_max_backward(dy, peaks, activation):
    """g from the gradient of `fused_max`: dy at the peaks, if relu let them through, and 0 elsewhere."""
    stored = activation.y
    at_peaks = peaks.copy()
    at_peaks[:, 0, :] = 0
    at_peaks[:, 0, : stored.filters] = np.where(peaks[:, 0, : stored.filters] <= 0, 0, dy)
    n, channel = np.ogrid[: len(peaks), : peaks.shape[2]]
    distance = stored.raw[n, peaks[:, 1].astype(np.int64), peaks[:, 2].astype(np.int64), channel]
    distance = distance - stored.coefficients[MEAN]
    sums = np.stack([at_peaks[:, 0], at_peaks[:, 0] * distance], axis=1)
    return Gradient(None, at_peaks, *_joined_sums(sums, activation))


def fused_conv_backward(gradient, activation, below, weight, stride, padding, need_below):
    """One block backward: (dweight, dbias) of the convolution, (dweight, dbias) of batchnorm, and what is below's.

    The last is the gradient for the next call where `below` is an activation, dx where it is the images, and
    None unless asked for.
    """
    stored, norm, from_batch = activation
    dtype = weight.dtype
    inverse_var = 1 / (np.asarray(norm.var, np.float64) + norm.eps)
    scale = norm.weight * np.sqrt(inverse_var)
    d_norm_weight = (gradient.sum_g_distance * np.sqrt(inverse_var)).astype(dtype)
    d_norm_bias = gradient.sum_g.astype(dtype)
    if from_batch:
        count = stored.raw.size // stored.raw.shape[3]
        c1 = scale * gradient.sum_g / count
        c2 = scale * gradient.sum_g_distance * inverse_var / count
        dbias = np.zeros_like(d_norm_bias)  # batchnorm takes the mean out, and the bias with it
    else:
        c1 = c2 = np.zeros(stored.filters)
        dbias = (scale * gradient.sum_g).astype(dtype)

    coefficients = stored.coefficients.copy()
    rounded_off = norm.mean - coefficients[MEAN, : stored.filters].astype(np.float64)
    coefficients[C1, : stored.filters] = c1 - c2 * rounded_off
    coefficients[C2, : stored.filters] = c2
    if gradient.peaks is None:
        source, arrays = gradient_source, four(stored.raw, gradient.g, coefficients)
    else:
        source, arrays = peak_gradient_source, four(stored.raw, gradient.peaks, coefficients)
    dy = Reading(source, arrays, stored.shape, stored.raw[0].size)

    dweight = _weight_gradient(_reading(below), dy, weight.shape[2:], stride, padding, dtype)
    d_below = _input_gradient(dy, weight, below, stride, padding) if need_below else None
    return (dweight, dbias), (d_norm_weight, d_norm_bias), d_below


# Which rung convolves, and what it reads and writes.


def _reading(below):
    """How to read `below`: images (N, C, H, W) as they are, an activation through batchnorm and relu."""
    if not isinstance(below, Activation):
        return Reading(plane_source, four(below), below.shape, below[0].size)
    stored = below.y
    return Reading(activation_source, four(stored.raw, stored.coefficients), stored.shape, stored.raw[0].size)


def _lanes_reading(reading):
    """Winograd's kernels read lanes of channels, never planes."""
    return reading._replace(source=nchw_source) if reading.source is plane_source else reading


def _convolve(below, weight, bias, stride, padding, sink):
    """(raw output, records) of a convolution whose sink is `sink`; either is None where the sink has no use for it."""
    x = _reading(below)
    (n_images, channels, *in_size), dtype = x.shape, weight.dtype
    filters, kernel_size, padded = len(weight), weight.shape[2:], lanes_up(len(weight))
    out_size = tuple(map(output_size, in_size, kernel_size, stride, padding))
    y_shape = (n_images, filters, *out_size)

    by_winograd = winograd.serves(channels, kernel_size, stride, padding)
    if by_winograd:
        pieces = winograd.pieces(y_shape, channels, dtype)
    else:
        plan = tile.plan_forward(kernel_size, stride, padding, channels, out_size, dtype.itemsize)
        pieces = n_images * plan.blocks[0] * plan.blocks[1]

    raw, records = None, None
    if sink is max_sink:
        records = np.empty((pieces, padded), dtype)
        arrays, y_image = four(records), 0
    else:
        raw = empty((n_images, *out_size, padded), dtype)
        records = np.empty((pieces, 4, padded), dtype) if sink is moments_sink else None
        arrays, y_image = four(raw, records), raw[0].size

    if by_winograd:
        x = _lanes_reading(x)
        U, bias = winograd.transformed(weight, False), winograd.padded_bias(bias, filters, dtype)
        shapes = (x.shape, x.image, y_shape, y_image)
        winograd.run_forward(x.source, x.arrays, sink, arrays, U, bias, *shapes, padding[0])
    else:
        shapes = (x.shape, x.image, y_shape, y_image)
        tile.run(plan, False, x.source, x.arrays, sink, arrays, weight, bias, *shapes)
    return raw, records


def _weight_gradient(x, dy, kernel_size, stride, padding, dtype):
    if winograd.serves(x.shape[1], kernel_size, stride, padding):
        x = _lanes_reading(x)
        arrays = (x.source, x.arrays, dy.source, dy.arrays)
        return winograd.run_weight_gradient(*arrays, x.shape, x.image, dy.shape, dy.image, padding[0], dtype)
    arrays = (x.source, x.arrays, dy.source, dy.arrays)
    shapes = (x.shape, x.image, dy.shape, dy.image)
    return tile.run_weight_gradient(*arrays, *shapes, kernel_size, stride, padding, dtype)


def _input_gradient(dy, weight, below, stride, padding):
    """What is below's: a `Gradient` where that is an activation, dx (N, C, H, W) where it is the images."""
    dtype, kernel_size = weight.dtype, weight.shape[2:]
    x_shape = _reading(below).shape
    by_winograd = winograd.serves(dy.shape[1], kernel_size, stride, padding)
    if by_winograd:
        pieces = winograd.pieces(x_shape, dy.shape[1], dtype)
    else:
        plan = tile.plan_input_gradient(kernel_size, stride, padding, dy.shape[1], x_shape[2:], dtype.itemsize)
        pieces = x_shape[0] * plan.blocks[0] * plan.blocks[1]

    if isinstance(below, Activation):
        g = empty(below.y.raw.shape, dtype)
        sums = np.empty((pieces, 2, g.shape[3]), dtype)
        sink, arrays = relu_gradient_sink, (g, below.y.raw, below.y.coefficients, sums)
    else:
        g = empty(x_shape, dtype)
        sink, arrays = nchw_sink, four(g)

    shapes = (dy.shape, dy.image, x_shape, g[0].size)
    if by_winograd:
        U, no_bias = winograd.transformed(weight, True), winograd.padded_bias(None, x_shape[1], dtype)
        winograd.run_forward(dy.source, dy.arrays, sink, arrays, U, no_bias, *shapes, 2 - padding[0])
    else:
        tile.run(plan, True, dy.source, dy.arrays, sink, arrays, weight, None, *shapes)
    return Gradient(g, None, *_joined_sums(sums, below)) if isinstance(below, Activation) else g


# The numbers of the channels, in float64.


def _joined_moments(records):
    """mean and var (F,) from the pieces' moments (Chan et al., 1979).

    records (pieces, 4, F): about the piece's mean m, m itself, sum of (y - m), which is its rounding error, sum of
    (y - m)², and the number of pixels.
    """
    about, distances, squares, counts = records.astype(np.float64).transpose(1, 0, 2)
    count = counts.sum(axis=0)
    mean = (distances + counts * about).sum(axis=0) / count
    offset = about + distances / counts - mean
    return mean, (squares - distances**2 / counts + counts * offset**2).sum(axis=0) / count


def _joined_sums(sums, activation):
    """Sums of g and g * (y - mean), (F,), from those of the pieces (pieces, 2, F up to whole vectors)."""
    stored, norm, _ = activation
    of_g, of_g_distance = sums[:, :, : stored.filters].sum(axis=0, dtype=np.float64)
    rounded_off = norm.mean - stored.coefficients[MEAN, : stored.filters].astype(np.float64)
    return of_g, of_g_distance - rounded_off * of_g


def _coefficients(norm, raw):
    """(5, F up to whole vectors): mean, scale and shift, and 0 for c1 and c2, which backward fills in."""
    filters = len(norm.weight)
    coefficients = np.zeros((5, raw.shape[3]), raw.dtype)
    scale = norm.weight / np.sqrt(np.asarray(norm.var, np.float64) + norm.eps)
    coefficients[MEAN, :filters] = norm.mean
    rounded_off = norm.mean - coefficients[MEAN, :filters].astype(np.float64)
    coefficients[SCALE, :filters] = scale
    coefficients[SHIFT, :filters] = norm.bias - scale * rounded_off
    return coefficients


def _relu_alone(raw):
    """The coefficients of an activation that needs no more than relu."""
    coefficients = np.zeros((5, raw.shape[3]), raw.dtype)
    coefficients[SCALE] = 1
    return coefficients


def _folded(weight, bias, norm):
    """Weight and bias of the one convolution that does what convolution and batchnorm do: W' = scale * W."""
    scale = (norm.weight / np.sqrt(norm.var + norm.eps)).astype(weight.dtype)
    shift = norm.bias - scale * norm.mean
    return weight * scale[:, None, None, None], shift if bias is None else scale * bias + shift


# Sources: what a convolution reads.


@serial
def activation_source(arrays, image, window, patch):
    """patch = relu(scale * (y - mean) + shift). arrays: y, coefficients."""
    y, coefficients = arrays[0], arrays[1]
    pitch = lanes_up(image.channels)
    c = window.channel
    mean, scale = load(coefficients, MEAN * pitch + c), load(coefficients, SCALE * pitch + c)
    shift = load(coefficients, SHIFT * pitch + c)
    low, high = inside(image, window)
    for r in range(window.rows):
        if clear_outside(image, window, r, low, high, LANES, patch):
            patch_at = r * window.columns * LANES
            y_at = image.start + ((window.row + r) * image.width + window.column) * pitch + c
            for s in range(low, high):
                z = fma(load(y, y_at + s * pitch) - mean, scale, shift)
                store(patch, patch_at + s * LANES, relu(z))


@serial
def gradient_source(arrays, image, window, patch):
    """patch = dy = scale * g - c1 - c2 * (y - mean). arrays: y, g, coefficients."""
    y, g, coefficients = arrays[0], arrays[1], arrays[2]
    pitch = lanes_up(image.channels)
    c = window.channel
    mean, scale = load(coefficients, MEAN * pitch + c), load(coefficients, SCALE * pitch + c)
    zero = fill(coefficients, 0.0)
    minus_c1, minus_c2 = zero - load(coefficients, C1 * pitch + c), zero - load(coefficients, C2 * pitch + c)
    low, high = inside(image, window)
    for r in range(window.rows):
        if clear_outside(image, window, r, low, high, LANES, patch):
            patch_at = r * window.columns * LANES
            y_at = image.start + ((window.row + r) * image.width + window.column) * pitch + c
            for s in range(low, high):
                through_statistics = fma(load(y, y_at + s * pitch) - mean, minus_c2, minus_c1)
                store(patch, patch_at + s * LANES, fma(load(g, y_at + s * pitch), scale, through_statistics))


@serial
def peak_gradient_source(arrays, image, window, patch):
    """`gradient_source` where g is 0 but for one pixel of each channel. arrays: y, peaks (N, 3, F), coefficients."""
    y, peaks, coefficients = arrays[0], arrays[1], arrays[2]
    pitch = lanes_up(image.channels)
    c = window.channel
    mean = load(coefficients, MEAN * pitch + c)
    zero = fill(coefficients, 0.0)
    minus_c1, minus_c2 = zero - load(coefficients, C1 * pitch + c), zero - load(coefficients, C2 * pitch + c)
    low, high = inside(image, window)
    for r in range(window.rows):
        if clear_outside(image, window, r, low, high, LANES, patch):
            patch_at = r * window.columns * LANES
            y_at = image.start + ((window.row + r) * image.width + window.column) * pitch + c
            for s in range(low, high):
                store(patch, patch_at + s * LANES, fma(load(y, y_at + s * pitch) - mean, minus_c2, minus_c1))
    for lane in range(LANES):
        peak = image.number * 3 * pitch + c + lane
        r, s = int(peaks[peak + pitch]) - window.row, int(peaks[peak + 2 * pitch]) - window.column
        if 0 <= r < window.rows and 0 <= s < window.columns:
            patch[(r * window.columns + s) * LANES + lane] += coefficients[SCALE * pitch + c + lane] * peaks[peak]


# Sinks: what becomes of what a convolution made.


@serial
def store_sink(arrays, image, window, pitch, record, patch):
    """y = patch. arrays: y."""
    y = arrays[0]
    padded = lanes_up(image.channels)
    for p in range(window.rows):
        y_at = image.start + ((window.row + p) * image.width + window.column) * padded + window.channel
        for q in range(window.columns):
            store(y, y_at + q * padded, load(patch, (p * pitch + q) * LANES))


@serial
def moments_sink(arrays, image, window, pitch, record, patch):
    """y = patch, and the piece's moments about its own mean, see `_joined_moments`. arrays: y, records.

    Two passes over the patch, which is in the cache: a variance from sums about anything but the mean loses digits.
    """
    y, records = arrays[0], arrays[1]
    padded = lanes_up(image.channels)
    first, total = load(patch, 0), fill(y, 0.0)
    for p in range(window.rows):
        y_at = image.start + ((window.row + p) * image.width + window.column) * padded + window.channel
        for q in range(window.columns):
            value = load(patch, (p * pitch + q) * LANES)
            store(y, y_at + q * padded, value)
            total = total + (value - first)
    count = window.rows * window.columns
    mean = fma(total, fill(y, 1 / count), first)

    distances, squares = fill(y, 0.0), fill(y, 0.0)
    for p in range(window.rows):
        for q in range(window.columns):
            distance = load(patch, (p * pitch + q) * LANES) - mean
            distances = distances + distance
            squares = fma(distance, distance, squares)
    at = record * 4 * padded + window.channel
    store(records, at, mean)
    store(records, at + padded, distances)
    store(records, at + 2 * padded, squares)
    store(records, at + 3 * padded, fill(y, count))


@serial
def relu_gradient_sink(arrays, image, window, pitch, record, patch):
    """g = patch where z > 0, else 0, and the piece's sums of g and g * (y - mean).

    arrays: g, y, coefficients, sums (pieces, 2, F); y and coefficients of the activation whose gradient this is.
    """
    g, y, coefficients, sums = arrays
    padded = lanes_up(image.channels)
    c = window.channel
    mean, scale = load(coefficients, MEAN * padded + c), load(coefficients, SCALE * padded + c)
    shift = load(coefficients, SHIFT * padded + c)
    of_g = fill(g, 0.0)
    of_g_distance = of_g
    for p in range(window.rows):
        y_at = image.start + ((window.row + p) * image.width + window.column) * padded + c
        for q in range(window.columns):
            distance = load(y, y_at + q * padded) - mean
            value = where_positive(fma(distance, scale, shift), load(patch, (p * pitch + q) * LANES))
            store(g, y_at + q * padded, value)
            of_g = of_g + value
            of_g_distance = fma(value, distance, of_g_distance)
    store(sums, record * 2 * padded + c, of_g)
    store(sums, (record * 2 + 1) * padded + c, of_g_distance)


@serial
def max_sink(arrays, image, window, pitch, record, patch):
    """The piece's maximum; nothing else is stored. arrays: maxima (pieces, F)."""
    maxima = arrays[0]
    padded = lanes_up(image.channels)
    best = load(patch, 0)
    for p in range(window.rows):
        for q in range(window.columns):
            value = load(patch, (p * pitch + q) * LANES)
            best = where_greater(value, best, value, best)
    store(maxima, record * padded + window.channel, best)


# Passes without a convolution.


@serial
def max_kernel(arrays, numbers, table, scratch, worker):
    """Where each channel of an image is largest, the first maximum or the last NaN, as `max_pool2d_forward` has it.

    Worker i owns images i, i + workers, … arrays: y, coefficients, peaks; numbers: N, H, W, F, workers.
    """
    y, coefficients, peaks = arrays[0], arrays[1], arrays[2]
    N, H, W, F, workers = unpack(numbers, 5)
    one = fill(y, 1.0)
    for n in range(worker, N, workers):
        for c in range(0, F, LANES):
            mean, scale = load(coefficients, MEAN * F + c), load(coefficients, SCALE * F + c)
            shift = load(coefficients, SHIFT * F + c)
            best = relu(fma(load(y, n * H * W * F + c) - mean, scale, shift))
            row = one - one
            best_row, best_column = row, row
            for r in range(H):
                column = one - one
                at = (n * H + r) * W * F + c
                for s in range(W):
                    a = relu(fma(load(y, at + s * F) - mean, scale, shift))
                    best_row = where_greater(a, best, row, best_row)
                    best_column = where_greater(a, best, column, best_column)
                    best = where_greater(a, best, a, best)
                    column = column + one
                row = row + one
            store(peaks, n * 3 * F + c, best)
            store(peaks, (n * 3 + 1) * F + c, best_row)
            store(peaks, (n * 3 + 2) * F + c, best_column)


def _strips(shape):
    """How many strips of rows an image is cut into by `_copy`."""
    return -(-shape[2] // max(1, STRIP // shape[3]))


def _copy(reading, sink, sink_arrays, y_image, dtype):
    """Read through a source and write through a sink, strip by strip, the shape staying as it is."""
    n_images, _, height, width = reading.shape
    strips = _strips(reading.shape)
    workers = min(n_images * strips, get_num_threads())
    addresses = source_address(reading.source, dtype), sink_address(sink, dtype)
    numbers = (*addresses, *reading.shape, reading.image, y_image, strips, workers)
    rows = -(-height // strips)
    launch(copy_kernel, (*reading.arrays, *sink_arrays), numbers, 1, rows * width * LANES, workers, dtype)


@serial
def copy_kernel(arrays, numbers, table, scratch, worker):
    """Worker i owns the strips from i * strips // workers on. arrays: 4 of the source, 4 of the sink."""
    source, sink, N, C, H, W, x_image, y_image, strips, workers = unpack(numbers, 10)
    rows = (H + strips - 1) // strips
    for item in range(worker * N * strips // workers, (worker + 1) * N * strips // workers):
        n, strip = item // strips, item % strips
        first = strip * rows
        for c in range(0, C, LANES):
            window = Window(c, first, 0, max(0, min(rows, H - first)), W)
            call(source, (arrays[0:4], Image(n, n * x_image, C, H, W), window, scratch))
            call(sink, (arrays[4:8], Image(n, n * y_image, C, H, W), window, W, item, scratch))
