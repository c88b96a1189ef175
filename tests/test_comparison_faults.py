"""`compare` with faults planted in a network: found where they are, and nothing else is blamed."""

import numpy as np
import pytest

import minicnn
from minicnn.verify.compare import compare, recording
from minicnn.verify.compare.judgement import DIFFERS, FOLLOWS, SAME
from tests.comparing import NoBiasGradient, Raising, WrongDx, broken, conv2, faults, statuses, with_recording
from tests.make_comparison_recording import PATH, batch, layers, network


class WrongWeightGradient(minicnn.Conv2d):
    def backward(self, dy, need_dx=True):
        dx = super().backward(dy)
        self.grads["weight"] = self.grads["weight"] / len(dy)
        return dx


class TransposedGradient(minicnn.Linear):
    def backward(self, dy, need_dx=True):
        dx = super().backward(dy)
        self.grads["weight"] = self.grads["weight"].T.copy()
        return dx


class BiasedVariance(minicnn.BatchNorm2d):
    def track(self, mean, var, count):
        super().track(mean, var * (count - 1) / count, count)


class NotCounted(minicnn.BatchNorm2d):
    def track(self, mean, var, count):
        super().track(mean, var, count)
        self.state["num_batches_tracked"] -= 1


class ConstantStatistics(minicnn.BatchNorm2d):
    def backward(self, dy, need_dx=True):
        self.memory.training = False
        return super().backward(dy)


class NotANumber(minicnn.ReLU):
    def forward(self, x):
        y = super().forward(x)
        y[1, 2] = np.nan
        return y


class WithoutN(minicnn.CrossEntropyLoss):
    def backward(self):
        gradient = super().backward()
        return gradient * len(gradient)


class Summed(minicnn.CrossEntropyLoss):
    def forward(self, output, target):
        return super().forward(output, target) * len(output)


class WrongLr(minicnn.SGD):
    """Off by a thousandth."""

    def step(self):
        self.lr *= 1.001
        super().step()


FAULTS = {
    # name: (network, options, every array that differs by itself, the first of them first)
    "eps": (
        lambda: broken(bn2=minicnn.BatchNorm2d(6, eps=1e-3)),
        {},
        [("bn2", "output"), ("bn2.weight", "gradient"), ("bn2", "dx")],
    ),
    "momentum": (
        lambda: broken(bn1=minicnn.BatchNorm2d(4, momentum=0.2)),
        {},
        [("bn1.running_mean", "statistics"), ("bn1.running_var", "statistics")],
    ),
    "padding": (
        lambda: broken(conv2=conv2(padding=0)),
        {},
        [("conv2", "output"), ("conv2.weight", "gradient"), ("conv2", "dx")],
    ),
    "another pooling": (
        lambda: broken(pool2=minicnn.AdaptiveMaxPool2d((2, 2))),
        {},
        [("pool2", "output"), ("pool2", "dx")],
    ),
    "a layer too few": (lambda: broken(relu2=None), {}, [("relu2", "output"), ("relu2", "dx")]),
    "dx": (lambda: broken(conv2=conv2(WrongDx)), {}, [("conv2", "dx")]),
    "gradient of a weight": (
        lambda: broken(conv2=conv2(WrongWeightGradient)),
        {},
        [("conv2.weight", "gradient")],
    ),
    "gradient missing": (lambda: broken(fc=NoBiasGradient(24, 3)), {}, [("fc.bias", "gradient")]),
    "gradient transposed": (lambda: broken(fc=TransposedGradient(24, 3)), {}, [("fc.weight", "gradient")]),
    "biased variance": (
        lambda: broken(bn1=BiasedVariance(4)),
        {},
        [("bn1.running_var", "statistics")],
    ),
    "not counted": (lambda: broken(bn2=NotCounted(6)), {}, [("bn2.num_batches_tracked", "statistics")]),
    "statistics as constants": (lambda: broken(bn2=ConstantStatistics(6)), {}, [("bn2", "dx")]),
    "not a number": (lambda: broken(relu1=NotANumber()), {}, [("relu1", "output")]),
    "loss": (network, {"loss": Summed()}, [("loss", "loss")]),
    "gradient of the loss": (network, {"loss": WithoutN()}, [("loss", "loss gradient")]),
    "two at once": (
        lambda: broken(bn1=BiasedVariance(4), conv2=conv2(WrongDx)),
        {},
        [("bn1.running_var", "statistics"), ("conv2", "dx")],
    ),
}


