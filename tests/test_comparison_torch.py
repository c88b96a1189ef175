"""`compare` with a live PyTorch: every way in which a module may be written, and that it stays as it was."""

import copy

import numpy as np
import pytest

import minicnn
from minicnn.verify.compare import compare, record, recording
from minicnn.verify.compare.judgement import FOLLOWS, SAME
from tests import checks
from tests.comparing import faults, same_trace, statuses
from tests.make_comparison_recording import PATH, batch, module, network

pytestmark = pytest.mark.torch


@pytest.fixture
def torch():
    return checks._import_torch()


def module_of(torch, forward, **parts):
    """A module with these parts and this forward(module, x), float64."""

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, part in parts.items():
                setattr(self, name, part)

    Module.forward = forward
    torch.manual_seed(1)
    return Module().double()


def vectors(n=6, d=5, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.integers(classes, size=n)


def perceptron(**between):
    layers = {"fc1": minicnn.Linear(5, 7, rng=0), **between, "fc2": minicnn.Linear(7, 3, rng=1)}
    return minicnn.Sequential(**layers).to("reference", np.float64)


# Agreement


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_simple_net(torch, backend, dtype, training):
    torch.manual_seed(0)
    there = checks.simplenet_torch().to(getattr(torch, np.dtype(dtype).name))
    for part in there.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, 3, 12, 15)).astype(dtype), rng.integers(10, size=5)
    here = minicnn.SimpleNet(rng=0).to(backend, dtype)
    comparison = compare(here, there, x, y, training=training, copy_weights=True)
    assert comparison, str(comparison)
    assert len(comparison.rows) == 88
    assert statuses(comparison, "output") == dict.fromkeys(here.children, SAME)
    assert statuses(comparison, "statistics").keys() == {
        f"bn{k}.{key}" for k in (1, 2, 3) for key in ("running_mean", "running_var", "num_batches_tracked")
    }
    tracked = comparison.there.statistics["bn1.num_batches_tracked"]
    assert tracked == (1 if training else 0)
    if dtype == np.float64:
        assert max(row.difference.error for row in comparison.rows) < 1e-12


LOSSES = {
    "cross-entropy": lambda: minicnn.CrossEntropyLoss(weight=np.array([1.0, 0.5, 2.0]), label_smoothing=0.2),
    "nll": lambda: minicnn.NLLLoss(),
    "nll weighted": lambda: minicnn.NLLLoss(weight=np.array([1.0, 0.5, 2.0])),
    "a sum, class 1 ignored": lambda: minicnn.NLLLoss(ignore_index=1, reduction="sum"),
}
OPTIMIZERS = {
    "SGD": lambda network, lr: minicnn.SGD(network, lr, momentum=0.9, nesterov=True, weight_decay=0.1),
    "Adam": lambda network, lr: minicnn.Adam(network, lr, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.1),
    "AdamW": lambda network, lr: minicnn.AdamW(network, lr, weight_decay=0.2),
    "AdamW, not of vectors": lambda network, lr: minicnn.AdamW(network, lr, weight_decay=0.2, decay_vectors=False),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_losses_and_optimisers(torch, loss, optimizer):
    options = {"loss": LOSSES[loss](), "optimizer": OPTIMIZERS[optimizer], "lr": 0.03}
    comparison = compare(network(), module(), *batch(), copy_weights=True, **options)
    assert comparison, str(comparison)
    assert comparison.here.setup.optimizer.name == optimizer.partition(",")[0]
    assert statuses(comparison, "step")["fc.weight"] == SAME


def test_a_wrong_setting_of_pytorchs_optimiser_would_be_seen(torch):
    """The same settings go to both sides; another one on this side is a divergence."""

    class Undecayed(minicnn.AdamW):
        def step(self):
            self.weight_decay = 0.0
            super().step()

    comparison = compare(network(), module(), *batch(), copy_weights=True, optimizer=Undecayed)
    assert {row.what for row in comparison.faults} == {"step"}
    assert ("fc.weight", "step") in faults(comparison)


# Faults on PyTorch's side


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda torch, there: setattr(there.bn1, "eps", 1e-3), ("bn1", "output")),
        (lambda torch, there: setattr(there.bn2, "momentum", 0.3), ("bn2.running_mean", "statistics")),
        (lambda torch, there: setattr(there, "pool1", torch.nn.AvgPool2d(2)), ("pool1", "output")),
        (lambda torch, there: setattr(there.conv2, "padding", (0, 0)), ("conv2", "output")),
        (lambda torch, there: setattr(there, "relu2", torch.nn.LeakyReLU(1e-6)), ("relu2", "output")),
        (lambda torch, there: there.conv2.register_full_backward_hook(lambda _, dx, dy: (2 * dx[0],)), ("conv2", "dx")),
    ],
)
def test_the_first_divergence(torch, change, expected):
    there = module()
    change(torch, there)
    comparison = compare(network(), there, *batch(), copy_weights=True)
    assert (comparison.first.name, comparison.first.what) == expected
    before = comparison.rows[: comparison.rows.index(comparison.first)]
    assert {row.status for row in before} <= {SAME}


