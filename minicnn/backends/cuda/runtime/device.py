"""The device, by `numba.cuda`. All memory, copies and launches go through here.

`numba.cuda` is the package numba-cuda, or where NUMBA_ENABLE_CUDASIM=1 was set before Numba was imported, its
simulator, which runs kernels thread by thread on the host: slow, and good for finding out whether they are right.

Kernels and copies are queued on one stream, `stream()`, and so run in the order of the calls, while Python runs ahead;
`download` waits for what it copies to the host.
"""

import functools
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np

from minicnn.backends.cuda.runtime import numba_internals
from minicnn.backends.cuda.runtime.numba_internals import SIMULATED, cuda
from minicnn.plain import Array, Pair

HOST, CUDA = 1, 2  # kinds of devices, by DLPack's count
REMEDY = 'pip install "minicnn-numba[cuda13]", or [cuda12] for a driver of CUDA 12'

Kernel: TypeAlias = Callable[..., None]  # its Python function, not compiled
Blocks: TypeAlias = int | tuple[int, ...]  # how many of them, in (x, y) or (x, y, z) where it is no int
Function = TypeVar("Function", bound=Callable[..., Any])


def require_device() -> None:
    """Raise RuntimeError, in a sentence that says what to do, where this backend cannot run."""
    if numba_internals.SIMULATED:
        return
    if not numba_internals.is_installed():
        raise RuntimeError(f"the cuda backend needs the package numba-cuda, which is not installed; {REMEDY}")
    found = numba_internals.toolkit_version()  # this starts the driver, too
    if reason := numba_internals.failure_of_the_driver():
        raise RuntimeError(
            f"the cuda backend needs an NVIDIA GPU and its driver, and found none ({reason}); "
            'install the driver, or use the backend "cpu"'
        )
    if found is None:
        raise RuntimeError(f"the cuda backend needs the CUDA toolkit, which numba-cuda does not find; {REMEDY}")
    driver = numba_internals.version_of_the_driver()
    if driver[0] < found[0]:  # of one major version, any minor ones go together
        raise RuntimeError(
            "the cuda backend found a driver of CUDA {}.{}, too old for the installed toolkit of CUDA {}.{}; "
            'update the driver, or for one of CUDA 12 pip install "minicnn-numba[cuda12]"'.format(*driver, *found)
        )


@functools.cache
def stream() -> Any:
    """The stream of all kernels and copies, made at the first call."""
    return cuda.stream()


def inlined(function: Function) -> Function:
    """A part of kernels, put into each that calls it."""
    return cuda.jit(device=True, inline="always")(function)


def allocate(size: int, dtype: np.dtype[Any]) -> Array:
    """A flat array of `size` numbers on the device, uninitialised. Raises MemoryError where there is no room."""
    try:
        return cuda.device_array(size, dtype, stream=stream())
    except numba_internals.error_of_the_driver() as error:
        if getattr(error, "code", None) != numba_internals.OUT_OF_MEMORY:
            raise
        raise MemoryError(
            f"the device has no room for {size} more numbers of {np.dtype(dtype)}; take smaller batches"
        ) from error


def upload(flat: Any, host: Array) -> None:
    """Copy a flat host array into a flat device array. `host` may be changed as soon as this returns.

    Of ordinary memory the driver takes a copy before it goes on, but from pinned memory, which `host` may be without
    our knowledge, the device reads when its turn comes. So what is sent is a copy in ordinary memory.
    """
    flat.copy_to_device(np.array(host), stream=stream())


def copy(target: Any, source: Any) -> None:
    """Copy one flat device array into another."""
    target.copy_to_device(source, stream=stream())


def download(flat: Any) -> Array:
    """A flat device array as a new host array; waits until all that was queued before is done."""
    host = np.empty(flat.size, flat.dtype)
    if flat.size:
        flat.copy_to_host(host, stream=stream())
    synchronize()
    return host


class StagingBuffer:
    """Memory by which an array is copied to the device while kernels run, on a stream of its own.

    The host's side is *pinned* memory, which the device fetches by itself. Both sides are used again for the next one.
    """

    def __init__(self) -> None:
        self._host: Array | None = None
        self._device: Any = None
        self._there, self._used = cuda.event(), cuda.event()

    def send(self, host: Array) -> Any:
        """Have a flat host array copied; returns the flat device array that it will be in. `host` is free at once."""
        self._there.synchronize()  # the copy before this one has left the pinned memory,
        self._used.wait(_copy_stream())  # and kernels have read what it made
        if self._host is None or self._host.dtype != host.dtype or self._host.size < host.size:
            self._host = cuda.pinned_array(host.size, host.dtype)
            self._device = allocate(host.size, host.dtype)
        pinned, target = self._host[: host.size], self._device[: host.size]
        pinned[:] = host
        target.copy_to_device(pinned, stream=_copy_stream())
        self._there.record(_copy_stream())
        return target

    def wait(self) -> None:
        """Let kernels that are queued from now on wait for the copy."""
        self._there.wait(stream())

    def release(self) -> None:
        """The kernels queued so far are the last to read the array."""
        self._used.record(stream())


@functools.cache
def _copy_stream() -> Any:
    return cuda.stream()


def synchronize() -> None:
    """Wait until all that was queued is done."""
    stream().synchronize()


def pointer(flat: Any) -> int:
    """The address of a flat device array."""
    return numba_internals.address(flat)


def is_on_device(array: Any) -> bool:
    """Whether an array of another library says that its memory is on a CUDA device."""
    if hasattr(array, "__cuda_array_interface__"):
        return True
    return hasattr(array, "__dlpack_device__") and bool(array.__dlpack_device__()[0] == CUDA)


def seen(owner: Any) -> Any:
    """Such an array as Numba's, without a copy. Our stream waits for what its own library has queued.

    By DLPack where it is offered, since there the library is told which stream is to wait; the other interface need
    not say on which stream the array is made, and PyTorch's does not.
    """
    if hasattr(owner, "__dlpack__"):
        view, interface = numba_internals.view_by_dlpack(owner, int(stream()))
        return cuda.from_cuda_array_interface(interface, owner=view)
    return cuda.as_cuda_array(owner)


def place() -> Pair:
    """(kind, number) of the device, by DLPack's count; the simulator works on the host."""
    return (HOST, 0) if SIMULATED else (CUDA, cuda.get_current_device().id)


def run(body: Kernel, blocks: Blocks, threads: int, arguments: Sequence[Any]) -> None:
    """Queue body(*arguments) on the stream, in `blocks` blocks of `threads` threads. Arrays are flat."""
    _configured(body, blocks, threads)(*arguments)


_one_at_a_time = threading.RLock()


@functools.lru_cache(maxsize=4096)
def _configured(body: Kernel, blocks: Blocks, threads: int) -> Any:
    """A kernel for a grid. Numba warns of grids that leave a GPU idle; small networks have no others."""
    with _one_at_a_time, warnings.catch_warnings():  # which ignores them in all threads
        warnings.filterwarnings("ignore", message="Grid size")
        # A simulated kernel knows one grid at a time, the last, so that there each grid has a kernel of its own.
        kernel = cuda.jit(body) if SIMULATED else _compiled(body)
        return kernel[blocks, threads, stream()]


@functools.cache
def _compiled(body: Kernel) -> Any:
    return cuda.jit(body)
