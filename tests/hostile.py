"""Ways to hand an object to the framework, played on the cpu backend and judged by the reference on ordinary arrays.

A *recipe* is a place where something is handed over and the choices that make it one example; it can be written down,
and played again with

    python -m tests.hostile play "('layer input', {...})"

A place is a function of a `World`. In the hostile world, `world.twisted(a)` is an odd object made of the array a, and
the network is on the cpu; in the judge's it is the float64 array of the same values, on the reference. What a place
returns must agree, or it must raise an error that is allowed, with all parameters, states and steps as they were.

    python -m tests.hostile LOG SKIP EXAMPLES SEED

plays examples that hypothesis draws, as `tests/test_hostile_objects.py` asks for it in a child.
"""

import ast
import copy
import gc
import json
import pickle
import sys
import types
import warnings
from types import SimpleNamespace

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from numba.core.dispatcher import Dispatcher

import minicnn
from minicnn import Images
from minicnn.backends import get_backend
from minicnn.backends.protocol import OPERATIONS
from tests import test_contract
from tests.children import Log
from tests.twists import INTEGERS, OF_FEW_NUMBERS, TWISTS, NoMeaning, OwnError, ordinary

SECONDS = 60  # for one example
CPU, REFERENCE = get_backend("cpu"), get_backend("reference")

# Where results go through the float64 of the judge: of the largest number, or of 0.1 where that is larger.
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
REASONS = ("forward", "the loss is", "finite", "no gradient", "operations of its own", "evaluation mode")


class World:
    """Where a place is played: see the head of this file."""

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
        return [{key: _as_bytes(value) for key, value in arrays.items()} for arrays in kept]
    slots = {(slot, name): _as_bytes(value) for slot, of in owner.state.items() for name, value in of.items()}
    return owner.steps, owner.lr, slots


def _as_bytes(value):
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
}
ON_IMAGES = [name for name, (make, shape) in LAYERS.items() if make().takes_images and len(shape) == 4]


def _filled(world, layer):
    layer.to(world.backend, world.dtype)
    for key, param in layer.params.items():
        layer.params[key] = world.draw(*param.shape)
    if "running_var" in layer.state:
        layer.state["running_mean"] = world.draw(layer.num_features)
        layer.state["running_var"] = world.draw(layer.num_features) ** 2 + world.dtype.type(0.5)
    return layer


def layer_of(world, name, training=True):
    return _filled(world, LAYERS[name][0]()).train(training)


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
        _filled(world, layer)
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


def _dy_like(world, y):
    if isinstance(y, Images):
        return y.like(world.draw(*y.data.shape))
    return world.draw(*np.shape(y))


def _numbers_of(network, *optimizers):
    found = {name: layer.params[key] for name, layer, key in network.named_params()}
    found |= {f"{name}.{key}": a for name, layer in network.named_layers() for key, a in layer.state.items()}
    for position, optimizer in enumerate(optimizers):
        for slot, arrays in optimizer.state.items():
            found |= {f"{position} {slot} {name}": array for name, array in arrays.items()}
        found[f"{position} steps"] = optimizer.steps
    return found


def _pass(world, layer, x, dy=None):
    """Forward, backward and predict: y, dx and grads."""
    y = world.do(lambda: layer.forward(x), layer)
    dy = _dy_like(world, y) if dy is None else dy
    found = {"y": y, "dx": world.do(lambda: layer.backward(dy), layer), **layer.grads, **layer.state}
    if world.twist == "with __array__ that changes":  # which is another array now
        return found
    return found | {"predict": world.do(lambda: layer.predict(x), layer)}


def _batch(world):
    return world.draw(*NETWORK_INPUT), world.labels(NETWORK_INPUT[0], 3)


def _backward_once(world, network, computed=None):
    computed = computed or network
    x, labels = _batch(world)
    loss = minicnn.CrossEntropyLoss().to(world.backend)
    found = {"loss": loss.forward(world.do(lambda: computed.forward(x), network, statistics=False), labels)}
    found["dx"] = world.do(lambda: computed.backward(loss.backward()), network, statistics=False)
    return found | {f"grad {name}": layer.grads[key] for name, layer, key in network.named_params()}


# The places.


def _require_no_images(world, layer):
    if world.twist == "Images" and layer.takes_images and not layer.params:
        raise NoMeaning  # they are as good as an array


def layer_input(world, layer, training):
    made = layer_of(world, layer, training)
    _require_no_images(world, made)
    return _pass(world, made, world.twisted(world.draw(*LAYERS[layer][1])))


