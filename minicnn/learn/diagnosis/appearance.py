"""What stands out in wrong numbers beside the right ones, where no change of the right function gives them.

A sentence is said only where it is true of every case that is wrong.
"""

from collections.abc import Sequence

import numpy as np

from minicnn.learn.diagnosis.agreement import agree
from minicnn.learn.diagnosis.evidence import Evidence, Observed
from minicnn.plain import Array

FLOAT32 = 1e-5  # differences below this share of the largest number look like rounding
SMALLEST = 3  # numbers of an array, up to which a pattern may be chance


def appearance(evidence: Evidence, name: str) -> str | None:
    """The sentence about the wrong result called `name`; None where nothing stands out."""
    pairs = [
        (case.expected[name], case.got[name])
        for case in evidence.wrong(name)
        if case.got is not None and name in case.got
    ]
    if not pairs:
        return None
    return _not_finite(pairs, name) or _shape(pairs, name) or _same_shape(pairs, name)


def left_alone(evidence: Evidence, name: str) -> str | None:
    """The sentence about an array that was to be changed, and is as it came in; None for others."""
    arguments = [(evidence.named(case).get(name), case) for case in evidence.wrong(name)]
    if all(isinstance(before, np.ndarray) and _is_got(before, case, name) for before, case in arguments):
        return f"Your {name} is as it came in. A line `{name} = …` makes a new array beside the old one."
    return None


def _is_got(before: Array, case: Observed, name: str) -> bool:
    return case.got is not None and name in case.got and np.array_equal(before, case.got[name])


def _not_finite(pairs: Sequence[tuple[Array, Array]], name: str) -> str | None:
    """NaN and infinity, where numbers are due."""
    wrong = [got[~np.isfinite(got)] for expected, got in pairs]
    if not any(bad.size for bad in wrong):
        return None
    every = all(bad.size for bad in wrong)
    kinds = [
        kind for kind, test in (("NaN", np.isnan), ("infinity", np.isinf)) if any(test(bad).any() for bad in wrong)
    ]
    where = "" if every else ", in some of the cases"
    causes = "look for a division by 0, the log of 0, or exp of a large number."
    return f"There is {' and '.join(kinds)} in your {name}{where}: {causes}"


def _shape(pairs: Sequence[tuple[Array, Array]], name: str) -> str | None:
    wrong = [(expected.shape, got.shape) for expected, got in pairs if expected.shape != got.shape]
    if not wrong:
        return None
    if len(wrong) == len(pairs):
        for position in range(pairs[0][1].ndim):
            if all(_summed_is(expected, got, position) for expected, got in pairs):
                return f"Summed over its axis {position}, your {name} would be right."
        if all(_holds(expected, got) for expected, got in pairs):
            return f"The right {name} is inside of yours; what lies around it is too much."
    expected, got = wrong[0]
    return (
        f"Its shape should be {expected}, and is {got}{'' if len(wrong) == len(pairs) else ', in some of the cases'}."
    )


def _summed_is(expected: Array, got: Array, position: int) -> bool:
    return got.ndim > position and agree(expected, got.sum(axis=position))


def _holds(expected: Array, got: Array) -> bool:
    """Whether an array is a block inside of another."""
    if expected.ndim != got.ndim or any(small > large for small, large in zip(expected.shape, got.shape, strict=True)):
        return False
    windows = np.lib.stride_tricks.sliding_window_view(got, expected.shape)
    same = np.isclose(windows, expected).all(axis=tuple(range(expected.ndim, 2 * expected.ndim)))
    return bool(same.any())


def _same_shape(pairs: Sequence[tuple[Array, Array]], name: str) -> str | None:
    """Rounding; a factor or a difference that is the same for all numbers; the right numbers in other places."""
    if all(np.abs(got - expected).max() < FLOAT32 * np.abs(expected).max(initial=0) for expected, got in pairs):
        return (
            f"Only the last digits of {name} differ: is there a float32 array on the way, or a small constant missing?"
        )
    large = [pair for pair in pairs if pair[0].size > SMALLEST]
    if not large:
        return None
    factors = [_factor(expected, got) for expected, got in large]
    if None not in factors:
        same = np.allclose(factors, factors[0])  # type: ignore[arg-type]
        return f"Every number of {name} is the right one times {factors[0]:.4g}{'' if same else _in_others('factor')}."
    differences = [_difference(expected, got) for expected, got in large]
    if None not in differences:
        same = np.allclose(differences, differences[0])  # type: ignore[arg-type]
        return (
            f"Every number of {name} is the right one plus {differences[0]:.4g}{'' if same else _in_others('number')}."
        )
    if all(expected.ndim == 2 and _difference_in_rows(expected, got) for expected, got in large):
        return f"In each row of {name}, every number is too large or too small by the same."
    if all(np.allclose(np.sort(got.ravel()), np.sort(expected.ravel())) for expected, got in large):
        return f"The right numbers of {name} are all there, in other places."
    return None


def _in_others(what: str) -> str:
    return f" in the first wrong case, and another {what} in others"


def _factor(expected: Array, got: Array) -> float | None:
    """The factor between all numbers of two arrays, if there is one."""
    scale = np.abs(expected).max()
    away_from_0 = np.abs(expected) > 1e-9 * scale
    if np.count_nonzero(away_from_0) < 2:
        return None
    ratios = got[away_from_0] / expected[away_from_0]
    factor = float(np.median(ratios))
    if factor == 0 or not np.allclose(ratios, factor) or np.abs(got[~away_from_0]).max(initial=0) > 1e-6 * scale:
        return None
    return factor


def _difference(expected: Array, got: Array) -> float | None:
    difference = got - expected
    return float(difference.flat[0]) if np.allclose(difference, difference.flat[0]) else None


def _difference_in_rows(expected: Array, got: Array) -> bool:
    difference = got - expected
    return expected.shape[1] > 1 and np.allclose(difference, difference[:, :1])
