"""Pooling on the device, against the reference: all four layers' windows, batches of one size, and `Images`."""

import numpy as np
import pytest

import minicnn
from minicnn import Images
from minicnn.backends.cuda import pooling
from minicnn.geometry import adaptive_windows, fixed_windows
from minicnn.images import sizes_of
from minicnn.layers.spatial import batched
from tests import cases, checks
from tests.cuda.on_device import check_against_reference, draw_like, results_of

pytestmark = pytest.mark.cuda_sim

PARAMETRIZE_DTYPE = pytest.mark.parametrize("dtype", checks.DTYPES)
# A thread for each output cell, and a block for each.
PARAMETRIZE_KERNEL = pytest.mark.parametrize("large", [10**9, 1], ids=["thread", "block"])
MOST = 230  # cells in and out, for the simulator


def tables_of(case, x):
    """Rows and columns, of the layer of a case."""
    return getattr(minicnn, case.layer)(*case.args, **dict(case.kwargs)).tables(sizes_of(x))


def is_small(case):
    x = batched(checks.problem(case).x)
    tables = tables_of(case, x)
    rows, columns = tables if isinstance(x, Images) else ([table] for table in tables)
    windows = sum(len(of_rows) * len(of_columns) for of_rows, of_columns in zip(rows, columns, strict=True))
    return x.size + windows * (x.shape[1] if isinstance(x, Images) else len(x) * x.shape[1]) <= MOST


# Layouts do not come this far.
CASES = [
    case for case in cases.MAX_POOL + cases.AVG_POOL + cases.MIXED_POOL if case.layout == "plain" and is_small(case)
]


def check(kind, dtype, x, tables):
    """Forward and backward. A maximum is one of the numbers, and backward adds in the reference's order: exactly."""
    size = sizes_of(x)
    if kind == "Max":
        y, argmax = check_against_reference(pooling.max_pool2d_forward, dtype, x, *tables, exact=True)
        check_against_reference(pooling.max_pool2d_backward, dtype, draw_like(y), argmax, *tables, size, exact=True)
    else:
        (y,) = check_against_reference(pooling.avg_pool2d_forward, dtype, x, *tables)
        check_against_reference(pooling.avg_pool2d_backward, dtype, draw_like(y), *tables, size, exact=True)


@pytest.mark.parametrize("case", CASES, ids=cases.name_of)
def test_cases_of_the_table(case):
    x = batched(checks.problem(case).x)
    check("Max" if "Max" in case.layer else "Avg", np.float64, x, tables_of(case, x))


# Rules for an axis: its table of windows.
RULES = {
    "whole": lambda n: adaptive_windows(n, 1),
    "overlapping": lambda n: adaptive_windows(n, 2),
    "more than cells": lambda n: adaptive_windows(n, n + 2),
    "padded": lambda n: fixed_windows(n, 3, 2, 1),
    "apart": lambda n: fixed_windows(n, 1, 2, 0),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("kind", ["Max", "Avg"])
def test_images(kind, rule):
    rng = np.random.default_rng(1)
    x = Images([rng.standard_normal((2, *size)) for size in [(1, 3), (4, 3), (1, 1), (2, 5)]])
    check(kind, np.float32, x, [list(map(rule, axis)) for axis in x.sizes.T.tolist()])


TINY = {
    "ties": [[1, 7, 7, 0], [7, 2, 1, 7], [0, 1, 7, 7]],
    "nan": [[1, np.nan, 9, 0], [np.nan, np.inf, 1, np.nan], [0, 1, 7, 7]],
    "minus infinity": [[-np.inf] * 4] * 3,
    "nan among minus infinity": [[-np.inf] * 4, [-np.inf, np.nan, np.nan, -np.inf], [-np.inf] * 4],
    "zeros": [[-1, -0.0, 0.0, -1], [0.0, -0.0, -2, -0.0], [-3, -1, -0.0, 0.0]],
}


@PARAMETRIZE_KERNEL
@pytest.mark.parametrize("rule", ["whole", "overlapping", "padded"])
@pytest.mark.parametrize("cells", TINY.values(), ids=TINY)
def test_winners(monkeypatch, large, rule, cells):
    """The first maximum in reading order, and the last NaN, in the order of the image and not of the threads."""
    monkeypatch.setattr(pooling, "LARGE_WINDOW", large)
    tables = RULES[rule](3), RULES[rule](4)
    check_against_reference(pooling.max_pool2d_forward, np.float32, np.float64([[cells]]), *tables, exact=True)


@PARAMETRIZE_KERNEL
@pytest.mark.parametrize("number", [1, 2])
def test_both_kernels(monkeypatch, large, number):
    """On images of different sizes, and windows that are smaller and larger than a block has threads."""
    monkeypatch.setattr(pooling, "LARGE_WINDOW", large)
    rng = np.random.default_rng(0)
    x = Images([rng.standard_normal((2, *size)).astype(np.float32) for size in [(1, 1), (5, 4), (1, 9)]])
    rows, columns = ([adaptive_windows(n, number) for n in axis] for axis in x.sizes.T.tolist())
    check_against_reference(pooling.max_pool2d_forward, np.float32, x, rows, columns, exact=True)
    check_against_reference(pooling.avg_pool2d_forward, np.float32, x, rows, columns)


def test_which_kernel(monkeypatch):
    """The largest window decides, height times width."""
    taken = []
    monkeypatch.setattr(pooling, "LARGE_WINDOW", 6)
    for name in ("_avg_forward", "_avg_forward_of_large"):
        true = getattr(pooling, name)
        monkeypatch.setattr(pooling, name, lambda real, name=name, true=true: taken.append(name) or true(real))
    for shape in [(1, 5), (2, 3), (6, 1)]:
        rows, columns = (adaptive_windows(n, 1) for n in shape)
        results_of(pooling.avg_pool2d_forward, np.ones((1, 1, *shape)), rows, columns)
    assert taken == ["_avg_forward", "_avg_forward_of_large", "_avg_forward_of_large"]


@PARAMETRIZE_KERNEL
@PARAMETRIZE_DTYPE
def test_padding_counts_in_the_mean(monkeypatch, large, dtype):
    monkeypatch.setattr(pooling, "LARGE_WINDOW", large)
    x, table = dtype([[[[-8, -4], [-2, -6]]]]), fixed_windows(2, 2, 2, 1)
    (y,) = results_of(pooling.avg_pool2d_forward, x, table, table)
    assert y.tolist() == [[[[-2, -1], [-0.5, -1.5]]]]
    (dx,) = results_of(pooling.avg_pool2d_backward, np.ones_like(x), table, table, (2, 2))
    assert dx.tolist() == [[[[0.25, 0.25], [0.25, 0.25]]]]


def test_one_cell_wins_two_windows():
    x = np.float64([0, 1, 9, 3, 4]).reshape(1, 1, 1, 5)  # 5 → 4: windows 0–1, 1–2, 2–3, 3–4
    tables = adaptive_windows(1, 1), adaptive_windows(5, 4)
    y, argmax = results_of(pooling.max_pool2d_forward, x, *tables)
    assert y.ravel().tolist() == [1, 9, 9, 4]
    dy = np.float64([1, 10, 100, 1000]).reshape(y.shape)
    (dx,) = results_of(pooling.max_pool2d_backward, dy, argmax, *tables, (1, 5))
    assert dx.ravel().tolist() == [0, 1, 110, 0, 1000]
