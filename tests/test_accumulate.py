"""Gradient accumulation: parts of a batch are learnt from like the whole."""

import copy
import json

import numpy as np
import pytest

import minicnn
from minicnn.data import Batches
from tests.runs import bits, small_network, small_problem, small_run, without_times

pytestmark = pytest.mark.quick

OPTIMIZERS = {
    "SGD": lambda network: minicnn.SGD(network, lr=0.1, momentum=0.9, weight_decay=0.01),
    "Adam": lambda network: minicnn.Adam(network, lr=0.02),
    "AdamW": lambda network: minicnn.AdamW(network, lr=0.02, weight_decay=0.1, decay_vectors=False),
}


def plain_network():
    """Without batchnorm, for which a part of a batch is another batch."""
    layers = dict(small_network().children)
    del layers["bn"]
    return minicnn.Sequential(**layers)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parts_are_like_the_whole(name):
    x, y = small_problem()
    networks = []
    for parts in (1, 4):
        network = plain_network()
        optimizer = minicnn.Accumulate(OPTIMIZERS[name](network), every=parts)
        trainer = minicnn.Trainer(network, minicnn.NLLLoss(), optimizer, quiet=True)
        for _ in range(6):
            for part_x, part_y in zip(np.split(x, parts), np.split(y, parts), strict=True):
                trainer.step(part_x, part_y)
        assert optimizer.inner.steps == 6
        networks.append(network)
    direct = plain_network()
    trainer = minicnn.Trainer(direct, minicnn.NLLLoss(), OPTIMIZERS[name](direct), quiet=True)
    for _ in range(6):
        trainer.step(x, y)
    assert bits(networks[0]) == bits(direct)
    for one, other in zip(networks[0].state_dict().values(), networks[1].state_dict().values(), strict=True):
        np.testing.assert_allclose(other, one, rtol=2e-3, atol=2e-4)


def test_nothing_changes_until_enough_is_added_up():
    network = plain_network()
    trainer = minicnn.Trainer(network, minicnn.NLLLoss(), minicnn.Accumulate(minicnn.SGD(network, 0.1), 3), quiet=True)
    before = bits(network)
    x, y = small_problem()
    for _ in range(2):
        trainer.step(x, y)
        assert bits(network) == before
    trainer.step(x, y)
    assert bits(network) != before
    assert not any(total.any() for total in trainer.optimizer.state["total"].values())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_resumes_to_the_same_bits_in_the_middle_of_adding_up(tmp_path, name):
    def run(seed=1):
        network = small_network()
        optimizer = minicnn.Accumulate(OPTIMIZERS[name](network), 3)
        schedule = minicnn.StepLR(optimizer, 1, gamma=0.5)
        trainer = minicnn.Trainer(network, minicnn.NLLLoss(), optimizer, schedule=schedule, quiet=True)
        return trainer, Batches(*small_problem(), 5, shuffle=True, rng=seed)

    whole, train = run()
    whole.fit(train, epochs=3)
    first, train = run()
    first.fit(train, epochs=1)  # five batches: two are added up
    first.save(tmp_path / "run", train)
    second, train = run(seed=9)
    second.load(tmp_path / "run", train)
    second.fit(train, epochs=2)
    assert bits(second.network) == bits(whole.network)
    assert without_times(second.history) == without_times(whole.history)


def test_settings_are_the_optimisers():
    adam = minicnn.Adam(small_network(), lr=0.1)
    optimizer = minicnn.Accumulate(adam, 2)
    optimizer.lr, optimizer.betas = 0.5, (0.8, 0.9)
    assert (adam.lr, adam.betas, optimizer.lr, optimizer.betas) == (0.5, (0.8, 0.9), 0.5, (0.8, 0.9))
    with pytest.raises(ValueError, match="Adam: lr"):
        optimizer.lr = -1
    minicnn.OneCycleLR(optimizer, 1.0, 10)
    assert adam.lr == pytest.approx(1 / 25)
    assert not hasattr(optimizer, "momentum")
    other = copy.deepcopy(optimizer)
    other.lr = 0.25
    assert optimizer.lr == adam.lr == pytest.approx(1 / 25)


def test_a_step_that_would_overflow_changes_nothing():
    network = plain_network()
    optimizer = minicnn.Accumulate(minicnn.SGD(network, 1e3), 2)
    trainer = minicnn.Trainer(network, minicnn.NLLLoss(), optimizer, quiet=True)
    x, y = small_problem()
    trainer.step(x, y)
    before, totals = bits(network), {name: total.copy() for name, total in optimizer.state["total"].items()}
    trainer.loss.backward = lambda: np.full((len(y), 3), 3e38, np.float32)
    with np.errstate(all="ignore"), pytest.raises(RuntimeError, match="expected finite numbers"):
        trainer.step(x, y)
    assert bits(network) == before
    assert optimizer.steps == 1
    for name, total in optimizer.state["total"].items():
        np.testing.assert_array_equal(total, totals[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inner": "SGD"}, "expected the state of Adam, got that of SGD"),
        ({"every": 0}, "every: expected at least 1"),
        ({"lr": -1}, "Adam: lr"),
        ({"class": "Adam"}, "expected the state of Accumulate, got that of Adam"),
    ],
)
def test_a_damaged_state_changes_nothing(change, message):
    optimizer = minicnn.Accumulate(minicnn.Adam(small_network(), lr=0.1), 3)
    arrays, settings = optimizer.state_dict()
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(arrays, json.loads(json.dumps(settings | change)))
    assert (optimizer.lr, optimizer.every) == (0.1, 3)


def test_what_is_no_optimiser_or_no_number():
    with pytest.raises(TypeError, match="expected an optimiser, got Sequential"):
        minicnn.Accumulate(small_network(), 2)
    with pytest.raises(ValueError, match="Accumulate: every: expected at least 1, got 0"):
        minicnn.Accumulate(minicnn.Adam(small_network()), 0)


def test_it_is_one_of_the_run(tmp_path):
    trainer, train, validation = small_run(
        optimizer=lambda network, lr: minicnn.Accumulate(minicnn.Adam(network, lr), 2)
    )
    history = trainer.fit(train, validation, epochs=8)
    assert history[-1]["loss"] < history[0]["loss"] / 2
