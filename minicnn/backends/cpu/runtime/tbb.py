"""TBB's library, from where pip puts it, which is not where Numba looks. Why it is wanted is said in `jit`."""

import contextlib
import ctypes
import importlib.metadata

LIBRARY = "libtbb.so.12"


def load_tbb() -> None:
    """Load TBB where the package `tbb` is installed. Numba then finds it by name, and prefers it to OpenMP.

    To be called before the first parallel loop. It takes 5 ms. Where there is no such package, as on a processor for
    which it is not made, Numba chooses among what else there is.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, OSError):
        for file in importlib.metadata.files("tbb") or ():
            if file.name == LIBRARY:
                ctypes.CDLL(str(file.locate()))
