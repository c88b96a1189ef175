"""`minicnn.gradcheck`: right layers pass, nothing changes, and a check that shows nothing is refused.

What it makes of the mutants of `tests/test_mutants.py` is tested there.
"""

import threading

import numpy as np
import pytest

import minicnn
from minicnn import Images, gradcheck
from minicnn.verify.gradcheck.quotients import TOLERANCE
from tests import cases, checks
from tests.gradients import Own, draw, row_of, small_net, wrong, wrong_weight

PARAMETRIZE_BACKEND = pytest.mark.parametrize("backend", checks.BACKENDS)
SOUND = [case for case in cases.ALL + cases.MIXED if case.numeric]


# What is right passes


# Every fifth is quick.
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=() if n % 5 else pytest.mark.quick) for n, case in enumerate(SOUND)],
    ids=[cases.name_of(case) for case in SOUND],
)
def test_every_layer_and_loss(case):
    report = checks.run_gradcheck(case, "cpu")
    if sum(row.size for row in report.arrays) < 4:
        assert report.verdict == "refused"
        assert "elements compared" in report.sentence
        return
    report.require()
    assert report
    for row in report.arrays:
        assert (row.verdict, row.kinks) == ("passed", 0)
        assert row.error < TOLERANCE / 10
        assert row.tried == min(row.size, 40)
        assert row.all_at_once == (row.tried < row.size)


@pytest.mark.parametrize("case", [SOUND[n] for n in range(0, len(SOUND), 9)], ids=cases.name_of)
def test_on_the_reference(case):
    report = checks.run_gradcheck(case, "reference")
    assert "float64 on reference" in str(report)
    assert report or "elements compared" in report.sentence


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rewrite", [lambda network: network, minicnn.fuse], ids=["plain", "fused"])
def test_simplenet(training, rewrite):
    network = rewrite(minicnn.SimpleNet(rng=0).train(training))
    report = gradcheck(network, draw(2, 3, 9, 8), elements=8)
    report.require()
    biases = {"conv1.bias", "conv2.bias", "conv3.bias"}  # before batchnorm: it takes each of them out again
    near_zero = {row.name for row in report.arrays if row.verdict == "near zero"}
    assert near_zero == (biases if training else set())
    assert ("Nothing is shown of conv1.bias, conv2.bias and conv3.bias" in str(report)) == training
    assert f"{'training' if training else 'evaluation'} mode" in str(report)
    assert len(report.arrays) == 1 + len(list(network.named_params()))


@pytest.mark.parametrize("loss", [minicnn.CrossEntropyLoss(label_smoothing=0.1), minicnn.NLLLoss()])
def test_a_network_through_its_loss(loss):
    report = gradcheck(small_net(), draw(3, 2, 6, 5), [0, 2, 1], loss=loss)
    assert report.require() is report
    assert type(loss).__name__ in str(report)


def test_a_loss_of_ones_own():
    class HalfSquares:
        def forward(self, output, target):
            self.difference = output - target
            return 0.5 * np.square(self.difference).sum()

        def backward(self):
            return self.difference * self.factor

        factor = 1

    right, wrong = HalfSquares(), HalfSquares()
    wrong.factor = 2
    fc, x, target = minicnn.Linear(4, 3, rng=0), draw(5, 4), draw(5, 3, seed=1)
    assert gradcheck(fc, x, target, loss=right)
    report = gradcheck(fc, x, target, loss=wrong)
    assert {row.verdict for row in report.arrays} == {"WRONG"}
    assert row_of(report, "weight").factor == pytest.approx(2)


@pytest.mark.parametrize("scale", [1e-2, 1, 1e3, 1e6])
def test_numbers_of_any_size(scale):
    """Behind batchnorm the gradient of x is the smaller, the larger x is: 1e-6 is not near zero then."""
    report = gradcheck(small_net(), scale * draw(3, 2, 6, 5)).require()
    assert row_of(report, "x").all_at_once


@pytest.mark.parametrize("margin", [15, 18, 20, 22, 25, 30, 40, 100])
def test_a_network_that_has_nothing_left_to_learn(margin):
    """A loss of exp(-margin) has gradients that rounding drowns. Backward is not blamed for it."""
    fc = minicnn.Linear(4, 3, rng=0)
    x, labels = draw(6, 4), [0, 1, 2, 0, 1, 2]
    x[:, :3] = margin * np.eye(3)[labels]
    fc.params["weight"][:] = np.eye(3, 4)
    report = gradcheck(fc, x, labels, loss=minicnn.CrossEntropyLoss())
    assert report.verdict == "refused"


