"""Why a network decided so: which pixels won its max pooling, and what each of them was worth.

A global max pooling looks at each channel everywhere and keeps one pixel, so a network that ends in

    … -> features (C, H, W) -> global max -> (C,) -> Linear -> scores (K,) -> LogSoftmax

can be taken apart exactly. Channel c is represented by the pixel where it is largest, and the score of class k is

    score[k] = bias[k] + sum over c of weight[k, c] * features[c, winner of c]

a sum with one term for each channel: its *contribution*. Backward takes the same way in the other direction. Of all
pixels of the features only the winners get a gradient, weight[k, c] times what log-softmax hands down; from there it
spreads over the few input pixels that the convolutions below had seen. Everywhere else the gradient is 0 (exactly so on
the backend "reference"; Winograd's convolution on "cpu" leaves rounding errors near by, a millionth of the largest).
"""

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from minicnn.layers import AdaptiveMaxPool2d, Flatten, Layer, Linear, LogSoftmax
from minicnn.network import Sequential
from minicnn.plain import Array
from minicnn.residual import Residual

TAIL = (AdaptiveMaxPool2d, Flatten, Linear, LogSoftmax)


class Winners(NamedTuple):
    """What `winners` finds for class k, with C channels of features.

    positions: (C, 2) int64, rows (row, column) of the features, which in SimpleNet are the image's own pixels.
    contributions: (C,), weight[k, c] * the largest value of channel c; with the bias they sum to the class's score.
    gradient: like the image, d(log-probability of class k) / d(image).
    """

    positions: Array
    contributions: Array
    gradient: Array


def winners(network: Sequential, image: Array, k: int) -> Winners:
    """For each channel of the features the pixel that won, what it contributed to class k, and the way back from there.

    Where a channel has its largest value several times, the first in reading order counts, as in the pooling. A
    channel that is 0 everywhere after its ReLU contributes 0, whichever pixel stands for it.

    The network is computed in evaluation mode; its mode, gradients and memory stay as they are. Every layer remembers
    its input for the way back: of SimpleNet 1.4 KB a pixel, so that an image of a million pixels takes 1.4 GB.

    Args:
        network: a Sequential that ends in AdaptiveMaxPool2d(1), Flatten, Linear, LogSoftmax, as SimpleNet does.
        image: (C', H, W), the network's input and of its dtype.
        k: the class, from 0.

    Returns:
        `Winners`.

    Raises:
        TypeError: a network that ends otherwise, or an image of another dtype.
        ValueError: an image of another shape.
        IndexError: no class k.

    >>> from minicnn import SimpleNet
    >>> network = SimpleNet(num_classes=2, in_channels=1, rng=0).to("reference", np.float64)
    >>> image = np.zeros((1, 40, 40))
    >>> image[0, 20, 12] = 1                                # a single bright pixel
    >>> positions, contributions, gradient = winners(network, image, k=0)
    >>> positions.shape, contributions.shape, gradient.shape
    ((64, 2), (64,), (1, 40, 40))
    >>> bool(gradient[0, 20, 12] != 0), bool(gradient[0, 20, 30] == 0)   # nobody who won looked there
    (True, True)
    """
    # The same weights in layers of our own: what they remember and the gradients they get are nobody else's.
    layers: list[Any] = [_own(layer) for layer in _one_after_another(network)]
    last = layers[-len(TAIL) :]
    if tuple(map(type, last)) != TAIL or last[0].output_size != (1, 1):
        raise TypeError(
            f"winners: expected a network that ends in AdaptiveMaxPool2d((1, 1)), Flatten, Linear, LogSoftmax, "
            f"got one that ends in {', '.join(map(repr, last))}"
        )
    fc = last[2]
    if not 0 <= k < fc.out_features:
        raise IndexError(f"winners: expected a class from 0 to {fc.out_features - 1}, got {k}")
    image = np.asarray(image)
    if image.ndim != 3:
        raise ValueError(f"winners: expected one image of shape (C, H, W), got shape {image.shape}")

    below, tail = Sequential(*layers[: -len(TAIL)]).eval(), Sequential(*last).eval()
    features = below.forward(image[None])
    log_probabilities = tail.forward(features)
    d_output = np.zeros(log_probabilities.shape, image.dtype)
    d_output[0, k] = 1  # the derivative of output k by the outputs
    gradient = network.ops.to_numpy(below.backward(tail.backward(d_output)))[0]

    features = network.ops.to_numpy(features)[0]
    cells = features.reshape(len(features), -1)
    first = cells.argmax(axis=1)
    positions = np.stack(np.divmod(first, features.shape[2]), axis=1)
    contributions = network.ops.to_numpy(fc.params["weight"])[k] * cells[np.arange(len(cells)), first]
    return Winners(positions, contributions, gradient)


def _one_after_another(network: Sequential) -> Iterator[Layer]:
    """Its layers, those of networks within it too; a `Residual`, which is no chain, is one of them."""
    for layer in network:
        if isinstance(layer, Sequential) and not isinstance(layer, Residual):
            yield from _one_after_another(layer)
        else:
            yield layer


def _own(layer: Layer) -> Layer:
    """A layer with the same weights, whose memory and gradients are its own."""
    if isinstance(layer, Sequential):
        kind = Residual if isinstance(layer, Residual) else Sequential
        return kind(**{name: _own(child) for name, child in layer.children.items()})
    layer = copy.copy(layer)
    layer.grads, layer.memory = {}, None
    return layer
