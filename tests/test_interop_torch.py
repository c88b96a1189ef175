"""from_torch and to_torch: the same numbers, names and modes there and back, and refusals by name."""

import copy
import inspect
import itertools
import sys

import numpy as np
import pytest

import minicnn
from minicnn.interop.torch import from_torch, to_torch
from minicnn.interop.torch_layers import KINDS, Kind
from tests.runs import batches_of_three_sizes, bits, small_network, trained_simple_net


def drawn_layers(rng, channels):
    """Blocks of layers on images, without end."""

    def pair(low, high):
        return int(rng.integers(low, high)) if rng.random() < 0.5 else tuple(rng.integers(low, high, 2).tolist())

    while True:
        groups = int(rng.choice([n for n in range(1, channels + 1) if channels % n == 0]))
        out = groups * int(rng.integers(1, 6 // groups + 1))
        padding = rng.choice(["same", "valid", "in pixels"], p=[0.25, 0.25, 0.5])
        yield minicnn.Conv2d(
            channels,
            out,
            pair(1, 4),
            stride=1 if padding == "same" else pair(1, 3),
            padding=pair(0, 3) if padding == "in pixels" else str(padding),
            dilation=pair(1, 3) if rng.random() < 0.5 else 1,
            groups=groups,
            bias=bool(rng.random() < 0.5),
            rng=rng,
        )
        channels = out
        if rng.random() < 0.5:
            yield minicnn.BatchNorm2d(out, eps=10 ** -rng.uniform(1, 5), momentum=rng.random())
        if rng.random() < 0.7:
            yield minicnn.ReLU()
        if rng.random() < 0.3:
            windows = (2, None if rng.random() < 0.5 else pair(1, 3), pair(0, 2))
            ceil_mode, count_include_pad, divisor = rng.random() < 0.5, rng.random() < 0.5, rng.choice([None, 3])
            if rng.random() < 0.5:
                yield minicnn.MaxPool2d(*windows, ceil_mode=ceil_mode)
            else:
                yield minicnn.AvgPool2d(*windows, ceil_mode, count_include_pad, divisor)


def drawn_head(rng, features):
    yield minicnn.Linear(features, 4, bias=bool(rng.random() < 0.5), rng=rng)
    if rng.random() < 0.5:
        yield from (minicnn.ReLU(), minicnn.Linear(4, 3, rng=rng))
    if rng.random() < 0.5:
        yield minicnn.LogSoftmax()


def drawn_network(seed):
    """A network drawn at random, half of them for images of one size, and the shape (C, H, W) of its input."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(9, 20)) if seed % 2 else 32
    shape = (int(rng.integers(1, 4)), size, size)
    x, layers = np.zeros((1, *shape), np.float32), []
    for layer in itertools.islice(drawn_layers(rng, len(x[0])), int(rng.integers(1, 12))):
        if isinstance(layer, minicnn.Conv2d) and min(x.shape[2:]) < 5:
            break  # the images have become too small
        x = layer.predict(x)
        layers.append(layer)
    if seed % 2 == 0:
        pool = [minicnn.AdaptiveMaxPool2d, minicnn.AdaptiveAvgPool2d][int(rng.integers(2))]
        layers.append(pool(int(rng.integers(1, 4)) if rng.random() < 0.5 else tuple(rng.integers(1, 4, 2).tolist())))
        x = layers[-1].predict(x)
    layers += [minicnn.Flatten(), *drawn_head(rng, x[0].size)]
    cut = int(rng.integers(1, len(layers)))
    network = minicnn.Sequential(features=minicnn.Sequential(*layers[:cut]), rest=minicnn.Sequential(*layers[cut:]))
    network.to(dtype=["float32", "float64"][seed // 2 % 2])
    state = network.state_dict()
    for name, array in state.items():
        if "running" in name:
            array[...] = rng.uniform(0.5, 2, array.shape)
        if "tracked" in name:
            array[...] = rng.integers(0, 1000)
    network.load_state_dict(state)
    for _, layer in network.named_layers():
        layer.train(bool(rng.random() < 0.5))
    return network, shape


def outputs(network, module, x):
    import torch

    with torch.no_grad():
        return network.predict(x), copy.deepcopy(module).eval()(torch.from_numpy(x)).numpy()


def require_same(network, module, shape, dtype="float32"):
    x = np.random.default_rng(7).standard_normal((2, *shape)).astype(dtype)
    ours, theirs = outputs(network, module, x)
    assert ours.dtype == theirs.dtype
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * np.abs(theirs).max())


@pytest.mark.torch
@pytest.mark.parametrize("seed", range(50))
def test_fifty_architectures_go_to_pytorch_and_back(seed):
    network, shape = drawn_network(seed)
    dtype = str(next(iter(network.state_dict().values())).dtype)
    module = to_torch(network)
    require_same(network, module, shape, dtype)
    assert {name: tensor.numpy().tobytes() for name, tensor in module.state_dict().items()} == bits(network)
    back = from_torch(module)
    assert repr(back) == repr(network)
    assert bits(back) == bits(network)
    modes = [layer.training for _, layer in network.named_layers()]
    assert [layer.training for _, layer in back.named_layers()] == modes
    x = np.random.default_rng(8).standard_normal((2, *shape)).astype(dtype)
    np.testing.assert_array_equal(back.predict(x), network.predict(x), strict=True)


def modules():
    """Modules as people write them: {name: (module, input shape, expected names of layers)}."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class LeNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
            self.fc1, self.fc2 = nn.Linear(16 * 5 * 5, 20), nn.Linear(20, 10)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.conv1(x)), (2, 2))
            x = F.max_pool2d(F.relu(self.conv2(x)), 2)
            x = x.view(-1, 16 * 5 * 5)
            x = F.dropout(F.relu(self.fc1(x)), training=self.training)
            return F.log_softmax(self.fc2(x), dim=1)

    class Block(nn.Module):
        def __init__(self, channels, out):
            super().__init__()
            self.conv, self.bn, self.relu = nn.Conv2d(channels, out, 3, bias=False), nn.BatchNorm2d(out), nn.ReLU()

        def forward(self, x):
            return self.relu(self.bn(self.conv(x)))

    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([Block(3, 4), Block(4, 5)])
            self.relu, self.unused = nn.ReLU(inplace=True), nn.Identity()
            self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(5 * 6, 3))

        def forward(self, x):
            n = x.shape[0]
            for block in self.blocks:
                x = self.unused(self.relu(block(x)))
            x = F.adaptive_avg_pool2d(x, (2, 3)).relu()
            return self.head(x.reshape(n, -1).contiguous())

    class Methods(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.fc = nn.BatchNorm2d(2), nn.Linear(8, 3)

        def forward(self, x):
            x = F.avg_pool2d(self.norm(x), kernel_size=3, stride=2, padding=1, count_include_pad=False)
            x = F.max_pool2d(torch.relu(x), 2, ceil_mode=True)
            x = torch.flatten(F.adaptive_max_pool2d(torch.max_pool2d(x, 2, 1), 2), 1)
            x = x.view(x.size(0), -1).view((x.size()[0], -1)).flatten(start_dim=1)
            return self.fc(x).log_softmax(-1)

    class ComesBack(nn.Module):
        """Into a submodule a second time, by another of its layers."""

        def __init__(self):
            super().__init__()
            self.part = nn.ModuleDict({"a": nn.Conv2d(1, 2, 3), "b": nn.Conv2d(2, 2, 3)})
            self.between = nn.BatchNorm2d(2)

        def forward(self, x):
            return self.part["b"](self.between(self.part["a"](x)))

    plain = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Identity(), nn.ReLU(), nn.Dropout2d(), nn.AdaptiveMaxPool2d((None, 2)))
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 5), nn.ReLU(), nn.Linear(5, 2))
    return {
        "lenet": (
            LeNet(),
            (1, 32, 32),
            "conv1 relu max_pool2d conv2 relu_1 max_pool2d_1 view fc1 relu_2 dropout fc2 log_softmax",
        ),
        "nested": (
            Nested(),
            (3, 17, 12),
            "blocks.0.conv blocks.0.bn blocks.0.relu blocks.relu blocks.1.conv blocks.1.bn blocks.1.relu relu_1 "
            "adaptive_avg_pool2d relu_2 reshape head.0 head.1",
        ),
        "methods": (
            Methods(),
            (2, 9, 10),
            "norm avg_pool2d relu max_pool2d max_pool2d_1 adaptive_max_pool2d flatten view view_1 flatten_1 fc "
            "log_softmax",
        ),
        "comes back": (ComesBack(), (1, 9, 7), "part.a between part_1.b"),
        "plain": (plain, (2, 8, 9), "0 2 4"),
        "mlp": (mlp, (1, 28, 28), "0 1 2 3"),
        "one layer": (nn.Conv2d(1, 2, 3, padding=(1, 0)), (1, 5, 5), "0"),
    }


