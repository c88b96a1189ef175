"""How two arrays differ."""

from dataclasses import dataclass

import numpy as np

from minicnn.plain import Array


@dataclass(frozen=True)
class Difference:
    """How two arrays differ: agrees or not; the worst place with both numbers, the error there and what is allowed,
    both relative to the scale; or, where they cannot be measured, the problem as a word and in a sentence."""

    agrees: bool
    index: tuple[int, ...] = ()
    here: float = 0.0
    there: float = 0.0
    error: float = 0.0
    allowed: float = 0.0
    problem: tuple[str, str] | None = None


def measured(here: Array, there: Array, limit: float | Array, unit: float) -> Difference:
    """The `Difference` of two arrays that may be `limit` apart, a number or an array; errors are relative to `unit`."""
    here, there = np.asarray(here), np.asarray(there)
    if here.shape != there.shape:
        return Difference(False, problem=("shape", f"its shape is {here.shape} here and {there.shape} there"))
    a, b = here.astype(np.float64), there.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, np.abs(a - b))
        difference[~np.isfinite(difference)] = np.inf  # a NaN or an infinity on one side alone
        limit = np.broadcast_to(limit, a.shape)
        worst = np.unravel_index(np.argmax(difference - limit), a.shape)
    off, allowed = float(difference[worst]), float(limit[worst])
    return Difference(
        bool((difference <= limit).all()),
        tuple(map(int, worst)),
        here[worst].item(),
        there[worst].item(),
        off / unit if unit else off and np.inf,
        allowed / unit if unit else 0.0,
    )
