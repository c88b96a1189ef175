"""A run that is saved, or stopped by Ctrl-C or killed, goes on to the same bits."""

import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import minicnn
from minicnn.data import Batches, ByPixels, Loader
from tests.runs import (
    bits,
    images_of_many_sizes,
    interrupt_after,
    small_network,
    small_problem,
    small_run,
    without_times,
)

SCHEDULES = {
    "no schedule": {},
    "each epoch": {"schedule": lambda optimizer: minicnn.StepLR(optimizer, 2)},
    "each batch": {"schedule": lambda optimizer: minicnn.OneCycleLR(optimizer, 0.05, 30), "schedule_every": "batch"},
}


@pytest.mark.quick
@pytest.mark.parametrize("optimizer", [minicnn.SGD, minicnn.Adam, minicnn.AdamW])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_resumed_run_goes_on_to_the_same_bits(tmp_path, optimizer, schedule):
    settings = {"optimizer": optimizer, "keep_best": True, **SCHEDULES[schedule]}
    whole, train, validation = small_run(**settings)
    whole.fit(train, validation, epochs=5)

    first, train, validation = small_run(checkpoint=tmp_path / "run", **settings)
    first.fit(train, validation, epochs=2)
    # A run made with other seeds, so that all that agrees in the end came from the file.
    second, train, validation = small_run(batches_seed=99, **settings)
    second.network.load_state_dict(small_network(seed=5).state_dict())
    second.load(tmp_path / "run", train)
    second.fit(train, validation, epochs=3)

    assert bits(second.network) == bits(whole.network)
    assert without_times(second.history) == without_times(whole.history)


def test_a_run_stopped_within_an_epoch_goes_on_to_the_same_bits(tmp_path):
    whole, train, validation = small_run()
    whole.fit(train, validation, epochs=3)

    first, train, validation = small_run(checkpoint=tmp_path / "run")
    interrupt_after(first, n_steps=7)  # in the second epoch, which has five batches
    first.fit(train, validation, epochs=3)
    assert first.interrupted
    assert (first.epoch, first.optimizer.steps) == (1, 7)

    second, train, validation = small_run(batches_seed=99)
    second.load(tmp_path / "run", train)
    second.fit(train, validation, epochs=2)
    assert bits(second.network) == bits(whole.network)
    assert without_times(second.history) == without_times(whole.history)


@pytest.mark.parametrize("n_steps", [4, 5, 6])
def test_ctrl_c_at_the_seam_of_two_epochs_loses_nothing(tmp_path, n_steps):
    whole, train, _ = small_run()
    whole.fit(train, epochs=2)

    first, train, _ = small_run(checkpoint=tmp_path / "run")
    interrupt_after(first, n_steps)
    first.fit(train, epochs=2)
    second, train, _ = small_run(batches_seed=99)
    second.load(tmp_path / "run", train)
    second.fit(train, epochs=2 - second.epoch)
    assert bits(second.network) == bits(whole.network)
    assert without_times(second.history) == without_times(whole.history)


def test_fit_goes_on_with_the_epoch_that_ctrl_c_broke_off():
    whole, train, validation = small_run()
    whole.fit(train, validation, epochs=2)
    broken, train, validation = small_run()
    interrupt_after(broken, n_steps=3)
    broken.fit(train, validation, epochs=2)
    assert broken.interrupted
    broken.fit(train, validation, epochs=2)
    assert bits(broken.network) == bits(whole.network)
    assert without_times(broken.history) == without_times(whole.history)


def test_a_learning_rate_set_by_hand_is_that_of_the_run_taken_up(tmp_path):
    """The schedule's own value must not overwrite it: the run that was saved had gone on with this."""
    schedule = {"schedule": lambda optimizer: minicnn.StepLR(optimizer, 5)}
    trainer, train, _ = small_run(**schedule)
    trainer.fit(train, epochs=1)
    trainer.optimizer.lr = 0.5
    trainer.save(tmp_path / "run", train)
    resumed, train, _ = small_run(**schedule)
    resumed.load(tmp_path / "run", train)
    assert resumed.optimizer.lr == 0.5