@PARAMETRIZE_BACKEND
def test_images_of_mixed_sizes_and_single_images(backend):
    images = Images([draw(2, h, w, seed=h) for h, w in [(6, 5), (3, 9), (7, 4)]])
    for network in (small_net(), minicnn.fuse(small_net())):
        gradcheck(network.to(backend), images.astype(np.float32)).require()
    gradcheck(minicnn.Conv2d(2, 3, 3, rng=0).to(backend), draw(2, 5, 6)).require()


def test_a_network_in_a_network_and_layers_in_different_modes():
    network = minicnn.Sequential(block=small_net(), last=minicnn.Linear(3, 2, rng=0).to("reference"))
    network["block.bn1"].eval()
    report = gradcheck(network, draw(3, 2, 6, 5)).require()
    assert "mixed mode" in str(report)
    assert row_of(report, "block.conv1.weight").size == 54


def test_a_layer_of_ones_own():
    assert gradcheck(Own(np.tanh, lambda x: 1 - np.tanh(x) ** 2), draw(3, 4))

    class LeakyReLU(minicnn.Layer):
        """With a parameter that is one number."""

        def __init__(self):
            super().__init__()
            self.params["slope"] = np.float32(0.25)

        def forward(self, x):
            self.x = x
            return np.where(x > 0, x, self.params["slope"] * x)

        def backward(self, dy):
            self.grads["slope"] = np.where(self.x > 0, 0, self.x * dy).sum()
            return np.where(self.x > 0, dy, self.params["slope"] * dy)

    report = gradcheck(LeakyReLU(), draw(3, 4).astype(np.float32)).require()
    assert (row_of(report, "slope").index, row_of(report, "slope").size) == ((), 1)


def test_a_forward_that_writes_to_its_own_buffer_is_right_and_one_that_writes_to_its_input_is_not():
    class OneBuffer(minicnn.ReLU):
        buffer = np.zeros((3, 4))

        def forward(self, x):
            self.buffer[:] = np.maximum(x, 0)
            self.remember(self.buffer, y=self.buffer.copy())
            return self.buffer

    class InPlace(OneBuffer):
        def forward(self, x):
            x[x < 0] = 0
            return super().forward(x)

    x = draw(3, 4)
    before = x.copy()
    assert gradcheck(OneBuffer(), x)
    assert "InPlace.forward writes into its input x" in str(gradcheck(InPlace(), x))
    np.testing.assert_array_equal(x, before)


# Nothing of the layer changes


@PARAMETRIZE_BACKEND
@pytest.mark.parametrize("dtype", checks.DTYPES)
def test_everything_stays_as_it_was(backend, dtype):
    network, loss = small_net().to(backend, dtype), minicnn.CrossEntropyLoss().to(backend)
    network["bn1"].eval()
    x, labels = draw(3, 2, 6, 5).astype(dtype), [0, 2, 1]
    loss.forward(network.forward(x), labels)
    network.backward(loss.backward())
    value = loss.forward(network.forward(x), labels)

    layers = [layer for _, layer in network.named_layers()]
    arrays = [
        (store, key, array, array.copy())
        for layer in layers
        for store in (layer.params, layer.state, layer.grads)
        for key, array in store.items()
    ]
    others = [(layer, layer.memory, layer.training, layer.ops) for layer in layers]
    memory, state = loss._memory, network.state_dict()
    kept = [array for layer in layers for array in vars(layer.memory).values() if isinstance(array, np.ndarray)]
    kept_before = [array.copy() for array in kept]
    x_before = x.copy()

    assert gradcheck(network, x, labels, loss=loss)

    for store, key, array, before in arrays:
        assert store[key] is array
        assert array.dtype == before.dtype
        np.testing.assert_array_equal(array, before)
    for layer, *expected in others:
        assert all(now is then for now, then in zip((layer.memory, layer.training, layer.ops), expected, strict=True))
    for array, before in zip(kept, kept_before, strict=True):
        np.testing.assert_array_equal(array, before)
    assert loss._memory is memory
    np.testing.assert_array_equal(x, x_before)
    assert [layer.state.get("num_batches_tracked", 0) for layer in layers] == [
        state.get(f"{name}.num_batches_tracked", 0) for name, _ in network.named_layers()
    ]
    network.backward(loss.backward())  # the forward of before can still be answered
    assert loss.forward(network.forward(x), labels) == value


@pytest.mark.quick
def test_threads_are_given_back():
    import numba

    before = numba.get_num_threads()
    try:
        minicnn.set_num_threads(2)
        assert gradcheck(minicnn.Linear(4, 3, rng=0), draw(2, 4))
        assert numba.get_num_threads() == 2
        with pytest.raises(ValueError, match="Linear"):
            gradcheck(minicnn.Linear(4, 3, rng=0), draw(2, 5))
        assert numba.get_num_threads() == 2
    finally:
        minicnn.set_num_threads(before)


