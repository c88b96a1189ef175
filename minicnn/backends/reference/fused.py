"""Convolution, batchnorm and relu as one block, so that an activation is written once and read where it is needed.

A stack of blocks never stores what batchnorm and relu make. It stores the convolution's output y and the numbers
of each channel, and whoever reads the activation does the rest on the way:

    a = relu(z)          z = scale * (y - mean) + bias          scale = weight / sqrt(var + eps)

Going backward, let g be the gradient at z, that is da where z > 0 and else 0. Batchnorm's backward, with n pixels
to a channel, turns it into the gradient at y (see `batchnorm`):

    dy = scale * (g - sum(g) / n - (y - mean) / (var + eps) * sum(g * (y - mean)) / n)

The two sums are taken when g is made, and dy is not stored either: the convolution's two gradients form it as they read
y and g. A block so costs one write forward and one backward.

Here, to be read, every step is written out with the plain operations, and a gradient is g alone. Other backends keep
y and g in a layout of their own: only these operations look inside an `Activation` or a gradient.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.backends.contract import Activation, Block, Norm
from minicnn.backends.reference.mixed import (
    batchnorm2d_eval_backward,
    batchnorm2d_forward,
    batchnorm2d_statistics,
    batchnorm2d_train_backward,
    conv2d_bias_gradient,
    conv2d_forward,
    conv2d_input_gradient,
    conv2d_weight_gradient,
    max_pool2d_backward,
    max_pool2d_forward,
    relu_backward,
    relu_forward,
)
from minicnn.geometry import adaptive_windows
from minicnn.images import Images, sizes_of
from minicnn.plain import Array, Pair


def fused_conv_forward(
    below: Any, weight: Array, bias: Array | None, norm: Norm, stride: Pair, padding: Pair
) -> Activation:
    """One block forward: activation (N, F, OH, OW) for below (N, C, H, W), weight (F, C, KH, KW), bias (F,) or None,
    norm (F,).

    Where `norm.mean` is None, mean and var are taken from the batch.
    """
    y = conv2d_forward(_read(below), weight, bias, stride, padding)
    from_batch = norm.mean is None
    if from_batch:
        mean, var = batchnorm2d_statistics(y)
        norm = norm._replace(mean=mean, var=var)
    return Activation(y, norm, from_batch)


def fused_renormalised(activation: Activation, norm: Norm) -> Activation:
    """The activation (N, F, OH, OW) with another norm (F,)."""
    return activation._replace(norm=norm)


def fused_predict(x: Any, blocks: Sequence[Block], to_maximum: bool) -> Any:
    """Blocks in evaluation: a (N, F, OH, OW) for x (N, C, H, W), or the maximum of each channel, y (N, F).

    Batchnorm is folded into the convolution, and only relu is left for the reader.
    """
    below = x
    for weight, bias, norm, stride, padding in blocks:
        y = conv2d_forward(_read(below), *folded(weight, bias, norm), stride, padding)
        below = Activation(y, None, from_batch=False)
    return fused_max(below)[0] if to_maximum else fused_output(below)


def fused_output(activation: Activation) -> Any:
    """a (N, F, OH, OW) for activation (N, F, OH, OW): an ordinary array, or `Images`."""
    return _read(activation)


def fused_output_backward(da: Any, activation: Activation) -> Any:
    """g (N, F, OH, OW) for da, activation (N, F, OH, OW).

    forward: a = relu(z)
    """
    return relu_backward(da, _read(activation))


def fused_max(activation: Activation) -> tuple[Array, Any]:
    """y (N, F), the largest value of each channel, and its peaks (N, F, 1, 1) for activation (N, F, OH, OW)."""
    a = _read(activation)
    y, peaks = max_pool2d_forward(a, *_whole_images(sizes_of(a)))
    return (y.as_array() if isinstance(y, Images) else y)[:, :, 0, 0], peaks


def fused_max_backward(dy: Array, peaks: Any, activation: Activation) -> Any:
    """g (N, F, OH, OW) for dy (N, F), peaks (N, F, 1, 1), activation (N, F, OH, OW).

    It is dy at the peaks, if relu let them through, and 0 elsewhere.

    forward: y[n, f] = max over p, q of relu(z[n, f, p, q])
    """
    of_images: Any = dy[:, :, None, None]
    if isinstance(peaks, Images):
        of_images = Images.of_array(of_images)
    sizes = sizes_of(activation.y)
    da = max_pool2d_backward(of_images, peaks, *_whole_images(sizes), sizes)
    return fused_output_backward(da, activation)


def fused_conv_backward(
    gradient: Any,
    activation: Activation,
    below: Any,
    weight: Array,
    stride: Pair,
    padding: Pair,
    need_below: bool,
) -> tuple[tuple[Array, Array], tuple[Array, Array], Any]:
    """One block backward: (dweight (F, C, KH, KW), dbias (F,)) of the convolution, (dweight (F,), dbias (F,)) of
    batchnorm, and dx (N, C, H, W), for gradient, activation (N, F, OH, OW), below (N, C, H, W), weight (F, C, KH, KW).

    Where `below` is an activation, the gradient for the next call comes in place of dx; None unless asked for.

    forward: y = conv(below)  and  z = scale * (y - mean) + bias
    """
    y, norm, from_batch = activation
    assert norm is not None  # only `fused_predict` leaves it out, and from there no way leads back
    batchnorm2d_backward = batchnorm2d_train_backward if from_batch else batchnorm2d_eval_backward
    dy, d_norm_weight, d_norm_bias = batchnorm2d_backward(gradient, y, norm.weight, norm.mean, norm.var, norm.eps)

    x = _read(below)
    dweight = conv2d_weight_gradient(dy, x, weight.shape[2:], stride, padding)
    # Batchnorm takes the mean out, and the bias with it: no bias can change the output, so its gradient is 0.
    dbias = np.zeros_like(norm.bias) if from_batch else conv2d_bias_gradient(dy)
    dx = None
    if need_below:
        dx = conv2d_input_gradient(dy, weight, sizes_of(x), stride, padding)
        if isinstance(below, Activation):
            dx = fused_output_backward(dx, below)
    return (dweight, dbias), (d_norm_weight, d_norm_bias), dx


def folded(weight: Array, bias: Array | None, norm: Norm) -> tuple[Array, Array]:
    """Weight and bias of the one convolution that does what convolution and batchnorm do: W' = scale * W."""
    scale = (norm.weight / np.sqrt(norm.var + norm.eps)).astype(weight.dtype)
    shift = norm.bias - scale * norm.mean
    return weight * scale[:, None, None, None], shift if bias is None else scale * bias + shift


def _whole_images(sizes: Any) -> tuple[Any, Any]:
    """The tables (rows, columns) of one window as large as the image; for sizes (N, 2) lists of such tables."""
    if isinstance(sizes, tuple):
        height, width = sizes
        return adaptive_windows(height, 1), adaptive_windows(width, 1)
    heights, widths = sizes.T.tolist()
    return [adaptive_windows(height, 1) for height in heights], [adaptive_windows(width, 1) for width in widths]


def _read(below: Any) -> Any:
    """An activation, or images, as an ordinary array or `Images`."""
    if not isinstance(below, Activation):
        return below
    y, norm, _ = below
    if norm is not None:
        y = batchnorm2d_forward(y, norm.weight, norm.bias, norm.mean, norm.var, norm.eps)
    return relu_forward(y)
