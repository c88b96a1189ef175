"""Linear: numbers known by hand, then the loops, the difference quotient and PyTorch over the table."""

import itertools

import numpy as np
import pytest

import minicnn
from minicnn.backends.cpu import products
from minicnn.backends.cpu.runtime.jit import one_thread
from tests import cases, checks

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_by_hand(backend):
    linear = minicnn.Linear(2, 3).to(backend)
    linear.params["weight"] = np.float32([[1, 2], [3, 4], [5, 6]])
    linear.params["bias"] = np.float32([100, 200, 300])
    np.testing.assert_array_equal(linear.forward(np.float32([[1, 10], [0, 1]])), [[121, 243, 365], [102, 204, 306]])
    np.testing.assert_array_equal(linear.backward(np.float32([[1, 0, 0], [0, 1, 10]])), [[1, 2], [53, 64]])
    np.testing.assert_array_equal(linear.grads["weight"], [[1, 10], [0, 1], [0, 10]])
    np.testing.assert_array_equal(linear.grads["bias"], [1, 1, 10])


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_first_layer_skips_the_input_gradient(backend):
    linear = minicnn.Linear(2, 3, rng=0).to(backend)
    linear.forward(np.ones((4, 2), np.float32))
    assert linear.backward(np.ones((4, 3), np.float32), need_dx=False) is None
    np.testing.assert_array_equal(linear.grads["weight"], np.full((3, 2), 4))


@pytest.mark.parametrize("case", cases.LINEAR, ids=cases.name_of)
def test_loops(case):
    checks.check_against_naive(case)


@pytest.mark.parametrize("case", [case for case in cases.LINEAR if case.numeric], ids=cases.name_of)
def test_difference_quotient(case):
    checks.check_numeric_gradient(case)


@pytest.mark.torch
@pytest.mark.parametrize("case", cases.LINEAR, ids=cases.name_of)
def test_pytorch(case):
    checks.check_against_torch(case)


SIZES = [(1, 1, 1), (130, 64, 10), (7, 300, 33), (9, 513, 70), (600, 20, 270)]  # rows, terms, columns


@pytest.mark.parametrize("turned", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("size", SIZES)
def test_products_by_tiles(size, turned):
    """Beside the definition; and the same bits however the result is shared out."""
    a_turned, b_turned = turned
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(size[:2], np.float32), rng.standard_normal(size[1:], np.float32)
    given = np.ascontiguousarray(a.T) if a_turned else a, np.ascontiguousarray(b.T) if b_turned else b
    settings = {"a_turned": a_turned, "b_turned": b_turned}
    found = products.product(*given, **settings)
    bound = 1e-6 * (np.abs(a) @ np.abs(b))
    assert (np.abs(found - products.plain_product(*given, **settings)) <= bound).all()
    with one_thread():
        np.testing.assert_array_equal(products.product(*given, **settings), found)


def test_what_is_not_a_number_stays_in_its_row_and_column():
    a, b = np.ones((40, 50), np.float32), np.ones((50, 70), np.float32)
    a[3, 4] = np.nan
    b[5, 6] = np.inf
    found = products.product(a, b)
    expected = np.full((40, 70), 50.0)
    expected[:, 6], expected[3] = np.inf, np.nan
    np.testing.assert_array_equal(found, expected)
