"""Addition.

    y = x + other

Who owns what: each worker owns one chunk of the output. Cost: one pass over memory.
"""

import numpy as np
from numba import prange

from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.batches import batch_like, flat
from minicnn.backends.cpu.runtime.jit import CHUNK, chunks, parallel, serial
from minicnn.images import Batch
from minicnn.plain import Array


@guarded
def add(x: Batch, other: Batch) -> Batch:
    y = np.empty_like(flat(x))
    _add(flat(x), flat(other), y, chunks(x.size))
    return batch_like(x, y)


@parallel
def _add(x: Array, other: Array, y: Array, n_chunks: int) -> None:
    for chunk in prange(n_chunks):
        part = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        _add_chunk(x[part], other[part], y[part])


@serial
def _add_chunk(x: Array, other: Array, y: Array) -> None:
    for t in range(x.size):
        y[t] = x[t] + other[t]
