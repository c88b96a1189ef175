"""`compare` with PyTorch: equal pairs agree at every scale of x, and of different ones it says in what they differ."""

from collections import OrderedDict

import numpy as np
import pytest

import minicnn
from minicnn.verify.compare import compare, record
from tests import checks
from tests.drawn_networks import drawn
from tests.test_comparison_faults import TransposedGradient

pytestmark = pytest.mark.torch


@pytest.fixture
def torch():
    torch = checks._import_torch()
    torch.manual_seed(0)
    return torch


# Equal pairs


def _small(seed):
    """Convolutions with batchnorm, relu and pooling behind them in any order, often one image; and x of any scale."""
    rng = np.random.default_rng([seed, 7])
    flip = lambda: bool(rng.random() < 0.5)  # noqa: E731
    layers, channels = {}, 2
    for n in range(1, 3):
        block = [minicnn.BatchNorm2d(3), minicnn.ReLU()]
        block = block[::-1] if flip() else block
        block.insert(int(rng.integers(3)), (minicnn.MaxPool2d if flip() else minicnn.AvgPool2d)(2, padding=1))
        block = [minicnn.Conv2d(channels, 3, 3, padding=1, rng=rng), *block]
        layers |= {f"layer{n}{k}": layer for k, layer in enumerate(block)}
        channels = 3
    layers["pool"] = (minicnn.AdaptiveMaxPool2d if flip() else minicnn.AdaptiveAvgPool2d)(1)
    layers |= {"flatten": minicnn.Flatten(), "fc": minicnn.Linear(3, 4, rng=rng)}
    x = int(rng.choice([0, 0, 10])) + rng.standard_normal((int(rng.integers(1, 3)), 2, 6, 5))
    return minicnn.Sequential(**layers).to("reference"), x


# Seeds of pairs that were called different before their true zeros were known: the mean over all pixels behind a
# batchnorm; a batchnorm's running mean behind another one; a bias before a batchnorm with a relu between them.
ONCE_CALLED_DIFFERENT = [("drawn", 151), ("drawn", 158), ("drawn", 226), ("drawn", 1726)]
DRAWN = [*ONCE_CALLED_DIFFERENT, *(("drawn", seed) for seed in range(40) if "flatten" in drawn(seed).network.children)]
EQUAL = DRAWN[:22] + [("small", seed) for seed in range(18)]


@pytest.mark.parametrize(("kind", "seed"), EQUAL)
def test_equal_pairs_agree_at_every_scale(torch, kind, seed):
    from minicnn.interop.torch import to_torch

    network, x = drawn(seed)[:2] if kind == "drawn" else _small(seed)
    x = x if isinstance(x, np.ndarray) else np.stack([image[:, :3, :3] for image in x])
    rng = np.random.default_rng([seed, 1])
    scale, dtype, training = 10 ** rng.uniform(-4, 4), [np.float32, np.float64][rng.integers(2)], rng.random() < 0.6
    x = (x * (scale / np.sqrt(np.mean(np.square(x))))).astype(dtype)
    network = network.to(dtype=dtype)
    labels = rng.integers(network.predict(x).shape[1], size=len(x))
    optimizer = minicnn.Adam if seed % 2 else minicnn.SGD
    comparison = compare(network, to_torch(network, x.shape[1:]), x, labels, training=training, optimizer=optimizer)
    assert comparison, str(comparison)
    assert comparison.cause == ""
    assert "Settings that differ" not in str(comparison)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("number", [0.0, 1e-3, 0.7, 300.0])
def test_images_of_one_number(torch, number, dtype):
    """Every channel before batchnorm is constant then: what it makes of x is rounding, divided by the root of eps."""
    from minicnn.interop.torch import to_torch

    layers = {"conv": minicnn.Conv2d(2, 3, 1, rng=0), "bn": minicnn.BatchNorm2d(3), "relu": minicnn.ReLU()}
    layers |= {"flatten": minicnn.Flatten(), "fc": minicnn.Linear(105, 4, rng=1)}
    network = minicnn.Sequential(**layers).to("reference", dtype)
    x = np.full((3, 2, 5, 7), number, dtype)
    comparison = compare(network, to_torch(network, x.shape[1:]), x, [0, 1, 2])
    assert comparison, str(comparison)


def test_how_many_equal_pairs_there_are():
    assert len(EQUAL) >= 40