def test_the_same_seed_gives_the_same_report():
    layer, x = minicnn.Linear(30, 20, rng=0), draw(3, 30)
    assert gradcheck(layer, x).arrays == gradcheck(layer, x).arrays
    assert gradcheck(layer, x).arrays != gradcheck(layer, x, rng=1).arrays
    rng = np.random.default_rng(0)
    assert gradcheck(layer, x, rng=rng).arrays == gradcheck(layer, x).arrays


# What shows nothing is refused


class Sum:
    """A loss that weighs all outputs alike."""

    def forward(self, output, target):
        self.output = output
        return output.sum()

    def backward(self):
        return np.ones_like(self.output)


def test_ones_under_batchnorm():
    report = gradcheck(minicnn.BatchNorm2d(3), draw(2, 3, 4, 5), [0, 1], loss=Sum())
    assert {row.name: row.verdict for row in report.arrays} == {
        "x": "near zero",
        "weight": "near zero",
        "bias": "passed",
    }
    assert report.verdict == "refused"
    assert "the gradient of x is near zero" in report.sentence
    with pytest.raises(AssertionError, match="Refused"):
        report.require()


@pytest.mark.parametrize("backward", [lambda x: (x > 0) * 1.0, np.zeros_like, lambda x: (x > 2) * 1.0])
def test_a_dead_relu(backward):
    report = gradcheck(Own(lambda x: np.maximum(x, 0), backward), -1 - np.abs(draw(3, 4)))
    assert report.verdict == "refused"
    assert "near zero" in report.sentence


def test_a_dead_relu_within_a_network():
    network = small_net()
    network["conv2"].params["bias"][:] = -100
    assert gradcheck(network, draw(3, 2, 6, 5)).verdict == "refused"


def test_a_parameter_near_zero():
    """Within a network beside a parameter that passes it is said and let pass, elsewhere refused; wrong is wrong."""
    x = draw(3, 2, 6, 5)
    for flat in (minicnn.Linear(4, 3, rng=0), minicnn.Sequential(fc=minicnn.Linear(4, 3, bias=False, rng=0))):
        report = gradcheck(flat, np.zeros((5, 4)))
        assert report.verdict == "refused"
        assert "weight is near zero" in report.sentence

    def alter(self, dx):
        self.grads["bias"] = self.grads["bias"] + 0.01
        return dx

    report = gradcheck(small_net(conv1=wrong(minicnn.Conv2d, alter)(2, 3, 3, padding=1, rng=0)), x)
    assert {row.name for row in report.arrays if row.verdict == "WRONG"} == {"conv1.bias"}
    assert row_of(report, "conv1.bias").error == pytest.approx(1)
    assert 'grads["bias"]; grads["weight"] is right' in report.sentence


def test_a_true_gradient_of_zero_under_rounding():
    """Sine and cosine squared make 1, and quotients of nothing but rounding, which is not the measure of anything."""
    x = draw(8, 8)

    def one(x):
        return np.sin(x) ** 2 + np.cos(x) ** 2

    report = gradcheck(Own(one, np.zeros_like), x)
    assert 0 < abs(row_of(report, "x").quotient) < 1e-9
    assert row_of(report, "x").verdict == "near zero"
    report = gradcheck(Own(one, lambda x: np.full_like(x, 0.01)), x)
    assert report.verdict == "WRONG"
    assert row_of(report, "x").error == pytest.approx(1)


def test_a_true_gradient_of_zero_in_a_large_array():
    """The step that moves all together is let pass with a spread that is near zero, too, and says so."""
    report = gradcheck(
        small_net(
            conv2=minicnn.Conv2d(3, 60, 1, rng=0), relu2=minicnn.BatchNorm2d(60), fc=minicnn.Linear(240, 3, rng=0)
        ),
        draw(3, 2, 6, 5),
    )
    row = row_of(report.require(), "conv2.bias")
    assert (row.verdict, row.tried, row.size, row.all_at_once) == ("near zero", 40, 60, True)


@pytest.mark.parametrize(("distance", "all_at_once"), [(0, False), (1e-6, True)])
def test_all_at_once_is_left_out_where_even_its_shortest_step_meets_a_kink(distance, all_at_once):
    x = draw(100)
    x[:3] = distance
    row = row_of(gradcheck(minicnn.ReLU(), x).require(), "x")
    assert (row.verdict, row.all_at_once) == ("passed", all_at_once)


