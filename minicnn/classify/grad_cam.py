"""Why any network decided so: where it looked (Grad-CAM), and which pixels would change its answer (saliency).

Both ask the backward pass how the score of one class depends on something inside. The score is the network's output,
before a LogSoftmax at its end: raising log p would also mean lowering all other classes.

`minicnn.classify.explain.winners` says more, exactly and pixel by pixel, of networks that end in a global maximum.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn.checks import as_int
from minicnn.layers import Layer, LogSoftmax
from minicnn.network import Sequential
from minicnn.plain import Array
from minicnn.verify.isolate import flattened, own_copy


class GradCAM(NamedTuple):
    """What `grad_cam` finds for class k, with C channels of features of H' × W'.

    heat: (H', W'), how much each place of the features speaks for the class, at least 0.
    weights: (C,), how much each channel speaks for it, the mean of its gradient.
    layer: the name of the layer whose output the features are.
    """

    heat: Array
    weights: Array
    layer: str


def saliency(network: Sequential, image: Array, k: int) -> Array:
    """The gradient d(score of class k) / d(image), (C, H, W): how far each pixel can change the score.

    Simonyan et al. (2014) show the largest `|gradient|` over the channels. The network is computed in evaluation mode,
    on a copy; it stays as it is.

    Args:
        network: layers one after another, with outputs (N, K).
        image: (C, H, W), the network's input and of its dtype.
        k: the class, from 0.

    Raises ValueError for an image of another shape or outputs that are not (N, K), IndexError where there is no
    class k, TypeError for another dtype.
    """
    layers = [layer for _, layer in _score_layers(network, "saliency")]
    # Forward to the score, then backward from "the score of class k counts 1" to the image
    x = _as_batch(image, "saliency")
    for layer in layers:
        x = layer.forward(x)
    gradient = _one_for(x, k, "saliency")
    for layer in reversed(layers):
        gradient = layer.backward(gradient)
    return network.ops.to_numpy(gradient)[0]


def grad_cam(network: Sequential, image: Array, k: int, layer: str | None = None) -> GradCAM:
    """Where in the features of a layer the evidence for class k is (Selvaraju et al., 2017).

        weight[c] = mean over p, q of d(score of class k) / d features[c, p, q]
        heat[p, q] = max(0, sum over c of weight[c] * features[c, p, q])

    The network is computed in evaluation mode, on a copy; it stays as it is.

    Args:
        network: layers one after another, with outputs (N, K).
        image: (C, H, W), the network's input and of its dtype.
        k: the class, from 0.
        layer: whose output the features are; the last one whose output has several pixels unless given.

    Raises what `saliency` raises, and KeyError or ValueError where there is no such layer or its output is no image.

    >>> from minicnn import SimpleNet
    >>> network = SimpleNet(num_classes=2, in_channels=1, rng=0).to("reference")
    >>> found = grad_cam(network, np.ones((1, 6, 9), np.float32), k=1)
    >>> found.heat.shape, found.weights.shape, found.layer
    ((6, 9), (64,), 'relu3')
    """
    layers = _score_layers(network, "grad_cam")
    outputs = [_as_batch(image, "grad_cam")]
    for _, each in layers:
        outputs.append(each.forward(outputs[-1]))
    place = _feature_place(layers, outputs, layer)
    features = network.ops.to_numpy(outputs[place + 1])[0]
    # Backward from "the score of class k counts 1" down to the features
    gradient = _one_for(outputs[-1], k, "grad_cam")
    for _, each in reversed(layers[place + 1 :]):
        gradient = each.backward(gradient)
    # A channel speaks for the class as its gradient does on average, and where it is large
    weights = network.ops.to_numpy(gradient)[0].mean(axis=(1, 2))
    heat = np.maximum(np.einsum("c,cpq->pq", weights, features), 0)
    return GradCAM(heat, weights, layers[place][0])


def _score_layers(network: Sequential, who: str) -> list[tuple[str, Layer]]:
    """(name, layer) of a copy of the network in evaluation mode, without a LogSoftmax at the end."""
    layers = list(flattened(own_copy(network, who, "the network").eval()))
    return layers[:-1] if len(layers) > 1 and isinstance(layers[-1][1], LogSoftmax) else layers


def _as_batch(image: Array, who: str) -> Any:
    image = np.asarray(image)
    if image.ndim != 3:
        raise ValueError(f"{who}: expected one image of shape (C, H, W), got shape {image.shape}")
    return image[None].copy()


def _one_for(scores: Any, k: int, who: str) -> Array:
    """The gradient of the score of class k by all scores: 1 there, and 0 elsewhere."""
    if scores.ndim != 2:
        raise ValueError(f"{who}: expected a network with outputs (N, K), got one with outputs of {scores.shape}")
    if not 0 <= as_int(k, f"{who}: k", -np.inf) < scores.shape[1]:
        raise IndexError(f"{who}: expected a class from 0 to {scores.shape[1] - 1}, got {k}")
    d_scores = np.zeros(scores.shape, scores.dtype)
    d_scores[0, k] = 1
    return d_scores


def _feature_place(layers: Sequence[tuple[str, Layer]], outputs: Sequence[Any], name: str | None) -> int:
    """The position of the layer `name`, or of the last one whose output has several pixels."""
    names = [each for each, _ in layers]
    if name is not None and name not in names:
        raise KeyError(f"grad_cam: no layer {name!r}; there are {', '.join(names)}")
    images = [place for place, y in enumerate(outputs[1:]) if y.ndim == 4 and y.shape[2] * y.shape[3] > 1]
    place = names.index(name) if name is not None else images[-1] if images else -1
    if place not in images and (name is None or outputs[place + 1].ndim != 4):
        raise ValueError(
            "grad_cam: expected a layer whose output is an image of several pixels, "
            f"got {name or 'none in the network'}"
        )
    return place
