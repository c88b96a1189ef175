"""Compile ahead: run every operation once on arrays of a few numbers, on the device.

Numba compiles a kernel at its first launch, a second or two each. Those of products have a variant for each tile, which
depends on the number of filters or classes; here each tile has its turn, the blocks of SimpleNet in the same order.
"""

from collections.abc import Collection
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minicnn.backends.compile import run_steps
from minicnn.backends.contract import Block, Norm
from minicnn.backends.cuda import (
    activation,
    addition,
    arrays,
    batchnorm,
    conv,
    dropout,
    fused,
    general_conv,
    linear,
    log_softmax,
    losses,
    optim,
    pooling,
)
from minicnn.backends.cuda.tiles import COLUMN_CHUNK, LARGE_WINDOW, TILES
from minicnn.backends.protocol import Report
from minicnn.geometry import adaptive_windows
from minicnn.plain import Array, Pair


def compile_kernels(dtype: DTypeLike, report: Report | None = None, files: Collection[str] | None = None) -> None:
    """Make the kernels of the operations in `files` ready for arrays of `dtype`, by default of all.

    `files` are names of the contract's files ("conv", "fused", …). `report(name, done, total)` is called before each.
    """
    # Quick ones first: the first report comes soon.
    steps = [
        ("log_softmax", _log_softmax),
        ("losses", _losses),
        ("optim", _optimizers),
        ("arrays", _arrays),
        ("activation", _relu),
        ("addition", _addition),
        ("dropout", _dropout),
        ("batchnorm", _batchnorm),
        ("pooling", _pooling),
        ("linear", _linear),
        ("conv", _convolutions),
        ("general_conv", _general_convolutions),
        ("fused", _fused_forward),
        ("fused", _fused_backward),
        ("fused", _fused_outputs),
    ]
    run_steps(steps, dtype, report, files)


def _ones(dtype: np.dtype[Any], *shape: int) -> Array:
    return arrays.asarray(np.ones(shape, dtype))


def _convolutions(dtype: np.dtype[Any]) -> None:
    """All three passes, with as many filters as a tile has rows, and as many pixels, or taps, as it has columns."""
    for rows, columns in TILES:
        x, weight = _ones(dtype, 1, rows, 1, columns), _ones(dtype, rows, rows, 1, 1)
        y = conv.conv2d_forward(x, weight, None, (1, 1), (0, 0))
        conv.conv2d_input_gradient(y, weight, (1, columns), (1, 1), (0, 0))
        x, dy = _ones(dtype, 1, columns, 1, 1), _ones(dtype, 1, rows, 1, 1)
        conv.conv2d_weight_gradient(dy, x, (1, 1), (1, 1), (0, 0))
    conv.conv2d_bias_gradient(y)


def _general_convolutions(dtype: np.dtype[Any]) -> None:
    """Kernels have a variant for each kernel size, stride and padding; this is the one most used."""
    x, weight, once = _ones(dtype, 1, 1, 3, 3), _ones(dtype, 1, 1, 3, 3), (1, 1)
    settings = once, (once, once), once, 1
    general_conv.general_conv2d_forward(x, weight, None, *settings)
    general_conv.general_conv2d_input_gradient(x, weight, (3, 3), *settings)
    general_conv.general_conv2d_weight_gradient(x, x, (3, 3), *settings)


def _block(
    filters: int, channels: int, dtype: np.dtype[Any], mean: Array | None = None
) -> tuple[Array, Array, Norm, Pair, Pair]:
    """Arguments of a block; batchnorm takes its statistics from the batch unless `mean` is given."""
    weight, numbers = _ones(dtype, filters, channels, 3, 3), _ones(dtype, filters)
    return weight, numbers, Norm(numbers, numbers, mean, mean, 1.0), (1, 1), (1, 1)


def _channels() -> list[int]:
    """Of the images, and of each block: one for each tile."""
    return [1, *(rows for rows, _ in TILES)]


def _stack(dtype: np.dtype[Any]) -> list[Any]:
    """An image with as many pixels as the flattest tile has columns, and the activation of each block."""
    stack: list[Any] = [_ones(dtype, 1, 1, 1, TILES[0][1])]
    for n_channels, n_filters in pairwise(_channels()):
        stack.append(fused.fused_conv_forward(stack[-1], *_block(n_filters, n_channels, dtype)))
    return stack


