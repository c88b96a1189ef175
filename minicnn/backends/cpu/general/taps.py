"""Convolution with groups and dilation where the taps of a window are shifts of contiguous memory.

A channel's padded plane is sorted by phase, as in `cpu/taps`, and dilation only makes the shifts longer. With a tap
t for each (c, i, j) of a group, and its shift counted from the group's first plane:

    forward           y[f, k]         = bias[f] + sum over taps of        weight[f, t] * spread[k + shift of t]
    input gradient    spread[c, k]    =           sum over f and taps of  weight[f, c, t] * dy[f, k - shift of t]
    weight gradient   dweight[f, t]   =           sum over k of           dy[f, k] * spread[k + shift of t]

So the first two are `weighted_sums`, and the third is `products`. Four rows at a time, of weights or of dy, use what
was loaded once. What is done here to a group has its plain form in `plain`.
"""

from typing import NamedTuple

from minicnn.backends.cpu.convolution.registers import LANES, TERMS
from minicnn.backends.cpu.convolution.vectors import Lanes, fill, fma, load, store, sum_of_lanes
from minicnn.backends.cpu.runtime.jit import inlined, serial
from minicnn.plain import Array

ROWS = 4  # whose sums are in the making at once; with WIDE vectors of each they fill the 16 registers of AVX2
WIDE = 3
ALONE = 8  # vectors of a row that is by itself: fewer would wait for their last sums
SLACK = 8 * LANES  # numbers behind planes and sums, which are made in whole blocks of vectors


class Seen(NamedTuple):
    """Tap t of sum k sees source[at + shifts[t] + k], for k < size."""

    source: Array
    at: int
    shifts: Array
    size: int


@serial
def weighted_sums(seen: Seen, weight: Array, starts: Array, sums: Array, to: int) -> None:
    """sums[row, to + k] = starts[row] + the sum over t of weight[row, t] * what tap t of sum k sees.

    Taps are added up TERMS at a time, and these sums then: the error of a sum grows with its length.
    """
    rows, taps = weight.shape
    for first in range(0, max(taps, 1), TERMS):  # without taps, sums are what they start with
        stop, row = min(first + TERMS, taps), 0
        while row + ROWS <= rows:
            of_rows = slice(row, row + ROWS)
            _four_rows(seen, weight[of_rows], first, stop, starts[of_rows], sums[of_rows], to)
            row += ROWS
        while row < rows:
            _one_row(seen, weight[row], first, stop, starts[row], sums[row], to)
            row += 1


@serial
def _one_row(seen: Seen, weight: Array, first: int, stop: int, start: float, sums: Array, to: int) -> None:
    """Taps from `first` to `stop`; the first of all begin at `start`, later ones are added."""
    source = seen.source
    for k in range(0, seen.size, ALONE * LANES):
        v0 = v1 = v2 = v3 = v4 = v5 = v6 = v7 = fill(source, start if first == 0 else 0.0)
        for t in range(first, stop):
            factor, at = fill(source, weight[t]), seen.at + seen.shifts[t] + k
            v0 = fma(factor, load(source, at), v0)
            v1 = fma(factor, load(source, at + LANES), v1)
            v2 = fma(factor, load(source, at + 2 * LANES), v2)
            v3 = fma(factor, load(source, at + 3 * LANES), v3)
            v4 = fma(factor, load(source, at + 4 * LANES), v4)
            v5 = fma(factor, load(source, at + 5 * LANES), v5)
            v6 = fma(factor, load(source, at + 6 * LANES), v6)
            v7 = fma(factor, load(source, at + 7 * LANES), v7)
        _put(sums, to + k, first > 0, (v0, v1, v2, v3, v4, v5, v6, v7))


@serial
def _four_rows(seen: Seen, weight: Array, first: int, stop: int, starts: Array, sums: Array, to: int) -> None:
    """The same for four rows: weight (4, taps), starts (4,), sums (4, pitch)."""
    source, pitch = seen.source, sums.shape[1]
    for k in range(0, seen.size, WIDE * LANES):
        a0 = a1 = a2 = fill(source, starts[0] if first == 0 else 0.0)
        b0 = b1 = b2 = fill(source, starts[1] if first == 0 else 0.0)
        c0 = c1 = c2 = fill(source, starts[2] if first == 0 else 0.0)
        d0 = d1 = d2 = fill(source, starts[3] if first == 0 else 0.0)
        for t in range(first, stop):
            at = seen.at + seen.shifts[t] + k
            x0, x1, x2 = load(source, at), load(source, at + LANES), load(source, at + 2 * LANES)
            factor = fill(source, weight[0, t])
            a0, a1, a2 = fma(factor, x0, a0), fma(factor, x1, a1), fma(factor, x2, a2)
            factor = fill(source, weight[1, t])
            b0, b1, b2 = fma(factor, x0, b0), fma(factor, x1, b1), fma(factor, x2, b2)
            factor = fill(source, weight[2, t])
            c0, c1, c2 = fma(factor, x0, c0), fma(factor, x1, c1), fma(factor, x2, c2)
            factor = fill(source, weight[3, t])
            d0, d1, d2 = fma(factor, x0, d0), fma(factor, x1, d1), fma(factor, x2, d2)
        for row, of_row in enumerate(((a0, a1, a2), (b0, b1, b2), (c0, c1, c2), (d0, d1, d2))):
            _put(sums, row * pitch + to + k, first > 0, of_row)


