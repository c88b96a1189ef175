"""Planes: where the channels of a batch lie in flat memory, and how they are dealt out to the workers.

A plane is one channel of one image. In a batch (N, C, H, W) and in `Images` alike, one plane follows the other: plane
number n * C + c, which is channel c of image n, is data[bounds[number] : bounds[number + 1]]. So a kernel that takes
flat data and bounds serves both, and a batch of equal sizes is the case where the bounds lie equally far apart.

Planes differ in size where images do, but Numba deals out the iterations of a parallel loop by their number. So these
loops are over *runs* of neighbouring planes with about equal numbers of pixels, planes runs[k] to runs[k + 1]. A plane
has one owner whatever the runs, and what is summed over it does not depend on them.
"""

import numpy as np

from minicnn.images import Images, sizes_of

RUNS = 256  # several for each thread, so that their rounding to whole planes evens out


def flat(x):
    """The numbers of (N, C, H, W) or `Images` as they lie in memory, (N * C * pixels,), without a copy."""
    return x.data if isinstance(x, Images) else x.reshape(-1)


def empty_like(x):
    """A new batch of the form of x."""
    return empty_batch(x, sizes_of(x), x.dtype)


def empty_batch(x, size, dtype):
    """A new batch of as many images and channels as x, of another size, (H, W) or for `Images` (N, 2)."""
    if isinstance(x, Images):
        pixels = int(np.prod(size, axis=1).sum())
        return Images.of(np.empty(x.channels * pixels, dtype), x.channels, size)
    return np.empty((*x.shape[:2], *size), dtype)


def plane_bounds(x):
    """(N * C + 1,): where each plane begins, and the last ends."""
    if isinstance(x, Images):
        return np.concatenate([[0], np.repeat(x.sizes.prod(axis=1), x.channels).cumsum()])
    n_images, n_channels, height, width = x.shape
    return np.arange(n_images * n_channels + 1, dtype=np.int64) * (height * width)


def equal_runs(bounds):
    """(RUNS + 1,): where each run of planes begins, and the last ends."""
    return np.searchsorted(bounds, np.arange(RUNS + 1, dtype=np.int64) * bounds[-1] // RUNS)