# How modules are written


def test_functions_in_place_of_modules(torch):
    """One relu for three places, in place; functions; an in-place call whose result nobody takes."""
    nn, functional = torch.nn, torch.nn.functional

    def forward(self, x):
        x = self.act(self.b1(self.c1(x)))
        x = functional.max_pool2d(x, 2)
        x = torch.relu(self.b2(self.c2(x)))
        x = self.b3(self.c3(x))
        self.act(x)
        x = torch.flatten(functional.adaptive_avg_pool2d(x, 2), 1)
        return functional.log_softmax(self.out(x), 1)

    parts = {"act": nn.ReLU(inplace=True), "out": nn.Linear(20, 3)}
    parts |= {"c1": nn.Conv2d(2, 4, 3, padding=1), "c2": nn.Conv2d(4, 6, 3, padding=1), "c3": nn.Conv2d(6, 5, 3)}
    there = module_of(torch, forward, **parts, b1=nn.BatchNorm2d(4), b2=nn.BatchNorm2d(6), b3=nn.BatchNorm2d(5))
    layers = {
        "conv1": minicnn.Conv2d(2, 4, 3, padding=1, rng=0),
        "bn1": minicnn.BatchNorm2d(4),
        "relu1": minicnn.ReLU(),
        "pool": minicnn.MaxPool2d(2),
        "conv2": minicnn.Conv2d(4, 6, 3, padding=1, rng=0),
        "bn2": minicnn.BatchNorm2d(6),
        "relu2": minicnn.ReLU(),
        "conv3": minicnn.Conv2d(6, 5, 3, rng=0),
        "bn3": minicnn.BatchNorm2d(5),
        "relu3": minicnn.ReLU(),
        "pool3": minicnn.AdaptiveAvgPool2d(2),
        "flatten": minicnn.Flatten(),
        "fc": minicnn.Linear(20, 3, rng=0),
        "log_softmax": minicnn.LogSoftmax(),
    }
    x, y = batch()
    here = minicnn.Sequential(**layers).to("reference", np.float64)
    comparison = compare(here, there, x, y, copy_weights=True)
    assert comparison, str(comparison)
    outputs = statuses(comparison, "output")
    assert list(outputs) == [*list(layers)[:10], "pool3 to flatten", "fc", "log_softmax"]
    assert statuses(comparison, "dx").keys() == outputs.keys()
    kinds = {line.split()[0]: line for line in str(comparison).splitlines() if " / " in line}
    assert "MaxPool2d / code" in kinds["pool"]
    assert "ReLU / code" in kinds["relu2"]
    assert "AdaptiveAvgPool2d + Flatten / code" in kinds["pool3"]
    np.testing.assert_array_equal(comparison.there.output, there(torch.tensor(x)).detach().numpy())

    # what is done there by a function can be wrong here, and is found
    wrong = minicnn.Sequential(**(layers | {"pool": minicnn.AvgPool2d(2)})).to("reference", np.float64)
    comparison = compare(wrong, there, x, y, copy_weights=True)
    assert faults(comparison) == [("pool", "output"), ("pool", "dx")]


def test_a_function_between_two_layers_that_is_not_here(torch):
    there = module_of(
        torch, lambda self, x: self.fc2(torch.tanh(self.fc1(x))), fc1=torch.nn.Linear(5, 7), fc2=torch.nn.Linear(7, 3)
    )
    comparison = compare(perceptron(), there, *vectors(), copy_weights=True)
    assert faults(comparison) == [("fc1 to fc2", "output"), ("fc1 to fc2", "dx")]
    assert "- / code" in str(comparison)
    assert "Something is done there and nothing here." in str(comparison)


