"""Learning-rate schedules: values known by hand, then 100 steps against PyTorch."""

import pytest

import minicnn
from tests import cases, checks

OPTIMIZERS = [("SGD", {"lr": 0.1, "momentum": 0.9}), ("Adam", {"lr": 0.1})]


def optimizer(lr):
    return minicnn.SGD(minicnn.Sequential(fc=minicnn.Linear(1, 1)), lr=lr, momentum=0.9)


def rates(schedule, steps):
    """The learning rate at the start and after each of `steps` steps."""
    found = [schedule.optimizer.lr]
    for _ in range(steps):
        schedule.step()
        found.append(schedule.optimizer.lr)
    return found


def test_by_hand():
    assert rates(minicnn.StepLR(optimizer(8.0), step_size=2, gamma=0.5), 5) == pytest.approx([8, 8, 4, 4, 2, 2])
    assert rates(minicnn.CosineAnnealingLR(optimizer(8.0), T_max=2), 4) == pytest.approx([8, 4, 0, 4, 8])
    assert rates(minicnn.CosineAnnealingLR(optimizer(8.0), T_max=3, eta_min=2), 3) == pytest.approx([8, 6.5, 3.5, 2])
    linear = minicnn.LinearLR(optimizer(8.0), start_factor=0.25, total_iters=3)
    assert rates(linear, 4) == pytest.approx([2, 4, 6, 8, 8])


def test_one_cycle_by_hand():
    """Nine steps, the third of which is the peak: up in two, down in six."""
    sgd = optimizer(1.0)
    schedule = minicnn.OneCycleLR(sgd, max_lr=10, total_steps=9, pct_start=1 / 3, div_factor=5, final_div_factor=2)
    found, momenta = [], []
    for step in range(9):
        found.append(sgd.lr)
        momenta.append(sgd.momentum)
        if step < 8:
            schedule.step()
    assert found[:3] == pytest.approx([2, 6, 10])
    assert found[5] == pytest.approx(5.5)
    assert found[8] == pytest.approx(1)
    assert momenta[:3] == pytest.approx([0.95, 0.9, 0.85])
    assert momenta[8] == pytest.approx(0.95)
    schedule.step()  # PyTorch allows one call of `step` for each step that was made
    with pytest.raises(ValueError, match="at most 9 steps, got one more"):
        schedule.step()


@pytest.mark.torch
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=cases.name_of)
@pytest.mark.parametrize("schedule", cases.SCHEDULES, ids=cases.name_of)
def test_pytorch(optimizer, schedule):
    """Rates, momenta and the parameters that come out, over 100 steps."""
    checks.check_optimizer_against_torch(*optimizer, schedule)
