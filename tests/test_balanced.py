"""BalancedLoss: by its definition and by PyTorch, and that a rare class is recognised with it."""

import json

import numpy as np
import pytest

import minicnn
from minicnn.classify.balanced import BalancedLoss
from minicnn.data import Batches, load_digits
from tests import checks

pytestmark = pytest.mark.quick

LABELS = np.repeat([0, 1, 2], [60, 30, 10])
SHARE = np.array([0.6, 0.3, 0.1])


def problem(dtype=np.float64):
    rng = np.random.default_rng(0)
    return rng.standard_normal((7, 3)).astype(dtype), rng.integers(0, 3, 7)


@pytest.mark.parametrize("backend", checks.BACKENDS)
@pytest.mark.parametrize("dtype", checks.DTYPES)
def test_it_is_the_cross_entropy_of_outputs_with_the_log_shares_added(backend, dtype):
    output, labels = problem(dtype)
    loss = BalancedLoss(LABELS, 3).to(backend)
    weighted = np.exp(output.astype(np.float64)) * SHARE
    expected = -np.log((weighted / weighted.sum(axis=1, keepdims=True))[np.arange(7), labels]).mean()
    assert loss.forward(output, labels) == pytest.approx(expected, rel=1e-5)
    gradient = loss.ops.to_numpy(loss.backward())
    assert gradient.dtype == dtype
    expected = (weighted / weighted.sum(axis=1, keepdims=True) - np.eye(3)[labels]) / 7
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.torch
def test_pytorch():
    torch = pytest.importorskip("torch")
    output, labels = problem()
    tensor = torch.tensor(output, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(tensor + torch.log(torch.tensor(SHARE)), torch.tensor(labels))
    expected.backward()
    loss = BalancedLoss(LABELS, 3)
    assert loss.forward(output, labels) == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(loss.backward(), tensor.grad.numpy(), rtol=1e-10)


def test_equal_shares_change_nothing():
    output, labels = problem()
    assert BalancedLoss(np.arange(3), 3).forward(output, labels) == pytest.approx(
        minicnn.CrossEntropyLoss().forward(output, labels), rel=1e-12
    )


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"expected images of each of 4 classes, got \[60 30 10  0\]"):
        BalancedLoss(LABELS, 4)
    with pytest.raises(ValueError, match="expected images of each of 2 classes"):
        BalancedLoss(LABELS, 2)
    output, labels = problem()
    with pytest.raises(ValueError, match="expected outputs of 3 classes, got 2"):
        BalancedLoss(LABELS, 3).forward(output[:, :2], labels % 2)
    with pytest.raises(TypeError, match="expected dtype float32 or float64, got int64"):
        BalancedLoss(LABELS, 3).forward(output.astype(int), labels)


def test_rare_digits_are_recognised():
    """Of two digits a twentieth is left to learn from. Mean recall of all classes, plain and balanced."""
    digits = load_digits()
    rng = np.random.default_rng(0)
    kept = np.concatenate(
        [
            rng.permutation(np.flatnonzero(digits.train.labels == digit))[: 7 if digit in (3, 8) else None]
            for digit in range(10)
        ]
    )
    x, y = digits.train.images[kept], digits.train.labels[kept]
    found = []
    for loss in (minicnn.CrossEntropyLoss(), BalancedLoss(y, 10)):
        network = minicnn.SimpleNet(10, 1, rng=0)
        optimizer = minicnn.Adam(network, lr=0.004)
        schedule = minicnn.CosineAnnealingLR(optimizer, T_max=8)
        trainer = minicnn.Trainer(network, loss, optimizer, schedule=schedule, quiet=True)
        trainer.fit(Batches(x, y, 64, shuffle=True, rng=0), epochs=8)
        right = network.predict(digits.test.images).argmax(axis=1) == digits.test.labels
        found.append(np.mean([right[digits.test.labels == digit].mean() for digit in range(10)]))
    assert found[1] > found[0] + 0.05, json.dumps(found)
