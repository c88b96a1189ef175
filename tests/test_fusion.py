"""Fusion: the same layers computed together give the same numbers as one by one."""

import numpy as np
import pytest

import minicnn
from minicnn import AdaptiveAvgPool2d, AdaptiveMaxPool2d, BatchNorm2d, Conv2d, Flatten, Linear, ReLU, Sequential
from minicnn.backends.cpu.fused import backward
from minicnn.data import published_batch

pytestmark = pytest.mark.quick

BACKENDS = ["reference", "cpu"]
# Of the largest number, against the plain layers in float64. A convolution by Winograd may be off by 1e-5 in float32,
# and here up to three stand one behind the other.
TOLERANCE = {np.float32: 3e-5, np.float64: 1e-11}

# Each a list of convolutions as (filters, arguments), and whether a global max pooling follows.
STACKS = {
    "simplenet": ([(16, {"padding": 1}), (32, {"padding": 1}), (64, {"padding": 1})], True),
    "without pooling": ([(16, {"padding": 1}), (24, {"padding": 1})], False),
    "one block": ([(5, {"padding": 1})], True),
    "one block without pooling": ([(5, {})], False),
    "no padding": ([(8, {}), (17, {})], True),
    "no bias": ([(9, {"padding": 1, "bias": False}), (8, {"padding": 1, "bias": False})], True),
    "stride": ([(8, {"stride": 2, "padding": 1}), (12, {"stride": (1, 2), "padding": 1})], True),
    "1 × 1, 5 × 5": ([(8, {"kernel_size": 1}), (8, {"kernel_size": 5, "padding": 2})], False),
    "odd kernel and padding": ([(7, {"kernel_size": (3, 2), "padding": (0, 1)}), (6, {"kernel_size": (1, 4)})], False),
    "wide padding": ([(8, {"padding": 2}), (8, {"padding": (2, 1)})], True),
}
SHAPES = [(2, 3, 9, 11), (1, 1, 7, 7), (3, 5, 32, 18), (1, 16, 5, 40)]


def make_network(stack, channels, dtype, backend, seed=0):
    """The stack's plain layers with weights and running statistics that are not the first ones."""
    convolutions, pooled = STACKS[stack]
    rng = np.random.default_rng(seed)
    layers = {}
    for number, (filters, arguments) in enumerate(convolutions, start=1):
        layers[f"conv{number}"] = Conv2d(channels, filters, **{"kernel_size": 3, **arguments}, rng=rng)
        layers[f"bn{number}"] = BatchNorm2d(filters, eps=1e-3, momentum=0.3)
        layers[f"relu{number}"] = ReLU()
        channels = filters
    if pooled:
        layers["pool"] = AdaptiveMaxPool2d(1)
    network = Sequential(**layers)
    state = network.state_dict()
    for name, array in state.items():
        if name.startswith("bn") and array.dtype != np.int64:
            state[name] = rng.uniform(0.5, 2, array.shape) * (rng.choice([-1, 1]) if name.endswith("weight") else 1)
            if name.endswith("bias"):
                state[name][0] = -20  # a channel of which relu lets nothing through, not even its largest value
    network.load_state_dict(
        {name: np.asarray(array, np.float32) if array.ndim else array for name, array in state.items()}
    )
    return network.to(backend, dtype)


def assert_close(got, expected, scale, dtype, what):
    assert got.shape == expected.shape, what
    assert got.dtype in (dtype, np.int64), what
    worst = np.abs(got - expected).max() / scale
    assert worst <= TOLERANCE[dtype], f"{what}: off by {worst:.1e} of the largest"


def scale_of(name, found):
    """The largest number of an array. A bias's gradient may be 0 but for rounding, and is measured by its weight's."""
    related = [name, name.replace(".bias", ".weight")]
    return max(np.abs(found[each]).max() for each in related) or 1.0


