"""A dry run of operations: nothing is launched, nor compiled for it, but it is noted what would be.

So the helper learns which kernels an operation needs, from the operation itself.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

Noted: TypeAlias = dict[tuple[Any, tuple[Any, ...]], None]  # a set of kernels with their argument types, in order

_noted: Noted | None = None


@contextlib.contextmanager
def launches_noted() -> Iterator[Noted]:
    """Meanwhile this process runs dry, for good: plans that it keeps have no addresses."""
    global _noted
    _noted = {}
    try:
        yield _noted
    finally:
        _noted = None


def noted(kernel: Any, argument_types: tuple[Any, ...]) -> bool:
    """Whether this is a dry run, in which `kernel` is not compiled for these types, but noted."""
    if _noted is not None:
        _noted[kernel, argument_types] = None
    return _noted is not None


def dry(arrays: Sequence[Any]) -> bool:
    """Whether this is a dry run, in which nothing is run on the arrays, but they are zeros, on which one can go on."""
    if _noted is None:
        return False
    for array in arrays:
        if array is not None:
            array.fill(0)
    return True
