"""The training loop: what it learns, what it measures, when it stops, and what it refuses."""

import threading

import numpy as np
import pytest

import minicnn
from minicnn.data import ByPixels, Loader
from tests.runs import bits, images_of_many_sizes, small_network, small_problem, small_run


@pytest.mark.quick
def test_it_learns_and_writes_history():
    trainer, train, validation = small_run()
    history = trainer.fit(train, validation, epochs=8)
    assert [row["epoch"] for row in history] == list(range(1, 9))
    assert set(history[0]) == {"epoch", "lr", "loss", "accuracy", "val_loss", "val_accuracy", "seconds"}
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert history[-1]["val_accuracy"] > 0.9
    assert trainer.epoch == 8
    assert trainer.optimizer.steps == 8 * len(train)


def test_the_columns_are_means_over_images_not_over_batches():
    trainer, _, _ = small_run()
    images, labels = small_problem(n_images=7)
    whole = trainer.evaluate([(images, labels)])
    parts = trainer.evaluate([(images[:6], labels[:6]), (images[6:], labels[6:])])
    assert parts == pytest.approx(whole, rel=1e-6)


def test_validation_changes_nothing():
    trainer, _, validation = small_run()
    before = bits(trainer.network)
    trainer.evaluate(validation)
    assert bits(trainer.network) == before
    assert trainer.network["conv"].memory is None


def test_own_metrics_replace_accuracy():
    trainer, train, _ = small_run(metrics={"images seen": lambda output, labels: float(len(labels))})
    (row,) = trainer.fit(train, epochs=1)
    assert "accuracy" not in row
    assert row["images seen"] == pytest.approx((4 * 5 * 5 + 4 * 4) / 24)


def test_same_seeds_same_bits():
    runs = []
    for _ in range(2):
        trainer, train, _ = small_run()
        trainer.fit(train, epochs=2)
        runs.append(bits(trainer.network))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("every", ["epoch", "batch"])
def test_the_schedule_moves(every):
    trainer, train, _ = small_run(
        schedule=lambda optimizer: minicnn.StepLR(optimizer, step_size=1, gamma=0.5), schedule_every=every
    )
    history = trainer.fit(train, epochs=2)
    halvings = [0, 1] if every == "epoch" else [len(train) - 1, 2 * len(train) - 1]
    assert [row["lr"] for row in history] == [0.02 * 0.5**n for n in halvings]


@pytest.mark.quick
def test_clipping_bounds_the_norm_of_all_gradients_together():
    trainer, train, _ = small_run(max_grad_norm=0.01)
    x, y = next(iter(train))
    trainer.step(x, y)
    norm = np.sqrt(sum((layer.grads[key] ** 2).sum() for _, layer, key in trainer.network.named_params()))
    assert norm == pytest.approx(0.01, rel=1e-3)


def test_the_loss_computes_where_the_network_does():
    network, loss = small_network().to("reference"), minicnn.NLLLoss()
    trainer = minicnn.Trainer(network, loss, minicnn.Adam(network), quiet=True)
    assert loss.ops is minicnn.get_backend("reference")
    x, y = small_problem()
    assert trainer.step(x, y) > trainer.step(x, y)


def test_a_loss_of_ones_own():
    """Any object with forward and backward."""

    class Half:
        def forward(self, output, target):
            self.ones = np.full_like(output, 0.5)
            return float(output.sum() / 2)

        def backward(self):
            return self.ones

    network = small_network()
    trainer = minicnn.Trainer(network, Half(), minicnn.Adam(network), quiet=True)
    x, y = small_problem()
    assert trainer.step(x, y) > trainer.step(x, y)


@pytest.mark.torch
@pytest.mark.parametrize("max_norm", [0.01, 1e6])
def test_clipping_agrees_with_pytorch(max_norm):
    torch = pytest.importorskip("torch")
    trainer, train, _ = small_run()
    network = trainer.network
    x, y = next(iter(train))
    trainer.loss.forward(network.forward(x), y)
    network.backward(trainer.loss.backward())
    parameters = [torch.zeros(layer.grads[key].shape) for _, layer, key in network.named_params()]
    for parameter, (_, layer, key) in zip(parameters, network.named_params(), strict=True):
        parameter.grad = torch.tensor(layer.grads[key])
    norm = minicnn.clip_gradients(network, max_norm)
    assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(parameters, max_norm).item(), rel=1e-6)
    for parameter, (_, layer, key) in zip(parameters, network.named_params(), strict=True):
        np.testing.assert_allclose(layer.grads[key], parameter.grad.numpy(), rtol=1e-5)


