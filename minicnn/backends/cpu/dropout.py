"""Dropout, both directions.

    y = x * mask,  dx = dy * mask        mask: 0 for a share p of the numbers, 1 / (1 - p) for the others

The mask is worked out where it is needed, four numbers at a time, and is not stored (see `minicnn.backends.philox`).

Who owns what: each worker owns one chunk of one image. Cost: one pass over memory, and ten rounds for four numbers.
"""

from typing import Any

import numpy as np
from numba import prange

from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.batches import batch_like, flat
from minicnn.backends.cpu.runtime.jit import CHUNK, chunks, inlined, parallel, serial, unravel
from minicnn.backends.philox import halves, limit, philox
from minicnn.images import Batch, Images
from minicnn.plain import Array

_philox = inlined(philox)


@guarded
def dropout(x: Batch, p: float, seed: int, step: int, first_image: int) -> Batch:
    y = np.empty_like(flat(x))
    ends = _ends(x)
    n_chunks = chunks(int(np.diff(ends, prepend=0).max()))
    real = x.dtype.type
    settings: Any = limit(p), real(1) / real(1 - p), np.uint64(first_image), *halves(step), *halves(seed)
    _dropout(flat(x), y, ends, n_chunks, *settings)
    return batch_like(x, y)


def _ends(x: Array | Images) -> Array:
    """(N,): where in flat memory each image ends."""
    if isinstance(x, Images):
        return x.channels * (x.starts + x.sizes.prod(axis=1))
    n_images = len(x) if x.ndim else 1
    return np.arange(1, n_images + 1) * (x.size // n_images)


@parallel
def _dropout(
    x: Array,
    y: Array,
    ends: Array,
    n_chunks: int,
    least: int,
    scale: float,
    first_image: int,
    step_low: int,
    step_high: int,
    seed_low: int,
    seed_high: int,
) -> None:
    for item in prange(ends.size * n_chunks):
        n, chunk = unravel(item, n_chunks)
        image_start = ends[n - 1] if n > 0 else 0
        start = image_start + chunk * CHUNK
        part = slice(start, max(start, min(start + CHUNK, ends[n])))
        first_block, image = np.uint64(chunk * CHUNK // 4), first_image + np.uint64(n)
        _dropout_chunk(x[part], y[part], first_block, image, least, scale, step_low, step_high, seed_low, seed_high)


@serial
def _dropout_chunk(
    x: Array,
    y: Array,
    first_block: int,
    image: int,
    least: int,
    scale: float,
    step_low: int,
    step_high: int,
    seed_low: int,
    seed_high: int,
) -> None:
    zero = x.dtype.type(0)
    for b in range(x.size // 4):
        words = _philox(first_block + np.uint64(b), image, step_low, step_high, seed_low, seed_high)
        y[4 * b] = x[4 * b] * (zero if words[0] < least else scale)
        y[4 * b + 1] = x[4 * b + 1] * (zero if words[1] < least else scale)
        y[4 * b + 2] = x[4 * b + 2] * (zero if words[2] < least else scale)
        y[4 * b + 3] = x[4 * b + 3] * (zero if words[3] < least else scale)
    rest = x.size // 4 * 4
    if rest < x.size:
        words = _philox(first_block + np.uint64(rest // 4), image, step_low, step_high, seed_low, seed_high)
        for t in range(rest, x.size):
            y[t] = x[t] * (zero if words[t - rest] < least else scale)
