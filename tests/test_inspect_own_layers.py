"""The inspector on layers and networks of one's own."""

import numpy as np
import pytest

import minicnn
from minicnn.inspect.sample import decoded
from tests.records import (
    Doubled,
    gradient,
    layer_of,
    record_alone,
    recorded,
    value,
)

pytestmark = pytest.mark.quick


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

    layer_record = record_alone(Conv2d(1, 1, 1), np.ones((1, 1, 2, 2), np.float32))
    assert (layer_record["kind"], layer_record["extra"]) == (f"{__name__}.Conv2d", {})


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
