"""Batch normalisation, per channel over all pixels of all images.

    x_hat = (x - mean) / sqrt(var + eps)          y = weight * x_hat + bias

    evaluation   dx = weight / sqrt(var + eps) * dy
    training     dx = weight / sqrt(var + eps) * (dy  -  mean(dy)  -  x_hat * mean(dy * x_hat))

    both         dweight = sum of dy * x_hat      dbias = sum of dy

Who owns what: each worker owns a run of planes (see `planes`), the pixels of channel c of image n. It writes a plane's
y or dx, or a plane's sums, (N, C), which are then added up over the images in order. Sums, and the few numbers of each
channel, are float64 throughout: a mean of a hundred standard deviations, rounded to float32, would shift x_hat in its
fifth digit.

Cost: memory. Statistics read x, forward reads x and writes y, backward reads x and dy twice and writes dx.
"""

import numpy as np
from numba import prange

from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.batches import empty_like, flat
from minicnn.backends.cpu.planes import equal_runs, plane_bounds
from minicnn.backends.cpu.runtime.jit import parallel, serial, serial_sum
from minicnn.images import Batch, Images
from minicnn.plain import Array


@guarded
def batchnorm2d_statistics(x: Array | Images) -> tuple[Array, Array]:
    """Mean and *biased* variance of each channel.

    Each plane is summed up about its own mean, while it is in the cache. The squared distances from the mean of the
    channel are those from the plane's mean, and for each pixel the square of how far the two means are apart.
    """
    bounds, n_channels = plane_bounds(x), x.shape[1]
    plane_means, plane_squares = np.empty((2, len(x), n_channels))
    _plane_statistics(flat(x), bounds, equal_runs(x), plane_means.reshape(-1), plane_squares.reshape(-1))

    pixels = np.diff(bounds).reshape(-1, n_channels)
    count = pixels[:, 0].sum()
    mean = (pixels * plane_means).sum(axis=0) / count
    squares = (plane_squares + pixels * (plane_means - mean) ** 2).sum(axis=0)
    return mean, squares / count


@guarded
def batchnorm2d_forward(x: Batch, weight: Array, bias: Array, mean: Array, var: Array, eps: float) -> Batch:
    return _normalised(x, mean, weight * _inverse_std(var, eps), bias)


@guarded
def batchnorm2d_train_backward(
    dy: Batch, x: Batch, weight: Array, mean: Array, var: Array, eps: float
) -> tuple[Batch, Array, Array]:
    inverse_std = _inverse_std(var, eps)
    dweight, dbias = _parameter_gradients(dy, x, mean, inverse_std)

    count = dy.size // dy.shape[1]
    via_mean = dbias / count
    via_variance = dweight * inverse_std / count  # times (x - mean), so that x_hat is not formed
    dx, bounds = empty_like(dy), plane_bounds(dy)
    channels = (_float64(mean), weight * inverse_std, via_mean, via_variance)
    _train_backward(flat(dy), flat(x), bounds, equal_runs(x), channels, flat(dx))
    return dx, dweight.astype(dy.dtype), dbias.astype(dy.dtype)


@guarded
def batchnorm2d_eval_backward(
    dy: Batch, x: Batch, weight: Array, mean: Array, var: Array, eps: float
) -> tuple[Batch, Array, Array]:
    inverse_std = _inverse_std(var, eps)
    dweight, dbias = _parameter_gradients(dy, x, mean, inverse_std)
    dx = _normalised(dy, np.zeros_like(inverse_std), weight * inverse_std, np.zeros_like(inverse_std))
    return dx, dweight.astype(dy.dtype), dbias.astype(dy.dtype)


@guarded
def update_running_statistics_(
    running_mean: Array, running_var: Array, mean: Array, var: Array, count: int, momentum: float
) -> None:
    """running = (1 - momentum) * running + momentum * batch, with the *unbiased* variance (n - 1), as PyTorch."""
    unbiased = var * (count / (count - 1))
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (unbiased - running_var)


