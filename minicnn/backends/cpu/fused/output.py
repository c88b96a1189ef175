"""An activation as an ordinary batch, and the way back of its gradient: passes without a convolution."""

from typing import Any, NamedTuple

import numpy as np
from numba import get_num_threads

from minicnn.backends.contract import Activation, Gradient
from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.conv import lanes_reading
from minicnn.backends.cpu.convolution.patches import (
    Image,
    Window,
    four,
    nchw_sink,
    sink_address,
    source_address,
)
from minicnn.backends.cpu.convolution.pieces import Layout, View, cut, numbers_of, one_to_a_block, piece_number
from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.fused.backward import relu_gradient_sink
from minicnn.backends.cpu.fused.block import pixels_of, reading
from minicnn.backends.cpu.fused.channels import GRADIENT_SUMS, joined_sums
from minicnn.backends.cpu.runtime.jit import by_pointer
from minicnn.backends.cpu.runtime.launch import Launch, call, launch, unpack
from minicnn.backends.cpu.runtime.memory import empty
from minicnn.images import Images
from minicnn.plain import Array

STRIP = 1024  # pixels that are copied at a time


@guarded
def fused_output(activation: Activation) -> Array | Images:
    """The activation as an ordinary batch, (N, F, OH, OW) or `Images`."""
    stored = activation.y
    pixels, dtype = len(stored.raw), stored.raw.dtype
    data = empty(stored.filters * pixels, dtype)
    target = View(nchw_sink, four(data), stored.filters, stored.sizes, stored.filters)
    launch(*copy_launch(reading(activation), target, strips_of(stored.sizes), dtype), dtype=dtype)
    images = Images.of(data, stored.filters, stored.sizes)
    return images if stored.mixed else images.as_array()


@guarded
def fused_output_backward(da: Array | Images, activation: Activation) -> Gradient:
    """g from the gradient of `fused_output`."""
    stored = activation.y
    g, strips = empty(stored.raw.shape, da.dtype), strips_of(stored.sizes)
    sums = np.empty((len(strips.pieces), GRADIENT_SUMS, g.shape[1]), da.dtype)
    arrays = (g, stored.raw, stored.coefficients, sums)
    target = pixels_of(relu_gradient_sink, arrays, stored)
    launch(*copy_launch(lanes_reading(da), target, strips, da.dtype), dtype=da.dtype)
    return Gradient(g, *joined_sums(sums, activation))


def strips_of(sizes: Array) -> Layout:
    """The layout for copying: pieces of whole rows, of about STRIP pixels."""
    rows = np.maximum(1, STRIP // sizes[:, 1])
    return one_to_a_block(cut(sizes, sizes, np.column_stack([rows, sizes[:, 1]])))


class CopyJob(NamedTuple):
    """The numbers of the kernel."""

    source: int
    sink: int
    C: int
    x_pitch: int
    y_pitch: int
    shares_at: int = 0  # these three are set by `numbers_of`
    blocks_at: int = 0
    pieces_at: int = 0


COPY_NUMBERS = len(CopyJob._fields)


def copy_launch(x: View, y: View, strips: Layout, dtype: np.dtype[Any]) -> Launch:
    """The launch that reads x and writes y, strip by strip, the sizes staying as they are."""
    workers = min(strips.n_blocks, get_num_threads())
    job = CopyJob(source_address(x.access, dtype), sink_address(y.access, dtype), x.channels, x.pitch, y.pitch)
    scratch_size = int(np.diff(strips.costs).max()) * LANES
    return Launch(
        copy_kernel, (*x.arrays, *y.arrays), numbers_of(job, strips, workers), workers, scratch_size=scratch_size
    )


@by_pointer
def copy_kernel(arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, worker: int) -> None:
    """This worker's share of the strips. arrays: 4 of the source, 4 of the sink."""
    job = CopyJob(*unpack(numbers, COPY_NUMBERS))
    for index in range(numbers[job.shares_at + worker], numbers[job.shares_at + worker + 1]):
        piece = piece_number(numbers, job.pieces_at, index)
        for c in range(0, job.C, LANES):
            window = Window(c, piece.p0, 0, piece.p1 - piece.p0, piece.W)
            image = Image(piece.number, piece.x_first * job.x_pitch, job.C, piece.H, piece.W)
            call(job.source, (arrays[0:4], image, window, scratch))
            image = Image(piece.number, piece.y_first * job.y_pitch, job.C, piece.H, piece.W)
            call(job.sink, (arrays[4:8], image, window, piece.W, index, scratch))
