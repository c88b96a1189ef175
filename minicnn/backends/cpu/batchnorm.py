"""Batch normalisation, per channel over all pixels of all images.

    x_hat = (x - mean) / sqrt(var + eps)          y = weight * x_hat + bias

    evaluation   dx = weight / sqrt(var + eps) * dy
    training     dx = weight / sqrt(var + eps) * (dy  -  mean(dy)  -  x_hat * mean(dy * x_hat))

    both         dweight = sum of dy * x_hat      dbias = sum of dy

Who owns what: each worker owns one plane, the pixels of channel c of image n, and writes that plane's y or dx,
or that plane's partial sum. The partial sums (N, C) are added up over the images in order. Sums, and the few numbers
of each channel, are float64 throughout: a mean of a hundred standard deviations, rounded to float32, would shift x_hat
in its fifth digit.

Cost: memory. Statistics read x twice, forward reads x and writes y, backward reads x and dy twice and writes dx.
"""

import numpy as np
from numba import prange

from minicnn.backends.cpu.jit import parallel, serial, serial_sum, unravel


def batchnorm2d_statistics(x):
    """Mean and *biased* variance of each channel: the mean first, then the squared distances from it."""
    planes = _planes(x)
    count = planes.shape[0] * planes.shape[2]
    partial = np.empty(planes.shape[:2])

    _plane_sums(planes, partial)
    mean = partial.sum(axis=0) / count
    _plane_squared_distances(planes, mean, partial)
    return mean, partial.sum(axis=0) / count


def batchnorm2d_forward(x, weight, bias, mean, var, eps):
    y = np.empty_like(x)
    scale = weight * _inverse_std(var, eps)
    _forward(_planes(x), _float64(mean), scale, _float64(bias), _planes(y))
    return y


def batchnorm2d_train_backward(dy, x, weight, mean, var, eps):
    inverse_std = _inverse_std(var, eps)
    dweight, dbias = _parameter_gradients(dy, x, mean, inverse_std)

    count = dy.size // dy.shape[1]
    via_mean = dbias / count
    via_variance = dweight * inverse_std / count  # times (x - mean), so that x_hat is not formed
    dx = np.empty_like(dy)
    channels = (_float64(mean), weight * inverse_std, via_mean, via_variance)
    _train_backward(_planes(dy), _planes(x), channels, _planes(dx))
    return dx, dweight.astype(dy.dtype), dbias.astype(dy.dtype)


def batchnorm2d_eval_backward(dy, x, weight, mean, var, eps):
    inverse_std = _inverse_std(var, eps)
    dweight, dbias = _parameter_gradients(dy, x, mean, inverse_std)
    dx = dy * (weight * inverse_std).astype(dy.dtype)[:, None, None]
    return dx, dweight.astype(dy.dtype), dbias.astype(dy.dtype)


def update_running_statistics_(running_mean, running_var, mean, var, count, momentum):
    """running = (1 - momentum) * running + momentum * batch, with the *unbiased* variance (n - 1), as PyTorch."""
    unbiased = var * (count / (count - 1))
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (unbiased - running_var)


def _planes(x):
    """(N, C, H, W) as (N, C, H * W), without a copy."""
    return x.reshape(x.shape[0], x.shape[1], -1)


def _float64(channel_numbers):
    return np.asarray(channel_numbers, np.float64)


def _inverse_std(var, eps):
    return 1 / np.sqrt(_float64(var) + eps)


def _parameter_gradients(dy, x, mean, inverse_std):
    sums = np.empty((2, *dy.shape[:2]))
    _plane_gradient_sums(_planes(dy), _planes(x), _float64(mean), sums)
    of_dy, of_dy_times_distance = sums.sum(axis=1)
    return of_dy_times_distance * inverse_std, of_dy


@parallel
def _plane_sums(x, sums):
    n_images, n_channels = sums.shape
    for item in prange(n_images * n_channels):
        n, c = unravel(item, n_channels)
        sums[n, c] = _sum(x[n, c])


@serial_sum
def _sum(plane):
    total = 0.0
    for value in plane:
        total += value
    return total


@parallel
def _plane_squared_distances(x, mean, sums):
    n_images, n_channels = sums.shape
    for item in prange(n_images * n_channels):
        n, c = unravel(item, n_channels)
        sums[n, c] = _squared_distances(x[n, c], mean[c])


@serial_sum
def _squared_distances(plane, mean):
    total = 0.0
    for value in plane:
        total += (value - mean) * (value - mean)
    return total


@parallel
def _forward(x, mean, scale, bias, y):
    n_images, n_channels = x.shape[:2]
    for item in prange(n_images * n_channels):
        n, c = unravel(item, n_channels)
        _normalise(x[n, c], mean[c], scale[c], bias[c], y[n, c])


@serial
def _normalise(x, mean, scale, bias, y):
    for t in range(x.size):
        y[t] = (x[t] - mean) * scale + bias


@parallel
def _plane_gradient_sums(dy, x, mean, sums):
    n_images, n_channels = x.shape[:2]
    for item in prange(n_images * n_channels):
        n, c = unravel(item, n_channels)
        sums[0, n, c], sums[1, n, c] = _gradient_sums(dy[n, c], x[n, c], mean[c])


@serial_sum
def _gradient_sums(dy, x, mean):
    """(sum of dy, sum of dy * (x - mean)) over one plane."""
    of_dy, of_dy_times_distance = 0.0, 0.0
    for t in range(x.size):
        of_dy += dy[t]
        of_dy_times_distance += dy[t] * (x[t] - mean)
    return of_dy, of_dy_times_distance


@parallel
def _train_backward(dy, x, channels, dx):
    n_images, n_channels = x.shape[:2]
    mean, scale, via_mean, via_variance = channels
    for item in prange(n_images * n_channels):
        n, c = unravel(item, n_channels)
        _train_backward_plane(dy[n, c], x[n, c], mean[c], scale[c], via_mean[c], via_variance[c], dx[n, c])


@serial
def _train_backward_plane(dy, x, mean, scale, via_mean, via_variance, dx):
    for t in range(x.size):
        dx[t] = scale * (dy[t] - via_mean - (x[t] - mean) * via_variance)
