"""Tiles that Winograd's transforms would spoil: how they are found, and their plain sums.

A transform mixes all 36 numbers of a tile, and what it rounds off is of the size of the largest. That is lost among
larger ones, as long as they belong to the same output; an output that meets small numbers only would drown in it. And
a NaN or an infinity would reach all 16 outputs of its tile. So a tile is transformed only where it is *balanced*:

    sum of the squares of its numbers  <=  SPREAD² * sum of the squares in the window of each of its outputs

over all channels, and all numbers finite and of moderate size. All other tiles are summed plainly, pixel by pixel, as
the register tile does it. In a plain sum, too, channels of zeros are left out, which are most of them where a gradient
came through a max pooling.

The first look is cheap. The 6 × 6 numbers have a rim and a middle of 4 × 4, and of its quarters, 2 × 2 numbers each,
every 3 × 3 window holds one. So the squares of the rim and of the four quarters are added up while the tile is in the
cache; the least of the quarters is at most the least of the windows. Only where that is too little, the windows
themselves are looked at.

Weights have their own rule, `fit`: finite, of moderate size, and not one of a filter alone above all the others.
"""

import numpy as np

from minicnn.backends.cpu.convolution.gather_gemm import Factors, Gathered, Out, gather_gemm
from minicnn.backends.cpu.convolution.registers import LANES, ROWS, TERMS
from minicnn.backends.cpu.convolution.vectors import fill, fma, lesser, load, store, sum_of_lanes, where_greater
from minicnn.backends.cpu.runtime.jit import compiled_once, inlined, serial
from minicnn.plain import Array

SPREAD = 256.0
LARGEST = 1e15  # of a number that is transformed, so that no product of two overflows in float32
LARGEST_WEIGHT = 1e12
FEW = 16  # a filter is not transformed where fewer than one in FEW of its weights are within SPREAD of the largest
PARTS = 5  # of a tile: the rim and four quarters


@compiled_once
def add_squares(patch: Array, at: int, row: int, size: int, sums: Array, sums_at: int) -> None:
    """Add the squares of a tile's numbers, size × size from `at` on, to PARTS vectors of sums: first those of the rim,
    which a tile of 4 × 4, of a gradient, has not, then those of the quarters."""
    middle = at + (size - 4) // 2 * (row + LANES)
    for quarter in range(4):
        total_at, quarter_at = (
            sums_at + (1 + quarter) * LANES,
            middle + quarter // 2 * 2 * row + quarter % 2 * 2 * LANES,
        )
        total = load(sums, total_at)
        for i in range(2):
            for j in range(2):
                value = load(patch, quarter_at + i * row + j * LANES)
                total = fma(value, value, total)
        store(sums, total_at, total)
    if size == 6:
        rows, columns = load(sums, sums_at), fill(sums, 0.0)
        for k in range(6):
            top, bottom = load(patch, at + k * LANES), load(patch, at + 5 * row + k * LANES)
            rows = fma(top, top, fma(bottom, bottom, rows))
        for k in range(1, 5):
            left, right = load(patch, at + k * row), load(patch, at + k * row + 5 * LANES)
            columns = fma(left, left, fma(right, right, columns))
        store(sums, sums_at, rows + columns)


@compiled_once
def balanced(sums: Array, at: int, vectors: int, lower: bool, right: bool, other_at: int) -> bool:
    """The first look. sums: from `at` on, those of the rim, of the quarters, and of what else belongs to the tile,
    `vectors` in all, lanes of channels apart. `lower`, `right`: whether outputs meet the lower and the right quarters.
    Another tile, or the same, lies at other_at: what exceeds its first quarter by so much is not balanced either.

    The least of the quarters is taken for each lane, which is at most the least of the quarters, and seldom too little.
    """
    total = load(sums, at)
    for vector in range(1, vectors):
        total = total + load(sums, at + vector * LANES)
    total = where_greater(total, fill(sums, LARGEST**2), fill(sums, np.inf), total)
    least = lesser(load(sums, at + LANES), load(sums, other_at + LANES))
    if right:
        least = lesser(load(sums, at + 2 * LANES), least)
    if lower:
        least = lesser(load(sums, at + 3 * LANES), least)
        if right:
            least = lesser(load(sums, at + 4 * LANES), least)
    # Neither infinity - infinity nor NaN is at least 0; a NaN is in the total.
    good: bool = sum_of_lanes(fma(least, fill(sums, SPREAD**2), fill(sums, 0.0) - total)) >= 0
    return good


@inlined
def quarters_balanced(sums: Array, at: int, vectors: int, lower: bool, right: bool, other_at: int) -> bool:
    """The same with the lanes added up."""
    total = 0.0
    for vector in range(vectors):
        total += sum_of_lanes(load(sums, at + vector * LANES))
    least = min(sum_of_lanes(load(sums, at + LANES)), sum_of_lanes(load(sums, other_at + LANES)))
    for quarter in range(2, PARTS):
        if (lower or quarter == 2) and (right or quarter == 3):
            least = min(least, sum_of_lanes(load(sums, at + quarter * LANES)))
    return total <= LARGEST**2 and total <= SPREAD**2 * least


