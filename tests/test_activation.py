"""ReLU and Flatten: the layers without parameters or sums."""

import numpy as np
import pytest

import minicnn
from tests import cases, checks

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_relu_by_hand(backend):
    relu = minicnn.ReLU().to(backend)
    x = np.float32([-np.inf, -1, -0.0, 0, 2, np.inf, np.nan])
    np.testing.assert_array_equal(relu.forward(x), np.float32([0, 0, 0, 0, 2, np.inf, np.nan]))
    # The slope at 0 is 0; where NaN went in, dy goes on, so that the trouble stays visible.
    np.testing.assert_array_equal(relu.backward(np.full(7, 5, np.float32)), np.float32([0, 0, 0, 0, 5, 5, 5]))


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_flatten_by_hand(backend):
    flatten = minicnn.Flatten().to(backend)
    x = np.arange(12.0).reshape(2, 3, 1, 2)
    np.testing.assert_array_equal(flatten.forward(x), [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]])
    np.testing.assert_array_equal(flatten.backward(np.arange(12.0).reshape(2, 6)), x)


@pytest.mark.parametrize("case", cases.ACTIVATION + cases.FLATTEN, ids=cases.name_of)
def test_loops(case):
    checks.check_against_naive(case)


@pytest.mark.parametrize("case", [case for case in cases.ACTIVATION + cases.FLATTEN if case.numeric], ids=cases.name_of)
def test_difference_quotient(case):
    checks.check_numeric_gradient(case)


@pytest.mark.torch
@pytest.mark.parametrize("case", cases.ACTIVATION + cases.FLATTEN, ids=cases.name_of)
def test_pytorch(case):
    checks.check_against_torch(case)