def of_dropout(key):
    """Whether it is what our dropout keeps, and PyTorch's does not."""
    return key.endswith((".seed", ".step"))


@pytest.mark.torch
@pytest.mark.parametrize("name", ["lenet", "nested", "methods", "comes back", "plain", "mlp", "one layer"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_modules_as_people_write_them(name, dtype):
    import torch

    module, shape, names = modules()[name]
    module.to(getattr(torch, dtype))
    module(torch.rand(4, *shape, dtype=getattr(torch, dtype)))  # moves the statistics
    module.eval()
    before = {key: tensor.numpy().tobytes() for key, tensor in module.state_dict().items()}
    network = from_torch(module)
    assert [layer for layer, _ in network.named_layers()] == names.split()
    assert not any(layer.training for _, layer in network.named_layers())
    require_same(network, module, shape, dtype)
    state = {key.replace("part_1", "part"): value for key, value in bits(network).items() if not of_dropout(key)}
    assert {key.removeprefix("0.") if name == "one layer" else key: value for key, value in state.items()} == before
    assert {key: tensor.numpy().tobytes() for key, tensor in module.state_dict().items()} == before
    require_same(network, to_torch(network), shape, dtype)


@pytest.mark.torch
def test_every_argument_of_pytorchs_layers_is_thought_of():
    from torch import nn

    for name, kind in KINDS.items():
        theirs = set(inspect.signature(getattr(nn, name)).parameters) - {"bias", "inplace", "device", "dtype"}
        assert theirs == {*kind.arguments, *kind.others}, name


@pytest.mark.torch
def test_a_network_without_weights():
    from torch import nn

    module = nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    require_same(from_torch(module), to_torch(from_torch(module)), (2, 5, 5))


@pytest.mark.torch
@pytest.mark.parametrize("name", ["nested", "methods"])
def test_they_learn_the_same(name):
    """A training step, with every array on the way."""
    import torch

    module, shape, _ = modules()[name]
    if name == "nested":
        module.head[0].p = 0.0  # else the two would drop different numbers
    network = from_torch(module.eval())
    x = np.random.default_rng(3).standard_normal((6, *shape)).astype(np.float32)
    back = to_torch(network)
    comparison = minicnn.compare(network, back, x, [0, 1, 2, 0, 1, 2])
    assert comparison, str(comparison)
    network.train()
    minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network), quiet=True).step(x, [0, 1, 2, 0, 1, 2])
    state = {key: torch.from_numpy(array) for key, array in network.state_dict().items() if not of_dropout(key)}
    module.load_state_dict(state, strict=True)
    require_same(network, module, shape)


