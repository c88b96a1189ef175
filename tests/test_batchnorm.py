"""BatchNorm2d: training and evaluation, each with its own backward, and the running statistics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minicnn
from tests import cases, checks

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_by_hand(backend):
    norm = minicnn.BatchNorm2d(1, eps=0).to(backend, np.float64)
    x = np.float64([1, 3, 5, 7]).reshape(2, 1, 1, 2)  # mean 4, squared distances 9 + 1 + 1 + 9 = 20

    y = norm.forward(x)
    np.testing.assert_allclose(y.ravel() * np.sqrt(5), [-3, -1, 1, 3], rtol=1e-15)  # normalised with 20 / 4 = 5
    assert norm.state["running_mean"] == pytest.approx(0.1 * 4)
    assert norm.state["running_var"] == pytest.approx(0.9 * 1 + 0.1 * 20 / 3)  # kept with 20 / 3
    assert norm.state["num_batches_tracked"] == 1

    # dy = (1, 0, 0, 0): mean(dy) = 1/4, mean(dy * x_hat) = -3 / (4 sqrt 5), so dx * sqrt 5 = dy - 1/4 + 3 (x - 4) / 20.
    dx = norm.backward(np.float64([1, 0, 0, 0]).reshape(x.shape))
    np.testing.assert_allclose(dx.ravel() * np.sqrt(5), [0.3, -0.4, -0.1, 0.2], rtol=1e-12)
    np.testing.assert_allclose(norm.grads["weight"], [-3 / np.sqrt(5)], rtol=1e-12)
    np.testing.assert_allclose(norm.grads["bias"], [1], rtol=1e-12)


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_evaluation_by_hand(backend):
    norm = minicnn.BatchNorm2d(1, eps=0).to(backend, np.float64).eval()
    norm.state["running_mean"][:], norm.state["running_var"][:] = 1, 4
    norm.params["weight"][:], norm.params["bias"][:] = 6, 10
    y = norm.forward(np.float64([1, 3]).reshape(1, 1, 1, 2))
    dx = norm.backward(np.float64([1, 1]).reshape(1, 1, 1, 2))

    np.testing.assert_array_equal(y.ravel(), [10, 16])
    np.testing.assert_array_equal(dx.ravel(), [3, 3])  # weight / std * dy: the statistics are constants, dx is not 0
    np.testing.assert_array_equal(norm.grads["weight"], [1])
    assert norm.state["num_batches_tracked"] == 0


@pytest.mark.parametrize("case", cases.BATCHNORM, ids=cases.name_of)
def test_loops(case):
    checks.check_against_naive(case)


@pytest.mark.parametrize("case", [case for case in cases.BATCHNORM if case.numeric], ids=cases.name_of)
def test_difference_quotient(case):
    checks.check_numeric_gradient(case)


@pytest.mark.torch
@pytest.mark.parametrize("case", cases.BATCHNORM, ids=cases.name_of)
def test_pytorch(case):
    checks.check_against_torch(case)


SHAPES = st.tuples(st.integers(2, 4), st.integers(1, 3), st.integers(1, 5), st.integers(2, 5))


@pytest.mark.parametrize("backend", checks.BACKENDS)
@given(shape=SHAPES, seed=st.integers(0, 2**32 - 1))
def test_training_directions(backend, shape, seed):
    """y ignores a shift of x, so dx sums to 0 per channel; with eps = 0 it ignores a stretch too, so dx * x does."""
    rng = np.random.default_rng(seed)
    norm = minicnn.BatchNorm2d(shape[1], eps=0).to(backend, np.float64)
    x, dy = rng.standard_normal((2, *shape))
    y = norm.forward(x)
    dx = norm.backward(dy)
    scale = (np.abs(dy).sum(axis=(0, 2, 3)) + np.abs(y * dy).sum(axis=(0, 2, 3))) / x.std(axis=(0, 2, 3))

    np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=(0, 2, 3)), 1, rtol=1e-12)
    assert (np.abs(dx.sum(axis=(0, 2, 3))) <= 1e-11 * scale).all()
    assert (np.abs((dx * x).sum(axis=(0, 2, 3))) <= 1e-11 * scale * np.abs(x).max()).all()


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_backward_belongs_to_the_mode_of_its_forward(backend):
    """Switching the mode between forward and backward changes nothing: dx is the gradient of the y that was given."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 2, 3, 4, 4))
    norm = minicnn.BatchNorm2d(3).to(backend, np.float64)
    for training in (True, False):
        norm.train(training).forward(x)
        expected = norm.backward(dy)
        norm.train(training).forward(x)
        norm.train(not training)
        np.testing.assert_array_equal(norm.backward(dy), expected)


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_later_training_does_not_reach_an_earlier_evaluation(backend):
    """The running statistics that an evaluation forward used may move before its backward is called."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 2, 3, 4, 4))
    norm = minicnn.BatchNorm2d(3).to(backend, np.float64).eval()
    norm.forward(x)
    expected = norm.backward(dy)
    norm.forward(x)
    norm.state["running_var"] *= 4
    np.testing.assert_array_equal(norm.backward(dy), expected)


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_running_statistics_arrive_at_those_of_the_data(backend):
    rng = np.random.default_rng(0)
    norm = minicnn.BatchNorm2d(2).to(backend)
    for _ in range(200):
        norm.forward((3 * rng.standard_normal((8, 2, 4, 4)) + [[[-1]], [[2]]]).astype(np.float32))
    np.testing.assert_allclose(norm.state["running_mean"], [-1, 2], atol=0.3)
    np.testing.assert_allclose(norm.state["running_var"], [9, 9], rtol=0.15)
    assert norm.state["num_batches_tracked"] == 200
    assert norm.state["num_batches_tracked"].dtype == np.int64


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_predict_evaluates_in_any_mode_and_keeps_nothing(backend):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 4))
    norm = minicnn.BatchNorm2d(3).to(backend, np.float64)
    predicted = norm.predict(x)
    assert norm.memory is None
    assert norm.state["num_batches_tracked"] == 0
    np.testing.assert_array_equal(norm.eval().forward(x), predicted)
