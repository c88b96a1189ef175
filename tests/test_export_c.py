"""Networks as C files, compiled by gcc and held against our own output."""

import re
import subprocess

import numpy as np
import pytest

import minicnn
from minicnn.interop.c import export_c
from tests.c_models import SANITIZERS, UNTOUCHED, WARNINGS, Models, exported, gcc, needs_gcc
from tests.runs import batches_of_three_sizes, trained_simple_net

pytestmark = [needs_gcc]

TOO_LARGE, WRONG_SIZE, NO_IMAGE = -1, -2, -3
SIZES = [(32, 32), (17, 23), (5, 40), (1, 1), (40, 32)]


def image(rng, channels, height, width):
    return rng.standard_normal((channels, height, width)).astype(np.float32)


def with_statistics(network, rng):
    """Running statistics and parameters as after a training."""
    for _, layer in network.named_layers():
        if isinstance(layer, minicnn.BatchNorm2d):
            c = layer.num_features
            layer.state["running_mean"] = rng.standard_normal(c).astype(layer.params["bias"].dtype)
            layer.state["running_var"] = rng.uniform(0.2, 3, c).astype(layer.params["bias"].dtype)
            layer.params["weight"] = rng.uniform(-1.5, 1.5, c).astype(layer.params["bias"].dtype)
            layer.params["bias"] = rng.standard_normal(c).astype(layer.params["bias"].dtype)
    return network


def difference(ours, theirs):
    """The largest, beside the largest number where that is above 1."""
    return np.abs(ours - theirs).max() / max(1.0, np.abs(ours).max())


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng(16)


@pytest.fixture(scope="module")
def simple(tmp_path_factory):
    """SimpleNet, and its C."""
    folder = tmp_path_factory.mktemp("c")
    network = with_statistics(minicnn.SimpleNet(rng=0), np.random.default_rng(0))
    return network, Models(folder, [exported(network, folder / "simple.c", 40, 40)])


@pytest.mark.quick
def test_simplenet_at_five_sizes(simple, rng):
    network, models = simple
    images = [image(rng, 3, *size) for size in SIZES]
    for x, found in zip(images, models.predict(0, *images), strict=True):
        assert difference(network.predict(x[None])[0], found) < 1e-5


def test_a_trained_network_predicts_the_same(tmp_path):
    networks = [trained_simple_net(output_size) for output_size in (1, (3, 5), 7)]
    models = Models(tmp_path, [exported(net, tmp_path / f"{n}.c", 32, 40) for n, net in enumerate(networks)])
    for number, network in enumerate(networks):
        for batch in batches_of_three_sizes()[:3]:  # of one image each
            found = models.predict(number, *batch)
            np.testing.assert_allclose(network.predict(batch), found, rtol=1e-5, atol=1e-5, err_msg=str(batch.shape))


def test_what_the_function_refuses(simple, rng):
    """An error below 0, and neither a read nor a write outside: the arrays have no number more than they need."""
    _, models = simple
    pixel = np.zeros((3, 1, 1), np.float32)
    sizes = [(41, 40), (40, 41), (1, 41), (2**31 - 1, 1), (1, 2**31 - 1), (0, 5), (5, 0), (-1, 5), (-(2**31), -(2**31))]
    answers = models.ask([(0, pixel, *size) for size in sizes])
    assert [written for written, _ in answers] == [TOO_LARGE] * 5 + [NO_IMAGE] * 4
    assert all((output == UNTOUCHED).all() for _, output in answers)


