"""`compare`, without PyTorch: what agrees, which layers belong together, what is said.

The other side is a recording of PyTorch, which `make_comparison_recording` writes.
"""

import io

import numpy as np
import pytest
from rich.console import Console

import minicnn
from minicnn.verify.compare import compare, record
from minicnn.verify.compare.judgement import FOLLOWS, SAME
from minicnn.verify.compare.pairing import paired
from minicnn.verify.compare.trace import LayerCall
from tests.comparing import NoBiasGradient, Raising, WrongDx, broken, conv2, faults, statuses, with_recording
from tests.make_comparison_recording import PATH, batch, layers, network

# Agreement


def test_the_recorded_step_is_made_alike():
    comparison = with_recording(network())
    assert comparison
    assert comparison.first is None
    assert comparison.faults == []
    assert {row.status for row in comparison.rows} == {SAME}
    assert max(row.difference.error for row in comparison.rows) < 1e-13
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


# Which layer belongs to which


def steps(text):
    """'conv1:Conv2d relu:ReLU mine:Mine*' as steps; a star marks a class of one's own."""
    parts = [part.split(":") for part in text.split()]
    return [LayerCall(name, kind.rstrip("*"), kind.endswith("*"), kind, {}) for name, kind in parts]


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
    assert comparison.first.difference.error > 0.01


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