def _float64(channel_numbers: Array) -> Array:
    return np.asarray(channel_numbers, np.float64)


def _inverse_std(var: Array, eps: float) -> Array:
    return 1 / np.sqrt(_float64(var) + eps)


def _normalised(x: Batch, mean: Array, scale: Array, bias: Array) -> Batch:
    y, bounds = empty_like(x), plane_bounds(x)
    _forward(flat(x), bounds, equal_runs(x), _float64(mean), scale, _float64(bias), flat(y))
    return y


def _parameter_gradients(dy: Array | Images, x: Array | Images, mean: Array, inverse_std: Array) -> tuple[Array, Array]:
    bounds, sums = plane_bounds(x), np.empty((2, len(x), x.shape[1]))
    of_planes = (part.reshape(-1) for part in sums)
    _plane_gradient_sums(flat(dy), flat(x), bounds, equal_runs(x), _float64(mean), *of_planes)
    of_dy, of_dy_times_distance = sums.sum(axis=1)
    return of_dy_times_distance * inverse_std, of_dy


@parallel
def _plane_statistics(x: Array, bounds: Array, runs: Array, means: Array, squares: Array) -> None:
    for run in prange(runs.size - 1):
        for number in range(runs[run], runs[run + 1]):
            plane = x[bounds[number] : bounds[number + 1]]
            mean = _sum(plane) / plane.size
            means[number], squares[number] = mean, _squared_distances(plane, mean)


@serial_sum
def _sum(plane: Array) -> float:
    total = 0.0
    for t in range(plane.size):
        total += plane[t]
    return total


@serial_sum
def _squared_distances(plane: Array, mean: float) -> float:
    total = 0.0
    for t in range(plane.size):
        total += (plane[t] - mean) * (plane[t] - mean)
    return total


@parallel
def _forward(x: Array, bounds: Array, runs: Array, mean: Array, scale: Array, bias: Array, y: Array) -> None:
    for run in prange(runs.size - 1):
        for number in range(runs[run], runs[run + 1]):
            plane, c = slice(bounds[number], bounds[number + 1]), number % mean.size
            _normalise(x[plane], mean[c], scale[c], bias[c], y[plane])


@serial
def _normalise(x: Array, mean: float, scale: float, bias: float, y: Array) -> None:
    for t in range(x.size):
        y[t] = (x[t] - mean) * scale + bias


@parallel
def _plane_gradient_sums(
    dy: Array, x: Array, bounds: Array, runs: Array, mean: Array, of_dy: Array, of_dy_times_distance: Array
) -> None:
    for run in prange(runs.size - 1):
        for number in range(runs[run], runs[run + 1]):
            plane, c = slice(bounds[number], bounds[number + 1]), number % mean.size
            of_dy[number], of_dy_times_distance[number] = _gradient_sums(dy[plane], x[plane], mean[c])


@serial_sum
def _gradient_sums(dy: Array, x: Array, mean: float) -> tuple[float, float]:
    """(sum of dy, sum of dy * (x - mean)) over one plane."""
    of_dy, of_dy_times_distance = 0.0, 0.0
    for t in range(x.size):
        of_dy += dy[t]
        of_dy_times_distance += dy[t] * (x[t] - mean)
    return of_dy, of_dy_times_distance


@parallel
def _train_backward(
    dy: Array, x: Array, bounds: Array, runs: Array, channels: tuple[Array, Array, Array, Array], dx: Array
) -> None:
    mean, scale, via_mean, via_variance = channels
    for run in prange(runs.size - 1):
        for number in range(runs[run], runs[run + 1]):
            plane, c = slice(bounds[number], bounds[number + 1]), number % mean.size
            _train_backward_plane(dy[plane], x[plane], mean[c], scale[c], via_mean[c], via_variance[c], dx[plane])


@serial
def _train_backward_plane(
    dy: Array, x: Array, mean: float, scale: float, via_mean: float, via_variance: float, dx: Array
) -> None:
    for t in range(x.size):
        dx[t] = scale * (dy[t] - via_mean - (x[t] - mean) * via_variance)
