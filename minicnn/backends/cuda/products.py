"""Products of matrices: the scheme of three kernels, of `matrix` and of the two in `convolution`.

A block makes one tile of the result. It takes DEPTH terms of the sums at a time: its threads fetch a strip of either
factor into shared memory, wait for one another, and then each adds the terms to the SIDE × SIDE sums that it holds in
registers, its *square* of the tile:

    for each strip:
        fetch left strip (DEPTH, rows), right strip (DEPTH, columns)
        all threads wait
        for depth in strip:  sums[a, b] += left[depth, a] * right[depth, b]
        all threads wait, for the strip is about to be overwritten

The kernels differ in where the factors come from. Where sums are cut into parts, for there are few tiles and long sums,
each part is a tile of its own, and `add_partial_sums` adds them up in order.
"""

from typing import Any

import numpy as np

from minicnn.backends.cuda.elementwise import own_number
from minicnn.backends.cuda.runtime.device import cuda, inlined
from minicnn.backends.cuda.tiles import DEPTH, SIDE
from minicnn.plain import Array, Pair

FULL = np.uint64  # of an index; a signed one could count from the end, which takes instructions to find out
HALF = SIDE // 2
SPARE = 4  # numbers between lines of a strip: threads that fetch neighbouring terms write to different banks


@inlined
def own_square(columns: int) -> Pair:
    """(down, across): how many squares lie above and to the left of this thread's, in a tile of so many columns."""
    side_by_side = columns // SIDE
    return cuda.threadIdx.x // side_by_side, cuda.threadIdx.x % side_by_side


@inlined
def column_of(b: int, across: int, columns: int) -> int:
    """The column of the tile that column b of a square is: two runs of HALF, half a tile from each other."""
    return across * HALF + b % HALF + b // HALF * (columns // 2)


@inlined
def clear(sums: Array, zero: Any) -> None:
    for cell in range(SIDE * SIDE):
        sums[cell] = zero


@inlined
def add_products(left: Array, left_at: int, right: Array, right_at: int, right_gap: int, sums: Array) -> None:
    """sums[a, b] += left[a] * right[b], for the square of one thread. Its columns are two runs of HALF."""
    for a in range(SIDE):
        factor = left[FULL(left_at + a)]
        for b in range(HALF):
            sums[a * SIDE + b] += factor * right[FULL(right_at + b)]
            sums[a * SIDE + HALF + b] += factor * right[FULL(right_at + right_gap + b)]


@inlined
def add_strip(left: Array, left_at: int, left_pitch: int, right: Array, right_at: int, right_pitch: int, gap: int,
              sums: Array) -> None:  # fmt: skip
    """The products of a strip's DEPTH terms. Two terms a turn, and no counter beside the places, for each turn of a
    loop costs ten instructions to 64 multiply-adds for a term."""
    stop = DEPTH * left_pitch
    while left_at < stop:
        add_products(left, left_at, right, right_at, gap, sums)
        add_products(left, left_at + left_pitch, right, right_at + right_pitch, gap, sums)
        left_at += 2 * left_pitch
        right_at += 2 * right_pitch


def add_partial_sums(partial: Array, total: Array, size: int, parts: int) -> None:
    """total[i] = sum of partial[part, i] over the parts, in order. Each thread owns one number of the total."""
    i = own_number()
    if i < size:
        number = partial[FULL(i)]
        for k in range(1, parts):
            number += partial[FULL(k * size + i)]
        total[FULL(i)] = number
