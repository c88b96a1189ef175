"""Two parts of a set of labelled images, with every class in both."""

import logging
from collections.abc import Sequence

import numpy as np

from minicnn.plain import Array

log = logging.getLogger(__name__)


def split_by_class(
    labels: Array,
    n_second: int,
    rng: np.random.Generator | int | None,
    what: str,
    class_names: Sequence[str] | None = None,
) -> tuple[Array, Array]:
    """Positions of two disjoint random parts, (the rest, `n_second` images), each in random order.

    Every class has about the same share of both parts. One image of each class stays in the first part, which is learnt
    from; of the others each class gives one to the second part, the large classes first where `n_second` does not
    suffice for all. So a class with a single image is in the first part alone, and is named in a warning of Python's
    logging. Only where `n_second` asks for more than this leaves, classes are taken out of the first part.

    Args:
        labels: (N,) integers.
        n_second: how many, from 1 to N - 1.
        rng: a Generator or a seed; the same labels and seed give the same parts.
        what: who splits, for messages.
        class_names: the classes' names, by label, for the warning.

    Raises ValueError for another `n_second`.

    >>> labels = np.array([0] * 6 + [1] * 3 + [2] * 2)
    >>> [np.bincount(labels[part]).tolist() for part in split_by_class(labels, 4, rng=0, what="split")]
    [[4, 2, 1], [2, 1, 1]]
    """
    if not 0 < n_second < len(labels):
        raise ValueError(f"{what}: expected a part of 1 to {len(labels) - 1} images, got {n_second}")
    order = np.random.default_rng(rng).permutation(len(labels))
    found, classes, counts = np.unique(labels[order], return_inverse=True, return_counts=True)
    # Each image's number among those of its class, as they were drawn.
    number = np.empty(len(order), np.int64)
    number[np.argsort(classes, kind="stable")] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    of_class = counts[classes]
    turn = np.where(number == of_class - 1, 2, np.where(number == 0, 0, 1))
    # Within a turn the numbers as shares of their class: so the first of them are as many of each class as its share.
    is_second = np.zeros(len(order), bool)
    is_second[np.lexsort(((number + 0.5) / of_class, turn))[:n_second]] = True
    single = [str(label) if class_names is None else class_names[label] for label in found[counts == 1].tolist()]
    if single:
        log.warning("%s: classes with a single image, which cannot be in both parts: %s", what, ", ".join(single))
    return order[~is_second], order[is_second]