@inlined
def windows_balanced(patch: Array, C: int, high: int, wide: int, KH: int, KW: int, rows: int, columns: int) -> bool:
    """The second look, at the window of each of rows × columns outputs. patch: the numbers (C / LANES, high, wide,
    LANES) of a tile, and room for high * wide more."""
    squares = patch[(C + LANES - 1) // LANES * LANES * high * wide :]
    total = 0.0
    for pixel in range(high * wide):
        of_channels = fill(patch, 0.0)
        for c in range(0, C, LANES):
            value = load(patch, c * high * wide + pixel * LANES)
            of_channels = fma(value, value, of_channels)
        squares[pixel] = sum_of_lanes(of_channels)
        total += squares[pixel]
    least = total
    for p in range(rows):
        for q in range(columns):
            window = 0.0
            for i in range(KH):
                for j in range(KW):
                    window += squares[(p + i) * wide + q + j]
            least = min(least, window)
    return total <= LARGEST**2 and total <= SPREAD**2 * least


@inlined
def places_of_taps(C: int, high: int, wide: int, KH: int, KW: int, taps: Array) -> None:
    """taps[c, i, j] = where the patch has the number that a tap of the tile's first output meets."""
    for c in range(C):
        for i in range(KH):
            for j in range(KW):
                at = ((c // LANES * high + i) * wide + j) * LANES + c % LANES
                taps[(c * KH + i) * KW + j] = at


@inlined
def places_of_pixels(rows: int, columns: int, wide: int, pixels: Array) -> None:
    """pixels[p, q] = how far from there the numbers lie that output (p, q) meets; the last again, up to whole ROWS."""
    for p in range(rows):
        for q in range(columns):
            pixels[p * columns + q] = (p * wide + q) * LANES
    for t in range(rows * columns, rows * columns + ROWS):
        pixels[t] = pixels[rows * columns - 1]


@inlined
def pack_weight(weight: Array, inputs: int, outputs: int, kernel: int, flip: int, packed: Array) -> None:
    """packed (outputs / LANES, inputs, kernel, LANES) from weight (F, C, kernel); flip as in
    `transform_weight_kernel`."""
    at = 0
    for first in range(0, outputs, LANES):
        for c in range(inputs):
            for k in range(kernel):
                for o in range(first, first + LANES):
                    packed[at] = 0
                    if o < outputs:
                        turned = (c * outputs + o) * kernel + kernel - 1 - k
                        packed[at] = weight[turned if flip else (o * inputs + c) * kernel + k]
                    at += 1


@inlined
def sum_plainly(
    patch: Array,
    C: int,
    pixels_of_channel: int,
    kernel: int,
    packed: Array,
    bias: Array,
    f0: int,
    width: int,
    pixels: Array,
    taps: Array,
    M: Array,
) -> None:
    """M[f / LANES, pixel] = the 16 outputs of a tile for the `width` filters from f0 on."""
    size = (16 + ROWS) * LANES
    for f in range(0, width, LANES):
        of_filters = load(bias, f0 + f)
        for t in range(16):
            store(M, f // LANES * size + t * LANES, of_filters)
    c = 0
    while c < C:
        stop = c
        while stop < C and (stop - c) * kernel < TERMS and _has_numbers(patch, stop, pixels_of_channel):
            stop += 1
        n_taps = (stop - c) * kernel
        if n_taps > 0:
            for f in range(0, width, LANES):
                w = Factors(packed, ((f0 + f) * C + c * LANES) * kernel, LANES)
                for t in range(0, 16, ROWS):
                    out = Out(M, f // LANES * size + t * LANES, LANES, 0)
                    gather_gemm(1, out, Gathered(patch, 0, pixels, t, taps, c * kernel, n_taps), w, True)
        c = max(stop, c + 1)


@inlined
def _has_numbers(patch: Array, c: int, pixels: int) -> bool:
    """Whether channel c has any that is not 0."""
    at = c // LANES * LANES * pixels + c % LANES
    t = 0
    while t < pixels and patch[at + t * LANES] == 0:
        t += 1
    return t < pixels


def fit(weight: Array) -> bool:
    """Whether weights (F, …) can be transformed, see the head of this file."""
    integers, largest, spread = _BITS[weight.itemsize]
    return _fit(weight.reshape(len(weight), -1).view(integers), largest, spread)


# By a number's bytes: integers of its bits, those of LARGEST_WEIGHT, and what multiplies by 2⁸, SPREAD, if added.
_BITS = {
    4: (np.int32, int(np.float32(LARGEST_WEIGHT).view(np.int32)), 8 << 23),
    8: (np.int64, int(np.float64(LARGEST_WEIGHT).view(np.int64)), 8 << 52),
}


@serial
def _fit(bits: Array, largest: int, spread: int) -> bool:
    """bits (F, numbers): the numbers' bits, which without their sign have the numbers' order, infinity and NaN last.
    Integers are compared several at a time where floating-point numbers are not."""
    good, without_sign = True, np.iinfo(bits.dtype).max
    for f in range(len(bits)):
        top, numbers, near = 0, 0, 0
        for k in range(bits.shape[1]):
            top = max(top, bits[f, k] & without_sign)
        for k in range(bits.shape[1]):
            magnitude = bits[f, k] & without_sign
            numbers += magnitude > 0
            near += magnitude > top - spread
        good &= top <= largest and numbers <= FEW * near
    return good
