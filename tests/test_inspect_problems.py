"""What the inspector says of what it cannot show, and that nothing is then written."""

import threading

import numpy as np
import pytest

import minicnn
from minicnn.inspect import inspect
from tests.records import (
    LABEL,
    VECTOR,
    SquaredError,
    Wrong,
    fail,
    made,
    own_net,
    relus,
)


def strewn(shape, place, number):
    array = np.zeros(shape, np.float32)
    array[place] = number
    return array


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


IMAGE = np.ones((1, 3, 17, 23), np.float32)

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
