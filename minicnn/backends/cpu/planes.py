"""Planes: where the channels of a batch lie in flat memory, and how workers share them.

A plane is one channel of one image. In a batch (N, C, H, W) and in `Images` alike, one plane follows the other: plane
number n * C + c, which is channel c of image n, is data[bounds[number] : bounds[number + 1]]. So a kernel that takes
flat data and bounds serves both, and a batch of equal sizes is the case where the bounds lie equally far apart.

Planes differ in size where images do, but Numba divides the iterations of a parallel loop by their number. So these
loops are over *runs* of neighbouring planes with about equal numbers of pixels, planes runs[k] to runs[k + 1]. A plane
has one owner whatever the runs, and what is summed over it does not depend on them.
"""

import numpy as np

from minicnn.images import Images
from minicnn.plain import Array

RUNS = 256  # several for each thread, so that their rounding to whole planes evens out


def plane_bounds(x: Array | Images) -> Array:
    """(N * C + 1,): where each plane begins, and the last ends."""
    if isinstance(x, Images):
        return np.concatenate([[0], np.repeat(x.sizes.prod(axis=1), x.channels).cumsum()])
    n_images, n_channels, height, width = x.shape
    return np.arange(n_images * n_channels + 1, dtype=np.int64) * (height * width)


def equal_runs(bounds: Array) -> Array:
    """(RUNS + 1,): where each run of planes begins, and the last ends."""
    return np.searchsorted(bounds, np.arange(RUNS + 1, dtype=np.int64) * bounds[-1] // RUNS)
