"""A block backward, from the gradient g of its activation."""

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from minicnn.backends.contract import C1, C2, MEAN, SCALE, SHIFT, Activation, Gradient
from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.batches import empty_like
from minicnn.backends.cpu.conv import choose_algorithm, convolve_back
from minicnn.backends.cpu.convolution import winograd
from minicnn.backends.cpu.convolution.patches import Image, Window, clear_outside, lanes_up
from minicnn.backends.cpu.convolution.pieces import View
from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.convolution.vectors import fill, fma, load, store, where_positive
from minicnn.backends.cpu.convolution.winograd import run_both_gradients, supports_both
from minicnn.backends.cpu.fused.block import as_read_by, pixels_of, reading
from minicnn.backends.cpu.fused.channels import GRADIENT_SUMS, SUM_G, SUM_G_DISTANCE, joined_sums
from minicnn.backends.cpu.fused.maximum import PEAK, PEAK_COLUMN, PEAK_ROW, PEAKS
from minicnn.backends.cpu.fused.places import place_of
from minicnn.backends.cpu.runtime.jit import by_pointer
from minicnn.backends.cpu.runtime.memory import empty
from minicnn.plain import Array, Pair


@guarded
def fused_conv_backward(
    gradient: Gradient,
    activation: Activation,
    below: Any,
    weight: Array,
    stride: Pair,
    padding: Pair,
    need_below: bool,
) -> tuple[tuple[Array, Array], tuple[Array, Array], Any]:
    """One block backward: (dweight, dbias) of the convolution, (dweight, dbias) of batchnorm, and what is below's.

    The last is the gradient for the next call where `below` is an activation, dx where it is the images, and
    None unless asked for.
    """
    stored, norm, from_batch = activation
    assert norm is not None  # but in evaluation, which has no backward pass
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
        dy = pixels_of(gradient_source, (stored.raw, gradient.g, coefficients), stored, bounded=from_batch)
    else:
        dy = pixels_of(peak_gradient_source, (stored.raw, gradient.peaks, coefficients), stored, bounded=from_batch)

    x, window = reading(below), (weight.shape[2:], stride, padding)
    algorithm = choose_algorithm(x.channels, *window)
    d_below = target = None
    if need_below:
        back = choose_algorithm(dy.channels, *window, weight)
        if isinstance(below, Activation):
            target = _below_through_relu(back, dy, weight, below, stride, padding)
    if target and algorithm is back is winograd and supports_both(target.plan, x, dy, *window, dtype.itemsize):
        dweight = run_both_gradients(target.plan, x, dy, target.view, weight)
    else:
        dweight = algorithm.run_weight_gradient(as_read_by(algorithm, x), dy, *window, dtype)
        if target:
            back.run(target.plan, dy, target.view, weight, None)
        elif need_below:
            d_below = convolve_back(back, dy, weight, empty_like(below), stride, padding)
    if target:
        d_below = Gradient(target.g, *joined_sums(target.sums, below))
    return (dweight, dbias), (d_norm_weight, d_norm_bias), d_below


class _Below(NamedTuple):
    """Where the gradient of the activation below is written to: the plan of the input gradient, the sink with its
    arrays, and g and the pieces' sums, which are among these."""

    plan: Any  # of the algorithm
    view: View
    g: Array
    sums: Array


def _below_through_relu(
    algorithm: ModuleType, dy: View, weight: Array, below: Activation, stride: Pair, padding: Pair
) -> _Below:
    stored, dtype = below.y, weight.dtype
    arguments = (dy.channels, dy.sizes, stored.sizes, dtype.itemsize)
    plan = algorithm.plan_input_gradient(weight.shape[2:], stride, padding, *arguments)
    g = empty(stored.raw.shape, dtype)
    sums = np.empty((plan.pieces, GRADIENT_SUMS, g.shape[1]), dtype)
    arrays = (g, stored.raw, stored.coefficients, sums)
    return _Below(plan, pixels_of(relu_gradient_sink, arrays, stored), g, sums)


@by_pointer
def gradient_source(arrays: tuple[Array, ...], image: Image, window: Window, patch: Array) -> None:
    """patch = dy = scale * g - c1 - c2 * (y - mean). arrays: y, g, coefficients."""
    y, g, coefficients = arrays[:3]
    pitch = lanes_up(image.channels)
    c = window.channel
    mean, scale = load(coefficients, MEAN * pitch + c), load(coefficients, SCALE * pitch + c)
    zero = fill(coefficients, 0.0)
    minus_c1, minus_c2 = zero - load(coefficients, C1 * pitch + c), zero - load(coefficients, C2 * pitch + c)
    top, bottom, low, high = clear_outside(image, window, LANES, patch)
    for r in range(top, bottom):
        patch_at = r * window.columns * LANES
        y_at = place_of(image, c, window.row + r, window.column)
        for s in range(low, high):
            through_statistics = fma(load(y, y_at + s * LANES) - mean, minus_c2, minus_c1)
            store(patch, patch_at + s * LANES, fma(load(g, y_at + s * LANES), scale, through_statistics))


@by_pointer
def peak_gradient_source(arrays: tuple[Array, ...], image: Image, window: Window, patch: Array) -> None:
    """`gradient_source` where g is 0 but for one pixel of each channel.

    arrays: y, peaks (N, PEAKS, F), coefficients.
    """
    y, peaks, coefficients = arrays[:3]
    pitch = lanes_up(image.channels)
    c = window.channel
    mean = load(coefficients, MEAN * pitch + c)
    zero = fill(coefficients, 0.0)
    minus_c1, minus_c2 = zero - load(coefficients, C1 * pitch + c), zero - load(coefficients, C2 * pitch + c)
    top, bottom, low, high = clear_outside(image, window, LANES, patch)
    for r in range(top, bottom):
        patch_at = r * window.columns * LANES
        y_at = place_of(image, c, window.row + r, window.column)
        for s in range(low, high):
            store(patch, patch_at + s * LANES, fma(load(y, y_at + s * LANES) - mean, minus_c2, minus_c1))
    for lane in range(LANES):
        peak = image.number * PEAKS * pitch + c + lane
        r, s = int(peaks[peak + PEAK_ROW * pitch]) - window.row, int(peaks[peak + PEAK_COLUMN * pitch]) - window.column
        if 0 <= r < window.rows and 0 <= s < window.columns:
            g = peaks[peak + PEAK * pitch]
            patch[(r * window.columns + s) * LANES + lane] += coefficients[SCALE * pitch + c + lane] * g


@by_pointer
def relu_gradient_sink(
    arrays: tuple[Array, ...], image: Image, window: Window, pitch: int, record: int, patch: Array
) -> None:
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
        y_at = place_of(image, c, window.row + p, window.column)
        for q in range(window.columns):
            distance = load(y, y_at + q * LANES) - mean
            value = where_positive(fma(distance, scale, shift), load(patch, (p * pitch + q) * LANES))
            store(g, y_at + q * LANES, value)
            of_g = of_g + value
            of_g_distance = fma(value, distance, of_g_distance)
    at = record * GRADIENT_SUMS * padded + c
    store(sums, at + SUM_G * padded, of_g)
    store(sums, at + SUM_G_DISTANCE * padded, of_g_distance)