@inlined
def _put(sums: Array, at: int, adds: bool, vectors: tuple[Lanes, ...]) -> None:
    for v in range(len(vectors)):
        store(sums, at + v * LANES, vectors[v] + load(sums, at + v * LANES) if adds else vectors[v])


@serial
def products(dy: Array, seen: Seen, dweight: Array) -> None:
    """dweight[row, t] += the sum over k of dy[row, k] * what tap t of k sees; dy (rows, pitch), zeros behind `size`.

    dweight is float64, and gets the sums of TERMS vectors at a time, as the error of a sum grows with its length.
    """
    rows, taps = dweight.shape
    for first in range(0, seen.size, TERMS * LANES):
        stop, row = min(first + TERMS * LANES, seen.size), 0
        while row + ROWS <= rows:
            for t in range(0, taps, WIDE):
                _four_rows_three_taps(dy[row : row + ROWS], seen, t, first, stop, dweight[row : row + ROWS])
            row += ROWS
        while row < rows:
            for t in range(taps):
                dweight[row, t] += _product(dy[row], seen, t, first, stop)
            row += 1


@serial
def _product(dy: Array, seen: Seen, tap: int, first: int, stop: int) -> float:
    source, at = seen.source, seen.at + seen.shifts[tap]
    v0 = fill(source, 0.0)
    v1, v2, v3 = v0, v0, v0
    for k in range(first, stop, 4 * LANES):  # each vector waits for its last sum, and loads twice for it
        v0 = fma(load(dy, k), load(source, at + k), v0)
        v1 = fma(load(dy, k + LANES), load(source, at + k + LANES), v1)
        v2 = fma(load(dy, k + 2 * LANES), load(source, at + k + 2 * LANES), v2)
        v3 = fma(load(dy, k + 3 * LANES), load(source, at + k + 3 * LANES), v3)
    return sum_of_lanes((v0 + v1) + (v2 + v3))


@serial
def _four_rows_three_taps(dy: Array, seen: Seen, tap: int, first: int, stop: int, dweight: Array) -> None:
    """Taps from `tap` on; where fewer than three are left, the last is computed again and not added."""
    source, pitch, last = seen.source, dy.shape[1], dweight.shape[1] - 1
    at0 = seen.at + seen.shifts[tap]
    at1, at2 = seen.at + seen.shifts[min(tap + 1, last)], seen.at + seen.shifts[min(tap + 2, last)]
    a0 = a1 = a2 = b0 = b1 = b2 = c0 = c1 = c2 = d0 = d1 = d2 = fill(source, 0.0)
    for k in range(first, stop, LANES):
        x0, x1, x2 = load(source, at0 + k), load(source, at1 + k), load(source, at2 + k)
        factor = load(dy, k)
        a0, a1, a2 = fma(factor, x0, a0), fma(factor, x1, a1), fma(factor, x2, a2)
        factor = load(dy, pitch + k)
        b0, b1, b2 = fma(factor, x0, b0), fma(factor, x1, b1), fma(factor, x2, b2)
        factor = load(dy, 2 * pitch + k)
        c0, c1, c2 = fma(factor, x0, c0), fma(factor, x1, c1), fma(factor, x2, c2)
        factor = load(dy, 3 * pitch + k)
        d0, d1, d2 = fma(factor, x0, d0), fma(factor, x1, d1), fma(factor, x2, d2)
    _add(dweight, 0, tap, a0, a1, a2)
    _add(dweight, 1, tap, b0, b1, b2)
    _add(dweight, 2, tap, c0, c1, c2)
    _add(dweight, 3, tap, d0, d1, d2)


@inlined
def _add(dweight: Array, row: int, tap: int, v0: Lanes, v1: Lanes, v2: Lanes) -> None:
    dweight[row, tap] += sum_of_lanes(v0)
    if tap + 1 < dweight.shape[1]:
        dweight[row, tap + 1] += sum_of_lanes(v1)
    if tap + 2 < dweight.shape[1]:
        dweight[row, tap + 2] += sum_of_lanes(v2)