def layer_predict(world, layer):
    made = layer_of(world, layer)
    _require_no_images(world, made)
    x = world.twisted(world.draw(*LAYERS[layer][1]))
    return {"y": world.do(lambda: made.predict(x), made)}


def layer_dy(world, layer, training):
    made = layer_of(world, layer, training)
    x = world.draw(*LAYERS[layer][1])
    y = made.forward(x)
    dy = world.twisted(_dy_like(world, y))
    return {"dx": world.do(lambda: made.backward(dy), made), **made.grads}


def layer_param(world, layer, key, between, need_dx):
    made = layer_of(world, layer)
    x = world.draw(*LAYERS[layer][1])
    if not between:
        made.params[key] = world.twisted(made.params[key])
        return _pass(world, made, x)
    y = made.forward(x)
    is_read = key == "weight" and (need_dx or layer == "BatchNorm2d")
    made.params[key] = world.twisted(made.params[key]) if world.hostile or is_read else made.params[key]
    dy = _dy_like(world, y)
    dx = world.do(lambda: made.backward(dy, need_dx=need_dx), made)
    return {"dx": dx if need_dx else 0, **made.grads}


def layer_state(world, key, training):
    made = layer_of(world, "BatchNorm2d", training)
    integers = key == "num_batches_tracked"
    if integers and not training:  # nobody reads it
        raise NoMeaning
    made.state[key] = world.twisted(made.state[key], integers=integers)
    return _pass(world, made, world.draw(*LAYERS["BatchNorm2d"][1]))


def layer_images(world, layer, what):
    made = layer_of(world, layer)
    channels = LAYERS[layer][1][1]
    blocks = [world.draw(channels, *size) for size in ((5, 4), (4, 6), (7, 5))]
    if what == "one image":
        blocks[1] = world.twisted(blocks[1])
    x = Images(blocks)
    if what == "data of":
        x = Images.of(world.twisted(x.data), channels, x.sizes)
    if what == "data of like":
        x = x.like(world.twisted(x.data))
    if what == "list":
        several = world.twisted(np.stack([blocks[0]] * 2))
        x = Images(several if not isinstance(several, memoryview) else [several])  # Python does not take one apart
    if what != "dy":
        return _pass(world, made, x)
    y = made.forward(x)
    dy = _dy_like(world, y)
    dy = dy.like(world.twisted(dy.data)) if isinstance(dy, Images) else world.twisted(dy)
    return {"dx": world.do(lambda: made.backward(dy), made), **made.grads}


def layer_changed(world, layer, attribute, value):
    """An attribute set after the layer was made, so that it and the parameters contradict each other."""
    made = layer_of(world, layer)
    setattr(made, attribute, value)
    return _pass(world, made, world.draw(*LAYERS[layer][1]))


def resized(world, layer, which, size):
    """What forward keeps is resized in place before backward."""
    made = layer_of(world, layer)
    x = world.draw(*LAYERS[layer][1])
    y = made.forward(x)
    dy = _dy_like(world, y)
    try:
        (x if which == "x" else y).resize(size, refcheck=False)
    except ValueError as error:  # it rests on other memory
        raise NoMeaning from error
    return {"dx": world.do(lambda: made.backward(dy), made), **made.grads}


def network_param(world, network, key, fused, predict):
    made = network_of(world, network)
    name, key = PARAMS[network][key % len(PARAMS[network])].split(".")
    made[name].params[key] = world.twisted(made[name].params[key])
    computed = minicnn.fuse(made) if fused else made
    if predict:
        x, _ = _batch(world)
        return {"y": world.do(lambda: computed.predict(x), made)}
    return _backward_once(world, made, computed)


def network_state(world, key, fused, training):
    made = network_of(world, "block").train(training)
    if key == "num_batches_tracked" and not training:  # nobody reads it
        raise NoMeaning
    made["bn1"].state[key] = world.twisted(made["bn1"].state[key], integers=key == "num_batches_tracked")
    computed = minicnn.fuse(made) if fused else made
    found = _backward_once(world, made, computed)
    x, _ = _batch(world)
    return found | {"y": computed.predict(x)} | _numbers_of(made)


def network_input(world, network, fused, images, predict):
    made = network_of(world, network)
    computed = minicnn.fuse(made) if fused else made
    x = world.draw(*NETWORK_INPUT)
    if images:
        x = Images([world.draw(2, 5, 4), world.draw(2, 6, 5)])
        x = x.like(world.twisted(x.data))
    else:
        x = world.twisted(x)
    if predict:
        return {"y": world.do(lambda: computed.predict(x), made)}
    y = world.do(lambda: computed.forward(x), made, statistics=False)
    dy = _dy_like(world, y)
    return {"y": y, "dx": world.do(lambda: computed.backward(dy), made, statistics=False)}


