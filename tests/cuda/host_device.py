"""The cuda backend without a device: arrays are NumPy's, and kernels run on the CPU from their own IR.

Within `host_device(order)` all of the backend is as it is, wrappers, plans, pool and kernels, but for the functions of
`minicnn.backends.cuda.runtime.device`.
"""

import functools
import importlib
import pkgutil
from contextlib import ExitStack, contextmanager
from unittest import mock

import numpy as np

from minicnn.backends import cuda as backend
from minicnn.backends.pool import Pool
from tests.cuda import ir_on_cpu


@contextmanager
def host_device(order=ir_on_cpu.forward):
    """Have operations of the cuda backend work on the host, threads and blocks of kernels taken in this order.

    What the backend keeps from call to call, buffers and tables, is dropped on the way in and out, so that no array of
    this device meets another's.
    """
    modules = _backend_modules()
    device, device_array = (modules[f"runtime.{name}"] for name in ("device", "device_array"))
    with ExitStack() as stack:
        for name, replacement in _replacements(order).items():
            stack.enter_context(mock.patch.object(device, name, replacement))
        stack.enter_context(mock.patch.object(backend, "require_device"))
        stack.enter_context(mock.patch.object(device_array, "_pool", _Pool(device_array._allocate)))
        _forget(modules)
        stack.callback(_forget, modules)
        yield


def _backend_modules():
    """The backend's modules by their names below it."""
    prefix = f"{backend.__name__}."
    names = [module.name for module in pkgutil.walk_packages(backend.__path__, prefix)]
    return {name.removeprefix(prefix): importlib.import_module(name) for name in names}


def _forget(modules):
    """Clear what functions have cached, for it may be arrays. Kernels made anew are recognised by their code."""
    for name, module in modules.items():
        for value in vars(module).values():
            if hasattr(value, "cache_clear") and name != "runtime.device":
                value.cache_clear()


class _Pool(Pool):
    """What is taken from it for the second time is full of poison, as if it were new."""

    def take(self, size, kind=None):
        buffer, *shelf = super().take(size, kind)
        return _poisoned(buffer), *shelf


def _poisoned(flat):
    flat.view(np.uint8)[:] = ir_on_cpu.POISON
    return flat


class _StagingBuffer:
    """Copies at once, since nothing runs meanwhile, but into the same memory each time, as the real one does."""

    def __init__(self):
        self._there = None

    def send(self, host):
        if self._there is None or self._there.dtype != host.dtype or self._there.size < host.size:
            self._there = np.empty_like(host)
        _poisoned(self._there)[: host.size] = host
        return self._there[: host.size]

    def wait(self):
        pass

    def release(self):
        pass


def _replacements(order):
    """What stands in for the functions of `device` of the same names."""
    return {
        "allocate": lambda size, dtype: _poisoned(np.empty(size, dtype)),
        "upload": np.copyto,
        "copy": np.copyto,
        "download": np.copy,
        "StagingBuffer": _StagingBuffer,
        "synchronize": lambda: None,
        "pointer": lambda flat: flat.ctypes.data,
        "place": lambda: (1, 0),  # the host, by DLPack's count
        "run": functools.partial(ir_on_cpu.run, order=order),
    }
