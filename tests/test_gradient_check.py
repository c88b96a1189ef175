"""`minicnn.gradcheck`: right layers pass, wrong ones do not, and a check that shows nothing is refused.

What it makes of the mutants of `tests/test_mutants.py` is tested there.
"""

import threading

import numpy as np
import pytest

import minicnn
from minicnn import Images, gradcheck
from minicnn.verify.gradcheck.quotients import TOLERANCE
from tests import cases, checks

PARAMETRIZE_BACKEND = pytest.mark.parametrize("backend", checks.BACKENDS)
SOUND = [case for case in cases.ALL + cases.MIXED if case.numeric]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def row_of(report, name):
    return next(row for row in report.arrays if row.name == name)


class Own(minicnn.Layer):
    """A layer of one's own, which has a forward and a backward only: y = f(x), dx = slope(x) * dy."""

    def __init__(self, f, slope):
        super().__init__()
        self.f, self.slope = f, slope

    def forward(self, x):
        self.x = x
        return self.f(x)

    def backward(self, dy):
        return dy * self.slope(self.x)


# What is right passes


@pytest.mark.parametrize("case", SOUND, ids=cases.name_of)
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


def small_net(**layers):
    """conv, batchnorm, relu and so on, small enough for hundreds of passes; `layers` take the place of some."""
    rng = np.random.default_rng(5)
    usual = {
        "conv1": minicnn.Conv2d(2, 3, 3, padding=1, rng=rng),
        "bn1": minicnn.BatchNorm2d(3),
        "relu1": minicnn.ReLU(),
        "conv2": minicnn.Conv2d(3, 4, 3, padding=1, rng=rng),
        "relu2": minicnn.ReLU(),
        "pool": minicnn.AdaptiveMaxPool2d((2, 2)),
        "flatten": minicnn.Flatten(),
        "fc": minicnn.Linear(16, 3, rng=rng),
        "log_softmax": minicnn.LogSoftmax(),
    }
    return minicnn.Sequential(**usual | layers).to("reference")


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


def test_a_forward_that_writes_to_its_input_and_its_output():
    class InPlace(minicnn.ReLU):
        buffer = np.zeros((3, 4))

        def forward(self, x):
            x[x < 0] = 0
            self.buffer[:] = x
            self.remember(self.buffer, y=x)
            return self.buffer

    x = draw(3, 4)
    before = x.copy()
    assert gradcheck(InPlace(), x)
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


# What is wrong does not pass


def wrong(layer_type, alter):
    """A subclass of a layer whose `alter` may change what backward found: alter(self, dx) -> dx."""

    class Wrong(layer_type):
        def backward(self, dy, need_dx=True):
            return alter(self, super().backward(dy))

    return Wrong


def _flip_dweight(self, dx):
    self.grads["weight"] = self.grads["weight"][:, :, ::-1, ::-1].copy()
    return dx


def _mean_dbias(self, dx):
    self.grads["bias"] = self.grads["bias"] / len(dx)
    return dx


def _transpose_dweight(self, dx):
    self.grads["weight"] = self.grads["weight"].T.copy()
    return dx


def _without_batch_sum(self, dx):
    self.grads["weight"] = self.grads["weight"] / len(dx)
    return dx


