"""The activations of an image, with the weights that a network had before."""

from collections.abc import Iterator
from contextlib import contextmanager

from minicnn.layers import Layer
from minicnn.network import Sequential
from minicnn.plain import Array


@contextmanager
def weights_in(network: Sequential, weights: dict[str, Array]) -> Iterator[None]:
    """Within, the network has these weights, by name."""
    params = [(layer.params, key, weights[name]) for name, layer, key in network.named_params()]
    now = [of_layer[key] for of_layer, key, _ in params]
    try:
        for of_layer, key, weight in params:
            of_layer[key] = weight
        yield
    finally:
        for (of_layer, key, _), weight in zip(params, now, strict=True):
            of_layer[key] = weight


def activations(network: Sequential, image: Array) -> dict[str, Array]:
    """The output of every layer for one image, in evaluation mode: NumPy arrays without the batch axis, by name."""
    outputs: dict[str, Array] = {}

    def passed(layer: Layer, name: str, x: Array) -> Array:
        if isinstance(layer, Sequential) and type(layer).predict is Sequential.predict:
            for child_name, child in layer.children.items():
                x = passed(child, f"{name}.{child_name}" if name else child_name, x)
            return x
        y = layer.predict(x)
        outputs[name or type(layer).__name__] = layer.ops.to_numpy(y)[0]
        return y

    passed(network, "", network.ops.asarray(image[None]))
    return outputs
