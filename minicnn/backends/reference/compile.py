"""The reference backend has nothing to compile."""

from collections.abc import Callable, Collection

from numpy.typing import DTypeLike


def compile_kernels(
    dtype: DTypeLike, report: Callable[[str, int, int], object] | None = None, files: Collection[str] | None = None
) -> None:
    """Do nothing."""