def network_dy(world, network, fused, need_dx):
    made = network_of(world, network)
    computed = minicnn.fuse(made) if fused else made
    y = computed.forward(world.draw(*NETWORK_INPUT))
    dy = world.twisted(_dy_like(world, y))
    dx = world.do(lambda: computed.backward(dy, need_dx=need_dx), made)
    return {"dx": dx if need_dx else 0} | {f"grad {n}": layer.grads[key] for n, layer, key in made.named_params()}


def step(world, optimizer, network, what, key, clip, slot):
    """One step to warm up, then one with a gradient, a parameter or a state of the optimiser exchanged."""
    made = network_of(world, network)
    made_optimizer = OPTIMIZERS[optimizer](made)
    found = _backward_once(world, made)
    made_optimizer.step()
    full_name = PARAMS[network][key % len(PARAMS[network])]
    name, key = full_name.split(".")
    if what == "grad":
        made[name].grads[key] = world.twisted(made[name].grads[key])
    elif what == "param":
        made[name].params[key] = world.twisted(made[name].params[key])
    else:
        slots = made_optimizer.state[made_optimizer.slots[slot % len(made_optimizer.slots)]]
        slots[full_name] = world.twisted(np.abs(slots[full_name]))
    if clip:
        found["norm"] = world.do(lambda: minicnn.clip_gradients(made, 0.5), made, made_optimizer)
    world.do(made_optimizer.step, made, made_optimizer)
    return found | _numbers_of(made, made_optimizer)


def large_gradient(world, bias):
    """One whose squares are added up by several threads."""
    made = minicnn.Sequential(_filled(world, minicnn.Linear(640, 640)))
    made[0].grads = {"weight": world.draw(640, 640), "bias": world.draw(640)}
    key = "bias" if bias else "weight"
    made[0].grads[key] = world.twisted(made[0].grads[key])
    made_optimizer = OPTIMIZERS["SGD"](made)
    found = {"norm": world.do(lambda: minicnn.clip_gradients(made, 0.5), made, made_optimizer)}
    world.do(made_optimizer.step, made, made_optimizer)
    return found | _numbers_of(made)


def aliased(world, optimizer, first, second):
    """Two arrays that must not be one are one. The judge has two of the same numbers."""
    made = network_of(world, "block")
    made_optimizer = OPTIMIZERS[optimizer](made)
    _backward_once(world, made)
    made_optimizer.step()
    layer = made["fc"]
    slots = list(made_optimizer.state.values())
    places = {
        "param": (layer.params, "weight"),
        "grad": (layer.grads, "weight"),
        "first slot": (slots[0], "fc.weight"),
        "last slot": (slots[-1], "fc.weight"),
        "other slot": (slots[0], "conv1.weight"),
    }
    (from_, from_key), (to, to_key) = places[first], places[second]
    value = np.abs(from_[from_key])
    from_[from_key] = value
    if to[to_key].shape != value.shape:
        raise NoMeaning
    to[to_key] = value if world.hostile else value.copy()
    if from_ is to and from_key == to_key:
        to[to_key] = value
    world.do(made_optimizer.step, made, made_optimizer)
    return _numbers_of(made, made_optimizer)


def shared_weight(world, view):
    """One array is the weight of two layers; one may be a view of the other."""
    network = minicnn.Sequential(a=minicnn.Linear(4, 4), b=minicnn.Linear(4, 4))
    for layer in network:
        _filled(world, layer)
    weight = network["a"].params["weight"]
    shared = weight[:] if view else weight
    network["b"].params["weight"] = shared if world.hostile else shared.copy()
    x = world.draw(3, 4)
    y = world.do(lambda: network.forward(x), network)
    found = {"y": y, "dx": world.do(lambda: network.backward(_dy_like(world, y)), network)}
    return found | {f"grad {name}": layer.grads[key] for name, layer, key in network.named_params()}


