"""Every operation as a loop over single numbers: slow, in float64, and the judge of the reference.

Nothing here shares code or ideas of speed with the package. Sums are Python loops, windows come from exact
fractions, and where the package uses a short formula for a gradient (batch normalisation, log-softmax), here
stands the whole Jacobian, term by term.

    N images n     C channels c     H W image r s        F filters f     KH KW kernel i j
    OH OW output p q                K classes k          D features d
"""

import math
from fractions import Fraction

import numpy as np


def conv2d_forward(x, weight, bias, stride, padding, dilation=(1, 1), groups=1):
    """x (N, C, H, W), weight (F, C / groups, KH, KW), bias (F,) or None -> y (N, F, OH, OW).

    padding is (vertical, horizontal), or for uneven padding ((top, bottom), (left, right)).
    """
    y = np.zeros(_conv2d_output_shape(x, weight, stride, padding, dilation))
    for n, f, p, q in np.ndindex(y.shape):
        y[n, f, p, q] = 0.0 if bias is None else bias[f]
        first = f // (len(weight) // groups) * weight.shape[1]
        for c, i, j, r, s in _conv2d_products(p, q, x, weight, stride, padding, dilation):
            y[n, f, p, q] += weight[f, c, i, j] * x[n, first + c, r, s]
    return y


def conv2d_backward(dy, x, weight, stride, padding, dilation=(1, 1), groups=1):
    """dy (N, F, OH, OW) -> dx (N, C, H, W), dweight (F, C, KH, KW), dbias (F,)."""
    dx, dweight, dbias = np.zeros(x.shape), np.zeros(weight.shape), np.zeros(len(weight))
    for n, f, p, q in np.ndindex(dy.shape):
        dbias[f] += dy[n, f, p, q]
        first = f // (len(weight) // groups) * weight.shape[1]
        for c, i, j, r, s in _conv2d_products(p, q, x, weight, stride, padding, dilation):
            dx[n, first + c, r, s] += weight[f, c, i, j] * dy[n, f, p, q]
            dweight[f, c, i, j] += x[n, first + c, r, s] * dy[n, f, p, q]
    return dx, dweight, dbias


def _conv2d_output_shape(x, weight, stride, padding, dilation):
    """Count the places a kernel fits: (N, F, OH, OW)."""
    sizes = []
    for axis in range(2):
        spanned = (weight.shape[2 + axis] - 1) * dilation[axis] + 1
        last_start = x.shape[2 + axis] + sum(_before_and_after(padding[axis])) - spanned
        sizes.append(len(range(0, last_start + 1, stride[axis])))
    return (x.shape[0], weight.shape[0], *sizes)


def _before_and_after(padding):
    return padding if isinstance(padding, tuple) else (padding, padding)


def _conv2d_products(p, q, x, weight, stride, padding, dilation):
    """(c, i, j, r, s) of every weight and pixel that meet in output (p, q)."""
    for c, i, j in np.ndindex(weight.shape[1:]):
        top, left = _before_and_after(padding[0])[0], _before_and_after(padding[1])[0]
        r, s = p * stride[0] + i * dilation[0] - top, q * stride[1] + j * dilation[1] - left
        if 0 <= r < x.shape[2] and 0 <= s < x.shape[3]:
            yield c, i, j, r, s


# Batch normalisation takes N images (C, H_n, W_n), each of its own size, or of one size (N, C, H, W).


def batchnorm2d_statistics(x):
    """x N images -> mean (C,), biased variance (C,), unbiased variance (C,); the last NaN for one value."""
    n_channels = len(x[0])
    mean, biased, unbiased = np.zeros(n_channels), np.zeros(n_channels), np.zeros(n_channels)
    for c in range(n_channels):
        values = [x[n][c, r, s] for n, r, s in _pixels(x)]
        mean[c] = math.fsum(values) / len(values)
        squares = math.fsum((value - mean[c]) ** 2 for value in values)
        biased[c] = squares / len(values)
        unbiased[c] = squares / (len(values) - 1) if len(values) > 1 else math.nan
    return mean, biased, unbiased


def batchnorm2d_forward(x, weight, bias, mean, var, eps):
    """x N images, all others (C,) -> y a list of N images."""
    y = [np.zeros(image.shape) for image in x]
    for n, r, s in _pixels(x):
        for c in range(len(x[n])):
            y[n][c, r, s] = weight[c] * (x[n][c, r, s] - mean[c]) / math.sqrt(var[c] + eps) + bias[c]
    return y


