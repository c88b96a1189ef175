"""LogSoftmax: numbers known by hand, then the loops, the difference quotient and PyTorch over the table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minicnn
from tests import cases, checks

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_by_hand(backend):
    layer = minicnn.LogSoftmax().to(backend)
    y = layer.forward(np.log(np.float64([[1, 3], [2, 2]])))
    np.testing.assert_allclose(np.exp(y), [[0.25, 0.75], [0.5, 0.5]], rtol=1e-15)
    dx = layer.backward(np.float64([[-1, 0], [1, 1]]))  # dy - softmax * sum of dy
    np.testing.assert_allclose(dx, [[-0.75, 0.75], [0, 0]], atol=1e-15)


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_large_scores_neither_overflow_nor_vanish(backend):
    y = minicnn.LogSoftmax().to(backend).predict(np.float32([[1e30, 0, -1e30], [-1e4, -1e4, -2e4]]))
    np.testing.assert_allclose(y, [[0, -1e30, -2e30], [-np.log(2), -np.log(2), -1e4 - np.log(2)]], rtol=1e-6)


@pytest.mark.parametrize("case", cases.LOG_SOFTMAX, ids=cases.name_of)
def test_loops(case):
    checks.check_against_naive(case)


@pytest.mark.parametrize("case", [case for case in cases.LOG_SOFTMAX if case.numeric], ids=cases.name_of)
def test_difference_quotient(case):
    checks.check_numeric_gradient(case)


@pytest.mark.torch
@pytest.mark.parametrize("case", cases.LOG_SOFTMAX, ids=cases.name_of)
def test_pytorch(case):
    checks.check_against_torch(case)


@pytest.mark.parametrize("backend", checks.BACKENDS)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 12)),
    scale=st.sampled_from([1, 30, 1000]),
    seed=st.integers(0, 99),
)
def test_a_second_time_changes_nothing(backend, shape, scale, seed):
    layer = minicnn.LogSoftmax().to(backend)
    x = scale * np.random.default_rng(seed).standard_normal(shape)
    once = layer.forward(x)
    dx = layer.backward(np.random.default_rng(seed + 1).standard_normal(shape))

    np.testing.assert_allclose(layer.predict(once), once, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(np.exp(once).sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(layer.predict(x + 5), once, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(dx.sum(axis=1), 0, atol=1e-12)  # y ignores a shift of the whole row
