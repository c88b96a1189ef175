"""Networks drawn at random, right ones, with an input for each: for searches that one seed repeats."""

from typing import Any, NamedTuple

import numpy as np

import minicnn
from minicnn import Images

LOSSES = (minicnn.CrossEntropyLoss, minicnn.NLLLoss)


class Drawn(NamedTuple):
    """A network of float32 on `reference`, x for it; and for some labels and a loss, else None."""

    network: minicnn.Sequential
    x: Any
    labels: Any
    loss: Any


def drawn(seed):
    """A network of one to nine layers, of every kind and setting, in every mode, and an x of any kind.

    A layer that does not fit the image, or batchnorm of a single number in training, is drawn again. Nothing else is
    avoided: one image, one channel, ReLU after ReLU, images of 8 bits with ties, a bias before batchnorm, x of 1e-2
    and of 1e2.
    """
    rng = np.random.default_rng(seed)
    count, channels = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    sizes = rng.integers(3, 8, (count if rng.random() < 0.15 else 1, 2))
    x = _images(rng, count, channels, sizes)
    layers, y, kinds = {}, x, ["conv", "batchnorm", "relu", "max", "avg", "adaptive max", "adaptive avg"]
    for n in range(int(rng.integers(1, 6))):
        layers[f"layer{n}"], y = _fitting(rng, y, rng.choice(kinds, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05]))
    labels = loss = None
    if rng.random() < 0.7:
        if isinstance(y, Images):
            layers["pool"], y = _fitting(rng, y, "to one size")
        features, classes = y[0].size, int(rng.integers(2, 5))
        layers |= {"flatten": minicnn.Flatten(), "fc1": minicnn.Linear(features, 4, bias=_flip(rng), rng=rng)}
        if _flip(rng):
            layers |= {"relu": minicnn.ReLU(), "fc2": minicnn.Linear(4, classes, rng=rng)}
        else:
            classes = 4
        kind = int(rng.integers(4))
        if kind:
            layers["log_softmax"] = minicnn.LogSoftmax()
        if kind > 1:
            labels, loss = rng.integers(0, classes, count), LOSSES[kind - 2]()
    network = minicnn.Sequential(**layers).to("reference")
    _trained(rng, network)
    return Drawn(network, x, labels, loss)


def _flip(rng):
    return bool(rng.random() < 0.5)


def _images(rng, count, channels, sizes):
    """Numbers of about 1; or of 1e-2 to 1e2; or pixels from 0 to 1, of which some have 8 bits."""
    kind = rng.choice(["normal", "scaled", "pixels", "8 bits"], p=[0.4, 0.2, 0.2, 0.2])
    scale = 10 ** rng.uniform(-2, 2)

    def draw(shape):
        if kind == "8 bits":
            return (rng.integers(0, 256, shape) / 255).astype(np.float32)
        if kind == "pixels":
            return rng.random(shape, np.float32)
        return np.float32(scale if kind == "scaled" else 1) * rng.standard_normal(shape, np.float32)

    if len(sizes) > 1:
        return Images([draw((channels, *size)) for size in sizes])
    return draw((count, channels, *sizes[0]))


def _fitting(rng, x, kind):
    """(a layer of this kind that takes x, its output for x); of a kind that cannot, one of another."""
    for _ in range(100):
        layer = _layer(rng, kind, x.shape[1])
        try:
            return layer, layer.to("reference").forward(x)
        except ValueError:  # it does not fit
            kind = rng.choice(["conv", "relu", "avg"]) if kind == "batchnorm" else kind
            kind = "conv" if kind in ("max", "avg") and _flip(rng) else kind
    raise AssertionError(f"no {kind} for {x.shape}")


def _layer(rng, kind, channels):
    def pair(low, high):
        return int(rng.integers(low, high + 1)), int(rng.integers(low, high + 1))

    if kind == "conv":
        groups = channels if rng.random() < 0.25 else 1
        filters, kernel_size = groups * int(rng.integers(1, 4)), pair(1, 3)
        if rng.random() < 0.2:
            setting = {"padding": "same"}
        else:
            setting = {"stride": pair(1, 2), "padding": pair(0, 2), "dilation": pair(1, 2) if _flip(rng) else 1}
        return minicnn.Conv2d(channels, filters, kernel_size, groups=groups, bias=_flip(rng), rng=rng, **setting)
    if kind == "batchnorm":
        return minicnn.BatchNorm2d(channels, eps=float(rng.choice([1e-5, 1e-3, 0.1])))
    if kind == "relu":
        return minicnn.ReLU()
    if kind == "adaptive max":
        return minicnn.AdaptiveMaxPool2d(pair(1, 4))
    if kind == "adaptive avg":
        return minicnn.AdaptiveAvgPool2d((pair(1, 4)[0], None))
    if kind == "to one size":
        return (minicnn.AdaptiveMaxPool2d if _flip(rng) else minicnn.AdaptiveAvgPool2d)(pair(1, 3))
    kernel_size, stride, ceil_mode = pair(1, 3), pair(1, 3), _flip(rng)
    padding = (int(rng.integers(kernel_size[0] // 2 + 1)), int(rng.integers(kernel_size[1] // 2 + 1)))
    if kind == "max":
        return minicnn.MaxPool2d(kernel_size, stride, padding, ceil_mode=ceil_mode)
    divisor = int(rng.integers(1, 6)) if rng.random() < 0.2 else None
    return minicnn.AvgPool2d(kernel_size, stride, padding, ceil_mode, _flip(rng), divisor)


def _trained(rng, network):
    """Leave parameters and statistics as they are made, or make them as a training leaves them; choose the modes."""
    layers = [layer for _, layer in network.named_layers()]
    if _flip(rng):
        for layer in layers:
            for arrays in (layer.params, layer.state):
                for name, array in arrays.items():
                    if array.dtype.kind == "f":
                        drawn = rng.standard_normal(array.shape) * (0.5 if array.any() else 0.2)
                        array[...] = np.exp(drawn) if name == "running_var" else array + drawn
    mode = rng.choice(["train", "eval", "mixed"], p=[0.5, 0.35, 0.15])
    for layer in layers:
        layer.train(mode == "train" or (mode == "mixed" and _flip(rng)))