@pytest.mark.quick
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_where_it_is_and_nothing_else_is_blamed(name):
    make, options, expected = FAULTS[name]
    comparison = with_recording(make(), **options)
    assert not comparison
    assert comparison.first is comparison.faults[0]
    assert faults(comparison) == expected
    before = comparison.rows[: comparison.rows.index(comparison.first)]
    assert {row.status for row in before} <= {SAME}
    text = str(comparison)
    assert text.count(">>") == 2  # the cell, and what the mark means
    assert "First divergence: " in text
    assert repr(comparison).startswith("Comparison(first divergence: ")


def test_what_follows_is_told_from_what_differs():
    comparison = with_recording(broken(conv2=conv2(WrongDx)))
    dx = statuses(comparison, "dx")
    assert dx == dict.fromkeys(list(layers())[5:], SAME) | {"conv2": DIFFERS} | dict.fromkeys(
        ["conv1", "bn1", "relu1", "pool1"], FOLLOWS
    )
    gradients = statuses(comparison, "gradient")
    assert {name for name, status in gradients.items() if status == FOLLOWS} >= {"conv1.weight", "bn1.weight"}
    assert all(gradients[name] == SAME for name in ("conv2.weight", "bn2.weight", "fc.weight", "fc.bias"))
    steps = statuses(comparison, "step")
    assert (steps["conv1.weight"], steps["conv2.weight"]) == (FOLLOWS, SAME)


def test_a_wrong_step_of_the_optimiser():
    comparison = with_recording(network(), optimizer=WrongLr)
    assert (comparison.first.name, comparison.first.what) == ("conv1.weight", "step")
    assert {row.what for row in comparison.faults} == {"step"}
    assert {"conv1.weight", "bn1.weight", "bn1.bias", "conv2.weight", "bn2.bias", "fc.weight", "fc.bias"} <= {
        row.name for row in comparison.faults
    }
    assert "the optimiser makes another step" in str(comparison)


def test_a_step_is_seen_in_float32_where_it_changes_little():
    """A thousandth of a step is far less than a hundred-thousandth of the parameters."""
    here, there = network().to(dtype=np.float32), network().to(dtype=np.float32)
    x, y = batch()
    comparison = compare(here, there, x.astype(np.float32), y, optimizer=WrongLr, lr=0.002)
    weight = next(row for row in comparison.rows if (row.name, row.what) == ("fc.weight", "step"))
    assert weight in comparison.faults
    assert weight.difference.allowed < weight.difference.error < 1e-5


def test_the_numbers_of_the_first_divergence():
    here = network()
    here.load_state_dict(recording.load(PATH).before)
    here["fc"].params["weight"][1, 5] += 0.25
    comparison = with_recording(here, copy_weights=False)
    first = comparison.first
    assert (first.name, first.what, first.difference.index) == ("fc.weight", "start", (1, 5))
    assert first.difference.here - first.difference.there == pytest.approx(0.25)
    largest = np.abs(comparison.there.before["fc.weight"]).max()
    assert first.difference.error == pytest.approx(0.25 / largest)
    assert first.difference.allowed == pytest.approx(1e-10)
    assert faults(comparison) == [("fc.weight", "start")]
    text = str(comparison)
    assert "First divergence: fc.weight before the step." in text
    assert f"at (1, 5): {first.difference.here:.9g} here, {first.difference.there:.9g} there" in text
    assert "copy_weights=True" in text


def test_the_layers_settings_are_shown_side_by_side():
    text = str(with_recording(broken(bn2=minicnn.BatchNorm2d(6, eps=1e-3))))
    assert "here:  bn2 = BatchNorm2d(6, eps=0.001, momentum=0.1)" in text
    assert "there: bn2 = BatchNorm2d(6, eps=1e-05, momentum=0.1" in text


def test_different_weights_are_the_first_divergence():
    comparison = with_recording(network(), copy_weights=False)
    assert (comparison.first.name, comparison.first.what) == ("conv1.weight", "start")
    assert {row.what for row in comparison.faults} == {"start"}  # with the other's weights the layers agree


