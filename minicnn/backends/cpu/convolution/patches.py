"""Sources and sinks: how a window of an image gets into a patch with channels last, and back out.

Fast kernels work on a *patch*, a small copy of part of an image in which LANES channels of a pixel are neighbours, so
that they fill a vector. They read it through a source and write what they made through a sink:

    source(arrays, image, window, patch)
        patch[r, s, lane] = value of channel window.channel + lane at pixel (window.row + r, window.column + s),
        zero outside the image. The image starts at arrays[0][image.start].

    sink(arrays, image, window, pitch, record, patch)
        takes patch[p, q, lane] for filter window.channel + lane at pixel (window.row + p, window.column + q); a row
        of the patch holds `pitch` pixels. `record` numbers this piece of the image, for sinks that keep a sum of each.

Kernels call them by address. Those here copy from and to (N, C, H, W); the ones in `fused.py` do batchnorm and relu on
the way, and nothing else about a kernel changes.
"""

from typing import NamedTuple

from numba import types

from minicnn.backends.cpu.convolution.launch import address, flat
from minicnn.backends.cpu.convolution.vectors import LANES, transpose
from minicnn.backends.cpu.jit import serial

SOURCE_ARRAYS = 4  # every source and every sink gets this many


class Image(NamedTuple):
    number: int
    start: int
    channels: int
    height: int
    width: int


class Window(NamedTuple):
    channel: int
    row: int
    column: int
    rows: int
    columns: int


@serial
def lanes_up(channels):
    """`channels` rounded up to whole vectors."""
    return (channels + LANES - 1) // LANES * LANES


def source_address(function, dtype):
    """Where the machine code of a source starts."""
    return address(function, dtype, _source_signature)


def sink_address(function, dtype):
    """Where the machine code of a sink starts."""
    return address(function, dtype, _sink_signature)


def four(*arrays):
    """The arrays of a source or a sink, filled up to SOURCE_ARRAYS."""
    return arrays + (None,) * (SOURCE_ARRAYS - len(arrays))


def _source_signature(dtype):
    arrays, image, window = (
        types.UniTuple(flat(dtype), SOURCE_ARRAYS),
        types.NamedUniTuple(types.int64, len(Image._fields), Image),
        types.NamedUniTuple(types.int64, len(Window._fields), Window),
    )
    return arrays, image, window, flat(dtype)


def _sink_signature(dtype):
    *places, patch = _source_signature(dtype)
    return *places, types.int64, types.int64, patch


@serial
def clear(array, start, stop):
    """array[start:stop] = 0; a slice would cost 30 ns, felt twice a row."""
    for cell in range(start, stop):
        array[cell] = 0


@serial
def inside(image, window):
    """(low, high): the columns of the window from low to high are inside the image."""
    return min(window.columns, max(0, -window.column)), min(window.columns, image.width - window.column)


@serial
def clear_outside(image, window, r, low, high, lanes, patch):
    """Zero what row r of the patch has outside the image; whether anything of it is inside."""
    start, stop = r * window.columns * lanes, (r + 1) * window.columns * lanes
    if not 0 <= window.row + r < image.height or high <= low:
        clear(patch, start, stop)
        return False
    clear(patch, start, start + low * lanes)
    clear(patch, start + high * lanes, stop)
    return True


@serial
def nchw_source(arrays, image, window, patch):
    """patch[r, s, lane] = x[n, c + lane, r, s], a block of LANES × LANES numbers at a time where one fits."""
    x = arrays[0]
    low, high = inside(image, window)
    plane = image.height * image.width
    lanes = min(LANES, image.channels - window.channel)
    for r in range(window.rows):
        if not clear_outside(image, window, r, low, high, LANES, patch):
            continue
        patch_at = r * window.columns * LANES
        x_at = image.start + (window.channel * image.height + window.row + r) * image.width + window.column
        if lanes == LANES and high - low >= LANES:
            s = low
            while s < high:
                s = min(s, high - LANES)  # the last block overlaps the one before it
                transpose(x, x_at + s, plane, patch, patch_at + s * LANES, LANES)
                s += LANES
        else:
            for lane in range(lanes):
                for s in range(low, high):
                    patch[patch_at + s * LANES + lane] = x[x_at + lane * plane + s]
            for lane in range(lanes, LANES):
                for s in range(low, high):
                    patch[patch_at + s * LANES + lane] = 0


@serial
def plane_source(arrays, image, window, patch):
    """patch[r, s] = x[n, c, r, s]: one plane without lanes, for the register tile on images (N, C, H, W)."""
    x = arrays[0]
    low, high = inside(image, window)
    for r in range(window.rows):
        if clear_outside(image, window, r, low, high, 1, patch):
            patch_at = r * window.columns
            x_at = image.start + (window.channel * image.height + window.row + r) * image.width + window.column
            for s in range(low, high):
                patch[patch_at + s] = x[x_at + s]


@serial
def nchw_sink(arrays, image, window, pitch, record, patch):
    """y[n, f + lane, p, q] = patch[p, q, lane]."""
    y = arrays[0]
    plane = image.height * image.width
    lanes = min(LANES, image.channels - window.channel)
    for p in range(window.rows):
        patch_at = p * pitch * LANES
        y_at = image.start + (window.channel * image.height + window.row + p) * image.width + window.column
        if lanes == LANES and window.columns >= LANES:
            q = 0
            while q < window.columns:
                q = min(q, window.columns - LANES)
                transpose(patch, patch_at + q * LANES, LANES, y, y_at + q, plane)
                q += LANES
        else:
            for lane in range(lanes):
                for q in range(window.columns):
                    y[y_at + lane * plane + q] = patch[patch_at + q * LANES + lane]
