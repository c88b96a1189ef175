"""A fully connected layer.

Each of K outputs is a weighted sum of all D inputs:

    y = x Wᵀ + bias           y[n, k] = bias[k] + sum over d of weight[k, d] * x[n, d]

    dx = dy W                 what each input is worth: the weights it went through, times what came back
    dweight = dyᵀ x           the outer product of dy and x, summed over the images
    dbias = sum of dy
"""


def linear_forward(x, weight, bias):
    y = x @ weight.T
    if bias is not None:
        y += bias
    return y


def linear_input_gradient(dy, weight):
    # learn: an input went into every output, through one weight each
    return dy @ weight


def linear_weight_gradient(dy, x):
    # learn: a weight stands between one input and one output, in every image
    return dy.T @ x


def linear_bias_gradient(dy):
    # learn: a bias is added to its output, in every image
    return dy.sum(axis=0)
