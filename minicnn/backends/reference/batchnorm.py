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

PIXELS = (0, 2, 3)  # the axes that the statistics of a channel run over: images, rows, columns


def batchnorm2d_statistics(x):
    """Mean and *biased* variance (divided by n, not n - 1) of each channel, float64.

    Rounded to float32, a mean of a hundred standard deviations would shift x_hat in its fifth digit.
    """
    return x.mean(axis=PIXELS, dtype=np.float64), x.var(axis=PIXELS, dtype=np.float64)


def batchnorm2d_forward(x, weight, bias, mean, var, eps):
    x_hat = _normalised(x, mean, var, eps)
    return _per_channel(weight) * x_hat + _per_channel(bias)


def batchnorm2d_train_backward(dy, x, weight, mean, var, eps):
    x_hat = _normalised(x, mean, var, eps)
    dweight = (dy * x_hat).sum(axis=PIXELS)
    dbias = dy.sum(axis=PIXELS)

    count = dy.size // dy.shape[1]
    via_mean = _per_channel(dbias / count)
    via_variance = x_hat * _per_channel(dweight / count)
    dx = _per_channel(_scale(weight, var, eps)) * (dy - via_mean - via_variance)
    return dx, dweight, dbias


def batchnorm2d_eval_backward(dy, x, weight, mean, var, eps):
    x_hat = _normalised(x, mean, var, eps)
    dweight = (dy * x_hat).sum(axis=PIXELS)
    dbias = dy.sum(axis=PIXELS)

    dx = _per_channel(_scale(weight, var, eps)) * dy
    return dx, dweight, dbias


def update_running_statistics_(running_mean, running_var, mean, var, count, momentum):
    """running = (1 - momentum) * running + momentum * batch, with the *unbiased* variance (n - 1), as PyTorch.

    Normalising uses the variance of this batch as it is; the running one estimates the variance of the
    data, for which dividing by n would be too small on average.
    """
    unbiased = var * (count / (count - 1))
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (unbiased - running_var)


def _normalised(x, mean, var, eps):
    """x_hat, worked out in float64 and then rounded to the dtype of x."""
    return ((x - _per_channel(mean)) / _per_channel(np.sqrt(var + eps))).astype(x.dtype)


def _scale(weight, var, eps):
    return (weight / np.sqrt(var + eps)).astype(weight.dtype)


def _per_channel(vector):
    """(C,) as (C, 1, 1), so that it meets the channel axis of (N, C, H, W)."""
    return vector[:, None, None]
