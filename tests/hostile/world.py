"""Where a place is played, and layers and networks with numbers of it."""

import numpy as np

import minicnn
from minicnn import Images
from minicnn.backends import get_backend
from tests.twists import TWISTS, ordinary

CPU, REFERENCE = get_backend("cpu"), get_backend("reference")


class World:
    """Where a place is played: see `tests.hostile`."""

    def __init__(self, backend, dtype, twist, number_seed, hostile):
        self.backend, self.dtype, self.twist, self.hostile = backend, np.dtype(dtype), twist, hostile
        self.ops = get_backend(backend)
        self._rng = np.random.default_rng(number_seed)

    def draw(self, *shape):
        return self._rng.standard_normal(shape).astype(np.float32).astype(self.dtype)

    def labels(self, count, classes):
        return self._rng.integers(0, classes, count)

    def twisted(self, values, integers=False):
        made_of = np.asarray(values) if integers else np.asarray(values).astype(HOSTILE_DTYPE[0])
        try:
            made = TWISTS[self.twist](made_of.copy())
        except (ValueError, TypeError, IndexError):  # this one cannot be made of such an array
            made = made_of
        return made if self.hostile else ordinary(made, integers)

    def do(self, function, *owners, statistics=True):
        """function(), which must leave the numbers of its owners alone where it raises."""
        if not self.hostile:
            return function()
        before = [_numbers_kept(owner, statistics) for owner in owners]
        try:
            return function()
        except Exception as error:
            if [_numbers_kept(owner, statistics) for owner in owners] != before:
                raise AssertionError(f"changed before it raised {type(error).__name__}: {error}") from error
            raise


HOSTILE_DTYPE = [np.dtype(np.float32)]  # that of the hostile world, which the judge must make its objects of, too


def _numbers_kept(owner, statistics):
    """Everything of a layer, network or optimiser that must not change, as bytes."""
    if isinstance(owner, minicnn.Sequential):
        return [_numbers_kept(layer, statistics) for layer in owner]
    if isinstance(owner, minicnn.Layer):
        kept = [owner.params, owner.state] if statistics else [owner.params]
        return [{key: as_bytes(value) for key, value in arrays.items()} for arrays in kept]
    slots = {(slot, name): as_bytes(value) for slot, of in owner.state.items() for name, value in of.items()}
    return owner.steps, owner.lr, slots


def as_bytes(value):
    if isinstance(value, np.generic | np.ndarray) and value.dtype != object:
        return np.ndarray.tobytes(value) if isinstance(value, np.ndarray) else value.tobytes()
    return id(value)


# Layers and networks, with numbers of a world in them.

LAYERS = {
    "Conv2d": (lambda: minicnn.Conv2d(2, 3, 3, padding=1), (2, 2, 5, 4)),
    "Conv2d of many channels": (lambda: minicnn.Conv2d(8, 9, 3, padding=1), (2, 8, 6, 5)),
    "Conv2d 1 × 1": (lambda: minicnn.Conv2d(3, 4, 1), (2, 3, 4, 3)),
    "Conv2d square": (lambda: minicnn.Conv2d(3, 3, 3), (2, 3, 3, 4)),
    "Conv2d with a stride": (lambda: minicnn.Conv2d(2, 3, (3, 2), stride=2, padding=(1, 0)), (2, 2, 5, 6)),
    "Conv2d, depthwise": (lambda: minicnn.Conv2d(3, 3, 3, padding=1, groups=3), (2, 3, 5, 4)),
    "Conv2d, depthwise with a stride": (lambda: minicnn.Conv2d(2, 2, (3, 2), stride=(2, 1), groups=2), (2, 2, 5, 6)),
    "Conv2d, one image": (lambda: minicnn.Conv2d(2, 3, 3), (2, 5, 4)),
    "BatchNorm2d": (lambda: minicnn.BatchNorm2d(3), (2, 3, 4, 3)),
    "ReLU": (minicnn.ReLU, (2, 3, 4, 3)),
    "ReLU of vectors": (minicnn.ReLU, (3, 3)),
    "MaxPool2d": (lambda: minicnn.MaxPool2d(3, stride=2, padding=1), (2, 3, 6, 5)),
    "AvgPool2d": (lambda: minicnn.AvgPool2d(2), (2, 3, 5, 4)),
    "AdaptiveMaxPool2d": (lambda: minicnn.AdaptiveMaxPool2d((2, 3)), (2, 3, 5, 4)),
    "AdaptiveAvgPool2d": (lambda: minicnn.AdaptiveAvgPool2d((2, None)), (2, 3, 5, 4)),
    "Linear": (lambda: minicnn.Linear(5, 3), (4, 5)),
    "Linear square": (lambda: minicnn.Linear(4, 4), (3, 4)),
    "Flatten": (minicnn.Flatten, (2, 3, 4, 3)),
    "LogSoftmax": (minicnn.LogSoftmax, (4, 5)),
    "Dropout": (lambda: minicnn.Dropout(0.3, seed=5), (2, 3, 4, 3)),
    "Residual": (lambda: minicnn.Residual(minicnn.ReLU(), shortcut=minicnn.AvgPool2d(1)), (2, 3, 4, 3)),
}
ON_IMAGES = [name for name, (make, shape) in LAYERS.items() if make().takes_images and len(shape) == 4]


