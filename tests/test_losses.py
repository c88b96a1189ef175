"""NLLLoss and CrossEntropyLoss: numbers known by hand, then every oracle over the table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minicnn
from tests import cases, checks

pytestmark = pytest.mark.quick

HALVES = np.log([[0.5, 0.5], [0.25, 0.75]])


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_nll_by_hand(backend):
    loss = minicnn.NLLLoss().to(backend)
    assert loss.forward(HALVES, [0, 0]) == pytest.approx(np.log(8) / 2, rel=1e-15)  # (log 2 + log 4) / 2
    np.testing.assert_array_equal(loss.backward(), [[-0.5, 0], [-0.5, 0]])


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_class_weights_by_hand(backend):
    """The mean is a weighted one: divided by the weights of the labels, here 1 + 3, and not by N."""
    loss = minicnn.NLLLoss(weight=np.array([1.0, 3.0])).to(backend)
    assert loss.forward(HALVES, [0, 1]) == pytest.approx((np.log(2) + 3 * np.log(4 / 3)) / 4, rel=1e-15)
    np.testing.assert_array_equal(loss.backward(), [[-0.25, 0], [0, -0.75]])


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_cross_entropy_by_hand(backend):
    loss = minicnn.CrossEntropyLoss().to(backend)
    scores = HALVES + np.array([[5], [-7]])  # log-softmax takes the shifts out
    assert loss.forward(scores, [0, 0]) == pytest.approx(np.log(8) / 2, rel=1e-15)
    np.testing.assert_allclose(loss.backward(), [[-0.25, 0.25], [-0.375, 0.375]], rtol=1e-15)  # (softmax - onehot) / 2


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_label_smoothing_by_hand(backend):
    loss = minicnn.CrossEntropyLoss(label_smoothing=0.5).to(backend)  # of two classes: 3/4 and 1/4 are asked for
    expected = 0.75 * np.log(4) + 0.25 * np.log(4 / 3)
    assert loss.forward(HALVES[1:], [0]) == pytest.approx(expected, rel=1e-15)
    np.testing.assert_allclose(loss.backward(), [[-0.5, 0.5]], rtol=1e-15)  # softmax minus (3/4, 1/4)


@pytest.mark.parametrize("case", cases.LOSSES, ids=cases.name_of)
def test_loops(case):
    checks.check_against_naive(case)


@pytest.mark.parametrize("case", [case for case in cases.LOSSES if case.numeric], ids=cases.name_of)
def test_difference_quotient(case):
    checks.check_numeric_gradient(case)


@pytest.mark.torch
@pytest.mark.parametrize("case", cases.LOSSES, ids=cases.name_of)
def test_pytorch(case):
    checks.check_against_torch(case)


@pytest.mark.parametrize("backend", checks.BACKENDS)
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(2, 6)),
    smoothing=st.sampled_from([0, 0.2, 1]),
    seed=st.integers(0, 99),
)
def test_cross_entropy_is_log_softmax_and_nll(backend, shape, smoothing, seed):
    """And on top of a log-softmax it gives the same once more: value, and gradient after the layer's backward."""
    rng = np.random.default_rng(seed)
    x, labels = rng.standard_normal(shape), rng.integers(shape[1], size=shape[0])
    layer, loss = minicnn.LogSoftmax().to(backend), minicnn.CrossEntropyLoss(label_smoothing=smoothing).to(backend)
    direct, dx = loss.forward(x, labels), loss.backward()

    assert loss.forward(layer.forward(x), labels) == pytest.approx(direct, rel=1e-12)
    np.testing.assert_allclose(layer.backward(loss.backward()), dx, atol=1e-13)
    np.testing.assert_allclose(dx.sum(axis=1), 0, atol=1e-13)
    if smoothing == 0:
        nll = minicnn.NLLLoss().to(backend)
        assert nll.forward(layer.forward(x), labels) == pytest.approx(direct, rel=1e-12)
        np.testing.assert_allclose(layer.backward(nll.backward()), dx, atol=1e-13)


@pytest.mark.parametrize("backend", checks.BACKENDS)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_labels_of_any_integer_type(backend, dtype):
    loss = minicnn.CrossEntropyLoss().to(backend)
    assert loss.forward(HALVES, np.array([0, 1], dtype)) == loss.forward(HALVES, [0, 1])


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_loss_is_a_python_float(backend):
    for dtype in checks.DTYPES:
        assert type(minicnn.CrossEntropyLoss().to(backend)(HALVES.astype(dtype), [0, 1])) is float


def test_what_is_set_later_is_checked_as_well():
    loss = minicnn.CrossEntropyLoss()
    for attribute, value, error in [
        ("weight", [1, 2], TypeError),
        ("weight", "heavy", TypeError),
        ("weight", [[1.0]], TypeError),
        ("weight", [1.0, -1.0], ValueError),
        ("weight", [1.0, np.nan], ValueError),
        ("weight", np.ma.masked_array([1.0, 2.0], [True, False]), TypeError),
        ("label_smoothing", np.nan, ValueError),
        ("label_smoothing", 1.5, ValueError),
        ("label_smoothing", "much", TypeError),
    ]:
        with pytest.raises(error, match="CrossEntropyLoss"):
            setattr(loss, attribute, value)
    assert (loss.weight, loss.label_smoothing) == (None, 0.0)
    loss.weight = [1.0, 3.0]
    expected = minicnn.CrossEntropyLoss([1.0, 3.0]).forward(np.eye(2), [0, 1])
    assert loss.forward(np.eye(2), [0, 1]) == expected