@pytest.mark.torch
@pytest.mark.parametrize("output_size", [1, (3, 5), 7])
def test_a_trained_network_predicts_the_same_there(output_size):
    network = trained_simple_net(output_size)
    module = to_torch(network)
    for x in batches_of_three_sizes():
        ours, theirs = outputs(network, module, x)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5, err_msg=str(x.shape))


@pytest.mark.torch
def test_simplenet_and_a_fused_network():
    network = minicnn.SimpleNet(num_classes=4, in_channels=2, rng=0)
    module = to_torch(network)
    assert {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()} == {
        name: array.shape for name, array in network.state_dict().items()
    }
    for shape in ((2, 9, 13), (2, 32, 32)):
        require_same(network, module, shape)
        require_same(network, to_torch(minicnn.fuse(network)), shape)
    assert [name for name, _ in to_torch(minicnn.fuse(network)).named_children()] == list(network.children)


@pytest.mark.torch
def test_nothing_given_is_changed():
    """Neither weights, statistics and modes, nor PyTorch's random numbers."""
    import torch

    network = minicnn.SimpleNet(rng=0)
    before, state = bits(network), torch.random.get_rng_state()
    module = to_torch(network)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert bits(network) == before
    assert module.training
    assert network["bn1"].training
    module[1].eval()
    network = from_torch(module)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [layer.training for _, layer in network.named_layers()] == [True, False] + 11 * [True]
    assert not module[1].training
    network["conv1"].params["weight"][:] = 0
    assert module[0].weight.abs().min() > 0


# Refusals.