def test_a_larger_tolerance():
    make = lambda: broken(bn2=minicnn.BatchNorm2d(6, eps=1.1e-5))  # noqa: E731
    assert not with_recording(make())
    assert with_recording(make(), tolerance=1e-4)


def test_a_parameter_that_one_side_lacks():
    comparison = with_recording(broken(conv2=conv2(bias=False)))
    assert (comparison.first.name, comparison.first.what) == ("conv2.bias", "start")
    assert comparison.first.difference.problem[0] == "only there"
    other = broken(conv2=conv2(bias=False))
    comparison = compare(network(), other, *batch(), copy_weights=True)
    assert (comparison.first.name, comparison.first.difference.problem[0]) == ("conv2.bias", "only here")


def test_a_parameter_of_another_shape():
    comparison = with_recording(broken(conv2=minicnn.Conv2d(4, 6, 5, padding=2, rng=0)))
    assert faults(comparison) == [("conv2.weight", "start")]
    assert comparison.first.difference.problem == ("shape", "its shape is (6, 4, 5, 5) here and (6, 4, 3, 3) there")


class RaisingInBackward(Raising):
    where = "backward"


class GivingAList(minicnn.Flatten):
    def forward(self, x):
        return super().forward(x).tolist()


class RaisingLoss(minicnn.CrossEntropyLoss):
    def backward(self):
        raise ZeroDivisionError("N")


class RaisingStep(minicnn.SGD):
    def step(self):
        raise KeyError("v")


@pytest.mark.parametrize(
    ("make", "options", "expected", "words"),
    [
        (lambda: broken(relu2=Raising()), {}, ("relu2", "output"), "IndexError: [beyond]"),
        (lambda: broken(relu2=RaisingInBackward()), {}, ("relu2", "dx"), "IndexError: [beyond]"),
        (lambda: broken(flatten=GivingAList()), {}, ("flatten", "output"), "expected an array of float32 or float64"),
        (network, {"loss": RaisingLoss()}, ("loss", "loss"), "ZeroDivisionError: N"),
    ],
)
def test_a_layer_that_fails_is_the_divergence(make, options, expected, words):
    comparison = with_recording(make(), **options)
    assert not comparison
    assert faults(comparison) == [expected]
    assert comparison.first.difference.problem[0] == "fails"
    assert words in str(comparison)


def test_a_step_that_fails():
    """The optimiser fails alone too, and is not run again for the other rows."""
    comparison = with_recording(network(), optimizer=RaisingStep)
    assert faults(comparison) == [("optimizer", "step")]
    assert "KeyError: 'v'" in str(comparison)


def test_a_failure_that_follows_is_not_the_first():
    """Without pooling the vectors are too long for the linear layer, which is right to refuse them."""
    comparison = with_recording(broken(pool2=None))
    assert faults(comparison) == [("pool2", "output")]
    assert statuses(comparison, "output")["fc"] == FOLLOWS
    assert "The forward pass ended there, with ValueError: Linear: expected input of shape (N, 24)" in str(comparison)


class FailsOnce(minicnn.ReLU):
    """Only its first life ends early."""

    lives = 0

    def forward(self, x):
        type(self).lives += 1
        if type(self).lives == 1:
            raise OSError("just now")
        return super().forward(x)


def test_a_failure_that_does_not_come_again_is_no_agreement():
    assert faults(with_recording(broken(relu1=FailsOnce()))) == [("relu1", "output")]


# Rounding that is magnified


class Shifted(minicnn.ReLU):
    """The identity but for 2e-9."""

    def forward(self, x):
        super().forward(x)
        return x - self.by

    def backward(self, dy, need_dx=True):
        return dy

    by = 0.0


class ShiftedABit(Shifted):
    by = 2e-9


