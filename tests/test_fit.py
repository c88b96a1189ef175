"""`Trainer.fit` on what people have: arrays, pairs, and what it cannot learn from, refused before the first epoch."""

import numpy as np
import pytest

import minicnn
from minicnn.data import Batches, LabelledImages
from tests.runs import bits, interrupt_after, small_network, small_problem, small_run, without_times


@pytest.mark.quick
def test_arrays_are_learnt_like_batches_of_them():
    (x, y), (x_val, y_val) = small_problem(), small_problem(seed=1)
    trainer, _, _ = small_run()
    history = trainer.fit(x, y, validation=(x_val, y_val), epochs=2, batch_size=5, rng=1)
    twin, train, _ = small_run()
    assert without_times(twin.fit(train, Batches(x_val, y_val, 5), epochs=2)) == without_times(history)
    assert bits(twin.network) == bits(trainer.network)


def test_the_order_is_new_in_each_epoch_and_the_same_for_one_seed():
    class Noted(minicnn.NLLLoss):
        def forward(self, output, target):
            seen.append(np.array(target))
            return super().forward(output, target)

    x, y = small_problem()
    orders = []
    for seed in (3, 3, 4):
        seen = []
        network = small_network()
        minicnn.Trainer(network, Noted(), minicnn.Adam(network), quiet=True).fit(x, y, epochs=2, rng=seed)
        orders.append([seen[-2].tolist(), seen[-1].tolist()])
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][0] != orders[0][1]


@pytest.mark.parametrize("as_given", [list, minicnn.Images, lambda images: images], ids=["list", "Images", "array"])
def test_every_form_of_images(as_given):
    x, y = small_problem()
    trainer, _, _ = small_run()
    trainer.fit(as_given([*x]) if as_given is list else as_given(x), y.tolist(), validation=[(x, y)])
    assert trainer.optimizer.steps == 1  # 32 at once
    assert "val_accuracy" in trainer.history[0]


def test_labelled_images():
    trainer, _, _ = small_run()
    trainer.fit(LabelledImages(*small_problem()), LabelledImages(*small_problem(seed=1)), batch_size=12)
    assert trainer.optimizer.steps == 2
    assert "val_loss" in trainer.history[0]


def test_batches_with_a_pair_to_validate_on():
    trainer, train, validation = small_run()
    trainer.fit(train, small_problem(seed=1))
    twin, train, _ = small_run()
    twin.fit(train, validation)
    assert trainer.history[0]["val_loss"] == pytest.approx(twin.history[0]["val_loss"], rel=1e-6)


def test_arrays_after_an_interrupted_epoch_begin_an_epoch():
    x, y = small_problem()
    trainer, _, _ = small_run(metrics={"images": lambda output, labels: float(len(output))})
    interrupt_after(trainer, 2)
    trainer.fit(x, y, batch_size=5)
    assert trainer.interrupted
    (row,) = trainer.fit(x, y, batch_size=8)
    assert row["images"] == 8  # and nothing of the batches of 5


def images(shape=(4, 1, 6, 6), dtype=np.float32):
    return np.zeros(shape, dtype)


LABELS = np.array([0, 1, 2, 0])
NAN = images()
NAN[2, 0, 3, 3] = np.nan

