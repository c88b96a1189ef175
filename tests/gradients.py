"""Layers, right and wrong, for the tests of `gradcheck`."""

import numpy as np

import minicnn


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def row_of(report, name):
    return next(row for row in report.arrays if row.name == name)


class Own(minicnn.Layer):
    """A layer of one's own, which has a forward and a backward only: y = f(x), dx = slope(x) * dy."""

    def __init__(self, f, slope):
        super().__init__()
        self.f, self.slope = f, slope

    def forward(self, x):
        self.x = x
        return self.f(x)

    def backward(self, dy):
        return dy * self.slope(self.x)


def small_net(**layers):
    """conv, batchnorm, relu and so on, small enough for hundreds of passes; `layers` take the place of some."""
    rng = np.random.default_rng(5)
    usual = {
        "conv1": minicnn.Conv2d(2, 3, 3, padding=1, rng=rng),
        "bn1": minicnn.BatchNorm2d(3),
        "relu1": minicnn.ReLU(),
        "conv2": minicnn.Conv2d(3, 4, 3, padding=1, rng=rng),
        "relu2": minicnn.ReLU(),
        "pool": minicnn.AdaptiveMaxPool2d((2, 2)),
        "flatten": minicnn.Flatten(),
        "fc": minicnn.Linear(16, 3, rng=rng),
        "log_softmax": minicnn.LogSoftmax(),
    }
    return minicnn.Sequential(**usual | layers).to("reference")


def wrong(layer_type, alter):
    """A subclass of a layer whose `alter` may change what backward found: alter(self, dx) -> dx."""

    class Wrong(layer_type):
        def backward(self, dy, need_dx=True):
            return alter(self, super().backward(dy))

    return Wrong


def wrong_weight(self, dx):
    self.grads["weight"] = self.grads["weight"] * 3
    return dx
