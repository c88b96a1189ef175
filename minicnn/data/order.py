"""Orders: which images of an epoch stand in which batch.

An order keeps no state: `batches(sizes, rng)` gives the same batches for the same random numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.checks import as_int, as_plain
from minicnn.plain import Array, Pair


@dataclass(frozen=True)
class ByCount:
    """Batches of `batch_size` images, the last one smaller where the number of images does not divide by it.

    Args:
        batch_size: how many images.
        shuffle: whether each epoch has a new random order.
        bucketed: whether images of similar area are batched together: except where two buckets meet, the largest image
            of a batch has less than √2 times the pixels of the smallest. With `shuffle` the batches come in random
            order, and which similar images share a batch is random, too.

    Raises ValueError for a batch_size below 1, TypeError where it is no integer.

    >>> sizes = [(9, 9), (2, 2), (8, 8), (2, 2), (2, 2)]
    >>> [chosen.tolist() for chosen in ByCount(2).batches(sizes, rng=None)]
    [[0, 1], [2, 3], [4]]
    >>> [chosen.tolist() for chosen in ByCount(2, bucketed=True).batches(sizes, rng=None)]
    [[1, 3], [4, 0], [2]]
    """

    batch_size: int
    shuffle: bool = False
    bucketed: bool = False

    def __post_init__(self) -> None:
        as_int(self.batch_size, "ByCount: batch_size", 1)
        vars(self).update(as_plain(vars(self)))  # NumPy's numbers have another repr, and runs compare orders by it

    def batches(self, sizes: Sequence[Pair] | Array, rng: np.random.Generator | None) -> list[Array]:
        """List of arrays of positions in `sizes` (N, 2), drawn by the Generator `rng`, unused without `shuffle`."""
        sequence = _sequence(self, sizes, rng)
        cuts = range(self.batch_size, len(sequence), self.batch_size)
        return _arranged(self, np.split(sequence, cuts), rng)


@dataclass(frozen=True)
class ByPixels:
    """Batches of as many images as have `max_pixels` pixels together; a larger image is a batch of its own.

    So a batch of large images takes no more memory than one of small ones. Pixels are those of the source: what an
    augmentation does to them is not known beforehand. How many batches an epoch has depends on the order drawn.

    Args:
        max_pixels: of a batch, the sum of H * W.
        shuffle, bucketed: as in `ByCount`.

    Raises ValueError for max_pixels below 1, TypeError where it is no integer.

    >>> [chosen.tolist() for chosen in ByPixels(100).batches([(5, 10), (5, 10), (2, 2), (20, 20), (1, 1)], rng=None)]
    [[0, 1], [2], [3], [4]]
    """

    max_pixels: int
    shuffle: bool = False
    bucketed: bool = False

    def __post_init__(self) -> None:
        as_int(self.max_pixels, "ByPixels: max_pixels", 1)
        vars(self).update(as_plain(vars(self)))  # see ByCount

    def batches(self, sizes: Sequence[Pair] | Array, rng: np.random.Generator | None) -> list[Array]:
        """List of arrays of positions in `sizes` (N, 2), drawn by the Generator `rng`, unused without `shuffle`."""
        sequence = _sequence(self, sizes, rng)
        cuts, pixels = [], 0
        for place, area in enumerate(_areas(sizes)[sequence].tolist()):
            if pixels and pixels + area > self.max_pixels:
                cuts.append(place)
                pixels = 0
            pixels += area
        return _arranged(self, np.split(sequence, cuts), rng)


def share_of(chosen: Any, rank: int, size: int) -> Any:
    """What process `rank` of `size` has of a batch, which can be sliced: as many in a row as the others, or one more.

    >>> [share_of(np.arange(5), rank, 3).tolist() for rank in range(3)]
    [[0], [1, 2], [3, 4]]
    """
    return chosen[len(chosen) * rank // size : len(chosen) * (rank + 1) // size]


def _areas(sizes: Sequence[Pair] | Array) -> Array:
    return np.asarray(sizes, np.int64).prod(axis=1)


def _sequence(order: ByCount | ByPixels, sizes: Sequence[Pair] | Array, rng: Any) -> Array:
    """All positions, in the order in which they are cut into batches."""
    sequence = rng.permutation(len(sizes)) if order.shuffle else np.arange(len(sizes))
    if order.bucketed:
        buckets = np.floor(2 * np.log2(_areas(sizes)[sequence]))  # two to a doubling
        sequence = sequence[np.argsort(buckets, kind="stable")]  # within a bucket they stay as drawn
    return sequence


def _arranged(order: ByCount | ByPixels, batches: list[Array], rng: Any) -> list[Array]:
    """The batches in the order in which they come: without this, buckets would come from small to large."""
    if order.shuffle and order.bucketed:
        return [batches[place] for place in rng.permutation(len(batches))]
    return batches
