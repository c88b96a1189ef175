"""The symptom lab: every broken run has its own signature and no other, and what is said of a diagnosis is true."""

import functools
import itertools
import sys

import numba
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import minicnn
from minicnn.cli.program import program
from minicnn.data import load_digits
from minicnn.geometry import adaptive_windows
from minicnn.learn import symptoms
from minicnn.learn.symptoms import CAUSES, MEASURES, NUMBERS, cause_of, measures
from minicnn.learn.symptoms.cause import Sign
from minicnn.learn.symptoms.experiment import EPOCHS, N_TRAIN, Experiment
from minicnn.learn.symptoms.faults.dead_relu import NegativeLinear
from minicnn.learn.symptoms.faults.gradient_sign import AscendingSGD
from minicnn.learn.symptoms.faults.labels_shuffled import ShuffledApart
from minicnn.learn.symptoms.faults.log_of_softmax import LogOfSoftmax
from minicnn.learn.symptoms.faults.loss_not_averaged import SummedGradient
from minicnn.learn.symptoms.faults.momentum_restarted import ForgetfulSGD
from minicnn.learn.symptoms.faults.pooling_windows import FloorMaxPool2d

OTHER_SEEDS = (1, 2, 3)  # than 0, the published one


@functools.cache
def run(number):
    """The published run of a case, or with number 0 the healthy one; once for all tests."""
    return symptoms.run(number) if number else symptoms.healthy()


@pytest.fixture
def runs_made_once(monkeypatch):
    """The program shows the runs that these tests have made already."""
    module = sys.modules["minicnn.cli.learn.symptoms"]  # its own name in the package is that of the command
    monkeypatch.setattr(module, "run", lambda number, fixed: run(0 if fixed else number))
    monkeypatch.setattr(module, "healthy", lambda: run(0))


def call(*arguments):
    return CliRunner().invoke(program, ["learn", "symptoms", *map(str, arguments)])


def check_signatures(runs):
    """`runs`: the healthy one and the ten cases."""
    found = {run.number: symptoms.diagnose(run.curves) for run in runs}
    assert found == {0: []} | {number: [cause_of(number).name] for number in NUMBERS}


# The runs


