"""What kernels are told of a general convolution, as integers."""

from typing import NamedTuple

from minicnn.backends.cpu.runtime.jit import serial
from minicnn.backends.cpu.runtime.launch import unpack
from minicnn.backends.cpu.taps import LAYOUT_NUMBERS, Layout, Places
from minicnn.plain import Array, Pair

FILTERS, CHANNELS = 16, 8  # of a group, that are done together


class Convolution(NamedTuple):
    """The sizes and settings of a convolution of images of one size."""

    images: int
    groups: int
    channels: int  # of a group
    filters: int  # of a group
    height: int
    width: int
    out_h: int
    out_w: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    top: int
    left: int
    taps: int  # of a plane; 0 where the plain forms compute
    rows: int  # how many `Places` have
    parts: int
    workers: int = 1


CONVOLUTION_NUMBERS = len(Convolution._fields)


@serial
def convolution_of(numbers: Array) -> tuple[Convolution, Places, Layout]:
    """`numbers` are those of a `Convolution`, and then of its `Places`."""
    conv = Convolution(*unpack(numbers, CONVOLUTION_NUMBERS))
    rows_at = CONVOLUTION_NUMBERS + LAYOUT_NUMBERS
    parts_at = rows_at + conv.rows
    shifts_at = parts_at + 3 * conv.parts
    layout = numbers[CONVOLUTION_NUMBERS:rows_at]
    row_parts = numbers[parts_at:shifts_at].reshape(conv.parts, 3)
    places = Places(layout, numbers[rows_at:parts_at], row_parts, numbers[shifts_at:])
    return conv, places, Layout(*unpack(layout, LAYOUT_NUMBERS))


@serial
def share(worker: int, conv: Convolution, parts: int) -> Pair:
    """The parts of a worker: from, to."""
    return worker * parts // conv.workers, (worker + 1) * parts // conv.workers