def batchnorm2d_backward(dy, x, weight, mean, var, eps, training):
    """dy N images -> dx a list of N images, dweight (C,), dbias (C,).

    In training every output of a channel depends on every input of it:

        d x_hat[a] / d x[b] = (1 if a = b, - 1 / count, - x_hat[a] * x_hat[b] / count) / sqrt(var + eps)
    """
    n_channels, pixels = len(x[0]), list(_pixels(x))
    dx, dweight, dbias = [np.zeros(image.shape) for image in x], np.zeros(n_channels), np.zeros(n_channels)
    for c in range(n_channels):
        std = math.sqrt(var[c] + eps)
        x_hat = [(x[n][c, r, s] - mean[c]) / std for n, r, s in pixels]
        d_out = [dy[n][c, r, s] for n, r, s in pixels]
        dweight[c] = math.fsum(d * h for d, h in zip(d_out, x_hat, strict=True))
        dbias[c] = math.fsum(d_out)
        for b, (n, r, s) in enumerate(pixels):
            total = d_out[b]
            if training:
                total -= math.fsum(d * (1 + h * x_hat[b]) for d, h in zip(d_out, x_hat, strict=True)) / len(pixels)
            dx[n][c, r, s] = weight[c] * total / std
    return dx, dweight, dbias


def _pixels(x):
    """(n, r, s) of all pixels of all images."""
    return ((n, r, s) for n in range(len(x)) for r, s in np.ndindex(x[n].shape[1:]))


def relu_forward(x):
    """x of any shape -> y alike. Only what is known not to be positive becomes 0; NaN is not known to be."""
    y = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        y[index] = 0.0 if x[index] <= 0 else x[index]
    return y


def relu_backward(dy, x):
    """dy like x -> dx alike."""
    dx = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        dx[index] = 0.0 if x[index] <= 0 else dy[index]
    return dx


