"""The inspector's Python side: what is recorded, what is left out, and that nothing half-done is ever written."""

import configparser
import errno
import html
import json
import os
import re
import threading
import webbrowser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import minicnn
from minicnn.backends import get_backend
from minicnn.cli.program import program
from minicnn.data import load_digits, resize
from minicnn.geometry import adaptive_windows, fixed_windows
from minicnn.inspect import inspect, page
from minicnn.inspect.sample import decoded

ROOT = Path(minicnn.__file__).parent.parent
DTYPES = [np.float32, np.float64]


def simple_net(dtype=np.float32):
    """SimpleNet and one digit of 32 × 32."""
    digit = resize(load_digits().test.images[0], (32, 32)).astype(dtype)
    return minicnn.SimpleNet(in_channels=1, rng=0).to("reference", dtype), digit[None]


def own_net(dtype=np.float32):
    """Five layers of a user's own, and two images of 17 × 23."""
    network = minicnn.Sequential(
        conv=minicnn.Conv2d(3, 4, 3, stride=2, padding=1, rng=0),
        relu=minicnn.ReLU(),
        pool=minicnn.AdaptiveAvgPool2d((4, 5)),
        flat=minicnn.Flatten(),
        fc=minicnn.Linear(80, 3, rng=1),
    )
    return network.to("reference", dtype), np.random.default_rng(0).standard_normal((2, 3, 17, 23)).astype(dtype)


NETWORKS = {"SimpleNet": (simple_net, [7]), "own": (own_net, [2, 0])}
PARAMETRIZE_NETWORK = pytest.mark.parametrize("name", NETWORKS)
PARAMETRIZE_DTYPE = pytest.mark.parametrize("dtype", DTYPES)


def made(name, dtype=np.float32):
    make, labels = NETWORKS[name]
    return *make(dtype), labels


def recorded(network, x, y=None, **options):
    """The record with every array whole."""
    return inspect(network, x, y, **{"max_bytes": 10**8} | options).record


def layer_of(record, name):
    (layer,) = (layer for layer in record["layers"] if layer["name"] == name)
    return layer


def value(record, k):
    return decoded(record["activations"][k]["value"])


def gradient(record, k):
    return decoded(record["activations"][k]["gradient"])


def by_hand(network, x, y):
    """(activations, gradients, loss) of the layers called one by one."""
    layers = [layer for _, layer in network.named_layers()]
    activations = [x]
    for layer in layers:
        activations.append(layer.forward(activations[-1]))
    loss = minicnn.CrossEntropyLoss().to("reference")
    value = loss.forward(activations[-1], y)
    gradients = [loss.backward()]
    for layer in reversed(layers):
        gradients.insert(0, layer.backward(gradients[0]))
    return activations, gradients, value


# What is recorded


@PARAMETRIZE_NETWORK
@PARAMETRIZE_DTYPE
def test_values_and_gradients_are_those_of_the_layers(name, dtype):
    network, x, y = made(name, dtype)
    record = recorded(network, x, y)
    activations, gradients, loss = by_hand(network, x, y)

    assert record["loss"] == {"name": "CrossEntropyLoss", "value": loss}
    assert record["dtype"] == np.dtype(dtype).name
    assert record["input_shape"] == list(x.shape)
    assert (record["labels"], record["labels_are_predicted"], record["classes"]) == (y, False, None)
    assert (record["version"], record["mode"], record["title"]) == (1, "train", type(network).__name__)
    assert record["left_out"] == []
    assert [activation["id"] for activation in record["activations"]] == list(range(len(activations)))
    for k, (activation, its_gradient) in enumerate(zip(activations, gradients, strict=True)):
        assert record["activations"][k]["shape"] == list(activation.shape)
        for found, expected in ((value(record, k), activation), (gradient(record, k), its_gradient)):
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, expected)
    layers = list(network.named_layers())
    assert [layer["name"] for layer in record["layers"]] == [layer_name for layer_name, _ in layers]
    for k, (told, (_, layer)) in enumerate(zip(record["layers"], layers, strict=True)):
        assert (told["index"], told["input"], told["output"]) == (k, k, k + 1)
        assert (told["kind"], told["repr"]) == (type(layer).__name__, repr(layer))
        assert told["parameters"] == sum(param.size for param in layer.params.values())
        assert set(told["params"]) == set(told["grads"]) == set(told["param_stats"]) == set(layer.params)
        for key, param in layer.params.items():
            np.testing.assert_array_equal(decoded(told["params"][key]), param)
            np.testing.assert_array_equal(decoded(told["grads"][key]), layer.grads[key])


def test_the_gradient_is_that_of_the_whole_network():
    network, x, y = made("own", np.float64)
    record = recorded(network, x, y)
    loss = minicnn.CrossEntropyLoss().to("reference")
    loss.forward(network.forward(x), y)
    np.testing.assert_array_equal(gradient(record, 0), network.backward(loss.backward()))


def test_parameters_of_simple_net_are_counted():
    network, x, y = made("SimpleNet")
    record = recorded(network, x, y)
    counts = {layer["name"]: layer["parameters"] for layer in record["layers"] if layer["parameters"]}
    assert counts == {
        **{"conv1": 9 * 16 + 16, "bn1": 32, "conv2": 9 * 16 * 32 + 32, "bn2": 64},
        **{"conv3": 9 * 32 * 64 + 64, "bn3": 128, "fc": 650},
    }


def test_statistics_and_update_ratios():
    network, x, y = made("own", np.float64)
    network["fc"].params["bias"][:] = 0
    record = recorded(network, x, y, lr=0.5)
    activations, gradients, _ = by_hand(network, x, y)
    for told, activation, its_gradient in zip(record["activations"], activations, gradients, strict=True):
        for stats, array in ((told["stats"], activation), (told["gradient_stats"], its_gradient)):
            expected = {
                "min": array.min(),
                "max": array.max(),
                "mean": array.mean(),
                "zeros": np.count_nonzero(array == 0) / array.size,
                "norm": np.linalg.norm(array),
            }
            assert stats == pytest.approx(expected, rel=1e-12)
    assert record["activations"][2]["stats"]["zeros"] > 0.2  # relu's output
    conv, stats = network["conv"], layer_of(record, "conv")["param_stats"]["weight"]
    norm, grad_norm = (np.linalg.norm(array) for array in (conv.params["weight"], conv.grads["weight"]))
    assert stats == pytest.approx({"norm": norm, "grad_norm": grad_norm, "update_ratio": 0.5 * grad_norm / norm})
    assert layer_of(record, "fc")["param_stats"]["bias"]["norm"] == 0
    assert layer_of(record, "fc")["param_stats"]["bias"]["update_ratio"] is None


def test_what_is_kept_and_why():
    network, x, y = made("SimpleNet")
    layers = {layer["name"]: layer["keeps"] for layer in recorded(network, x, y)["layers"]}
    kept = {name: {item["what"]: item["bytes"] for item in keeps} for name, keeps in layers.items()}
    assert kept["conv1"] == {"x": 4 * 32 * 32, "weight": 0}
    assert kept["bn1"] == {"x": 4 * 16 * 32 * 32, "mean": 16 * 8, "var": 16 * 8, "weight": 0}
    assert kept["relu1"] == {"y": 4 * 16 * 32 * 32}
    assert kept["adaptive_pool"] == {"argmax": 4 * 64, "input_size": 0}
    assert kept["flatten"] == {"x_shape": 0}
    assert kept["fc"] == {"x": 4 * 64, "weight": 0}
    assert kept["log_softmax"] == {"y": 4 * 10}
    reasons = {(name, item["what"]): item["why"] for name, keeps in layers.items() for item in keeps}
    assert reasons["conv1", "x"] == "dweight multiplies dy with x"
    assert "x_hat" in reasons["bn1", "x"]
    assert all("own backward" not in reason for reason in reasons.values())
    shared = {
        (name, item["what"]): item["shared_with"]
        for name, keeps in layers.items()
        for item in keeps
        if "shared_with" in item
    }
    assert shared == {("conv2", "x"): "relu1", ("conv3", "x"): "relu2"}


def told_alone(layer, x):
    """What is told of a layer that is the whole network."""
    y = layer.predict(x)
    return recorded(minicnn.Sequential(layer), x, dy=np.ones_like(y))["layers"][0]