def test_a_run_with_numpy_numbers_is_saved_and_taken_up(tmp_path):
    def start(number, count):
        network = small_network()
        optimizer = minicnn.Adam(network, lr=number(0.25), betas=(number(0.5), number(0.75)), eps=number(2**-20))
        schedule = minicnn.StepLR(optimizer, count(1), number(0.5))
        settings = {"patience": count(9), "max_grad_norm": number(2)}
        train = Loader(images_of_many_sizes(), ByPixels(count(600), shuffle=True), rng=0)
        return minicnn.Trainer(network, minicnn.NLLLoss(), optimizer, schedule=schedule, quiet=True, **settings), train

    begun, train = start(np.float32, np.int64)
    begun.fit(train, epochs=np.int64(2))
    begun.save(tmp_path / "run", train)
    whole, train = start(float, int)
    whole.fit(train, epochs=3)
    resumed, train = start(float, int)
    resumed.load(tmp_path / "run", train)
    resumed.fit(train, epochs=1)
    assert bits(resumed.network) == bits(whole.network)


def test_the_handler_of_ctrl_c_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    trainer, train, _ = small_run()
    interrupt_after(trainer, 2)
    trainer.fit(train, epochs=1)
    assert signal.getsignal(signal.SIGINT) is before


LONG_RUN = """
    import numpy as np, minicnn, sys
    from minicnn.data import Batches
    rng = np.random.default_rng(0)
    network = minicnn.SimpleNet(rng=0)
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network), checkpoint=sys.argv[1])
    batches = Batches(rng.standard_normal((40, 3, 8, 8), np.float32), rng.integers(0, 10, 40), 10, True, rng=0)
    trainer.fit(batches, epochs=100_000)
    print("ended with", trainer.optimizer.steps, "steps, interrupted:", trainer.interrupted)
"""


def start_long_run(path):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(LONG_RUN), str(path)], stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.startswith("epoch 3 "):
            return process
    raise AssertionError("the run ended before its third epoch")


def test_ctrl_c_ends_a_real_process_cleanly(tmp_path):
    process = start_long_run(tmp_path / "run")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "stopped by Ctrl-C after step" in output
    assert "interrupted: True" in output


def test_a_killed_process_leaves_a_whole_checkpoint(tmp_path):
    """It writes a checkpoint a few hundred times a second; whenever it dies, the file can be read."""
    for _ in range(3):
        process = start_long_run(tmp_path / "run")
        process.kill()
        process.communicate()
        network = minicnn.SimpleNet()
        trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network), quiet=True)
        trainer.load(tmp_path / "run")
        assert trainer.epoch >= 2


def saved_run(tmp_path, **settings):
    trainer, train, _ = small_run(**settings)
    trainer.fit(train, epochs=1)
    trainer.save(tmp_path / "run", train)
    return tmp_path / "run"


def other_network_run():
    images, labels = small_problem()
    network = minicnn.Sequential(flatten=minicnn.Flatten(), fc=minicnn.Linear(36, 3, rng=0))
    return minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network)), Batches(images, labels, 5, True)


@pytest.mark.parametrize(
    ("make_run", "message"),
    [
        (lambda: small_run(optimizer=minicnn.SGD)[:2], "expected the state of SGD, got that of Adam"),
        (other_network_run, "missing fc|unexpected"),
        (lambda: small_run(schedule=lambda o: minicnn.StepLR(o, 2))[:2], "saved without a schedule"),
        (lambda: (small_run()[0], Batches(*small_problem(), 6, True)), "expected batch_size 5"),
    ],
)
def test_a_run_of_something_else_is_refused_and_nothing_changes(tmp_path, make_run, message):
    path = saved_run(tmp_path)
    trainer, train = make_run()
    before, order = bits(trainer.network), train.state_dict()
    settings = {name: value for name, value in vars(trainer.optimizer).items() if name not in ("state", "network")}
    with pytest.raises(ValueError, match=message):
        trainer.load(path, train)
    assert bits(trainer.network) == before
    assert train.state_dict() == order
    assert settings == {name: value for name, value in vars(trainer.optimizer).items() if name in settings}
    assert trainer.epoch == 0


def test_another_schedule_is_refused_with_both_named(tmp_path):
    path = saved_run(tmp_path, schedule=lambda optimizer: minicnn.StepLR(optimizer, 2))
    trainer, _, _ = small_run(schedule=lambda optimizer: minicnn.StepLR(optimizer, 3))
    with pytest.raises(ValueError, match=r"\{'step_size': 3\}, got \{'step_size': 2\}"):
        trainer.load(path)