def drawn_network(rng):
    """(network, channels) of layers drawn at random, for images of any size from a few pixels on."""
    channels = first = int(rng.integers(1, 5))
    layers = []

    def pair(low, high):
        return tuple(rng.integers(low, high + 1, 2).tolist())

    for _ in range(rng.integers(1, 4)):
        if rng.random() < 0.7:
            filters, kernel = int(rng.integers(1, 7)), pair(1, 4)
            arguments = {"stride": pair(1, 3), "padding": pair(0, 3), "bias": bool(rng.integers(2))}
            if rng.random() < 0.4:
                arguments |= [{"padding": "valid"}, {"padding": "same", "stride": 1}][rng.integers(2)]
            if rng.random() < 0.5:
                arguments["dilation"] = pair(1, 3)
            if rng.random() < 0.5:
                arguments["groups"] = int(rng.choice([n for n in range(1, channels + 1) if channels % n == 0]))
                filters = arguments["groups"] * int(rng.integers(1, 4))
            layers.append(minicnn.Conv2d(channels, filters, kernel, rng=rng, **arguments))
            channels = filters
        if rng.random() < 0.5:
            layers.append(minicnn.BatchNorm2d(channels))
        if rng.random() < 0.5:
            layers.append(minicnn.ReLU())
        if rng.random() < 0.5:
            windows = {"kernel_size": pair(2, 3), "stride": pair(1, 3), "padding": pair(0, 1)}
            windows["ceil_mode"] = bool(rng.integers(2))
            counted = {"count_include_pad": bool(rng.integers(2)), "divisor_override": (None, None, 5)[rng.integers(3)]}
            layers.append([minicnn.MaxPool2d(**windows), minicnn.AvgPool2d(**windows, **counted)][rng.integers(2)])
        if rng.random() < 0.3:
            pool = [minicnn.AdaptiveMaxPool2d, minicnn.AdaptiveAvgPool2d][rng.integers(2)]
            layers.append(pool(((None, 7), (9, None), (5, 11))[rng.integers(3)]))
    last = pair(1, 9)
    layers.append([minicnn.AdaptiveMaxPool2d, minicnn.AdaptiveAvgPool2d][rng.integers(2)](last))
    layers.append(minicnn.Flatten())
    if rng.random() < 0.8 or channels == first:  # which says how many channels there are
        features = channels * last[0] * last[1]
        layers += [minicnn.Linear(features, 5, rng=rng), minicnn.ReLU(), minicnn.Linear(5, 4, bias=False, rng=rng)]
        layers += [minicnn.LogSoftmax()] * int(rng.integers(2))
    split = int(rng.integers(1, len(layers)))
    if rng.random() < 0.3:
        layers = [minicnn.Sequential(*layers[:split]), *layers[split:]]
    return with_statistics(minicnn.Sequential(*layers), rng).to("reference"), first


@pytest.mark.parametrize("count", [pytest.param(10, marks=pytest.mark.quick), pytest.param(50, marks=pytest.mark.slow)])
def test_drawn_networks_at_five_sizes(tmp_path, count):
    rng = np.random.default_rng(count)
    drawn = []
    while len(drawn) < count:
        network, channels = drawn_network(rng)
        try:
            network.predict(image(rng, channels, 21, 26)[None])
        except ValueError:  # nothing is left for a layer to look at
            continue
        path = tmp_path / f"m{len(drawn)}.c"
        exported(network, path, 21, 26)
        drawn.append((network, channels, path))
    models = Models(tmp_path, [path for *_, path in drawn])
    sizes = [(21, 26), (13, 13), (20, 7), (3, 26), (1, 2)]
    for number, (network, channels, _) in enumerate(drawn):
        images = [image(rng, channels, *size) for size in sizes]
        for x, found in zip(images, models.predict(number, *images), strict=True):
            try:
                expected = network.predict(x[None])[0]
            except ValueError:
                assert found == WRONG_SIZE, (network, x.shape)
            else:
                assert difference(expected, found) < 1e-5, (network, x.shape)


def weighted(weight, **arguments):
    """A convolution of these weights (F, C / groups, KH, KW), its output as a vector."""
    weight = np.float32(weight)
    filters, channels, *kernel = weight.shape
    layer = minicnn.Conv2d(channels * arguments.get("groups", 1), filters, tuple(kernel), bias=False, **arguments)
    layer.params["weight"] = weight
    return minicnn.Sequential(layer, minicnn.Flatten())


def below_and_right(x):
    """x, its right neighbour, the one below and the one between them; zeros outside."""
    wider = np.pad(x, ((0, 0), (0, 1), (0, 1)))
    return wider[:, :-1, :-1], wider[:, :-1, 1:], wider[:, 1:, :-1], wider[:, 1:, 1:]


