"""Images of different sizes: the operations on images, for arrays and for `Images`.

These are the functions that the backend exports. An array goes straight to the function of the same name in the file
beside this one, where the arithmetic is; `Images` reach it in a form that it takes:

    relu, addition   the flat array of all numbers
    batchnorm        all images side by side, pixel after pixel, as one image (1, C, 1, P), since it does not matter
                     where a pixel lies; what comes out is cut apart again
    dropout          one image after another, each by its place in the batch
    conv, pooling    one image after another, each as a batch of its own; they share the weights of a convolution, so
                     the gradient of the weights is the sum over the images

`rows`, `columns` and `input_size` have the form that goes with x: tables of windows and (H, W) for an array; lists of
tables, one for each image, and the sizes (N, 2) for `Images`. Where one argument decides the form of others, these are
`Any`: a type checker cannot know.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from minicnn.backends.reference import activation, addition, batchnorm, conv, general_conv, pooling
from minicnn.backends.reference import dropout as dropping
from minicnn.images import Batch, Images
from minicnn.plain import Array, Pair

Operation = TypeVar("Operation", bound=Callable[..., object])


def extends(plain: Callable[..., object]) -> Callable[[Operation], Operation]:
    """A decorator: the function below it has the docstring and the place of `plain`, which it extends to `Images`."""

    def decorate(operation: Operation) -> Operation:
        functools.update_wrapper(operation, plain)
        return operation

    return decorate


@extends(activation.relu_forward)
def relu_forward(x: Batch) -> Batch:
    if not isinstance(x, Images):
        return activation.relu_forward(x)
    return x.like(activation.relu_forward(x.data))


@extends(activation.relu_backward)
def relu_backward(dy: Batch, y: Any) -> Batch:
    if not isinstance(dy, Images):
        return activation.relu_backward(dy, y)
    return dy.like(activation.relu_backward(dy.data, y.data))


@extends(addition.add)
def add(x: Batch, other: Any) -> Batch:
    if not isinstance(x, Images):
        return addition.add(x, other)
    return x.like(addition.add(x.data, other.data))


@extends(dropping.dropout)
def dropout(x: Batch, p: float, seed: int, step: int, first_image: int) -> Batch:
    if not isinstance(x, Images):
        return dropping.dropout(x, p, seed, step, first_image)
    return Images([dropping.dropout(image[None], p, seed, step, first_image + n)[0] for n, image in enumerate(x)])


@extends(batchnorm.batchnorm2d_statistics)
def batchnorm2d_statistics(x: Batch) -> tuple[Array, Array]:
    return batchnorm.batchnorm2d_statistics(_side_by_side(x) if isinstance(x, Images) else x)


@extends(batchnorm.batchnorm2d_forward)
def batchnorm2d_forward(x: Batch, weight: Array, bias: Array, mean: Array, var: Array, eps: float) -> Batch:
    if not isinstance(x, Images):
        return batchnorm.batchnorm2d_forward(x, weight, bias, mean, var, eps)
    y = batchnorm.batchnorm2d_forward(_side_by_side(x), weight, bias, mean, var, eps)
    return _cut_apart(y, x.sizes)


@extends(batchnorm.batchnorm2d_train_backward)
def batchnorm2d_train_backward(
    dy: Any, x: Batch, weight: Array, mean: Array, var: Array, eps: float
) -> tuple[Batch, Array, Array]:
    if not isinstance(x, Images):
        return batchnorm.batchnorm2d_train_backward(dy, x, weight, mean, var, eps)
    dx, dweight, dbias = batchnorm.batchnorm2d_train_backward(
        _side_by_side(dy), _side_by_side(x), weight, mean, var, eps
    )
    return _cut_apart(dx, x.sizes), dweight, dbias


@extends(batchnorm.batchnorm2d_eval_backward)
def batchnorm2d_eval_backward(
    dy: Any, x: Batch, weight: Array, mean: Array, var: Array, eps: float
) -> tuple[Batch, Array, Array]:
    if not isinstance(x, Images):
        return batchnorm.batchnorm2d_eval_backward(dy, x, weight, mean, var, eps)
    dx, dweight, dbias = batchnorm.batchnorm2d_eval_backward(
        _side_by_side(dy), _side_by_side(x), weight, mean, var, eps
    )
    return _cut_apart(dx, x.sizes), dweight, dbias


@extends(conv.conv2d_forward)
def conv2d_forward(x: Batch, weight: Array, bias: Array | None, stride: Pair, padding: Pair) -> Batch:
    if not isinstance(x, Images):
        return conv.conv2d_forward(x, weight, bias, stride, padding)
    return Images([conv.conv2d_forward(image[None], weight, bias, stride, padding)[0] for image in x])


@extends(conv.conv2d_input_gradient)
def conv2d_input_gradient(dy: Batch, weight: Array, input_size: Any, stride: Pair, padding: Pair) -> Batch:
    if not isinstance(dy, Images):
        return conv.conv2d_input_gradient(dy, weight, input_size, stride, padding)
    pairs = zip(dy, input_size.tolist(), strict=True)
    return Images([conv.conv2d_input_gradient(d[None], weight, size, stride, padding)[0] for d, size in pairs])


@extends(conv.conv2d_weight_gradient)
def conv2d_weight_gradient(dy: Any, x: Batch, kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
    if not isinstance(x, Images):
        return conv.conv2d_weight_gradient(dy, x, kernel_size, stride, padding)
    dweight = np.zeros((dy.channels, x.channels, *kernel_size), dy.dtype)
    for d, image in zip(dy, x, strict=True):
        dweight += conv.conv2d_weight_gradient(d[None], image[None], kernel_size, stride, padding)
    return dweight


@extends(conv.conv2d_bias_gradient)
def conv2d_bias_gradient(dy: Batch) -> Array:
    if not isinstance(dy, Images):
        return conv.conv2d_bias_gradient(dy)
    dbias = np.zeros(dy.channels, dy.dtype)
    for d in dy:
        dbias += conv.conv2d_bias_gradient(d[None])
    return dbias


@extends(general_conv.general_conv2d_forward)
def general_conv2d_forward(x: Batch, weight: Array, bias: Array | None, *settings: Any) -> Batch:
    plain = general_conv.general_conv2d_forward
    if not isinstance(x, Images):
        return plain(x, weight, bias, *settings)
    return Images([plain(image[None], weight, bias, *settings)[0] for image in x])


@extends(general_conv.general_conv2d_input_gradient)
def general_conv2d_input_gradient(dy: Batch, weight: Array, input_size: Any, *settings: Any) -> Batch:
    plain = general_conv.general_conv2d_input_gradient
    if not isinstance(dy, Images):
        return plain(dy, weight, input_size, *settings)
    pairs = zip(dy, input_size.tolist(), strict=True)
    return Images([plain(d[None], weight, size, *settings)[0] for d, size in pairs])


@extends(general_conv.general_conv2d_weight_gradient)
def general_conv2d_weight_gradient(dy: Any, x: Batch, *settings: Any) -> Array:
    plain = general_conv.general_conv2d_weight_gradient
    if not isinstance(x, Images):
        return plain(dy, x, *settings)
    of_images = [plain(d[None], image[None], *settings) for d, image in zip(dy, x, strict=True)]
    return np.sum(of_images, axis=0)


@extends(pooling.max_pool2d_forward)
def max_pool2d_forward(x: Batch, rows: Any, columns: Any) -> tuple[Batch, Batch]:
    if not isinstance(x, Images):
        return pooling.max_pool2d_forward(x, rows, columns)
    each = zip(x, rows, columns, strict=True)
    results = [pooling.max_pool2d_forward(image[None], *tables) for image, *tables in each]
    return Images([y[0] for y, _ in results]), Images([argmax[0] for _, argmax in results])


@extends(pooling.max_pool2d_backward)
def max_pool2d_backward(dy: Batch, argmax: Any, rows: Any, columns: Any, input_size: Any) -> Batch:
    if not isinstance(dy, Images):
        return pooling.max_pool2d_backward(dy, argmax, rows, columns, input_size)
    each = zip(dy, argmax, rows, columns, input_size.tolist(), strict=True)
    return Images([pooling.max_pool2d_backward(d[None], winners[None], *rest)[0] for d, winners, *rest in each])


@extends(pooling.avg_pool2d_forward)
def avg_pool2d_forward(x: Batch, rows: Any, columns: Any) -> Batch:
    if not isinstance(x, Images):
        return pooling.avg_pool2d_forward(x, rows, columns)
    each = zip(x, rows, columns, strict=True)
    return Images([pooling.avg_pool2d_forward(image[None], *tables)[0] for image, *tables in each])


@extends(pooling.avg_pool2d_backward)
def avg_pool2d_backward(dy: Batch, rows: Any, columns: Any, input_size: Any) -> Batch:
    if not isinstance(dy, Images):
        return pooling.avg_pool2d_backward(dy, rows, columns, input_size)
    each = zip(dy, rows, columns, input_size.tolist(), strict=True)
    return Images([pooling.avg_pool2d_backward(d[None], *rest)[0] for d, *rest in each])


def _side_by_side(images: Images) -> Array:
    """All pixels of `Images` as one image, (1, C, 1, P)."""
    return np.concatenate([image.reshape(images.channels, -1) for image in images], axis=1)[None, :, None, :]


def _cut_apart(pixels: Array, sizes: Array) -> Images:
    """(1, C, 1, P) as `Images` of these sizes: `_side_by_side` undone."""
    ends = sizes.prod(axis=1).cumsum()
    parts = np.split(pixels[0, :, 0], ends[:-1], axis=1)
    return Images([part.reshape(-1, height, width) for part, (height, width) in zip(parts, sizes, strict=True)])