def refusals():
    """What is refused: {name: (module, what the message says)}."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Forward(nn.Module):
        def __init__(self, forward, **layers):
            super().__init__()
            self._forward = forward
            for name, layer in layers.items():
                self.add_module(name, layer)

        def forward(self, x):
            return self._forward(self, x)

    class Pair(nn.Module):
        def forward(self, x, y):
            return x

    class OwnConv(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) * 2

    conv = nn.Conv2d(3, 3, 3, padding=1)
    half = nn.Sequential(nn.Conv2d(1, 1, 1).half())
    mixed = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1).double())
    spoilt = nn.Sequential(nn.Linear(2, 1))
    spoilt[0].weight.data[0, 1] = torch.nan
    hooked = nn.Sequential(nn.Linear(2, 1))
    hooked[0].register_forward_hook(lambda module, inputs, output: output + 1)
    deep = nn.Sequential(nn.Sequential(conv, nn.Sequential(nn.Conv2d(3, 1, 3, padding=1, padding_mode="reflect"))))
    return {
        "padding_mode": (
            deep,
            r"^from_torch: 0\.1\.0: Conv2d\(padding_mode='reflect'\) is not in minicnn, which has .*'zeros'",
        ),
        "indices": (nn.Sequential(nn.MaxPool2d(2, return_indices=True)), r"0: MaxPool2d\(return_indices=True\) is"),
        "dilated pool": (nn.Sequential(nn.MaxPool2d(2, dilation=2)), r"0: MaxPool2d\(dilation=2\) is not"),
        "affine": (nn.Sequential(nn.BatchNorm2d(2, affine=False)), r"0: BatchNorm2d\(affine=False\) is not"),
        "no statistics": (
            nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False)),
            r"BatchNorm2d\(track_running_sta",
        ),
        "momentum": (
            nn.Sequential(nn.BatchNorm2d(2, momentum=None)),
            r"0: BatchNorm2d: expected momentum from 0 to 1, g",
        ),
        "flatten": (
            nn.Sequential(nn.Flatten(2)),
            r"0: Flatten\(start_dim=2\) is not in minicnn, which has start_dim=1",
        ),
        "axis": (nn.Sequential(nn.LogSoftmax(2)), r"0: LogSoftmax\(dim=2\) is not in minicnn"),
        "all of them": (
            nn.Sequential(nn.GELU(), nn.Conv1d(1, 1, 1), nn.Dropout2d(0.25)),
            r"0: GELU is no layer of minicnn; there are A.*; 1: Conv1d is no .*; 2: Dropout2d\(p=0\.25\) in training "
            r"mode, and minicnn has no dropout but Dropout; take it out, or convert module\.eval\(\)",
        ),
        "dropout in evaluation": (Forward(lambda self, x: F.dropout(x)), "expected the module's output"),
        "functional": (Forward(lambda self, x: F.max_pool2d(x, 2, dilation=2)), r"max_pool2d: MaxPool2d\(dilation=2\)"),
        "function": (Forward(lambda self, x: F.gelu(x)), r"Forward\.forward: gelu\(\) is no layer of minicnn"),
        "method": (
            Forward(lambda self, x: x.mean((2, 3))),
            r"Forward\.forward: mean\(\(2, 3\)\) is no layer of minicnn",
        ),
        "view": (Forward(lambda self, x: x.view(1, -1)), r"Forward\.forward: view\(1, -1\) is no layer of minicnn"),
        "residual": (
            nn.Sequential(nn.ReLU(), Forward(lambda self, x: x + self.conv(x), conv=conv)),
            r"1\.forward: expected a chain of layers, got add\(_0, _1_conv\) where _1_conv was the last step; a Seq",
        ),
        "two outputs": (
            Forward(lambda self, x: (x, x)),
            r"Forward\.forward: expected one tensor as output, got \(x, x\)",
        ),
        "two inputs": (Pair(), r"forward: expected one input, got x and y"),
        "branch": (
            Forward(lambda self, x: x if x.sum() > 0 else -x),
            r"Forward\.forward: expected a .*cannot trace \(Trace",
        ),
        "weights": (
            Forward(lambda self, x: F.conv2d(x, self.c.weight), c=conv),
            r"got the tensor c\.weight beside the la",
        ),
        "subclass": (
            nn.Sequential(OwnConv(1, 1, 1)),
            r"0\.forward: expected a chain of layers, got the tensor 0\.weight",
        ),
        "called twice": (
            Forward(lambda self, x: self.c(self.c(x)), c=conv),
            r"c: expected one call of a layer with weights",
        ),
        "parametrized": (
            nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 1))),
            r"0: ParametrizedLinear is no layer of minicnn",
        ),
        "lazy": (nn.Sequential(nn.LazyLinear(2)), r"0: LazyLinear is no layer of minicnn"),
        "nothing": (nn.Sequential(nn.Identity()), r"expected at least one layer that computes something, got none"),
        "half": (
            half,
            r"expected weights of float32 or of float64, got float16 \(0\.bias\); convert with module\.float",
        ),
        "mixed": (mixed, r"expected weights of float32 or of float64, got float32 \(0\.bias\), float64 \(1\.bias\)"),
        "spoilt": (spoilt, r"from_torch: expected finite numbers, got NaN or infinity in 0\.weight"),
        "hooked": (
            hooked,
            r"expected the module's output, of an input of shape \(3, 2\), got one that differs by 1 .*hook",
        ),
        "not square": (
            nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(15, 2)),
            r"found no square image that the module takes; say with input_shape=\(C, H, W\)",
        ),
        "four axes": (
            nn.Sequential(nn.Conv2d(1, 1, 1), nn.LogSoftmax(1)),
            r"the network does not: LogSoftmax: expected input",
        ),
        "no batch axis": (
            Forward(lambda self, x: self.c(x).flatten(), c=conv),
            r"flatten: Flatten\(start_dim=0\) is not",
        ),
    }


@pytest.mark.torch
def test_what_cannot_be_had_is_refused_by_name():
    for name, (module, message) in refusals().items():
        with pytest.raises((TypeError, ValueError), match=message) as caught:
            from_torch(module)
        assert str(caught.value).startswith("from_torch: "), name


@pytest.mark.torch
def test_images_that_are_not_square_are_given():
    from torch import nn

    module = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(15, 2))
    require_same(from_torch(module, input_shape=(1, 5, 3)), module, (1, 5, 3))
    with pytest.raises(
        ValueError, match=r"the module takes no input of shape \(3, 1, 4, 4\) .*give another input_shape"
    ):
        from_torch(module, input_shape=(1, 4, 4))
    with pytest.raises(ValueError, match=r"expected input_shape as \(C, H, W\) or \(D,\), got \(5, 3\)"):
        from_torch(module, input_shape=(5, 3))


class OwnLayer(minicnn.ReLU):
    pass


class OwnNetwork(minicnn.Sequential):
    def predict(self, x):
        return super().predict(x) + 1


@pytest.mark.torch
def test_networks_that_pytorch_cannot_have_are_refused_by_name():
    network = minicnn.Sequential(
        block=minicnn.Sequential(own=OwnLayer(), used=minicnn.ReLU().use(relu_forward=lambda x: x)),
        forward=minicnn.ReLU(),
        other=OwnNetwork(minicnn.ReLU()),
    )
    message = (
        r"^to_torch: block\.own is a OwnLayer, a layer of your own; expected one of .*; block\.used \(ReLU\) computes "
        r"with functions of your own \(relu_forward\); .*; other is a OwnNetwork that computes in a way of its own.*; "
        r"forward: expected a name .*, got 'forward'$"
    )
    with pytest.raises(ValueError, match=message):
        to_torch(network)
    network = small_network()
    network["fc"].params["bias"][0] = np.inf
    with pytest.raises(ValueError, match=r"to_torch: expected finite numbers, got NaN or infinity in fc\.bias"):
        to_torch(network)
    for thing in (minicnn.ReLU(), None):
        with pytest.raises(TypeError, match="to_torch: expected a Sequential, got "):
            to_torch(thing)
        with pytest.raises(TypeError, match=r"from_torch: expected a torch\.nn\.Module, got "):
            from_torch(thing)


@pytest.mark.torch
def test_a_wrong_conversion_is_noticed(monkeypatch):
    """The comparison is no formality: a layer that forgets an argument is refused."""
    from torch import nn

    def unpadded(in_channels, out_channels, kernel_size, bias, rng):
        return minicnn.Conv2d(in_channels, out_channels, kernel_size, bias=bias, rng=rng)

    monkeypatch.setitem(KINDS, "Conv2d", Kind(unpadded))
    with pytest.raises(
        ValueError, match=r"expected the module's output, ndarray of float32, shape \(3, 2, 32, 32\), got"
    ):
        from_torch(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1)))
    monkeypatch.setitem(KINDS, "BatchNorm2d", Kind(lambda num_features: minicnn.BatchNorm2d(num_features)))
    with pytest.raises(ValueError, match="got one that differs by "):
        from_torch(nn.Sequential(nn.BatchNorm2d(2, eps=1e-2)))


@pytest.mark.quick
def test_without_pytorch_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"from_torch needs PyTorch, which cannot be imported .*; pip install torch"):
        from_torch(None)
    with pytest.raises(ImportError, match=r"to_torch needs PyTorch, .*; pip install torch"):
        to_torch(small_network())
