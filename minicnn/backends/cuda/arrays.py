"""Arrays of the cuda backend: `DeviceArray`, and what is asked of it."""

import itertools
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from minicnn.backends import foreach, guard
from minicnn.backends.cuda.elementwise import blocks_for, own_number, real_of, sum_over_block
from minicnn.backends.cuda.runtime import device
from minicnn.backends.cuda.runtime.device import Kernel, cuda
from minicnn.backends.cuda.runtime.device_array import DeviceArray, as_array, empty, from_host, launch
from minicnn.backends.cuda.tiles import MOST_BLOCKS, THREADS
from minicnn.images import Images
from minicnn.plain import Array, as_plain_array

DTYPES = (np.float32, np.float64)


def asarray(array: Array) -> Array:
    """`array` on the device, C-contiguous, dtype kept: a DeviceArray as it is, the memory of another library that is
    on the device already without a copy, and a copy of whatever NumPy can read.

    Raises ValueError for an array of another library that is not C-contiguous, TypeError for a masked array.
    """
    if isinstance(array, DeviceArray):
        return array
    if device.is_on_device(array):
        return _seen(device.seen(array), array)
    host = as_plain_array(array)
    return from_host(host) if host.dtype != object else host


guarded, guarded_lists = guard.guarded(asarray), foreach.guarded_lists(asarray)


def _seen(view: Any, owner: Any) -> Array:
    """Numba's view of another library's array as a DeviceArray, which keeps `owner` alive."""
    if not view.is_c_contiguous():
        raise ValueError(
            f"asarray: expected a C-contiguous array on the device, got strides {view.strides} for shape {view.shape}; "
            "make it contiguous first, as with .contiguous() in PyTorch"
        )
    return as_array(DeviceArray(view.reshape(view.size), tuple(view.shape), lease=owner))


def to_numpy(array: Array) -> Array:
    """A copy on the host; what is on the host already, as it is."""
    return array.numpy() if isinstance(array, DeviceArray) else array


def copy(array: Array) -> Array:
    return array.copy()


def prefetch(batches: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """The batches, each one's images sent to the device while kernels still work on those of the one before.

    A batch's images are overwritten two batches later. One batch is taken in advance; if the caller stops early,
    `batches` is set back to where the last one handed out ended, provided that it has `load_state_dict`.
    """
    buffers = itertools.cycle((device.StagingBuffer(), device.StagingBuffer()))
    has_a_position = hasattr(batches, "load_state_dict")
    source: Any = batches  # which may have a position to go back to
    iterator, coming, position = iter(batches), None, None
    try:
        coming = _send_next(iterator, buffers)
        while coming is not None:
            (x, y, staging), position = coming, source.state_dict() if has_a_position else None
            coming = _send_next(iterator, buffers)
            if staging is None:
                yield x, y
            else:
                staging.wait()
                yield x, y
                staging.release()
    finally:
        if coming is not None and position is not None:
            source.load_state_dict(position)


def _send_next(iterator: Iterator[Any], buffers: Iterator[Any]) -> tuple[Any, Any, Any] | None:
    """(x on its way to the device, y, its staging), or None at the end. What no layer takes is passed on as it is."""
    batch = next(iterator, None)
    if batch is None:
        return None
    x, y = batch
    numbers = x.data if isinstance(x, Images) else x
    if not isinstance(numbers, np.ndarray) or numbers.dtype not in DTYPES or not numbers.size:
        return x, y, None
    staging = next(buffers)
    flat = staging.send(numbers.reshape(-1))
    sent = as_array(DeviceArray(flat, numbers.shape, lease=staging))
    return x.like(sent) if isinstance(x, Images) else sent, y, staging


@guarded
def sum_of_squares(array: Array) -> float:
    """sum of a² as a Python float, added up in the array's dtype, but in steps of a few numbers each."""
    blocks = min(MOST_BLOCKS, blocks_for(array.size))
    partial = empty(blocks, array.dtype)
    launch(_square_sums(real_of(array)), blocks, THREADS, array, partial, array.size)
    return float(device.download(partial.flat).sum(dtype=np.float64))


@guarded
def scale_(array: Array, factor: float) -> None:
    launch(_scale, blocks_for(array.size), THREADS, array, real_of(array)(factor), array.size)


def _scale(array: Array, factor: Any, size: int) -> None:
    """Each thread owns one number."""
    i = own_number()
    if i < size:
        array[np.uint64(i)] *= factor


@lru_cache
def _square_sums(real: Any) -> Kernel:
    """partial[block] = the sum of the squares of every blocks * THREADS-th numbers. A block owns its partial sum."""
    zero = real(0)

    def kernel(array: Array, partial: Array, size: int) -> None:
        squares = cuda.shared.array(THREADS, real)
        thread, total = cuda.threadIdx.x, zero
        for i in range(own_number(), size, cuda.gridDim.x * THREADS):
            total += array[np.uint64(i)] * array[np.uint64(i)]
        squares[thread] = total
        sum_over_block(squares, thread)
        if thread == 0:
            partial[cuda.blockIdx.x] = squares[0]

    return kernel
