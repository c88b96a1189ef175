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
    return x, dy


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


def adaptive_sizes(rng: np.random.Generator) -> Iterator[Case]:
    known = [(6, 3), (5, 3), (10, 3), (14, 4), (5, 8), (13, 13), (7, 25), (3, 1), (30, 22), (22, 22), (25, 25)]
    for n_in, n_out in known + [tuple(pair) for pair in rng.integers(1, 60, (4, 2)).tolist()]:
        yield f"{n_in} cells, {n_out} windows", (n_in, n_out)