FOUR = np.reshape([1, 10, 100, 1000], (1, 1, 2, 2))
BY_HAND = {  # the layer, and what it makes of x (C, H, W)
    "depthwise": (weighted(np.reshape([1, 10, 100], (3, 1, 1, 1)), groups=3), lambda x: x * [[[1]], [[10]], [[100]]]),
    "two filters for each channel": (
        weighted(np.reshape([1, 10, 100, 1000], (4, 1, 1, 1)), groups=2),
        lambda x: [x[0], 10 * x[0], 100 * x[1], 1000 * x[1]],
    ),
    "two groups": (
        weighted(np.reshape([1, 10, 100, 1000], (2, 2, 1, 1)), groups=2),
        lambda x: [x[0] + 10 * x[1], 100 * x[2] + 1000 * x[3]],
    ),
    "dilation with a stride": (
        weighted(FOUR, dilation=(2, 3), stride=(1, 2)),
        lambda x: (x[:, :-2, :-3] + 10 * x[:, :-2, 3:] + 100 * x[:, 2:, :-3] + 1000 * x[:, 2:, 3:])[:, :, ::2],
    ),
    "same with an even kernel": (
        weighted(FOUR, padding="same"),
        lambda x: np.tensordot([1, 10, 100, 1000], below_and_right(x), 1),
    ),
}


@pytest.mark.quick
def test_convolutions_by_hand(tmp_path):
    sources = [exported(network, tmp_path / f"{n}.c", 7, 9) for n, (network, _) in enumerate(BY_HAND.values())]
    models = Models(tmp_path, sources)
    rng = np.random.default_rng(0)
    for number, (name, (network, formula)) in enumerate(BY_HAND.items()):
        images = [rng.integers(0, 10, (network[0].in_channels, *size)) for size in [(7, 9), (4, 5), (3, 4), (2, 3)]]
        for x, found in zip(images, models.predict(number, *map(np.float32, images)), strict=True):
            if name == "dilation with a stride" and x.shape[1:] == (2, 3):  # it needs 3 × 4
                assert found == WRONG_SIZE
            else:
                np.testing.assert_array_equal(found, np.ravel(formula(x)), err_msg=f"{name}, {x.shape}")


def residual_networks():
    """Sums in sums, and where their input, their layers' output or both have to be kept meanwhile."""

    def block(channels, filters, stride=1, **shortcut):
        first = minicnn.Conv2d(channels, filters, 3, stride, 1, rng=channels)
        second = minicnn.Conv2d(filters, filters, 3, 1, 1, rng=filters)
        bn1, bn2 = minicnn.BatchNorm2d(filters), minicnn.BatchNorm2d(filters)
        return minicnn.Residual(conv1=first, bn1=bn1, relu=minicnn.ReLU(), conv2=second, bn2=bn2, **shortcut)

    def head(features):
        return {
            "pool": minicnn.AdaptiveMaxPool2d(1),
            "flatten": minicnn.Flatten(),
            "sum": minicnn.Residual(minicnn.ReLU(), minicnn.Residual(minicnn.Linear(features, features, rng=3))),
            "drop": minicnn.Dropout(0.5),
            "fc": minicnn.Linear(features, 4, rng=4),
        }

    projection = minicnn.Sequential(conv=minicnn.Conv2d(3, 5, 1, 2, rng=0), bn=minicnn.BatchNorm2d(5))
    inner = minicnn.Residual(
        block(3, 3), minicnn.ReLU(), block(3, 3), shortcut=minicnn.Residual(minicnn.Conv2d(3, 3, 1, rng=8))
    )
    nothing = minicnn.Residual(minicnn.Dropout(0.3), shortcut=minicnn.Residual(minicnn.Dropout(0.2)))
    return [
        minicnn.Sequential(down=block(3, 5, 2, shortcut=projection), relu=minicnn.ReLU(), plain=block(5, 5), **head(5)),
        minicnn.Sequential(inner=inner, relu=minicnn.ReLU(), nothing=nothing, **head(3)),
        minicnn.Sequential(
            first=minicnn.Residual(minicnn.ReLU(), minicnn.BatchNorm2d(3)),
            second=minicnn.Residual(minicnn.ReLU(), shortcut=minicnn.ReLU()),
            **head(3),
        ),
    ]


