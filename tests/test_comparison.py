"""`compare`, without PyTorch: faults planted in a network are found where they are, and nowhere else.

The other side is a recording of PyTorch, which `make_comparison_recording` writes.
"""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

import minicnn
from minicnn.cli.program import program
from minicnn.io.safetensors import read_safetensors, write_safetensors
from minicnn.verify.compare import compare, record, recording
from minicnn.verify.compare.judgement import DIFFERS, FOLLOWS, SAME
from minicnn.verify.compare.pairing import paired
from minicnn.verify.compare.trace import Step
from tests.make_comparison_recording import PATH, batch, layers, network

ROOT = Path(minicnn.__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def broken(**replaced):
    """The network with other layers in the places named; None takes one out."""
    kept = {name: layer for name, layer in (layers() | replaced).items() if layer is not None}
    return minicnn.Sequential(**kept).to("reference", np.float64)


def with_recording(network, **options):
    return compare(network, PATH, **({"copy_weights": True} | options))


def faults(comparison):
    return [(row.name, row.what) for row in comparison.faults]


def statuses(comparison, what):
    """{name: status} of one kind of rows."""
    return {row.name: row.status for row in comparison.rows if row.what == what}


# Agreement


def test_the_recorded_step_is_made_alike():
    comparison = with_recording(network())
    assert comparison
    assert comparison.first is None
    assert comparison.faults == []
    assert {row.status for row in comparison.rows} == {SAME}
    assert max(row.measure.error for row in comparison.rows) < 1e-13
    found = {(row.name, row.what) for row in comparison.rows}
    assert len(found) == len(comparison.rows) == 10 + 6 + 11 + 6 + 2 + 10 + 11 + 10
    for name in layers():
        assert {(name, "output"), (name, "dx")} <= found
    assert ("bn1.running_var", "statistics") in found
    assert {("fc.weight", "start"), ("fc.weight", "gradient"), ("fc.weight", "step")} <= found


def test_rows_are_in_the_order_of_computation():
    rows = [(row.name, row.what) for row in with_recording(network()).rows]
    place = {row: position for position, row in enumerate(rows)}
    order = [
        ("fc.bias", "start"),
        ("conv1", "output"),
        ("bn1", "output"),
        ("bn1.running_mean", "statistics"),
        ("relu1", "output"),
        ("log_softmax", "output"),
        ("loss", "loss"),
        ("loss", "loss gradient"),
        ("log_softmax", "dx"),
        ("fc.weight", "gradient"),
        ("fc", "dx"),
        ("conv1.weight", "gradient"),
        ("conv1", "dx"),
        ("conv1.weight", "step"),
        ("fc.weight", "step"),
    ]
    assert [place[row] for row in order] == sorted(place[row] for row in order)


@pytest.mark.parametrize("optimizer", [minicnn.SGD, minicnn.Adam])
@pytest.mark.parametrize("training", [True, False])
def test_two_backends_agree_in_float32(optimizer, training):
    """A convolution's bias before batchnorm has gradient 0 but for rounding; Adam makes two different steps of that."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((4, 3, 9, 7)).astype(np.float32), rng.integers(10, size=4)
    here, there = minicnn.SimpleNet(rng=0), minicnn.SimpleNet(rng=0).to("reference")
    comparison = compare(here, there, x, y, optimizer=optimizer, training=training)
    assert comparison, str(comparison)
    if training:
        assert max(np.abs(comparison.there.grads[f"conv{k}.bias"]).max() for k in (1, 2, 3)) < 1e-6
    if optimizer is minicnn.SGD:
        assert set(statuses(comparison, "step").values()) == {SAME}
    elif training:
        assert statuses(comparison, "step")["conv2.bias"] == FOLLOWS
        assert "rounding" in str(comparison)
        assert "conv2.bias after the step" in str(comparison)


def test_everything_stays_as_it_was():
    here, there = network(), network()
    x, y = batch()
    for net in (here, there):
        net.forward(x)
        net.backward(np.ones((4, 3)) * [[1.0, 2.0, 3.0]])
        net.forward(x)
        net.eval()
    loss = minicnn.CrossEntropyLoss()
    loss.forward(np.zeros((2, 2)), [0, 1])
    kept = [(net.state_dict(), {name: layer.grads for name, layer in net.named_layers()}) for net in (here, there)]
    memories = [layer.memory for net in (here, there) for _, layer in net.named_layers()]
    copies = [{name: {k: g.copy() for k, g in grads.items()} for name, grads in of_net.items()} for _, of_net in kept]
    x_before, y_before = x.copy(), y.copy()
    assert not compare(here, broken(fc=minicnn.Linear(24, 3, rng=9)), x, y, loss=loss, copy_weights=True).faults
    for net, (state, grads), copy in zip((here, there), kept, copies, strict=True):
        for name, array in net.state_dict().items():
            np.testing.assert_array_equal(array, state[name])
        for name, layer in net.named_layers():
            assert layer.grads is grads[name]
            assert not layer.training
            for key, grad in layer.grads.items():
                np.testing.assert_array_equal(grad, copy[name][key])
    assert all(
        layer.memory is memory
        for (_, layer), memory in zip([*here.named_layers(), *there.named_layers()], memories, strict=True)
    )
    np.testing.assert_array_equal(x, x_before)
    np.testing.assert_array_equal(y, y_before)
    np.testing.assert_allclose(loss.backward(), [[-0.25, 0.25], [0.25, -0.25]])


# Planted faults


class WrongDx(minicnn.Conv2d):
    """The forgotten flip of the kernel."""

    def backward(self, dy, need_dx=True):
        dx = super().backward(dy)
        return self.ops.conv2d_input_gradient(
            dy, self.params["weight"][:, :, ::-1, ::-1].copy(), dx.shape[2:], self.stride, self.padding
        )


class WrongWeightGradient(minicnn.Conv2d):
    def backward(self, dy, need_dx=True):
        dx = super().backward(dy)
        self.grads["weight"] = self.grads["weight"] / len(dy)
        return dx


class NoBiasGradient(minicnn.Linear):
    def backward(self, dy, need_dx=True):
        dx = super().backward(dy)
        del self.grads["bias"]
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


def conv2(cls=minicnn.Conv2d, **settings):
    return cls(4, 6, 3, **({"padding": 1, "rng": 1} | settings))


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
    assert weight.measure.allowed < weight.measure.error < 1e-5


def test_the_numbers_of_the_first_divergence():
    here = network()
    here.load_state_dict(recording.load(PATH).before)
    here["fc"].params["weight"][1, 5] += 0.25
    comparison = with_recording(here, copy_weights=False)
    first = comparison.first
    assert (first.name, first.what, first.measure.index) == ("fc.weight", "start", (1, 5))
    assert first.measure.here - first.measure.there == pytest.approx(0.25)
    largest = np.abs(comparison.there.before["fc.weight"]).max()
    assert first.measure.error == pytest.approx(0.25 / largest)
    assert first.measure.allowed == pytest.approx(1e-10)
    assert faults(comparison) == [("fc.weight", "start")]
    text = str(comparison)
    assert "First divergence: fc.weight before the step." in text
    assert f"at (1, 5): {first.measure.here:.9g} here, {first.measure.there:.9g} there" in text
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
    assert comparison.first.measure.problem[0] == "only there"
    other = broken(conv2=conv2(bias=False))
    comparison = compare(network(), other, *batch(), copy_weights=True)
    assert (comparison.first.name, comparison.first.measure.problem[0]) == ("conv2.bias", "only here")


def test_a_parameter_of_another_shape():
    comparison = with_recording(broken(conv2=minicnn.Conv2d(4, 6, 5, padding=2, rng=0)))
    assert faults(comparison) == [("conv2.weight", "start")]
    assert comparison.first.measure.problem == ("shape", "its shape is (6, 4, 5, 5) here and (6, 4, 3, 3) there")


class Raising(minicnn.ReLU):
    where = "forward"

    def forward(self, x):
        if self.where == "forward":
            raise IndexError("[beyond]")
        return super().forward(x)

    def backward(self, dy, need_dx=True):
        raise IndexError("[beyond]")


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
    assert comparison.first.measure.problem[0] == "fails"
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
    assert (relu.status, relu.measure.index) == (FOLLOWS, (0, 0))
    assert relu.measure.here == 0 != relu.measure.there
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
    here, there = (trace.steps[1].dx for trace in (comparison.here, comparison.there))
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
    here, there = (trace.steps[0].dx for trace in (comparison.here, comparison.there))
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
    assert 1e-5 < row.measure.error < row.measure.allowed == pytest.approx(3e-5)


# Which layer belongs to which


def steps(text):
    """'conv1:Conv2d relu:ReLU mine:Mine*' as steps; a star marks a class of one's own."""
    parts = [part.split(":") for part in text.split()]
    return [Step(name, kind.rstrip("*"), kind.endswith("*"), kind, {}) for name, kind in parts]


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        ("a:Conv2d b:ReLU", "a:Conv2d b:ReLU", [(0, 0), (1, 1)]),
        ("a:Conv2d b:ReLU c:Linear", "0:Conv2d 1:ReLU 2:Linear", [(0, 0), (1, 1), (2, 2)]),  # by order
        ("a:Conv2d b:ReLU c:Linear", "0:Conv2d 1:Linear", [(0, 0), (2, 1)]),
        ("a:Conv2d c:Linear", "0:Conv2d 1:Dropout 2:Linear", [(0, 0), (1, 2)]),
        ("a:Conv2d b:MaxPool2d", "a:Conv2d b:AvgPool2d", [(0, 0), (1, 1)]),  # by name alone
        ("0:Conv2d 1:MaxPool2d", "0:Conv2d 1:AvgPool2d", [(0, 0)]),  # a number is no name
        ("a:ReLU b:ReLU", "b:ReLU", [(1, 0)]),  # names before order
        ("mine:Mine* c:Linear", "0:Conv2d 1:Linear", [(0, 0), (1, 1)]),  # a class of one's own may be anything
        ("a:Conv2d b:Flatten", "a:Conv2d mine:Theirs*", [(0, 0), (1, 1)]),
        ("a:BatchNorm2d b:ReLU", "b:ReLU a:BatchNorm2d", [(1, 0)]),  # never crossing
        ("a:Conv2d", "b:Linear", []),
    ],
)
def test_layers_are_paired_by_name_then_by_order(here, there, expected):
    assert paired(steps(here), steps(there)) == expected