def test_each_run_has_its_own_signature_and_no_other():
    check_signatures(map(run, (0, *NUMBERS)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", OTHER_SEEDS)
def test_signatures_are_of_the_fault_and_not_of_the_seed(seed):
    check_signatures([symptoms.healthy(seed), *(symptoms.run(number, seed) for number in NUMBERS)])


def test_there_is_one_case_for_each_cause_in_another_order():
    of_cases = [cause_of(number).name for number in NUMBERS]
    assert sorted(of_cases) == sorted(CAUSES)
    assert len(CAUSES) == 10
    assert all(case != cause for case, cause in zip(of_cases, CAUSES, strict=True))
    for number in NUMBERS:
        assert cause_of(number).name not in symptoms.complaint(number)


@pytest.mark.parametrize("number", NUMBERS)
def test_without_its_one_fault_a_run_is_the_healthy_one_to_the_last_bit(number):
    cause = cause_of(number)
    overridden = {name for name in vars(cause.experiment) if not name.startswith("__")}
    assert overridden == {cause.place}
    fixed, healthy = symptoms.run(number, fixed=True), run(0)
    assert (fixed.number, fixed.fixed) == (number, True)
    assert fixed.curves.keys() == healthy.curves.keys()
    for name, values in healthy.curves.items():
        np.testing.assert_array_equal(fixed.curves[name], values)
    assert any(not np.array_equal(run(number).curves[name], values) for name, values in healthy.curves.items())


@pytest.fixture
def one_thread():
    """For so small a network threads are a hindrance."""
    before = numba.get_num_threads()
    minicnn.set_num_threads(1)
    yield
    minicnn.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_the_healthy_run_is_what_the_trainer_makes():
    """Trained once more by `Trainer`, which has no part in the lab."""
    experiment = Experiment()
    weights, order = np.random.default_rng(0).spawn(2)
    digits = experiment.prepared(load_digits())
    network = experiment.network(weights)
    trainer = minicnn.Trainer(network, minicnn.NLLLoss(), experiment.optimizer(network), fuse=False, quiet=True)
    history = trainer.fit(experiment.batches(digits.train, order), [(digits.test.images, digits.test.labels)], EPOCHS)
    curves = run(0).curves
    for key, found in (
        ("loss", curves["loss"].reshape(EPOCHS, -1).mean(axis=1)),
        ("accuracy", curves["accuracy"].reshape(EPOCHS, -1).mean(axis=1)),
        ("val_loss", curves["val_loss"][1:]),
        ("val_accuracy", curves["val_accuracy"][1:]),
    ):
        np.testing.assert_allclose([row[key] for row in history], found, rtol=1e-5)
    assert curves["val_accuracy"][-1] > 0.95


def test_what_is_written_down_of_the_steps():
    curves = run(0).curves
    steps = EPOCHS * N_TRAIN // 64
    assert curves["loss"].shape == (steps,)
    assert curves["gradient_norm"].shape == curves["update_norm"].shape == curves["weight_norm"].shape == (steps, 5)
    # The first step of SGD is the learning rate times the gradient, against it.
    np.testing.assert_allclose(curves["update_norm"][0], 0.02 * curves["gradient_norm"][0], rtol=1e-3)
    np.testing.assert_allclose(curves["alignment"][0], 1, rtol=1e-5)
    np.testing.assert_allclose(curves["loss_gradient"], 1, rtol=1e-5)
    # bn2's first weights are 1, its biases 0.
    np.testing.assert_allclose(curves["weight_norm"][0, 2], np.sqrt(32))
    # Validated class by class or mixed, it is the same network that says the same of the same pictures.
    np.testing.assert_allclose(curves["val_accuracy"], curves["val_accuracy_mixed"])
    np.testing.assert_array_equal(curves["confusion"].sum(axis=(1, 2)), 360)
    np.testing.assert_allclose(curves["confusion"].trace(axis1=1, axis2=2) / 360, curves["val_accuracy"])


def test_what_is_written_down_of_the_pictures():
    digits = Experiment().prepared(load_digits())
    pictures, labels = digits.train.images, digits.train.labels
    curves = run(0).curves
    np.testing.assert_allclose(curves["pixel_mean"], pictures.mean(), atol=1e-6)
    np.testing.assert_allclose(curves["pixel_spread"], pictures.std(), rtol=1e-5)
    np.testing.assert_allclose(curves["label_means"][0, 3], pictures[labels == 3, 0].mean(axis=0), atol=1e-6)
    means = np.stack([pictures[labels == label].mean(axis=0) for label in range(10)])[labels]
    explained = 1 - np.square(pictures - means).sum() / np.square(pictures - pictures.mean(axis=0)).sum()
    np.testing.assert_allclose(curves["label_share"], explained, rtol=1e-4)


def test_a_run_repeats_itself_and_leaves_the_number_of_threads_as_it_was():
    before = numba.get_num_threads()
    again = symptoms.run(3)
    assert numba.get_num_threads() == before
    for name, values in run(3).curves.items():
        np.testing.assert_array_equal(again.curves[name], values)


@pytest.mark.parametrize("number", [0, 11, "4", None])
def test_other_numbers_are_refused(number):
    with pytest.raises(ValueError, match="expected the number of a case, 1 to 10"):
        symptoms.run(number)


# The faulty code, each by numbers known by hand


def test_the_log_of_a_softmax_underflows_where_log_softmax_does_not():
    faulty, right = LogOfSoftmax(), minicnn.LogSoftmax()
    x, dy = np.float32([[1, 2, 0]]), np.float32([[0, -1, 0]])
    np.testing.assert_allclose(faulty.forward(x), right.forward(x), rtol=2e-3)
    np.testing.assert_allclose(faulty.backward(dy), right.backward(dy), atol=2e-3)
    x = np.float32([[0, 20, 0]])
    with np.errstate(divide="ignore", invalid="ignore"):
        np.testing.assert_array_equal(faulty.forward(x), [[-np.inf, 0, -np.inf]])
        assert np.isnan(faulty.backward(dy)).all()
    assert np.isfinite(right.forward(x)).all()
    assert np.isfinite(right.backward(dy)).all()


def test_floor_windows_leave_the_end_out():
    rows, _ = FloorMaxPool2d(5).windows((8, 8))
    assert rows.tolist() == [[0, 1, 1], [1, 2, 1], [2, 3, 1], [3, 4, 1], [4, 5, 1]]
    assert adaptive_windows(8, 5)[-1].tolist() == [6, 8, 2]
    rows, _ = FloorMaxPool2d(4).windows((8, 8))
    np.testing.assert_array_equal(rows, adaptive_windows(8, 4))  # no fault where sizes divide


def test_negative_weights_give_nothing_for_what_is_not_negative():
    layer = NegativeLinear(32, 50, np.random.default_rng(0))
    x = np.random.default_rng(1).random((20, 32), np.float32)
    assert (layer.forward(x) < 0).all()


def test_the_summed_gradient_is_n_times_the_mean_one():
    log_p, labels = np.log(np.float32([[0.5, 0.5], [0.25, 0.75], [0.1, 0.9]])), np.array([0, 1, 1])
    faulty, right = SummedGradient(), minicnn.NLLLoss()
    assert faulty.forward(log_p, labels) == right.forward(log_p, labels)
    np.testing.assert_allclose(faulty.backward(), 3 * right.backward(), rtol=1e-6)


def weight_after(optimizer_class, gradients, **options):
    """The weight that a `Linear(1, 1)` gets from a weight of 1 by steps with these gradients."""
    network = minicnn.Sequential(fc=minicnn.Linear(1, 1, bias=False))
    network["fc"].params["weight"][:] = 1
    optimizer = optimizer_class(network, 0.1, 0.5, **options)
    for gradient in gradients:
        network["fc"].grads["weight"] = np.float32([[gradient]])
        optimizer.step()
    return network["fc"].params["weight"].item()


def test_the_faulty_optimisers_step_as_told():
    assert weight_after(minicnn.SGD, [1, 1]) == pytest.approx(1 - 0.1 - 0.15)
    assert weight_after(AscendingSGD, [1, 1]) == pytest.approx(1 + 0.1 + 0.15)
    assert weight_after(ForgetfulSGD, [1, 1]) == pytest.approx(1 - 0.1 - 0.1)


def test_shuffled_apart_every_picture_and_every_label_still_comes_once():
    train = Experiment().prepared(load_digits()).train
    pictures, labels = map(np.concatenate, zip(*ShuffledApart(train, np.random.default_rng(0)), strict=True))
    assert sorted(map(bytes, pictures)) == sorted(map(bytes, train.images))
    np.testing.assert_array_equal(np.sort(labels), np.sort(train.labels))
    true_labels = {bytes(picture): label for picture, label in zip(train.images, train.labels, strict=True)}
    right = np.mean([true_labels[bytes(picture)] == label for picture, label in zip(pictures, labels, strict=True)])
    assert 0.05 < right < 0.2


# What is said


@pytest.mark.parametrize("number", NUMBERS)
def test_a_wrong_answer_is_contradicted_with_numbers_and_reveals_nothing(number):
    curves, cause = run(number).curves, cause_of(number)
    for name, wrong in CAUSES.items():
        if name == cause.name:
            continue
        right, said = symptoms.check(run(number), name, run(0))
        said = " ".join(said.split())
        assert not right
        for secret in (cause.name, cause.title, cause.fix, cause.shown[:40]):
            assert secret not in said
        failing = [sign for sign in wrong.signature if not sign.holds(curves)]
        assert failing
        for sign in failing:
            assert f"{sign.measure.what} would be {sign.expected}, and is {sign.measure.text(curves)}" in said
        assert said.count(" would be ") == len(failing)
        fitting = said.partition("What does fit:")[2].partition("Look next")[0]
        for sign in wrong.signature:
            assert (f"{sign.measure.what}: {sign.measure.text(curves)}" in fitting) == (sign not in failing)
        look = said.partition("Look next at ")[2]
        measure = next(measure for measure in MEASURES if measure.what in look)
        assert measure.panel in look
        assert f"{measure.text(curves)} here and {measure.text(run(0).curves)} in the healthy run" in look
        assert measure.text(curves) != measure.text(run(0).curves)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_right_answer_is_explained_with_numbers(number):
    curves, cause = run(number).curves, cause_of(number)
    right, said = symptoms.check(run(number), cause.name, run(0))
    said = " ".join(said.split())
    assert right
    assert said == "Right. " + " ".join(symptoms.explain(run(number), run(0)).split())
    for sign in cause.signature:
        assert f"{sign.measure.what}: {sign.measure.text(curves)}, expected {sign.expected}" in said
    assert cause.shown in said
    assert cause.fix in said
    assert cause.confused
    for other, difference in cause.confused.items():
        assert other != cause.name
        assert f"{other}: {difference}" in said
        sign = next(sign for sign in CAUSES[other].signature if not sign.holds(curves))
        assert f"{sign.measure.what} would be {sign.expected}, and is {sign.measure.text(curves)}" in said
    assert said.endswith(f"{cause.experiment.__module__.rpartition('.')[2]}.py")


def test_an_unknown_answer_is_refused():
    with pytest.raises(ValueError, match=r"expected one of batchnorm-mode, .*, got 'bad luck'"):
        symptoms.check(run(1), "bad luck", run(0))


def test_a_sign_says_its_bounds_and_no_bound_holds_for_what_is_no_number():
    measure = measures.Measure("the last loss", measures.LOSS, lambda curves: curves["loss"][-1])
    curves = {"loss": np.array([1.0, 2.0])}
    for sign, words, holds in (
        (Sign(measure, low=2), "at least 2", True),
        (Sign(measure, high=1.5), "at most 1.5", False),
        (Sign(measure, low=0.1, high=3), "from 0.1 to 3", True),
        (Sign(measure, low=2.1, high=3), "from 2.1 to 3", False),
    ):
        assert (sign.expected, sign.holds(curves)) == (words, holds)
    assert not Sign(measure).holds({"loss": np.array([1.0, np.nan])})
    assert measure.text({"loss": np.array([np.nan])}) == "not a number"


def test_measures_stop_where_numbers_do():
    curves = {"loss": np.array([2.0, 1.0, np.inf, 0.5]), "alignment": np.array([np.nan, 1.0])}
    assert measures.STEPS.of(curves) == 2
    assert (measures.HIGHEST_LOSS.of(curves), measures.LOWEST_LOSS.of(curves)) == (2, 1)
    assert np.isnan(measures.LOWEST_ALIGNMENT.of(curves))


# Pictures and the command


def test_the_picture_has_a_panel_for_every_measure_and_no_text_leaves_its_place():
    figure = symptoms.draw(run(9), run(0))  # with losses that are no numbers
    titles = [axes.get_title() for axes in figure.axes]
    assert len(titles) == 12
    assert {measure.panel for measure in MEASURES} <= {*titles, measures.TABLE}
    assert any("not a number" in text.get_text() for text in figure.axes[0].texts)
    figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)


@pytest.mark.quick
def test_the_list_of_cases():
    result = call()
    assert result.exit_code == 0
    text = " ".join(result.output.split())
    for number in NUMBERS:
        assert f"{number} {symptoms.complaint(number)}" in text
    assert not [name for name in CAUSES if name in result.output]


@pytest.mark.quick
def test_looking_at_a_case(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call(8)
    assert (result.exit_code, result.stderr) == (0, "")
    rows = [" ".join(line.split()) for line in result.stdout.splitlines()]
    for measure in MEASURES:
        assert f"{measure.what} {measure.text(run(8).curves)} {measure.text(run(0).curves)}" in rows
    assert "steps before the loss is no longer a number 120 of 120 120 of 120" in rows
    assert all(f"{cause.name} {cause.title}" in " ".join(rows) for cause in CAUSES.values())
    assert "picture: symptom-8.png" in result.stdout
    assert result.stdout.endswith("minicnn learn symptoms 8 --answer CAUSE\n")
    with Image.open("symptom-8.png") as picture:
        assert picture.size == (2040, 1440)

    fixed = call(8, "--fixed", "-o", "m.png")
    rows = [" ".join(line.split()) for line in fixed.stdout.splitlines()]
    for measure in MEASURES:
        assert " ".join([measure.what, *[measure.text(run(0).curves)] * 2]) in rows
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.png", "symptom-8.png"]


@pytest.mark.quick
def test_answering_and_revealing(runs_made_once, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    right, wrong, revealed = (
        call(8, "--answer", "pooling-windows"),
        call(8, "--answer", "dead-relu"),
        call(8, "--reveal"),
    )
    assert (right.exit_code, wrong.exit_code, revealed.exit_code) == (0, 1, 0)
    explained = symptoms.explain(run(8), run(0)) + "\n"
    assert right.output.endswith(f"Right.\n\n{explained}")  # a line about compiling may come first
    assert revealed.output.endswith(explained)
    assert "Right." not in revealed.output
    assert wrong.output.endswith(symptoms.check(run(8), "dead-relu", run(0))[1] + "\n")
    assert not list(tmp_path.iterdir())  # no picture


def test_what_is_said_fits_a_terminal_of_80_columns(runs_made_once, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for said in (call(), call(7), call(7, "--answer", "dead-relu"), call(9, "--reveal")):
        lines = [line for line in said.output.splitlines() if not line.startswith("The faulty code: ")]  # a path
        assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([0], "0 is not in the range 1<=x<=10"),
        (["x"], "'x' is not a valid integer range"),
        (["--reveal"], "expected the NUMBER of a case"),
        ([4, "--answer", "x"], "'x' is not one of 'batchnorm-mode'"),
        ([4, "--answer", "dead-relu", "--reveal"], "exclude each other"),
        ([4, "-o", "x.jpg"], "a name that ends in .png"),
        ([4, "--reveal", "-o", "x.png"], "--output goes with the picture"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_a_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


def test_what_is_not_installed_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = call(4)
    assert result.exit_code == 1
    assert "pip install matplotlib" in result.stderr
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.setattr(symptoms.curves, "_digits", load_digits)  # as in a new process, where none are read yet
    result = call(4, "--reveal")
    assert result.exit_code == 1
    assert "pip install scikit-learn" in result.stderr