def own_operation(world, network, name, member, kind):
    """`use`: a function of one's own for an operation, which gives back an object of another kind."""
    made = network_of(world, network)
    right = getattr(world.ops, name)

    def own(*arguments):
        result = right(*arguments)
        if kind == "none":
            return None
        if kind == "its first argument":
            first = arguments[0]
            return first if world.hostile or isinstance(first, Images | list) else np.array(first)
        if kind == "a part of its first argument":
            part = np.asarray(arguments[0]).reshape(-1)
            return part if world.hostile else part.copy()
        if kind == "the same object each time":
            return kept.setdefault(name, result)
        if not isinstance(result, tuple):
            if kind == "a tuple":
                return (result,)
            if kind == "a list":
                return [result]
            return changed(result)
        if kind == "a tuple":
            return (*result, result[0])
        if kind == "a list":
            return list(result)
        if kind == "one too few":
            return result[:-1]
        if kind == "argmax out of range":
            return (result[0], result[1] + np.int32(10**6 * (1 if member else -1)))
        result = list(result)
        result[member % len(result)] = changed(result[member % len(result)])
        return tuple(result)

    def changed(result):
        if isinstance(result, Images):
            return result.like(world.twisted(result.data))
        if result is None:
            return world.twisted(np.zeros(3))
        return world.twisted(result, integers=isinstance(result, np.ndarray) and result.dtype.kind in "iu")

    if name == "log_softmax_forward" and world.twist in INTEGERS:
        raise NoMeaning  # exp(y) is no softmax then: backward multiplies what a sum of 0 rounds off by up to exp(20)
    kept = {}
    made.use(**{name: own})
    made_optimizer = OPTIMIZERS["Adam"](made)
    found = _backward_once(world, made)
    if name.endswith("_"):  # it has changed things itself when it is judged by what it gave back
        made_optimizer.step()
        return found | _numbers_of(made, made_optimizer)
    found["norm"] = world.do(lambda: minicnn.clip_gradients(made, 0.5), made, made_optimizer)
    world.do(made_optimizer.step, made, made_optimizer)
    x, _ = _batch(world)
    return found | _numbers_of(made, made_optimizer) | {"y": world.do(lambda: made.predict(x), made)}


def loss_argument(world, loss, which, smoothing):
    if world.twist == "None" and which.startswith("weight"):
        raise NoMeaning  # it says that all classes count alike
    output, labels, weight = (
        -np.abs(world.draw(4, 3)),
        world.labels(4, 3),
        np.abs(world.draw(3)) + world.dtype.type(0.1),
    )
    if which == "output":
        output = world.twisted(output)
    elif which == "target":
        labels = world.twisted(labels, integers=True)
    elif which == "weight":
        weight = world.twisted(weight)
    arguments = {"weight": weight} | ({"label_smoothing": 0.1} if smoothing and loss == "CrossEntropyLoss" else {})
    made = getattr(minicnn, loss)(**arguments).to(world.backend)
    if which == "weight later":
        made.weight = world.twisted(weight)
    value = made.forward(output, labels)
    return {"loss": value, "d": made.backward()}


def loss_dy(world, loss):
    """What a loss of one's own gives backward."""
    made = network_of(world, "pooled")
    made.forward(world.draw(*NETWORK_INPUT))
    dy = world.twisted(world.draw(NETWORK_INPUT[0], 3))
    return {"dx": world.do(lambda: made.backward(dy), made)}


def loaded(world, network, key, what):
    made = network_of(world, network)
    made_optimizer = OPTIMIZERS["Adam"](made)
    _backward_once(world, made)
    if what == "network":
        state = made.state_dict()
        name = list(state)[key % len(state)]
        state[name] = world.twisted(state[name], integers=name.endswith("tracked"))
        world.do(lambda: made.load_state_dict(state), made)
    else:
        arrays, settings_of = made_optimizer.state_dict()
        name = list(arrays)[key % len(arrays)]
        arrays[name] = world.twisted(np.abs(arrays[name]) + 1)
        world.do(lambda: made_optimizer.load_state_dict(arrays, settings_of), made, made_optimizer)
    world.do(made_optimizer.step, made, made_optimizer)
    x, _ = _batch(world)
    return _numbers_of(made, made_optimizer) | {"y": made.predict(x)}


def trained(world, network, fused, clip, optimizer, which):
    """`Trainer.step` on an odd batch."""
    made = network_of(world, network)
    made_optimizer = OPTIMIZERS[optimizer](made)
    clip = {"max_grad_norm": 0.5} if clip else {}
    trainer = minicnn.Trainer(made, minicnn.CrossEntropyLoss(), made_optimizer, fuse=fused, quiet=True, **clip)
    x, labels = _batch(world)
    trainer.step(x, labels)
    if which == "x":
        x = world.twisted(x)
    else:
        labels = world.twisted(labels, integers=True)
    found = {"loss": world.do(lambda: trainer.step(x, labels), made, made_optimizer)}
    return found | _numbers_of(made, made_optimizer)