def test_names_do_not_matter_where_order_and_kinds_agree():
    unnamed = minicnn.Sequential(*layers().values()).to("reference", np.float64)
    comparison = with_recording(unnamed)
    assert comparison
    assert len(comparison.rows) == len(with_recording(network()).rows)


def test_nested_and_fused_networks():
    parts = layers()
    names = list(parts)
    block = minicnn.Sequential(**{name: parts[name] for name in names[:4]})
    nested = minicnn.Sequential(block=block, **{name: parts[name] for name in names[4:]}).to("reference", np.float64)
    assert with_recording(nested)
    fused = with_recording(minicnn.fuse(network()))
    assert fused, str(fused)
    assert statuses(fused, "gradient")["conv2.weight"] == SAME  # found by its full name
    assert "ConvBlocks / Conv2d + BatchNorm2d + ReLU" in str(fused)


class OwnConv(minicnn.Layer):
    """A convolution with nothing of Conv2d: sums over shifted images, one by one, 3 × 3 with padding 1."""

    def __init__(self, in_channels, out_channels, flipped=True):
        super().__init__()
        self.params = {
            "weight": np.zeros((out_channels, in_channels, 3, 3), np.float32),
            "bias": np.zeros(out_channels, np.float32),
        }
        self.flipped = flipped

    def _shifted(self, x):
        padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
        height, width = x.shape[2:]
        return {(i, j): padded[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)}

    def forward(self, x):
        self.remember(x, x=x)
        weight = self.params["weight"]
        sums = sum(np.einsum("fc,nchw->nfhw", weight[:, :, i, j], part) for (i, j), part in self._shifted(x).items())
        return sums + self.params["bias"][:, None, None]

    def backward(self, dy, need_dx=True):
        x, weight = self.memory.x, self.params["weight"]
        self.grads["weight"] = np.zeros_like(weight)
        for (i, j), part in self._shifted(x).items():
            self.grads["weight"][:, :, i, j] = np.einsum("nfhw,nchw->fc", dy, part)
        self.grads["bias"] = dy.sum(axis=(0, 2, 3))
        flipped = weight[:, :, ::-1, ::-1] if self.flipped else weight
        return sum(np.einsum("fc,nfhw->nchw", flipped[:, :, i, j], part) for (i, j), part in self._shifted(dy).items())


