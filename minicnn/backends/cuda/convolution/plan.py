"""The plan of a convolution: one table of integers that its kernels look into.

job     the numbers of `Job`
taps    TAP numbers each, filled up to whole strips of DEPTH taps by ones that see nothing
images  IMAGE numbers each, in order: of what is read, and of what is written, in pixels
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from minicnn.backends.cuda.batches import image_table
from minicnn.backends.cuda.convolution.sides import Sink, Source
from minicnn.backends.cuda.products import FULL
from minicnn.backends.cuda.runtime.device import cuda, inlined
from minicnn.backends.cuda.runtime.device_array import constant
from minicnn.backends.cuda.tiles import DEPTH, TILE_THREADS
from minicnn.geometry import fixed_start
from minicnn.plain import Array, Pair


class Job(NamedTuple):
    """What a plan begins with."""

    channels: int  # that are read
    rows: int  # of the result
    row_pitch: int  # from one row of weights to the next
    chunk: int  # pixels that a block of a weight gradient adds up
    taps: int
    pixels: int  # that are written
    images: int
    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int


JOB = len(Job._fields)
TAP = 4  # numbers of a tap:
CHANNEL, KERNEL_ROW, KERNEL_COLUMN, WEIGHT_AT = range(TAP)  # c, i, j, and the place of its weight in a row of weights
IMAGE = 6  # numbers of an image: height, width and first pixel of what is read, and of what is written
READ_HEIGHT, READ_WIDTH, READ_FIRST, WRITTEN_HEIGHT, WRITTEN_WIDTH, WRITTEN_FIRST = range(IMAGE)
NOWHERE = 2**30  # all numbers of a tap that only fills up a strip: no image is so large that it would see a pixel


class Found(NamedTuple):
    """Of each pixel that a block works on, in shared memory: what `find_pixels` has found in the plan."""

    heights: Array  # of the image that is read
    widths: Array
    tops: Array  # where the window of tap (0, 0) lies
    lefts: Array
    reads_at: Array  # the first number of the image that is read
    writes_at: Array  # the pixel's place in row 0 of the result
    planes: Array  # from there to its place in row 1; 0 beyond the last pixel


# On the host.


def make_plan(source: Source, sink: Source | Sink, taps: Array, steps: Pair | tuple[int, ...],
              row_pitch: int = 0, chunk: int = 0) -> Array:  # fmt: skip
    """The plan of a pass on the device; `steps` are stride and padding, each down and across.

    Where the taps are no whole strips, ones that see nothing follow: their weight is 0, and what it is multiplied with
    must be 0 too, for 0 times an infinite pixel would be NaN.
    """
    images = np.column_stack([image_table(source.sizes), image_table(sink.sizes)])
    job = Job(
        source.channels, sink.channels, row_pitch, chunk, len(taps), count_pixels(sink.sizes), len(images), *steps
    )
    filling = np.full(-len(taps) % DEPTH * TAP, NOWHERE)
    return constant(np.concatenate([job, taps.reshape(-1), filling, images.reshape(-1)]))


@lru_cache
def make_taps(channels: int, kernel_size: Pair, step: int) -> Array:
    """(channels * KH * KW, TAP), where from the weights of a channel to those of the next it is `step` kernels."""
    area = kernel_size[0] * kernel_size[1]
    channel, place = np.divmod(np.arange(channels * area), area)
    i, j = np.divmod(place, kernel_size[1])
    return np.column_stack([channel, i, j, channel * step * area + place])


def count_pixels(sizes: Array) -> int:
    """The pixels of all images of sizes (N, 2)."""
    return int(sizes.prod(axis=1).sum())


# In kernels.

window_start = inlined(fixed_start)  # the package's own formula, compiled for the device


@inlined
def job_of(plan: Array) -> Job:
    """The job, in registers."""
    return Job(
        plan[0], plan[1], plan[2], plan[3], plan[4], plan[5], plan[6], plan[7], plan[8], plan[9], plan[10]
    )  # fmt: skip


@inlined
def tap_at(number: int) -> int:
    """Where a tap begins."""
    return JOB + number * TAP


@inlined
def images_at(job: Job) -> int:
    """Where the images begin, behind the taps with those that fill up the last strip."""
    return tap_at((job.taps + DEPTH - 1) // DEPTH * DEPTH)


@inlined
def image_at(pixel: int, plan: Array, first: int, n_images: int) -> int:
    """Where the image begins that has this pixel among those that are written; found by halving."""
    low, high = 0, n_images
    while high - low > 1:
        middle = (low + high) // 2
        if plan[FULL(first + middle * IMAGE + WRITTEN_FIRST)] <= pixel:
            low = middle
        else:
            high = middle
    return first + low * IMAGE


@inlined
def divided(number: int, divisor: int) -> Pair:
    """number // divisor and the remainder, neither below 0, in 32 bits; for 64 the device would call a function."""
    quotient = np.int32(np.uint32(number) // np.uint32(divisor))
    return quotient, np.int32(number - quotient * divisor)


@inlined
def find_pixels(found: Found, plan: Array, job: Job, first: int, stop: int, transposed: bool) -> None:
    """Look up as many pixels as `found` has room for, from `first` on; each thread looks up every TILE_THREADS-th.

    Those from `stop` on see zeros, and count from a number, not from uninitialised memory.
    """
    for k in range(cuda.threadIdx.x, len(found.heights), TILE_THREADS):
        pixel = first + k
        found.heights[k], found.widths[k], found.planes[k] = 0, 0, 0
        found.tops[k], found.lefts[k] = 0, 0
        if pixel < stop:
            at = image_at(pixel, plan, images_at(job), job.images)
            out_h, out_w = np.int32(plan[FULL(at + WRITTEN_HEIGHT)]), np.int32(plan[FULL(at + WRITTEN_WIDTH)])
            inside = np.int32(pixel - plan[FULL(at + WRITTEN_FIRST)])
            p, q = divided(inside, out_w)
            found.heights[k], found.widths[k] = plan[FULL(at + READ_HEIGHT)], plan[FULL(at + READ_WIDTH)]
            if transposed:
                found.tops[k], found.lefts[k] = p + job.pad_h, q + job.pad_w
            else:
                found.tops[k] = window_start(p, job.stride_h, job.pad_h)
                found.lefts[k] = window_start(q, job.stride_w, job.pad_w)
            found.reads_at[k] = plan[FULL(at + READ_FIRST)] * job.channels
            found.writes_at[k] = plan[FULL(at + WRITTEN_FIRST)] * job.rows + inside
            found.planes[k] = out_h * out_w
