"""A DeviceArray for other libraries by DLPack (https://dmlc.github.io/dlpack), version 0: a C structure in a capsule.

The structure and the array live until the library that took the capsule calls its deleter, or, if nobody took it,
until the capsule goes.
"""

import ctypes
from typing import Any

from minicnn.backends.cuda.runtime import device

FLOAT, INTEGER = 2, 0  # DLDataTypeCode
UNUSED = b"dltensor"  # the capsule's name until somebody takes what is in it


class _Tensor(ctypes.Structure):
    """DLManagedTensor, with the DLTensor in it written out."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.c_void_p),  # null: C-contiguous
        ("byte_offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


_in_use: dict[int, Any] = {}  # address of a structure -> what must live as long


def _forget(address: int) -> None:
    _in_use.pop(address, None)


_Callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_delete = _Callback(_forget)


_api = ctypes.pythonapi
_api.PyCapsule_New.restype = ctypes.py_object
_api.PyCapsule_New.argtypes = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
_api.PyCapsule_IsValid.argtypes = ctypes.c_void_p, ctypes.c_char_p
_api.PyCapsule_GetPointer.restype = ctypes.c_void_p
_api.PyCapsule_GetPointer.argtypes = ctypes.c_void_p, ctypes.c_char_p


def _forget_untaken(capsule: int) -> None:
    if _api.PyCapsule_IsValid(capsule, UNUSED):
        _forget(_api.PyCapsule_GetPointer(capsule, UNUSED))


_capsule_goes = _Callback(_forget_untaken)


def capsule(array: Any) -> Any:
    """A capsule with a DeviceArray, after all that was queued so far is done."""
    device.synchronize()
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    place, number = device.place()
    code = FLOAT if array.dtype.kind == "f" else INTEGER
    bits = 8 * array.dtype.itemsize
    deleter = ctypes.cast(_delete, ctypes.c_void_p)
    tensor = _Tensor(
        device.pointer(array.flat), place, number, array.ndim, code, bits, 1, shape, None, 0, None, deleter
    )
    address = ctypes.addressof(tensor)
    _in_use[address] = tensor, shape, array
    return _api.PyCapsule_New(address, UNUSED, ctypes.cast(_capsule_goes, ctypes.c_void_p))
