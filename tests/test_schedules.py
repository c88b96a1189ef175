"""Learning-rate schedules: values known by hand, then 100 steps against PyTorch."""

import json

import numpy as np
import pytest

import minicnn
from tests import cases, checks

pytestmark = pytest.mark.quick

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


MAKERS = [
    lambda optimizer, number, count: minicnn.StepLR(optimizer, count(2), gamma=number(0.5)),
    lambda optimizer, number, count: minicnn.CosineAnnealingLR(optimizer, count(9), eta_min=number(0.25)),
    lambda optimizer, number, count: minicnn.LinearLR(optimizer, number(0.25), number(0.5), count(3)),
    lambda optimizer, number, count: minicnn.OneCycleLR(
        optimizer, number(0.5), count(9), number(0.25), True, number(0.5), number(0.75), number(8), number(16)
    ),
]
NUMPY = [(np.float32, np.int64), (np.float64, np.uint8), (np.array, np.array), (lambda n: np.array(n, "f4"), np.int32)]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("number", "count"), NUMPY)
def test_numpy_numbers_are_settings_like_any_other(make, number, count):
    """They are saved, and a run made with Python's numbers goes on with them."""
    begun, resumed = make(optimizer(number(1.0)), number, count), make(optimizer(1.0), float, int)
    begun.step()
    state = json.loads(json.dumps(begun.state_dict()))
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert rates(resumed, 3) == rates(begun, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda sgd: minicnn.StepLR(sgd, 2, gamma=np.nan), "StepLR: gamma: expected a finite number of at least 0"),
        (lambda sgd: minicnn.StepLR(sgd, 2, gamma=-1), "StepLR: gamma"),
        (lambda sgd: minicnn.StepLR(sgd, np.inf), "StepLR: step_size"),
        (lambda sgd: minicnn.StepLR(sgd, 1.5), "StepLR: step_size"),
        (lambda sgd: minicnn.CosineAnnealingLR(sgd, 2, eta_min=np.nan), "CosineAnnealingLR: eta_min"),
        (lambda sgd: minicnn.CosineAnnealingLR(sgd, 2, eta_min=-1), "CosineAnnealingLR: eta_min"),
        (lambda sgd: minicnn.LinearLR(sgd, np.nan), "LinearLR: start_factor"),
        (lambda sgd: minicnn.OneCycleLR(sgd, np.nan, 9), "OneCycleLR: max_lr"),
        (lambda sgd: minicnn.OneCycleLR(sgd, 1, 9, div_factor=0), "OneCycleLR: div_factor"),
        (lambda sgd: minicnn.OneCycleLR(sgd, 1, 9, final_div_factor=-1), "OneCycleLR: final_div_factor"),
        (lambda sgd: minicnn.OneCycleLR(sgd, 1, 9, base_momentum=np.nan), "OneCycleLR: base_momentum"),
    ],
)
def test_bad_settings_are_refused_and_leave_the_optimiser(make, message):
    sgd = optimizer(1.0)
    with pytest.raises(ValueError, match=message):
        make(sgd)
    assert (sgd.lr, sgd.momentum) == (1.0, 0.9)


def test_a_momentum_that_adam_could_not_take_is_refused_at_once():
    adam = minicnn.Adam(minicnn.Sequential(fc=minicnn.Linear(1, 1)))
    with pytest.raises(ValueError, match="OneCycleLR: max_momentum"):
        minicnn.OneCycleLR(adam, 0.1, 9, max_momentum=1.0)
    assert (adam.lr, adam.betas) == (1e-3, (0.9, 0.999))


def test_a_step_to_a_learning_rate_that_is_none_is_not_made():
    schedule = minicnn.StepLR(optimizer(1e10), 1, gamma=1e200)
    schedule.step()
    for _ in range(2):
        with pytest.raises(ValueError, match="SGD: lr: expected a finite number of at least 0, got inf"):
            schedule.step()
        assert (schedule.t, schedule.optimizer.lr) == (1, 1e210)


@pytest.mark.parametrize("pct_start", [0, 0.1, 0.5, 1])
@pytest.mark.parametrize("total_steps", [1, 2, 9])
def test_one_cycle_ends_at_its_last_rate(pct_start, total_steps):
    """Also after the last step, which PyTorch lets `step` follow once more: there a peak at the end is 0 / 0."""
    sgd = optimizer(1.0)
    found = rates(minicnn.OneCycleLR(sgd, 10, total_steps, pct_start), total_steps)
    assert found[-1] == found[-2]
    if pct_start < 1 and total_steps > 1:
        assert found[-1] == pytest.approx(10 / 25 / 1e4)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    "wrong",
    [{"t": t} for t in (-1, 1.5, "1", None, 10**400)]
    + [{"base_lr": lr} for lr in (np.nan, -1, "a", None)]
    + [{"class": "StepLR2"}],
)
def test_a_damaged_state_changes_nothing(make, wrong):
    schedule = make(optimizer(1.0), float, int)
    schedule.step()
    before = schedule.state_dict(), schedule.optimizer.lr, schedule.optimizer.momentum
    with pytest.raises(ValueError, match=r"load_state_dict: .*expected"):
        schedule.load_state_dict(before[0] | wrong)
    for state in ({key: value for key, value in before[0].items() if key not in wrong}, None, [1]):
        with pytest.raises(ValueError, match=r"load_state_dict: expected"):
            schedule.load_state_dict(state)
    assert (schedule.state_dict(), schedule.optimizer.lr, schedule.optimizer.momentum) == before