def replaced(world, network, optimizer, name, how, fused, when):
    """A layer is exchanged after the optimiser, or the trainer, was made."""
    made = network_of(world, network)
    made_optimizer = OPTIMIZERS[optimizer](made)
    trainer = minicnn.Trainer(made, minicnn.CrossEntropyLoss(), made_optimizer, fuse=fused, quiet=True)
    x, labels = _batch(world)
    if when:
        trainer.step(x, labels)
    layers = {
        "fc": {
            "larger": lambda: minicnn.Linear(made["fc"].in_features, 700),
            "same": lambda: minicnn.Linear(made["fc"].in_features, 3),
            "without bias": lambda: minicnn.Linear(made["fc"].in_features, 3, bias=False),
            "smaller": lambda: minicnn.Linear(made["fc"].in_features, 2),
        },
        "conv1": {
            "larger": lambda: minicnn.Conv2d(2, 40, 3, padding=1),
            "same": lambda: minicnn.Conv2d(2, made["conv1"].out_channels, made["conv1"].kernel_size, padding=1),
            "without bias": lambda: minicnn.Conv2d(
                2, made["conv1"].out_channels, made["conv1"].kernel_size, bias=False
            ),
            "smaller": lambda: minicnn.Conv2d(2, made["conv1"].out_channels, 1),
        },
    }
    made.children[name] = _filled(world, layers[name][how]())
    labels = np.minimum(labels, 1)
    found = {"loss": world.do(lambda: trainer.step(x, labels), made, made_optimizer)}
    return found | _numbers_of(made, made_optimizer)


def moved(world, network, optimizer, fused, back):
    """The network takes another dtype after the optimiser, or the trainer, was made. The judge stays at float64."""
    made = network_of(world, network)
    made_optimizer = OPTIMIZERS[optimizer](made)
    trainer = minicnn.Trainer(made, minicnn.CrossEntropyLoss(), made_optimizer, fuse=fused, quiet=True)
    x, labels = _batch(world)
    trainer.step(x, labels)
    other = np.dtype(np.float64) if world.dtype == np.float32 else np.dtype(np.float32)
    if world.hostile:
        made.to(dtype=other)
        x = x.astype(other)
        if back:
            made.to(dtype=world.dtype)
            x = x.astype(world.dtype)
    found = {"loss": world.do(lambda: trainer.step(x, labels), made, made_optimizer)}
    return found | _numbers_of(made, made_optimizer)


def copied(world, network, how, optimizer, fused, when):
    """A copy goes on as the original does."""
    made = network_of(world, network)
    run = SimpleNamespace(network=made, optimizer=OPTIMIZERS[optimizer](made), loss=minicnn.CrossEntropyLoss())
    run.loss.to(world.backend)
    x, labels = _batch(world)

    def one_step(run):
        computed = minicnn.fuse(run.network) if fused else run.network
        loss = run.loss.forward(computed.forward(x), labels)
        computed.backward(run.loss.backward())
        run.optimizer.step()
        return loss

    one_step(run)
    if when == "between forward and backward":
        run.loss.forward(run.network.forward(x), labels)
    if world.hostile:
        ways = {"deepcopy": copy.deepcopy, "pickle": lambda value: pickle.loads(pickle.dumps(value))}
        run = ways[how](run)
    if when == "between forward and backward":
        run.network.backward(run.loss.backward())
        run.optimizer.step()
    return {"loss": one_step(run)} | _numbers_of(run.network, run.optimizer)


