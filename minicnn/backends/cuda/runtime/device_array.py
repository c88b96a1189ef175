"""`DeviceArray`, an array in the memory of the device, and the pool of its memory.

An allocation stops the device, so memory is reused: `empty` hands out a free buffer that is large enough, if there is
one; `backends.pool` decides how many are kept. A buffer is free when the last array that uses it is gone. A kernel that
was queued earlier may still be reading it then; that does no harm, since whatever writes to it next is queued on the
same stream, behind it. A buffer that another library has seen, whose work is on other streams, is not reused.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from minicnn.backends.cuda.runtime import device, dlpack
from minicnn.backends.cuda.runtime.device import Blocks, Kernel
from minicnn.backends.pool import Pool
from minicnn.plain import Array, Pair

_lent_buffers: dict[int, Any] = {}  # id -> flat array that others use


def _allocate(size: int, dtype: Any) -> Array:
    return device.allocate(size // dtype.itemsize, dtype)


_pool = Pool(_allocate)


class _Lease:
    """Owns a buffer for as long as an array uses it.

    Until then `_lent_buffers` refers to it, too. Where arrays end in a cycle of references, Python calls the weak
    references' callbacks before `__del__`, and Numba has one on each buffer, to free its memory. So no buffer may be
    reachable from such a cycle alone.
    """

    __slots__ = ("_number", "_pool", "_shelf", "shared")

    def __init__(self, pool: Pool, loan: tuple[Any, ...]) -> None:
        buffer, *self._shelf = loan
        self._pool, self._number, self.shared = pool, id(buffer), False
        _lent_buffers[self._number] = buffer

    # `lent` is named here, since when Python ends modules are emptied first.
    def __del__(self, lent: dict[int, Any] = _lent_buffers) -> None:
        buffer = lent.pop(self._number)
        self._pool.give_back((None if self.shared else buffer, *self._shelf))


class DeviceArray:
    """A C-contiguous array on the device, with as much of NumPy's interface as layers need.

    Operations of the cuda backend take and return these. `numpy()` copies one to the host. Libraries that know
    `__cuda_array_interface__` or DLPack (CuPy, PyTorch, Numba) see the same memory without a copy.

    Attributes:
        flat: the numbers as Numba's flat device array, which kernels get.
        shape, dtype, ndim, size: as NumPy's.
    """

    __slots__ = ("_lease", "flat", "shape")

    def __init__(self, flat: Any, shape: tuple[int, ...], lease: Any = None) -> None:
        self.flat, self.shape, self._lease = flat, shape, lease

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.flat.dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def reshape(self, *shape: Any) -> "DeviceArray":
        """The same numbers in another shape, without a copy; one axis may be -1. Raises ValueError where none fits."""
        shape = tuple(int(axis) for axis in (shape[0] if isinstance(shape[0], tuple | list) else shape))
        if -1 in shape:
            rest = -math.prod(shape)
            shape = tuple(self.size // rest if axis == -1 else axis for axis in shape)
        if math.prod(shape) != self.size:
            raise ValueError(f"DeviceArray.reshape: expected a shape of {self.size} numbers, got {shape}")
        return DeviceArray(self.flat, shape, self._lease)

    def numpy(self) -> Array:
        """The numbers as a NumPy array on the host; waits until they are there."""
        return device.download(self.flat).reshape(self.shape)

    def copy(self) -> Array:
        """An independent copy, on the device."""
        copy = empty(self.shape, self.dtype)
        device.copy(copy.flat, self.flat)
        return copy

    def __reduce__(self) -> tuple[Callable[[Array], Array], tuple[Array]]:
        """Copied and pickled by way of the host, and on the device again where it is unpickled."""
        return from_host, (self.numpy(),)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: Any) -> "DeviceArray":
        """A position or a slice of the first axis, as a view. Anything else is for `numpy()`."""
        inner = math.prod(self.shape[1:])
        if isinstance(chosen, slice):
            start, stop, step = chosen.indices(len(self))
            if step == 1:
                stop = max(start, stop)
                view = self.flat[start * inner : stop * inner]
                return DeviceArray(view, (stop - start, *self.shape[1:]), self._lease)
        elif isinstance(chosen, (int, np.integer)):
            if not -len(self) <= chosen < len(self):
                raise IndexError(f"DeviceArray: no position {chosen}, there are {len(self)}")
            at = int(chosen) % len(self) * inner
            return DeviceArray(self.flat[at : at + inner], self.shape[1:], self._lease)
        raise TypeError(f"DeviceArray: expected an integer or a slice without steps, got {chosen!r}; use numpy() first")

    def __array__(self, *_: Any, **__: Any) -> Array:
        raise TypeError("DeviceArray: is in the memory of the device; copy it to the host with numpy()")

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3 of the interface; who reads the memory on another stream waits for ours first."""
        self._share()
        own = {"shape": self.shape, "strides": None, "stream": int(device.stream())}
        return self.flat.__cuda_array_interface__ | own

    def __dlpack__(self, *, dl_device: Pair | None = None, copy: bool | None = None, **_: Any) -> Any:
        """The memory, or a copy of it if one is wanted, as a DLPack capsule. All that was queued is done first, so
        that any stream may read it. Raises BufferError where it is wanted on another device."""
        if dl_device is not None and tuple(dl_device) != device.place():
            raise BufferError("DeviceArray: cannot be handed out on another device; copy it to the host with numpy()")
        handed_out: Any = self.copy() if copy else self
        handed_out._share()
        return dlpack.capsule(handed_out)

    def __dlpack_device__(self) -> Pair:
        return device.place()

    def __repr__(self) -> str:
        return f"DeviceArray({self.shape}, {self.dtype})"

    def _share(self) -> None:
        if isinstance(self._lease, _Lease):  # or it is the owner of memory that is not of the pool
            self._lease.shared = True


