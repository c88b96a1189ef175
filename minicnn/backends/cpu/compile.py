"""Compile ahead: run every operation once on arrays of a few numbers.

Numba compiles a kernel at its first call and keeps it on disk for the next process, so this takes seconds on the
first run after an installation, and a fraction of one later.
"""

import functools
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minicnn.backends.compile import Step, run_steps
from minicnn.backends.contract import Activation, Block, Gradient, Norm
from minicnn.backends.cpu import (
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
from minicnn.backends.cpu.runtime import helper
from minicnn.backends.cpu.runtime.dry_run import launches_noted
from minicnn.backends.protocol import Report
from minicnn.geometry import adaptive_windows
from minicnn.plain import Array, Pair


def compile_kernels(dtype: DTypeLike, report: Report | None = None, files: Collection[str] | None = None) -> None:
    """Make the kernels of the operations in `files` ready for arrays of `dtype`, by default of all.

    `files` are names of the contract's files ("conv", "fused", …). `report(name, done, total)` is called before each.
    """
    with helper.begun(lambda: {"dtype": np.dtype(dtype).name, "files": None if files is None else sorted(files)}):
        run_steps(STEPS, dtype, report, files)


def help_to_compile(dtype: str, files: Collection[str] | None = None, blocks: Sequence[int] | None = None) -> None:
    """What `runtime.helper` does in a process of its own: compile what another needs, the last first.

    The other one does the steps of `files`; or it has begun to train blocks, (N, C, H, W) images by F filters first.
    """
    steps = [step for file, step in STEPS if files is None or file in files]
    if blocks is not None:
        steps = [functools.partial(_training_step, blocks)]
    for step in reversed(steps):
        with launches_noted() as noted:
            step(np.dtype(dtype))
        for function, argument_types in reversed(noted):
            function.compile(argument_types)


def _training_step(blocks: Sequence[int], dtype: np.dtype[Any]) -> None:
    """A step of a network that begins with these blocks, in its order. The rest of it is a guess, that of SimpleNet."""
    *shape, filters = blocks
    activations = _two_blocks(tuple(shape), filters, dtype)
    y, peaks = fused.fused_max(activations[-1])
    for step in (_linear, _log_softmax, _losses):
        step(dtype)
    _two_blocks_back(fused.fused_max_backward(y, peaks, activations[-1]), *activations)
    _adam(dtype)


def _convolutions_of_few_channels(dtype: np.dtype[Any]) -> None:
    """By the register tile."""
    _convolve(np.ones((2, 1, 4, 4), dtype))


def _convolutions_of_many_channels(dtype: np.dtype[Any]) -> None:
    """By Winograd's kernels."""
    _convolve(np.ones((2, 8, 4, 4), dtype))


def _convolve(x: Array) -> None:
    """All three passes, on two images, so that two threads have work."""
    weight, once = np.ones((x.shape[1], x.shape[1], 3, 3), x.dtype), (1, 1)
    conv.conv2d_forward(x, weight, None, once, once)
    conv.conv2d_input_gradient(x, weight, (4, 4), once, once)
    conv.conv2d_weight_gradient(x, x, (3, 3), once, once)


def _general_convolutions(dtype: np.dtype[Any]) -> None:
    x, weight, once = np.ones((1, 1, 4, 4), dtype), np.ones((1, 1, 3, 3), dtype), (1, 1)
    settings = once, (once, once), once, 1
    general_conv.general_conv2d_forward(x, weight, None, *settings)
    general_conv.general_conv2d_input_gradient(x, weight, (4, 4), *settings)
    general_conv.general_conv2d_weight_gradient(x, x, (3, 3), *settings)


def _block(
    channels: int, filters: int, dtype: np.dtype[Any], mean: Array | None = None
) -> tuple[Array, Array, Norm, Pair, Pair]:
    """Arguments of a block; batchnorm takes its statistics from the batch unless `mean` is given."""
    weight, number = np.ones((filters, channels, 3, 3), dtype), np.ones(filters, dtype)
    return weight, number, Norm(number, number, mean, mean, 1.0), (1, 1), (1, 1)


# The shapes of few and of many images: of these both gradients are taken in one pass.
FEW, MANY = (2, 1, 4, 4), (9, 1, 32, 32)


def _two_blocks(shape: tuple[int, ...], filters: int, dtype: np.dtype[Any]) -> tuple[Array, Activation, Activation]:
    """Images, and what becomes of them."""
    x = np.ones(shape, dtype)
    first = fused.fused_conv_forward(x, *_block(shape[1], filters, dtype))
    return x, first, fused.fused_conv_forward(first, *_block(filters, filters, dtype))


def _two_blocks_back(gradient: Gradient, x: Array, first: Activation, second: Activation) -> None:
    for block, below, channels in ((second, first, first.y.filters), (first, x, x.shape[1])):
        weight, _, _, stride, padding = _block(channels, block.y.filters, x.dtype)
        arguments = (block, below, weight, stride, padding)
        *_, gradient = fused.fused_conv_backward(gradient, *arguments, need_below=below is first)


def _fused_forward(dtype: np.dtype[Any]) -> None:
    *_, second = _two_blocks(FEW, 8, dtype)
    fused.fused_max(second)


def _fused_backward(dtype: np.dtype[Any]) -> None:
    for shape in (FEW, MANY):
        activations = _two_blocks(shape, 8, dtype)
        y, peaks = fused.fused_max(activations[-1])
        _two_blocks_back(fused.fused_max_backward(y, peaks, activations[-1]), *activations)


def _fused_outputs(dtype: np.dtype[Any]) -> None:
    x, _, second = _two_blocks(FEW, 8, dtype)
    fused.fused_output_backward(fused.fused_output(second), second)
    mean = np.ones(8, dtype)
    blocks = [Block(*_block(channels, 8, dtype, mean)) for channels in (1, 8)]
    fused.fused_predict(x, blocks, to_maximum=False)
    fused.fused_predict(x, blocks, to_maximum=True)


def _batchnorm(dtype: np.dtype[Any]) -> None:
    x, number = np.ones((1, 1, 2, 2), dtype), np.ones(1, dtype)
    batchnorm.batchnorm2d_statistics(x)
    batchnorm.batchnorm2d_forward(x, number, number, number, number, 0.1)
    batchnorm.batchnorm2d_train_backward(x, x, number, number, number, 0.1)


def _relu(dtype: np.dtype[Any]) -> None:
    x = np.ones(1, dtype)
    activation.relu_backward(x, activation.relu_forward(x))


def _addition(dtype: np.dtype[Any]) -> None:
    x = np.ones(1, dtype)
    addition.add(x, x)


def _dropout(dtype: np.dtype[Any]) -> None:
    dropout.dropout(np.ones(1, dtype), 0.5, 0, 0, 0)


def _pooling(dtype: np.dtype[Any]) -> None:
    x, window = np.ones((1, 1, 2, 2), dtype), adaptive_windows(2, 1)
    y, argmax = pooling.max_pool2d_forward(x, window, window)
    pooling.max_pool2d_backward(y, argmax, window, window, (2, 2))
    pooling.avg_pool2d_backward(pooling.avg_pool2d_forward(x, window, window), window, window, (2, 2))


def _linear(dtype: np.dtype[Any]) -> None:
    x, number = np.ones((1, 1), dtype), np.ones(1, dtype)
    y = linear.linear_forward(x, x, number)
    linear.linear_input_gradient(y, x)
    linear.linear_weight_gradient(y, x)


def _log_softmax(dtype: np.dtype[Any]) -> None:
    log_p = log_softmax.log_softmax_forward(np.ones((1, 1), dtype))
    log_softmax.log_softmax_backward(log_p, log_p)


def _losses(dtype: np.dtype[Any]) -> None:
    log_p, number, labels = np.ones((1, 1), dtype), np.ones(1, dtype), np.zeros(1, np.int64)
    losses.nll_loss_forward(log_p, labels, number, 0.0)
    losses.nll_loss_backward(log_p, labels, number, 0.0)


def _sgd(dtype: np.dtype[Any]) -> None:
    param, velocity, grad = np.ones((3, 1), dtype)
    optim.sgd_step_(param, velocity, grad, 0.1, 0.9, False, 0.0)


def _adam(dtype: np.dtype[Any]) -> None:
    param, first, second, grad = np.ones((4, 1), dtype)
    optim.adam_step_(param, first, second, grad, 0.1, 0.9, 0.999, 1e-8, 0.0, False, 1)


def _arrays(dtype: np.dtype[Any]) -> None:
    for size in (1, arrays.FEW + 1):
        arrays.sum_of_squares(np.ones(size, dtype))


# What `compile_kernels` does. Quick ones first: on a cold start the first report comes soon.
STEPS: list[Step] = [
    ("linear", _linear),
    ("log_softmax", _log_softmax),
    ("losses", _losses),
    ("optim", _sgd),
    ("optim", _adam),
    ("arrays", _arrays),
    ("activation", _relu),
    ("addition", _addition),
    ("dropout", _dropout),
    ("batchnorm", _batchnorm),
    ("pooling", _pooling),
    ("conv", _convolutions_of_few_channels),
    ("conv", _convolutions_of_many_channels),
    ("general_conv", _general_convolutions),
    ("fused", _fused_forward),
    ("fused", _fused_backward),
    ("fused", _fused_outputs),
]
