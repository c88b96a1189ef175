"""The networks whose pages are opened, and one step of each, taken layer by layer: what the pages must show."""

from types import SimpleNamespace

import numpy as np

import minicnn
from minicnn.data import load_digits


def simplenet():
    """SimpleNet for grey pictures, and one handwritten digit of 32 × 32: every pixel of an 8 × 8 one 4 × 4 times."""
    digits = load_digits().test
    x = np.kron(digits.images[:1], np.ones((4, 4), np.float32))
    return minicnn.SimpleNet(in_channels=1, rng=0), x, digits.labels[:1]


def own():
    """Somebody's own five layers (and a Flatten) in float64, and two pictures of 17 × 23 in two channels.

    The convolution makes them 9 × 12, and the last layer but two averages that in 3 × 4 windows.
    """
    rng = np.random.default_rng(1)
    network = minicnn.Sequential(
        edges=minicnn.Conv2d(2, 4, kernel_size=3, stride=2, padding=1, rng=rng),
        norm=minicnn.BatchNorm2d(4),
        relu=minicnn.ReLU(),
        grid=minicnn.AdaptiveAvgPool2d((3, 4)),
        flatten=minicnn.Flatten(),
        answer=minicnn.Linear(48, 5, rng=rng),
    ).to(dtype=np.float64)
    for name, value in network.state_dict().items():  # a new batchnorm's weights, all 1 and 0, would hide mistakes
        if name.startswith("norm."):
            layer, key = network["norm"], name.partition(".")[2]
            arrays = layer.params if key in layer.params else layer.state
            if value.dtype == np.float64:
                arrays[key] = rng.uniform(0.5, 1.5, value.shape)
    return network, rng.standard_normal((2, 2, 17, 23)), np.array([3, 0])


def pools():
    """Every kind of pooling once, on a map of 14 × 10; the windows of the adaptive ones overlap."""
    rng = np.random.default_rng(2)
    network = minicnn.Sequential(
        fixed_max=minicnn.MaxPool2d(3, stride=1, padding=1),
        adaptive_max=minicnn.AdaptiveMaxPool2d((8, 7)),
        fixed_average=minicnn.AvgPool2d(2, stride=1, padding=1),
        adaptive_average=minicnn.AdaptiveAvgPool2d((4, 3)),
        flatten=minicnn.Flatten(),
        scores=minicnn.Linear(24, 3, rng=rng),
        log_softmax=minicnn.LogSoftmax(),
    ).to(dtype=np.float64)
    return network, rng.standard_normal((1, 2, 14, 10)), np.array([1])


MAKERS = {"simplenet": simplenet, "own": own, "pools": pools}


def step(network, x, y):
    """One forward and one backward pass on the readable backend: every number along the way."""
    network.to("reference").train()
    loss = minicnn.CrossEntropyLoss().to("reference")
    layers = dict(network.named_layers())
    before = {name: {key: np.array(array) for key, array in layer.state.items()} for name, layer in layers.items()}
    activations = [x]
    for layer in layers.values():
        activations.append(layer.forward(activations[-1]))
    value = loss.forward(activations[-1], y)
    gradients = [loss.backward()]
    for layer in reversed(layers.values()):
        gradients.insert(0, layer.backward(gradients[0]))
    return SimpleNamespace(
        network=network,
        loss=value,
        layers={
            name: SimpleNamespace(
                layer=layer,
                x=activations[k],
                y=activations[k + 1],
                dx=gradients[k],
                dy=gradients[k + 1],
                state_before=before[name],
            )
            for k, (name, layer) in enumerate(layers.items())
        },
    )