def test_a_layer_of_ones_own():
    assert with_recording(broken(conv2=OwnConv(4, 6)))
    comparison = with_recording(broken(conv2=OwnConv(4, 6, flipped=False)))
    assert faults(comparison) == [("conv2", "dx")]
    assert "OwnConv / Conv2d" in str(comparison)
    assert comparison.first.measure.error > 0.01


# Files


def test_the_recording_is_small_and_holds_each_array_once():
    assert PATH.stat().st_size < 200_000
    arrays, metadata = read_safetensors(PATH)
    contents = [(array.shape, array.dtype, array.tobytes()) for array in arrays.values()]
    assert len(contents) == len(set(contents))
    assert set(metadata) == {"format", "comparison"}
    trace = recording.load(PATH)
    assert trace.source.startswith("PyTorch 2.")
    assert [(step.name, step.kind) for step in trace.steps] == [(k, type(v).__name__) for k, v in layers().items()]


def same_trace(a, b):
    a_arrays, b_arrays = recording._arrays(a), recording._arrays(b)
    assert a_arrays.keys() == b_arrays.keys()
    for name, array in a_arrays.items():
        np.testing.assert_array_equal(array, b_arrays[name], err_msg=name)
        assert array.dtype == b_arrays[name].dtype
    assert (a.source, a.left_out, a.loss) == (b.source, b.left_out, b.loss)
    assert (a.task.training, a.task.loss, a.task.optimizer) == (b.task.training, b.task.loss, b.task.optimizer)
    for one, other in zip(a.steps, b.steps, strict=True):
        for key in ("name", "kind", "own", "text", "owns"):
            assert getattr(one, key) == getattr(other, key)


