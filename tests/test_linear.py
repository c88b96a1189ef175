"""Linear: numbers known by hand, then the loops, the difference quotient and PyTorch over the table."""

import numpy as np
import pytest

import minicnn
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
