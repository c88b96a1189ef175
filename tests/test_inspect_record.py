"""What the inspector records: values and gradients, what layers keep and cost, and the statistics of batchnorm."""

import numpy as np
import pytest

import minicnn
from minicnn.backends import get_backend
from minicnn.geometry import adaptive_windows, fixed_windows
from minicnn.inspect.sample import decoded
from tests.records import (
    PARAMETRIZE_DTYPE,
    PARAMETRIZE_NETWORK,
    by_hand,
    gradient,
    layer_of,
    made,
    record_alone,
    recorded,
    trained_batchnorm,
    trained_simple_net,
    value,
)

pytestmark = pytest.mark.quick

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
    for k, (layer_record, (_, layer)) in enumerate(zip(record["layers"], layers, strict=True)):
        assert (layer_record["index"], layer_record["input"], layer_record["output"]) == (k, k, k + 1)
        assert (layer_record["kind"], layer_record["repr"]) == (type(layer).__name__, repr(layer))
        assert layer_record["parameters"] == sum(param.size for param in layer.params.values())
        assert (
            set(layer_record["params"])
            == set(layer_record["grads"])
            == set(layer_record["param_stats"])
            == set(layer.params)
        )
        for key, param in layer.params.items():
            np.testing.assert_array_equal(decoded(layer_record["params"][key]), param)
            np.testing.assert_array_equal(decoded(layer_record["grads"][key]), layer.grads[key])


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
    for layer_record, activation, its_gradient in zip(record["activations"], activations, gradients, strict=True):
        for stats, array in ((layer_record["stats"], activation), (layer_record["gradient_stats"], its_gradient)):
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
    layer_record = record_alone(layer, np.random.default_rng(0).standard_normal(shape, np.float32))
    assert layer_record["flops"] == {"forward": flops[0], "backward": flops[1]}
    assert layer_record["bytes"] == {"forward": 4 * numbers[0], "backward": 4 * numbers[1]}


def test_dead_relus():
    network, x, y = made("SimpleNet")
    network["bn1"].params["bias"][:3] = -100
    record = recorded(network, x, y)
    dead = {layer["name"]: layer["dead"] for layer in record["layers"] if "dead" in layer}
    assert dead == {"relu1": 3 / 16, "relu2": 0, "relu3": 0}
    vectors = record_alone(minicnn.ReLU(), np.array([[-1, 2, -3, 0], [-1, -2, -3, 4.0]]))
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
    layer_record = record_alone(minicnn.MaxPool2d(3, 2, 1), x)
    _, argmax = get_backend("reference").max_pool2d_forward(x, fixed_windows(8, 3, 2, 1), fixed_windows(7, 3, 2, 1))
    assert (layer_record["extra"]["kind"], layer_record["extra"]["adaptive"]) == ("max", False)
    assert layer_record["extra"]["argmax"]["dtype"] == "int32"
    np.testing.assert_array_equal(decoded(layer_record["extra"]["argmax"]), argmax)


# Batchnorm


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
    for words in ("the statistics of this image alone", "predict takes those that were kept from training, and so may"):
        assert words in asked["mode_note"]
    batch = recorded(network, np.stack([image, -image]), [1, 2])  # a step of training, as ever
    assert batch["mode"] == "train"
    assert "the statistics of these 2 images" in batch["mode_note"]
    new = recorded(minicnn.SimpleNet(num_classes=3, in_channels=1, rng=0), image, 1)  # which has nothing to ask for
    assert new["mode"] == "train"
    assert "predict takes those of a new layer, mean 0 and variance 1, and so may" in new["mode_note"]
    assert recorded(*made("own"))["mode_note"] is None  # without batchnorm both modes are one