def layer_copied(world, layer, how, when):
    made = layer_of(world, layer)
    x = world.draw(*LAYERS[layer][1])
    ways = {
        "copy": copy.copy,
        "deepcopy": copy.deepcopy,
        "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    }
    if when == "before forward":
        made = ways[how](made) if world.hostile else made
        return _pass(world, made, x)
    y = made.forward(x)
    made = ways[how](made) if world.hostile else made
    return {"y": y, "dx": made.backward(_dy_like(world, y)), **made.grads}


def operation(world, name, position, images):
    """An operation of the backend itself, called with one odd argument."""
    if images:
        made = test_contract.examples_with_images(world.ops, world.dtype)
        arguments = list(made[sorted(made)[name % len(made)]]())
        name = sorted(made)[name % len(made)]
    else:
        made = test_contract.example_calls(world.ops, world.dtype)
        name = sorted(made)[name % len(made)]
        arguments = list(made[name])
    arrays = [at for at, value in enumerate(arguments) if isinstance(value, np.ndarray | Images)]
    if not arrays:
        arrays = [0]
    at = arrays[position % len(arrays)]
    if isinstance(arguments[at], Images):
        arguments[at] = arguments[at].like(world.twisted(arguments[at].data))
    elif isinstance(arguments[at], np.ndarray):
        integers = arguments[at].dtype.kind in "iu"
        arguments[at] = world.twisted(arguments[at], integers)
    before = [_as_bytes(value) for value in arguments]
    changed = test_contract.CHANGED.get(name, 0)
    try:
        result = getattr(world.ops, name)(*arguments)
    except Exception as error:
        if [_as_bytes(value) for value in arguments] != before:
            raise AssertionError(f"{name} changed its arguments before it raised {error!r}") from error
        raise
    if name in test_contract.OPAQUE:
        result = _seen_through(world, name, result)
    return {"result": [result, *arguments[:changed]]}


def _seen_through(world, name, result):
    if name in ("fused_conv_forward", "fused_conv_predict"):
        return world.ops.fused_output(result)
    if name == "fused_max":
        return result[0]
    return 0


some = st.sampled_from
yes_no = st.booleans()
any_twist = some(sorted(TWISTS))
# Of what was computed, the last bits are rounding, and an object that reads them as other numbers is no fair one.
no_ties = some(sorted(set(TWISTS) - set(OF_FEW_NUMBERS) - {"with an interface of another type"}))
with_weights = [name for name in LAYERS if LAYERS[name][0]().params]
ODD_NUMBERS = (0, -1, 2, 3, 7, 2.5, None, "3", (1,), (2, 3), (0, 0), (3, 3, 3), (1, None), True)
ATTRIBUTES = {
    "Conv2d": ("in_channels", "out_channels", "kernel_size", "stride", "padding"),
    "Conv2d of many channels": ("in_channels", "out_channels", "kernel_size", "stride", "padding"),
    "BatchNorm2d": ("num_features", "eps", "momentum"),
    "Linear": ("in_features", "out_features"),
    "MaxPool2d": ("kernel_size", "stride", "padding"),
    "AvgPool2d": ("kernel_size", "stride", "padding"),
    "AdaptiveMaxPool2d": ("output_size", "makes_one_size"),
    "AdaptiveAvgPool2d": ("output_size", "makes_one_size"),
}
KINDS = (
    "changed",
    "changed",
    "changed",
    "none",
    "its first argument",
    "a part of its first argument",
    "the same object each time",
    "a tuple",
    "a list",
    "one too few",
    "argmax out of range",
)
REACHED_BY_A_NETWORK = sorted(
    name for name in OPERATIONS if not name.startswith("fused_") and name not in test_contract.NOT_AN_ARRAY_OPERATION
)
SLOTS = ("param", "grad", "first slot", "last slot", "other slot")

PLACES = {
    "layer input": (layer_input, {"layer": some(sorted(LAYERS)), "training": yes_no}),
    "layer predict": (layer_predict, {"layer": some(sorted(LAYERS))}),
    "layer dy": (layer_dy, {"layer": some(sorted(LAYERS)), "training": yes_no}),
    "layer param": (
        layer_param,
        {"layer": some(with_weights), "key": some(["weight", "bias"]), "between": yes_no, "need_dx": yes_no},
    ),
    "layer state": (
        layer_state,
        {"key": some(["running_mean", "running_var", "num_batches_tracked"]), "training": yes_no},
    ),
    "layer images": (
        layer_images,
        {"layer": some(ON_IMAGES), "what": some(["one image", "data of", "data of like", "list", "dy"])},
    ),
    "layer changed": (
        layer_changed,
        some(sorted(ATTRIBUTES)).flatmap(
            lambda layer: st.fixed_dictionaries(
                {"layer": st.just(layer), "attribute": some(ATTRIBUTES[layer]), "value": some(ODD_NUMBERS)}
            )
        ),
    ),
    "resized": (
        resized,
        {
            "layer": some(sorted(LAYERS)),
            "which": some(["x", "y"]),
            "size": some([(1,), (2, 2), (50, 50), (1, 1, 1, 1), (0,), (2, 3, 9, 9)]),
        },
    ),
    "network param": (
        network_param,
        {"network": some(NETWORKS), "key": st.integers(0, 5), "fused": yes_no, "predict": yes_no},
    ),
    "network state": (
        network_state,
        {"key": some(["running_mean", "running_var", "num_batches_tracked"]), "fused": yes_no, "training": yes_no},
    ),
    "network input": (
        network_input,
        {"network": some(["block", "two blocks"]), "fused": yes_no, "images": yes_no, "predict": yes_no},
    ),
    "network dy": (network_dy, {"network": some(NETWORKS), "fused": yes_no, "need_dx": yes_no}),
    "step": (
        step,
        {
            "optimizer": some(sorted(OPTIMIZERS)),
            "network": some(NETWORKS),
            "what": some(["grad", "param", "slot"]),
            "key": st.integers(0, 5),
            "clip": yes_no,
            "slot": st.integers(0, 1),
        },
    ),
    "large gradient": (large_gradient, {"bias": yes_no}),
    "aliased": (aliased, {"optimizer": some(sorted(OPTIMIZERS)), "first": some(SLOTS), "second": some(SLOTS)}),
    "shared weight": (shared_weight, {"view": yes_no}),
    "own operation": (
        own_operation,
        {
            "network": some(NETWORKS),
            "name": some(REACHED_BY_A_NETWORK),
            "member": st.integers(0, 2),
            "kind": some(KINDS),
        },
    ),
    "loss argument": (
        loss_argument,
        {
            "loss": some(["NLLLoss", "CrossEntropyLoss"]),
            "which": some(["output", "target", "weight", "weight later"]),
            "smoothing": yes_no,
        },
    ),
    "loss dy": (loss_dy, {"loss": st.just(None)}),
    "loaded": (
        loaded,
        {"network": some(NETWORKS), "key": st.integers(0, 20), "what": some(["network", "optimizer"])},
    ),
    "trained": (
        trained,
        {
            "network": some(NETWORKS),
            "fused": yes_no,
            "clip": yes_no,
            "optimizer": some(sorted(OPTIMIZERS)),
            "which": some(["x", "labels"]),
        },
    ),
    "replaced": (
        replaced,
        {
            "network": some(NETWORKS),
            "optimizer": some(sorted(OPTIMIZERS)),
            "name": some(["fc", "conv1"]),
            "how": some(["larger", "same", "without bias", "smaller"]),
            "fused": yes_no,
            "when": yes_no,
        },
    ),
    "moved": (
        moved,
        {"network": some(NETWORKS), "optimizer": some(sorted(OPTIMIZERS)), "fused": yes_no, "back": yes_no},
    ),
    "copied": (
        copied,
        {
            "network": some(NETWORKS),
            "how": some(["deepcopy", "pickle"]),
            "optimizer": some(sorted(OPTIMIZERS)),
            "fused": yes_no,
            "when": some(["between steps", "between forward and backward"]),
        },
    ),
    "layer copied": (
        layer_copied,
        {
            "layer": some(sorted(LAYERS)),
            "how": some(["copy", "deepcopy", "pickle"]),
            "when": some(["before forward", "before backward"]),
        },
    ),
    "operation": (operation, {"name": st.integers(0, 100), "position": st.integers(0, 5), "images": yes_no}),
}
NOT_TWISTED = {"layer changed", "resized", "aliased", "shared weight", "replaced", "moved", "copied", "layer copied"}
# Where maxima are taken of what was computed, an input whose numbers repeat makes ties that rounding decides.
WITHOUT_TIES = {"network input", "network param", "network state", "own operation", "trained", "loaded", "step"}


@st.composite
def recipes(draw):
    place = draw(some(sorted(PLACES)))
    choices = PLACES[place][1]
    choices = draw(choices if isinstance(choices, st.SearchStrategy) else st.fixed_dictionaries(choices))
    twist = "plain"
    if place not in NOT_TWISTED:
        twist = draw(no_ties if place in WITHOUT_TIES else any_twist)
    dtype = draw(some(["float32", "float32", "float64"]))
    return place, choices, twist, dtype, draw(st.integers(0, 2**16))


# The judge.


def play(recipe):
    """Raise AssertionError where the framework does not keep the rule."""
    place, choices, twist, dtype, number_seed = recipe
    HOSTILE_DTYPE[0] = np.dtype(dtype)
    function = PLACES[place][0]
    first, second = (_attempt(function, World("cpu", dtype, twist, number_seed, True), choices) for _ in range(2))
    expected = _attempt(function, World("reference", "float64", twist, number_seed, False), choices)
    if isinstance(first, BaseException):
        _require_allowed(first)
        assert type(first) is type(second), f"raised {first!r}, and the second time {second!r}"
        return
    assert not isinstance(second, BaseException), f"the second time, it raised {second!r}"
    _require_the_same(first, second)
    if isinstance(expected, BaseException):
        if place in ("resized", "aliased") and isinstance(expected, NoMeaning):
            return
        raise AssertionError(f"took what has no meaning, where the judge says {type(expected).__name__}: {expected}")
    _require_close(first, expected, TOLERANCE["float32" if place == "moved" else dtype])


def _attempt(function, world, choices):
    try:
        found = function(world, **choices)
        return {name: _leaves(value) if name == "result" else [_numbers(value)] for name, value in found.items()}
    except AssertionError:
        raise
    except Exception as error:
        return error


def _require_allowed(error):
    if isinstance(error, ValueError | TypeError | OwnError):
        return
    if isinstance(error, RuntimeError) and any(reason in str(error) for reason in REASONS):
        return
    if isinstance(error, NoMeaning):
        return
    raise AssertionError(f"raised {type(error).__name__}: {error}") from error


def _leaves(value):
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in _leaves(part)]
    return [_numbers(value)]


