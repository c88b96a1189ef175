"""Window arithmetic against exact fractions and against counting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn import geometry
from tests import naive

pytestmark = pytest.mark.quick


def test_windows_by_hand():
    assert geometry.adaptive_windows(14, 4).tolist() == [[0, 4, 4], [3, 7, 4], [7, 11, 4], [10, 14, 4]]
    assert geometry.adaptive_windows(10, 3).tolist() == [[0, 4, 4], [3, 7, 4], [6, 10, 4]]
    assert geometry.adaptive_windows(2, 5).tolist() == [[0, 1, 1], [0, 1, 1], [0, 2, 2], [1, 2, 1], [1, 2, 1]]
    assert geometry.fixed_windows(5, 3, 2, 1).tolist() == [[0, 2, 3], [1, 4, 3], [3, 5, 3]]


def test_adaptive_windows_are_exact_for_all_small_sizes():
    """All 4096 pairs up to 64; 7 → 25 and 13 → 13, where float arithmetic goes wrong, among them."""
    for n_in in range(1, 65):
        for n_out in range(1, 65):
            expected = [list(window) for window in naive.adaptive_windows(n_in, n_out)]
            assert geometry.adaptive_windows(n_in, n_out).tolist() == expected, (n_in, n_out)


@given(st.integers(1, 10**6), st.integers(1, 300))
def test_adaptive_windows_cover_the_axis(n_in, n_out):
    starts, stops, extents = geometry.adaptive_windows(n_in, n_out).T
    assert (starts[0], stops[-1]) == (0, n_in)
    assert (starts < stops).all()
    assert (starts[1:] <= stops[:-1]).all()  # no gap
    assert (starts[1:] >= starts[:-1]).all()
    assert (stops[1:] >= stops[:-1]).all()
    assert (extents == stops - starts).all()
    assert extents.max() - extents.min() <= 2
    if n_in % n_out == 0:
        assert (starts[1:] == stops[:-1]).all()


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5), st.integers(0, 4))
def test_fixed_windows_and_output_size(n_in, kernel, stride, padding):
    if 2 * padding > kernel or n_in + 2 * padding < kernel:
        return
    expected = [list(window) for window in naive.fixed_windows(n_in, kernel, stride, padding)]
    assert geometry.fixed_windows(n_in, kernel, stride, padding).tolist() == expected
    assert geometry.output_size(n_in, kernel, stride, padding) == len(expected)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5), st.integers(0, 4), st.integers(1, 60))
def test_windows_over(n_in, kernel, stride, padding, n_out):
    """Against going through all windows for each cell: overlaps, gaps, padding, and more windows than cells."""
    tables = [geometry.adaptive_windows(n_in, n_out)]
    if 2 * padding <= kernel <= n_in + 2 * padding:
        tables.append(geometry.fixed_windows(n_in, kernel, stride, padding))
    for table in tables:
        over = geometry.windows_over(table, n_in)
        assert over.shape == (n_in, 2)
        for cell, (first, stop) in enumerate(over.tolist()):
            assert list(range(first, stop)) == [p for p, (a, b, _) in enumerate(table) if a <= cell < b]
            assert first <= stop


@pytest.mark.torch
def test_output_size_is_pytorchs():
    import torch

    for n_in, kernel, stride, padding in [(7, 3, 2, 0), (8, 3, 2, 1), (5, 5, 1, 0), (9, 2, 4, 3), (32, 3, 1, 1)]:
        y = torch.nn.Conv1d(1, 1, kernel, stride, padding)(torch.zeros(1, 1, n_in))
        assert y.shape[2] == geometry.output_size(n_in, kernel, stride, padding)


def test_a_table_is_the_callers_own():
    for table, arguments in ((geometry.adaptive_windows, (5, 3)), (geometry.fixed_windows, (5, 2, 1, 0))):
        expected = table(*arguments).tolist()
        table(*arguments)[:] = -1
        assert table(*arguments).tolist() == expected
