"""What of numba-cuda no documentation promises, all in this one file: another version may call it by other names.

The module `cuda` itself has no types, and is `Any` to those who check them.
"""

from typing import Any

from numba import config
from numba import cuda as _cuda

cuda: Any = _cuda
SIMULATED: bool = vars(config)["ENABLE_CUDASIM"]
OUT_OF_MEMORY = 2  # the driver's CUDA_ERROR_OUT_OF_MEMORY


def is_installed() -> bool:
    """Whether `numba.cuda` is the package numba-cuda, and not the target that Numba itself still has."""
    return getattr(cuda, "implementation", None) == "NVIDIA"


def failure_of_the_driver() -> str | None:
    """Why there is no driver, in its words, or None. After `cuda.is_available()`, which starts it."""
    error = cuda.cuda_error()
    return " ".join(str(error).split()) if error else None


def version_of_the_driver() -> tuple[int, int]:
    """(major, minor) of the newest CUDA that the driver knows."""
    return cuda.cudadrv.driver.get_version()


def toolkit_version() -> tuple[int, int] | None:
    """(major, minor) of the toolkit, or None where there is none, or no driver."""
    try:
        return cuda.runtime.get_version() if cuda.is_available() else None
    except RuntimeError:  # its libraries are looked for only when they are called
        return None


def error_of_the_driver() -> type[Exception]:
    """What is raised where the driver refuses a call."""
    return cuda.cudadrv.driver.CudaAPIError


def address(flat: Any) -> int:
    """Of a flat device array's memory."""
    return flat.ctypes.data if SIMULATED else flat.device_ctypes_pointer.value


def view_by_dlpack(owner: Any, stream: int) -> tuple[Any, dict[str, Any]]:
    """(what keeps it alive, the interface) of another library's memory; the library lets `stream` wait for its work."""
    from cuda.core.utils import StridedMemoryView  # comes with numba-cuda

    view = StridedMemoryView.from_dlpack(owner, stream_ptr=stream)
    strides = None if view.strides is None else tuple(step * view.dtype.itemsize for step in view.strides)
    interface = {"shape": view.shape, "strides": strides, "typestr": view.dtype.str, "version": 3}
    return view, interface | {"data": (view.ptr, view.readonly)}
