"""Networks as ONNX files: what onnxruntime makes of them is what we make of them, at every size."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import minicnn
from minicnn.classify.classifier import Classifier
from minicnn.cli.program import program
from minicnn.interop.onnx import export_onnx
from minicnn.interop.onnx_graph import Graph, add_layer, input_shape
from tests import checks
from tests.image_files import pixels, save
from tests.runs import batches_of_three_sizes, trained_simple_net

needs_onnx = pytest.mark.onnx
EXAMPLE = Path(__file__).parent.parent / "examples" / "export_onnx.py"
PAGE = EXAMPLE.parent.parent / "docs" / "onnx.md"


def images(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def with_statistics(network, seed=0):
    """The network with running statistics that are no new layer's."""
    rng = np.random.default_rng(seed)
    for _, layer in network.named_layers():
        if "running_var" in layer.state:
            n = layer.num_features
            layer.state["running_mean"] = rng.standard_normal(n).astype(np.float32)
            layer.state["running_var"] = rng.uniform(0.5, 2, n).astype(np.float32)
            layer.params["weight"] = rng.uniform(-1.5, 1.5, n).astype(np.float32)
            layer.params["bias"] = rng.standard_normal(n).astype(np.float32)
    return network


def simple_net(pool, seed=0):
    """SimpleNet with another pooling before its classifier."""
    layers = dict(minicnn.SimpleNet(rng=seed).children)
    height, width = pool.output_size
    layers |= {"adaptive_pool": pool, "fc": minicnn.Linear(64 * height * width, 10, rng=seed)}
    return with_statistics(minicnn.Sequential(**layers))


def session(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def operators(path):
    import onnx

    return [node.op_type for node in onnx.load(path).graph.node]


def assert_agree(network, path, *batches):
    """onnxruntime, given the file, and the network give the same numbers."""
    run = session(path)
    for x in batches:
        (found,) = run.run(None, {run.get_inputs()[0].name: x})
        expected = network.predict(x)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=str(x.shape))


SIZES = [(1, 32, 32), (4, 17, 23), (2, 5, 4), (3, 1, 7), (1, 64, 13)]  # N, H, W; windows are uneven in most


@needs_onnx
@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("output_size", [1, (3, 5), 7])
@pytest.mark.parametrize("kind", [minicnn.AdaptiveMaxPool2d, minicnn.AdaptiveAvgPool2d])
def test_simplenet_at_several_sizes(tmp_path, kind, output_size, fold):
    network = simple_net(kind(output_size))
    network.export_onnx(tmp_path / "net.onnx", fold_batchnorm=fold)
    assert ("BatchNormalization" in operators(tmp_path / "net.onnx")) != fold
    assert_agree(network, tmp_path / "net.onnx", *(images(n, 3, *size) for n, *size in SIZES))


@needs_onnx
@pytest.mark.parametrize("output_size", [1, (3, 5), 7])
def test_a_trained_network_predicts_the_same_there(tmp_path, output_size):
    network = trained_simple_net(output_size)
    network.export_onnx(tmp_path / "net.onnx")
    assert_agree(network, tmp_path / "net.onnx", *batches_of_three_sizes())


@needs_onnx
@pytest.mark.parametrize("output_size", [(1, 4), (4, 1), (None, 3), (2, None), None, (13, 11), 32])
@pytest.mark.parametrize("kind", [minicnn.AdaptiveMaxPool2d, minicnn.AdaptiveAvgPool2d])
def test_adaptive_pooling_is_exact(tmp_path, kind, output_size):
    """To 1e-6, windows larger and smaller than the image, and a size that is kept."""
    network = minicnn.Sequential(kind(output_size))
    network.export_onnx(tmp_path / "net.onnx")
    run = session(tmp_path / "net.onnx")
    for n, *size in SIZES:
        x = images(n, 2, *size)
        (found,) = run.run(None, {"input": x})
        np.testing.assert_allclose(found, network.predict(x), rtol=0, atol=1e-6)


def drawn_pooling(kind, window, rng):
    ceil_mode, count_include_pad = map(bool, rng.integers(0, 2, 2))
    if kind == "max":
        return minicnn.MaxPool2d(**window, ceil_mode=ceil_mode)
    divisor = None if ceil_mode else [None, 5][rng.integers(2)]
    return minicnn.AvgPool2d(
        **window, ceil_mode=ceil_mode, count_include_pad=count_include_pad, divisor_override=divisor
    )