def test_a_round_trip(tmp_path):
    trace = recording.load(PATH)
    recording.save(trace, tmp_path / "again")
    same_trace(recording.load(tmp_path / "again"), trace)


def test_recording_a_network_of_minicnn(tmp_path):
    x, y = batch()
    weighted = minicnn.CrossEntropyLoss(weight=np.array([1.0, 2.0, 0.5]), label_smoothing=0.1)
    decaying = lambda network, lr: minicnn.AdamW(network, lr, betas=(0.8, 0.99), weight_decay=0.1)  # noqa: E731
    options = {"loss": weighted, "optimizer": decaying, "lr": 0.02, "training": False}
    record(network(), x, y, tmp_path / "r", **options)
    trace = recording.load(tmp_path / "r")
    settings = {"lr": 0.02, "betas": [0.8, 0.99], "eps": 1e-8, "weight_decay": 0.1}
    assert trace.task.optimizer == ("AdamW", settings)
    assert trace.task.loss == ("CrossEntropyLoss", {"weight": [1.0, 2.0, 0.5], "label_smoothing": 0.1})
    assert not trace.task.training
    assert compare(network(), tmp_path / "r")  # loss, optimiser and mode are those of the file
    assert compare(network(), str(tmp_path / "r"), loss=weighted, optimizer=decaying)
    with pytest.raises(ValueError, match=r"expected the loss of the recording, CrossEntropyLoss with .*0\.1"):
        compare(network(), tmp_path / "r", loss=minicnn.CrossEntropyLoss())
    with pytest.raises(ValueError, match="expected the optimizer of the recording, AdamW"):
        compare(network(), tmp_path / "r", optimizer=minicnn.Adam)


