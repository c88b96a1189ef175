"""Batches as the layers know them, (N, C, H, W) or `Images`, and what kernels need of either.

Both have their numbers in the same order, image after image and in it channel after channel, so that a kernel that
takes flat memory and sizes serves both.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from minicnn.backends.cpu.runtime.memory import empty
from minicnn.images import Batch, Images
from minicnn.plain import Array, Sizes


def flat(x: Array | Images) -> Array:
    """The numbers of a batch as they lie in memory, without a copy."""
    return x.data if isinstance(x, Images) else x.reshape(-1)


def sizes_table(x: Array | Images) -> Array:
    """(N, 2): the size of each image."""
    return x.sizes if isinstance(x, Images) else equal_sizes(len(x), *x.shape[2:])


@lru_cache(maxsize=256)
def equal_sizes(n_images: int, height: int, width: int) -> Array:
    """(N, 2), read-only."""
    sizes = np.tile(np.array([height, width], np.int64), (n_images, 1))
    sizes.flags.writeable = False
    return sizes


def batch_like(x: Batch, numbers: Array) -> Batch:
    """A batch of the form and sizes of x, of these numbers as they lie in memory."""
    return x.like(numbers) if isinstance(x, Images) else numbers.reshape(x.shape)


def empty_batch(x: Batch, channels: int, size: Sizes, dtype: Any) -> Batch:
    """A new batch of as many images as x and of the same form, its numbers not set.

    size is (H, W), or (N, 2) with a row for each image; for an array the rows are equal.
    """
    sizes: Array = np.broadcast_to(size, (len(x), 2))
    if isinstance(x, Images):
        return Images.of(empty(channels * int(sizes.prod(axis=1).sum()), dtype), channels, sizes)
    return empty((len(x), channels, *sizes[0].tolist()), dtype)


def empty_like(x: Batch) -> Batch:
    """A new batch of the form and sizes of x, its numbers not set."""
    return empty_batch(x, x.shape[1], sizes_table(x), x.dtype)