@pytest.mark.quick
def test_sums(tmp_path, rng):
    networks = [with_statistics(network, rng) for network in residual_networks()]
    networks += [minicnn.fuse(networks[0])]
    models = Models(tmp_path, [exported(network, tmp_path / f"{n}.c", 40, 40) for n, network in enumerate(networks)])
    for number, network in enumerate(networks):
        images = [image(rng, 3, *size) for size in SIZES]
        for x, found in zip(images, models.predict(number, *images), strict=True):
            assert difference(network.predict(x[None])[0], found) < 1e-5


@pytest.mark.quick
def test_a_sum_that_fits_some_images_only_refuses_the_others(tmp_path, rng):
    """Of even sizes the pooling makes as much as the convolution with a stride, of uneven ones it does not."""
    network = minicnn.Sequential(
        sum=minicnn.Residual(minicnn.MaxPool2d(2), shortcut=minicnn.Conv2d(1, 1, 1, 2, rng=0)),
        pool=minicnn.AdaptiveMaxPool2d(1),
        flatten=minicnn.Flatten(),
    )
    models = Models(tmp_path, [exported(network, tmp_path / "net.c", 8, 8)])
    found, refused = models.predict(0, x := image(rng, 1, 6, 8), image(rng, 1, 7, 8))
    assert difference(network.predict(x[None])[0], found) < 1e-5
    assert refused == WRONG_SIZE
    with pytest.raises(ValueError, match=r"export_c: sum, given \(1, 7, 8\) for an image of 7 × 8: Residual: expected"):
        network.export_c(tmp_path / "net.c", 7, 8)