def test_a_recording_needs_no_pytorch(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from tests.make_comparison_recording import network, PATH\n"
        "import minicnn; print(minicnn.compare(network(), PATH, copy_weights=True))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert "Agree: all 66 arrays." in result.stdout, result.stderr


def changed(tmp_path, change):
    """A copy of the recording whose arrays and description were changed by `change`."""
    arrays, metadata = read_safetensors(PATH)
    description = json.loads(metadata["comparison"])
    change(arrays, description)
    path = tmp_path / "changed"
    write_safetensors(path, arrays, {"format": metadata["format"], "comparison": json.dumps(description)})
    return path


DAMAGES = {
    "an array missing": lambda arrays, description: arrays.pop("output"),
    "another shape": lambda arrays, description: arrays.update({"after/fc.bias": np.zeros(4)}),
    "another dtype": lambda arrays, description: arrays.update({"d_output": np.zeros((4, 3), np.float32)}),
    "labels beyond the classes": lambda arrays, description: arrays.update({"labels": np.array([0, 1, 2, 3])}),
    "a parameter missing": lambda arrays, description: arrays.pop("before/conv1.weight"),
    "an output missing": lambda arrays, description: arrays.pop("step/0/y"),
    "no steps": lambda arrays, description: description.pop("steps"),
    "steps that are none": lambda arrays, description: description.update(steps=[3]),
    "an unknown loss": lambda arrays, description: description.update(loss=["Loss", {"weight": None}]),
    "an unknown optimiser": lambda arrays, description: description.update(optimizer=["sys", {}]),
    "equal to nothing": lambda arrays, description: description["equal"].update({"step/1/x": "nowhere"}),
    "no dictionary": lambda arrays, description: description.update(equal=7),
    "a gradient of nothing": lambda arrays, description: arrays.update({"grads/ghost.weight": np.zeros(3)}),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_recordings_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match=r"changed: the recording is damaged \(.*\); record again"):
        compare(network(), changed(tmp_path, DAMAGES[name]))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere"):
        compare(network(), tmp_path / "nowhere")
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(ValueError, match="junk: expected a safetensors file"):
        compare(network(), tmp_path / "junk")
    (tmp_path / "cut").write_bytes(PATH.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cut: expected a safetensors file"):
        compare(network(), tmp_path / "cut")
    minicnn.save_weights(network(), tmp_path / "weights")
    with pytest.raises(ValueError, match=r"weights: expected a recording that minicnn\.verify\.compare\.record wrote"):
        compare(network(), tmp_path / "weights")
    write_safetensors(tmp_path / "newer", {}, {"format": "minicnn comparison 2"})
    with pytest.raises(ValueError, match="newer: expected a recording of format 1, got format 2"):
        compare(network(), tmp_path / "newer")


# Used wrongly


class Uncopyable(minicnn.ReLU):
    def __deepcopy__(self, memo):
        raise TypeError("one of a kind")


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ([minicnn.ReLU(), PATH], {}, TypeError, "expected a Sequential network, got ReLU"),
        ([network(), minicnn.ReLU()], {}, TypeError, r"expected a torch\.nn\.Module, a minicnn network or"),
        ([network(), network()], {}, TypeError, "expected x and y"),
        ([network(), PATH, batch()[0]], {}, TypeError, "expected no x with a recording"),
        ([network(), PATH], {"lr": 0.1}, TypeError, "expected no lr with a recording"),
        ([network(), PATH], {"training": False}, TypeError, "expected no training with a recording"),
        ([network(), PATH], {"loss": "mse"}, TypeError, r"expected CrossEntropyLoss\(\), NLLLoss\(\) or one of your"),
        ([network(), PATH], {"optimizer": lambda network, lr: 3}, TypeError, "got one that makes int"),
        ([network(), PATH], {"tolerance": 0}, ValueError, "expected a finite tolerance above 0, got 0"),
        ([network(), PATH], {"tolerance": float("nan")}, ValueError, "expected a finite tolerance"),
        ([network().to(dtype=np.float32), PATH], {}, TypeError, r"conv1\.weight, float32, got float64"),
        ([network(), network(), batch()[0].astype(int), batch()[1]], {}, TypeError, "expected dtype float32"),
        ([network(), network(), batch()[0][:0], []], {}, ValueError, "at least one element"),
        ([network(), network(), batch()[0], [0, 1]], {}, ValueError, "expected y as 4 integer labels"),
        ([network(), network(), batch()[0], [0.0, 1, 2, 0]], {}, ValueError, "integer labels"),
        ([network(), network(), batch()[0], [0, 1, 2, 3]], {}, RuntimeError, "fails: CrossEntropyLoss: expected label"),
        ([network(), network(), minicnn.Images(list(batch()[0])), [0] * 4], {}, TypeError, "compare: x: expected an"),
        ([network(), network(), *batch()], {"lr": -1}, ValueError, "lr: expected a finite number of at least 0"),
        ([network(), broken(relu1=Raising()), *batch()], {}, RuntimeError, r"other network fails: \[beyond\]"),
        ([network(), broken(fc=NoBiasGradient(24, 3)), *batch()], {}, RuntimeError, "gradients missing"),
        ([broken(relu1=Uncopyable()), PATH], {}, RuntimeError, "the copy failed: TypeError: one of a kind"),
    ],
)
def test_what_is_wrong_is_said(arguments, options, error, words):
    with pytest.raises(error, match=words):
        compare(*arguments, **options)


