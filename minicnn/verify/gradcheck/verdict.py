"""The verdict on the gradient of one array."""

from dataclasses import replace

import numpy as np

from minicnn.images import Images
from minicnn.plain import Array
from minicnn.verify.gradcheck.arrays import flat, index_of, power_of_two, rms
from minicnn.verify.gradcheck.quotients import BELIEVED, TOLERANCE, Function, all_at_once, measured
from minicnn.verify.gradcheck.report import KINKS, NEAR_ZERO, PASSED, WRONG, ArrayCheck

# How far backward's values may be from one multiple of the quotients for this to be called a factor.
FACTOR_TOLERANCE = 1e-4

# The share of elements that may be left out for kinks. Random numbers have next to none at the smallest step. More
# than a quarter means that the input lies on kinks by construction, as integers with ties do; what backward does there
# is then a good part of what it does, and nobody has looked at it.
MOST_KINKS = 1 / 4


def checked_array(
    function: Function,
    name: str,
    array: Array | Images,
    gradient: Array | Images,
    near_zero: float,
    elements: int,
    rng: np.random.Generator,
) -> ArrayCheck:
    """The `ArrayCheck` of one array."""
    numbers, claims = flat(array), flat(gradient)
    near_zero = near_zero / max(1, rms(numbers))
    places = _chosen(claims, elements, rng)
    claimed, finite = claims[places], np.isfinite(claims).all()
    largest_claim = np.abs(claims).max() if finite else np.inf

    def measure(at: int, step: float) -> tuple[float, float]:
        place = places[at]
        return function.quotient(numbers, place, 1.0, step * power_of_two(max(1, abs(numbers[place]))))

    quotients, believed, scale = measured(measure, len(places), largest_claim, near_zero)
    errors = np.where(believed, np.abs(claimed - quotients) / (scale or 1), -1)  # what is not believed is never worst
    errors[~np.isfinite(claimed)] = np.inf
    kinks = int(np.sum(~believed))

    def row(verdict: str, at: int) -> ArrayCheck:
        return ArrayCheck(
            name,
            verdict,
            index_of(array, places[at]),
            backward=float(claimed[at]),
            quotient=float(quotients[at]),
            error=float(errors[at]),
            tried=len(places),
            size=numbers.size,
            kinks=kinks,
        )

    worst, near = int(np.argmax(errors)), max(largest_claim, np.abs(quotients).max()) <= near_zero
    if finite and not near and kinks > MOST_KINKS * len(places):
        return replace(row(KINKS, int(np.argmin(believed))), error=None)
    if not near and errors[worst] > TOLERANCE:
        return replace(row(WRONG, worst), factor=_factor(claimed[believed], quotients[believed]))

    moved_together = False
    if len(places) < numbers.size:
        allowed = near_zero if near else TOLERANCE * scale
        enough = allowed * BELIEVED / TOLERANCE
        claim, quotient, spread = all_at_once(function, numbers, claims, enough, rng)
        moved_together = bool(spread <= enough)
        if moved_together and abs(claim - quotient) > allowed:
            error = abs(claim - quotient) / max(scale, abs(claim), abs(quotient))
            found = row(WRONG, worst)
            return replace(found, index=None, backward=claim, quotient=quotient, error=error, all_at_once=True)
    if near:
        found = row(NEAR_ZERO, int(np.argmax(np.abs(quotients))))
        return replace(found, error=None, kinks=0, all_at_once=moved_together)
    return replace(row(PASSED, worst), all_at_once=moved_together)


def _chosen(claims: Array, elements: int, rng: np.random.Generator) -> Array:
    """The places that are tried: all, or half of them those of the largest gradients and half random others."""
    if claims.size <= elements:
        return np.arange(claims.size)
    largest = np.argsort(np.abs(claims))[-(elements // 2) :]  # what is not a number is sorted to the end, too
    others = np.setdiff1d(np.arange(claims.size), largest)
    return np.sort(np.concatenate([largest, rng.choice(others, elements - len(largest), replace=False)]))


def _factor(claimed: Array, quotients: Array) -> float | None:
    """backward / quotient where that is one number for all, else None."""
    if len(quotients) < 2 or not np.isfinite(claimed).all() or not quotients.any():
        return None
    factor = (claimed @ quotients) / (quotients @ quotients)
    same = np.abs(claimed - factor * quotients).max() <= FACTOR_TOLERANCE * np.abs(quotients).max()
    return float(factor) if same else None