CONV = (minicnn.Conv2d, (2, 3, 3), (3, 2, 5, 6))
LINEAR = (minicnn.Linear, (4, 4), (3, 4))
PLANTED = [
    ("dweight flipped", *CONV, _flip_dweight, {"weight"}),
    ("dbias a mean", *CONV, _mean_dbias, {"bias"}),
    ("dx flipped", *CONV, lambda self, dx: dx[:, :, ::-1, ::-1].copy(), {"x"}),
    ("dx of the wrong channel", *CONV, lambda self, dx: dx[:, ::-1].copy(), {"x"}),
    ("dx one pixel off", *CONV, lambda self, dx: np.roll(dx, 1, axis=3), {"x"}),
    ("dweight transposed", *LINEAR, _transpose_dweight, {"weight"}),
    ("dweight a mean", *LINEAR, _without_batch_sum, {"weight"}),
    ("sign of dx", *LINEAR, lambda self, dx: -dx, {"x"}),
    ("dx is 4 millionths off", *LINEAR, lambda self, dx: dx * (1 + 4e-6), {"x"}),
    ("a single dx is lost", *LINEAR, lambda self, dx: np.where(np.arange(4) == 2, 0, dx), {"x"}),
    ("dx is 0", *LINEAR, lambda self, dx: 0 * dx, {"x"}),
    ("dx not a number", *LINEAR, lambda self, dx: np.where(np.arange(4) == 2, np.nan, dx), {"x"}),
    ("dx infinite", *LINEAR, lambda self, dx: np.where(np.arange(4) == 2, np.inf, dx), {"x"}),
    ("dx huge", *LINEAR, lambda self, dx: np.where(np.arange(4) == 2, 1e200, dx), {"x"}),
]


@pytest.mark.parametrize(
    ("layer_type", "arguments", "shape", "alter", "expected"),
    [row[1:] for row in PLANTED],
    ids=[row[0] for row in PLANTED],
)
def test_planted_mistakes(layer_type, arguments, shape, alter, expected):
    assert gradcheck(layer_type(*arguments, rng=0), draw(*shape))
    report = gradcheck(wrong(layer_type, alter)(*arguments, rng=0), draw(*shape))
    assert not report
    assert {row.name for row in report.arrays if row.verdict == "WRONG"} == expected
    with pytest.raises(AssertionError, match=r"WRONG: look first at"):
        report.require()


def test_eps_forgotten_in_backward():
    """The finest mistake that the tolerance is made for: 1e-5 beside a variance of 1."""

    class Forgetful(minicnn.BatchNorm2d):
        def backward(self, dy, need_dx=True):
            self.eps, eps = 0.0, self.eps
            dx = super().backward(dy)
            self.eps = eps
            return dx

    assert not gradcheck(Forgetful(3), draw(2, 3, 4, 5))


def test_one_wrong_element_of_a_large_array():
    """Not tried alone, mostly; but it is among those that are moved together."""

    def alter(self, dx):
        dx[1, 2, 7, 8] *= 1.01
        return dx

    layer, x = wrong(minicnn.Conv2d, alter)(3, 2, 3, rng=0), draw(2, 3, 20, 20)
    report = gradcheck(layer, x)
    row = row_of(report, "x")
    assert (row.verdict, row.index, row.tried, row.size) == ("WRONG", None, 40, 2400)
    assert "all at once" in str(report)
    assert "few elements are wrong" in report.sentence


def test_of_a_large_array_the_largest_gradients_are_tried():
    class Steep(minicnn.Layer):
        """Of 1000 numbers only one has a gradient worth the name; its own is wrong."""

        weights = np.where(np.arange(1000) == 777, 100, 1e-3)

        def forward(self, x):
            return self.weights * x

        def backward(self, dy):
            return np.where(np.arange(1000) == 777, 1.5, 1) * self.weights * dy

    report = gradcheck(Steep(), draw(1000))
    assert row_of(report, "x").index == (777,)
    assert row_of(report, "x").error == pytest.approx(0.5)


def test_backward_wrong_where_it_gives_nothing():
    """Gradients that backward lost are not the largest it claims; random elements and the sum of all find them."""

    class Patchy(minicnn.ReLU):
        def backward(self, dy, need_dx=True):
            dx = super().backward(dy)
            dx[:2] = 0
            return dx

    assert not gradcheck(Patchy(), draw(100, 100))


def test_a_gradient_that_is_small_beside_others_is_not_near_zero():
    class Faint(minicnn.Layer):
        factor = 1

        def __init__(self):
            super().__init__()
            self.params["weight"] = np.ones((3, 4), np.float32)

        def forward(self, x):
            return x + 1e-4 * self.params["weight"]

        def backward(self, dy):
            self.grads["weight"] = 1e-4 * self.factor * dy
            return dy

    layer = Faint()
    assert gradcheck(layer, draw(3, 4))
    layer.factor = 1.01
    assert gradcheck(layer, draw(3, 4)).verdict == "WRONG"