def test_a_kink_is_no_fault():
    """An input of relu that is 1e-9 there and -1e-9 here: the gradient is another one, and nobody is wrong."""

    def with_shift(shift):
        made = minicnn.Sequential(
            fc=minicnn.Linear(2, 3, rng=0), shift=shift, relu=minicnn.ReLU(), fc2=minicnn.Linear(3, 2, rng=1)
        ).to("reference", np.float64)
        made["fc"].params["weight"][:] = [[1, 0], [0, 1], [1, 1]]
        made["fc"].params["bias"][:] = 0
        return made

    x = np.array([[1e-9, 1.0], [2.0, 0.5]])
    comparison = compare(with_shift(ShiftedABit()), with_shift(Shifted()), x, [0, 1], tolerance=1e-8)
    assert comparison, str(comparison)
    rows = {(row.name, row.what): row for row in comparison.rows}
    relu = rows["relu", "dx"]
    assert (relu.status, relu.difference.index) == (FOLLOWS, (0, 0))
    assert relu.difference.here == 0 != relu.difference.there
    assert rows["shift", "output"].status == SAME
    assert "relu" in str(comparison)


class InDoublePrecision(minicnn.LogSoftmax):
    """Rounded once, at the end."""

    def backward(self, dy, need_dx=True):
        p = np.exp(self.memory.y.astype(np.float64))
        return (dy - p * dy.sum(axis=1, keepdims=True, dtype=np.float64)).astype(dy.dtype)

    def forward(self, x):
        y = super().forward(x)
        self.remember(y, y=y)
        return y


class TooLarge(InDoublePrecision):
    def backward(self, dy, need_dx=True):
        return super().backward(dy) * np.float32(1.1)


def test_a_confident_network_is_not_accused():
    """p - 1 is then a difference of nearly equal numbers, of which few digits are left in float32."""

    def confident(last):
        made = minicnn.Sequential(fc=minicnn.Linear(2, 2, rng=0), ls=last).to("reference")
        made["fc"].params["weight"][:] = [[1, 0], [0, 1]]
        made["fc"].params["bias"][:] = 0
        return made

    x, nll = np.array([[9.7, 0.3], [0.2, 9.1]], np.float32), minicnn.NLLLoss()
    comparison = compare(confident(InDoublePrecision()), confident(minicnn.LogSoftmax()), x, [0, 1], loss=nll)
    assert comparison, str(comparison)
    here, there = (trace.calls[1].dx for trace in (comparison.here, comparison.there))
    assert np.abs(here - there).max() > 1e-5 * np.abs(there).max()  # it is not as equal as arrays else are
    wrong = compare(confident(TooLarge()), confident(minicnn.LogSoftmax()), x, [1, 1], loss=nll)
    assert faults(wrong) == [("ls", "dx")]


def test_a_gradient_that_batchnorm_takes_away_is_no_fault():
    """The mean over all pixels of one image is batchnorm's bias, whatever comes in: dx is 0 but for rounding."""

    def averaged():
        parts = {"bn": minicnn.BatchNorm2d(3), "pool": minicnn.AdaptiveAvgPool2d(1), "flatten": minicnn.Flatten()}
        parts["bn"].params["bias"][:] = [1, 2, 3]
        return minicnn.Sequential(**parts, fc=minicnn.Linear(3, 2, rng=0))

    x = np.random.default_rng(0).standard_normal((1, 3, 9, 11)).astype(np.float32)
    comparison = compare(averaged(), averaged().to("reference"), x, [1])
    assert comparison, str(comparison)
    here, there = (trace.calls[0].dx for trace in (comparison.here, comparison.there))
    assert np.abs(here - there).max() > 1e-5 * np.abs(there).max()


def test_winograds_rounding_is_no_fault():
    """Large inputs that weights of sum 0 take away: the fast convolution is off by more than the tolerance."""

    def convolution():
        pool = minicnn.AdaptiveMaxPool2d(1)
        made = minicnn.Sequential(conv=minicnn.Conv2d(64, 16, 3, rng=0), pool=pool, flatten=minicnn.Flatten())
        weight = made["conv"].params["weight"]
        weight -= weight.mean(axis=(1, 2, 3), keepdims=True)
        return made

    x = (80 + np.random.default_rng(0).standard_normal((4, 64, 12, 12))).astype(np.float32)
    comparison = compare(convolution(), convolution().to("reference"), x, [0, 1, 2, 3])
    assert comparison, str(comparison)
    row = next(row for row in comparison.rows if row.what == "output")
    assert 1e-5 < row.difference.error < row.difference.allowed == pytest.approx(3e-5)