COSTS = [  # a layer, its input's shape, flops and numbers read and written, (forward, backward) each; all by hand
    (
        minicnn.Conv2d(2, 3, (3, 2)),
        (1, 2, 5, 6),
        (45 * 12 * 2 + 45, 45 * 12 * 4 + 45),
        (60 + 39 + 45, 45 + 60 + 36 + 60 + 39),
    ),
    (
        minicnn.Conv2d(1, 1, 3, padding=1, bias=False),
        (2, 1, 2, 2),
        (8 * 9 * 2, 8 * 9 * 4),
        (8 + 9 + 8, 8 + 8 + 9 + 8 + 9),
    ),
    (minicnn.Linear(5, 3), (2, 5), (2 * 30 + 6, 4 * 30 + 6), (10 + 18 + 6, 6 + 10 + 15 + 10 + 18)),
    # mean and var are float64 and count twice
    (minicnn.BatchNorm2d(2), (3, 2, 2, 2), (24 * 8, 24 * 9), (24 + 4 + 24 + 8, 24 + 24 + 8 + 2 + 24 + 4)),
    (minicnn.ReLU(), (2, 7), (14, 14), (28, 42)),
    # windows 0–1, 1–3, 3–4 of 5: 7 cells along each axis, 49 in all
    (minicnn.AdaptiveMaxPool2d(3), (1, 1, 5, 5), (49 - 9, 9), (25 + 9 + 9, 9 + 9 + 25)),
    (minicnn.AdaptiveAvgPool2d(3), (1, 1, 5, 5), (49, 9 + 49), (25 + 9, 9 + 25)),
    # padding is cut off the windows: 1, 2 and 1 cells along each axis
    (minicnn.AvgPool2d(2, padding=1), (1, 1, 4, 4), (16, 9 + 16), (16 + 9, 9 + 16)),
    (minicnn.MaxPool2d(2, padding=1), (1, 1, 4, 4), (16 - 9, 9), (16 + 9 + 9, 9 + 9 + 16)),
    (minicnn.Flatten(), (1, 2, 3, 1), (0, 0), (0, 0)),
    (minicnn.LogSoftmax(), (2, 4), (2 * 19, 2 * 15), (16, 24)),
]


@pytest.mark.parametrize(("layer", "shape", "flops", "numbers"), COSTS, ids=[repr(layer) for layer, *_ in COSTS])
def test_costs(layer, shape, flops, numbers):
    told = told_alone(layer, np.random.default_rng(0).standard_normal(shape, np.float32))
    assert told["flops"] == {"forward": flops[0], "backward": flops[1]}
    assert told["bytes"] == {"forward": 4 * numbers[0], "backward": 4 * numbers[1]}


def test_dead_relus():
    network, x, y = made("SimpleNet")
    network["bn1"].params["bias"][:3] = -100
    record = recorded(network, x, y)
    dead = {layer["name"]: layer["dead"] for layer in record["layers"] if "dead" in layer}
    assert dead == {"relu1": 3 / 16, "relu2": 0, "relu3": 0}
    vectors = told_alone(minicnn.ReLU(), np.array([[-1, 2, -3, 0], [-1, -2, -3, 4.0]]))
    assert vectors["dead"] == 2 / 4


def test_conv_and_pooling_tell_their_geometry():
    record = recorded(*made("own"))
    assert layer_of(record, "conv")["extra"] == {"kernel_size": [3, 3], "stride": [2, 2], "padding": [1, 1]}
    pool = layer_of(record, "pool")["extra"]
    assert pool == {
        "rows": adaptive_windows(9, 4).tolist(),
        "columns": adaptive_windows(12, 5).tolist(),
        "kind": "avg",
        "adaptive": True,
    }
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 7))
    told = told_alone(minicnn.MaxPool2d(3, 2, 1), x)
    _, argmax = get_backend("reference").max_pool2d_forward(x, fixed_windows(8, 3, 2, 1), fixed_windows(7, 3, 2, 1))
    assert (told["extra"]["kind"], told["extra"]["adaptive"]) == ("max", False)
    assert told["extra"]["argmax"]["dtype"] == "int32"
    np.testing.assert_array_equal(decoded(told["extra"]["argmax"]), argmax)


# Batchnorm


def trained_batchnorm():
    """A network around a batchnorm in the middle of its training, and a batch."""
    rng = np.random.default_rng(0)
    network = minicnn.Sequential(
        conv=minicnn.Conv2d(2, 3, 3, rng=0), bn=minicnn.BatchNorm2d(3), flat=minicnn.Flatten(), fc=minicnn.Linear(60, 4)
    ).to("reference", np.float64)
    network["bn"].params["weight"][:] = rng.uniform(0.5, 2, 3)
    for _ in range(5):
        network.forward(rng.standard_normal((4, 2, 6, 7)))
    return network, rng.standard_normal((4, 2, 6, 7))


