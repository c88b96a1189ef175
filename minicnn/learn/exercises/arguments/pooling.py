"""Cases of pooling and of its windows."""

from collections.abc import Iterator

import numpy as np

from minicnn.backends import get_backend
from minicnn.geometry import adaptive_windows, fixed_windows
from minicnn.learn.exercises.arguments.case import Case
from minicnn.plain import Array, Pair


def _pooling_sizes() -> Iterator[tuple[str, Pair, Pair, tuple[Array, Array]]]:
    yield "1 × 4 cells, windows of 2, none shared", (1, 1), (1, 4), (adaptive_windows(1, 1), adaptive_windows(4, 2))
    yield "1 × 5 cells, 3 windows that overlap", (1, 1), (1, 5), (adaptive_windows(1, 1), adaptive_windows(5, 3))
    yield "5 × 1 cells, 3 windows that overlap", (1, 1), (5, 1), (adaptive_windows(5, 3), adaptive_windows(1, 1))
    yield "1 × 3 cells, windows of 2, stride 1", (1, 1), (1, 3), (fixed_windows(1, 1, 1, 0), fixed_windows(3, 2, 1, 0))
    yield "1 × 3 cells, padding 1", (1, 1), (1, 3), (fixed_windows(1, 1, 1, 0), fixed_windows(3, 2, 2, 1))
    yield "3 × 1 cells, padding 1", (1, 1), (3, 1), (fixed_windows(3, 2, 2, 1), fixed_windows(1, 1, 1, 0))
    yield "2 × 4 cells, windows of 2 × 2", (1, 1), (2, 4), (fixed_windows(2, 2, 2, 0), fixed_windows(4, 2, 2, 0))
    yield "2 images", (2, 1), (1, 4), (adaptive_windows(1, 1), adaptive_windows(4, 2))
    yield "2 channels", (1, 2), (1, 4), (adaptive_windows(1, 1), adaptive_windows(4, 2))
    yield "1 × 2 cells, 3 windows", (1, 1), (1, 2), (adaptive_windows(1, 1), adaptive_windows(2, 3))
    yield "2 × 2 windows, stride 2", (2, 3), (4, 6), (fixed_windows(4, 2, 2, 0), fixed_windows(6, 2, 2, 0))
    yield "3 × 3 windows, stride 2, padding 1", (2, 2), (5, 7), (fixed_windows(5, 3, 2, 1), fixed_windows(7, 3, 2, 1))
    yield "10 × 14 cells in 3 × 4 windows", (1, 2), (10, 14), (adaptive_windows(10, 3), adaptive_windows(14, 4))
    apart = fixed_windows(6, 2, 3, 0), fixed_windows(8, 3, 4, 0)
    yield "2 × 3 windows, stride (3, 4), cells in none", (1, 2), (6, 8), apart


def _pooling_numbers(
    rng: np.random.Generator, batch: Pair, size: Pair, tables: tuple[Array, Array]
) -> tuple[Array, Array]:
    x = rng.permutation(batch[0] * batch[1] * size[0] * size[1]).reshape(*batch, *size).astype(np.float64)
    dy = rng.standard_normal((*batch, len(tables[0]), len(tables[1])))
    return x, dy if x.size > 10 else rng.permutation(np.arange(1.0, dy.size + 1)).reshape(dy.shape) * 6  # by hand


def max_pool2d_backward(rng: np.random.Generator) -> Iterator[Case]:
    reference = get_backend("reference")
    for label, batch, size, tables in _pooling_sizes():
        x, dy = _pooling_numbers(rng, batch, size, tables)
        if label.startswith("1 × 5"):  # the third cell wins two windows and the fourth none
            x, dy = np.array([[[[1.0, 2, 9, 3, 4]]]]), np.array([[[[5.0, 6, 7]]]])
        _, argmax = reference.max_pool2d_forward(x, *tables)
        yield label, (dy, argmax, *tables, size)


def avg_pool2d_forward(rng: np.random.Generator) -> Iterator[Case]:
    for label, batch, size, tables in _pooling_sizes():
        x, _ = _pooling_numbers(rng, batch, size, tables)
        yield label, (x, *tables)


def avg_pool2d_backward(rng: np.random.Generator) -> Iterator[Case]:
    for label, batch, size, tables in _pooling_sizes():
        _, dy = _pooling_numbers(rng, batch, size, tables)
        yield label, (dy, *tables, size)


# (n_in, n_out). First what can be done by hand; then sizes found by a search, so that no function of a large family of
# nearly right ones, with small integers, with floats of three precisions and with every rounding, is right on all.
BY_HAND = (6, 3), (5, 3), (10, 3), (14, 4), (5, 8), (3, 1)
SEPARATING = (13, 13), (7, 25), (30, 22), (22, 22), (25, 25), (36, 28), (14, 46), (224, 111), (38, 37), (107, 107)
SEPARATING_FLOATS = (84, 20), (36, 35), (3, 91), (37, 15)


def adaptive_sizes(rng: np.random.Generator) -> Iterator[Case]:
    random = [*rng.integers(1, 60, (4, 2)).tolist(), *rng.integers(1, 300, (3, 2)).tolist()]
    for n_in, n_out in (*BY_HAND, *SEPARATING, *SEPARATING_FLOATS, *random):
        yield f"{n_in} cells, {n_out} windows", (n_in, n_out)