def test_recording_wrongly(tmp_path):
    with pytest.raises(TypeError, match=r"record: expected a torch\.nn\.Module"):
        record("module", *batch(), tmp_path / "r")
    with pytest.raises(FileNotFoundError):
        record(network(), *batch(), tmp_path / "nowhere" / "r")
    assert list(tmp_path.iterdir()) == []


# The table, and the program


def test_the_table_is_aligned():
    text = str(with_recording(broken(bn2=minicnn.BatchNorm2d(6, eps=1e-3))))
    lines = text.splitlines()
    table = lines[lines.index(next(line for line in lines if line.startswith("layer"))) :][:13]
    assert [line.split()[0] for line in table[1:]] == [*layers(), "loss"]
    end = table[0].index("output") + len("output")
    for line in table[1:]:
        assert line[end - 1] != " "
        assert line[end : end + 1] in ("", " ")
    assert max(map(len, lines)) <= 120
    assert text.isascii()  # for terminals and pipes of every kind
    assert next(line for line in lines if ">>" in line).startswith("bn2 ")
    assert "\x1b" not in text


def test_the_first_divergence_is_highlighted_on_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=200)
    console.print(with_recording(broken(conv2=conv2(WrongDx))))
    text = console.file.getvalue()
    assert text.count("\x1b[1;37;41m>>") == 1  # bold, white on red
    assert "\x1b[33m~ " in text
    assert "\x1b[32m" in text


def call(*arguments):
    return CliRunner().invoke(program, ["compare", *map(str, arguments)])


MINE = f"{ROOT / 'tests' / 'make_comparison_recording.py'}:network"