@pytest.mark.quick
def test_uneven_windows(tmp_path):
    """Of each size from 1 to 14 on both axes, those with more outputs than cells too; means and maxima by hand."""
    sources, outputs = [], (1, 3, 4, 7, 13)
    for out in outputs:
        for pool in (minicnn.AdaptiveAvgPool2d, minicnn.AdaptiveMaxPool2d):
            network = minicnn.Sequential(minicnn.BatchNorm2d(1, eps=0), pool((out, out)), minicnn.Flatten())
            sources.append(exported(network, tmp_path / f"{pool.__name__}{out}.c", 14, 14))
    models = Models(tmp_path, sources)
    rows, columns = np.ogrid[:14, :14]
    images = [np.float32(20 * rows + columns)[None, :n, :n] for n in range(1, 15)]
    for number, out in enumerate(outputs):
        means, maxima = models.predict(2 * number, *images), models.predict(2 * number + 1, *images)
        for n, mean, maximum in zip(range(1, 15), means, maxima, strict=True):
            first = np.array([p * n // out for p in range(out)])
            last = np.array([-(-(p + 1) * n // out) - 1 for p in range(out)])
            middle = (first + last) / 2
            np.testing.assert_allclose(mean.reshape(out, out), 20 * middle[:, None] + middle, rtol=1e-6)
            np.testing.assert_array_equal(maximum.reshape(out, out), 20 * last[:, None] + last)


def test_a_large_mean_keeps_its_digits(tmp_path):
    network = minicnn.Sequential(minicnn.BatchNorm2d(1, eps=0), minicnn.AdaptiveAvgPool2d(1), minicnn.Flatten())
    models = Models(tmp_path, [exported(network, tmp_path / "m.c", 1500, 1500)])
    (found,) = models.predict(0, np.full((1, 1500, 1500), 0.1, np.float32))
    assert abs(found[0] - 0.1) < 1e-6


def test_float64_is_computed_in_double(tmp_path, rng):
    network = with_statistics(minicnn.SimpleNet(rng=0).to("reference", np.float64), rng)
    models = Models(tmp_path, [exported(network, tmp_path / "m.c", 9, 9)], np.float64)
    x = rng.standard_normal((3, 9, 7))
    np.testing.assert_allclose(models.predict(0, x)[0], network.predict(x[None])[0], rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_nan_and_infinity_go_through(tmp_path):
    layers = [minicnn.Conv2d(1, 2, 3, padding=1, rng=0), minicnn.ReLU(), minicnn.MaxPool2d(2)]
    network = minicnn.Sequential(*layers, minicnn.AdaptiveMaxPool2d(3), minicnn.Flatten()).to("reference")
    models = Models(tmp_path, [exported(network, tmp_path / "m.c", 12, 12)])
    images = [np.zeros((1, 12, 12), np.float32) for _ in range(2)]
    images[0][0, 5, 5], images[1][0, 0, 0] = np.nan, -np.inf
    for x, found in zip(images, models.predict(0, *images), strict=True):
        np.testing.assert_allclose(found, network.predict(x[None])[0], rtol=1e-5)
    assert np.isnan(models.predict(0, images[0])[0]).any()


def test_a_network_for_one_size_refuses_others(tmp_path, rng):
    """Without adaptive pooling; 9 × 8 comes out of the strided convolution in the size of 9 × 9."""
    network = minicnn.Sequential(
        minicnn.Conv2d(2, 3, 3, stride=2, rng=0), minicnn.Flatten(), minicnn.Linear(48, 2, rng=0)
    ).to("reference")
    models = Models(tmp_path, [exported(network, tmp_path / "m.c", 10, 10)])
    fitting, small, tiny = image(rng, 2, 9, 10), image(rng, 2, 8, 9), image(rng, 2, 2, 9)
    found = models.predict(0, fitting, small, tiny)
    assert difference(network.predict(fitting[None])[0], found[0]) < 1e-5
    assert found[1:] == [WRONG_SIZE, WRONG_SIZE]


def test_the_number_of_outputs_may_depend_on_the_size(tmp_path, rng):
    network = minicnn.Sequential(minicnn.Conv2d(1, 2, 3, rng=0), minicnn.Flatten()).to("reference")
    models = Models(tmp_path, [exported(network, tmp_path / "m.c", 9, 9)])
    x = image(rng, 1, 4, 7)
    (found,) = models.predict(0, x)
    assert found.shape == (2 * 2 * 5,)
    assert difference(network.predict(x[None])[0], found) < 1e-5


def test_memory_is_as_stated(tmp_path):
    """What the head says, beside the constants and the variables of the object file."""
    exported(minicnn.SimpleNet(rng=0), tmp_path / "m.c", 40, 32)
    head = (tmp_path / "m.c").read_text()
    gcc(*WARNINGS, "-O0", "-c", tmp_path / "m.c", "-o", tmp_path / "m.o")
    symbols = subprocess.run(["nm", "-S", tmp_path / "m.o"], capture_output=True, text=True, check=True).stdout
    sizes = {"r": 0, "b": 0}
    for line in symbols.splitlines():
        if (found := re.fullmatch(r"\w+ (\w+) ([rb]) (\w+)", line)) and not found[3].startswith("__"):
            sizes[found[2]] += int(found[1], 16)
    assert int(re.search(r"flash +(\d+) bytes", head)[1]) == sizes["r"]
    assert int(re.search(r"RAM +(\d+) bytes", head)[1]) == sizes["b"] == 4 * 40 * 32 * (64 + 32)


NAMES = ["int", "a", "y0", "*/", "/*", "a.b*/", 'q"uo\\te', "new\nline", "??/", "größe", "größe ", "", "x" * 300, "at"]


@pytest.mark.quick
def test_layers_of_any_name(tmp_path, rng):
    layers = {name: minicnn.ReLU() for name in NAMES if "." not in name}
    layers = {"conv 1": minicnn.Conv2d(1, 2, 3, rng=0), "conv_1": minicnn.BatchNorm2d(2)} | layers
    nested = minicnn.Sequential(**{"conv": minicnn.Sequential(**{"1": minicnn.ReLU()}), "input": minicnn.ReLU()})
    network = minicnn.Sequential(**layers, nested=nested, end=minicnn.Flatten()).to("reference")
    models = Models(tmp_path, [exported(network, tmp_path / "m.c", 5, 5)])
    x = image(rng, 1, 5, 5)
    assert difference(network.predict(x[None])[0], models.predict(0, x)[0]) < 1e-5


@pytest.mark.quick
def test_the_same_network_gives_the_same_bytes(tmp_path):
    paths = [exported(minicnn.SimpleNet(rng=0), tmp_path / name, 9, 9) for name in ("a.c", "b.c")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    exported(minicnn.fuse(minicnn.SimpleNet(rng=0)), tmp_path / "b.c", 9, 9)
    assert paths[0].read_bytes() == paths[1].read_bytes()


class Own(minicnn.ReLU):
    pass


class OwnNetwork(minicnn.Sequential):
    def predict(self, x):
        return -super().predict(x)


def conv(**options):
    return minicnn.Conv2d(1, 2, 3, rng=0, **options)


def spoilt(layer, key, value):
    (layer.params if key in layer.params else layer.state)[key] = value
    return layer


def changed(layer, **attributes):
    for name, value in attributes.items():
        setattr(layer, name, value)
    return layer


END = minicnn.Flatten()
NAN = np.float32([1, np.nan])
REFUSED = {
    "a layer of one's own": (
        (conv(), Own(), END),
        TypeError,
        "1 is a Own, a layer of your own; expected one of .*Conv2d",
    ),
    "own operations": (
        (conv(), minicnn.ReLU().use(relu_forward=abs), END),
        TypeError,
        r"1 \(ReLU\) computes with .*relu_forward",
    ),
    "own predict": (
        OwnNetwork(conv(), END),
        TypeError,
        "the network is a OwnNetwork that computes in a way of its own",
    ),
    "own predict inside": ((OwnNetwork(conv()), END), TypeError, "0 is a OwnNetwork that computes in a way of its own"),
    "groups": ((changed(conv(), groups=2), END), ValueError, "0, given .*expected groups that divide"),
    "groups of other weights": (
        (changed(minicnn.Conv2d(2, 2, 1, rng=0), groups=2), END),
        ValueError,
        r"weight of floats, shape \(2, 1, 1, 1\)",
    ),
    "dilation": ((changed(conv(), dilation=(2, 1.5)), END), TypeError, "0, given .*dilation: expected"),
    "same with a stride": ((changed(conv(padding="same"), stride=(2, 2)), END), ValueError, "expected stride 1"),
    "divisor": (
        (conv(), changed(minicnn.AvgPool2d(2), divisor_override=0), END),
        ValueError,
        "divisor_override: expected at least 1",
    ),
    "no network": (conv(), TypeError, "expected a Sequential or a Classifier, got Conv2d"),
    "images": ((conv(), minicnn.ReLU()), ValueError, "output is a vector, got images .* from 1; end it with Flatten"),
    "no channels": ((minicnn.ReLU(), END), ValueError, "how many channels"),
    "no vectors": ((conv(), minicnn.Linear(2, 1)), ValueError, r"1, given \(2, 7, 7\).*expected vectors.*Flatten"),
    "no images": ((conv(), minicnn.Flatten(), conv()), ValueError, "2, given .*Conv2d: expected images, got vectors"),
    "channels": ((conv(), conv(), END), ValueError, "1, given .*Conv2d: expected 1 channels, got 2"),
    "features": ((conv(), END, minicnn.Linear(7, 1)), ValueError, "2, given .*expected 7 features, got 98; max_height"),
    "too small": ((minicnn.Conv2d(1, 2, 12, rng=0), END), ValueError, "0, given .*at least as large as the kernel"),
    "too small to pool": ((conv(), minicnn.MaxPool2d(8), END), ValueError, "1, given .*MaxPool2d: expected an image"),
    "NaN": ((spoilt(conv(), "bias", NAN), END), ValueError, "0, given .*Conv2d: expected finite numbers.*bias"),
    "NaN mean": (
        (spoilt(minicnn.BatchNorm2d(2), "running_mean", NAN), END),
        ValueError,
        "BatchNorm2d: .*NaN or infinity in mean",
    ),
    "variance": (
        (spoilt(minicnn.BatchNorm2d(2), "running_var", np.float32([1, -1])), END),
        ValueError,
        "infinity in scale = weight / sqrt",
    ),
    "shape": ((spoilt(conv(), "bias", np.zeros(3, np.float32)), END), ValueError, r"bias of floats, shape \(2,\)"),
    "integers": ((spoilt(conv(), "bias", np.zeros(2, int)), END), ValueError, "bias of floats"),
    "no weight": ((spoilt(conv(), "weight", None), END), ValueError, "weight of floats"),
    "two dtypes": (
        (conv(), END, minicnn.Linear(98, 1).to(dtype=np.float64)),
        TypeError,
        "float32 in 0, float64 in 2; convert",
    ),
    "padding": ((conv(), changed(minicnn.AvgPool2d(2), padding=(3, 3)), END), ValueError, "at most half the kernel"),
    "stride": ((changed(conv(), stride=(0, 1)), END), ValueError, "stride: expected at least 1"),
    "large dilation": ((conv(padding="same", dilation=16384), END), ValueError, "at most 32767, got 32769"),
    "large stride": ((conv(stride=10**9), END), ValueError, "sides of at most 32767, got 1000000000"),
    "no output": ((conv(), changed(minicnn.AdaptiveMaxPool2d(1), output_size=(0, 1)), END), ValueError, "at least 1"),
}


@pytest.mark.quick
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_written_is_refused_by_name(tmp_path, case):
    network, error, message = REFUSED[case]
    network = minicnn.Sequential(*network) if isinstance(network, tuple) else network
    path = tmp_path / "model.c"
    path.write_text("as before")
    with pytest.raises(error, match=f"(?s)^export_c: .*{message}"):
        export_c(network, path, 9, 9)
    assert path.read_text() == "as before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.quick
@pytest.mark.parametrize(
    ("height", "width", "error", "message"),
    [
        (0, 5, ValueError, "max_height: expected at least 1"),
        (5, 2.5, TypeError, "max_width: expected an integer"),
        (5, 40000, ValueError, "max_width: expected at most 32767"),
        (
            30000,
            30000,
            ValueError,
            r"0, given .*expected at most 2147483647 numbers.*make max_height and max_width smaller",
        ),
    ],
)
def test_sizes_that_cannot_be(tmp_path, height, width, error, message):
    network = minicnn.Sequential(minicnn.Conv2d(1, 3, 1, rng=0), minicnn.AdaptiveMaxPool2d(1), minicnn.Flatten())
    with pytest.raises(error, match=message):
        network.export_c(tmp_path / "m.c", height, width)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.quick
def test_places_that_cannot_be_written(tmp_path):
    network = minicnn.Sequential(conv(), minicnn.Flatten())
    with pytest.raises(IsADirectoryError, match="add a file's name"):
        network.export_c(tmp_path, 9, 9)
    with pytest.raises(FileNotFoundError, match="make it first"):
        network.export_c(tmp_path / "no" / "m.c", 9, 9)
    with pytest.raises(OSError, match="No space left"):
        network.export_c("/dev/full", 9, 9)
    assert list(tmp_path.iterdir()) == []


def test_two_models_in_one_program_with_warnings_of_optimised_code(tmp_path):
    """-O3 sees more than -O1, such as numbers that are never set; and nothing that the file defines clashes."""
    for number, name in enumerate(("cats", "dogs")):
        exported(minicnn.SimpleNet(rng=number), tmp_path / f"{name}.c", 16, 16)
        names = [f"-Dminicnn_predict={name}", f"-Dminicnn_class_names={name}_names"]
        gcc(*WARNINGS, "-O3", *names, "-c", tmp_path / f"{name}.c", "-o", tmp_path / f"{name}.o")
    (tmp_path / "main.c").write_text(
        "int cats(const float *, int, int, float *);\nint dogs(const float *, int, int, float *);\n"
        "int main(void)\n{\n    float image[3] = {0}, out[10];\n"
        "    return cats(image, 1, 1, out) == 10 && dogs(image, 1, 1, out) == 10 ? 0 : 1;\n}\n"
    )
    gcc(tmp_path / "main.c", tmp_path / "cats.o", tmp_path / "dogs.o", "-lm", *SANITIZERS, "-o", tmp_path / "main")
    subprocess.run([tmp_path / "main"], check=True)
