"""Convolution with all of PyTorch's arguments: groups, dilation, and padding that differs before and after.

    y[n, f, p, q] = bias[f] + sum over c, i, j of
                    weight[f, c, i, j] * x[n, g * CG + c, p * sh + i * dh - top, q * sw + j * dw - left]

Filter f sees the CG = C / groups channels of its group g = f // (F / groups). In `general/`, `plain` goes by this
definition; where the stride and the window are small, the taps are shifts of contiguous memory, and `taps` adds up
vectors of outputs, of four filters at a time. `kernels` has the three passes, and says who owns what. `Images` are done
one by one.
Cost: N * F * CG * KH * KW * OH * OW multiply-adds for each pass.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import get_num_threads

from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.batches import empty_batch
from minicnn.backends.cpu.general.job import CHANNELS, FILTERS, Convolution
from minicnn.backends.cpu.general.kernels import forward, input_gradient, weight_gradient
from minicnn.backends.cpu.general.taps import SLACK
from minicnn.backends.cpu.runtime.launch import launch
from minicnn.backends.cpu.taps import Axis, Layout, Places, no_taps, taps_along
from minicnn.geometry import general_output_sizes
from minicnn.images import Batch, Images
from minicnn.plain import Array, Pads, Pair, Sizes


@guarded
def general_conv2d_forward(
    x: Batch, weight: Array, bias: Array | None, stride: Pair, pads: Pads, dilation: Pair, groups: int
) -> Batch:
    settings = weight.shape[2:], stride, pads, dilation
    y = empty_batch(x, len(weight), _output_sizes(x, *settings), x.dtype)
    biases = np.zeros(len(weight), x.dtype) if bias is None else bias
    for of_x, of_y in zip(_of_one_size(x), _of_one_size(y), strict=True):
        job = _job(_forward_work, of_x.shape, of_y.shape, *settings, groups, True, get_num_threads())
        launch(forward, (of_x, weight, biases, of_y), *job, dtype=x.dtype)
    return y


@guarded
def general_conv2d_input_gradient(
    dy: Batch, weight: Array, input_size: Sizes, stride: Pair, pads: Pads, dilation: Pair, groups: int
) -> Batch:
    settings = weight.shape[2:], stride, pads, dilation
    dx = empty_batch(dy, groups * weight.shape[1], input_size, dy.dtype)
    # By taps, dy is surrounded with zeros, and infinity times such a zero would be NaN.
    by_taps = bool(np.isfinite(weight).all())
    for of_dy, of_dx in zip(_of_one_size(dy), _of_one_size(dx), strict=True):
        job = _job(_input_gradient_work, of_dx.shape, of_dy.shape, *settings, groups, by_taps, get_num_threads())
        launch(input_gradient, (of_dy, weight, of_dx), *job, dtype=dy.dtype)
    return dx


@guarded
def general_conv2d_weight_gradient(
    dy: Batch, x: Batch, kernel_size: Pair, stride: Pair, pads: Pads, dilation: Pair, groups: int
) -> Array:
    settings = kernel_size, stride, pads, dilation, groups
    dweight = _weight_gradient_of(dy, x, *settings, by_taps=True)
    if not np.isfinite(dweight).all():  # by taps, the zeros around dy, too, were multiplied with x
        dweight = _weight_gradient_of(dy, x, *settings, by_taps=False)
    return dweight


def _weight_gradient_of(
    dy: Batch, x: Batch, kernel_size: Pair, stride: Pair, pads: Pads, dilation: Pair, groups: int, by_taps: bool
) -> Array:
    settings = kernel_size, stride, pads, dilation, groups, by_taps
    total = np.zeros((dy.shape[1], x.shape[1] // groups, *kernel_size), np.float64)
    for of_dy, of_x in zip(_of_one_size(dy), _of_one_size(x), strict=True):
        dweight = np.empty(total.shape, x.dtype)
        job = _job(_weight_gradient_work, of_x.shape, of_dy.shape, *settings, get_num_threads())
        launch(weight_gradient, (of_dy, of_x, dweight), *job, dtype=x.dtype)
        total += dweight
    return total.astype(x.dtype)


def _of_one_size(batch: Batch) -> Iterator[Array]:
    """The batch, or of `Images` each as a batch of one."""
    return (image[None] for image in batch) if isinstance(batch, Images) else iter([batch])


def _output_sizes(x: Batch, kernel_size: Pair, stride: Pair, pads: Pads, dilation: Pair) -> Sizes:
    if isinstance(x, Images):
        return general_output_sizes(x.sizes, kernel_size, stride, pads, dilation)
    return _output_size(x.shape[2:], kernel_size, stride, pads, dilation)


@lru_cache(maxsize=256)
def _output_size(size: Pair, kernel_size: Pair, stride: Pair, pads: Pads, dilation: Pair) -> Pair:
    ((height, width),) = general_output_sizes(np.array([size]), kernel_size, stride, pads, dilation).tolist()
    return height, width


# What a kernel is told, and how much it works with.


class Job(NamedTuple):
    """The last arguments of `launch`, but for the dtype."""

    numbers: Array
    workers: int
    table_size: int
    scratch_size: int


class Work(NamedTuple):
    """How many parts a pass has, and what a worker needs for one: integers, and numbers of the arrays' dtype."""

    parts: int
    table_size: int
    scratch_size: int


