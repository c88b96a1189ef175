"""A fully connected layer.

Each of K outputs is a weighted sum of all D inputs:

    y = x Wᵀ + bias           y[n, k] = bias[k] + sum over d of weight[k, d] * x[n, d]

    dx = dy W                 what each input is worth: the weights it went through, times what came back
    dweight = dyᵀ x           the outer product of dy and x, summed over the images
    dbias = sum of dy
"""

from minicnn.plain import Array


def linear_forward(x: Array, weight: Array, bias: Array | None) -> Array:
    """y (N, K) for x (N, D), weight (K, D), bias (K,) or None."""
    y = x @ weight.T
    if bias is not None:
        y += bias
    return y


def linear_input_gradient(dy: Array, weight: Array) -> Array:
    """dx (N, D) for dy (N, K), weight (K, D).

    forward: y[n, k] += weight[k, d] * x[n, d]
    """
    # learn: an input went into every output, through one weight each
    return dy @ weight


def linear_weight_gradient(dy: Array, x: Array) -> Array:
    """dweight (K, D) for dy (N, K), x (N, D).

    forward: y[n, k] += weight[k, d] * x[n, d]
    """
    # learn: a weight stands between one input and one output, in every image
    return dy.T @ x


def linear_bias_gradient(dy: Array) -> Array:
    """dbias (K,) for dy (N, K).

    forward: y[n, k] += bias[k]
    """
    # learn: a bias is added to its output, in every image
    return dy.sum(axis=0)
