"""Learning-rate schedules: values known by hand, then 100 steps against PyTorch."""

import json

import numpy as np
import pytest

import minicnn
from tests import cases, checks
from tests.runs import small_run

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


def test_warm_restarts_by_hand():
    schedule = minicnn.CosineAnnealingWarmRestarts(optimizer(8.0), T_0=2, T_mult=2, eta_min=2)
    assert rates(schedule, 7) == pytest.approx(
        [8, 5, 8, 8 - 6 * (1 - np.cos(np.pi / 4)) / 2, 5, 2.8786796, 8, 7.7716386]
    )


def warm_up_and_cosine(sgd, module=minicnn):
    warm_up = module.LinearLR(sgd, start_factor=0.25, total_iters=3)
    return module.SequentialLR(sgd, [warm_up, module.CosineAnnealingLR(sgd, 4)], [3])


def test_one_after_another_by_hand():
    found = rates(warm_up_and_cosine(optimizer(8.0)), 8)
    assert found == pytest.approx([2, 4, 6, 8, 4 + 4 * 0.5**0.5, 4, 4 - 4 * 0.5**0.5, 0, 4 - 4 * 0.5**0.5])


def test_a_cycle_after_something_else_moves_the_momentum():
    sgd = optimizer(1.0)
    step = minicnn.StepLR(sgd, 100)
    schedule = minicnn.SequentialLR(sgd, [step, minicnn.OneCycleLR(sgd, max_lr=10, total_steps=9)], [2])
    schedule.step()
    schedule.step()
    assert sgd.lr == pytest.approx(10 / 25)
    schedule.step()
    assert sgd.lr > 10 / 25
    assert sgd.momentum < 0.95


def test_plateau_by_hand():
    sgd = optimizer(8.0)
    schedule = minicnn.ReduceLROnPlateau(sgd, factor=0.5, patience=1, cooldown=1, min_lr=1.5)
    found = []
    for value in [1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 0.5, np.nan, 0.5, 0.5]:
        schedule.step(value)
        found.append(sgd.lr)
    #             best  bad  cut  cool bad  cut  cool bad cut (at least 1.5)
    assert found == [8, 8, 4, 4, 4, 2, 2, 2, 1.5, 1.5]


PLATEAU = [
    {"patience": 2},
    {"patience": 0, "factor": 0.5, "cooldown": 2, "min_lr": 0.01},
    {"mode": "max", "patience": 1, "threshold": 0.1},
]


@pytest.mark.torch
@pytest.mark.parametrize("settings", PLATEAU)
def test_plateau_is_pytorchs(settings):
    torch = pytest.importorskip("torch")
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.8)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **settings)
    sgd = optimizer(0.8)
    schedule = minicnn.ReduceLROnPlateau(sgd, **settings)
    rng = np.random.default_rng(0)
    for t in range(60):
        value = float(rng.uniform(0.5, 1) + 1 / (1 + t))
        plateau.step(value)
        schedule.step(value)
        assert sgd.lr == pytest.approx(theirs.param_groups[0]["lr"])
    assert sgd.lr < 0.8


@pytest.mark.torch
def test_sequential_and_restarts_are_pytorchs():
    torch = pytest.importorskip("torch")
    lr_scheduler = torch.optim.lr_scheduler
    for make in (
        warm_up_and_cosine,
        lambda sgd, module=minicnn: module.CosineAnnealingWarmRestarts(sgd, 5, 2, 0.01),
        lambda sgd, module=minicnn: module.CosineAnnealingWarmRestarts(sgd, 7),
    ):
        theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.8)
        scheduler, schedule = make(theirs, lr_scheduler), make(optimizer(0.8))
        for _ in range(40):
            assert schedule.optimizer.lr == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-9, abs=1e-12)
            theirs.step()
            scheduler.step()
            schedule.step()


@pytest.mark.parametrize("steps", [2, 5])
def test_the_new_ones_go_on_where_they_were_saved(steps):
    def restarts(sgd):
        return minicnn.CosineAnnealingWarmRestarts(sgd, 3)

    for make in (warm_up_and_cosine, restarts):
        whole = rates(make(optimizer(8.0)), 12)
        first = make(optimizer(8.0))
        rates(first, steps)
        second = make(optimizer(5.0))
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        assert rates(second, 12 - steps) == whole[steps:]


