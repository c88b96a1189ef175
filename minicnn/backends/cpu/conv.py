"""Convolution: which rung of the ladder does it. The work is in `minicnn.backends.cpu.convolution`, read that first.

    y[n, f, p, q] = bias[f] + sum over c, i, j of  weight[f, c, i, j] * x[n, c, p * sh - ph + i, q * sw - pw + j]

Winograd's kernels for 3 × 3 with stride 1 and enough channels to sum over, the register tile for all else.

Cost: see the rungs. Outputs come from the pool of `memory`.
"""

from minicnn.backends.cpu.convolution import tile, winograd


def conv2d_forward(x, weight, bias, stride, padding):
    if winograd.serves(x.shape[1], weight.shape[2:], stride, padding):
        return winograd.forward(x, weight, bias, padding)
    return tile.forward(x, weight, bias, stride, padding)


def conv2d_input_gradient(dy, weight, input_size, stride, padding):
    if winograd.serves(dy.shape[1], weight.shape[2:], stride, padding):
        return winograd.input_gradient(dy, weight, input_size, padding)
    return tile.input_gradient(dy, weight, input_size, stride, padding)


def conv2d_weight_gradient(dy, x, kernel_size, stride, padding):
    if winograd.serves(x.shape[1], kernel_size, stride, padding):
        return winograd.weight_gradient(dy, x, padding)
    return tile.weight_gradient(dy, x, kernel_size, stride, padding)


def conv2d_bias_gradient(dy):
    """The bias is added to every output of its filter, so its gradient is their sum."""
    return dy.sum(axis=(0, 2, 3))