def test_the_three_paths_of_batchnorm():
    """Each is what comes back where only that way is open; together they are dx."""
    network, x = trained_batchnorm()
    running = {key: network["bn"].state[key].copy() for key in ("running_mean", "running_var")}
    record = recorded(network, x, [0, 1, 2, 3])
    extra = layer_of(record, "bn")["extra"]
    bn, x, dy, dx = network["bn"], value(record, 1), gradient(record, 2), gradient(record, 1)
    paths = {name: decoded(path) for name, path in extra["paths"].items()}
    assert list(paths) == ["direct", "mean", "variance"]
    assert np.abs(sum(paths.values()) - dx).max() <= 1e-12 * np.abs(dx).max()

    mean, var, weight = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3)), bn.params["weight"]
    np.testing.assert_allclose(decoded(extra["mean"]), mean, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(decoded(extra["var"]), var, rtol=1e-12)
    assert extra["count"] == 4 * 4 * 5
    assert (extra["eps"], extra["x_hat_needed"]) == (bn.eps, False)

    # By the chain rule, one statistic after the other; mean and var are functions of x with these derivatives.
    std = np.sqrt(var + bn.eps)[:, None, None]
    centred, scale = x - mean[:, None, None], weight[:, None, None] / std
    d_mean = -(scale * dy).sum(axis=(0, 2, 3), keepdims=True)
    d_var = -(scale * dy * centred / (2 * std**2)).sum(axis=(0, 2, 3), keepdims=True)
    np.testing.assert_allclose(paths["direct"], scale * dy, rtol=1e-12)
    np.testing.assert_allclose(paths["mean"], np.broadcast_to(d_mean / extra["count"], x.shape), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(paths["variance"], d_var * 2 * centred / extra["count"], rtol=1e-9, atol=1e-15)

    # As the running statistics were before the pass.
    for key, array in running.items():
        np.testing.assert_array_equal(decoded(extra[key]), array)
    eval_scale = weight / np.sqrt(running["running_var"] + bn.eps)
    np.testing.assert_allclose(decoded(extra["eval_dx"]), eval_scale[:, None, None] * dy, rtol=1e-12)


def test_batchnorm_in_evaluation_mode():
    network, x = trained_batchnorm()
    record = recorded(network, x, [0, 1, 2, 3], training=False)
    assert record["mode"] == "eval"
    np.testing.assert_array_equal(value(record, 4), network.predict(x))
    extra, dx = layer_of(record, "bn")["extra"], gradient(record, 1)
    np.testing.assert_array_equal(decoded(extra["eval_dx"]), dx)
    np.testing.assert_array_equal(decoded(extra["paths"]["direct"]), dx)
    assert not decoded(extra["paths"]["mean"]).any()
    assert not decoded(extra["paths"]["variance"]).any()
    np.testing.assert_array_equal(decoded(extra["mean"]), network["bn"].state["running_mean"])
    assert layer_of(record, "bn")["flops"] == {"forward": 240 * 4, "backward": 240 * 6}


def trained_simple_net():
    """A SimpleNet after some steps, and one image of another kind, which its own statistics would make look usual."""
    rng = np.random.default_rng(0)
    network = minicnn.SimpleNet(num_classes=3, in_channels=1, rng=0)
    for _ in range(5):
        network.forward(rng.standard_normal((8, 1, 12, 12), np.float32))
    return network, (3 + 5 * rng.standard_normal((1, 12, 9))).astype(np.float32)


@pytest.mark.parametrize("axes", ["(C, H, W)", "(1, C, H, W)"])
def test_a_trained_network_is_asked_about_one_image_as_predict_asks_it(axes):
    network, image = trained_simple_net()
    record = recorded(network, image if axes == "(C, H, W)" else image[None], 1)
    assert record["mode"] == "eval"
    assert record["mode_note"].startswith("As in predict, batchnorm takes the statistics that it kept from training")
    output = network.predict(image[None])
    np.testing.assert_allclose(value(record, 13), output, atol=1e-5)
    assert record["loss"]["value"] == pytest.approx(-output[0, 1], abs=1e-5)

    # The gradients are the derivatives of that answer, not of the training step's.
    network.to("reference", np.float64).eval()
    loss = minicnn.CrossEntropyLoss().to("reference")
    loss.forward(network.forward(image[None].astype(np.float64)), [1])
    expected = network.backward(loss.backward())
    np.testing.assert_allclose(gradient(record, 0), expected, atol=1e-4 * np.abs(expected).max())


def test_where_inspect_and_predict_differ_it_is_said():
    network, image = trained_simple_net()
    asked = recorded(network, image, 1, training=True)
    assert asked["mode"] == "train"
    assert np.abs(value(asked, 13) - network.predict(image[None])).max() > 0.1
    for words in ("the statistics of this image alone", "is not what predict answers", "kept from training"):
        assert words in asked["mode_note"]
    batch = recorded(network, np.stack([image, -image]), [1, 2])  # a step of training, as ever
    assert batch["mode"] == "train"
    assert "the statistics of these 2 images" in batch["mode_note"]
    new = recorded(minicnn.SimpleNet(num_classes=3, in_channels=1, rng=0), image, 1)  # which has nothing to ask for
    assert new["mode"] == "train"
    assert "made with, for none are kept yet" in new["mode_note"]
    assert recorded(*made("own"))["mode_note"] is None  # without batchnorm both modes are one


# The loss


def test_p_minus_onehot():
    network, x, y = made("SimpleNet", np.float64)
    record = recorded(network, x, y)
    view = {name: decoded(array) for name, array in record["loss_view"].items()}
    np.testing.assert_array_equal(view["log_p"], value(record, 13))
    np.testing.assert_allclose(view["p"].sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(view["onehot"], np.eye(10)[y])
    np.testing.assert_array_equal(view["scale"], [1])
    np.testing.assert_array_equal(view["dlogits"], gradient(record, 12))
    np.testing.assert_allclose(view["dlogits"], view["p"] - view["onehot"], rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(view["second_log_softmax"], view["log_p"], rtol=1e-12)


LOSSES = {
    "plain": (minicnn.CrossEntropyLoss, {}),
    "weights": (minicnn.CrossEntropyLoss, {"weight": np.array([1.0, 0.0, 3.0])}),
    "smoothing": (minicnn.CrossEntropyLoss, {"label_smoothing": 0.2}),
    "both": (minicnn.CrossEntropyLoss, {"weight": np.array([1.0, 0.0, 3.0]), "label_smoothing": 0.2}),
}


@pytest.mark.parametrize("name", LOSSES)
def test_dlogits_with_every_kind_of_cross_entropy(name):
    network, x, _ = made("own", np.float64)
    kind, options = LOSSES[name]
    record = recorded(network, x, [1, 2], loss=kind(**options))
    view = {key: decoded(array) for key, array in record["loss_view"].items() if array is not None}
    assert record["loss_view"]["second_log_softmax"] is None
    np.testing.assert_allclose(
        view["dlogits"], view["scale"][:, None] * (view["p"] - view["onehot"]), rtol=1e-9, atol=1e-15
    )
    np.testing.assert_allclose(view["onehot"].sum(axis=1), 1)
    loss = -(view["scale"][:, None] * view["onehot"] * view["log_p"]).sum()
    assert loss == pytest.approx(record["loss"]["value"], rel=1e-12)
    if name == "weights":
        np.testing.assert_array_equal(view["scale"], [0, 1])


def test_negative_log_likelihood_needs_a_log_softmax():
    network, x, y = made("SimpleNet", np.float64)
    as_cross_entropy, as_nll = (
        recorded(network, x, y, loss=loss) for loss in (minicnn.CrossEntropyLoss(), minicnn.NLLLoss())
    )
    for name in ("p", "onehot", "dlogits"):
        first, second = (decoded(record["loss_view"][name]) for record in (as_cross_entropy, as_nll))
        np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-15)
    network, x, y = made("own")
    assert recorded(network, x, y, loss=minicnn.NLLLoss())["loss_view"] is None


class SquaredError:
    """A loss of a user's own."""

    def forward(self, output, target):
        self.difference = output - target
        return float(np.square(self.difference).sum() / 2)

    def backward(self):
        return self.difference


def test_a_loss_of_ones_own():
    network, x, _ = made("own", np.float64)
    loss = SquaredError()
    target = np.ones((2, 3))
    record = recorded(network, x, target, loss=loss)
    assert record["loss"]["name"] == "SquaredError"
    assert (record["labels"], record["labels_are_predicted"], record["loss_view"]) == (None, False, None)
    np.testing.assert_array_equal(gradient(record, 5), value(record, 5) - target)
    assert not hasattr(loss, "difference")  # it was run on a copy


def test_without_labels_those_that_are_predicted():
    network, x, _ = made("own")
    record = recorded(network, x, classes=["a", "b", "c"])
    assert record["labels"] == network.predict(x).argmax(axis=1).tolist()
    assert record["labels_are_predicted"]
    assert record["classes"] == ["a", "b", "c"]


def test_one_image_is_a_batch_of_one():
    network, x, _ = made("own")
    expected = recorded(network, x[:1], [2])
    assert recorded(network, x[0], 2) == expected
    assert recorded(network, x[0], [2]) == expected
    assert recorded(network, x[:1], np.int64(2)) == expected
    assert expected["input_shape"] == [1, 3, 17, 23]


def test_a_gradient_in_place_of_a_loss():
    rng = np.random.default_rng(0)
    network = minicnn.Sequential(minicnn.Conv2d(2, 3, 3, rng=0), minicnn.ReLU()).to("reference", np.float64)
    x, dy = rng.standard_normal((2, 2, 5, 6)), rng.standard_normal((2, 3, 3, 4))
    record = recorded(network, x, dy=dy)
    network.forward(x)
    np.testing.assert_array_equal(gradient(record, 2), dy)
    np.testing.assert_array_equal(gradient(record, 0), network.backward(dy))
    assert [record[key] for key in ("loss", "labels", "labels_are_predicted", "loss_view")] == [None, None, False, None]


def test_vectors():
    network = minicnn.Sequential(minicnn.Linear(4, 5, rng=0), minicnn.ReLU(), minicnn.Linear(5, 2, rng=1))
    x = np.random.default_rng(0).standard_normal((3, 4), np.float32)
    record = recorded(network, x, [0, 1, 1])
    assert record["input_shape"] == [3, 4]
    np.testing.assert_allclose(value(record, 3), network.predict(x), rtol=1e-5)


def test_the_cpu_backend_gives_the_same_up_to_rounding():
    network, x, y = made("own", np.float64)
    reference, cpu = (recorded(network, x, y, backend=backend) for backend in ("reference", "cpu"))
    for k in range(6):
        np.testing.assert_allclose(value(cpu, k), value(reference, k), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(gradient(cpu, k), gradient(reference, k), rtol=1e-9, atol=1e-12)


def test_the_network_stays_as_it_was():
    network, x = trained_batchnorm()
    y = network.forward(x)
    network.backward(np.ones_like(y))
    network.forward(x)
    memory, state = {name: layer.memory for name, layer in network.named_layers()}, network.state_dict()
    grads = {name: layer.grads[key] for name, layer, key in network.named_params()}
    kept = {name: grad.copy() for name, grad in grads.items()}
    network["bn"].eval()
    inspect(network, x, [0, 1, 2, 3])
    assert network.training
    assert not network["bn"].training
    for name, layer in network.named_layers():
        assert layer.memory is memory[name]
        assert layer.ops.__name__ == "minicnn.backends.reference"
    for name, layer, key in network.named_params():
        assert layer.grads[key] is grads[name]
        np.testing.assert_array_equal(grads[name], kept[name])
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
    network.backward(np.ones_like(y))  # what forward remembered still serves


# Networks of ones own


class Doubled(minicnn.Layer):
    """A layer of a user's own, which keeps its input as an attribute."""

    def __init__(self):
        super().__init__()
        self.params["factor"] = np.full(1, 2, np.float32)

    def forward(self, x):
        self.seen = x
        return self.params["factor"] * x

    def backward(self, dy, need_dx=True):
        self.grads["factor"] = np.array([(dy * self.seen).sum()], dy.dtype)
        return self.params["factor"] * dy


class Residual(minicnn.Sequential):
    """A network with a forward of its own."""

    def forward(self, x):
        return x + super().forward(x)

    def backward(self, dy, need_dx=True):
        return dy + super().backward(dy)


def test_layers_of_ones_own():
    network = minicnn.Sequential(
        stem=minicnn.Sequential(minicnn.Conv2d(1, 2, 3, padding=1, rng=0), double=Doubled()),
        block=Residual(conv=minicnn.Conv2d(2, 2, 3, padding=1, rng=1), relu=minicnn.ReLU()),
        pool=minicnn.AdaptiveMaxPool2d(1),
        flat=minicnn.Flatten(),
    ).to("reference")
    x = np.random.default_rng(0).standard_normal((2, 1, 6, 5), np.float32)
    record = recorded(network, x, [0, 1])
    names = ["stem.0", "stem.double", "block", "pool", "flat"]
    assert [layer["name"] for layer in record["layers"]] == names
    assert [layer["kind"] for layer in record["layers"]] == [
        *("Conv2d", "Doubled", "Residual", "AdaptiveMaxPool2d", "Flatten")
    ]
    loss = minicnn.CrossEntropyLoss().to("reference")
    loss.forward(network.forward(x), [0, 1])
    np.testing.assert_array_equal(gradient(record, 0), network.backward(loss.backward()))

    double, block = layer_of(record, "stem.double"), layer_of(record, "block")
    assert double["flops"] == double["bytes"] == {"forward": None, "backward": None}
    assert double["extra"] == {}
    (kept,) = double["keeps"]
    assert (kept["what"], kept["bytes"]) == ("seen", 4 * 2 * 2 * 6 * 5)
    np.testing.assert_array_equal(decoded(double["grads"]["factor"]), network["stem"]["double"].grads["factor"])
    assert block["parameters"] == 2 * 2 * 9 + 2
    assert set(block["params"]) == set(block["grads"]) == {"conv.weight", "conv.bias"}
    assert [item["what"] for item in block["keeps"]] == ["conv: x", "relu: y"]

    whole = recorded(network["block"], np.ones((1, 2, 4, 4), np.float32), dy=np.ones((1, 2, 4, 4), np.float32))
    assert [(layer["name"], layer["kind"]) for layer in whole["layers"]] == [("Residual", "Residual")]


def test_a_class_of_a_known_name_is_not_taken_for_it():
    """Nor is a class derived from a known one: its forward may do anything."""

    class Conv2d(minicnn.Conv2d):
        pass

    told = told_alone(Conv2d(1, 1, 1), np.ones((1, 1, 2, 2), np.float32))
    assert (told["kind"], told["extra"]) == (f"{__name__}.Conv2d", {})


def test_a_layer_that_writes_to_its_input_does_not_change_what_was_seen():
    class InPlace(Doubled):
        def forward(self, x):
            x *= 2
            return x

        def backward(self, dy, need_dx=True):
            dy *= 2
            return dy

    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((1, 2, 3, 3), np.float32), rng.standard_normal((1, 2, 3, 3), np.float32)
    given = x.copy(), dy.copy()
    record = recorded(minicnn.Sequential(InPlace(), InPlace()), x, dy=dy)
    for k in range(3):
        np.testing.assert_array_equal(value(record, k), given[0] * 2**k)
        np.testing.assert_array_equal(gradient(record, k), given[1] * 2 ** (2 - k))
    np.testing.assert_array_equal((x, dy), given)
    assert layer_of(record, "0")["grads"] == {}
    assert layer_of(record, "0")["param_stats"]["factor"]["grad_norm"] is None


# What is left out


def spread(array):
    """An array of the record in its whole shape, NaN where it is left out."""
    whole = np.full(array["shape"], np.nan)
    axes = [None] * whole.ndim if array["kept"] is None else array["kept"]["axes"]
    places = np.ix_(*(range(n) if kept is None else kept for n, kept in zip(array["shape"], axes, strict=True)))
    whole[places] = decoded(array)
    return whole


def cells(array):
    """The indices of an array that are in the page."""
    return map(tuple, np.argwhere(~np.isnan(array)).tolist())


def rest(layer, name):
    """What is left out of a sum; 0 where nothing is."""
    return spread(layer["extra"]["rest"][name]) if name in layer["extra"].get("rest", {}) else 0


def assert_sums(result, left_out, terms, fixed=None):
    """Each number of `result` in the page is the sum of its `terms` in the page, `fixed`, and what is left out."""
    some = 0
    for index in cells(result):
        found = np.nansum(np.array(list(terms(*index))))
        beside = left_out if np.isscalar(left_out) else left_out[index]
        found += beside + (0 if fixed is None else fixed(*index))
        assert found == pytest.approx(result[index], rel=1e-9, abs=1e-12), index
        some += 1
    assert some


def large_network():
    rng = np.random.default_rng(0)
    network = minicnn.Sequential(
        conv=minicnn.Conv2d(5, 12, (3, 2), stride=(1, 2), padding=(1, 0), rng=rng),
        bn=minicnn.BatchNorm2d(12),
        relu=minicnn.ReLU(),
        maximum=minicnn.MaxPool2d(3, 2, 1),
        mean=minicnn.AdaptiveAvgPool2d((4, 5)),
        flat=minicnn.Flatten(),
        fc=minicnn.Linear(240, 11, rng=rng),
        log_softmax=minicnn.LogSoftmax(),
    ).to("reference", np.float64)
    return network, rng.standard_normal((3, 5, 20, 26)), [3, 0, 3]


@pytest.mark.parametrize("max_bytes", [600_000, 450_000, 300_000, 60_000, 22_000])
def test_sums_with_what_is_left_out(max_bytes):
    """Where a part of an array is left out, its sums are still what they are."""
    network, x, y = large_network()
    record = recorded(network, x, y, max_bytes=max_bytes)
    assert len(json.dumps(record["activations"])) + len(json.dumps(record["layers"])) < max_bytes + 20_000
    values, gradients = (
        [spread(activation[which]) for activation in record["activations"]] for which in ("value", "gradient")
    )
    whole = recorded(network, x, y)
    for k, (array, its_gradient) in enumerate(zip(values, gradients, strict=True)):
        np.testing.assert_array_equal(np.isnan(array), np.isnan(its_gradient))  # cut alike
        kept = ~np.isnan(array)
        np.testing.assert_array_equal(array[kept], value(whole, k)[kept])
        np.testing.assert_array_equal(its_gradient[kept], gradient(whole, k)[kept])

    layers = {layer["name"]: layer for layer in record["layers"]}
    params = {
        (name, which, key): spread(array)
        for name, layer in layers.items()
        for which in ("params", "grads")
        for key, array in layer[which].items()
    }

    conv, (h, w), (oh, ow) = layers["conv"], values[0].shape[2:], values[1].shape[2:]
    x, y, dx, dy = values[0], values[1], gradients[0], gradients[1]
    weight, bias = params["conv", "params", "weight"], params["conv", "params", "bias"]

    def taps(p, q):
        """(i, j, r, s): the taps of an output cell and the cells that they see."""
        for i in range(3):
            for j in range(2):
                r, s = p + i - 1, 2 * q + j
                if 0 <= r < h and 0 <= s < w:
                    yield i, j, r, s

    assert_sums(
        y,
        rest(conv, "y"),
        lambda n, f, p, q: (weight[f, c, i, j] * x[n, c, r, s] for c in range(5) for i, j, r, s in taps(p, q)),
        lambda n, f, p, q: bias[f],
    )
    assert_sums(
        dx,
        rest(conv, "dx"),
        lambda n, c, r, s: (
            weight[f, c, r - p + 1, s - 2 * q] * dy[n, f, p, q]
            for f in range(12)
            for p in range(max(0, r - 1), min(oh, r + 2))
            for q in range(ow)
            if 0 <= s - 2 * q < 2
        ),
    )
    assert_sums(
        params["conv", "grads", "weight"],
        rest(conv, "dweight"),
        lambda f, c, i, j: (
            dy[n, f, p, q] * x[n, c, r, s]
            for n in range(3)
            for p in range(oh)
            for q in range(ow)
            for ti, tj, r, s in taps(p, q)
            if (ti, tj) == (i, j)
        ),
    )
    assert_sums(params["conv", "grads", "bias"], rest(conv, "dbias"), lambda f: dy[:, f].reshape(-1))

    bn, x, dy = layers["bn"], values[1], gradients[2]
    mean, var = (spread(bn["extra"][key])[:, None, None] for key in ("mean", "var"))
    x_hat = (x - mean) / np.sqrt(var + bn["extra"]["eps"])
    assert_sums(params["bn", "grads", "weight"], rest(bn, "dweight"), lambda c: (dy * x_hat)[:, c].reshape(-1))
    assert_sums(params["bn", "grads", "bias"], rest(bn, "dbias"), lambda c: dy[:, c].reshape(-1))
    paths = [spread(path) for path in bn["extra"]["paths"].values()]
    np.testing.assert_allclose(sum(paths), gradients[1], rtol=1e-9, atol=1e-15)

    pool, dx, dy = layers["maximum"], gradients[3], gradients[4]
    argmax = spread(pool["extra"]["argmax"])
    width = dx.shape[3]
    assert_sums(dx, rest(pool, "dx"), lambda n, c, r, s: dy[n, c][argmax[n, c] == r * width + s])
    pool, x, y, dx, dy = layers["mean"], values[4], values[5], gradients[4], gradients[5]
    rows, columns = pool["extra"]["rows"], pool["extra"]["columns"]
    assert_sums(
        y,
        rest(pool, "y"),
        lambda n, c, p, q: (
            x[n, c, rows[p][0] : rows[p][1], columns[q][0] : columns[q][1]].reshape(-1) / (rows[p][2] * columns[q][2])
        ),
    )
    assert_sums(
        dx,
        rest(pool, "dx"),
        lambda n, c, r, s: (
            dy[n, c, p, q] / (rows[p][2] * columns[q][2])
            for p in range(4)
            for q in range(5)
            if rows[p][0] <= r < rows[p][1] and columns[q][0] <= s < columns[q][1]
        ),
    )

    flat = values[5].reshape(3, -1)
    np.testing.assert_array_equal(values[6], flat)  # what comes from what is kept, and nothing else
    fc, x, y, dx, dy = layers["fc"], values[6], values[7], gradients[6], gradients[7]
    weight, bias = params["fc", "params", "weight"], params["fc", "params", "bias"]
    assert_sums(y, rest(fc, "y"), lambda n, k: weight[k] * x[n], lambda n, k: bias[k])
    assert_sums(dx, rest(fc, "dx"), lambda n, d: weight[:, d] * dy[n])
    assert_sums(params["fc", "grads", "weight"], rest(fc, "dweight"), lambda k, d: dy[:, k] * x[:, d])
    assert_sums(params["fc", "grads", "bias"], rest(fc, "dbias"), lambda k: dy[:, k])

    last, y, dx, dy = layers["log_softmax"], values[8], gradients[7], gradients[8]
    sum_dy = np.nansum(dy, axis=1) + rest(last, "sum_dy")
    sum_p = np.nansum(np.exp(y), axis=1) + rest(last, "sum_p")
    shown = ~np.isnan(y).all(axis=1)
    np.testing.assert_allclose(sum_p[shown], 1, rtol=1e-12)
    np.testing.assert_allclose((dy - np.exp(y) * sum_dy[:, None])[shown], dx[shown], rtol=1e-9, atol=1e-15)

    view = record["loss_view"]
    target, log_p, scale = (spread(view[key]) for key in ("onehot", "log_p", "scale"))
    loss = -np.nansum(scale[:, None] * target * log_p)
    loss += spread(view["rest"]["loss"])[0] if "rest" in view else 0
    assert loss == pytest.approx(record["loss"]["value"], rel=1e-12)


def kept_of(record, k):
    array = record["activations"][k]["value"]
    return [None] * len(array["shape"]) if array["kept"] is None else array["kept"]["axes"]


def test_images_are_left_out_first_then_channels_then_rows_and_columns():
    network, x, y = large_network()
    fewer_images, fewer_channels, fewer_cells = (
        recorded(network, x, y, max_bytes=max_bytes) for max_bytes in (600_000, 450_000, 300_000)
    )
    assert kept_of(fewer_images, 1) == [[0], None, None, None]
    images, channels, rows, columns = kept_of(fewer_channels, 1)
    assert (images, rows, columns) == ([0], None, None)
    assert 8 <= len(channels) < 12
    images, channels, rows, columns = kept_of(fewer_cells, 1)
    assert (images, len(channels)) == ([0], 8)
    for kept, length in ((rows, 20), (columns, 13)):
        assert kept == list(range(kept[0], kept[-1] + 1))
        assert abs(kept[0] - (length - 1 - kept[-1])) <= 1  # in the middle
    for record in (fewer_channels, fewer_cells):
        # Those with the largest gradient in the image that is left, and the same in and out of each layer.
        whole = gradient(recorded(network, x, y), 1)[0]
        strongest = np.argsort(-np.square(whole).sum(axis=(1, 2)))[: len(kept_of(record, 1)[1])]
        assert kept_of(record, 1)[1] == sorted(strongest.tolist())
        assert {tuple(kept_of(record, k)[1]) for k in range(1, 6)} == {tuple(kept_of(record, 1)[1])}
        conv = layer_of(record, "conv")
        for which in ("params", "grads"):
            assert conv[which]["weight"]["kept"]["axes"] == [kept_of(record, 1)[1], kept_of(record, 0)[1], None, None]
            assert conv[which]["bias"]["kept"]["axes"] == [kept_of(record, 1)[1]]

    count = len(kept_of(fewer_channels, 1)[1])
    said = fewer_channels["left_out"]
    assert f"conv's output: 1 of 3 images, the first; {count} of 12 channels, those with the largest gradient" in said
    assert f"bn's output: 1 of 3 images, the first; {count} of 12 channels, those of its input" in said
    assert f"conv's weight and its gradient: {count} × 5 × 3 × 2 of 12 × 5 × 3 × 2 numbers" in said
    assert any(re.match(r"flat's output: .*; \d+ of 240 features, those that come from what is kept", s) for s in said)
    assert any(
        re.match(r"conv's output: .*; \d+ of 20 rows, \d+ to \d+; \d+ of 13 columns", s)
        for s in fewer_cells["left_out"]
    )


def test_as_much_as_fits_is_kept():
    network, x, y = made("SimpleNet")
    for max_bytes in (300_000, 1_000_000, 3_000_000):
        record = recorded(network, x, y, max_bytes=max_bytes)
        assert 0.8 * max_bytes < sum(len(array["data"]) for array in all_arrays(record)) <= max_bytes


def all_arrays(tree):
    if isinstance(tree, dict) and "data" in tree:
        yield tree
    elif isinstance(tree, (dict, list)):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from all_arrays(branch)


def test_the_page_of_a_large_network_is_below_10_mb(tmp_path):
    """Many channels and many parameters; 1 × 1 kernels, so that it is quick."""
    rng = np.random.default_rng(0)
    network = minicnn.Sequential(
        wide=minicnn.Conv2d(3, 200, 1, rng=rng),
        relu=minicnn.ReLU(),
        narrow=minicnn.Conv2d(200, 64, 1, rng=rng),
        pool=minicnn.AdaptiveMaxPool2d(7),
        flat=minicnn.Flatten(),
        hidden=minicnn.Linear(64 * 49, 1000, rng=rng),
        fc=minicnn.Linear(1000, 1000, rng=rng),
    )
    x = rng.standard_normal((2, 3, 70, 50), np.float32)
    inspection = network.inspect(x, [7, 900], path=tmp_path / "large.html")
    size = (tmp_path / "large.html").stat().st_size
    assert 3_000_000 < size < 10_000_000
    names = {sentence.partition(":")[0] for sentence in inspection.record["left_out"]}
    assert {"wide's output", "relu's output", "narrow's output", "hidden's output", "fc's output"} <= names
    assert {"hidden's weight and its gradient", "fc's weight and its gradient"} <= names
    onehot = spread(inspection.record["loss_view"]["onehot"])
    assert onehot[0, 7] == 1  # the true class is among those that are kept


def test_parameters_of_unknown_layers_are_cut_as_well():
    class Table(Doubled):
        def __init__(self):
            super().__init__()
            self.params["table"] = np.arange(10**4, dtype=np.float32).reshape(100, 100)

    told = recorded(
        minicnn.Sequential(Table()), np.ones((1, 2), np.float32), dy=np.ones((1, 2), np.float32), max_bytes=8000
    )
    (layer,) = told["layers"]
    rows, columns = layer["params"]["table"]["kept"]["axes"]
    assert rows == columns == list(range(len(rows)))
    np.testing.assert_array_equal(
        decoded(layer["params"]["table"]), np.arange(10**4).reshape(100, 100)[: len(rows), : len(rows)]
    )
    assert told["left_out"] == [f"0's table and its gradient: {len(rows)} × {len(rows)} of 100 × 100 numbers"]


def test_a_network_that_does_not_fit_at_all():
    network, x, y = made("own")
    with pytest.raises(ValueError, match=r"max_bytes = 1000, got a network that takes \d{4,} with one cell"):
        inspect(network, x, y, max_bytes=1000)


# What goes wrong


class Wrong(minicnn.Layer):
    """A layer that gives what it is told to give."""

    def __init__(self, y=None, dx=None, grad=None, shape=(2,)):
        super().__init__()
        self.y, self.dx = y, dx
        if grad is not None:
            self.params["weight"], self.grad = np.ones(shape, np.float32), grad

    def forward(self, x):
        return x if self.y is None else self.y(x)

    def backward(self, dy, need_dx=True):
        if self.params:
            self.grads["weight"] = self.grad
        return dy if self.dx is None else self.dx(dy)


def fail(array):
    raise KeyError("no such thing")


def strewn(shape, place, number):
    array = np.zeros(shape, np.float32)
    array[place] = number
    return array


def relus(**layers):
    return minicnn.Sequential(first=minicnn.ReLU(), **layers, last=minicnn.ReLU())


def poisoned():
    network = own_net()[0]
    network["fc"].params["weight"][1, 2] = np.nan
    return network


def poisoned_statistics():
    network = minicnn.SimpleNet(rng=0)
    network["bn2"].state["running_var"][3] = np.inf
    return network


def exploding():
    network = own_net()[0]
    network["conv"].params["weight"][:] = 3e38
    return network


IMAGE, LABEL = np.ones((1, 3, 17, 23), np.float32), [0]
VECTOR = np.ones((1, 2), np.float32)

PROBLEMS = {  # the network, x, y, options; the error, and what the message holds
    "no network": (lambda: minicnn.ReLU(), IMAGE, LABEL, {}, TypeError, ["Sequential", "ReLU"]),
    "x of integers": (own_net, IMAGE.astype(int), LABEL, {}, TypeError, ["x", "float32", "int64", "astype"]),
    "x of float64": (own_net, IMAGE.astype(float), LABEL, {}, TypeError, ["conv.weight", "float32", "float64"]),
    "x of rank 5": (own_net, IMAGE[None], LABEL, {}, ValueError, ["(N, C, H, W)", "(1, 1, 3, 17, 23)"]),
    "x of rank 1": (own_net, VECTOR[0], LABEL, {}, ValueError, ["(N, C, H, W)", "(2,)"]),
    "x as images": (own_net, minicnn.Images([IMAGE[0]]), LABEL, {}, TypeError, ["x", "array", "Images"]),
    "x as a list": (own_net, [IMAGE[0]], LABEL, {}, TypeError, ["x", "list", "np.stack"]),
    "x without images": (own_net, IMAGE[:0], [], {}, ValueError, ["at least one element", "(0, 3, 17, 23)"]),
    "a map without cells": (own_net, IMAGE[:, :, :0], LABEL, {}, ValueError, ["at least one element", "(1, 3, 0, 23)"]),
    "NaN in x": (
        own_net,
        strewn(IMAGE.shape, (0, 1, 2, 3), np.nan),
        LABEL,
        {},
        ValueError,
        ["x: expected finite", "1 NaN and 0 infinite of 1173", "[0, 1, 2, 3]"],
    ),
    "infinity in x": (own_net, strewn(IMAGE.shape, (0, 0, 0, 0), -np.inf), LABEL, {}, ValueError, ["x:", "1 infinite"]),
    "NaN in a weight": (poisoned, IMAGE, LABEL, {}, ValueError, ["fc.weight", "1 NaN", "[1, 2]"]),
    "infinity in a statistic": (poisoned_statistics, IMAGE, LABEL, {}, ValueError, ["bn2.running_var", "1 infinite"]),
    "a parameter without axes": (
        lambda: relus(wrong=Wrong(grad=np.float32(1), shape=())),
        VECTOR,
        LABEL,
        {},
        ValueError,
        ["wrong.weight", "at least one axis", "shape (1,)"],
    ),
    "an output that overflows": (
        exploding,
        IMAGE,
        LABEL,
        {},
        ValueError,
        ["output of layer 'conv', Conv2d(3, 4", "infinite"],
    ),
    "an output that is NaN": (
        lambda: relus(wrong=Wrong(y=lambda x: x * np.float32(np.nan))),
        VECTOR,
        LABEL,
        {},
        ValueError,
        ["output of layer 'wrong', Wrong()", "2 NaN"],
    ),
    "too large to be squared": (
        lambda: relus(),
        np.full((1, 2), 1e200),
        LABEL,
        {},
        ValueError,
        ["x:", "1e+200", "squares"],
    ),
    "a gradient that is NaN": (
        lambda: relus(wrong=Wrong(dx=lambda dy: dy * np.float32(np.nan))),
        VECTOR,
        LABEL,
        {},
        ValueError,
        ["dx of layer 'wrong'", "2 NaN"],
    ),
    "a parameter's gradient that is NaN": (
        lambda: relus(wrong=Wrong(grad=np.full(2, np.nan, np.float32))),
        VECTOR,
        LABEL,
        {},
        ValueError,
        ["gradient of wrong.weight", "2 NaN"],
    ),
    "a forward that fails": (
        lambda: relus(wrong=Wrong(y=fail)),
        VECTOR,
        LABEL,
        {},
        RuntimeError,
        ["forward pass failed in layer 'wrong', Wrong()", "(1, 2)", "KeyError: 'no such thing'"],
    ),
    "a layer that does not fit": (
        own_net,
        IMAGE[:, :2],
        LABEL,
        {},
        RuntimeError,
        ["layer 'conv', Conv2d(3, 4", "(1, 2, 17, 23)", "ValueError: Conv2d: expected 3 input channels, got 2"],
    ),
    "one pixel for batchnorm": (
        lambda: minicnn.SimpleNet(rng=0),
        IMAGE[:, :, :1, :1],
        LABEL,
        {},
        RuntimeError,
        ["layer 'bn1'", "more than one value per channel"],
    ),
    "a backward that fails": (
        lambda: relus(wrong=Wrong(dx=fail)),
        VECTOR,
        LABEL,
        {},
        RuntimeError,
        ["backward pass failed in layer 'wrong'", "KeyError"],
    ),
    "a forward without a result": (
        lambda: relus(wrong=Wrong(y=lambda x: None)),
        VECTOR,
        LABEL,
        {},
        TypeError,
        ["'wrong'", "forward", "NoneType"],
    ),
    "a forward that gives integers": (
        lambda: relus(wrong=Wrong(y=lambda x: x.astype(int))),
        VECTOR,
        LABEL,
        {},
        TypeError,
        ["'wrong'", "forward", "int64"],
    ),
    "a forward that gives nothing": (
        lambda: relus(wrong=Wrong(y=lambda x: x[:, :0])),
        VECTOR,
        LABEL,
        {},
        ValueError,
        ["'wrong'", "at least one element", "(1, 0)"],
    ),
    "a forward that gives a number": (
        lambda: relus(wrong=Wrong(y=lambda x: x.sum())),
        VECTOR,
        LABEL,
        {},
        ValueError,
        ["'wrong'", "axis of images", "()"],
    ),
    "a backward without a result": (
        lambda: relus(wrong=Wrong(dx=lambda dy: None)),
        VECTOR,
        LABEL,
        {},
        TypeError,
        ["'wrong'", "dx", "backward", "NoneType"],
    ),
    "a dx of another shape": (
        lambda: relus(wrong=Wrong(dx=lambda dy: dy[:, :1])),
        VECTOR,
        LABEL,
        {},
        ValueError,
        ["'wrong'", "dx of shape (1, 2)", "(1, 1)"],
    ),
    "a gradient of another shape": (
        lambda: relus(wrong=Wrong(grad=np.ones(3, np.float32))),
        VECTOR,
        LABEL,
        {},
        ValueError,
        ["'wrong'", "gradient of weight of shape (2,)", "(3,)"],
    ),
    "a network that cannot be copied": (
        lambda: relus(wrong=Wrong(grad=threading.Lock())),
        VECTOR,
        LABEL,
        {},
        RuntimeError,
        ["network is copied", "lock"],
    ),
    "a label too large": (own_net, IMAGE, [3], {}, ValueError, ["labels from 0 to 2", "got 3"]),
    "too many labels": (own_net, IMAGE, [0, 1], {}, ValueError, ["1 labels", "(2,)"]),
    "labels of floats": (own_net, IMAGE, [0.5], {}, TypeError, ["integer labels", "float64"]),
    "maps in place of classes": (
        lambda: relus(),
        IMAGE,
        LABEL,
        {},
        ValueError,
        ["(N, K)", "(1, 3, 17, 23)", "as dy"],
    ),
    "too many class names": (own_net, IMAGE, LABEL, {"classes": "abcd"}, ValueError, ["(1, 3)", "got 4", "'d'"]),
    "class names that are numbers": (own_net, IMAGE, LABEL, {"classes": [1, 2, 3]}, ValueError, ["str", "1, 2, 3"]),
    "y and dy": (own_net, IMAGE, LABEL, {"dy": np.ones((1, 3), np.float32)}, TypeError, ["dy in their place", "both"]),
    "dy of another shape": (own_net, IMAGE, None, {"dy": np.ones((3, 1), np.float32)}, ValueError, ["dy", "(1, 3)"]),
    "dy of another dtype": (own_net, IMAGE, None, {"dy": np.ones((1, 3))}, TypeError, ["dy", "float32", "float64"]),
    "dy that is NaN": (
        own_net,
        IMAGE,
        None,
        {"dy": np.full((1, 3), np.nan, np.float32)},
        ValueError,
        ["dy: expected finite"],
    ),
    "a loss as a class": (
        own_net,
        IMAGE,
        LABEL,
        {"loss": minicnn.NLLLoss},
        TypeError,
        ["a loss such as CrossEntropyLoss()", "NLLLoss"],
    ),
    "a backend that is none": (own_net, IMAGE, LABEL, {"backend": "tpu"}, ValueError, ["tpu"]),
    "a learning rate that is none": (own_net, IMAGE, LABEL, {"lr": 0}, ValueError, ["lr above 0", "got 0"]),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems_are_said_and_nothing_is_written(name, tmp_path):
    make, x, y, options, error, words = PROBLEMS[name]
    network = make()
    network = network[0] if isinstance(network, tuple) else network
    (tmp_path / "page.html").write_text("the old page")
    with pytest.raises(error) as raised:
        inspect(network, x, y, path=tmp_path / "page.html", **options)
    for word in words:
        assert word in str(raised.value), f"{word!r} is missing in: {raised.value}"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text() == "the old page"


def test_a_failing_layer_is_the_cause():
    with pytest.raises(RuntimeError) as raised:
        inspect(relus(wrong=Wrong(y=fail)), VECTOR, LABEL)
    assert isinstance(raised.value.__cause__, KeyError)


def test_a_loss_that_is_not_finite():
    """Finite scores may be too far apart for their difference."""
    network = minicnn.Sequential(minicnn.Linear(2, 2, rng=0))
    network[0].params["weight"][:] = [[1e38, 0], [-1e38, 0]]
    with pytest.raises(ValueError, match="finite loss from CrossEntropyLoss, got inf"):
        inspect(network, np.float32([[3, 0]]), [1])


def test_a_loss_whose_gradient_does_not_fit():
    class Half(SquaredError):
        def backward(self):
            return self.difference[:, :1]

    network, x, _ = made("own")
    with pytest.raises(
        ValueError, match=r"gradient of shape \(2, 3\).*from Half.backward, got ndarray of shape \(2, 1\)"
    ):
        inspect(network, x, np.ones((2, 3), np.float32), loss=Half())


# The page and its file


def paths_that_cannot_be_written(folder):
    (folder / "folder").mkdir()
    return {
        IsADirectoryError: folder / "folder",
        FileNotFoundError: folder / "nowhere" / "page.html",
    }


@pytest.mark.parametrize("error", [IsADirectoryError, FileNotFoundError])
def test_paths_that_cannot_be_written(error, tmp_path):
    path = paths_that_cannot_be_written(tmp_path)[error]
    before = sorted(tmp_path.rglob("*"))
    network = relus(wrong=Wrong(y=fail))  # the path is looked at first
    with pytest.raises(error) as raised:
        inspect(network, VECTOR, LABEL, path=path)
    assert str(path) in str(raised.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["ENOSPC", "EACCES", "EROFS"])
def test_a_disk_that_cannot_be_written_keeps_the_old_page(name, tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(number, os.strerror(number), str(tmp_path / ".page.html.123"))

    path, number = tmp_path / "page.html", getattr(errno, name)
    inspect(relus(), VECTOR, LABEL, path=path)
    old = path.read_text()
    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(OSError, match=f"cannot be written: {os.strerror(number)}: ") as raised:
        inspect(relus(), 2 * VECTOR, LABEL, path=path)
    assert (raised.value.errno, raised.value.filename) == (number, str(path))
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    assert path.read_text() == old


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_ctrl_c_leaves_no_file(name, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        inspect(relus(), VECTOR, LABEL, path=tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_a_layer_is_not_taken_for_a_failure():
    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inspect(relus(wrong=Wrong(y=interrupted)), VECTOR, LABEL)


def record_in(text):
    """The record that a page holds."""
    return json.loads(re.search(r'<script type="application/json" id="record">(.*?)</script>', text, re.DOTALL)[1])


def test_the_page_holds_the_record_and_nothing_ends_it_early(tmp_path):
    title = "</script><script>alert(1)</script> <!-- & \ud800 record.js"
    names = ["</SCRIPT>", "<!--", 'é"\u2028']
    network, x, y = made("own")
    inspection = network.inspect(x, y, path=tmp_path / "page.html", title=title, classes=names)
    text = (tmp_path / "page.html").read_text("utf-8")
    assert record_in(text) == inspection.record
    assert "alert(1)</script>" not in text
    assert "<title>&lt;/script&gt;" in text
    assert json.loads(json.dumps(inspection.record, allow_nan=False)) == inspection.record


def test_everything_is_in_the_page():
    """Nothing is named that a browser would have to get."""
    network, x, y = made("own")
    text = page.assembled(inspect(network, x, y).record)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    assert not re.search(r"<(link|img|iframe|script)[^>]*\b(src|href)=", text)


def test_style_scripts_and_licences_are_filled_in(tmp_path, monkeypatch):
    (tmp_path / "vendor").mkdir()
    for name, text in {
        "index.html": '<title>x</title>\n<link rel="stylesheet" href="a.css">\n<script src="record.js"></script>\n'
        '<script src="vendor/d.min.js"></script>\n<script src="own.js"></script>\n',
        "a.css": "p {}",
        "own.js": 'use(RECORD, "<title>\\1</title>");',
        "vendor/d.min.js": "d = 1;",
        "vendor/d.LICENSE": "Do what you like -- really -->",
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(page, "FOLDER", tmp_path)
    assert page.assembled({"title": "t"}).splitlines() == [
        "<title>t – minicnn</title>",
        *("<style>", "p {}</style>"),
        '<script type="application/json" id="record">{"title":"t"}</script>',
        f"<script>{page.READ_RECORD}</script>",
        *("<!--", "Do what you like - - really - ->-->", "<script>", "d = 1;</script>"),
        *("<script>", 'use(RECORD, "<title>\\1</title>");</script>'),
    ]
    (tmp_path / "own.js").unlink()
    with pytest.raises(FileNotFoundError, match=r"own\.js"):
        page.assembled({"title": "t"})


def test_the_parts_of_the_page_are_installed():
    """setup.cfg names them; a package is not installed with files that nobody names."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    folder = ROOT / "minicnn" / "inspect"
    named = {
        file
        for pattern in config["options.package_data"]["minicnn.inspect"].split()
        for file in folder.glob(pattern)
        if file.is_file()
    }
    assert named == {file for file in (folder / "page").rglob("*") if file.is_file()}
    assert folder / "page" / "index.html" in named


def test_an_inspection_in_a_notebook_and_in_a_browser(tmp_path, monkeypatch):
    network, x, y = made("own")
    inspection = network.inspect(x, y)
    assert isinstance(inspection, minicnn.Inspection)
    assert inspection.path is None
    assert re.fullmatch(
        r"Inspection\(Sequential, 5 layers, input \(2, 3, 17, 23\), CrossEntropyLoss [\d.]+, not saved\)",
        repr(inspection),
    )
    frame = inspection._repr_html_()
    assert frame.startswith('<iframe srcdoc="')
    assert record_in(html.unescape(frame)) == inspection.record

    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert inspection.open() is inspection
    assert inspection.path.parent.parent == tmp_path
    assert opened == [inspection.path.as_uri()]
    assert record_in(inspection.path.read_text("utf-8")) == inspection.record

    assert inspection.save(str(tmp_path / "page.html")) is inspection
    assert inspection.path == tmp_path / "page.html"
    inspection.open()
    assert opened[1:] == [(tmp_path / "page.html").as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    with pytest.raises(RuntimeError, match=r"no browser.*page\.html"):
        inspection.open()
    with pytest.raises(FileNotFoundError):
        inspection.save(tmp_path / "nowhere" / "page.html")
    assert inspection.path == tmp_path / "page.html"  # where the last page is


# The program


def call(*arguments):
    return CliRunner().invoke(program, ["inspect", *map(str, arguments)])


@pytest.fixture
def model(tmp_path):
    """A model of three classes, and a picture that is larger than it takes."""
    network = minicnn.SimpleNet(num_classes=3, rng=0)
    path = tmp_path / "model.safetensors"
    minicnn.Classifier(network, ["cat", "dog", "9"], [0.5, 0.4, 0.3], [0.2, 0.3, 0.4], longest=20).save(path)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return path


def test_the_program_on_a_model_and_a_picture(model, tmp_path):
    output = tmp_path / "page.html"
    result = call(tmp_path / "picture.png", "--model", model, "--label", "dog", "--output", output)
    assert result.exit_code == 0, result.output
    record = record_in(output.read_text("utf-8"))
    (p,) = decoded(record["loss_view"]["p"])
    says = f"the network says: {['cat', 'dog', '9'][p.argmax()]} ({p.max():.2f})"
    said = f"true class: dog    {says}    loss: {-np.log(p[1]):.4f}\n{record['mode_note']}\npage: {output}\n"
    assert result.output == said
    classifier = minicnn.Classifier.load(model)
    x = classifier.as_input(classifier.read(tmp_path / "picture.png"))
    assert record == recorded(
        classifier.network,
        x,
        [1],
        classes=["cat", "dog", "9"],
        title="model.safetensors on picture.png",
    )
    assert record["input_shape"] == [1, 3, 15, 20]

    result = call(tmp_path / "picture.png", "--model", model, "--eval", "--longest", 10, "-o", output)
    record = record_in(output.read_text("utf-8"))
    assert (record["mode"], record["input_shape"]) == ("eval", [1, 3, 8, 10])
    assert record["labels_are_predicted"]
    assert f"class: {record['classes'][record['labels'][0]]} (as the network predicts)" in result.output


def test_the_program_says_of_a_picture_what_predict_says(tmp_path):
    network, image = trained_simple_net()
    model, output = tmp_path / "model", tmp_path / "page.html"
    minicnn.Classifier(network, ["cat", "dog", "9"], [0.5], [0.2]).save(model)
    Image.fromarray(np.clip(128 + 30 * image[0], 0, 255).astype(np.uint8)).save(tmp_path / "picture.png")
    classifier = minicnn.Classifier.load(model)
    (p,) = classifier.predict([classifier.read(tmp_path / "picture.png")])
    found = {}
    for options in ([], ["--eval"], ["--train"]):
        result = call(tmp_path / "picture.png", "--model", model, "--label", "dog", "-o", output, *options)
        assert result.exit_code == 0, result.output
        found["".join(options)] = record_in(output.read_text("utf-8"))
        assert found["".join(options)]["mode_note"] in result.output
    assert found[""] == found["--eval"]
    np.testing.assert_allclose(decoded(found[""]["loss_view"]["p"])[0], p, atol=1e-5)
    assert np.abs(decoded(found["--train"]["loss_view"]["p"])[0] - p).max() > 0.01


def test_the_program_on_a_digit_and_on_a_new_network(model, tmp_path):
    output = tmp_path / "page.html"
    assert "true class: 3 " in call("--digit", 3, "-o", output).output
    record = record_in(output.read_text("utf-8"))
    assert (record["input_shape"], record["labels"]) == ([1, 1, 32, 32], [3])
    assert (record["classes"], record["title"]) == (list("0123456789"), "a new SimpleNet on a handwritten 3")
    assert value(record, 0).max() > 0.9  # something is written there

    assert "class: 9 " in call("--digit", 9, "--model", model, "-o", output).output  # the model knows it, as its third
    record = record_in(output.read_text("utf-8"))
    assert (record["input_shape"], record["labels"]) == ([1, 3, 32, 32], [2])

    assert "class: 4 " in call(tmp_path / "picture.png", "--label", 4, "--seed", 1, "-o", output).output
    record = record_in(output.read_text("utf-8"))
    assert (record["input_shape"], record["classes"]) == ([1, 3, 30, 40], None)
    weight = minicnn.SimpleNet(rng=1)["conv1"].params["weight"]
    np.testing.assert_array_equal(decoded(layer_of(record, "conv1")["params"]["weight"]), weight)


def test_the_program_says_what_is_shown_in_part_and_opens_it(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    Image.fromarray(np.eye(80, dtype=np.uint8) * 255).save(tmp_path / "large.png")
    output = tmp_path / "page.html"
    result = call(tmp_path / "large.png", "--longest", 80, "-o", output, "--open")
    assert "some arrays are shown in part" in result.output
    assert output.stat().st_size < 10_000_000
    assert opened == [output.as_uri()]


def test_the_program_used_wrongly(model, tmp_path):
    picture, output = tmp_path / "picture.png", tmp_path / "page.html"
    (tmp_path / "junk.png").write_bytes(b"junk")
    before = sorted(tmp_path.iterdir())
    for arguments, code, words in [
        ([], 2, "either IMAGE or --digit"),
        ([picture, "--digit", 3], 2, "either IMAGE or --digit"),
        ([picture, "--label", 10], 2, "one of 10 classes or its number from 0, got '10'"),
        ([picture, "--label", "bird", "--model", model], 2, "one of 3 classes (cat, dog, 9)"),
        ([tmp_path / "junk.png"], 1, "junk.png: it is no image"),
        ([tmp_path / "nowhere.png"], 1, "nowhere.png: it cannot be read"),
        ([picture, "--model", tmp_path / "nowhere"], 1, "no file"),
        ([picture, "--output", tmp_path / "nowhere" / "page.html"], 2, "there is no folder"),
        ([picture, "--output", tmp_path / "page.png"], 2, "ends in .html"),
    ]:
        result = call("--output", output, *arguments)
        assert result.exit_code == code, result.output
        assert words in " ".join(result.output.split()), result.output
    assert sorted(tmp_path.iterdir()) == before