REFUSED = {
    "no labels": ((images(),), {}, TypeError, r"expected labels beside the images, got ndarray .* fit\(images, labels"),
    "a file name": (("cats",), {}, TypeError, "expected images or batches, got str"),
    "a dict": (({"x": 1},), {}, TypeError, "expected images or batches, got dict"),
    "None": ((None,), {}, TypeError, "expected images or batches, got NoneType"),
    "validation alone": ((images(), LABELS), {"validation": images()}, TypeError, r"validation=\(images, labels\)"),
    "too few labels": ((images(), LABELS[:3]), {}, ValueError, "expected 4 labels, one an image, got 3"),
    "uint8": ((images(dtype=np.uint8), LABELS), {}, TypeError, r"got uint8; .*images.astype\(np.float32\) / 255"),
    "float64": ((images(dtype=np.float64), LABELS), {}, TypeError, r"convert the input with x.astype\(np.float32\)"),
    "N H W C": ((images((4, 6, 6, 1)), LABELS), {}, ValueError, r"N C H W, .* x.transpose\(0, 3, 1, 2\)"),
    "N H W": ((images((4, 6, 6)), LABELS), {}, ValueError, r"N C H W, and grey ones .* x\[:, None\]"),
    "one-hot": ((images(), np.eye(3)[LABELS]), {}, TypeError, r"labels.argmax\(axis=1\)"),
    "one-hot integers": ((images(), np.eye(3, dtype=int)[LABELS]), {}, ValueError, r"labels.argmax\(axis=1\)"),
    "a column": ((images(), LABELS[:, None]), {}, ValueError, r"labels\[:, 0\]"),
    "floats": ((images(), LABELS.astype(float)), {}, TypeError, r"labels.astype\(np.int64\)"),
    "labels from 1": (
        (images(), LABELS + 1),
        {},
        ValueError,
        "labels from 0 to 2, got 3 at position 2",
    ),
    "NaN": ((NAN, LABELS), {}, ValueError, "NaN or infinity in image 2; .* np.nan_to_num"),
    "NaN to validate": ((images(), LABELS), {"validation": (NAN, LABELS)}, ValueError, "validation: .* in image 2"),
    "two validations": (([(images(), LABELS)], [1]), {"validation": [1]}, TypeError, "expected one validation"),
    "no pairs": (([(images(), LABELS)], [3, 4]), {}, TypeError, r"batches \(images, labels\)"),
    "a batch size of batches": (([(images(), LABELS)],), {"batch_size": 3}, TypeError, "these batches have theirs"),
    "no batch size": ((images(), LABELS), {"batch_size": 0}, ValueError, "batch_size: expected at least 1, got 0"),
}


@pytest.mark.quick
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_learnt_from_is_refused_with_the_remedy_before_the_first_epoch(case):
    given, settings, error, message = REFUSED[case]
    trainer, _, _ = small_run()
    before = bits(trainer.network)
    with pytest.raises(error, match=message):
        trainer.fit(*given, epochs=3, **settings)
    assert bits(trainer.network) == before
    assert (trainer.epoch, trainer.optimizer.steps, trainer.history) == (0, 0, [])


@pytest.mark.parametrize("form", ["pair", "list", "Batches"])
def test_a_validation_set_is_looked_at_before_the_first_epoch(form):
    trainer, train, _ = small_run()
    hwc = images((4, 6, 6, 1))
    validation = {"pair": (hwc, LABELS), "list": [(hwc, LABELS)], "Batches": Batches(hwc, LABELS, 2)}[form]
    with pytest.raises(ValueError, match=r"Trainer.fit: validation: Conv2d: .*N C H W"):
        trainer.fit(train, validation)
    assert trainer.optimizer.steps == 0


def test_a_layer_that_cannot_predict_still_learns():
    class Twice(minicnn.Layer):
        def forward(self, x):
            return 2 * x

        def backward(self, dy, need_dx=True):
            return 2 * dy

    network = minicnn.Sequential(minicnn.Flatten(), Twice(), minicnn.Linear(36, 3, rng=0))
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network), quiet=True)
    assert trainer.fit(*small_problem(), epochs=1)


def test_other_losses_have_other_labels():
    """Numbers to be met, say: only the labels of a classification are looked at."""

    class Distance:
        def forward(self, output, target):
            self.difference = output - target
            return float((self.difference**2).mean())

        def backward(self):
            return 2 * self.difference / self.difference.size

    x, _ = small_problem()
    network = minicnn.Sequential(minicnn.Flatten(), minicnn.Linear(36, 2, rng=0))
    trainer = minicnn.Trainer(network, Distance(), minicnn.SGD(network, 0.1), metrics={}, quiet=True)
    history = trainer.fit(x, x[:, 0, :2, 0], epochs=5, rng=0)
    assert history[-1]["loss"] < history[0]["loss"]


def test_the_loss_is_not_asked_before_the_first_step():
    """So that what counts or notes its calls sees those of the steps alone."""
    trainer, train, validation = small_run()
    steps_at = []
    forward = trainer.loss.forward

    def noted(output, target):
        steps_at.append((trainer.optimizer.steps, len(output)))
        return forward(output, target)

    trainer.loss.forward = noted
    trainer.fit(train, validation)
    assert steps_at == [(0, 5), (1, 5), (2, 5), (3, 5), (4, 4), (5, 7), (5, 7), (5, 7), (5, 3)]
