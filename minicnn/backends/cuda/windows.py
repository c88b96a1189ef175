"""The plan of a pooling: one table of integers that its kernels look into, and how they find a cell's windows there.

A plan has IMAGE numbers for each image, and then the tables of `minicnn.geometry`. To kernels an array (N, C, H, W) is
one image of N * C channels, since the channels of a pooling know nothing of each other. A general convolution has the
same plan without tables.
"""

from typing import Any

import numpy as np

from minicnn.backends.cuda.batches import image_table
from minicnn.backends.cuda.runtime.device import inlined
from minicnn.backends.cuda.runtime.device_array import constant
from minicnn.geometry import windows_over
from minicnn.images import Batch, Images
from minicnn.plain import Array, Pair

IMAGE = 10  # numbers of an image in a plan: those of x, those of y, and where its tables begin
X, Y = 0, 3  # where those of x and y begin:
HEIGHT, WIDTH, BEFORE = range(3)  # rows, columns, and pixels before the image
ROWS, COLUMNS = 6, 7  # (OH, 3) and (OW, 3): start, stop and extent of windows
ROWS_OVER, COLUMNS_OVER = 8, 9  # (H, 2) and (W, 2): first and stop of the windows over a cell; in backward alone
WINDOW, EXTENT = 3, 2  # numbers of a window, and which of them is its extent


# On the host.


def plan_of(
    batch: Array | Images, input_size: Any, rows: Any, columns: Any, backward: bool = False
) -> tuple[Array, int, int]:
    """For kernels: the plan on the device, how many channels an image has to them, and how many images there are."""
    n_channels = batch.shape[1]
    if not isinstance(batch, Images):
        n_channels *= len(batch)
        input_size, rows, columns = [input_size], [rows], [columns]
    sizes = np.array(input_size)
    tables = [rows, columns]
    if backward:
        tables += [list(map(windows_over, of_axis, sizes[:, axis])) for axis, of_axis in enumerate((rows, columns))]
    images = _images(sizes, np.column_stack([list(map(len, rows)), list(map(len, columns))]))
    parts, begin = [images.reshape(-1)], images.size
    for place, of_images in enumerate(tables, start=ROWS):
        for n, table in enumerate(of_images):
            images[n, place] = begin
            parts.append(table.reshape(-1))
            begin += table.size
    return constant(np.concatenate(parts)), n_channels, len(images)


def images_plan(x: Batch, y: Batch) -> tuple[Array, int]:
    """The same without windows: the plan on the device, and how many images there are."""
    sizes, out_sizes = (batch.sizes if isinstance(batch, Images) else np.array([batch.shape[2:]]) for batch in (x, y))
    return constant(_images(sizes, out_sizes)), len(sizes)


def _images(sizes: Array, out_sizes: Array) -> Array:
    images = np.zeros((len(sizes), IMAGE), np.int64)
    images[:, X : X + 3], images[:, Y : Y + 3] = image_table(sizes), image_table(out_sizes)
    return images


# In kernels.


@inlined
def cell_of(i: int, plan: Array, side: int, n_channels: int, n_images: int) -> tuple[int, int, int, int]:
    """Number i of the cells of all images, X or Y: where its image is in the plan, and its channel, row and column."""
    low, high = 0, n_images  # images are in order, and are halved until one is left
    while high - low > 1:
        middle = (low + high) // 2
        if plan[np.uint64(middle * IMAGE + side + BEFORE)] * n_channels <= i:
            low = middle
        else:
            high = middle
    at = low * IMAGE
    height, width, before = numbers_of(plan, at + side)
    inside = i - before * n_channels
    c = inside // (height * width)
    cell = np.int32(inside - c * (height * width))
    row = cell // np.int32(width)
    return at, c, row, cell - row * width


@inlined
def numbers_of(plan: Array, at: int) -> tuple[int, int, int]:
    """The three numbers from `at` on."""
    return plan[np.uint64(at)], plan[np.uint64(at + 1)], plan[np.uint64(at + 2)]


@inlined
def range_of(table: int, number: int, plan: Array) -> Pair:
    """The two numbers of a row of a table (…, 2)."""
    at = plan[np.uint64(table)] + 2 * number
    return plan[np.uint64(at)], plan[np.uint64(at + 1)]


@inlined
def plane_of(c: int, plan: Array, side: int, n_channels: int) -> Pair:
    """The first number of channel c of an image, and its width; `side` is where its three numbers are in the plan."""
    height, width, before = numbers_of(plan, side)
    return before * n_channels + c * (height * width), width


@inlined
def window_of(
    i: int, plan: Array, n_channels: int, n_images: int
) -> tuple[int, int, tuple[int, int, int], tuple[int, int, int]]:
    """Of the window of output i: the first number of its plane of x and the plane's width, its rows and its columns."""
    at, c, p, q = cell_of(i, plan, Y, n_channels, n_images)
    plane, width = plane_of(c, plan, at + X, n_channels)
    rows = numbers_of(plan, plan[np.uint64(at + ROWS)] + WINDOW * p)
    columns = numbers_of(plan, plan[np.uint64(at + COLUMNS)] + WINDOW * q)
    return plane, width, rows, columns
