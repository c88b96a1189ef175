"""Compile ahead, step by step: what the compiled backends have in common."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from minicnn.backends.protocol import Report

Step: TypeAlias = tuple[str, Callable[[np.dtype[Any]], None]]  # a file of the contract, and what runs its kernels once


def run_steps(
    steps: Sequence[Step],
    dtype: DTypeLike,
    report: Report | None,
    files: Collection[str] | None,
) -> None:
    """Run the steps of these of the contract's files ("conv", "fused", …), by default of all, for arrays of `dtype`.

    `report(name, done, total)` is called before each.
    """
    chosen = [(file, step) for file, step in steps if files is None or file in files]
    for done, (file, step) in enumerate(chosen):
        if report is not None:
            report(file, done, len(chosen))
        step(np.dtype(dtype))