def test_the_program_on_a_network_of_ones_own(tmp_path):
    result = call(PATH, "--network", MINE, "--copy-weights")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Agree: all 66 arrays." in result.output

    result = call(PATH, "--network", MINE)
    assert result.exit_code == 1
    assert "First divergence: conv1.weight before the step." in result.output
    assert result.stderr == ""

    (tmp_path / "neighbour.py").write_text("import minicnn\nclass MyPool(minicnn.AdaptiveMaxPool2d): pass\n")
    (tmp_path / "mine.py").write_text(
        "import minicnn\nfrom neighbour import MyPool\nfrom tests.make_comparison_recording import layers\n"
        "NETWORK = minicnn.Sequential(**(layers() | {'pool2': MyPool(2)}))\n"
    )
    path = list(sys.path)
    result = call(PATH, "--network", f"{tmp_path / 'mine.py'}:NETWORK", "--copy-weights")
    assert result.exit_code == 1
    assert "First divergence: the output of pool2." in result.output
    assert sys.path == path


def test_the_program_on_weights_and_on_a_simple_net(tmp_path):
    there = minicnn.SimpleNet(3, 2, rng=5)
    x, y = batch()
    record(there, x.astype(np.float32), y, tmp_path / "r")
    minicnn.save_weights(there, tmp_path / "weights")
    minicnn.save_weights(minicnn.SimpleNet(3, 2, rng=6), tmp_path / "others")
    assert call(tmp_path / "r").exit_code == 0
    assert call(tmp_path / "r", "--model", tmp_path / "weights").exit_code == 0
    result = call(tmp_path / "r", "--model", tmp_path / "others")
    assert result.exit_code == 1
    assert "First divergence: conv1.weight before the step." in result.output
    there["bn1"].eps = 1e-3
    record(there, x.astype(np.float32), y, tmp_path / "r")
    result = call(tmp_path / "r")
    assert (result.exit_code, "First divergence: the output of bn1." in result.output) == (1, True)
    assert call(tmp_path / "r", "--tolerance", 0.1).exit_code == 0


def test_the_program_used_wrongly(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("junk").write_bytes(b"junk")
    Path("mine.py").write_text("import minicnn\nvalue = 3\ndef fails():\n    return 1 / 0\n")
    Path("typo.py").write_text("def network(:\n    pass\n")
    vectors = minicnn.Sequential(fc=minicnn.Linear(2, 2, rng=0))
    record(vectors, np.ones((2, 2), np.float32), [0, 1], "vectors")
    for arguments, code, words in [
        ([], 2, "Missing argument 'RECORDING'"),
        (["nowhere"], 1, "no file nowhere"),
        (["junk"], 1, "junk: expected a safetensors file"),
        ([PATH, "--network", "mine.py"], 2, "expected FILE.py:NAME, got 'mine.py'"),
        ([PATH, "--network", "nowhere.py:network"], 1, "no file nowhere.py"),
        ([PATH, "--network", "mine.py:ghost"], 1, "there is no ghost in mine.py"),
        ([PATH, "--network", "mine.py:value"], 1, "expected value to be or to make a network, got int"),
        ([PATH, "--network", "mine.py:fails"], 1, "mine.py, line 4: ZeroDivisionError: division by zero"),
        ([PATH, "--network", "typo.py:network"], 1, "typo.py, line 1: SyntaxError"),
        ([PATH, "--network", MINE, "--model", "nowhere"], 1, "no file nowhere"),
        ([PATH, "--model", "x", "--copy-weights"], 2, "exclude each other"),
        (["vectors"], 2, "SimpleNet takes images (N, C, H, W); give your own --network"),
        ([PATH, "--tolerance", "0"], 2, "0.0 is not in the range x>0"),
    ]:
        result = call(*arguments)
        assert result.exit_code == code, (arguments, result.output)
        assert words in " ".join(result.stderr.split()), (arguments, result.output)


def test_help_has_examples():
    result = call("--help")
    assert result.exit_code == 0
    assert "minicnn compare recording.safetensors --network mine.py:MyNet --copy-weights" in result.output
