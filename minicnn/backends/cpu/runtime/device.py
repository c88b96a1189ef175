"""The CPU backend asks for no device, but for a compiler."""

from minicnn.backends.cpu.runtime.numba_internals import compiles_nothing


def require_device() -> None:
    """Raise RuntimeError, with the remedy, where Numba was told to compile nothing."""
    if compiles_nothing():
        raise RuntimeError(
            "the cpu backend runs compiled kernels, and the environment variable NUMBA_DISABLE_JIT keeps Numba from "
            'compiling; unset it, or compute on "reference": network.to("reference"), loss.to("reference")'
        )