def test_a_lost_gradient_among_many_that_are_zero():
    """Backward gives 0 throughout, and so do the quotients of all elements tried; not that of all together."""

    class Sparse(minicnn.Layer):
        chosen = np.arange(4000) == 3210

        def forward(self, x):
            return self.chosen * x

        def backward(self, dy):
            return 0 * dy

    report = gradcheck(Sparse(), draw(4000))
    assert report.verdict == "WRONG"
    assert (row_of(report, "x").index, row_of(report, "x").backward) == (None, 0)
    assert row_of(report, "x").error == pytest.approx(1)


# Where to look first


def _negative(self, dx):
    return -dx


def _wrong_weight(self, dx):
    self.grads["weight"] = self.grads["weight"] * 3
    return dx


LOOK = [
    ({"log_softmax": wrong(minicnn.LogSoftmax, _negative)()}, "the backward of log_softmax or fc. For fc.weight"),
    ({"fc": wrong(minicnn.Linear, _negative)(16, 3, rng=0)}, "the backward of fc, flatten, pool, relu2 or conv2."),
    ({"pool": wrong(minicnn.AdaptiveMaxPool2d, _negative)(2)}, "the backward of fc, flatten, pool, relu2 or conv2."),
    ({"conv2": wrong(minicnn.Conv2d, _negative)(3, 4, 3, padding=1, rng=0)}, "the backward of conv2, relu1 or bn1."),
    ({"bn1": wrong(minicnn.BatchNorm2d, _negative)(3)}, "the backward of bn1 or conv1."),
    ({"conv1": wrong(minicnn.Conv2d, _negative)(2, 3, 3, padding=1, rng=0)}, "the backward of conv1."),
    (
        {"conv2": wrong(minicnn.Conv2d, _wrong_weight)(3, 4, 3, padding=1, rng=0)},
        'how the backward of conv2 computes grads["weight"]; grads["bias"] is right, so what comes down to conv2 is. '
        "For conv2.weight backward gives 3 times",
    ),
]


@pytest.mark.parametrize(("layers", "words"), LOOK, ids=[words[:40] for _, words in LOOK])
def test_the_layer_to_look_at_first(layers, words):
    report = gradcheck(small_net(**layers), draw(3, 2, 6, 5))
    assert report.sentence.startswith(f"WRONG: look first at {words}")


def test_what_to_look_at_in_a_single_layer():
    def sentence(alter):
        return gradcheck(wrong(minicnn.Linear, alter)(4, 4, rng=0), draw(3, 4)).sentence

    assert sentence(_negative) == (
        'WRONG: look first at how backward computes dx; grads["weight"] and grads["bias"] are right. '
        "For x backward gives -1 times the quotient: a factor or a sign."
    )
    assert "backward gives 0 throughout" in sentence(lambda self, dx: 0 * dx)
    assert "x is furthest off at (" in sentence(lambda self, dx: dx[::-1].copy())
    assert 'what dx and grads["weight"] share, in backward or in forward; grads["bias"] is right' in sentence(
        lambda self, dx: -_wrong_weight(self, dx)
    )


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


# Kinks


@pytest.mark.parametrize("distance", [0.0, 1e-300, 1e-12, 1e-9, 1e-8, 5e-8, 1e-7, 1e-6, 1e-5, 3e-5, 1e-4, 1e-2])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_kink_near_by_is_left_out_or_does_no_harm(side, distance):
    """|x| with a curvature, at a distance from its kink. Backward is right on its side, so must not be called wrong."""
    x = draw(20)
    x[3] = side * distance
    report = gradcheck(Own(lambda x: np.abs(x) + x**3, lambda x: np.where(x > 0, 1, -1) + 3 * x**2), x)
    assert report
    assert row_of(report, "x").kinks == (distance <= 1e-7)