# Different pairs

CHANNELS, CLASSES = 4, 3


def here_layers(**replaced):
    usual = {
        "conv": minicnn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, rng=0),
        "bn": minicnn.BatchNorm2d(CHANNELS),
        "relu": minicnn.ReLU(),
        "avg": minicnn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True),
        "max": minicnn.MaxPool2d(2, stride=1),
        "pool": minicnn.AdaptiveAvgPool2d((2, 2)),
        "flatten": minicnn.Flatten(),
        "fc": minicnn.Linear(16, 16, rng=1),
        "fc2": minicnn.Linear(16, CLASSES, rng=2),
        "log_softmax": minicnn.LogSoftmax(),
    }
    network = minicnn.Sequential(**usual | replaced).to("reference", np.float64)
    return network


def there_module(torch, **replaced):
    nn = torch.nn
    usual = OrderedDict(
        conv=nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
        bn=nn.BatchNorm2d(CHANNELS),
        relu=nn.ReLU(),
        avg=nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True),
        max=nn.MaxPool2d(2, stride=1),
        pool=nn.AdaptiveAvgPool2d((2, 2)),
        flatten=nn.Flatten(),
        fc=nn.Linear(16, 16),
        fc2=nn.Linear(16, CLASSES),
        log_softmax=nn.LogSoftmax(1),
    )
    usual.update(replaced)
    return nn.Sequential(usual).double()


def _frozen(torch):
    class Frozen(torch.nn.BatchNorm2d):
        def train(self, mode=True):
            return super().train(False)

    return Frozen(CHANNELS)


def _conv(torch, **settings):
    return {"conv": torch.nn.Conv2d(CHANNELS, CHANNELS, **({"kernel_size": 3, "padding": 1} | settings))}


def _avg(torch, **settings):
    return {"avg": torch.nn.AvgPool2d(3, **({"stride": 2, "padding": 1, "ceil_mode": True} | settings))}


# What stands there in place of the usual layers, and what must be said of it.
SETTINGS = {
    "stride": (lambda t: _conv(t, stride=2), "Settings that differ: stride ((1, 1) here, (2, 2) there)."),
    "padding": (lambda t: _conv(t, padding=0), "Settings that differ: padding ((1, 1) here, (0, 0) there)."),
    "uneven padding": (
        lambda t: _conv(t, kernel_size=(3, 3), padding="same", dilation=2),
        "Settings that differ: padding ((1, 1) here, (2, 2) there), dilation ((1, 1) here, (2, 2) there).",
    ),
    "padding_mode": (lambda t: _conv(t, padding_mode="reflect"), "padding_mode (zeros here, reflect there)"),
    "dilation": (lambda t: _conv(t, dilation=2), "Settings that differ: dilation ((1, 1) here, (2, 2) there)."),
    "groups": (lambda t: _conv(t, groups=2), "Settings that differ: groups (1 here, 2 there)."),
    "kernel_size": (lambda t: _conv(t, kernel_size=5, padding=2), "kernel_size ((3, 3) here, (5, 5) there)"),
    "conv's bias": (lambda t: _conv(t, bias=False), "Settings that differ: bias (True here, False there)."),
    "fc's bias": (lambda t: {"fc": t.nn.Linear(16, 16, bias=False)}, "bias (True here, False there)"),
    "eps": (lambda t: {"bn": t.nn.BatchNorm2d(CHANNELS, eps=1e-3)}, "differ: eps (1e-05 here, 0.001 there)."),
    "momentum": (lambda t: {"bn": t.nn.BatchNorm2d(CHANNELS, momentum=0.3)}, "differ: momentum (0.1 here, 0.3 there)."),
    "cumulative": (lambda t: {"bn": t.nn.BatchNorm2d(CHANNELS, momentum=None)}, "momentum (0.1 here, None there)"),
    "affine": (lambda t: {"bn": t.nn.BatchNorm2d(CHANNELS, affine=False)}, "affine (True here, False there)"),
    "mode": (lambda t: {"bn": _frozen(t)}, "Settings that differ: mode (training here, evaluation there)."),
    "count_include_pad": (
        lambda t: _avg(t, count_include_pad=False),
        "Settings that differ: count_include_pad (True here, False there).",
    ),
    "divisor_override": (lambda t: _avg(t, divisor_override=3), "differ: divisor_override (None here, 3 there)."),
    "ceil_mode": (lambda t: _avg(t, ceil_mode=False), "Settings that differ: ceil_mode (True here, False there)."),
    "stride of a pooling": (lambda t: _avg(t, stride=1), "Settings that differ: stride ((2, 2) here, (1, 1) there)."),
    "kernel of a pooling": (
        lambda t: {"max": t.nn.MaxPool2d(3, stride=1)},
        "Settings that differ: kernel_size ((2, 2) here, (3, 3) there).",
    ),
    "output_size": (
        lambda t: {"pool": t.nn.AdaptiveAvgPool2d((4, 1))},
        "Settings that differ: output_size ((2, 2) here, (4, 1) there).",
    ),
    "dim": (lambda t: {"log_softmax": t.nn.LogSoftmax(0)}, "Settings that differ: dim (1 here, 0 there)."),
    "kind": (lambda t: {"relu": t.nn.LeakyReLU(0.1)}, "Settings that differ: kind (ReLU here, LeakyReLU there)."),
}


