"""How this backend compiles and runs in parallel, in one place.

`serial` compiles a body that works on one image, plane or stretch of memory, `serial_sum` one that is a long sum;
`parallel` compiles the thin loop that hands bodies to threads, and `by_pointer` a body for the one such loop that all
may share, in `launch`. A parallel loop takes a second to compile and a body called by pointer a tenth of one, so a
training step has no other loop; only operations that a fused network does without have their own.

Results do not depend on the number of threads: each iteration of a parallel loop owns what it writes, nothing
is added up across iterations, and how the work is cut depends on shapes only.

Threads are those of the layer that Numba chooses: TBB where it is installed, else OpenMP, else its own "workqueue".
The last cannot serve two Python threads at once, and with the others two would fight for the same cores; so a lock
is held around each parallel loop. OpenMP does not survive a fork: a child of a process that has used it works with
one thread, on the same loops compiled without threads. GNU's OpenMP lets idle threads spin for milliseconds, which is
fast where they have a core each and slow where others want it; OMP_WAIT_POLICY=passive makes them sleep instead. To
make them do so sooner by default, after 4000 rounds, cost a step on 10 pictures a third of its speed.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import threading
from pathlib import Path

import numba
import numpy as np
from numba.core.caching import FunctionCache
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps

from minicnn import geometry
from minicnn.backends.cpu.runtime.device import require_device

# a * b + c may be one rounding. Never "nnan" or "ninf": NaN and infinity must come out at the other end, where
# they are noticed.
FASTMATH = {"contract", "nsz"}
# In a body that is a long sum, the terms may be reordered, or they could not be added several at a time. Nowhere else:
# it would turn (x - a) - b into x - (a + b), which costs log-softmax its digits.
FASTMATH_SUM = FASTMATH | {"reassoc"}

# Elements of a flat array that one worker takes at a time: 64 KiB of float32, a share of the L2 cache.
CHUNK = 16384

DIGEST_BYTES = 32  # of SHA-256, before the code in each file of the cache

_OPTIONS = {"nogil": True, "error_model": "numpy"}


def _kept_on_disk(function, **options):
    """Compile lazily, and keep the code for the next process: beside the source, or where that cannot be written, in
    the user's cache folder. Where neither can be, compile in each process."""
    if numba.config.DISABLE_JIT:
        return _never_compiled
    kernel = numba.njit(**_OPTIONS, **options)(function)
    with contextlib.suppress(RuntimeError):  # nothing can be written
        kernel._cache = _KernelCache(function)  # private, and where `njit(cache=True)` puts Numba's own
    return kernel


def _never_compiled(*_, **__):
    """In place of every kernel where nothing is compiled; so that a new layer can be made, and moved."""
    require_device()


_never_compiled.compile = _never_compiled


class _KernelCache(FunctionCache):
    """Numba's cache of one function's machine code, with a digest before it: it may be damaged, but it never matters.

    Numba takes what it reads for its own: a file that was cut short ends every run, and a flipped bit may do anything.
    Its index, which says which file holds the code for which types, is written apart from the code, so that after two
    processes that compiled at once it may name the wrong one. Here each signature has a file named after it, and what
    does not bear out its digest is compiled and written anew. The digest covers what the code was made from, too; Numba
    itself looks whether the function's own file has changed, but a kernel also contains what it calls in others.
    """

    def load_overload(self, sig, target_context):
        """The code compiled for the signature `sig`; None where there is none, or none that is whole."""
        target_context.refresh()
        path, made_from = self._place(sig, target_context.codegen())
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, code = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if digest != _digest(made_from, code):
            return None
        return self._impl.rebuild(target_context, pickle.loads(code))

    def save_overload(self, sig, data):
        """Write it for the next process; where that fails, because the disk is full, say, that one compiles again."""
        if not self._impl.check_cachable(data):
            return
        path, made_from = self._place(sig, data.codegen)
        code = dumps(self._impl.reduce(data))
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)  # another process may be reading the old one, or it may be write-protected
            path.write_bytes(_digest(made_from, code) + code)

    def _place(self, sig, codegen):
        """(file, what its code is made from); Numba checks indices in kernels if NUMBA_BOUNDSCHECK says so."""
        key = repr((self._index_key(sig, codegen), numba.config.BOUNDSCHECK)).encode()
        name = f"{self._impl.filename_base}.{hashlib.sha256(key).hexdigest()[:16]}.nbc"
        return Path(self.cache_path) / name, key + f"{numba.__version__} {_state_of_sources()}".encode()


def _digest(made_from, code):
    return hashlib.sha256(made_from + code).digest()


@functools.cache
def _state_of_sources():
    """A digest of every file that a kernel may contain code of."""
    windows = Path(geometry.__file__)
    digest = hashlib.sha256()
    for path in (windows, *sorted((windows.parent / "backends" / "cpu").rglob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


serial = functools.partial(_kept_on_disk, fastmath=FASTMATH)
serial_sum = functools.partial(_kept_on_disk, fastmath=FASTMATH_SUM)

# For `launch`, which jumps to its machine code; without the shell by which Python would call it, 0.1 s to compile.
by_pointer = functools.partial(serial, no_cpython_wrapper=True, no_cfunc_wrapper=True)

# A part of kernels, compiled within each that calls it and never alone, which would take as long again.
inlined = numba.njit(inline="always", fastmath=FASTMATH, **_OPTIONS)
# The same for what is long and needed in several places: called there, and compiled once.
compiled_once = numba.njit(fastmath=FASTMATH, **_OPTIONS)

# Reentrant, since the handler of a signal, or of an object's end, may begin a loop of its own while this thread has it.
_one_loop_at_a_time = threading.RLock()
_lost_its_threads = False  # in the child of a process that had started OpenMP's


def parallel(function):
    """Compile `function`, whose `prange` loops then run on all threads, one such function at a time."""
    kernel = _kept_on_disk(function, parallel=True, fastmath=FASTMATH)
    # Not cached: Numba's cache could not tell it from the other.
    kernel_without_threads = numba.njit(fastmath=FASTMATH, **_OPTIONS)(function)

    @functools.wraps(function)
    def run(*arguments):
        if _lost_its_threads:
            return kernel_without_threads(*arguments)
        with _one_loop_at_a_time:
            return kernel(*arguments)

    return run


def _before_fork():
    """Wait until no thread runs a loop or compiles: in the child there are no other threads, and what they held, or had
    left half done, would stay so."""
    _one_loop_at_a_time.acquire()
    global_compiler_lock.acquire()


def _after_fork():
    global_compiler_lock.release()
    _one_loop_at_a_time.release()


def _in_forked_child():
    global _lost_its_threads
    _after_fork()
    with contextlib.suppress(ValueError):  # no threads were started
        _lost_its_threads = numba.threading_layer() == "omp"


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_forked_child)


def chunks(size):
    """How many chunks of CHUNK elements cover `size` elements."""
    return (size + CHUNK - 1) // CHUNK


@serial
def unravel(item, n):
    """(item // n, item % n) for the index of a parallel loop, which is unsigned and would turn n to a float."""
    item = np.int64(item)
    return item // n, item % n


def set_num_threads(n):
    """Let the kernels use `n` threads from now on, where this Python thread calls them. Same bits for every n.

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


@contextlib.contextmanager
def one_thread():
    """Kernels on one thread meanwhile: for arrays so small that threads would wait longer than they work."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(before)
