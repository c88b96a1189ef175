"""Difference quotients of forward, each with a measure of its own error.

Weighted with random numbers dy, the output of a layer becomes one number, a function of the input and every parameter:

    L = sum of dy * y          or, of a network with a loss,          L = loss(y, labels)

Backward claims to know dL/da for each element a of them. Forward can be asked: move a alone a little, and see what
becomes of L. The claim is held against the central difference quotient,

    dL/da ≈ (L(a + h) - L(a - h)) / 2h          which is off by h² L''' / 6, and by rounding, about 1e-16 * L / h

A quotient means nothing where L has a kink between a - h and a + h (an input of ReLU that passes 0, two cells of a max
pooling that change places). So every quotient comes with a measure of its own error. The five points a - 2h, …, a + 2h
have four slopes between them, and the slopes three differences, the bends. Where L is smooth the bends are alike,
h L''. A kink bends the line at one place only, and so the bends differ. Their spread, the largest less the smallest,
bounds what the quotient is off by:

    a kink by J at distance d < h        quotient off by J (1 - d/h) / 2, spread of J (1 - d/h) or more: 2 times
    L'''                                 quotient off by h² L''' / 6, spread 2 h² L''':                  12 times
    rounding in each L                   likewise, in the mean                                           8 times

Two quotients of different h, the usual remedy, agree at a kink exactly at a, such as ReLU at 0; the slopes to the left
and to the right of a disagree on every curve. The spread errs in neither.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from minicnn.images import Images
from minicnn.layers import Layer
from minicnn.losses import Loss
from minicnn.plain import Array
from minicnn.verify.gradcheck.arrays import flat, power_of_two, rms
from minicnn.verify.gradcheck.passes import checked_copy

# The steps h, tried in turn until the spread of the bends is small: the first for its small rounding error, about
# 1e-16 / 3e-5 = 3e-12 of L, the later ones to get out of the reach of a kink near by; at the last, rounding comes to
# 2e-9. Powers of two, so that a ± h is exact. For |a| above 1 they grow with a.
STEPS = [2.0**-exponent for exponent in (15, 18, 21, 24)]

# The error that passes, relative to the largest quotient of the array. What float64 gives is mostly 1e-9; the finest
# mistakes, such as a forgotten eps of 1e-5 beside a variance of 1, are 5e-6. Relative to the array, since a small
# element is the difference of large ones and carries their rounding.
TOLERANCE = 2e-6

# The spread of bends with which a quotient is believed, relative likewise. A kink can then have moved it by an eighth
# of the tolerance. Rounding shows in the spread in the mean only, and by chance it may show less: hence the margin.
BELIEVED = TOLERANCE / 4


class Function:
    """L as a function of the arrays that it is made of, which are moved in place."""

    def __init__(self, layer: Layer, x: Array | Images, labels: Any, loss: Loss | None, dy: Array | Images) -> None:
        self.layer, self.x, self.labels, self.loss = layer, x, labels, loss
        self.dy = flat(dy)
        self.here = self._terms()

    def output(self) -> Array:
        return flat(self.layer.forward(checked_copy(self.x))).copy()

    def quotient(
        self, numbers: Array, where: int | slice, direction: float | Array, step: float
    ) -> tuple[float, float]:
        """(the quotient, the spread of the bends) as numbers[where] moves along `direction`."""
        before, terms = numbers[where].copy(), []
        for steps in (-2, -1, 0, 1, 2):
            numbers[where] = before + steps * step * direction
            terms.append(self._terms() if steps else self.here)
        numbers[where] = before
        # Differences first, then the sum: outputs that do not change add no rounding.
        slopes = [self._sum(after - before) / step for before, after in pairwise(terms)]
        return (slopes[1] + slopes[2]) / 2, np.ptp(np.diff(slopes))

    def _terms(self) -> Any:
        """Numbers that L is a weighted sum of: the outputs, or the loss alone."""
        if self.loss is None:
            return self.output()
        return np.float64(self.loss.forward(self.layer.forward(checked_copy(self.x)), self.labels))

    def _sum(self, terms: Any) -> Any:
        return self.dy @ terms if self.loss is None else terms


def measured(
    measure: Callable[[int, float], tuple[float, float]], count: int, largest_claim: float, near_zero: float
) -> tuple[Array, Array, float]:
    """Quotients (n,), which of them are believed (n,), and the scale that both their spreads and errors refer to.

    `measure(i, step)` gives quotient i of `count` and its spread.

    The scale is the largest quotient that is sound even beside itself. What backward claims has no part in it, or a
    huge wrong claim would excuse all others; unless the true gradient is 0, which has no scale of its own.
    """
    quotients, spreads, believed = np.zeros(count), np.zeros(count), np.zeros(count, bool)
    for step in STEPS:
        for at in np.flatnonzero(~believed).tolist():
            quotients[at], spreads[at] = measure(at, step)
        if step == STEPS[0]:
            first, leeway = quotients.copy(), spreads.copy()
        # A forward that rounds to float32 is a flight of stairs, which a small step finds flat.
        consistent = np.abs(quotients - first) <= leeway
        clean = consistent & (spreads <= BELIEVED * np.abs(quotients))
        largest = np.abs(quotients[clean]).max(initial=0)
        scale = float(largest if largest > near_zero else largest_claim)
        believed = consistent & (spreads <= BELIEVED * scale)
        if believed.all() or max(largest_claim, np.abs(quotients).max()) <= near_zero:
            break
    return quotients, believed, scale


def all_at_once(
    function: Function, numbers: Array, claims: Array, enough: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """(backward's claim, the quotient, the spread) where all elements are moved together, each up or down at random.

    L must then change by the sum of all gradients with these signs: a single wrong one shows, wherever it is. The step
    is as long as that of one alone, so that the many cross no more kinks than it; it is shortened until the spread is
    small enough.
    """
    signs = rng.choice([-1.0, 1.0], numbers.size) / power_of_two(np.sqrt(numbers.size))
    for step in STEPS:
        step *= power_of_two(max(1, rms(numbers)))
        quotient, spread = function.quotient(numbers, slice(None), signs, step)
        if spread <= enough:
            break
    return float(claims @ signs), float(quotient), spread
