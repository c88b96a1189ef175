"""Trimming: images cut to what is on them, each to a size of its own."""

import numpy as np
from numpy.typing import ArrayLike

from minicnn.images import Images
from minicnn.plain import Array


def trimmed(images: Array | Images) -> Images:
    """Each image cut to the smallest rectangle with all its pixels that are not 0; an empty one to its first pixel.

    Args:
        images: (N, C, H, W) or `Images`.

    Returns `Images`. Raises ValueError for an array that is not (N, C, H, W).

    >>> blank = np.zeros((1, 1, 4, 5))
    >>> blank[0, 0, 1, 1:4] = 7
    >>> trimmed(blank)[0]
    array([[[7., 7., 7.]]])
    """
    return Images([_trimmed(image) for image in images])


def _trimmed(image: Array) -> Array:
    return image[:, _span(image.any(axis=(0, 2))), _span(image.any(axis=(0, 1)))]


def _span(used: ArrayLike) -> slice:
    """The slice from the first to the last True."""
    places = np.flatnonzero(used)
    return slice(places[0], places[-1] + 1) if places.size else slice(0, 1)
