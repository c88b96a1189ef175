"""The device: the one module that knows `numba.cuda`. All memory, every copy and every launch goes through here.

`numba.cuda` is the package numba-cuda, or where NUMBA_ENABLE_CUDASIM=1 was set before Numba was imported, its
simulator, which runs kernels thread by thread on the host: slow, and good for finding out whether they are right.

Kernels and copies are put on one stream, `stream()`, and so happen in the order in which they were asked for, while
Python runs ahead; whoever needs a number on the host waits for it in `download`.
"""

import functools

import numpy as np
from numba import config, cuda

REMEDY = 'pip install "minicnn-numba[cuda13]", or [cuda12] for a driver of CUDA 12'


def require_device():
    """Raise RuntimeError, in a sentence that says what to do, where this backend cannot run."""
    if config.ENABLE_CUDASIM:
        return
    if getattr(cuda, "implementation", None) != "NVIDIA":
        raise RuntimeError(f"the cuda backend needs the package numba-cuda, which is not installed; {REMEDY}")
    if not cuda.is_available():
        raise RuntimeError(
            f"the cuda backend needs an NVIDIA GPU and its driver, and found none ({_reason()}); "
            'install the driver, or use the backend "cpu"'
        )


def _reason():
    """What the driver says, in one line."""
    error = cuda.cuda_error()
    return " ".join(str(error).split()) if error else "no device answers"


@functools.cache
def stream():
    """The stream of all kernels and copies, made when first asked for."""
    return cuda.stream()


# A part of kernels, put into each that calls it.
part = cuda.jit(device=True, inline="always")


def allocate(size, dtype):
    """A flat array of `size` numbers on the device, with anything in it."""
    return cuda.device_array(size, dtype, stream=stream())


def upload(flat, host):
    """Copy a flat host array into a flat device array. `host` may be changed as soon as this returns."""
    flat.copy_to_device(host, stream=stream())


def copy(target, source):
    """Copy one flat device array into another."""
    target.copy_to_device(source, stream=stream())


def download(flat):
    """A flat device array as a new host array; waits until everything asked for before is done."""
    host = np.empty(flat.size, flat.dtype)
    flat.copy_to_host(host, stream=stream())
    synchronize()
    return host


def synchronize():
    """Wait until everything asked for is done."""
    stream().synchronize()


def pointer(flat):
    """The address of a flat device array."""
    return flat.ctypes.data if config.ENABLE_CUDASIM else flat.device_ctypes_pointer.value


def place():
    """(kind, number) of the device by DLPack's count: 2 is CUDA, 1 the host, where the simulator works."""
    return (1, 0) if config.ENABLE_CUDASIM else (2, cuda.get_current_device().id)


def run(body, blocks, threads, arguments):
    """Put body(*arguments) on the stream, in `blocks` blocks of `threads` threads. Arrays are flat.

    blocks: an int, or a tuple (x, y) or (x, y, z).
    """
    _compiled(body)[blocks, threads, stream()](*arguments)


@functools.cache
def _compiled(body):
    return cuda.jit(body)
