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

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import get_num_threads

from minicnn.backends.contract import C1, C2, MEAN, SCALE, SHIFT, Activation, Gradient, Stored
from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.batches import empty_like
from minicnn.backends.cpu.conv import choose_algorithm, convolve_back, lanes_reading, output_sizes, planes_reading
from minicnn.backends.cpu.convolution import winograd
from minicnn.backends.cpu.convolution.patches import (
    Image,
    Window,
    clear_outside,
    four,
    lanes_up,
    nchw_sink,
    nchw_source,
    plane_source,
    sink_address,
    source_address,
)
from minicnn.backends.cpu.convolution.pieces import (
    Batch,
    cut,
    numbers_of,
    one_to_a_block,
    piece_number,
    pixels_before,
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
from minicnn.backends.cpu.runtime.jit import by_pointer, serial
from minicnn.backends.cpu.runtime.launch import call, launch, unpack
from minicnn.backends.cpu.runtime.memory import empty
from minicnn.images import Images

STRIP = 1024  # pixels that are copied at a time where no convolution is involved


# The operations.


@guarded
def fused_conv_forward(below, weight, bias, norm, stride, padding):
    """One block forward. Where `norm.mean` is None, mean and var are taken from the batch."""
    from_batch = norm.mean is None
    stored, records, _ = _convolve(below, weight, bias, stride, padding, moments_sink if from_batch else store_sink)
    if from_batch:
        mean, var = np.empty((2, len(weight)))
        _join_moments(records, mean, var)
        norm = norm._replace(mean=mean, var=var)
    return Activation(stored._replace(coefficients=_coefficients(norm, stored.raw)), norm, from_batch)


@guarded
def fused_conv_predict(below, weight, bias, norm, stride, padding):
    """One block in evaluation: batchnorm is folded into the convolution, and only relu is left for the reader."""
    stored, *_ = _convolve(below, *_folded(weight, bias, norm), stride, padding, store_sink)
    coefficients = _relu_alone(stored.raw.shape[1], stored.raw.dtype)
    return Activation(stored._replace(coefficients=coefficients), None, from_batch=False)


@guarded
def fused_conv_predict_max(below, weight, bias, norm, stride, padding):
    """One block in evaluation, and the global maximum of its output, (N, F). The output itself is never stored."""
    _, maxima, layout = _convolve(below, *_folded(weight, bias, norm), stride, padding, max_sink)
    return np.maximum(np.maximum.reduceat(maxima, layout.first_of_image)[:, : len(weight)], 0)


@guarded
def fused_output(activation):
    """The activation as an ordinary batch, (N, F, OH, OW) or `Images`."""
    stored = activation.y
    pixels, dtype = len(stored.raw), stored.raw.dtype
    data = empty(stored.filters * pixels, dtype)
    target = Batch(nchw_sink, four(data), stored.filters, stored.sizes, stored.filters)
    _copy(_reading(activation), target, _strips(stored.sizes), dtype)
    images = Images.of(data, stored.filters, stored.sizes)
    return images if stored.mixed else images.as_array()


@guarded
def fused_output_backward(da, activation):
    """g from the gradient of `fused_output`."""
    stored = activation.y
    g, strips = empty(stored.raw.shape, da.dtype), _strips(stored.sizes)
    sums = np.empty((len(strips.pieces), 2, g.shape[1]), da.dtype)
    arrays = (g, stored.raw, stored.coefficients, sums)
    _copy(lanes_reading(da), _writing(relu_gradient_sink, arrays, stored), strips, da.dtype)
    return Gradient(g, *_joined_sums(sums, activation))


@guarded
def fused_max(activation):
    """The largest value of each channel, (N, F), and peaks (N, 3, F up to whole vectors): value, row and column."""
    stored = activation.y
    n_images, padded = len(stored.sizes), stored.raw.shape[1]
    peaks = np.empty((n_images, 3, padded), stored.raw.dtype)
    workers = min(n_images, get_num_threads())
    numbers = np.concatenate([[n_images, padded, workers], _places(stored.sizes.tobytes()).ravel()])
    arrays = (stored.raw, stored.coefficients, peaks)
    launch(max_kernel, arrays, numbers, 1, 1, workers, stored.raw.dtype)
    return peaks[:, 0, : stored.filters].copy(), peaks


@guarded
def fused_max_backward(dy, peaks, activation):
    """g from the gradient of `fused_max`: dy at the peaks, if relu let them through, and 0 elsewhere."""
    stored = activation.y
    at_peaks = peaks.copy()
    value, row, column = at_peaks.transpose(1, 0, 2)  # (N, F up to whole vectors) each
    value[:, : stored.filters] = np.where(value[:, : stored.filters] <= 0, 0, dy)  # NaN is let through, too
    value[:, stored.filters :] = 0
    first, _, widths = _places(stored.sizes.tobytes()).T[:, :, None]
    pixels = first + row.astype(np.int64) * widths + column.astype(np.int64)
    distance = stored.raw[pixels, np.arange(len(stored.raw.T))] - stored.coefficients[MEAN]
    sums = np.empty((len(peaks), 2, len(stored.raw.T)), value.dtype)
    sums[:, 0], sums[:, 1] = value, value * distance
    return Gradient(None, *_joined_sums(sums, activation), at_peaks)


@lru_cache(maxsize=256)
def _places(sizes):
    """(N, 3) for each image the pixels before it, its rows and its columns; sizes: the bytes of (N, 2)."""
    sizes = np.frombuffer(sizes, np.int64).reshape(-1, 2)
    return np.column_stack([pixels_before(sizes), sizes])


@guarded
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
        count = len(stored.raw)
        c1 = scale * gradient.sum_g / count
        c2 = scale * gradient.sum_g_distance * inverse_var / count
        dbias = np.zeros(stored.filters, dtype)  # batchnorm takes the mean out, and the bias with it
    else:
        c1 = c2 = np.zeros(stored.filters)
        dbias = (scale * gradient.sum_g).astype(dtype)

    coefficients = stored.coefficients.copy()
    rounded_off = norm.mean - coefficients[MEAN, : stored.filters].astype(np.float64)
    coefficients[C1, : stored.filters] = c1 - c2 * rounded_off
    coefficients[C2, : stored.filters] = c2
    if gradient.peaks is None:
        dy = _writing(gradient_source, (stored.raw, gradient.g, coefficients), stored, bounded=from_batch)
    else:
        dy = _writing(peak_gradient_source, (stored.raw, gradient.peaks, coefficients), stored, bounded=from_batch)

    x, kernel_size = _reading(below), weight.shape[2:]
    algorithm = choose_algorithm(x.channels, kernel_size, stride, padding)
    dweight = algorithm.run_weight_gradient(_as_read_by(algorithm, x), dy, kernel_size, stride, padding, dtype)
    d_below = _input_gradient(dy, weight, below, stride, padding) if need_below else None
    return (dweight, dbias), (d_norm_weight, d_norm_bias), d_below


# Which algorithm convolves, and what it reads and writes.


def _reading(below):
    """How to read `below`: images as they are, an activation through batchnorm and relu."""
    if not isinstance(below, Activation):
        return planes_reading(below)
    arrays = (below.y.raw, below.y.coefficients)
    return _writing(activation_source, arrays, below.y, bounded=below.from_batch)


def _as_read_by(algorithm, batch):
    """Winograd's kernels read lanes of channels, never planes."""
    if algorithm is winograd and batch.access is plane_source:
        return batch._replace(access=nchw_source)
    return batch


def _writing(access, arrays, stored, bounded=False):
    """The pixels of `stored` through a source or a sink of this file.

    What batchnorm made of a batch by its own statistics is bounded: of n pixels none is more than sqrt(n) standard
    deviations from the mean, a gradient spreads to all pixels, and so do NaN and infinity.
    """
    return Batch(access, four(*arrays), stored.filters, stored.sizes, stored.raw.shape[1], bounded)


def _convolve(below, weight, bias, stride, padding, sink):
    """What a convolution makes through `sink`: (Stored without coefficients, records, the layout of the pieces)."""
    x, kernel_size, dtype = _reading(below), weight.shape[2:], weight.dtype
    sizes, padded = output_sizes(x.sizes, kernel_size, stride, padding), lanes_up(len(weight))
    algorithm = choose_algorithm(x.channels, kernel_size, stride, padding, weight)
    plan = algorithm.plan_forward(kernel_size, stride, padding, x.channels, x.sizes, sizes, dtype.itemsize)

    raw = None if sink is max_sink else empty((plan.layout.pixels, padded), dtype)
    stored = Stored(
        raw, None, len(weight), sizes, below.y.mixed if isinstance(below, Activation) else isinstance(below, Images)
    )
    if sink is max_sink:
        records = np.empty((plan.pieces, padded), dtype)
        y = Batch(sink, four(records), len(weight), sizes, padded)
    else:
        records = np.empty((plan.pieces, 4, padded), dtype) if sink is moments_sink else None
        y = _writing(sink, (raw, records), stored)
    algorithm.run(plan, _as_read_by(algorithm, x), y, weight, bias)
    return stored, records, plan.layout


def _input_gradient(dy, weight, below, stride, padding):
    """What is below's: a `Gradient` where that is an activation, dx like it where it is the images."""
    if not isinstance(below, Activation):
        algorithm = choose_algorithm(dy.channels, weight.shape[2:], stride, padding, weight)
        return convolve_back(algorithm, dy, weight, empty_like(below), stride, padding)
    stored, kernel_size, dtype = below.y, weight.shape[2:], weight.dtype
    algorithm = choose_algorithm(dy.channels, kernel_size, stride, padding, weight)
    arguments = (dy.channels, dy.sizes, stored.sizes, dtype.itemsize)
    plan = algorithm.plan_input_gradient(kernel_size, stride, padding, *arguments)
    g = empty(stored.raw.shape, dtype)
    sums = np.empty((plan.pieces, 2, g.shape[1]), dtype)
    target = _writing(relu_gradient_sink, (g, stored.raw, stored.coefficients, sums), stored)
    algorithm.run(plan, dy, target, weight, None)
    return Gradient(g, *_joined_sums(sums, below))


# The numbers of the channels, in float64.


@serial
def _join_moments(records, mean, var):
    """Fill mean and var (F,), float64, from the pieces' moments (Chan et al., 1979).

    records (pieces, 4, F up to whole vectors): about the piece's mean m, m itself, sum of (y - m), which is its
    rounding error, sum of (y - m)², and the number of pixels.
    """
    pieces = len(records)
    for f in range(mean.size):
        count, total = 0.0, 0.0
        for piece in range(pieces):
            m, distance, n = records[piece, 0, f], records[piece, 1, f], np.float64(records[piece, 3, f])
            count += n
            total += distance + n * m
        mean[f] = total / count
        squares = 0.0
        for piece in range(pieces):
            m, distance, n = records[piece, 0, f], np.float64(records[piece, 1, f]), np.float64(records[piece, 3, f])
            offset = m + distance / n - mean[f]
            squares += records[piece, 2, f] - distance * distance / n + n * offset * offset
        var[f] = squares / count


def _joined_sums(sums, activation):
    """Sums of g and g * (y - mean), (F,), from those of the pieces (pieces, 2, F up to whole vectors)."""
    stored, norm, _ = activation
    of_g, of_g_distance = joined = np.empty((2, stored.filters))
    _add_up(sums, joined)
    rounded_off = norm.mean - stored.coefficients[MEAN, : stored.filters]
    return of_g, of_g_distance - rounded_off * of_g


@serial
def _add_up(sums, joined):
    """joined (2, F), float64, = sums (pieces, 2, F up to whole vectors) added up over the pieces."""
    for row in range(2):
        for f in range(joined.shape[1]):
            joined[row, f] = 0
    for piece in range(len(sums)):
        for row in range(2):
            for f in range(joined.shape[1]):
                joined[row, f] += sums[piece, row, f]


def _coefficients(norm, raw):
    """(5, F up to whole vectors): mean, scale and shift, and 0 for c1 and c2, which backward fills in."""
    filters = len(norm.weight)
    coefficients = np.zeros((5, raw.shape[1]), raw.dtype)
    scale = norm.weight / np.sqrt(np.asarray(norm.var, np.float64) + norm.eps)
    coefficients[MEAN, :filters] = norm.mean
    rounded_off = norm.mean - coefficients[MEAN, :filters].astype(np.float64)
    coefficients[SCALE, :filters] = scale
    coefficients[SHIFT, :filters] = norm.bias - scale * rounded_off
    return coefficients


@lru_cache(maxsize=64)
def _relu_alone(padded, dtype):
    """The coefficients of an activation that needs no more than relu; kept, so not to be written to."""
    coefficients = np.zeros((5, padded), dtype)
    coefficients[SCALE] = 1
    return coefficients


def _folded(weight, bias, norm):
    """Weight and bias of the one convolution that does what convolution and batchnorm do: W' = scale * W."""
    scale = (norm.weight / np.sqrt(norm.var + norm.eps)).astype(weight.dtype)
    shift = norm.bias - scale * norm.mean
    return weight * scale[:, None, None, None], shift if bias is None else scale * bias + shift


# Sources: what a convolution reads.


@by_pointer
def activation_source(arrays, image, window, patch):
    """patch = relu(scale * (y - mean) + shift). arrays: y, coefficients."""
    y, coefficients = arrays[0], arrays[1]
    pitch = lanes_up(image.channels)
    c = window.channel
    mean, scale = load(coefficients, MEAN * pitch + c), load(coefficients, SCALE * pitch + c)
    shift = load(coefficients, SHIFT * pitch + c)
    top, bottom, low, high = clear_outside(image, window, LANES, patch)
    for r in range(top, bottom):
        patch_at = r * window.columns * LANES
        y_at = image.start + ((window.row + r) * image.width + window.column) * pitch + c
        for s in range(low, high):
            z = fma(load(y, y_at + s * pitch) - mean, scale, shift)
            store(patch, patch_at + s * LANES, relu(z))


@by_pointer
def gradient_source(arrays, image, window, patch):
    """patch = dy = scale * g - c1 - c2 * (y - mean). arrays: y, g, coefficients."""
    y, g, coefficients = arrays[0], arrays[1], arrays[2]
    pitch = lanes_up(image.channels)
    c = window.channel
    mean, scale = load(coefficients, MEAN * pitch + c), load(coefficients, SCALE * pitch + c)
    zero = fill(coefficients, 0.0)
    minus_c1, minus_c2 = zero - load(coefficients, C1 * pitch + c), zero - load(coefficients, C2 * pitch + c)
    top, bottom, low, high = clear_outside(image, window, LANES, patch)
    for r in range(top, bottom):
        patch_at = r * window.columns * LANES
        y_at = image.start + ((window.row + r) * image.width + window.column) * pitch + c
        for s in range(low, high):
            through_statistics = fma(load(y, y_at + s * pitch) - mean, minus_c2, minus_c1)
            store(patch, patch_at + s * LANES, fma(load(g, y_at + s * pitch), scale, through_statistics))


@by_pointer
def peak_gradient_source(arrays, image, window, patch):
    """`gradient_source` where g is 0 but for one pixel of each channel. arrays: y, peaks (N, 3, F), coefficients."""
    y, peaks, coefficients = arrays[0], arrays[1], arrays[2]
    pitch = lanes_up(image.channels)
    c = window.channel
    mean = load(coefficients, MEAN * pitch + c)
    zero = fill(coefficients, 0.0)
    minus_c1, minus_c2 = zero - load(coefficients, C1 * pitch + c), zero - load(coefficients, C2 * pitch + c)
    top, bottom, low, high = clear_outside(image, window, LANES, patch)
    for r in range(top, bottom):
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


@by_pointer
def store_sink(arrays, image, window, pitch, record, patch):
    """y = patch. arrays: y."""
    y = arrays[0]
    padded = lanes_up(image.channels)
    for p in range(window.rows):
        y_at = image.start + ((window.row + p) * image.width + window.column) * padded + window.channel
        for q in range(window.columns):
            store(y, y_at + q * padded, load(patch, (p * pitch + q) * LANES))


@by_pointer
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


@by_pointer
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


@by_pointer
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


@by_pointer
def max_kernel(arrays, numbers, table, scratch, worker):
    """Where each channel of an image is largest, the first maximum or the last NaN, as `max_pool2d_forward` has it.

    Worker i owns images i, i + workers, … arrays: y, coefficients, peaks.
    numbers: N, F, workers, and for each image the pixels before it, H and W.
    """
    y, coefficients, peaks = arrays[0], arrays[1], arrays[2]
    N, F, workers = unpack(numbers, 3)
    one = fill(y, 1.0)
    for n in range(worker, N, workers):
        first, H, W = unpack(numbers[3 + 3 * n : 6 + 3 * n], 3)
        for c in range(0, F, LANES):
            mean, scale = load(coefficients, MEAN * F + c), load(coefficients, SCALE * F + c)
            shift = load(coefficients, SHIFT * F + c)
            best = relu(fma(load(y, first * F + c) - mean, scale, shift))
            row = one - one
            best_row, best_column = row, row
            for r in range(H):
                column = one - one
                at = (first + r * W) * F + c
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


def _strips(sizes):
    """The layout for copying: pieces of whole rows, of about STRIP pixels."""
    rows = np.maximum(1, STRIP // sizes[:, 1])
    return one_to_a_block(cut(sizes, sizes, np.column_stack([rows, sizes[:, 1]])))


class CopyJob(NamedTuple):
    source: int
    sink: int
    C: int
    x_pitch: int
    y_pitch: int
    shares_at: int = 0
    blocks_at: int = 0
    pieces_at: int = 0


COPY_NUMBERS = len(CopyJob._fields)


def _copy(x, y, strips, dtype):
    """Read through a source and write through a sink, strip by strip, the sizes staying as they are."""
    workers = min(strips.n_blocks, get_num_threads())
    job = CopyJob(source_address(x.access, dtype), sink_address(y.access, dtype), x.channels, x.pitch, y.pitch)
    scratch_size = int((strips.costs[1:] - strips.costs[:-1]).max()) * LANES
    launch(copy_kernel, (*x.arrays, *y.arrays), numbers_of(job, strips, workers), 1, scratch_size, workers, dtype)


@by_pointer
def copy_kernel(arrays, numbers, table, scratch, worker):
    """This worker's share of the strips. arrays: 4 of the source, 4 of the sink."""
    job = CopyJob(*unpack(numbers, COPY_NUMBERS))
    for index in range(numbers[job.shares_at + worker], numbers[job.shares_at + worker + 1]):
        piece = piece_number(numbers, job.pieces_at, index)
        for c in range(0, job.C, LANES):
            window = Window(c, piece.p0, 0, piece.p1 - piece.p0, piece.W)
            image = Image(piece.number, piece.x_first * job.x_pitch, job.C, piece.H, piece.W)
            call(job.source, (arrays[0:4], image, window, scratch))
            image = Image(piece.number, piece.y_first * job.y_pitch, job.C, piece.H, piece.W)
            call(job.sink, (arrays[4:8], image, window, piece.W, index, scratch))
