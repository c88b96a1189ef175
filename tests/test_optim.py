"""Optimisers: first steps known by hand, then 100 steps against the loops and PyTorch."""

import numpy as np
import pytest

import minicnn
from tests import cases, checks


def one_number(optimizer, backend, **kwargs):
    """The positions of a parameter that starts at 1 and has the gradient 0.5 three times."""
    network = minicnn.Sequential(fc=minicnn.Linear(1, 1, bias=False)).to(backend, np.float64)
    network["fc"].params["weight"][:] = 1
    optimizer = optimizer(network, **kwargs)
    positions = []
    for _ in range(3):
        network["fc"].grads["weight"] = np.float64([[0.5]])
        optimizer.step()
        positions.append(network["fc"].params["weight"].item())
    assert optimizer.steps == 3
    return positions


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_sgd_by_hand(backend):
    sgd = minicnn.SGD
    assert one_number(sgd, backend, lr=0.2) == pytest.approx([0.9, 0.8, 0.7])
    # Velocities 0.5, 0.75, 0.875; Nesterov looks one more step ahead: 0.75, 0.875, 0.9375.
    assert one_number(sgd, backend, lr=0.2, momentum=0.5) == pytest.approx([0.9, 0.75, 0.575])
    assert one_number(sgd, backend, lr=0.2, momentum=0.5, nesterov=True) == pytest.approx([0.85, 0.675, 0.4875])
    assert one_number(sgd, backend, lr=0.2, weight_decay=0.5)[:2] == pytest.approx([0.8, 0.62])


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_adam_by_hand(backend):
    """With one and the same gradient m_hat / sqrt(v_hat) is 1 at every step: that is what the bias correction does."""
    assert one_number(minicnn.Adam, backend, lr=0.1, eps=0) == pytest.approx([0.9, 0.8, 0.7])
    # The decay of AdamW is not divided by the root: 1 * 0.95 - 0.1, 0.85 * 0.95 - 0.1, ...
    decayed = one_number(minicnn.AdamW, backend, lr=0.1, eps=0, weight_decay=0.5)
    assert decayed == pytest.approx([0.85, 0.7075, 0.572125])


@pytest.mark.parametrize("case", cases.OPTIMIZERS, ids=cases.name_of)
def test_loops(case):
    checks.check_optimizer_against_naive(*case)


@pytest.mark.torch
@pytest.mark.parametrize("case", cases.OPTIMIZERS, ids=cases.name_of)
def test_pytorch(case):
    checks.check_optimizer_against_torch(*case)


@pytest.mark.parametrize("backend", checks.BACKENDS)
@pytest.mark.parametrize("case", cases.OPTIMIZERS[3::4], ids=cases.name_of)
def test_large_parameters_are_changed_everywhere(backend, case):
    """Larger than one chunk of work, and not a multiple of it: every number moves as a single one would."""
    name, kwargs = case
    moved = []
    for n_features in (1, 40_001):
        network = minicnn.Sequential(fc=minicnn.Linear(n_features, 1, bias=False)).to(backend)
        network["fc"].params["weight"][:] = 1
        optimizer = getattr(minicnn, name)(network, **kwargs)
        for _ in range(2):
            network["fc"].grads["weight"] = np.full((1, n_features), 0.5, np.float32)
            optimizer.step()
        moved.append(network["fc"].params["weight"])
    np.testing.assert_allclose(moved[1], np.full((1, 40_001), moved[0].item()), rtol=1e-6)


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_the_gradients_stay_as_backward_left_them(backend):
    network = minicnn.Sequential(fc=minicnn.Linear(3, 2, rng=0)).to(backend)
    for optimizer in (
        minicnn.SGD(network, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        minicnn.Adam(network, weight_decay=0.1),
        minicnn.AdamW(network),
    ):
        network["fc"].grads = {"weight": np.ones((2, 3), np.float32), "bias": np.ones(2, np.float32)}
        optimizer.step()
        assert all((grad == 1).all() for grad in network["fc"].grads.values())