def _changed(kind, **changes):
    """A module of that kind with other parts, as somebody may have written it: no setting tells."""

    def make(torch):
        usual = {
            "conv": (CHANNELS, CHANNELS, 3, 1, 1),
            "bn": (CHANNELS,),
            "fc": (16, 16),
            "relu": (),
            "log_softmax": (1,),
        }
        classes = {"conv": "Conv2d", "bn": "BatchNorm2d", "fc": "Linear", "relu": "ReLU", "log_softmax": "LogSoftmax"}
        made = type("Own", (getattr(torch.nn, classes[kind]),), changes)(*usual[kind])
        return {kind: made}

    return make


def _functional(name):
    import torch

    return getattr(torch.nn.functional, name)


CAUSES_THERE = {
    "fc's weight transposed": (
        _changed("fc", forward=lambda self, x: _functional("linear")(x, self.weight.T, self.bias)),
        "It is there what Linear gives if its weight is transposed.",
    ),
    "fc's bias left out": (
        _changed("fc", forward=lambda self, x: _functional("linear")(x, self.weight)),
        "It is there what Linear gives if its bias is left out.",
    ),
    "conv's bias left out": (
        _changed("conv", forward=lambda self, x: _functional("conv2d")(x, self.weight, None, 1, 1)),
        "It is there what Conv2d gives if its bias is left out.",
    ),
    "a kernel flipped": (
        _changed("conv", forward=lambda self, x: _functional("conv2d")(x, self.weight.flip(2, 3), self.bias, 1, 1)),
        "It is there what Conv2d gives if its kernel is flipped.",
    ),
    "rows for columns": (
        _changed("conv", forward=lambda self, x: _functional("conv2d")(x, self.weight.mT, self.bias, 1, 1)),
        "It is there what Conv2d gives if rows and columns of its kernel are exchanged.",
    ),
    "channels in reverse order": (
        _changed("conv", forward=lambda self, x: _functional("conv2d")(x.flip(1), self.weight, self.bias, 1, 1)),
        "It is there what Conv2d gives if its input channels are taken in reverse order.",
    ),
    "running statistics in training": (
        _changed(
            "bn",
            forward=lambda self, x: _functional("batch_norm")(
                x, self.running_mean, self.running_var, self.weight, self.bias, False
            ),
        ),
        "It is there what BatchNorm2d gives if the running statistics are used.",
    ),
    "another eps": (
        _changed(
            "bn",
            forward=lambda self, x: _functional("batch_norm")(x, None, None, self.weight, self.bias, True, 0.1, 0.02),
        ),
        "It is there what BatchNorm2d gives if eps is 0.02.",
    ),
    "batchnorm's bias left out": (
        _changed("bn", forward=lambda self, x: _functional("batch_norm")(x, None, None, self.weight, None, True)),
        "It is there what BatchNorm2d gives if its bias is left out.",
    ),
    "a leaky relu": (
        _changed("relu", forward=lambda self, x: _functional("leaky_relu")(x, 0.2)),
        "Numbers below 0 are multiplied by 0.2 there.",
    ),
    "a relu cut off": (
        _changed("relu", forward=lambda self, x: x.clamp(0, 0.5)),
        "Numbers are cut off at 0.5 there.",
    ),
    "twice": (
        _changed("relu", forward=lambda self, x: 2 * x.relu()),
        "It is here 0.5 times what it is there, in every number.",
    ),
}