def test_patience_stops_and_keep_best_goes_back():
    # A learning rate that throws the weights about: soon no epoch is better than the best.
    trainer, train, validation = small_run(lr=3.0, patience=2, keep_best=True)
    history = trainer.fit(train, validation, epochs=50)
    best = min(history, key=lambda row: row["val_loss"])
    assert len(history) == best["epoch"] + 2 < 50
    assert trainer.evaluate(validation)["loss"] == pytest.approx(best["val_loss"])


def test_monitor_larger_is_better_unless_it_is_a_loss():
    trainer, train, validation = small_run(keep_best=True, monitor="val_accuracy")
    history = trainer.fit(train, validation, epochs=6)
    assert trainer.evaluate(validation)["accuracy"] == max(row["val_accuracy"] for row in history)


def test_unknown_monitor_names_the_columns():
    trainer, train, _ = small_run(monitor="val_loss")
    with pytest.raises(ValueError, match="monitor to be one of loss, accuracy, got 'val_loss'"):
        trainer.fit(train, epochs=1)


@pytest.mark.quick
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(bad):
    trainer, train, _ = small_run()
    trainer.fit(train, epochs=1)
    before, steps = bits(trainer.network), trainer.optimizer.steps
    x, y = next(iter(train))
    with pytest.raises(RuntimeError, match=rf"loss is (nan|inf) at step {steps + 1} \(epoch 2\)") as raised:
        trainer.step(np.full_like(x, bad), y)
    assert "already" not in str(raised.value)
    assert bits(trainer.network) == before  # running statistics included
    assert trainer.optimizer.steps == steps


def test_a_batch_with_bad_labels_changes_nothing():
    trainer, train, _ = small_run()
    before = bits(trainer.network)
    x, y = next(iter(train))
    with pytest.raises(ValueError, match="expected labels from 0 to 2"):
        trainer.step(x, y + 10)
    assert bits(trainer.network) == before


def test_a_network_in_evaluation_mode_is_refused():
    trainer, train, _ = small_run()
    trainer.network.eval()
    with pytest.raises(RuntimeError, match=r"evaluation mode; call network.train\(\)"):
        trainer.fit(train)


def test_a_frozen_batchnorm_stays_frozen():
    trainer, train, _ = small_run()
    bn = trainer.network["bn"].eval()
    trainer.fit(train, epochs=1)
    assert not bn.training
    assert bn.state["num_batches_tracked"] == 0
    np.testing.assert_array_equal(bn.state["running_mean"], 0)


def test_an_iterator_that_runs_out_is_named():
    trainer, train, _ = small_run()
    with pytest.raises(ValueError, match="at least one batch"):
        trainer.fit(iter(list(train)), epochs=2)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"schedule_every": "year"}, '"epoch" or "batch", got \'year\''),
        ({"max_grad_norm": 0}, "max_grad_norm above 0, got 0"),
        ({"patience": 0}, "at least 1 epoch, got 0"),
        ({"max_grad_norm": np.nan}, "max_grad_norm above 0, got nan"),
    ],
)
def test_bad_settings(setting, message):
    with pytest.raises(ValueError, match=message):
        small_run(**setting)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"patience": 1.5}, "Trainer: patience: expected an integer, got 1.5"),
        ({"patience": "3"}, "Trainer: patience: expected an integer, got '3'"),
        ({"max_grad_norm": "1"}, "Trainer: max_grad_norm: expected a number, got '1'"),
        ({"metrics": {"share": 0.5}}, "expected functions by name as metrics, got 0.5 as 'share'"),
        ({"metrics": {1: minicnn.accuracy}}, "expected functions by name as metrics"),
    ],
)
def test_settings_of_the_wrong_kind(setting, message):
    with pytest.raises(TypeError, match=message):
        small_run(**setting)


@pytest.mark.parametrize(
    ("epochs", "error"), [(-1, ValueError), (2.5, TypeError), (np.nan, TypeError), ("2", TypeError)]
)
def test_epochs_that_are_no_number_of_epochs(epochs, error):
    trainer, train, _ = small_run()
    with pytest.raises(error, match=r"Trainer.fit: epochs: expected"):
        trainer.fit(train, epochs=epochs)
    assert (trainer.epoch, trainer.optimizer.steps, trainer.history) == (0, 0, [])


