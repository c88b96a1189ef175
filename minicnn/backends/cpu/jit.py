"""How this backend compiles, in one place: the flags, the block size, the number of threads.

`serial` compiles a body that works on one image, plane or stretch of memory; `parallel` compiles the thin loop
that hands bodies to threads. A parallel kernel takes seconds to compile and a serial one a fraction of one,
so the work stands in the bodies and the parallel loops stay short.

Results do not depend on the number of threads: each iteration of a parallel loop owns what it writes, nothing
is added up across iterations, and how the work is cut depends on shapes only.
"""

import numba
import numpy as np

# Sums may be reordered so that they vectorise, and a * b + c may be one rounding. Never "nnan" or "ninf":
# NaN and infinity must come out at the other end, where they are noticed.
FASTMATH = {"reassoc", "contract", "nsz"}

# Elements of a flat array that one worker takes at a time: 64 KiB of float32, a share of the L2 cache.
CHUNK = 16384

_OPTIONS = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": FASTMATH}

serial = numba.njit(**_OPTIONS)
parallel = numba.njit(parallel=True, **_OPTIONS)


def chunks(size):
    """How many chunks of CHUNK elements cover `size` elements."""
    return (size + CHUNK - 1) // CHUNK


@serial
def unravel(item, n):
    """(item // n, item % n) for the index of a parallel loop, which is unsigned and would turn n to a float."""
    item = np.int64(item)
    return item // n, item % n


def set_num_threads(n):
    """Let the kernels use `n` threads from now on. The results are the same bits for every n.

    Raises ValueError for an n below 1, or above what Numba started with: the number of cores, or what the
    environment variable NUMBA_NUM_THREADS says.
    """
    most = numba.config.NUMBA_NUM_THREADS
    if not 1 <= n <= most:
        raise ValueError(
            f"set_num_threads: expected 1 to {most} threads, got {n}; "
            "for more, set the environment variable NUMBA_NUM_THREADS before Python starts"
        )
    numba.set_num_threads(n)