class FlippedDx(minicnn.Conv2d):
    def backward(self, dy, need_dx=True):
        super().backward(dy)
        weight = self.params["weight"][:, :, ::-1, ::-1].copy()
        return self.ops.conv2d_input_gradient(dy, weight, dy.shape[2:], self.stride, self.padding)


class FlippedGradient(minicnn.Conv2d):
    def backward(self, dy, need_dx=True):
        dx = super().backward(dy)
        self.grads["weight"] = self.grads["weight"][:, :, ::-1, ::-1].copy()
        return dx


class MeanGradient(minicnn.Linear):
    def backward(self, dy, need_dx=True):
        dx = super().backward(dy)
        self.grads["weight"] = self.grads["weight"] / len(dy)
        return dx


class Constants(minicnn.BatchNorm2d):
    def backward(self, dy, need_dx=True):
        self.memory.training = False
        return super().backward(dy)


class OtherMomentum(minicnn.BatchNorm2d):
    def track(self, mean, var, count):
        self.momentum, momentum = 0.25, self.momentum
        super().track(mean, var, count)
        self.momentum = momentum


class Biased(minicnn.BatchNorm2d):
    def track(self, mean, var, count):
        super().track(mean, var * (count - 1) / count, count)


class Summed(minicnn.CrossEntropyLoss):
    def backward(self):
        return super().backward() * 5


class FasterSGD(minicnn.SGD):
    def step(self):
        self.lr *= 3
        super().step()


CAUSES_HERE = {
    "dx flipped": (
        {"conv": FlippedDx(4, 4, 3, padding=1)},
        {},
        "It is here what Conv2d gives if its kernel is flipped.",
    ),
    "dweight flipped": (
        {"conv": FlippedGradient(4, 4, 3, padding=1)},
        {},
        "It is here what it is there, flipped along its last two axes.",
    ),
    "dweight transposed": ({"fc": TransposedGradient(16, 16)}, {}, "It is here what it is there, transposed."),
    "dweight a mean": (
        {"fc": MeanGradient(16, 16)},
        {},
        "It is here 0.2 times what it is there, with 5 images: as if it were a sum there, and a mean here.",
    ),
    "statistics as constants": (
        {"bn": Constants(4)},
        {},
        "It is here what BatchNorm2d gives if its statistics are taken for constants.",
    ),
    "momentum of its own": (
        {"bn": OtherMomentum(4)},
        {},
        "It moves as if momentum were 0.25 here, and 0.1 there.",
    ),
    "a biased variance": (
        {"bn": Biased(4)},
        {},
        "0.1, with a variance divided by n and not n - 1 here, and 0.1 there.",
    ),
    "a sum of losses": ({}, {"loss": Summed()}, "with 5 images: as if it were a sum here, and a mean there."),
    "a longer step": ({}, {"optimizer": FasterSGD}, "The step is 3 times as long here."),
}


def _batch():
    rng = np.random.default_rng(0)
    return rng.standard_normal((5, CHANNELS, 7, 8)), rng.integers(CLASSES, size=5)


def _compared(here, there, **options):
    for name, tensor in there.state_dict().items():  # no weight of 1, and no bias or mean of 0, which hide
        if name.startswith("bn.") and tensor.is_floating_point():
            tensor.uniform_(0.5, 2)
    return compare(here, there, *_batch(), copy_weights=True, **options)


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_differ_are_named(torch, name):
    replaced, said = SETTINGS[name]
    comparison = _compared(here_layers(), there_module(torch, **replaced(torch)))
    assert not comparison
    assert said in str(comparison)


@pytest.mark.parametrize("name", CAUSES_THERE)
def test_a_cause_there_is_named(torch, name):
    replaced, said = CAUSES_THERE[name]
    comparison = _compared(here_layers(), there_module(torch, **replaced(torch)))
    assert not comparison
    assert comparison.cause == said
    assert said in str(comparison)
    assert "Settings that differ:" not in str(comparison)


@pytest.mark.parametrize("name", CAUSES_HERE)
def test_a_cause_here_is_named(torch, name):
    replaced, options, said = CAUSES_HERE[name]
    comparison = _compared(here_layers(**replaced), there_module(torch), **options)
    assert not comparison
    assert said in comparison.cause
    assert "Settings that differ:" not in str(comparison)