@lru_cache(maxsize=256)
def _job(
    work_of: Callable[[Convolution, Layout], Work],
    x_shape: Any,
    y_shape: Any,
    kernel_size: Pair,
    stride: Pair,
    pads: Pads,
    dilation: Pair,
    groups: int,
    by_taps: bool,
    threads: int,
) -> Job:
    """Kept, since calls are much alike: to work this out takes longer than a convolution of one image."""
    (n_images, n_channels, *size), (_, n_filters, *out_size) = x_shape, y_shape
    (top, _), (left, _) = pads
    down, across = map(Axis, stride, (top, left), kernel_size, dilation)
    dtype = np.dtype(np.float64)  # of a table that is not used here
    taps = taps_along(down, across, tuple(size), tuple(out_size), dtype) if by_taps else no_taps(dtype)
    of_group = n_channels // groups, n_filters // groups
    settings = *size, *out_size, *kernel_size, *stride, *dilation, top, left
    lengths = taps.shifts.size, len(taps.row_places), len(taps.row_parts)
    conv = Convolution._make((n_images, groups, *of_group, *settings, *lengths, 1))
    parts, table_size, scratch_size = work_of(conv, Layout(*taps.layout.tolist()))
    workers = min(parts, threads)  # each has a copy of what it sees
    places = Places(taps.layout, taps.row_places, taps.row_parts, taps.shifts)
    numbers = np.concatenate([conv._replace(workers=workers), *(table.ravel() for table in places)])
    return Job(numbers, workers, table_size, scratch_size)


# Memory to work with has rows that are sorted planes, outputs, or two phases of outputs with zeros around them, and
# behind each what vectors read.


def _forward_work(conv: Convolution, layout: Layout) -> Work:
    planes = conv.channels * (layout.phases * layout.phase_size + SLACK)
    sums = min(FILTERS, conv.filters) * (layout.outputs + SLACK)
    return Work(conv.images * conv.groups * _parts(conv.filters, FILTERS), conv.channels * conv.taps, planes + sums)


def _input_gradient_work(conv: Convolution, layout: Layout) -> Work:
    together, taps = min(FILTERS, conv.channels), conv.filters * conv.taps
    planes = together * (layout.phases * layout.phase_size + SLACK)
    gradients = conv.filters * (2 * layout.phase_size + SLACK)
    weights = together * (taps + 1)  # and a zero for each row
    parts = conv.images * conv.groups * _parts(conv.channels, FILTERS)
    return Work(parts, taps, planes + gradients + weights)


def _weight_gradient_work(conv: Convolution, layout: Layout) -> Work:
    filters, channels = min(FILTERS, conv.filters), min(CHANNELS, conv.channels)
    planes = channels * (layout.phases * layout.phase_size + SLACK)
    gradients = filters * (layout.outputs + SLACK)
    sums = filters * channels * conv.kernel_h * conv.kernel_w  # float64, in the table of integers
    parts = conv.groups * _parts(conv.filters, FILTERS) * _parts(conv.channels, CHANNELS)
    return Work(parts, sums + channels * conv.taps, planes + gradients)


def _parts(total: int, most: int) -> int:
    """How many parts of at most `most` make up `total`."""
    return -(-total // most)