def draw_dy(y):
    """Random and never ones, of float32 numbers in either dtype."""
    return np.random.default_rng(1).standard_normal(y.shape).astype(np.float32).astype(y.dtype)


def everything(computed, network, x):
    """Forward, backward with a random dy, and predict: all numbers by name."""
    y = computed.forward(x)
    dx = computed.backward(draw_dy(y))
    grads = {f"grad {name}": layer.grads[key] for name, layer, key in network.named_params()}
    return {"y": y, "dx": dx, "predict": computed.predict(x)} | grads | network.state_dict()


def assert_fused_is_plain(stack, shape, dtype, mode, backend):
    """Every number of the fused network, in `dtype`, is that of the plain one in float64."""
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    found = []
    for make_computed, dtype_of_this in ((lambda network: network, np.float64), (minicnn.fuse, dtype)):
        network = make_network(stack, shape[1], dtype_of_this, backend)
        if mode == "evaluation":
            network.eval()
        elif mode == "first batchnorm frozen":
            network["bn1"].eval()
        found.append(everything(make_computed(network), network, x.astype(dtype_of_this)))
    plain, fused = found
    assert plain.keys() == fused.keys()
    for name, expected in plain.items():
        what = f"{name}, {shape}, {dtype.__name__}"
        assert_close(fused[name], expected, scale_of(name, plain), dtype, what)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("mode", ["training", "evaluation", "first batchnorm frozen"])
def test_fused_and_plain_give_the_same_numbers(stack, mode, backend):
    for dtype in (np.float32, np.float64):
        for shape in SHAPES:
            assert_fused_is_plain(stack, shape, dtype, mode, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_bias_before_batch_statistics_gets_exactly_zero(backend):
    network = make_network("simplenet", 3, np.float64, backend)
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8))
    plain = everything(network, network, x)
    fused = everything(minicnn.fuse(network), network, x)
    for name in ("conv1", "conv2", "conv3"):
        assert np.abs(plain[f"grad {name}.bias"]).max() < 1e-12
        assert np.abs(fused[f"grad {name}.bias"]).max() == 0


def test_one_image_without_a_batch_axis_is_refused_as_batchnorm_refuses_it():
    network = make_network("simplenet", 3, np.float32, "cpu")
    for computed in (network, minicnn.fuse(network)):
        with pytest.raises(ValueError, match=r"expected input of shape \(N, C, H, W\)"):
            computed.forward(np.zeros((3, 9, 7), np.float32))


class Louder(Sequential):
    """A network with a forward pass of its own."""

    def forward(self, x):
        return super().forward(x) * 100


def test_a_network_that_does_something_of_its_own_is_left_alone():
    layers = {"conv": Conv2d(3, 4, 3, rng=0), "bn": BatchNorm2d(4), "relu": ReLU()}
    louder = Louder(**layers)
    assert minicnn.fuse(louder) is louder
    assert minicnn.fuse(Sequential(inner=louder))["inner"] is louder
    with pytest.raises(TypeError, match="expected a Sequential network, got ReLU"):
        minicnn.fuse(ReLU())