def test_a_function_at_the_beginning_and_the_end(torch):
    nn = torch.nn
    there = module_of(torch, lambda self, x: torch.log_softmax(self.fc(2 * x), 1), fc=nn.Linear(5, 3))
    here = minicnn.Sequential(fc=minicnn.Linear(5, 3, rng=0), ls=minicnn.LogSoftmax()).to("reference", np.float64)
    comparison = compare(here, there, *vectors(), copy_weights=True)
    assert faults(comparison) == [("the input to fc", "output"), ("the input to fc", "dx")]
    assert statuses(comparison, "output")["ls"] == FOLLOWS


def test_a_connection_that_skips_a_layer(torch):
    """Its sum is seen in the values and in the gradients: the layer below gets two of them."""
    parts = {"fc1": torch.nn.Linear(5, 7), "relu": torch.nn.ReLU(), "fc2": torch.nn.Linear(7, 3)}

    def forward(self, x):
        x = self.fc1(x)
        return self.fc2(x + self.relu(x))

    comparison = compare(
        perceptron(relu=minicnn.ReLU()), module_of(torch, forward, **parts), *vectors(), copy_weights=True
    )
    assert faults(comparison) == [
        ("relu to fc2", "output"),
        ("fc1 to relu", "dx"),
    ]
    assert statuses(comparison, "dx")["relu"] == FOLLOWS  # its own share of the gradient is right


def test_layers_that_change_nothing(torch):
    parts = {"fc1": torch.nn.Linear(5, 7), "drop": torch.nn.Dropout(0.5), "same": torch.nn.Identity()}
    there = module_of(
        torch, lambda self, x: self.fc2(self.same(self.drop(self.fc1(x)))), **parts, fc2=torch.nn.Linear(7, 3)
    )
    comparison = compare(perceptron(), there, *vectors(), copy_weights=True, training=False)
    assert comparison, str(comparison)
    assert "- / Dropout + Identity" in str(comparison)
    comparison = compare(perceptron(), there, *vectors(), copy_weights=True)
    assert faults(comparison) == [("drop to same", "output"), ("drop to same", "dx")]


def test_classes_of_ones_own(torch):
    class Twice(torch.nn.Module):
        def forward(self, x):
            return 2 * x

    class MyLinear(torch.nn.Linear):
        pass

    class Doubled(minicnn.Layer):
        def forward(self, x):
            return 2 * x

        def backward(self, dy, need_dx=True):
            return 2 * dy

    there = torch.nn.Sequential(MyLinear(5, 7), Twice(), torch.nn.Linear(7, 3)).double()
    comparison = compare(perceptron(double=Doubled()), there, *vectors(), copy_weights=True)
    assert comparison
    assert list(statuses(comparison, "output")) == ["fc1", "double", "fc2"]
    assert "Doubled / Twice" in str(comparison)


def test_a_module_that_is_one_layer(torch):
    here = minicnn.Sequential(fc=minicnn.Linear(5, 3, rng=0)).to("reference", np.float64)
    comparison = compare(here, torch.nn.Linear(5, 3).double(), *vectors(), copy_weights=True)
    assert comparison
    assert statuses(comparison, "gradient") == {"fc.weight": SAME, "fc.bias": SAME}


def test_a_layer_in_two_places(torch):
    """Its second place has parameters of its own here, and there is nothing to compare them with."""
    there = module_of(torch, lambda self, x: self.fc(self.fc(x)), fc=torch.nn.Linear(5, 5))
    here = minicnn.Sequential(fc=minicnn.Linear(5, 5, rng=0), again=minicnn.Linear(5, 5, rng=0))
    comparison = compare(here.to("reference", np.float64), there, *vectors(classes=5), copy_weights=True)
    assert [step.name for step in comparison.there.calls] == ["fc", "fc (call 2)"]
    assert (comparison.first.name, comparison.first.difference.problem[0]) == ("again.weight", "only here")


def test_layers_with_several_inputs_are_told(torch):
    bilinear = torch.nn.Bilinear(7, 7, 7)
    parts = {"fc1": torch.nn.Linear(5, 7), "both": bilinear, "fc2": torch.nn.Linear(7, 3)}

    def forward(self, x):
        x = self.fc1(x)
        return self.fc2(self.both(x, x))

    comparison = compare(perceptron(), module_of(torch, forward, **parts), *vectors(), copy_weights=True)
    assert (comparison.first.name, comparison.first.difference.problem[0]) == ("both.weight", "only there")
    assert "Not compared by itself, both (Bilinear): not one tensor of floats in and one out." in str(comparison)