def test_plateau_goes_on_where_it_was_saved():
    values = [1, 2, 2, 2, 0.5, 0.6, 0.7, 0.8, 0.9]

    def after(schedule, values):
        for value in values:
            schedule.step(value)
        return schedule.optimizer.lr

    first = minicnn.ReduceLROnPlateau(optimizer(8.0), patience=1, cooldown=1)
    whole = after(first, values)
    half = minicnn.ReduceLROnPlateau(optimizer(8.0), patience=1, cooldown=1)
    after(half, values[:4])
    resumed = minicnn.ReduceLROnPlateau(optimizer(3.0), patience=1, cooldown=1)
    resumed.load_state_dict(json.loads(json.dumps(half.state_dict())))
    assert after(resumed, values[4:]) == whole


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda sgd: minicnn.SequentialLR(sgd, [], []), "one milestone fewer than schedules, got 0 for 0"),
        (lambda sgd: minicnn.SequentialLR(sgd, [minicnn.StepLR(sgd, 1)], [3]), "got 1 for 1"),
        (lambda sgd: minicnn.SequentialLR(sgd, [minicnn.StepLR(sgd, 1)] * 3, [3, 3]), "milestones that grow"),
        (lambda sgd: minicnn.SequentialLR(sgd, [minicnn.StepLR(optimizer(1.0), 1)], []), "schedules of this optimiser"),
        (lambda sgd: minicnn.ReduceLROnPlateau(sgd, mode="best"), 'mode "min" or "max", got \'best\''),
        (lambda sgd: minicnn.ReduceLROnPlateau(sgd, factor=1.0), "factor: expected a finite number"),
        (lambda sgd: minicnn.ReduceLROnPlateau(sgd, patience=-1), "patience: expected a whole number"),
        (lambda sgd: minicnn.CosineAnnealingWarmRestarts(sgd, 0), "T_0: expected"),
    ],
)
def test_settings_of_the_new_ones(make, message):
    with pytest.raises(ValueError, match=message):
        make(optimizer(1.0))


def test_a_plateau_in_a_sequence_is_refused():
    sgd = optimizer(1.0)
    with pytest.raises(TypeError, match="expected schedules of t alone, got ReduceLROnPlateau"):
        minicnn.SequentialLR(sgd, [minicnn.ReduceLROnPlateau(sgd)], [])


@pytest.mark.parametrize("damage", [{"best": "x"}, {"bad_epochs": -1}, {"cooldown_left": 1.5}, {"mode": "max"}])
def test_a_damaged_plateau_changes_nothing(damage):
    schedule = minicnn.ReduceLROnPlateau(optimizer(1.0))
    before = schedule.state_dict()
    with pytest.raises(ValueError, match=r"ReduceLROnPlateau.load_state_dict"):
        schedule.load_state_dict(before | damage)
    assert schedule.state_dict() == before


@pytest.mark.parametrize("damage", [{"schedules": []}, {"schedules": [3, 4]}, {"base_lr": "x"}, {"milestones": [4]}])
def test_a_damaged_sequence_changes_nothing(damage):
    schedule = warm_up_and_cosine(optimizer(1.0))
    before = schedule.state_dict()
    with pytest.raises(ValueError, match=r"SequentialLR.load_state_dict|base_lr"):
        schedule.load_state_dict(before | damage)
    assert schedule.state_dict() == before


def test_a_trainer_gives_the_plateau_what_it_monitors():
    def plateau(adam):
        return minicnn.ReduceLROnPlateau(adam, factor=0.5, patience=0)

    trainer, train, validation = small_run(schedule=plateau, lr=0.5)
    history = trainer.fit(train, validation, epochs=12)
    best = np.minimum.accumulate([row["val_loss"] for row in history])
    worse = [row["val_loss"] > 0.9999 * least for row, least in zip(history[1:-1], best, strict=False)]
    assert [row["lr"] for row in history] == [0.5 * 0.5**n for n in np.cumsum([False, False, *worse])]
    assert any(worse)


def test_a_plateau_that_cannot_be_given_its_values_is_refused():
    with pytest.raises(ValueError, match="whose values come after epochs"):
        small_run(schedule=minicnn.ReduceLROnPlateau, schedule_every="batch")
    trainer, train, _ = small_run(schedule=lambda adam: minicnn.ReduceLROnPlateau(adam, mode="max"))
    with pytest.raises(ValueError, match="mode 'min' for the column loss, got 'max'"):
        trainer.fit(train)