@pytest.mark.parametrize("outlier", [0, 30, 1000])
def test_the_variance_keeps_its_digits_whatever_stands_in_the_corner(outlier):
    network = make_network("one block", 8, np.float32, "cpu").train()
    x = np.random.default_rng(0).standard_normal((2, 8, 32, 32)).astype(np.float32)
    x[:, :, 0, 0] = outlier
    statistics = []
    for computed in (network, minicnn.fuse(network)):
        start = network.state_dict()
        computed.forward(x)
        statistics.append(network.state_dict()["bn1.running_var"])
        network.load_state_dict(start)
    np.testing.assert_allclose(statistics[1], statistics[0], rtol=2e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_and_infinity_come_out(backend):
    for bad in (np.nan, np.inf):
        fused = minicnn.fuse(make_network("simplenet", 3, np.float32, backend))
        x = np.zeros((2, 3, 8, 8), np.float32)
        x[0, 0, 4, 4] = bad
        with np.errstate(invalid="ignore"):  # NumPy warns, which is right and not the point
            predicted, trained = fused.predict(x), fused.forward(x)
        assert not np.isfinite(predicted[0]).all()
        assert np.isfinite(predicted[1]).all()  # the other image has nothing to do with it
        assert np.isnan(trained).any()  # in training it has, through the mean


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_input_gradient_where_none_is_asked_for(backend):
    network = make_network("simplenet", 3, np.float64, backend)
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8))
    fused = minicnn.fuse(network)
    with_dx = everything(fused, network, x)
    y = fused.forward(x)
    assert fused.backward(draw_dy(y), need_dx=False) is None
    for name, layer, key in network.named_params():
        np.testing.assert_array_equal(layer.grads[key], with_dx[f"grad {name}"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_that_were_kept_stay(backend):
    network = make_network("without pooling", 3, np.float32, backend)
    fused = minicnn.fuse(network)
    rng = np.random.default_rng(0)
    kept = []
    for _ in range(4):
        x = rng.standard_normal((4, 3, 64, 64)).astype(np.float32)
        y = fused.forward(x)
        dx = fused.backward(np.ones_like(y))
        arrays = [y, dx, fused.predict(x), *(layer.grads[key] for _, layer, key in network.named_params())]
        kept.append([(array, array.copy()) for array in arrays])
    for arrays in kept:
        for array, copy in arrays:
            np.testing.assert_array_equal(array, copy)


def test_what_is_fused_and_what_is_not():
    network = Sequential(
        stem=Sequential(conv=Conv2d(3, 4, 3), bn=BatchNorm2d(4), relu=ReLU()),
        conv1=Conv2d(4, 4, 3),
        relu1=ReLU(),
        conv2=Conv2d(4, 4, 3),
        bn2=BatchNorm2d(4),
        relu2=ReLU(),
        pool=AdaptiveAvgPool2d(1),
        flatten=Flatten(),
        fc=Linear(4, 2),
    )
    fused = minicnn.fuse(network)
    assert list(fused.children) == ["stem", "conv1", "relu1", "conv2_to_relu2", "pool", "flatten", "fc"]
    assert list(fused["stem"].children) == ["conv_to_relu"]
    assert list(fused.state_dict()) == list(network.state_dict())
    assert fused["conv2_to_relu2"]["conv2"] is network["conv2"]


def test_what_is_fused_already_stays():
    network = minicnn.SimpleNet(rng=0)
    twice = minicnn.fuse(minicnn.fuse(network))
    assert list(twice.children) == list(minicnn.fuse(network).children)
    assert list(twice.state_dict()) == list(network.state_dict())


def test_layers_that_do_not_fit_fail_as_the_plain_ones_do():
    network = Sequential(
        conv1=Conv2d(3, 4, 3), bn1=BatchNorm2d(4), relu1=ReLU(), conv2=Conv2d(5, 4, 3), bn2=BatchNorm2d(4), relu2=ReLU()
    )
    with pytest.raises(ValueError, match="expected 5 input channels, got 4"):
        minicnn.fuse(network).forward(np.zeros((1, 3, 9, 9), np.float32))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((2, 4, 8, 8), np.float32), ValueError, "expected 3 input channels, got 4"),
        (np.zeros((2, 3, 8, 8), np.int64), TypeError, "expected dtype float32 or float64, got int64"),
        (np.zeros((2, 3, 8, 8), np.float64), TypeError, "dtype of weight, float32, got float64"),
        (np.zeros((0, 3, 8, 8), np.float32), ValueError, "at least one element"),
        (np.zeros((2, 3, 4, 4), np.float32), ValueError, r"as large as the kernel \(3, 3\), got \(2, 2\)"),
        (np.zeros((1, 3, 5, 5), np.float32), ValueError, "more than one value per channel"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(x, error, message):
    network = make_network("no padding", 3, np.float32, "cpu")
    before = network.state_dict()
    fused = minicnn.fuse(network)
    with pytest.raises(error, match=message):
        fused.forward(x)
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    with pytest.raises(RuntimeError, match="backward needs a forward first"):
        fused.backward(np.zeros((2, 17, 1, 1), np.float32))


@pytest.mark.parametrize("backend", BACKENDS)
def test_moving_the_plain_network_moves_the_fused_one(backend):
    network = minicnn.SimpleNet(rng=0)
    fused = minicnn.fuse(network)
    network.to(backend, np.float64)
    assert fused.ops is network["conv1"].ops
    assert fused.predict(np.zeros((1, 3, 4, 4))).dtype == np.float64


def test_training_with_and_without_fusion_is_the_same_up_to_rounding():
    losses = []
    for fuse in (True, False):
        network = minicnn.SimpleNet(rng=0)
        trainer = minicnn.Trainer(
            network, minicnn.CrossEntropyLoss(), minicnn.SGD(network, lr=0.01), fuse=fuse, quiet=True
        )
        x, y = published_batch(rng=0)
        losses.append([trainer.step(x, y) for _ in range(5)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_layers_with_operations_of_their_own_are_left_as_they_are():
    network = minicnn.SimpleNet(in_channels=1, rng=0)
    network["conv2"].use(conv2d_input_gradient=lambda *arguments: 1 / 0)
    assert list(minicnn.fuse(network).children)[:4] == ["conv1_to_relu1", "conv2", "bn2", "relu2"]
    network["conv2"].use(conv2d_input_gradient=None)
    fused = minicnn.fuse(network)
    network["bn3"].use(batchnorm2d_forward=lambda *arguments: 1 / 0)
    with pytest.raises(
        RuntimeError, match="ConvBlocks: bn3 was given operations of its own after the network was fused"
    ):
        fused.forward(np.zeros((2, 1, 5, 5), np.float32))


def test_a_pooling_layer_of_ones_own_is_not_fused():
    class Halved(minicnn.AdaptiveMaxPool2d):
        def backward(self, dy, need_dx=True):
            return super().backward(dy) / 2

    network = minicnn.SimpleNet(in_channels=1, rng=0)
    layers = dict(network.children) | {"adaptive_pool": Halved((1, 1))}
    assert "adaptive_pool" in minicnn.fuse(minicnn.Sequential(**layers)).children


@pytest.mark.parametrize("sizes", [[(16, 16)] * 40, [(13, 18), (20, 9), (32, 30)] * 12], ids=["one size", "mixed"])
def test_both_gradients_in_one_pass_are_those_of_two_kernels(sizes, monkeypatch):
    """And for any number of threads."""
    rng = np.random.default_rng(0)
    images = [rng.standard_normal((3, *size)).astype(np.float32) for size in sizes]
    x, labels = np.stack(images) if len(set(sizes)) == 1 else minicnn.Images(images), np.arange(len(sizes)) % 10
    passes, one_pass = [], backward.run_both_gradients

    def counted(*arguments):
        passes.append(arguments)
        return one_pass(*arguments)

    def gradients():
        network, loss = minicnn.fuse(minicnn.SimpleNet(rng=0)), minicnn.CrossEntropyLoss()
        loss.forward(network.forward(x), labels)
        network.backward(loss.backward())
        return [grad for _, layer in network.named_layers() for grad in layer.grads.values()]

    monkeypatch.setattr(backward, "run_both_gradients", counted)
    found = gradients()
    assert len(passes) == 2  # conv2 and conv3
    minicnn.set_num_threads(1)
    with_one_thread = gradients()
    minicnn.set_num_threads(2)
    monkeypatch.setattr(backward, "supports_both", lambda *_: False)
    by_two_kernels = gradients()
    assert len(passes) == 4
    for a, b, c in zip(found, with_one_thread, by_two_kernels, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
