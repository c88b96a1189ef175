"""How this backend compiles and runs in parallel, in one place.

`serial` compiles a body that works on one image, plane or range of memory, `serial_sum` one that is a long sum;
`parallel` compiles the thin loop that distributes bodies over threads, and `by_pointer` a body for the one such loop
that all may share, in `launch`. A parallel loop takes a second to compile and a body called by pointer a tenth of one,
so a training step has no other loop; only operations that a fused network does without have their own.

Results do not depend on the number of threads: each iteration of a parallel loop owns what it writes, nothing
is added up across iterations, and how the work is cut depends on shapes only.

Threads are those of the layer that Numba chooses: TBB where it is installed, as it is with this package on x86-64
Linux, else OpenMP, else its own "workqueue". The last cannot serve two Python threads at once, and with the others two
would compete for the same cores; so a lock is held around each parallel loop. Threads do not survive a fork: a child of
a process that has used OpenMP or TBB works with one, on the same loops compiled without threads. GNU's OpenMP lets idle
threads spin for milliseconds, which is fast where they have a core each, and slow where another program wants it. TBB's
soon sleep. Milliseconds of a training step on a 2-core Xeon, alone | beside one busy program, medians:

    images     OpenMP         OpenMP, OMP_WAIT_POLICY=passive    TBB
    1 x 32     2.9 |   6.5    3.6 |   3.0                        3.0 |   3.1
    10 x 32    6.6 |  16.5    8.2 |  10.1                        6.8 |  10.3
    128 x 32    57 |   132     57 |   114                         54 |   112
"""

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np

from minicnn.backends.cpu.runtime import cache, helper
from minicnn.backends.cpu.runtime.claims import claimed
from minicnn.backends.cpu.runtime.device import require_device
from minicnn.backends.cpu.runtime.numba_internals import (
    Disk,
    compiles_nothing,
    forget_other_threads,
    keep_on_disk,
    most_threads,
    release_locks,
    take_locks,
)
from minicnn.backends.cpu.runtime.tbb import load_tbb

load_tbb()  # before Numba looks for it, at the first parallel loop

Function = TypeVar("Function", bound=Callable[..., Any])

# a * b + c may be one rounding. Never "nnan" or "ninf": NaN and infinity must come out at the other end, where
# they are noticed.
FASTMATH = {"contract", "nsz"}
# In a body that is a long sum, the terms may be reordered, or they could not be added several at a time. Nowhere else:
# it would turn (x - a) - b into x - (a + b), which costs log-softmax its digits.
FASTMATH_SUM = FASTMATH | {"reassoc"}

# Elements of a flat array that one worker takes at a time: 64 KiB of float32, a share of the L2 cache.
CHUNK = 16384


@contextlib.contextmanager
def _compiling(path: Path) -> Iterator[None]:
    helper.kernel_is_missing()
    with claimed(path):
        yield


_DISK = Disk(cache.read, cache.write, _compiling)


def _compiled(function: Function, **options: Any) -> Function:
    njit: Any = numba.njit  # whose overloads do not know a dict of options
    return cast(Function, njit(nogil=True, error_model="numpy", **options)(function))


def _kept_on_disk(function: Function, **options: Any) -> Function:
    """Compile lazily, and keep the code for the next process: beside the source, or where that cannot be written, in
    the user's cache folder. Where neither can be, compile in each process."""
    if compiles_nothing():
        return cast(Function, _NeverCompiled())
    kernel = _compiled(function, **options)
    with contextlib.suppress(RuntimeError):  # nothing can be written
        keep_on_disk(kernel, function, _DISK)
    return kernel


class _NeverCompiled:
    """In place of every kernel where nothing is compiled; so that a new layer can be made, and moved."""

    def __call__(self, *_: object, **__: object) -> None:
        require_device()

    compile = __call__


def serial(function: Function) -> Function:
    return _kept_on_disk(function, fastmath=FASTMATH)


def serial_sum(function: Function) -> Function:
    return _kept_on_disk(function, fastmath=FASTMATH_SUM)


def by_pointer(function: Function) -> Function:
    """For `launch`, which jumps to its machine code; without the wrapper by which Python would call it, 0.1 s to
    compile."""
    return _kept_on_disk(function, fastmath=FASTMATH, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def inlined(function: Function) -> Function:
    """A part of kernels, compiled within each that calls it and never alone, which would take as long again."""
    return _compiled(function, fastmath=FASTMATH, inline="always")


def compiled_once(function: Function) -> Function:
    """The same for what is long and needed in several places: called there, and compiled once."""
    return _compiled(function, fastmath=FASTMATH)


# Reentrant, since the handler of a signal, or of an object's end, may begin a loop of its own while this thread has it.
_one_loop_at_a_time = threading.RLock()
_lost_its_threads = False  # in the child of a process that had started OpenMP's or TBB's


def parallel(function: Function) -> Function:
    """Compile `function`, whose `prange` loops then run on all threads, one such function at a time."""
    kernel = _kept_on_disk(function, parallel=True, fastmath=FASTMATH)
    # Not cached: Numba's cache could not tell it from the other.
    kernel_without_threads = _compiled(function, fastmath=FASTMATH)

    @functools.wraps(function)
    def run(*arguments: Any) -> Any:
        if _lost_its_threads:
            return kernel_without_threads(*arguments)
        with _one_loop_at_a_time:
            return kernel(*arguments)

    return cast(Function, run)


def _before_fork() -> None:
    """Wait until no thread runs a loop, compiles or is in LLVM: in the child there are no other threads, and what they
    held, or had left half done, would stay so."""
    _one_loop_at_a_time.acquire()
    take_locks()


def _after_fork() -> None:
    release_locks()
    _one_loop_at_a_time.release()


def _in_forked_child() -> None:
    global _lost_its_threads
    forget_other_threads()
    _after_fork()
    with contextlib.suppress(ValueError):  # no threads were started
        layer = numba.threading_layer()  # type: ignore[attr-defined] # documented, not in __all__
        _lost_its_threads = layer in ("omp", "tbb")


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_forked_child)


def chunks(size: int) -> int:
    """How many chunks of CHUNK elements cover `size` elements."""
    return (size + CHUNK - 1) // CHUNK


@serial
def unravel(item: int, n: int) -> tuple[int, int]:
    """(item // n, item % n) for the index of a parallel loop, which is unsigned and would turn n to a float."""
    index = np.int64(item)
    return index // n, index % n


def set_num_threads(n: int) -> None:
    """Let the kernels use `n` threads from now on, where this Python thread calls them. Same bits for every n.

    Raises ValueError for an n below 1, or above what Numba started with: the number of cores, or what the
    environment variable NUMBA_NUM_THREADS says.
    """
    most = most_threads()
    if not 1 <= n <= most:
        raise ValueError(
            f"set_num_threads: expected 1 to {most} threads, got {n}; "
            "for more, set the environment variable NUMBA_NUM_THREADS before Python starts"
        )
    numba.set_num_threads(n)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Kernels on one thread meanwhile: for arrays so small that threads would wait longer than they work."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(before)
