"""The pixels of a channel, cut into chunks: how the kernels of `batchnorm` and `moments` share out their work.

The P pixels of a batch are counted through, image after image. A *chunk* is CHUNK of them that follow one another,
the last one shorter; it may begin in one image and end in another. There is a block for each chunk of each channel:

    block = chunk * C + c

so that work is shared out evenly, whether images are many and small, few and large, or of all sizes. A channel's pixels
of one image lie side by side, but a channel's pixels of the batch do not, and so a thread looks up the image that it is
in, and again where it has left it:

    end, shift = 0, 0
    for pixel in range(first + thread, stop, THREADS):
        if pixel >= end:
            end, shift = image_at(pixel, …)
        … x[pixel + shift] …
"""

import numpy as np

from minicnn.backends.cuda.batches import sizes_table
from minicnn.backends.cuda.runtime.device import cuda, inlined
from minicnn.backends.cuda.runtime.device_array import constant
from minicnn.backends.cuda.tiles import CHUNK
from minicnn.images import Images
from minicnn.plain import Array, Pair


def cut(batch: Array | Images) -> tuple[int, tuple[Array, int, int, int]]:
    """Of a batch: how many chunks a channel has, and its numbers for kernels (starts, N, C, P).

    starts (N + 1,) on the device: the number of pixels before each image, and P.
    """
    starts = np.concatenate([[0], sizes_table(batch).prod(axis=1).cumsum()])
    n_channels, pixels = int(batch.shape[1]), int(starts[-1])
    return -(-pixels // CHUNK), (constant(starts), len(batch), n_channels, pixels)


@inlined
def own_chunk(n_channels: int, pixels: int) -> tuple[int, int, int]:
    """Channel, first pixel and stop of the chunk that this block owns."""
    chunk = cuda.blockIdx.x // n_channels
    first = chunk * CHUNK
    return cuda.blockIdx.x - chunk * n_channels, first, min(first + CHUNK, pixels)


@inlined
def image_at(pixel: int, c: int, starts: Array, n_images: int, n_channels: int) -> Pair:
    """Of the image with this pixel: the first pixel after it, and how far it is from a pixel to its place in channel c.

    The image is found by halving, for they are in order. Image n is the block (C, area) that begins at C * starts[n],
    so that the place is C * start + c * area + (pixel - start).
    """
    low, high = 0, n_images
    while high - low > 1:
        middle = (low + high) // 2
        if starts[np.uint64(middle)] <= pixel:
            low = middle
        else:
            high = middle
    start, end = starts[np.uint64(low)], starts[np.uint64(low + 1)]
    return end, start * (n_channels - 1) + c * (end - start)
