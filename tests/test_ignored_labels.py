"""Images whose label is the loss's ignore_index: they count for nothing, in no column of the history."""

import numpy as np
import pytest

import minicnn
from minicnn.data import Batches
from tests.runs import bits, small_network, small_problem

pytestmark = pytest.mark.quick

IGNORED = 7


def with_ignored(seed=0):
    """(images, labels, positions of those that count)"""
    images, labels = small_problem(seed=seed)
    labels[::4] = IGNORED
    return images, labels, np.flatnonzero(labels != IGNORED)


def run_of(loss=minicnn.NLLLoss, **settings):
    network = small_network()
    return minicnn.Trainer(network, loss(ignore_index=IGNORED), minicnn.Adam(network, lr=0.02), quiet=True, **settings)


@pytest.mark.parametrize("loss", [minicnn.NLLLoss, minicnn.CrossEntropyLoss])
def test_evaluate_measures_the_others_alone(loss):
    images, labels, counted = with_ignored()
    trainer = run_of(loss)
    found = trainer.evaluate(Batches(images, labels, 5))
    expected = trainer.evaluate(Batches(images[counted], labels[counted], 6))
    assert found == pytest.approx(expected, rel=1e-6)
    predicted = trainer.network.predict(images).argmax(axis=1)
    assert found["accuracy"] == pytest.approx(np.mean(predicted[counted] == labels[counted]))


def test_the_history_is_of_the_others_alone():
    images, labels, counted = with_ignored()
    seen = []

    def share_of_first(output, labels):
        seen.append(len(labels))
        assert len(output) == len(labels)
        return float(np.mean(labels == 0))

    trainer = run_of(metrics={"first": share_of_first})
    row = trainer.fit(Batches(images, labels, 5), Batches(images, labels, 5))[0]
    assert sum(seen) == 2 * len(counted)
    assert row["first"] == row["val_first"] == pytest.approx(np.mean(labels[counted] == 0))
    assert row["val_loss"] == pytest.approx(trainer.evaluate([(images[counted], labels[counted])])["loss"], rel=1e-6)


def test_a_batch_of_which_no_image_counts_is_passed_over():
    images, labels, counted = with_ignored()
    nothing = np.full(5, IGNORED)
    trainer = run_of()
    found = trainer.evaluate([(images[:5], nothing), (images[counted], labels[counted]), (images[:5], nothing)])
    assert found == trainer.evaluate([(images[counted], labels[counted])])
    with pytest.raises(ValueError, match="ignore_index do not count"):
        trainer.evaluate([(images[:5], nothing)])


def test_a_run_that_was_stopped_counts_the_same(tmp_path):
    images, labels, _ = with_ignored()
    whole = run_of()
    whole.fit(Batches(images, labels, 5), epochs=2)
    first = run_of()
    first.callbacks.append(lambda trainer, event, values: values["step"] == 3 and trainer.stop())
    batches = Batches(images, labels, 5)
    first.fit(batches, epochs=2)
    first.save(tmp_path / "run", batches)
    second, batches = run_of(), Batches(images, labels, 5)
    second.load(tmp_path / "run", batches)
    second.fit(batches, epochs=2)
    assert bits(second.network) == bits(whole.network)
    assert [row["accuracy"] for row in second.history] == [row["accuracy"] for row in whole.history]


def test_what_a_custom_loss_ignores_is_its_own_business():
    class Own:
        ignore_index = 0

        def forward(self, output, target):
            self.output = output
            return 1.0

        def backward(self):
            return np.zeros_like(self.output)

    network = small_network()
    trainer = minicnn.Trainer(network, Own(), minicnn.Adam(network), quiet=True)
    images, labels = small_problem()
    accuracy = np.mean(network.predict(images).argmax(axis=1) == labels)
    assert trainer.evaluate([(images, labels)])["accuracy"] == pytest.approx(accuracy)