def filled(world, layer):
    layer.to(world.backend, world.dtype)
    for key, param in layer.params.items():
        layer.params[key] = world.draw(*param.shape)
    if "running_var" in layer.state:
        layer.state["running_mean"] = world.draw(layer.num_features)
        layer.state["running_var"] = world.draw(layer.num_features) ** 2 + world.dtype.type(0.5)
    return layer


def layer_of(world, name, training=True):
    return filled(world, LAYERS[name][0]()).train(training)


def network_of(world, kind):
    """Maxima come first, while there are no ties that rounding decides."""
    networks = {
        "block": lambda: minicnn.Sequential(
            conv1=minicnn.Conv2d(2, 4, 3, padding=1),
            bn1=minicnn.BatchNorm2d(4),
            relu1=minicnn.ReLU(),
            pool=minicnn.AdaptiveMaxPool2d(1),
            flat=minicnn.Flatten(),
            fc=minicnn.Linear(4, 3),
            log=minicnn.LogSoftmax(),
        ),
        "two blocks": lambda: minicnn.Sequential(
            conv1=minicnn.Conv2d(2, 8, 3, padding=1),
            bn1=minicnn.BatchNorm2d(8),
            relu1=minicnn.ReLU(),
            conv2=minicnn.Conv2d(8, 5, 3, stride=1, padding=1),
            bn2=minicnn.BatchNorm2d(5),
            relu2=minicnn.ReLU(),
            mean=minicnn.AdaptiveAvgPool2d(2),
            flat=minicnn.Flatten(),
            fc=minicnn.Linear(20, 3),
        ),
        "pooled": lambda: minicnn.Sequential(
            pool=minicnn.MaxPool2d(2),
            conv1=minicnn.Conv2d(2, 3, 1),
            mean=minicnn.AvgPool2d(2),
            flat=minicnn.Flatten(),
            fc=minicnn.Linear(3, 3),
        ),
    }
    network = networks[kind]()
    for layer in network:
        filled(world, layer)
    return network


NETWORKS = ("block", "two blocks", "pooled")
PARAMS = {
    "block": ["conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias", "fc.weight", "fc.bias"],
    "two blocks": ["conv1.weight", "conv2.weight", "conv2.bias", "bn1.bias", "bn2.weight", "fc.weight"],
    "pooled": ["conv1.weight", "conv1.bias", "fc.weight", "fc.bias"],
}
NETWORK_INPUT = (3, 2, 5, 4)
OPTIMIZERS = {
    "SGD": lambda network: minicnn.SGD(network, lr=0.1),
    "momentum": lambda network: minicnn.SGD(network, lr=0.1, momentum=0.9, nesterov=True),
    "Adam": lambda network: minicnn.Adam(network, lr=0.1, eps=0.1, weight_decay=0.1),
    "AdamW": lambda network: minicnn.AdamW(network, lr=0.1, eps=0.1),
}


def dy_like(world, y):
    if isinstance(y, Images):
        return y.like(world.draw(*y.data.shape))
    return world.draw(*np.shape(y))


def numbers_of(network, *optimizers):
    found = {name: layer.params[key] for name, layer, key in network.named_params()}
    found |= {f"{name}.{key}": a for name, layer in network.named_layers() for key, a in layer.state.items()}
    for position, optimizer in enumerate(optimizers):
        for slot, arrays in optimizer.state.items():
            found |= {f"{position} {slot} {name}": array for name, array in arrays.items()}
        found[f"{position} steps"] = optimizer.steps
    return found


def one_pass(world, layer, x, dy=None):
    """Forward, backward and predict: y, dx and grads."""
    y = world.do(lambda: layer.forward(x), layer)
    dy = dy_like(world, y) if dy is None else dy
    found = {"y": y, "dx": world.do(lambda: layer.backward(dy), layer), **layer.grads, **layer.state}
    if world.twist == "with __array__ that changes":  # which is another array now
        return found
    return found | {"predict": world.do(lambda: layer.predict(x), layer)}


def batch_of(world):
    return world.draw(*NETWORK_INPUT), world.labels(NETWORK_INPUT[0], 3)


def backward_once(world, network, computed=None):
    computed = computed or network
    x, labels = batch_of(world)
    loss = minicnn.CrossEntropyLoss().to(world.backend)
    found = {"loss": loss.forward(world.do(lambda: computed.forward(x), network, statistics=False), labels)}
    found["dx"] = world.do(lambda: computed.backward(loss.backward()), network, statistics=False)
    return found | {f"grad {name}": layer.grads[key] for name, layer, key in network.named_params()}
