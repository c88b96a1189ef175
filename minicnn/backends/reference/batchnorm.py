"""Batch normalisation (Ioffe and Szegedy, 2015), per channel over all pixels of all images.

    x_hat = (x - mean) / sqrt(var + eps)          y = weight * x_hat + bias

In training mean and var are those of the batch; in evaluation they are the running ones. The forward pass is
the same, the backward pass is not: in training x reaches y by three paths, directly, through the mean and
through the variance, and in evaluation only directly, since the statistics are then constants.

    evaluation   dx = weight / sqrt(var + eps) * dy
    training     dx = weight / sqrt(var + eps) * (dy  -  mean(dy)  -  x_hat * mean(dy * x_hat))
                                                  direct  via mean    via variance

    both         dweight = sum of dy * x_hat      dbias = sum of dy
"""

import numpy as np

from minicnn.plain import Array

PIXELS = (0, 2, 3)  # the axes that the statistics of a channel run over: images, rows, columns


def batchnorm2d_statistics(x: Array) -> tuple[Array, Array]:
    """mean and var (C,) of x (N, C, H, W), in float64; var is the *biased* variance, divided by n and not by n - 1.

    Rounded to float32, a mean of a hundred standard deviations would shift x_hat in its fifth digit.
    """
    return x.mean(axis=PIXELS, dtype=np.float64), x.var(axis=PIXELS, dtype=np.float64)


def batchnorm2d_forward(x: Array, weight: Array, bias: Array, mean: Array, var: Array, eps: float) -> Array:
    """y (N, C, H, W) for x (N, C, H, W), weight, bias, mean, var (C,)."""
    x_hat = _normalised(x, mean, var, eps)
    return _per_channel(weight) * x_hat + _per_channel(bias)


def batchnorm2d_train_backward(
    dy: Array, x: Array, weight: Array, mean: Array, var: Array, eps: float
) -> tuple[Array, Array, Array]:
    """dx (N, C, H, W), dweight, dbias (C,) for dy, x (N, C, H, W), weight, mean, var (C,), mean and var those of x.

    forward: y[n, c, r, s] = weight[c] * (x[n, c, r, s] - mean(x)[c]) / sqrt(var(x)[c] + eps) + bias[c]
    """
    x_hat = _normalised(x, mean, var, eps)
    dweight = (dy * x_hat).sum(axis=PIXELS)
    dbias = dy.sum(axis=PIXELS)

    via_mean, via_variance = _by_the_statistics(x_hat, dweight, dbias)
    dx = _per_channel(_scale(weight, var, eps)) * (dy - via_mean - via_variance)
    return dx, dweight, dbias


def batchnorm2d_train_paths(
    dy: Array, x: Array, weight: Array, mean: Array, var: Array, eps: float
) -> tuple[Array, Array, Array]:
    """The parts of the training dx by the way they took: directly, via the mean, via the variance. They sum to dx."""
    x_hat = _normalised(x, mean, var, eps)
    via_mean, via_variance = _by_the_statistics(x_hat, (dy * x_hat).sum(axis=PIXELS), dy.sum(axis=PIXELS))
    scale = _per_channel(_scale(weight, var, eps))
    return scale * dy, np.broadcast_to(-scale * via_mean, dy.shape), -scale * via_variance


def batchnorm2d_eval_backward(
    dy: Array, x: Array, weight: Array, mean: Array, var: Array, eps: float
) -> tuple[Array, Array, Array]:
    """dx (N, C, H, W), dweight, dbias (C,) for dy, x (N, C, H, W), weight, mean, var (C,), mean and var constants.

    forward: y[n, c, r, s] = weight[c] * (x[n, c, r, s] - mean[c]) / sqrt(var[c] + eps) + bias[c]
    """
    x_hat = _normalised(x, mean, var, eps)
    # learn: in each channel weight was multiplied by x_hat, and bias was added, at every pixel
    dweight = (dy * x_hat).sum(axis=PIXELS)
    dbias = dy.sum(axis=PIXELS)

    # learn: the statistics are constants here, so only the direct path is left
    dx = _per_channel(_scale(weight, var, eps)) * dy
    return dx, dweight, dbias


def update_running_statistics_(
    running_mean: Array, running_var: Array, mean: Array, var: Array, count: int, momentum: float
) -> None:
    """Change running_mean, running_var (C,) by the batch's mean, var (C,) of count values to a channel.

    running = (1 - momentum) * running + momentum * batch, with the *unbiased* variance (n - 1), as PyTorch.

    Normalising uses the variance of this batch as it is; the running one estimates the variance of the
    data, for which dividing by n would be too small on average.
    """
    # learn: the variance of the data, estimated from count values
    unbiased = var * (count / (count - 1))
    # learn: both move towards the batch's, by a share of momentum
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (unbiased - running_var)


def _normalised(x: Array, mean: Array, var: Array, eps: float) -> Array:
    """x_hat, worked out in float64 and then rounded to the dtype of x."""
    return ((x - _per_channel(mean)) / _per_channel(np.sqrt(var + eps))).astype(x.dtype)


def _by_the_statistics(x_hat: Array, dweight: Array, dbias: Array) -> tuple[Array, Array]:
    """mean(dy) and x_hat * mean(dy * x_hat), from the sums that are the gradients of bias and weight."""
    count = x_hat.size // x_hat.shape[1]
    return _per_channel(dbias / count), x_hat * _per_channel(dweight / count)


def _scale(weight: Array, var: Array, eps: float) -> Array:
    return (weight / np.sqrt(var + eps)).astype(weight.dtype)


def _per_channel(vector: Array) -> Array:
    """(C,) as (C, 1, 1), so that it meets the channel axis of (N, C, H, W)."""
    return vector[:, None, None]
