"""`lr_find`: what the trial does, what it suggests, and that nothing else changes."""

import numpy as np
import pytest

import minicnn
from minicnn.data import Batches
from tests.runs import bits, small_network, small_problem, small_run


@pytest.mark.quick
def test_it_finds_a_learning_rate_that_learns_and_changes_nothing():
    trainer, train, _ = small_run()
    before, order, lr = bits(trainer.network), train.state_dict(), trainer.optimizer.lr
    found = minicnn.lr_find(trainer, train)
    assert bits(trainer.network) == before
    assert (train.state_dict(), trainer.optimizer.lr, trainer.optimizer.steps) == (order, lr, 0)
    assert found.lrs[0] == 1e-6
    assert len(found.lrs) == len(found.losses) == len(found.smoothed) <= 100
    assert found.lrs[1:] / found.lrs[:-1] == pytest.approx(1e7 ** (1 / 99))
    trainer.optimizer.lr = found.suggestion
    history = trainer.fit(train, epochs=8)
    assert history[-1]["loss"] < history[0]["loss"] / 2


def test_the_same_seed_finds_the_same_on_arrays():
    trainer, _, _ = small_run()
    x, y = small_problem()
    first, second = (minicnn.lr_find(trainer, x, y, batch_size=5, rng=0) for _ in range(2))
    np.testing.assert_array_equal(first.losses, second.losses)
    assert first.suggestion == second.suggestion


def test_the_steps_are_those_of_the_optimiser():
    trainer, _, _ = small_run(optimizer=minicnn.SGD)
    x, y = small_problem()
    found = minicnn.lr_find(trainer, Batches(x, y, 24), first=0.01, last=0.1, steps=10)
    network = small_network()
    optimizer = minicnn.SGD(network, 0.01)
    twin = minicnn.Trainer(network, minicnn.NLLLoss(), optimizer, quiet=True)
    for lr, loss in zip(found.lrs.tolist(), found.losses.tolist(), strict=True):
        optimizer.lr = lr
        assert twin.step(x, y) == loss
    assert found.smoothed[0] == pytest.approx(found.losses[0])


def test_the_trial_ends_where_it_diverges():
    rng = np.random.default_rng(0)
    network = minicnn.Sequential(minicnn.Flatten(), minicnn.Linear(36, 3, rng=0))
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.SGD(network, 0.1), quiet=True)
    x, y = small_problem()
    found = minicnn.lr_find(trainer, x, rng.permutation(y), last=1e6, batch_size=6, rng=0)
    assert len(found.lrs) < 100
    assert found.smoothed[-1] > 4 * found.smoothed.min()
    assert found.suggestion == found.lrs[found.smoothed.argmin()] / 10 < 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"first": 0}, "expected first above 0 and below last, got 0.0 and 10.0"),
        ({"first": 1, "last": 0.1}, "first above 0 and below last"),
        ({"steps": 9}, "steps: expected at least 10, got 9"),
    ],
)
def test_bad_settings(settings, message):
    trainer, train, _ = small_run()
    with pytest.raises(ValueError, match=message):
        minicnn.lr_find(trainer, train, **settings)


def test_images_that_are_not_finite_are_said():
    trainer, _, _ = small_run()
    x, y = small_problem()
    with pytest.raises(RuntimeError, match="loss is nan at step 1"):
        minicnn.lr_find(trainer, x * np.float32(np.nan), y)