@pytest.mark.parametrize("bend", [1e-3, 1.0, 1e3])
def test_a_believed_quotient_is_right(bend):
    """Kinks of any strength at any distance among smooth numbers: where the check says a number, it is the slope."""
    for distance in 2.0 ** np.arange(-30, 0, 0.37):
        x = np.where(np.arange(16) == 5, 1 - distance, np.linspace(1.5, 3, 16))
        kinked = Own(lambda x: x**2 + bend * np.maximum(x - 1, 0) * (x < 1.2), lambda x: 2 * x)
        row = row_of(gradcheck(kinked, x), "x")
        assert row.verdict == "passed"
        assert row.error <= TOLERANCE


def test_kinks_are_counted_and_many_are_refused():
    relu = minicnn.ReLU()
    x = draw(4, 5)
    x.flat[[3, 8, 11, 14, 17]] = 0
    report = gradcheck(relu, x).require()
    assert (row_of(report, "x").kinks, row_of(report, "x").tried) == (5, 20)
    x.flat[[0]] = 0
    report = gradcheck(relu, x)
    assert report.verdict == "refused"
    assert "at 6 of 20 elements of x the slope jumps" in report.sentence
    assert row_of(report, "x").index == (0, 0)


def test_kinks_do_not_hide_what_is_wrong():
    x = draw(4, 5)
    x.flat[[3, 8, 11, 14, 17]] = 0
    for slope in (lambda x: (x > 0) * 2.0, np.ones_like, np.zeros_like, lambda x: np.where(x == 0, 1e12, (x > 0) * 2)):
        assert gradcheck(Own(lambda x: np.maximum(x, 0), slope), x).verdict == "WRONG"


def test_a_kink_without_bounds_excuses_nothing():
    """The cube root at 0 has quotients of 1e5. They are not the measure of the others, where 1 % is too much."""
    x = draw(20)
    x[[3, 8, 11, 14, 17]] = 0
    with np.errstate(divide="ignore"):
        for factor, verdict in ((1, "passed"), (1.01, "WRONG")):
            slope = lambda x, factor=factor: np.where(x == 0, 0, factor / 3 * np.abs(x) ** (-2 / 3))  # noqa: E731
            assert gradcheck(Own(np.cbrt, slope), x).verdict == verdict


@pytest.mark.parametrize("kind", ["max", "adaptive"])
def test_ties_in_max_pooling(kind):
    pool = minicnn.MaxPool2d(2) if kind == "max" else minicnn.AdaptiveMaxPool2d(3)
    x = draw(2, 2, 6, 6)
    x[0, 0, :2, :2] = 3.0  # an exact tie of four
    x[1, 1, 2, 2:4] = 3.0, 3.0 + 1e-9  # a near one
    report = gradcheck(pool, x, elements=200).require()
    assert row_of(report, "x").kinks == 6
    assert not gradcheck(pool, np.ones((2, 2, 6, 6)))
    assert not gradcheck(wrong(type(pool), lambda self, dx: dx * 2)(2 if kind == "max" else 3), x, elements=200)


def test_a_forward_that_loses_digits_is_not_blamed_on_backward():
    """Rounded to float32 on the way, L moves in steps: the quotients say so themselves."""
    report = gradcheck(Own(lambda x: np.sin(x.astype(np.float32)).astype(np.float64), np.cos), draw(3, 4))
    assert report.verdict == "refused"
    assert "rounding" in report.sentence


def test_where_forward_ends():
    """A root at 1e-12: forward is nan to the left."""
    x = np.abs(draw(12)) + 1
    x[4] = 1e-12
    report = gradcheck(Own(np.sqrt, lambda x: 0.5 / np.sqrt(x)), x).require()
    assert row_of(report, "x").kinks == 1


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
    report = gradcheck(wrong(minicnn.Linear, _wrong_weight)(30, 2, rng=0), draw(3, 30))
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
