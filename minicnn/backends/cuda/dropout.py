"""Dropout, both directions.

    y = x * mask,  dx = dy * mask        mask: 0 for a share p of the numbers, 1 / (1 - p) for the others

The mask is worked out where it is needed, four numbers at a time, and is not stored (see `minicnn.backends.philox`).

Who owns what: each thread every so many blocks of four numbers of one image. Cost: one pass over memory, and ten rounds
for four numbers.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from minicnn.backends.cuda.arrays import guarded
from minicnn.backends.cuda.batches import empty_like, flat
from minicnn.backends.cuda.elementwise import blocks_for, real_of
from minicnn.backends.cuda.runtime.device import Kernel, cuda, inlined
from minicnn.backends.cuda.runtime.device_array import constant, launch
from minicnn.backends.cuda.tiles import MOST_BLOCKS, THREADS
from minicnn.backends.philox import halves, limit, philox
from minicnn.images import Batch, Images
from minicnn.plain import Array

_philox = inlined(philox)


@guarded
def dropout(x: Batch, p: float, seed: int, step: int, first_image: int) -> Batch:
    y, starts, real = empty_like(x), _starts(x), real_of(x)
    blocks = len(starts) - 1, min(blocks_for(-(-int(np.diff(starts).max()) // 4)), MOST_BLOCKS)
    settings = limit(p), real(1) / real(1 - p), np.uint64(first_image), *halves(step), *halves(seed)
    launch(_dropout(real), blocks, THREADS, flat(x), flat(y), constant(starts), *settings)
    return y


def _starts(x: Array | Images) -> Array:
    """(N + 1,): where in flat memory each image begins, and where the last ends."""
    if isinstance(x, Images):
        return x.channels * np.append(x.starts, x.pixels)
    n_images = len(x) if x.ndim else 1
    return np.arange(n_images + 1) * (x.size // n_images)


@lru_cache
def _dropout(real: Any) -> Kernel:
    zero = real(0)

    def kernel(x: Array, y: Array, starts: Array, least: int, scale: float, first_image: int, step_low: int,
               step_high: int, seed_low: int, seed_high: int) -> None:  # fmt: skip
        n = cuda.blockIdx.x
        start, stop = starts[n], starts[n + 1]
        image = first_image + np.uint64(n)
        for block in range(cuda.blockIdx.y * THREADS + cuda.threadIdx.x, (stop - start + 3) // 4,
                           cuda.gridDim.y * THREADS):  # fmt: skip
            words = _philox(np.uint64(block), image, step_low, step_high, seed_low, seed_high)
            for k in range(4):
                at = start + 4 * block + k
                if at < stop:
                    y[np.uint64(at)] = x[np.uint64(at)] * (zero if words[k] < least else scale)

    return kernel