def test_parameters_that_are_not_learned_there(torch):
    there = module()
    there.fc.weight.requires_grad_(False)
    comparison = compare(network(), there, *batch(), copy_weights=True)
    assert faults(comparison)[0] == ("fc.weight", "gradient")
    assert "it has no gradient there" in str(comparison)
    assert there.fc.weight.grad is None


def test_a_gradient_that_is_cut_off_there(torch):
    parts = {"fc1": torch.nn.Linear(5, 7), "fc2": torch.nn.Linear(7, 3)}
    there = module_of(torch, lambda self, x: self.fc2(self.fc1(x).detach()), **parts)
    comparison = compare(perceptron(), there, *vectors(), copy_weights=True)
    assert comparison.first.difference.problem == ("missing", "no gradient comes back from it there")
    assert statuses(comparison, "gradient")["fc1.weight"] == FOLLOWS
    assert statuses(comparison, "gradient")["fc2.weight"] == SAME


# The module stays as it was


def test_the_module_stays_as_it_was(torch):
    there = module()
    there.dropout = torch.nn.Dropout(0.3)
    there.eval()
    there.bn1.train()
    (there(torch.tensor(batch()[0])) ** 2).sum().backward()
    before = copy.deepcopy(there.state_dict())
    grads = {name: param.grad for name, param in there.named_parameters()}
    copies = {name: grad.clone() for name, grad in grads.items()}
    modes = [part.training for part in there.modules()]
    random = torch.get_rng_state()
    comparison = compare(network(), there, *batch(), copy_weights=True, training=False)
    assert statuses(comparison, "gradient")["fc.weight"] == SAME  # without the gradients that were there
    compare(network(), there, *batch())
    assert torch.equal(torch.get_rng_state(), random)
    assert [part.training for part in there.modules()] == modes
    for name, tensor in there.state_dict().items():
        assert torch.equal(tensor, before[name])
    for name, param in there.named_parameters():
        assert param.grad is grads[name]
        assert torch.equal(param.grad, copies[name])
    for part in there.modules():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
        assert not part._backward_hooks
    with torch.no_grad():
        assert not compare(network(), there, *batch())  # for want of the same weights, and not of gradients
        assert not torch.is_grad_enabled()


# Files


def test_a_recording_is_the_same_as_the_live_module(torch, tmp_path):
    record(module(), *batch(), tmp_path / "r")
    live = compare(network(), module(), *batch(), copy_weights=True)
    same_trace(recording.load(tmp_path / "r"), live.there)
    stored = compare(network(), tmp_path / "r", copy_weights=True)
    assert str(stored) == str(live)


def test_the_stored_recording_is_what_this_pytorch_computes(torch):
    live, stored = compare(network(), module(), *batch()).there, recording.load(PATH)
    for name, array in recording._arrays(stored).items():
        np.testing.assert_allclose(recording._arrays(live)[name], array, rtol=1e-9, atol=1e-11, err_msg=name)


# Used wrongly


@pytest.mark.parametrize(
    ("change", "x", "y", "error", "words"),
    [
        (lambda torch, there: there.float(), None, None, TypeError, "of the module's conv1.weight, torch.float32"),
        (lambda torch, there: there.half(), None, None, TypeError, "torch.float16, got float64"),
        (None, None, [0, 1, 2, 3], ValueError, "expected labels from 0 to 2, got 3 at position 3"),
        (None, np.zeros((4, 3, 8, 8)), None, RuntimeError, "the module's forward failed: RuntimeError"),
        (
            lambda torch, there: setattr(there, "log_softmax", torch.nn.Unflatten(1, (3, 1))),
            None,
            None,
            ValueError,
            "K",
        ),
        (
            lambda torch, there: there.register_forward_hook(lambda module, args, output: (output,)),
            None,
            None,
            TypeError,
            "expected a module with one tensor as output, got tuple",
        ),
        (
            lambda torch, there: there.register_forward_hook(lambda module, args, output: output.detach()),
            None,
            None,
            ValueError,
            "no gradient reaches the module's output",
        ),
        (
            lambda torch, there: setattr(there, "kept", (x for x in [])),
            None,
            None,
            RuntimeError,
            "compare: the module is copied before it is run",
        ),
    ],
)
def test_what_is_wrong_is_said(torch, change, x, y, error, words):
    there = module()
    if change:
        change(torch, there)
    own_x, own_y = batch()
    with pytest.raises(error, match=words):
        compare(network(), there, own_x if x is None else x, own_y if y is None else y)
