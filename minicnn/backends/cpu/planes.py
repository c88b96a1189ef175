"""Planes: where the channels of a batch lie in flat memory, and how workers share them.

A plane is one channel of one image. In a batch (N, C, H, W) and in `Images` alike, one plane follows the other: plane
number n * C + c, which is channel c of image n, is data[bounds[number] : bounds[number + 1]]. So a kernel that takes
flat data and bounds serves both, and a batch of equal sizes is the case where the bounds lie equally far apart.

Planes differ in size where images do, but Numba divides the iterations of a parallel loop by their number. So these
loops are over *runs* of neighbouring planes with about equal numbers of pixels, planes runs[k] to runs[k + 1]. A plane
has one owner whatever the runs, and what is summed over it does not depend on them.
"""

from functools import lru_cache

import numpy as np

from minicnn.images import Images
from minicnn.plain import Array

RUNS = 256  # several for each thread, so that their rounding to whole planes evens out


def plane_bounds(x: Array | Images) -> Array:
    """(N * C + 1,): where each plane begins, and the last ends. Not to be written to."""
    if isinstance(x, Images):
        return np.concatenate([[0], np.repeat(x.sizes.prod(axis=1), x.channels).cumsum()])
    n_images, n_channels, height, width = x.shape
    return _equal_bounds(n_images * n_channels, height * width)


def equal_runs(x: Array | Images) -> Array:
    """(RUNS + 1,): where each run of planes begins, and the last ends. Not to be written to."""
    if isinstance(x, Images):
        return _runs(plane_bounds(x))
    n_images, n_channels, height, width = x.shape
    return _runs_of_equal(n_images * n_channels, height * width)


# Those of arrays are kept, since batches are alike: to make them takes longer than a kernel on few images.


@lru_cache(maxsize=64)
def _equal_bounds(n_planes: int, size: int) -> Array:
    return np.arange(n_planes + 1, dtype=np.int64) * size


@lru_cache(maxsize=64)
def _runs_of_equal(n_planes: int, size: int) -> Array:
    return _runs(_equal_bounds(n_planes, size))


def _runs(bounds: Array) -> Array:
    return np.searchsorted(bounds, np.arange(RUNS + 1, dtype=np.int64) * bounds[-1] // RUNS)