def drawn_conv(channels, window, rng):
    groups = int(rng.choice([n for n in range(1, channels + 1) if channels % n == 0]))
    more = {"dilation": tuple(rng.integers(1, 4, 2).tolist()), "groups": groups, "bias": bool(rng.integers(2))}
    named = [{}, {}, {"padding": "valid"}, {"padding": "same", "stride": 1}][rng.integers(4)]
    filters = groups * int(rng.integers(1, 8 // groups + 1))
    return minicnn.Conv2d(channels, filters, rng=rng, **(window | more | named))


def drawn_network(rng):
    """(network, channels of its input) drawn at random from all layers."""
    channels = first = int(rng.integers(1, 5))
    layers = []
    for _ in range(rng.integers(1, 5)):
        kind = rng.choice(["conv", "block", "max", "average", "adaptive"])
        kernel = rng.integers(1, 5, 2)
        window = {
            "kernel_size": tuple(kernel.tolist()),
            "stride": tuple(rng.integers(1, 4, 2).tolist()),
            "padding": tuple((rng.integers(0, 3, 2) % (kernel // 2 + 1)).tolist()),
        }
        if kind in ("conv", "block"):
            layers.append(drawn_conv(channels, window, rng))
            channels = layers[-1].out_channels
            layers += [minicnn.BatchNorm2d(channels), minicnn.ReLU()] if kind == "block" else []
        elif kind == "adaptive":
            pool = minicnn.AdaptiveMaxPool2d if rng.integers(2) else minicnn.AdaptiveAvgPool2d
            layers.append(pool((int(rng.integers(40, 44)), None)))
        else:
            layers.append(drawn_pooling(kind, window, rng))
    height, width = rng.integers(1, 6, 2).tolist()
    pool = minicnn.AdaptiveMaxPool2d if rng.integers(2) else minicnn.AdaptiveAvgPool2d
    layers += [pool((height, width)), minicnn.Flatten(), minicnn.Linear(channels * height * width, 6, rng=rng)]
    layers += [minicnn.ReLU(), minicnn.Linear(6, 4, bias=False, rng=rng)] if rng.integers(2) else []
    layers += [minicnn.LogSoftmax()] if rng.integers(2) else []
    return with_statistics(minicnn.Sequential(*layers)), first


@needs_onnx
@pytest.mark.parametrize("seed", range(50))
def test_networks_drawn_at_random(tmp_path, seed):
    rng = np.random.default_rng(seed)
    network, channels = drawn_network(rng)
    batches, smallest = [], 12
    while len(batches) < 3:
        n, height, width = int(rng.integers(1, 4)), *(smallest + rng.integers(0, 40, 2)).tolist()
        try:
            network.predict(x := images(n, channels, height, width, seed=seed))
        except ValueError:  # too small for one of its kernels
            smallest += 20
            continue
        batches.append(x)
    for fold in (False, True):
        network.export_onnx(tmp_path / "net.onnx", fold_batchnorm=fold)
        assert_agree(network, tmp_path / "net.onnx", *batches)


@needs_onnx
@pytest.mark.parametrize("fold", [False, True])
def test_a_fused_or_nested_network_is_written_as_its_layers(tmp_path, fold):
    network = with_statistics(minicnn.SimpleNet(rng=0))
    network.export_onnx(tmp_path / "plain.onnx", fold)
    minicnn.fuse(network).export_onnx(tmp_path / "fused.onnx", fold)
    assert (tmp_path / "fused.onnx").read_bytes() == (tmp_path / "plain.onnx").read_bytes()
    nested = minicnn.Sequential(features=minicnn.fuse(network), scores=minicnn.Sequential(minicnn.ReLU()))
    nested.export_onnx(tmp_path / "nested.onnx", fold)
    assert_agree(nested, tmp_path / "nested.onnx", images(2, 3, 9, 8))


@needs_onnx
@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_sums_are_written_as_add_and_dropout_as_nothing(tmp_path, fused, fold):
    network = with_statistics(residual_network())
    export_onnx(minicnn.fuse(network) if fused else network, tmp_path / "net.onnx", fold_batchnorm=fold)
    assert operators(tmp_path / "net.onnx").count("Add") == 3
    assert not {"Dropout", "Identity"} & set(operators(tmp_path / "net.onnx"))
    assert ("BatchNormalization" in operators(tmp_path / "net.onnx")) == (not fold)
    assert_agree(network, tmp_path / "net.onnx", *(images(n, 3, h, w) for n, h, w in SIZES))


@needs_onnx
def test_a_residual_by_itself_and_one_of_dropout_alone(tmp_path):
    for network in (
        minicnn.Residual(minicnn.Conv2d(3, 3, 3, padding=1)),
        minicnn.Sequential(minicnn.Residual(minicnn.Dropout())),
    ):
        export_onnx(network, tmp_path / "net.onnx")
        assert_agree(network, tmp_path / "net.onnx", images(2, 3, 6, 5))


@needs_onnx
def test_a_sum_of_what_does_not_fit_is_refused_by_name(tmp_path):
    network = minicnn.Sequential(block=minicnn.Residual(conv(3, 4)))
    with pytest.raises(ValueError, match=r"block \(Residual\): .* got \(N, 4, H, W\) and \(N, 3, H, W\)"):
        export_onnx(network, tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


def residual_network():
    """Sums in sums, with and without a projection, one of vectors."""

    def block(channels, filters, stride, **shortcut):
        first = minicnn.Conv2d(channels, filters, 3, stride, 1, rng=channels)
        second = minicnn.Conv2d(filters, filters, 3, 1, 1, rng=filters)
        bn1, bn2 = minicnn.BatchNorm2d(filters), minicnn.BatchNorm2d(filters)
        return minicnn.Residual(conv1=first, bn1=bn1, relu=minicnn.ReLU(), conv2=second, bn2=bn2, **shortcut)

    projection = minicnn.Sequential(conv=minicnn.Conv2d(3, 5, 1, 2, rng=0), bn=minicnn.BatchNorm2d(5))
    return minicnn.Sequential(
        down=block(3, 5, 2, shortcut=projection),
        relu=minicnn.ReLU(),
        plain=block(5, 5, 1),
        pool=minicnn.AdaptiveMaxPool2d(1),
        flatten=minicnn.Flatten(),
        head=minicnn.Residual(minicnn.Linear(5, 5, rng=0), minicnn.ReLU(), minicnn.Dropout(0.3)),
        drop=minicnn.Dropout(0.5),
        fc=minicnn.Linear(5, 4, rng=1),
        log_softmax=minicnn.LogSoftmax(),
    )


@needs_onnx
def test_training_mode_and_gradients_make_no_difference_and_the_network_stays(tmp_path):
    network = with_statistics(minicnn.SimpleNet(rng=0))
    network.export_onnx(tmp_path / "before.onnx")
    state = network.state_dict()
    network.eval().export_onnx(tmp_path / "after.onnx")
    assert (tmp_path / "after.onnx").read_bytes() == (tmp_path / "before.onnx").read_bytes()
    network.train()["conv1"].forward(images(1, 3, 4, 4))
    network.export_onnx(tmp_path / "after.onnx", fold_batchnorm=True)
    assert network["conv1"].memory is not None
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(array, state[name], strict=True)


@needs_onnx
@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_every_backend_writes_the_same(tmp_path, backend):
    network = with_statistics(minicnn.SimpleNet(rng=0))
    network.export_onnx(tmp_path / "cpu.onnx")
    network.to(backend).export_onnx(tmp_path / "other.onnx")
    assert (tmp_path / "other.onnx").read_bytes() == (tmp_path / "cpu.onnx").read_bytes()


@needs_onnx
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 3, 1), (2, 3, 1), (4, 3, 2), (1, 2, 0)]
)
def test_every_rule_of_what_a_pooling_counts(tmp_path, kernel_size, stride, padding, ceil_mode):
    window = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    pools = [minicnn.MaxPool2d(**window), *(minicnn.AvgPool2d(**window, count_include_pad=c) for c in (True, False))]
    pools += [] if ceil_mode else [minicnn.AvgPool2d(**window, divisor_override=5)]
    for pool in pools:
        network = minicnn.Sequential(pool)
        network.export_onnx(tmp_path / "net.onnx")
        assert_agree(network, tmp_path / "net.onnx", *(images(1, 2, height, 9) - 3 for height in range(4, 12)))


NETWORKS = {
    "vectors": (minicnn.Sequential(minicnn.Linear(5, 3, rng=0)), ["N", 5], ["N", 3], (2, 5)),
    "scores": (minicnn.Sequential(minicnn.LogSoftmax()), ["N", "D"], ["N", "D"], (2, 5)),
    "relu": (minicnn.Sequential(minicnn.ReLU()), ["N", "C", "H", "W"], ["N", "C", "H", "W"], (2, 5, 3, 4)),
    "flatten": (
        minicnn.Sequential(minicnn.Flatten(), minicnn.Linear(12, 3, rng=0)),
        ["N", "C", "H", "W"],
        ["N", 3],
        (2, 1, 3, 4),
    ),
    "images": (
        minicnn.Sequential(minicnn.MaxPool2d(2), minicnn.Conv2d(3, 4, 1, rng=0), minicnn.AdaptiveMaxPool2d((2, None))),
        ["N", 3, "H", "W"],
        ["N", 4, 2, None],
        (2, 3, 5, 9),
    ),
    "one side known": (
        minicnn.Sequential(
            minicnn.AdaptiveMaxPool2d((9, None)),
            minicnn.Conv2d(4, 6, (2, 3), padding="same", dilation=(3, 2), groups=2, rng=0),
            minicnn.Conv2d(6, 6, 3, stride=(2, 1), padding=1, dilation=2, groups=6, rng=0),
        ),
        ["N", 4, "H", "W"],
        ["N", 6, 4, None],
        (2, 4, 15, 5),
    ),
}


@needs_onnx
@pytest.mark.parametrize("name", NETWORKS)
def test_what_the_file_says_of_its_input_and_output(tmp_path, name):
    network, given, made, shape = NETWORKS[name]
    network.export_onnx(tmp_path / "net.onnx")
    run = session(tmp_path / "net.onnx")
    assert [(tensor.name, tensor.shape) for tensor in run.get_inputs()] == [("input", given)]
    assert [(tensor.name, tensor.shape) for tensor in run.get_outputs()] == [("output", made)]
    assert_agree(network, tmp_path / "net.onnx", images(*shape))


@needs_onnx
def test_the_file_is_of_opset_18_and_of_a_form_that_programs_have_read_for_long(tmp_path):
    import onnx

    minicnn.SimpleNet(rng=0).export_onnx(tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    assert (model.ir_version, model.producer_name) == (8, "minicnn")
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    names = {tensor.name for tensor in model.graph.initializer}
    assert names == {name for name in minicnn.SimpleNet(rng=0).state_dict() if "num_batches" not in name}


@needs_onnx
@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (2, 3, 8), (3,)])
def test_a_batch_of_another_shape_is_onnxruntimes_error(tmp_path, shape):
    minicnn.SimpleNet(rng=0).export_onnx(tmp_path / "net.onnx")
    from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

    with pytest.raises(InvalidArgument, match=r"(?i)invalid (dimensions|rank) for input: input"):
        session(tmp_path / "net.onnx").run(None, {"input": images(*shape)})


@needs_onnx
def test_batchnorm_that_follows_no_convolution_stays(tmp_path):
    network = with_statistics(
        minicnn.Sequential(
            minicnn.BatchNorm2d(2), minicnn.Conv2d(2, 3, 3, bias=False, rng=0), minicnn.ReLU(), minicnn.BatchNorm2d(3)
        )
    )
    network.export_onnx(tmp_path / "net.onnx", fold_batchnorm=True)
    assert operators(tmp_path / "net.onnx") == ["BatchNormalization", "Conv", "Relu", "BatchNormalization"]
    assert_agree(network, tmp_path / "net.onnx", images(2, 2, 5, 6))


# What is refused, each with the words that name it and the remedy.


class Swish(minicnn.Layer):
    def predict(self, x):
        return x / (1 + np.exp(-x))


class LeakyReLU(minicnn.ReLU):
    def predict(self, x):
        return np.maximum(x, 0.1 * x)


class Residual(minicnn.Sequential):
    def predict(self, x):
        return x + super().predict(x)


def conv(n_in=3, n_out=4):
    return minicnn.Conv2d(n_in, n_out, 3, rng=0)


def spoilt(value, name, key):
    network = minicnn.SimpleNet(rng=0)
    layer = network[name]
    (layer.params if key in layer.params else layer.state)[key][0] = value
    return network


REFUSED = {
    "an own layer": (lambda: minicnn.Sequential(act=Swish()), TypeError, "act is a Swish, a layer of your own"),
    "a subclass": (lambda: minicnn.Sequential(act=LeakyReLU()), TypeError, "act is a LeakyReLU, a layer of your own"),
    "own operations": (
        lambda: minicnn.Sequential(act=minicnn.ReLU().use(relu_forward=np.abs)),
        TypeError,
        r"act \(ReLU\) computes with functions of your own \(relu_forward\).*use\(relu_forward=None\)",
    ),
    "another road": (lambda: Residual(conv()), TypeError, "the network is a Residual that computes"),
    "another road inside": (
        lambda: minicnn.Sequential(block=Residual(conv())),
        TypeError,
        "block is a Residual that computes in a way of its own; .*into a Sequential",
    ),
    "float64": (
        lambda: minicnn.SimpleNet(rng=0).to(dtype=np.float64),
        TypeError,
        r"expected a network of float32, got float64 in conv1.weight; .*\.to\(dtype=np.float32\)",
    ),
    "no network": (lambda: conv(), TypeError, "expected a Sequential network or a Classifier, got Conv2d"),
    "NaN": (lambda: spoilt(np.nan, "conv2", "weight"), ValueError, "got NaN or infinity in conv2.weight; load weights"),
    "infinity": (lambda: spoilt(np.inf, "bn2", "running_var"), ValueError, "got NaN or infinity in bn2.running_var"),
    "channels": (
        lambda: minicnn.Sequential(a=conv(3, 4), b=conv(5, 6)),
        ValueError,
        r"b does not fit what comes before it: Conv2d: expected input of shape \(N, 5, H, W\), got \(N, 4, H, W\)",
    ),
    "divisor_override in ceil_mode": (
        lambda: minicnn.Sequential(pool=minicnn.AvgPool2d(2, ceil_mode=True, divisor_override=3)),
        TypeError,
        r"pool \(AvgPool2d\) has a divisor_override and ceil_mode",
    ),
    "features": (
        lambda: minicnn.Sequential(conv(), minicnn.AdaptiveMaxPool2d(2), minicnn.Flatten(), fc=minicnn.Linear(4, 2)),
        ValueError,
        r"fc does not fit .* expected input of shape \(N, 4\), got \(N, 16\)",
    ),
    "images for vectors": (
        lambda: minicnn.Sequential(conv(), end=minicnn.LogSoftmax()),
        ValueError,
        r"end does not fit .* expected input of shape \(N, K\), got \(N, 4, H, W\)",
    ),
    "a kernel larger than what is left": (
        lambda: minicnn.Sequential(minicnn.AdaptiveAvgPool2d(2), conv=conv()),
        ValueError,
        r"conv does not fit .* expected an image at least as large as the kernel",
    ),
    "a dilated kernel larger than what is left": (
        lambda: minicnn.Sequential(minicnn.AdaptiveAvgPool2d((4, None)), conv=minicnn.Conv2d(3, 4, 3, dilation=2)),
        ValueError,
        r"conv does not fit .* expected an image at least as large as the kernel \(5, 5\), got \(4, 5\)",
    ),
    "one name twice": (
        lambda: minicnn.Sequential(
            blocks=minicnn.fuse(minicnn.Sequential(c=conv(3, 3), b=minicnn.BatchNorm2d(3), r=minicnn.ReLU()))[0],
            c=conv(3, 3),
        ),
        ValueError,
        "two layers are called c",
    ),
}


@needs_onnx
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_written_is_refused_by_name_and_the_file_stays(tmp_path, case):
    make, error, words = REFUSED[case]
    path = tmp_path / "net.onnx"
    path.write_bytes(b"before")
    with pytest.raises(error, match=f"^export_onnx: .*{words}"):
        export_onnx(make(), path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@needs_onnx
def test_batchnorm_that_cannot_be_folded_into_finite_weights_is_refused(tmp_path):
    network = minicnn.SimpleNet(rng=0)
    network["bn1"].state["running_var"][:] = -1
    with pytest.raises(ValueError, match=r"got NaN or infinity in conv1\.weight"):
        network.export_onnx(tmp_path / "net.onnx", fold_batchnorm=True)
    assert not any(tmp_path.iterdir())


@needs_onnx
def test_what_onnx_itself_refuses_is_never_written(tmp_path, monkeypatch):
    monkeypatch.setattr("minicnn.interop.onnx.OPSET", 1)  # in which Split and others had other settings
    with pytest.raises(ValueError, match="export_onnx: the network breaks a rule of ONNX"):
        simple_net(minicnn.AdaptiveMaxPool2d(3)).export_onnx(tmp_path / "net.onnx")
    assert not any(tmp_path.iterdir())


@needs_onnx
def test_weights_that_no_file_of_onnx_can_hold_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("minicnn.interop.onnx.MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="expected weights of at most 1000 bytes, got 98"):
        minicnn.SimpleNet(rng=0).export_onnx(tmp_path / "net.onnx")
    assert not any(tmp_path.iterdir())


@needs_onnx
@pytest.mark.parametrize(
    ("place", "number", "words"),
    [
        ("", errno.EISDIR, "got a folder; add a file's name"),
        ("nowhere/net.onnx", errno.ENOENT, "there is no folder .*nowhere; make it first"),
        ("net.onnx/net.onnx", errno.ENOTDIR, "Not a directory"),
    ],
)
def test_a_path_that_cannot_be_written(tmp_path, place, number, words):
    (tmp_path / "net.onnx").write_bytes(b"before")
    with pytest.raises(OSError, match=words) as raised:
        minicnn.SimpleNet(rng=0).export_onnx(tmp_path / place)
    assert raised.value.errno == number
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


@needs_onnx
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
def test_a_full_disk_is_said():
    with pytest.raises(OSError, match="No space left") as raised:
        minicnn.SimpleNet(rng=0).export_onnx("/dev/full")
    assert raised.value.filename == "/dev/full"


@pytest.mark.quick
def test_without_the_package_onnx_the_remedy_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    remedy = "the package onnx, which is not installed; get it with: pip install 'minicnn-numba[onnx]'"
    with pytest.raises(ImportError, match=re.escape(remedy)):
        minicnn.SimpleNet(rng=0).export_onnx(tmp_path / "net.onnx")
    classifier().save(tmp_path / "pets.safetensors")
    result = CliRunner().invoke(
        program, ["export", str(tmp_path / "pets.safetensors"), "--onnx", str(tmp_path / "pets.onnx")]
    )
    assert (result.exit_code, result.output) == (1, f"Error: export_onnx: ONNX files are made with {remedy}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["pets.safetensors"]


@pytest.mark.quick
def test_the_operators_of_a_network_without_the_package_onnx():
    """What `onnx_graph` makes is plain tuples and arrays."""
    layers = [minicnn.Conv2d(3, 4, 3, padding=1, rng=0), minicnn.AvgPool2d(2), minicnn.AdaptiveMaxPool2d((1, 2))]
    graph = Graph("input", input_shape(layers))
    for name, layer in zip("abc", layers, strict=True):
        add_layer(graph, name, layer, layer.params)
    graph.end("output")
    assert graph.shape == (4, 1, 2)
    assert [node.operator for node in graph.nodes[:3]] == ["Conv", "AveragePool", "ReduceMax"]
    assert [node.operator for node in graph.nodes].count("Slice") == 2
    made = {"input"} | graph.constants.keys()
    for node in graph.nodes:  # each reads what was made before it
        assert made.issuperset(node.inputs)
        made |= set(node.outputs)
    assert graph.value == "output"


# Classifiers.


def classifier(in_channels=3, max_side=None):
    network = with_statistics(minicnn.SimpleNet(num_classes=3, in_channels=in_channels, rng=0))
    mean, std = np.linspace(0.3, 0.6, in_channels), np.linspace(0.2, 0.3, in_channels)
    return Classifier(network, ["cat", "dog", "猫"], mean, std, max_side)


@needs_onnx
@pytest.mark.parametrize("in_channels", [1, 3])
def test_a_classifier_takes_images_from_0_to_1_and_gives_probabilities(tmp_path, in_channels):
    model = classifier(in_channels, max_side=40)
    export_onnx(model, tmp_path / "pets.onnx")
    run = session(tmp_path / "pets.onnx")
    assert [(tensor.name, tensor.shape) for tensor in run.get_inputs()] == [("images", ["N", in_channels, "H", "W"])]
    assert [(tensor.name, tensor.shape) for tensor in run.get_outputs()] == [("probabilities", ["N", 3])]
    for n, *size in SIZES:
        x = np.random.default_rng(n).random((n, in_channels, *size), np.float32)
        (found,) = run.run(None, {"images": x})
        np.testing.assert_allclose(found, model.predict(x), rtol=1e-5, atol=1e-6)
    metadata = run.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["class_names"]) == ["cat", "dog", "猫"]
    assert json.loads(metadata["mean"]) == model.mean.tolist()
    assert json.loads(metadata["std"]) == model.std.tolist()
    assert json.loads(metadata["max_side"]) == 40
    assert metadata["channels"] == {1: "grey", 3: "RGB"}[in_channels]
    assert "divided by 255" in metadata["preparation"]
    assert "40 pixels" in metadata["preparation"]


@pytest.fixture
def model_file(tmp_path):
    classifier(max_side=20).save(tmp_path / "pets.safetensors")
    return tmp_path / "pets.safetensors"


@needs_onnx
@pytest.mark.parametrize("options", [[], ["--fold-batchnorm"]])
def test_the_program_exports_a_model(tmp_path, model_file, options):
    result = CliRunner().invoke(program, ["export", str(model_file), "--onnx", str(tmp_path / "pets.onnx"), *options])
    assert (result.exit_code, result.output) == (0, f"ONNX model: {tmp_path / 'pets.onnx'}\n")
    assert ("BatchNormalization" in operators(tmp_path / "pets.onnx")) != bool(options)
    model = Classifier.load(model_file)
    image = model.read(save(tmp_path / "cat.png", pixels(30, 18)))
    assert image.shape == (3, 20, 12)
    (found,) = session(tmp_path / "pets.onnx").run(None, {"images": image[None]})
    np.testing.assert_allclose(found, model.predict([image]), rtol=1e-5, atol=1e-6)


@needs_onnx
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.safetensors", "--onnx", "pets.onnx"], "no file nowhere.safetensors"),
        (["pets.safetensors"], "name the file to write"),
        (["pets.safetensors", "--onnx", "."], "is a directory"),
        (["pets.safetensors", "--onnx", "nowhere/pets.onnx"], "there is no folder"),
        (["text", "--onnx", "pets.onnx"], "expected a safetensors file"),
    ],
)
def test_what_is_wrong_with_an_export_is_said_in_a_line(tmp_path, model_file, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("no model, but more than eight bytes")
    result = CliRunner().invoke(program, ["export", *arguments])
    assert result.exit_code in (1, 2)
    assert words in result.output
    assert not isinstance(result.exception, AssertionError)
    assert {path.name for path in tmp_path.iterdir()} == {"pets.safetensors", "text"}


@needs_onnx
def test_the_example_prints_what_the_page_shows(tmp_path):
    ended = subprocess.run([sys.executable, str(EXAMPLE)], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    lines = r"^(\(\d+, 1, \d+, \d+\)): largest difference (\S+), (\d+)% the same digit$"
    found = re.findall(lines, ended.stdout, re.MULTILINE)
    assert [(shape, same) for shape, _, same in found] == [
        (shape, same) for shape, _, same in re.findall(lines, PAGE.read_text("utf-8"), re.MULTILINE)
    ]
    assert [same for *_, same in found] == ["100"] * 3
    assert max(float(difference) for _, difference, _ in found) < 2e-5  # of logarithms down to -20
    assert os.listdir(tmp_path) == ["digits.onnx"]
    assert len(EXAMPLE.read_text("utf-8").splitlines()) < 40
