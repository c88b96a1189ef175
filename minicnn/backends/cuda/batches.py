"""Batches of images, of one size or of many, as kernels see them: flat numbers and a table of images.

(N, C, H, W) and `Images` have the same numbers in the same order, so kernels know only the latter: image n is the block
(C, H_n, W_n) that begins at C times its first pixel.
"""

import numpy as np
from numpy.typing import DTypeLike

from minicnn.backends.cuda.runtime.device_array import empty
from minicnn.images import Batch, Images
from minicnn.plain import Array, Sizes


def flat(batch: Array | Images) -> Array:
    """The numbers of a batch as one DeviceArray."""
    return batch.data if isinstance(batch, Images) else batch


def empty_like(batch: Batch) -> Batch:
    """An uninitialised batch of the same form."""
    return batch.like(empty(batch.size, batch.dtype)) if isinstance(batch, Images) else empty(batch.shape, batch.dtype)


def empty_batch(batch: Batch, channels: int, sizes: Sizes, dtype: DTypeLike) -> Batch:
    """A batch with as many images as `batch`, and like it an array or `Images`, of sizes (H, W) or (N, 2)."""
    table: Array = np.broadcast_to(sizes, (len(batch), 2))
    if not isinstance(batch, Images):
        return empty((len(batch), channels, *table[0]), dtype)
    return Images.of(empty(int(channels * table.prod(axis=1).sum()), dtype), channels, table)


def sizes_table(batch: Array | Images) -> Array:
    """The sizes of all images of a batch, (N, 2)."""
    if isinstance(batch, Images):
        return batch.sizes
    return np.broadcast_to(np.array(batch.shape[-2:], np.int64), (len(batch), 2))


def image_table(sizes: Array) -> Array:
    """(N, 3) for sizes (N, 2): height, width and first pixel of each image."""
    areas = sizes.prod(axis=1)
    return np.column_stack([sizes, areas.cumsum() - areas])
