"""Memory between two guard pages: whoever reads or writes past either end of an array ends the process.

NumPy asks an allocator for the memory of every array (NEP 49). `Fence` is one that gives each array pages of its own,
with a page before and a page behind that may not be touched, and puts the array against one of the two. So all arrays
made meanwhile are fenced: what is handed to a kernel, its outputs, its scratch, its tables, copies and temporaries; and
memory that was given back is not there any more. Fresh memory is full of set bits, NaN in floats, so that a
kernel that reads uninitialised memory gives other numbers.

What is not NumPy's is not fenced: arrays that a compiled function makes for itself (in rung 2 of the convolution, which
is there to be read) and its registers.
"""

import ctypes
import mmap
import sys

import numpy as np

PAGE = mmap.PAGESIZE
SIDES = ("behind", "before")


class _Allocator(ctypes.Structure):
    _fields_ = [
        ("ctx", ctypes.c_void_p),
        ("malloc", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
        ("calloc", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)),
        ("realloc", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
        ("free", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
    ]


class _Handler(ctypes.Structure):
    """PyDataMem_Handler of NumPy's C interface."""

    _fields_ = [
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("allocator", _Allocator),
    ]


_SET_HANDLER = 304  # where PyDataMem_SetHandler stands in the table of NumPy's C interface, since 1.22


def _set_handler():
    from numpy._core._multiarray_umath import _ARRAY_API

    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = ctypes.cast(pointer(_ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p))
    return ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(table[_SET_HANDLER])


class Fence:
    """Within `with fence:`, the arrays that this thread makes lie against the guard page on the side asked for.

    An instance must outlive its arrays: end the process with `os._exit`.
    """

    def __init__(self, side):
        self.side, self.arrays = side, 0
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self._mappings = {}  # address of an array's memory -> (its pages, its size)
        callbacks = dict(zip(("malloc", "calloc", "realloc", "free"), _Allocator._fields_[1:], strict=True))
        own = {name: kind(getattr(self, f"_{name}")) for name, (_, kind) in callbacks.items()}
        self._handler = _Handler(b"fenced", 1, _Allocator(None, **own))
        capsule = ctypes.pythonapi.PyCapsule_New
        capsule.restype, capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        self._capsule = capsule(ctypes.addressof(self._handler), b"mem_handler", None)
        self._set = _set_handler()

    def __enter__(self):
        self._before = self._set(self._capsule)
        return self

    def __exit__(self, *_):
        self._set(self._before)

    def _malloc(self, _, size):
        pages = -(-max(size, 1) // PAGE)
        mapping = mmap.mmap(-1, (pages + 2) * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        start = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
        for guard in (start, start + (pages + 1) * PAGE):
            if self._libc.mprotect(guard, PAGE, 0):
                return None
        address = start + PAGE + (pages * PAGE - size if self.side == "behind" else 0)
        ctypes.memset(start + PAGE, 0xFF, pages * PAGE)
        self._mappings[address] = mapping, size
        self.arrays += 1
        return address

    def _calloc(self, _, count, size):
        address = self._malloc(None, count * size)
        if address is not None:
            ctypes.memset(address, 0, count * size)
        return address

    def _realloc(self, _, old, size):
        address = self._malloc(None, size)
        if address is not None and old:
            ctypes.memmove(address, old, min(size, self._mappings[old][1]))
            self._free(None, old, 0)
        return address

    def _free(self, _, address, size):
        del self._mappings[address]  # and with its last owner the pages go


def without_a_pool():
    """Let large arrays come from NumPy, too: in a buffer of the pool there is room behind them."""
    pools = [
        module
        for name, module in sys.modules.items()
        if name.startswith("minicnn.backends.cpu") and hasattr(module, "POOLED")
    ]
    assert len(pools) == 1, f"expected one module that pools arrays of POOLED bytes and more, got {pools}"
    pools[0].POOLED = float("inf")


def is_fenced(array):
    """Whether the array's memory, or what it is a view of, came from a `Fence`."""
    from numpy._core.multiarray import get_handler_name

    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.base is None and get_handler_name(array) == "fenced"
