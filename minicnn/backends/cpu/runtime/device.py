"""The CPU backend asks for no device, but for a compiler."""

import numba


def require_device():
    """Raise RuntimeError, with the remedy, where Numba was told to compile nothing."""
    if numba.config.DISABLE_JIT:
        raise RuntimeError(
            "the cpu backend runs compiled kernels, and the environment variable NUMBA_DISABLE_JIT keeps Numba from "
            'compiling; unset it, or compute on "reference": network.to("reference"), loss.to("reference")'
        )