def _numbers(value):
    return np.array(value.data if isinstance(value, Images) else value)


def _require_the_same(first, second):
    for name in first:
        for a, b in zip(first[name], second[name], strict=True):
            assert a.dtype == object or a.tobytes() == b.tobytes(), f"{name}: other numbers the second time"


def _require_close(found, expected, tolerance):
    for name in expected:
        for a, b in zip(found[name], expected[name], strict=True):
            assert a.shape == b.shape, f"{name}: expected shape {b.shape}, got {a.shape}"
            try:
                a, b = a.astype(np.float64), b.astype(np.float64)
            except (TypeError, ValueError) as error:
                raise AssertionError(f"{name}: is no array of numbers: {error}") from error
            finite = np.isfinite(b)
            assert np.array_equal(np.isnan(a), np.isnan(b)), f"{name}: NaN in other places"
            scale = max(np.abs(b[finite]).max(initial=0), 0.1)
            off = np.abs(a[finite] - b[finite]).max(initial=0) / scale
            assert off <= tolerance, f"{name}: other numbers, off by {off:.1e} of the largest"


# The child.


def main(log, skip, examples, number):
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    log, operations = Log(log, int(skip), SECONDS), set()
    for name in OPERATIONS:
        setattr(CPU, name, _noted(getattr(CPU, name), operations))

    @seed(int(number))
    @settings(
        max_examples=int(examples),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(recipes())
    def examples_of_hypothesis(recipe):
        log.run(repr(recipe), lambda: play(recipe))

    examples_of_hypothesis()
    log.run("numbers far apart", numbers_far_apart)
    reached = {name for name, kernel in kernels() if kernel.overloads}  # compiled, or loaded, when it is first called
    every = {name for name, _ in kernels()}
    log.say(json.dumps({"operations": sorted(operations), "reached": sorted(reached), "kernels": sorted(every)}))
    log.end()


def numbers_far_apart():
    """What Winograd's kernels leave to plain sums: so far apart that hypothesis seldom draws it."""
    found, expected = [], []
    for backend, dtype, numbers in (("cpu", np.float32, found), ("reference", np.float64, expected)):
        layer, x = minicnn.Conv2d(8, 8, 3, padding=1, rng=0).to(backend, dtype), np.full((1, 8, 12, 12), 1e-3, dtype)
        x[0, 0, 5, 5] = 1e6
        numbers += [layer.forward(x), layer.backward(x), *layer.grads.values()]
    _require_close({"passes": found}, {"passes": expected}, TOLERANCE["float32"])
    layer = minicnn.Conv2d(8, 8, 3, padding=1, rng=0)
    layer.params["weight"][0, 0, 0, 0] = np.inf
    dx = layer.backward(np.ones_like(layer.forward(x.astype(np.float32))))
    assert np.isinf(dx[0, 0, :-1, :-1]).all()
    assert np.isfinite(dx[0, 1:]).all()


def _noted(function, operations):
    def noted(*arguments, **keywords):
        operations.add(function.__name__)
        return function(*arguments, **keywords)

    return types.FunctionType(
        noted.__code__, noted.__globals__, function.__name__, noted.__defaults__, noted.__closure__
    )


def kernels():
    """All compiled functions of the cpu backend that Python may start: parallel loops, and those called by address.

    But for two of the convolution's first rung, of which operations call the input gradient alone.
    """
    for found in gc.get_objects():
        if isinstance(found, Dispatcher) and found.py_func.__module__.startswith("minicnn.backends.cpu"):
            options = found.targetoptions
            name = f"{found.py_func.__module__}.{found.py_func.__qualname__}"
            first_rung = name.endswith(("plain._forward", "plain._weight_gradient"))
            if (options.get("parallel") or options.get("no_cpython_wrapper")) and not first_rung:
                yield name, found


if __name__ == "__main__":
    if sys.argv[1] == "play":
        warnings.simplefilter("ignore")
        play(ast.literal_eval(sys.argv[2]))
    else:
        main(*sys.argv[1:])