def test_an_optimiser_or_a_schedule_of_something_else_is_refused():
    """Without this the one trains another network, the other moves another learning rate."""
    network, other = small_network(), small_network()
    with pytest.raises(ValueError, match="expected an optimiser of this network"):
        minicnn.Trainer(network, minicnn.NLLLoss(), minicnn.Adam(other))
    schedule = minicnn.StepLR(minicnn.Adam(network), 2)
    with pytest.raises(ValueError, match="expected a schedule of this optimiser"):
        minicnn.Trainer(network, minicnn.NLLLoss(), minicnn.Adam(network), schedule=schedule)


def test_an_optimiser_of_the_last_layers_alone_trains_these():
    network = small_network()
    head = minicnn.Sequential(fc=network["fc"])
    trainer = minicnn.Trainer(network, minicnn.NLLLoss(), minicnn.SGD(head, 0.1), quiet=True)
    before = network.state_dict()
    trainer.step(*small_problem())
    changed = {name for name, array in network.state_dict().items() if not np.array_equal(array, before[name])}
    assert {name for name in changed if "running" not in name and "num" not in name} == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("value", [np.ones(3), None, "0.5", 1j])
def test_a_metric_that_is_no_number_is_named(value):
    trainer, train, _ = small_run(metrics={"share": lambda output, labels: value})
    with pytest.raises(TypeError, match="Trainer: metric share: expected a number, got"):
        trainer.fit(train, epochs=1)
    trainer.metrics = {"share": minicnn.accuracy}
    assert 0 <= trainer.fit(train, epochs=1)[0]["share"] <= 1  # no half of that batch is in the means


def test_a_metric_may_be_an_array_of_one_number():
    trainer, train, _ = small_run(metrics={"share": lambda output, labels: np.array([[0.25]])})
    assert trainer.fit(train, epochs=1)[0]["share"] == 0.25


