"""A run that is saved, or stopped by Ctrl-C or killed, goes on to the same bits."""

import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import minicnn
from minicnn.data import Batches, ByPixels, Loader
from minicnn.training.checkpoint import load_run
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


@pytest.mark.parametrize("stopped_by", [signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_within_an_epoch_goes_on_to_the_same_bits(tmp_path, capsys, stopped_by):
    whole, train, validation = small_run()
    whole.fit(train, validation, epochs=3)

    first, train, validation = small_run(checkpoint=tmp_path / "run")
    interrupt_after(first, 7, stopped_by)  # in the second epoch, which has five batches
    first.quiet = False
    first.fit(train, validation, epochs=3)
    assert first.interrupted
    by = "Ctrl-C" if stopped_by == signal.SIGINT else "SIGTERM"
    assert f"stopped by {by} after step 7" in capsys.readouterr().out
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


@pytest.mark.parametrize("stopped_by", [signal.SIGINT, signal.SIGTERM])
def test_the_handlers_of_signals_are_put_back(stopped_by):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    trainer, train, _ = small_run()
    interrupt_after(trainer, 2, stopped_by)
    trainer.fit(train, epochs=1)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.quick
def test_a_checkpoint_every_few_steps_goes_on_to_the_same_bits(tmp_path):
    whole, train, validation = small_run()
    whole.fit(train, validation, epochs=2)

    first, train, validation = small_run()
    first.callbacks.append(minicnn.CheckpointEvery(tmp_path / "run", train, steps=4))
    first.callbacks.append(lambda trainer, event, values: 1 / (9 - values["step"]))  # a crash, not a stop
    with pytest.raises(ZeroDivisionError):
        first.fit(train, validation, epochs=2)

    second, train, validation = small_run(batches_seed=99)
    second.load(tmp_path / "run", train)
    assert (second.epoch, second.optimizer.steps) == (1, 8)
    second.fit(train, validation, epochs=1)
    assert bits(second.network) == bits(whole.network)
    assert without_times(second.history) == without_times(whole.history)


@pytest.mark.parametrize("steps", [0, 2.5])
def test_steps_that_are_no_number_of_steps(tmp_path, steps):
    with pytest.raises((TypeError, ValueError), match="CheckpointEvery: steps: expected"):
        minicnn.CheckpointEvery(tmp_path / "run", [], steps)


LONG_RUN = """
    import numpy as np, minicnn, sys
    from minicnn.data import Batches
    rng = np.random.default_rng(0)
    network = minicnn.SimpleNet(rng=0)
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network), checkpoint=sys.argv[1])
    trainer.callbacks.append(minicnn.EMA(network, decay=0.9))
    batches = Batches(rng.standard_normal((40, 3, 8, 8), np.float32), rng.integers(0, 10, 40), 10, True, rng=0)
    if "resume" in sys.argv:
        trainer.load(sys.argv[1], batches)
    trainer.fit(batches, epochs=int(sys.argv[2]) - trainer.epoch)
    minicnn.save(trainer.callbacks[0].network, sys.argv[1] + ".average")
    print("ended with", trainer.optimizer.steps, "steps, interrupted:", trainer.interrupted)
"""


def start_long_run(path):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(LONG_RUN), str(path), "100000"], stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.startswith("epoch 3 "):
            return process
    raise AssertionError("the run ended before its third epoch")


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_ends_a_real_process_cleanly(tmp_path, number, name):
    process = start_long_run(tmp_path / "run")
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert f"stopped by {name} after step" in output
    assert "interrupted: True" in output


def test_a_process_ended_by_sigterm_goes_on_to_the_same_bits(tmp_path):
    """Network, optimiser and the moving average of the weights, each in a process of its own."""
    process = start_long_run(tmp_path / "stopped")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    epochs = str(load_run(tmp_path / "stopped")[1]["epoch"] + 2)
    for arguments in ((tmp_path / "stopped", epochs, "resume"), (tmp_path / "whole", epochs)):
        subprocess.run([sys.executable, "-c", textwrap.dedent(LONG_RUN), *map(str, arguments)], check=True)
    for name in ("stopped", "whole"):
        assert load_run(tmp_path / name)[1]["optimizer"]["steps"] == 4 * int(epochs)
    arrays = [load_run(tmp_path / name)[0] for name in ("stopped", "whole")]
    assert {name: array.tobytes() for name, array in arrays[0].items()} == {
        name: array.tobytes() for name, array in arrays[1].items()
    }
    assert "callback 0/conv1.weight" in arrays[0]
    averages = [bits(minicnn.load(tmp_path / f"{name}.average")) for name in ("stopped", "whole")]
    assert averages[0] == averages[1]


def test_a_killed_process_leaves_a_whole_checkpoint(tmp_path):
    """It writes a checkpoint a few hundred times a second; whenever it dies, the file can be read."""
    for _ in range(3):
        process = start_long_run(tmp_path / "run")
        process.kill()
        process.communicate()
        network = minicnn.SimpleNet()
        settings = {"callbacks": [minicnn.EMA(network)], "quiet": True}
        trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network), **settings)
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