def _fused_forward(dtype: np.dtype[Any]) -> None:
    fused.fused_max(_stack(dtype)[-1])


def _fused_backward(dtype: np.dtype[Any]) -> None:
    stack, channels = _stack(dtype), _channels()
    y, peaks = fused.fused_max(stack[-1])
    gradient = fused.fused_max_backward(y, peaks, stack[-1])
    while len(stack) > 1:
        block = stack.pop()
        weight, _, _, stride, padding = _block(channels[len(stack)], channels[len(stack) - 1], dtype)
        arguments = block, stack[-1], weight, stride, padding
        *_, gradient = fused.fused_conv_backward(gradient, *arguments, need_below=len(stack) > 1)


def _fused_outputs(dtype: np.dtype[Any]) -> None:
    x, first, *_ = _stack(dtype)
    fused.fused_output_backward(fused.fused_output(first), first)
    blocks = [
        Block(*_block(n_filters, n_channels, dtype, mean=_ones(dtype, n_filters)))
        for n_channels, n_filters in pairwise(_channels())
    ]
    fused.fused_predict(x, blocks, to_maximum=False)


def _batchnorm(dtype: np.dtype[Any]) -> None:
    x, numbers = _ones(dtype, 2, 1, 2, 2), _ones(dtype, 1)
    mean, var = batchnorm.batchnorm2d_statistics(x)
    batchnorm.batchnorm2d_forward(x, numbers, numbers, mean, var, 0.1)
    batchnorm.batchnorm2d_train_backward(x, x, numbers, mean, var, 0.1)
    batchnorm.batchnorm2d_eval_backward(x, x, numbers, mean, var, 0.1)
    batchnorm.update_running_statistics_(numbers, _ones(dtype, 1), mean, var, 8, 0.1)


def _relu(dtype: np.dtype[Any]) -> None:
    x = _ones(dtype, 1)
    activation.relu_backward(x, activation.relu_forward(x))


def _addition(dtype: np.dtype[Any]) -> None:
    x = _ones(dtype, 1)
    addition.add(x, x)


def _dropout(dtype: np.dtype[Any]) -> None:
    dropout.dropout(_ones(dtype, 1), 0.5, 0, 0, 0)


def _pooling(dtype: np.dtype[Any]) -> None:
    """The windows are the whole image; large ones have kernels of their own."""
    for size in (2, LARGE_WINDOW):
        x, rows, columns = _ones(dtype, 1, 1, 1, size), adaptive_windows(1, 1), adaptive_windows(size, 1)
        y, argmax = pooling.max_pool2d_forward(x, rows, columns)
        pooling.max_pool2d_backward(y, argmax, rows, columns, (1, size))
        pooling.avg_pool2d_backward(pooling.avg_pool2d_forward(x, rows, columns), rows, columns, (1, size))


def _linear(dtype: np.dtype[Any]) -> None:
    """The three products are one kernel, in a variant for each tile."""
    for rows, columns in TILES:
        linear.linear_forward(_ones(dtype, rows, 1), _ones(dtype, columns, 1), None)
    linear.linear_bias_gradient(_ones(dtype, COLUMN_CHUNK + 1, 1))


def _log_softmax(dtype: np.dtype[Any]) -> None:
    log_p = log_softmax.log_softmax_forward(_ones(dtype, 1, 1))
    log_softmax.log_softmax_backward(log_p, log_p)


def _losses(dtype: np.dtype[Any]) -> None:
    log_p, weights, labels = _ones(dtype, 1, 1), _ones(dtype, 1), arrays.asarray(np.zeros(1, np.int64))
    losses.nll_loss_forward(log_p, labels, weights, 0.0)
    losses.nll_loss_backward(log_p, labels, weights, 0.0)


def _optimizers(dtype: np.dtype[Any]) -> None:
    param, first, second, grad = (_ones(dtype, 1) for _ in range(4))
    optim.sgd_step_(param, first, grad, 0.1, 0.9, False, 0.0)
    optim.adam_step_(param, first, second, grad, 0.1, 0.9, 0.999, 1e-8, 0.0, False, 1)


def _arrays(dtype: np.dtype[Any]) -> None:
    array = _ones(dtype, 1)
    arrays.sum_of_squares(array)
    arrays.scale_(array, 1.0)
