"""Dropout, both directions.

    y = x * mask,  dx = dy * mask        mask: 0 for a share p of the numbers, 1 / (1 - p) for the others

A number that is not finite stays so, also where it is dropped: infinity times 0 is NaN, as in PyTorch.
"""

import numpy as np

from minicnn.backends.philox import halves, limit, philox
from minicnn.plain import Array


def dropout(x: Array, p: float, seed: int, step: int, first_image: int) -> Array:
    """y, of any shape, as x: x times the mask of this seed and step. Its first axis has the images first_image,
    first_image + 1, … of a batch."""
    n_images = len(x) if x.ndim else 1
    words = _words(n_images, x.size // n_images, seed, step, first_image)
    one = x.dtype.type(1)
    mask = np.where(words < limit(p), x.dtype.type(0), one / x.dtype.type(1 - p))
    with np.errstate(invalid="ignore"):  # said above
        return x * mask.reshape(x.shape)


def _words(n_images: int, size: int, seed: int, step: int, first_image: int) -> Array:
    """(N, size): the random word of each number of each image, four of them from each counter."""
    blocks = np.arange(-(-size // 4), dtype=np.uint64)
    images = np.arange(first_image, first_image + n_images, dtype=np.uint64)[:, None]
    words = np.broadcast_arrays(*philox(blocks, images, *halves(step), *halves(seed)))
    return np.stack(words, axis=-1).reshape(n_images, -1)[:, :size]