def test_too_few_elements():
    report = gradcheck(Own(np.tanh, lambda x: 1 - np.tanh(x) ** 2), draw(3))
    assert report.verdict == "refused"
    assert "elements compared: 3" in report.sentence
    assert gradcheck(Own(np.tanh, lambda x: 1 - np.tanh(x) ** 2), draw(4))


# Errors


class Float32(minicnn.Layer):
    def forward(self, x):
        return x.astype(np.float32)


class Moody(minicnn.Layer):
    def forward(self, x):
        self.calls = getattr(self, "calls", 0) + 1
        return x * self.calls

    def backward(self, dy):
        return dy * self.calls


class Careless(minicnn.Linear):
    def backward(self, dy, need_dx=True):
        dx = super().backward(dy)
        del self.grads["bias"]
        return dx


class Locked(minicnn.ReLU):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


LINE = minicnn.Linear(4, 3, rng=0)
BROKEN = minicnn.Linear(4, 3, rng=0)
BROKEN.params["weight"][1, 2] = np.nan
X = draw(2, 4)
ERRORS = [
    (lambda: gradcheck(minicnn.Linear, X), TypeError, "expected a layer or a network, got <class"),
    (lambda: gradcheck(LINE, X, [0, 1]), TypeError, "labels y and a loss, or neither"),
    (lambda: gradcheck(LINE, X, loss=minicnn.NLLLoss()), TypeError, "labels y and a loss, or neither"),
    (lambda: gradcheck(LINE, X, elements=7), ValueError, "elements: expected at least 8, got 7"),
    (lambda: gradcheck(LINE, X, elements=8.5), TypeError, "elements: expected an integer"),
    (lambda: gradcheck(LINE, [[1, 2, 3, 4]]), TypeError, r"x: expected dtype float32 or float64, got int64"),
    (lambda: gradcheck(LINE, np.where(X[1, 2] == X, np.inf, X)), ValueError, r"x: .* got 1 of 8 .* inf at \(1, 2\)"),
    (lambda: gradcheck(BROKEN, X), ValueError, r"weight: .* got 1 of 12 .* nan at \(1, 2\)"),
    (lambda: gradcheck(Own(np.log, np.reciprocal), -1 - X**2), ValueError, r"the output of Own.forward: .* got 8 of 8"),
    (lambda: gradcheck(LINE, draw(2, 5)), ValueError, r"Linear: expected input of shape \(N, 4\), got \(2, 5\)"),
    (lambda: gradcheck(Own(list, np.ones_like), X), TypeError, "Own.forward: expected an array, got list"),
    (lambda: gradcheck(Float32(), X), TypeError, "Float32.forward: expected float64 as the input is, got float32"),
    (
        lambda: gradcheck(Own(np.sin, lambda x: np.ones(3)[:, None, None]), X),
        ValueError,
        r"dx of Own.backward: expected",
    ),
    (
        lambda: gradcheck(wrong(minicnn.ReLU, lambda self, dx: None)(), X),
        TypeError,
        "dx of .*: expected an array, got No",
    ),
    (lambda: gradcheck(Careless(4, 3), X), ValueError, "Careless.backward to assign a gradient of 'bias', got none"),
    (lambda: gradcheck(Moody(), X), ValueError, "Moody.forward gave another output the second time"),
    (lambda: gradcheck(Locked(), X), RuntimeError, "gradcheck: Locked is copied before .* cannot pickle"),
    (lambda: gradcheck(minicnn.BatchNorm2d(2), draw(1, 2, 1, 1)), ValueError, "more than one value per channel"),
]


@pytest.mark.parametrize(("work", "error", "words"), ERRORS, ids=[words[:40] for *_, words in ERRORS])
def test_errors(work, error, words):
    with pytest.raises(error, match=words):
        work()


# The table


def test_the_table():
    report = gradcheck(wrong(minicnn.Linear, wrong_weight)(30, 2, rng=0), draw(3, 30))
    heading, empty, titles, *rows, also_empty, sentence = str(report).splitlines()
    assert heading == "gradcheck of Wrong(30, 2), x (3, 30), random dy, training mode, float64 on cpu"
    assert (empty, also_empty, sentence) == ("", "", report.sentence)
    assert [row.split()[0] for row in rows] == ["x", "weight", "bias"]
    assert [row[titles.index("tried") : titles.index("kinks")].strip() for row in rows] == [
        "40 of 90 + all at once",
        "40 of 60",
        "2 of 2",
    ]
    assert [row[titles.index("kinks") + 5 :].strip() for row in rows] == ["passed", "WRONG", "passed"]
    assert f"{row_of(report, 'weight').backward:.6g}" in rows[1]
    assert repr(report) == f"GradientReport(WRONG: {report.subject})"
