"""Sources and sinks: how a window of an image gets into a patch with channels last, and back out.

Fast kernels work on a *patch*, a small copy of part of an image in which LANES channels of a pixel are neighbours, so
that they fill a vector. They read it through a source and write what they made through a sink:

    source(arrays, image, window, patch)
        patch[r, s, lane] = value of channel window.channel + lane at pixel (window.row + r, window.column + s),
        zero outside the image. The image starts at arrays[0][image.start].

    sink(arrays, image, window, pitch, record, patch)
        takes patch[p, q, lane] for filter window.channel + lane at pixel (window.row + p, window.column + q); a row
        of the patch holds `pitch` pixels. `record` numbers this piece of the image, for sinks that keep a sum of each.

Kernels call them by address. Those here copy from and to (N, C, H, W); those of `fused` do batchnorm and relu on the
way, and nothing else about a kernel changes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types

from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.convolution.vectors import fill, load, store, transpose
from minicnn.backends.cpu.runtime.jit import by_pointer, inlined, serial
from minicnn.backends.cpu.runtime.launch import address, flat
from minicnn.backends.cpu.runtime.program import Place
from minicnn.plain import Array

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
def lanes_up(channels: int) -> int:
    """`channels` rounded up to whole vectors."""
    return (channels + LANES - 1) // LANES * LANES


def source_address(function: Callable[..., None], dtype: Any) -> int:
    """Where the machine code of a source starts."""
    return address(function, dtype, _source_signature)


def sink_address(function: Callable[..., None], dtype: Any) -> int:
    """Where the machine code of a sink starts."""
    return address(function, dtype, _sink_signature)


def four(*arrays: Place) -> tuple[Place, ...]:
    """The arrays of a source or a sink, filled up to SOURCE_ARRAYS."""
    return arrays + (None,) * (SOURCE_ARRAYS - len(arrays))


def padded_bias(bias: Array | None, filters: int, dtype: Any) -> Array:
    """The bias, or zeros, with zeros up to whole vectors."""
    padded = np.zeros(lanes_up(filters), dtype)
    if bias is not None:
        padded[:filters] = bias
    return padded


def _source_signature(dtype: Any) -> tuple[Any, ...]:
    arrays, image, window = (
        types.UniTuple(flat(dtype), SOURCE_ARRAYS),
        types.NamedUniTuple(types.int64, len(Image._fields), Image),
        types.NamedUniTuple(types.int64, len(Window._fields), Window),
    )
    return arrays, image, window, flat(dtype)


def _sink_signature(dtype: Any) -> tuple[Any, ...]:
    *places, patch = _source_signature(dtype)
    return *places, types.int64, types.int64, patch


class Inside(NamedTuple):
    """The rows and columns of a window that are inside the image."""

    top: int
    bottom: int
    left: int
    right: int


@serial
def clear_outside(image: Image, window: Window, lanes: int, patch: Array) -> Inside:
    """Zero what the patch, of `lanes` numbers a pixel, has outside the image. Returns what is `Inside`.

    Columns are cleared from row to row: a loop over neighbours would become a call of memset, 10 ns for a few bytes.
    """
    top, bottom = min(window.rows, max(0, -window.row)), min(window.rows, image.height - window.row)
    left, right = min(window.columns, max(0, -window.column)), min(window.columns, image.width - window.column)
    if bottom <= top or right <= left:
        top, bottom, left, right = 0, 0, 0, 0
    row = window.columns * lanes
    for cell in range(top * row):
        patch[cell] = 0
    for cell in range(bottom * row, window.rows * row):
        patch[cell] = 0
    zero = fill(patch, 0.0)
    for s in range(window.columns):
        if left <= s < right:
            continue
        for r in range(top, bottom):
            if lanes == LANES:
                store(patch, r * row + s * LANES, zero)
            else:
                patch[r * row + s] = 0
    return Inside(top, bottom, left, right)


@inlined
def copy(source: Array, source_at: int, target: Array, target_at: int, count: int) -> None:
    """target[target_at + k] = source[source_at + k], k < count, by vectors; the last overlaps the one before.

    Inlined, since a call takes longer than to copy a row: 12 ns beside 3, for each row of each channel of a patch.
    """
    if count < LANES:
        for k in range(count):
            target[target_at + k] = source[source_at + k]
        return
    for k in range(0, count - LANES, LANES):
        store(target, target_at + k, load(source, source_at + k))
    store(target, target_at + count - LANES, load(source, source_at + count - LANES))


@by_pointer
def nchw_source(arrays: tuple[Array, ...], image: Image, window: Window, patch: Array) -> None:
    """patch[r, s, lane] = x[n, c + lane, r, s], a block of LANES × LANES numbers at a time where one fits."""
    (x,) = arrays[:1]
    top, bottom, low, high = clear_outside(image, window, LANES, patch)
    plane = image.height * image.width
    lanes = min(LANES, image.channels - window.channel)
    for r in range(top, bottom):
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


@by_pointer
def plane_source(arrays: tuple[Array, ...], image: Image, window: Window, patch: Array) -> None:
    """patch[r, s] = x[n, c, r, s]: one plane without lanes, for the register tile on images (N, C, H, W)."""
    (x,) = arrays[:1]
    top, bottom, low, high = clear_outside(image, window, 1, patch)
    for r in range(top, bottom):
        x_at = image.start + (window.channel * image.height + window.row + r) * image.width + window.column
        copy(x, x_at + low, patch, r * window.columns + low, high - low)


@by_pointer
def nchw_sink(arrays: tuple[Array, ...], image: Image, window: Window, pitch: int, record: int, patch: Array) -> None:
    """y[n, f + lane, p, q] = patch[p, q, lane]."""
    (y,) = arrays[:1]
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