def as_array(array: DeviceArray) -> Array:
    """The same, to those who check types: operations take and return `Array`, on any backend."""
    return cast(Array, array)


def empty(shape: int | tuple[int, ...] | list[int], dtype: DTypeLike) -> Array:
    """An uninitialised DeviceArray from the pool."""
    shape = tuple(int(axis) for axis in shape) if isinstance(shape, tuple | list) else (int(shape),)
    size, dtype = math.prod(shape), np.dtype(dtype)
    loan = _pool.take(size * dtype.itemsize, dtype)
    return as_array(DeviceArray(loan[0][:size], shape, _Lease(_pool, loan)))


def from_host(array: ArrayLike) -> Array:
    """A NumPy array on the device."""
    array = np.asarray(array, order="C")
    copied = empty(array.shape, array.dtype)
    device.upload(copied.flat, array.reshape(-1))
    return copied


@functools.lru_cache(maxsize=1024)
def _constant(content: bytes, shape: tuple[int, ...]) -> Array:
    return from_host(np.frombuffer(content, np.int64).reshape(shape))


def constant(table: ArrayLike) -> Array:
    """A table of integers on the device, as int64. The same table is sent only once."""
    table = np.ascontiguousarray(table, np.int64)
    return _constant(table.tobytes(), table.shape)


@functools.lru_cache
def zeros(size: int, dtype: np.dtype[Any]) -> Array:
    """As many zeros. The same array is handed out each time, so that nobody may write to it."""
    return from_host(np.zeros(size, dtype))


def launch(body: Kernel, blocks: Blocks, threads: int, *arguments: Any) -> None:
    """Run a kernel: `device.run` for DeviceArrays, which go in flat, and numbers, as they are."""
    flat = [argument.flat if isinstance(argument, DeviceArray) else argument for argument in arguments]
    device.run(body, blocks, threads, flat)


def release() -> None:
    """Give all free buffers back to the driver."""
    _pool.release()
