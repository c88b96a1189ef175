"""The device: the one module that knows `numba.cuda`. All memory, every copy and every launch goes through here.

`numba.cuda` is the package numba-cuda, or where NUMBA_ENABLE_CUDASIM=1 was set before Numba was imported, its
simulator, which runs kernels thread by thread on the host: slow, and good for finding out whether they are right.

Kernels and copies are put on one stream, `stream()`, and so happen in the order in which they were asked for, while
Python runs ahead; whoever needs a number on the host waits for it in `download`.
"""

import functools
import threading
import warnings

import numpy as np
from numba import config, cuda

HOST, CUDA = 1, 2  # kinds of devices, by DLPack's count
OUT_OF_MEMORY = 2  # the driver's CUDA_ERROR_OUT_OF_MEMORY
REMEDY = 'pip install "minicnn-numba[cuda13]", or [cuda12] for a driver of CUDA 12'


def require_device():
    """Raise RuntimeError, in a sentence that says what to do, where this backend cannot run."""
    if config.ENABLE_CUDASIM:
        return
    if getattr(cuda, "implementation", None) != "NVIDIA":
        raise RuntimeError(f"the cuda backend needs the package numba-cuda, which is not installed; {REMEDY}")
    found = _toolkit()  # this starts the driver, too
    if cuda.cuda_error():
        reason = " ".join(str(cuda.cuda_error()).split())
        raise RuntimeError(
            f"the cuda backend needs an NVIDIA GPU and its driver, and found none ({reason}); "
            'install the driver, or use the backend "cpu"'
        )
    if found is None:
        raise RuntimeError(f"the cuda backend needs the CUDA toolkit, which numba-cuda does not find; {REMEDY}")
    driver = cuda.cudadrv.driver.get_version()
    if driver[0] < found[0]:  # of one major version, any minor ones go together
        raise RuntimeError(
            "the cuda backend found a driver of CUDA {}.{}, too old for the installed toolkit of CUDA {}.{}; "
            'update the driver, or for one of CUDA 12 pip install "minicnn-numba[cuda12]"'.format(*driver, *found)
        )


def _toolkit():
    """(major, minor) of the toolkit, or None where there is none, or no driver."""
    try:
        return cuda.runtime.get_version() if cuda.is_available() else None
    except RuntimeError:  # its libraries are looked for only when they are called
        return None


@functools.cache
def stream():
    """The stream of all kernels and copies, made when first asked for."""
    return cuda.stream()


# A part of kernels, put into each that calls it.
inlined = cuda.jit(device=True, inline="always")


def allocate(size, dtype):
    """A flat array of `size` numbers on the device, with anything in it. Raises MemoryError where there is no room."""
    try:
        return cuda.device_array(size, dtype, stream=stream())
    except cuda.cudadrv.driver.CudaAPIError as error:
        if getattr(error, "code", None) != OUT_OF_MEMORY:
            raise
        raise MemoryError(
            f"the device has no room for {size} more numbers of {np.dtype(dtype)}; take smaller batches"
        ) from error


def upload(flat, host):
    """Copy a flat host array into a flat device array. `host` may be changed as soon as this returns.

    Of ordinary memory the driver takes a copy before it goes on, but from pinned memory, which `host` may be without
    our knowledge, the device reads when its turn comes. So what is sent is a copy in ordinary memory.
    """
    flat.copy_to_device(np.array(host), stream=stream())


def copy(target, source):
    """Copy one flat device array into another."""
    target.copy_to_device(source, stream=stream())


def download(flat):
    """A flat device array as a new host array; waits until everything asked for before is done."""
    host = np.empty(flat.size, flat.dtype)
    if flat.size:
        flat.copy_to_host(host, stream=stream())
    synchronize()
    return host


class StagingBuffer:
    """A staging buffer: memory by which an array is copied to the device while kernels run, on a stream of its own.

    The host's side is *pinned* memory, which the device fetches by itself. Both sides are used again for the next one.
    """

    def __init__(self):
        self._host = self._device = None
        self._there, self._used = cuda.event(), cuda.event()

    def send(self, host):
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

    def wait(self):
        """Let kernels that are asked for from now on wait for the copy."""
        self._there.wait(stream())

    def release(self):
        """The kernels asked for so far are the last to read the array."""
        self._used.record(stream())


@functools.cache
def _copy_stream():
    return cuda.stream()


def synchronize():
    """Wait until everything asked for is done."""
    stream().synchronize()


def pointer(flat):
    """The address of a flat device array."""
    return flat.ctypes.data if config.ENABLE_CUDASIM else flat.device_ctypes_pointer.value


def is_on_device(array):
    """Whether an array of another library says that its memory is on a CUDA device."""
    if hasattr(array, "__cuda_array_interface__"):
        return True
    return hasattr(array, "__dlpack_device__") and array.__dlpack_device__()[0] == CUDA


def seen(owner):
    """Such an array as Numba's, without a copy. Our stream waits for what its own library has asked for on it.

    By DLPack where it is offered, since there the library is told which stream is to wait; the other interface need
    not say on which stream the array is made, and PyTorch's does not.
    """
    if hasattr(owner, "__dlpack__"):
        from cuda.core.utils import StridedMemoryView  # comes with numba-cuda

        view = StridedMemoryView.from_dlpack(owner, stream_ptr=int(stream()))
        strides = None if view.strides is None else tuple(step * view.dtype.itemsize for step in view.strides)
        interface = {"shape": view.shape, "strides": strides, "typestr": view.dtype.str, "version": 3}
        return cuda.from_cuda_array_interface(interface | {"data": (view.ptr, view.readonly)}, owner=view)
    return cuda.as_cuda_array(owner)


def place():
    """(kind, number) of the device, by DLPack's count; the simulator works on the host."""
    return (HOST, 0) if config.ENABLE_CUDASIM else (CUDA, cuda.get_current_device().id)


def run(body, blocks, threads, arguments):
    """Put body(*arguments) on the stream, in `blocks` blocks of `threads` threads. Arrays are flat.

    blocks: an int, or a tuple (x, y) or (x, y, z).
    """
    _configured(body, blocks, threads)(*arguments)


_one_at_a_time = threading.RLock()


@functools.lru_cache(maxsize=4096)
def _configured(body, blocks, threads):
    """A kernel for a grid. Numba warns of grids that leave a GPU idle; small networks have no others."""
    with _one_at_a_time, warnings.catch_warnings():  # which ignores them in all threads
        warnings.filterwarnings("ignore", message="Grid size")
        # A simulated kernel knows one grid at a time, the last, so that there each grid has a kernel of its own.
        kernel = cuda.jit(body) if config.ENABLE_CUDASIM else _compiled(body)
        return kernel[blocks, threads, stream()]


@functools.cache
def _compiled(body):
    return cuda.jit(body)