def test_a_checkpoint_that_could_not_be_written_is_refused_before_training(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        small_run(checkpoint=tmp_path / "nowhere" / "run.safetensors")


def test_one_cycle_over_all_batches():
    """The usual recipe: as many steps as there are batches in all epochs."""
    n_steps = 2 * 5
    trainer, train, _ = small_run(
        schedule=lambda optimizer: minicnn.OneCycleLR(optimizer, 0.05, n_steps), schedule_every="batch"
    )
    assert len(trainer.fit(train, epochs=2)) == 2
    assert trainer.optimizer.steps == n_steps


def loader_run(make_schedule, **settings):
    train = Loader(images_of_many_sizes(), ByPixels(600, shuffle=True), rng=0)
    network = small_network()
    optimizer = minicnn.SGD(network, lr=0.01, momentum=0.9)
    schedule = make_schedule(optimizer, train)
    trainer = minicnn.Trainer(network, minicnn.NLLLoss(), optimizer, schedule=schedule, quiet=True, **settings)
    return trainer, train


def test_one_cycle_over_epochs_of_unlike_length_ends_with_the_run():
    def one_cycle(optimizer, train):
        return minicnn.OneCycleLR(optimizer, 0.05, train.batches_in(6))

    trainer, train = loader_run(one_cycle, schedule_every="batch")
    assert 6 * len(train) != train.batches_in(6)
    total = train.batches_in(6)
    trainer.fit(train, epochs=6)
    assert trainer.optimizer.steps == total
    assert trainer.optimizer.lr == pytest.approx(0.05 / 25 / 1e4)


@pytest.mark.parametrize("n_fits", [1, 6])
@pytest.mark.parametrize("every", ["batch", "epoch"])
def test_a_schedule_that_is_too_short_does_not_end_the_run(tmp_path, n_fits, every):
    """Where the number of batches was counted in one epoch, say. Its end, a small learning rate, is held."""

    def one_cycle(optimizer, train):
        return minicnn.OneCycleLR(optimizer, 0.05, 5 if every == "epoch" else train.batches_in(6) - 3)

    trainer, train = loader_run(one_cycle, schedule_every=every, checkpoint=tmp_path / "run")
    total = train.batches_in(6)
    for _ in range(n_fits):
        trainer.fit(train, epochs=6 // n_fits)
    assert (trainer.epoch, trainer.optimizer.steps) == (6, total)
    assert trainer.history[-1]["lr"] == pytest.approx(0.05 / 25 / 1e4)

    resumed, train = loader_run(one_cycle, schedule_every=every)
    resumed.load(tmp_path / "run", train)
    assert resumed.optimizer.lr == trainer.optimizer.lr
    resumed.fit(train, epochs=1)


def test_it_is_said_once_that_a_schedule_has_ended(capsys):
    trainer, train = loader_run(lambda sgd, train: minicnn.OneCycleLR(sgd, 0.05, 3), schedule_every="batch")
    trainer.quiet = False
    trainer.fit(train, epochs=2)
    assert capsys.readouterr().out.count("OneCycleLR has made its 3 steps, and there are more batches") == 1


def test_a_validation_set_that_runs_out_is_named_before_the_epoch_counts():
    trainer, train, validation = small_run()
    with pytest.raises(ValueError, match="at least one batch, got none; a generator gives them only once"):
        trainer.fit(train, (batch for batch in validation), epochs=2)
    assert trainer.epoch == len(trainer.history) == 1


def test_metrics_may_be_numpy_numbers(tmp_path):
    trainer, train, _ = small_run(metrics={"confidence": lambda output, labels: output.max(axis=1).mean()})
    trainer.fit(train, epochs=1)
    trainer.save(tmp_path / "run", train)


@pytest.mark.parametrize("name", ["loss", "epoch", "lr", "seconds", "val_accuracy"])
def test_metrics_with_the_name_of_another_column_are_refused(name):
    with pytest.raises(ValueError, match=f"that no other column has, got {name}"):
        small_run(metrics={name: minicnn.accuracy})


def test_nan_is_never_the_best():
    values = iter([np.nan, 0.5, 0.4, 0.6])
    trainer, train, _ = small_run(metrics={"score": lambda *_: current[0]}, monitor="score", keep_best=True)
    current = [None]
    for _ in range(4):
        current[0] = next(values)
        trainer.fit(train, epochs=1)
    assert trainer._state.best == {"value": pytest.approx(0.6), "epoch": 4}


def test_nan_ends_a_run_of_little_patience_and_is_not_kept():
    trainer, train, _ = small_run(metrics={"score": lambda *_: np.nan}, monitor="score", patience=2, keep_best=True)
    assert len(trainer.fit(train, epochs=9)) == 2
    last = bits(trainer.network)
    twin, train, _ = small_run()
    twin.fit(train, epochs=2)
    assert bits(twin.network) == last


def test_the_best_training_loss_says_nothing_of_the_validation_loss():
    """Training without batchnorm's noise reaches a loss that validation, here on other labels, never comes near."""
    trainer, train, validation = small_run(keep_best=True, patience=3)
    trainer.fit(train, epochs=4)
    wrong = [(x, (y + 1) % 3) for x, y in validation]
    history = trainer.fit(train, wrong, epochs=3)
    assert len(history) == 7  # patience counts from where there was something to compare
    best = min(history[4:], key=lambda row: row["val_loss"])
    assert trainer.evaluate(wrong)["loss"] == pytest.approx(best["val_loss"], rel=1e-6)


def test_another_monitor_begins_anew_and_the_same_goes_on(tmp_path):
    """A loss of 0.4, taken for an accuracy, would be better than all that come."""
    trainer, train, validation = small_run(keep_best=True, monitor="val_loss")
    trainer.fit(train, validation, epochs=1)
    trainer.monitor = "val_accuracy"
    wrong = [(x, (y + 1) % 3) for x, y in validation]
    trainer.fit(train, wrong, epochs=2)
    best = max(trainer.history[1:], key=lambda row: row["val_accuracy"])
    assert best["val_accuracy"] < trainer.history[0]["val_loss"]
    assert trainer.evaluate(wrong)["loss"] == pytest.approx(best["val_loss"], rel=1e-6)

    trainer.save(tmp_path / "run", train)
    resumed, train, _ = small_run(keep_best=True, monitor="val_accuracy")
    resumed.load(tmp_path / "run", train)
    resumed.fit(train, [(x, (y * 0)) for x, y in wrong[:1]], epochs=0)
    assert resumed.evaluate(wrong)["loss"] == pytest.approx(best["val_loss"], rel=1e-6)


def test_gradients_that_are_not_finite_stop_the_run():
    trainer, train, _ = small_run(max_grad_norm=1.0)
    before = bits(trainer.network)
    x, y = next(iter(train))
    trainer.loss.backward = lambda: np.full((len(y), 3), np.inf, np.float32)
    with np.errstate(all="ignore"), pytest.raises(RuntimeError, match=r"gradients of a finite norm, got (nan|inf)"):
        trainer.step(x, y)
    after = bits(trainer.network)
    assert all(after[name] == before[name] for name in after if name.endswith(("weight", "bias")))


def test_it_trains_in_a_thread_too():
    trainer, train, _ = small_run()
    thread = threading.Thread(target=trainer.fit, args=(train,))
    thread.start()
    thread.join()
    assert trainer.epoch == 1
