"""NLLLoss and CrossEntropyLoss: numbers known by hand, then every oracle over the table."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minicnn
from minicnn.backends import get_backend
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


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_ignored_labels_and_sums_by_hand(backend):
    labels = [0, -100]
    loss = minicnn.NLLLoss().to(backend)
    assert loss.forward(HALVES, labels) == pytest.approx(np.log(2), rel=1e-15)
    np.testing.assert_array_equal(loss.backward(), [[-1, 0], [0, 0]])
    assert loss.forward(HALVES, [0, 0]) == pytest.approx(np.log(8) / 2, rel=1e-15)  # the next batch is whole again
    np.testing.assert_array_equal(loss.backward(), [[-0.5, 0], [-0.5, 0]])
    loss = minicnn.NLLLoss(reduction="sum").to(backend)
    assert loss.forward(HALVES, [0, 0]) == pytest.approx(np.log(8), rel=1e-15)
    np.testing.assert_array_equal(loss.backward(), [[-1, 0], [-1, 0]])


@pytest.mark.parametrize("backend", checks.BACKENDS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_nothing_that_counts(backend, reduction, smoothing):
    """PyTorch's answers: no image gives NaN as mean and 0 as sum, with gradients of 0."""
    loss = minicnn.CrossEntropyLoss(None, smoothing, reduction=reduction).to(backend)
    value = loss.forward(HALVES, [-100, -100])
    assert np.isnan(value) if reduction == "mean" else value == 0
    np.testing.assert_array_equal(loss.backward(), np.zeros((2, 2)))


@pytest.mark.torch
@pytest.mark.parametrize("backend", checks.BACKENDS)
@pytest.mark.parametrize("labels", [[0, 0, 0], [0, -100, 0], [-100] * 3, [0, 1, 2]])
@pytest.mark.parametrize("weight", [None, [0.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.3}])
def test_sums_of_little_equal_pytorchs(backend, labels, weight, settings):
    """Classes of weight 0 among them: of the sum the smoothing is left."""
    import torch

    x = np.random.default_rng(0).standard_normal((3, 3))
    tensor = torch.tensor(x, requires_grad=True)
    there = torch.nn.CrossEntropyLoss(
        weight=None if weight is None else torch.tensor(weight, dtype=tensor.dtype), reduction="sum", **settings
    )(tensor, torch.tensor(labels))
    there.backward()
    here = minicnn.CrossEntropyLoss(weight, reduction="sum", **settings).to(backend)
    assert here.forward(x, labels) == pytest.approx(there.item(), rel=1e-12, abs=1e-15)
    np.testing.assert_allclose(here.backward(), tensor.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_an_ignored_image_may_be_anything(backend):
    """Its output is not looked at, and so its gradient is 0 and not NaN."""
    log_p = np.concatenate([HALVES, np.full((1, 2), np.nan)])
    loss = minicnn.NLLLoss(ignore_index=7).to(backend)
    assert loss.forward(log_p, [0, 1, 7]) == minicnn.NLLLoss().forward(HALVES, [0, 1])
    np.testing.assert_array_equal(loss.backward(), [[-0.5, 0], [0, -0.5], [0, 0]])


def test_reductions_that_are_no_number_are_refused():
    with pytest.raises(ValueError, match=r"NLLLoss: expected reduction 'mean' or 'sum', got 'none'; .*output\[n : n"):
        minicnn.NLLLoss(reduction="none")
    with pytest.raises(ValueError, match="CrossEntropyLoss: expected reduction 'mean' or 'sum', got None"):
        minicnn.CrossEntropyLoss(reduction=None)
    with pytest.raises(TypeError, match="CrossEntropyLoss: ignore_index: expected an integer"):
        minicnn.CrossEntropyLoss(ignore_index=1.0)
    with pytest.raises(ValueError, match="expected labels from 0 to 1, got -1 at position 2"):
        minicnn.NLLLoss(ignore_index=5).forward(np.zeros((3, 2)), [0, 5, -1])


def test_copies_between_forward_and_backward():
    loss = minicnn.CrossEntropyLoss(ignore_index=1, reduction="sum")
    loss.forward(HALVES, [0, 1])
    others = copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))
    expected = loss.backward()
    for other in others:
        assert (other.ignore_index, other.reduction) == (1, "sum")
        np.testing.assert_array_equal(other.backward(), expected)
    assert loss.to("reference").ops is get_backend("reference")
