"""Random numbers that are looked up and not drawn one after another: Philox4x32-10.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). Four words of 32 bits, the
counter, are mixed with two of a key in ten rounds, and four random words come out. Whoever asks for the words of a
counter gets the same ones, in whatever order, on whatever machine, in however many parts: a mask is a table that nobody
has to keep.

    a round    (c0, c1, c2, c3) <- (high(M1 * c2) ^ c1 ^ k0, low(M1 * c2), high(M0 * c0) ^ c3 ^ k1, low(M0 * c0))
               (k0, k1) <- (k0 + W0, k1 + W1)                              in 32 bits

Dropout asks for (block, image, step, step's high word) under its seed: a block is four numbers of an image.
"""

from typing import Any

import numpy as np

ROUNDS = 10
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)  # of the golden ratio and of sqrt(3)
MASK, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> tuple[Any, Any, Any, Any]:
    """The four words for a counter and a key; each word is a uint64 below 2 ** 32, or an array of them.

    `reference` calls it with arrays; `cpu` and `cuda` compile it.

    >>> zero = np.uint64(0)
    >>> [f"{word:08x}" for word in philox(zero, zero, zero, zero, zero, zero)]     # as its authors publish it
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    for _ in range(ROUNDS):
        product0, product1 = M0 * c0, M1 * c2
        c0, c1 = (product1 >> HALF) ^ c1 ^ k0, product1 & MASK
        c2, c3 = (product0 >> HALF) ^ c3 ^ k1, product0 & MASK
        k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    return c0, c1, c2, c3


def halves(number: int) -> tuple[np.uint64, np.uint64]:
    """The low and the high word of an integer from 0 below 2 ** 64."""
    return np.uint64(number & 0xFFFFFFFF), np.uint64(number >> 32)


def limit(p: float) -> np.uint64:
    """A word below this drops its number: of 2 ** 32 words a share p."""
    return np.uint64(int(p * 2**32))