def philox(counter, key):
    """Philox4x32-10 in Python's integers: four words for a counter of four words and a key of two."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def dropout(x, p, seed, step, first_image):
    """A list of images of any shapes -> y alike: the word of each number says whether it stays."""
    result = []
    for n, image in enumerate(x):
        y = np.zeros(image.size)
        for t, number in enumerate(image.flat):
            words = philox((t // 4, first_image + n, step % 2**32, step // 2**32), (seed % 2**32, seed // 2**32))
            y[t] = number / (1 - p) if words[t % 4] >= p * 2**32 else 0.0
        result.append(y.reshape(image.shape))
    return result


def add(x, other):
    """Two arrays of one shape -> y alike."""
    y = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        y[index] = x[index] + other[index]
    return y


def adaptive_windows(n_in, n_out):
    """[(start, stop, extent)] of one axis, from exact fractions."""
    windows = []
    for p in range(n_out):
        start, stop = math.floor(Fraction(p * n_in, n_out)), math.ceil(Fraction((p + 1) * n_in, n_out))
        windows.append((start, stop, stop - start))
    return windows


def fixed_windows(n_in, kernel, stride, padding, ceil_mode=False, count_include_pad=True):
    """[(start, stop, extent)] of one axis: slide the kernel over the padded axis, then cut the padding off.

    In ceil_mode it slides on to reach past the end by less than a stride, if it still begins before the image ends.
    """
    windows = []
    start, end = -padding, n_in + padding
    while start + kernel <= end or (ceil_mode and start + kernel - end < stride and start < n_in):
        cells = [r for r in range(start, start + kernel) if r < end]
        inside = [r for r in cells if 0 <= r < n_in]
        windows.append((inside[0], inside[-1] + 1, len(cells if count_include_pad else inside)))
        start += stride
    return windows


def max_pool2d_forward(x, rows, columns):
    """x (N, C, H, W), windows OH and OW -> y (N, C, OH, OW), winners: dict from (n, c, p, q) to (r, s).

    The first maximum wins. NaN beats every number, and the last NaN the others.
    """
    y, winners = np.zeros((*x.shape[:2], len(rows), len(columns))), {}
    for n, c, p, q in np.ndindex(y.shape):
        best = None
        for r in range(*rows[p][:2]):
            for s in range(*columns[q][:2]):
                if best is None or x[n, c, r, s] > x[(n, c, *best)] or math.isnan(x[n, c, r, s]):
                    best = (r, s)
        winners[n, c, p, q] = best
        y[n, c, p, q] = x[(n, c, *best)]
    return y, winners


def max_pool2d_backward(dy, winners, x_shape):
    """dy (N, C, OH, OW) -> dx (N, C, H, W)."""
    dx = np.zeros(x_shape)
    for n, c, p, q in np.ndindex(dy.shape):
        dx[(n, c, *winners[n, c, p, q])] += dy[n, c, p, q]
    return dx


def avg_pool2d_forward(x, rows, columns):
    """x (N, C, H, W), windows OH and OW -> y (N, C, OH, OW)."""
    y = np.zeros((*x.shape[:2], len(rows), len(columns)))
    for n, c, p, q in np.ndindex(y.shape):
        for r in range(*rows[p][:2]):
            for s in range(*columns[q][:2]):
                y[n, c, p, q] += x[n, c, r, s] / (rows[p][2] * columns[q][2])
    return y


def avg_pool2d_backward(dy, rows, columns, x_shape):
    """dy (N, C, OH, OW) -> dx (N, C, H, W)."""
    dx = np.zeros(x_shape)
    for n, c, p, q in np.ndindex(dy.shape):
        for r in range(*rows[p][:2]):
            for s in range(*columns[q][:2]):
                dx[n, c, r, s] += dy[n, c, p, q] / (rows[p][2] * columns[q][2])
    return dx


def flatten_forward(x):
    """x (N, ...) -> y (N, D), in reading order."""
    y = np.zeros((x.shape[0], math.prod(x.shape[1:])))
    for n in range(len(x)):
        for d, index in enumerate(np.ndindex(x.shape[1:])):
            y[n, d] = x[(n, *index)]
    return y


def flatten_backward(dy, x_shape):
    """dy (N, D) -> dx (N, ...)."""
    dx = np.zeros(x_shape)
    for n in range(len(dx)):
        for d, index in enumerate(np.ndindex(x_shape[1:])):
            dx[(n, *index)] = dy[n, d]
    return dx


def linear_forward(x, weight, bias):
    """x (N, D), weight (K, D), bias (K,) or None -> y (N, K)."""
    y = np.zeros((len(x), len(weight)))
    for n, k in np.ndindex(y.shape):
        y[n, k] = 0.0 if bias is None else bias[k]
        for d in range(x.shape[1]):
            y[n, k] += weight[k, d] * x[n, d]
    return y


def linear_backward(dy, x, weight):
    """dy (N, K) -> dx (N, D), dweight (K, D), dbias (K,)."""
    dx, dweight, dbias = np.zeros(x.shape), np.zeros(weight.shape), np.zeros(len(weight))
    for n, k in np.ndindex(dy.shape):
        dbias[k] += dy[n, k]
        for d in range(x.shape[1]):
            dx[n, d] += dy[n, k] * weight[k, d]
            dweight[k, d] += dy[n, k] * x[n, d]
    return dx, dweight, dbias


def log_softmax_forward(x):
    """x (N, K) -> y (N, K)."""
    y = np.zeros(x.shape)
    for n in range(len(x)):
        row = [float(value) for value in x[n]]
        largest = max(row)
        log_sum = largest + math.log(math.fsum(math.exp(value - largest) for value in row))
        for k, value in enumerate(row):
            y[n, k] = value - log_sum
    return y


def log_softmax_backward(dy, x):
    """dy (N, K) -> dx (N, K). The Jacobian: d y[k] / d x[l] = (1 if k = l) - softmax(x)[l]."""
    dx, y = np.zeros(x.shape), log_softmax_forward(x)
    for n in range(len(x)):
        for column in range(x.shape[1]):
            for k in range(x.shape[1]):
                dx[n, column] += dy[n, k] * ((1 if k == column else 0) - math.exp(y[n, column]))
    return dx


def nll_loss_forward(log_p, targets, weights, label_smoothing, ignore_index=-100, reduction="mean"):
    """log_p (N, K), targets N labels, weights K numbers -> float."""
    loss = 0.0
    for n, k, share in _wanted(targets, weights, label_smoothing, ignore_index, reduction):
        loss -= share * log_p[n, k]
    return float(loss)


def nll_loss_backward(log_p, targets, weights, label_smoothing, ignore_index=-100, reduction="mean"):
    """-> d_log_p (N, K)."""
    d_log_p = np.zeros(log_p.shape)
    for n, k, share in _wanted(targets, weights, label_smoothing, ignore_index, reduction):
        d_log_p[n, k] -= share
    return d_log_p


def _wanted(targets, weights, label_smoothing, ignore_index, reduction):
    """(n, k, share): how much of the loss hangs on log_p[n, k]; only shares that are not 0."""
    total = math.fsum(weights[target] for target in targets if target != ignore_index) if reduction == "mean" else 1.0
    for n, target in enumerate(targets):
        if target == ignore_index:
            continue
        for k, weight in enumerate(weights):
            share = label_smoothing / len(weights) + (1 - label_smoothing if k == target else 0)
            if share * weight:
                yield n, k, share * weight / total


def sgd_step(param, velocity, grad, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    """One number, its velocity and its gradient -> new number, new velocity."""
    grad = grad + weight_decay * param
    velocity = momentum * velocity + grad
    direction = grad + momentum * velocity if nesterov else velocity
    return param - lr * direction, velocity


def adam_step(param, m, v, grad, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False):
    """One number, its two moments and its gradient -> new number, new moments. `step` counts from 1."""
    if decoupled:
        param = param - lr * weight_decay * param
    else:
        grad = grad + weight_decay * param
    m = betas[0] * m + (1 - betas[0]) * grad
    v = betas[1] * v + (1 - betas[1]) * grad * grad
    m_hat, v_hat = m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)
    return param - lr * m_hat / (math.sqrt(v_hat) + eps), m, v
