"""Records of the inspector for its tests, and what they hold when each layer is called by hand."""

import json
import re

import numpy as np
import pytest

import minicnn
from minicnn.data import load_digits, resize
from minicnn.inspect import inspect
from minicnn.inspect.sample import decoded

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


def record_alone(layer, x):
    """The record of a layer that is the whole network."""
    y = layer.predict(x)
    return recorded(minicnn.Sequential(layer), x, dy=np.ones_like(y))["layers"][0]


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


def trained_simple_net():
    """A SimpleNet after some steps, and one image of another kind, which its own statistics would make look usual."""
    rng = np.random.default_rng(0)
    network = minicnn.SimpleNet(num_classes=3, in_channels=1, rng=0)
    for _ in range(5):
        network.forward(rng.standard_normal((8, 1, 12, 12), np.float32))
    return network, (3 + 5 * rng.standard_normal((1, 12, 9))).astype(np.float32)


class SquaredError:
    """A loss of a user's own."""

    def forward(self, output, target):
        self.difference = output - target
        return float(np.square(self.difference).sum() / 2)

    def backward(self):
        return self.difference


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


class Wrong(minicnn.Layer):
    """A layer that gives what it was made with."""

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


def relus(**layers):
    return minicnn.Sequential(first=minicnn.ReLU(), **layers, last=minicnn.ReLU())


VECTOR, LABEL = np.ones((1, 2), np.float32), [0]


def record_in(text):
    """The record that a page holds."""
    return json.loads(re.search(r'<script type="application/json" id="record">(.*?)</script>', text, re.DOTALL)[1])