class Noisy(minicnn.Layer):
    """The layer, with a mistake that has no name."""

    def __init__(self, layer, what):
        super().__init__()
        self.layer, self.what, self.params, self.state = layer, what, layer.params, layer.state

    def forward(self, x):
        self.layer.params, self.layer.grads, self.layer.state = self.params, self.grads, self.state
        self.layer.training = self.training
        return self._altered(self.layer.forward(x), "output")

    def backward(self, dy, need_dx=True):
        dx = self._altered(self.layer.backward(dy), "dx")
        if "weight" in self.grads:
            self.grads["weight"] = self._altered(self.grads["weight"], "gradient")
        return dx

    def _altered(self, array, what):
        return array * np.random.default_rng(0).uniform(0.9, 1.1, array.shape) if what == self.what else array


NAMELESS = [(name, what) for name in ("conv", "bn", "relu", "fc") for what in ("output", "dx", "gradient")]
NAMELESS.remove(("relu", "gradient"))


@pytest.mark.parametrize(("name", "what"), NAMELESS)
def test_what_has_no_known_cause_is_given_none(torch, name, what):
    layer = here_layers()[name].to("reference", np.float64)
    comparison = _compared(here_layers(**{name: Noisy(layer, what)}), there_module(torch))
    assert (comparison.first.name.partition(".")[0], comparison.first.what) == (name, what)
    assert comparison.cause == ""


def test_a_factor_of_one_channel_is_not_taken_for_an_eps(torch):
    class Weaker(torch.nn.BatchNorm2d):
        def forward(self, x):
            return 0.9 * super().forward(x)

    def here():
        parts = {"bn": minicnn.BatchNorm2d(1), "flatten": minicnn.Flatten(), "fc": minicnn.Linear(12, 3, rng=0)}
        return minicnn.Sequential(**parts).to("reference", np.float64)

    parts = OrderedDict(bn=Weaker(1), flatten=torch.nn.Flatten(), fc=torch.nn.Linear(12, 3))
    x = np.random.default_rng(0).standard_normal((3, 1, 3, 4))
    comparison = compare(here(), torch.nn.Sequential(parts).double(), x, [0, 1, 2], copy_weights=True)
    assert comparison.cause == "It is here 1.11111 times what it is there, in every number."


def test_settings_without_effect_are_told_as_well(torch):
    there = there_module(torch, bn=torch.nn.BatchNorm2d(CHANNELS, momentum=0.3), max=torch.nn.MaxPool2d(2, stride=1))
    comparison = _compared(here_layers(), there, training=False)
    assert comparison
    assert "Settings that differ without effect on these numbers: bn: momentum (0.1 here, 0.3 there)." in str(
        comparison
    )
    there = there_module(torch, bn=torch.nn.BatchNorm2d(CHANNELS, momentum=0.3), **_conv(torch, dilation=2, padding=2))
    text = str(_compared(here_layers(), there))
    assert "  Settings that differ: padding ((1, 1) here, (2, 2) there), dilation ((1, 1) here, (2, 2) there)." in text
    assert "Settings that differ elsewhere: bn: momentum (0.1 here, 0.3 there)." in text


def test_settings_that_are_written_otherwise_are_the_same(torch):
    there = there_module(torch, **_conv(torch, padding="same"), log_softmax=torch.nn.LogSoftmax(-1))
    assert "Settings that differ" not in str(_compared(here_layers(), there))


def test_a_recording_tells_its_settings(torch, tmp_path):
    record(there_module(torch, **_avg(torch, count_include_pad=False)), *_batch(), tmp_path / "r")
    text = str(compare(here_layers(), tmp_path / "r", copy_weights=True))
    assert "Settings that differ: count_include_pad (True here, False there)." in text


def test_parameters_that_were_taken_over_wrongly_are_told(torch):
    there, here = there_module(torch), here_layers()
    here.load_state_dict({name: tensor.numpy() for name, tensor in there.state_dict().items()})
    here["fc"].params["weight"] = here["fc"].params["weight"].T.copy()
    assert compare(here, there, *_batch()).cause == "It is here what it is there, transposed."


def test_how_many_different_pairs_there_are():
    assert len(SETTINGS) + len(CAUSES_THERE) + len(CAUSES_HERE) >= 30
