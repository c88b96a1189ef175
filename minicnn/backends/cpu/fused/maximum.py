"""The global maximum of an activation, and the way back of its gradient."""

from functools import lru_cache

import numpy as np
from numba import get_num_threads

from minicnn.backends.contract import MEAN, SCALE, SHIFT, Activation, Gradient
from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.convolution.pieces import pixels_before, sizes_from
from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.convolution.vectors import fill, fma, load, relu, store, where_greater
from minicnn.backends.cpu.fused.channels import GRADIENT_SUMS, SUM_G, SUM_G_DISTANCE, joined_sums
from minicnn.backends.cpu.runtime.jit import by_pointer
from minicnn.backends.cpu.runtime.launch import launch, unpack
from minicnn.plain import Array

# Of each channel of an image: the largest value, and where it is.
PEAK, PEAK_ROW, PEAK_COLUMN = range(3)
PEAKS = 3


@guarded
def fused_max(activation: Activation) -> tuple[Array, Array]:
    """The largest value of each channel, (N, F), and peaks (N, PEAKS, F up to whole vectors)."""
    stored = activation.y
    n_images, padded = len(stored.sizes), stored.raw.shape[1]
    peaks = np.empty((n_images, PEAKS, padded), stored.raw.dtype)
    workers = min(n_images, get_num_threads())
    numbers = np.concatenate([[n_images, padded, workers], _places(stored.sizes.tobytes()).ravel()])
    arrays = (stored.raw, stored.coefficients, peaks)
    launch(max_kernel, arrays, numbers, workers=workers, dtype=stored.raw.dtype)
    return peaks[:, PEAK, : stored.filters].copy(), peaks


@guarded
def fused_max_backward(dy: Array, peaks: Array, activation: Activation) -> Gradient:
    """g from the gradient of `fused_max`: dy at the peaks, if relu let them through, and 0 elsewhere."""
    stored = activation.y
    at_peaks = peaks.copy()
    value, row, column = at_peaks.transpose(1, 0, 2)  # (N, F up to whole vectors) each
    value[:, : stored.filters] = np.where(value[:, : stored.filters] <= 0, 0, dy)  # NaN is let through, too
    value[:, stored.filters :] = 0
    first, heights, widths = _places(stored.sizes.tobytes()).T[:, :, None]
    padded = stored.raw.shape[1]
    vector, lane = np.divmod(np.arange(padded), LANES)
    pixel = vector * heights * widths + row.astype(np.int64) * widths + column.astype(np.int64)
    distance = stored.raw.reshape(-1)[first * padded + pixel * LANES + lane] - stored.coefficients[MEAN]
    sums = np.empty((len(peaks), GRADIENT_SUMS, padded), value.dtype)
    sums[:, SUM_G], sums[:, SUM_G_DISTANCE] = value, value * distance
    return Gradient(None, *joined_sums(sums, activation), at_peaks)


@lru_cache(maxsize=256)
def _places(sizes_bytes: bytes) -> Array:
    """(N, 3) for each image the pixels before it, its rows and its columns."""
    sizes = sizes_from(sizes_bytes)
    return np.column_stack([pixels_before(sizes), sizes])


@by_pointer
def max_kernel(arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, worker: int) -> None:
    """Where each channel of an image is largest, the first maximum or the last NaN, as `max_pool2d_forward` has it.

    Worker i owns images i, i + workers, … arrays: y, coefficients, peaks.
    numbers: N, F, workers, and for each image the pixels before it, H and W.
    """
    y, coefficients, peaks = arrays[:3]
    N, F, workers = unpack(numbers, 3)
    one = fill(y, 1.0)
    for n in range(worker, N, workers):
        first, H, W = unpack(numbers[3 + 3 * n : 6 + 3 * n], 3)
        for c in range(0, F, LANES):
            mean, scale = load(coefficients, MEAN * F + c), load(coefficients, SCALE * F + c)
            shift = load(coefficients, SHIFT * F + c)
            best = relu(fma(load(y, first * F + c * H * W) - mean, scale, shift))
            row = one - one
            best_row, best_column = row, row
            for r in range(H):
                column = one - one
                at = first * F + (c * H + r * LANES) * W
                for s in range(W):
                    a = relu(fma(load(y, at + s * LANES) - mean, scale, shift))
                    best_row = where_greater(a, best, row, best_row)
                    best_column = where_greater(a, best, column, best_column)
                    best = where_greater(a, best, a, best)
                    column = column + one
                row = row + one
            at = n * PEAKS * F + c
            store(peaks, at + PEAK * F, best)
            store(peaks, at + PEAK_ROW * F, best_row)
            store(peaks, at + PEAK_COLUMN * F, best_column)
