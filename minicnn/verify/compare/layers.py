"""A minicnn network: one training step, layer by layer; and parts of it on the numbers of another trace."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicnn import layers as library
from minicnn.backends.protocol import Operations
from minicnn.checks import DTYPES
from minicnn.layers import Layer
from minicnn.network import Sequential
from minicnn.optim import Optimizer
from minicnn.plain import Array
from minicnn.verify.compare.pairing import Ends, Segment
from minicnn.verify.compare.settings import settings_of
from minicnn.verify.compare.setup import ClassificationLoss, Setup
from minicnn.verify.compare.trace import Failure, LayerCall, MaybeArray, Trace
from minicnn.verify.isolate import flattened

KINDS: dict[str, type[Layer]] = {
    name: getattr(library, name) for name in library.__all__ if getattr(library, name) is not Layer
}


@dataclass
class Place:
    """Where a parameter or statistic is kept: under `key` in the dict `arrays` of a layer."""

    layer: Layer
    arrays: dict[str, Array]
    key: str

    @property
    def is_param(self) -> bool:
        return self.arrays is self.layer.params

    def read(self) -> Array:
        return np.array(self.layer.ops.to_numpy(self.arrays[self.key]))

    def write(self, array: Array) -> None:
        new = np.array(array, self.arrays[self.key].dtype)
        self.arrays[self.key] = self.layer.ops.asarray(new) if new.dtype in DTYPES else new


def places(network: Sequential) -> dict[str, Place]:
    """{"conv1.weight": Place} of all parameters and statistics, named as in `state_dict`.

    Seed and step of a dropout are neither; they are in its text.
    """
    return {
        f"{name}.{key}": Place(layer, arrays, key)
        for name, layer in network.named_layers()
        for arrays in _arrays(layer)
        for key in arrays
    }


def calls_of(network: Sequential) -> tuple[list[LayerCall], list[Layer]]:
    """(calls that were not made yet, their layers), in forward order."""
    names = {id(layer): name for name, layer in network.named_layers()}
    calls: list[LayerCall] = []
    layers: list[Layer] = []
    for name, layer in flattened(network):
        inner = list(layer.named_layers()) if isinstance(layer, Sequential) else [("", layer)]
        owns = {
            f"{short}.{key}".lstrip("."): f"{names[id(part)]}.{key}"
            for short, part in inner
            for arrays in _arrays(part)
            for key in arrays
        }
        kind = next((kind for kind, cls in KINDS.items() if isinstance(layer, cls)), type(layer).__name__)
        is_network = isinstance(layer, Sequential)
        text = type(layer).__name__ if is_network else _text(layer)
        settings = settings_of(layer, kind, "bias" in layer.params)
        calls.append(LayerCall(name, kind, kind not in KINDS and not is_network, text, owns, settings=settings))
        layers.append(layer)
    return calls, layers


def _arrays(layer: Layer) -> tuple[dict[str, Array], ...]:
    return (layer.params,) if isinstance(layer, library.Dropout) else (layer.params, layer.state)


# Settings of layers that change the numbers and that a repr leaves out where they are the usual ones.
LEFT_OUT = ("groups", "dilation", "ceil_mode", "count_include_pad")


def _text(layer: Layer) -> str:
    """A layer's repr, and with it the settings that it leaves out."""
    text = repr(layer)
    left_out = [f"{name}={getattr(layer, name)}" for name in LEFT_OUT if hasattr(layer, name)]
    if isinstance(layer, library.BatchNorm2d):
        left_out.append("training mode" if layer.training else "evaluation mode")
    if isinstance(layer, library.Dropout):
        left_out.append(f"step {layer.state['step']}" if layer.training else "evaluation mode")
    shown = [setting for setting in left_out if setting not in text]
    return f"{text} [{', '.join(shown)}]" if shown else text


def traced(network: Sequential, setup: Setup, loss: ClassificationLoss, optimizer: Optimizer) -> Trace:
    """The `Trace` of one training step of `network`, which is changed by it.

    Where a layer, the loss or the optimiser raises, the trace has what came before, and a `failure`.
    """
    calls, layers = calls_of(network)
    trace = Trace("minicnn", setup, calls, {name: place.read() for name, place in places(network).items()})
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        _forward(trace, network, layers)
        if trace.failure is None:
            _loss(trace, network, loss)
        if trace.failure is None:
            _backward(trace, network, layers)
        if trace.failure is None:
            _optimizer_step(trace, network, optimizer)
    return trace


def _forward(trace: Trace, network: Sequential, layers: list[Layer]) -> None:
    below = network.ops.asarray(trace.setup.x.copy())
    statistics = {name: place for name, place in places(network).items() if not place.is_param}
    for number, (call, layer) in enumerate(zip(trace.calls, layers, strict=True)):
        try:
            call.x = as_array(layer.ops, below)
            below = layer.forward(below)
            call.y = as_array(layer.ops, below)
        except Exception as error:
            trace.failure = Failure("forward", number, error)
            return
        trace.statistics |= {name: statistics[name].read() for name in call.owns.values() if name in statistics}
    trace.output = call.y


def _loss(trace: Trace, network: Sequential, loss: ClassificationLoss) -> None:
    loss.ops = network.ops
    try:
        trace.loss = float(loss.forward(network.ops.asarray(trace.output.copy()), trace.setup.labels))
        trace.d_output = as_array(network.ops, loss.backward())
    except Exception as error:
        trace.failure = Failure("loss", "loss", error)


def _backward(trace: Trace, network: Sequential, layers: list[Layer]) -> None:
    above = network.ops.asarray(trace.d_output.copy())
    for number in reversed(range(len(layers))):
        call, layer = trace.calls[number], layers[number]
        try:
            call.dy = as_array(layer.ops, above)
            above = layer.backward(above)
            trace.grads |= gradients(network, call.owns.values())
            call.dx = as_array(layer.ops, above)
        except Exception as error:
            trace.failure = Failure("backward", number, error)
            return
    trace.dx = call.dx


def _optimizer_step(trace: Trace, network: Sequential, optimizer: Optimizer) -> None:
    params = {name: place for name, place in places(network).items() if place.is_param}
    if any(name not in trace.grads or trace.grads[name].shape != trace.before[name].shape for name in params):
        return  # the gradients themselves are what differs
    try:
        optimizer.step()
        trace.after = {name: place.read() for name, place in params.items()}
    except Exception as error:
        trace.failure = Failure("optimizer", "optimizer", error)


def gradients(network: Sequential, names: Iterable[str]) -> dict[str, Array]:
    """The gradients that there are of the parameters of these names."""
    found = {name: place for name, place in places(network).items() if name in set(names) and place.is_param}
    return {
        name: np.array(place.layer.ops.to_numpy(place.layer.grads[place.key]))
        for name, place in found.items()
        if place.key in place.layer.grads
    }


def as_array(ops: Operations, array: Any) -> Array:
    """What a layer gave, as a NumPy array of our own. Raises TypeError where it is not one of floats."""
    if not hasattr(array, "dtype") or not hasattr(array, "shape") or array.dtype not in DTYPES:
        raise TypeError(f"expected an array of float32 or float64, got {getattr(array, 'dtype', type(array).__name__)}")
    return np.array(ops.to_numpy(array))


# On the numbers of another trace


@dataclass
class Alone:
    """What a segment of layers computes from the numbers of another trace; what is missing failed.

    fits: whether the other's parameters have the shapes of these; nothing was computed where they have not.
    """

    fits: bool = True
    y: MaybeArray = None
    dx: MaybeArray = None
    statistics: dict[str, Array] = field(default_factory=dict)
    grads: dict[str, Array] = field(default_factory=dict)


class Replay:
    """Runs parts of a network on the numbers of another trace: each as if all before it had been the other's.

    network: a copy of its own, in the mode of the setup, which is changed. arrays: {full name here: full name there}.
    """

    def __init__(
        self,
        network: Sequential,
        loss: ClassificationLoss,
        optimizer: Callable[[Sequential], Optimizer],
        arrays: dict[str, str],
        there: Trace,
    ) -> None:
        self.network, self.layers = network, calls_of(network)[1]
        self.loss_object, self.optimizer, self.arrays, self.there = loss, optimizer, arrays, there
        self.segments: dict[range, Alone] = {}
        self.after: dict[str, Array] | None = None

    def segment(self, segment: Segment, ends: Ends) -> Alone:
        """`Alone` of the layers of a `Segment`, on the other's `Ends` of it."""
        if segment.here not in self.segments:
            alone = self.segments[segment.here] = Alone(fits=load(self.network, segment.arrays, self.there.before))
            if alone.fits:
                layers = [self.layers[i] for i in segment.here]
                self._run(alone, layers, set(segment.arrays), ends.x, ends.dy)
        return self.segments[segment.here]

    def _run(self, alone: Alone, layers: list[Layer], owned: set[str], x: Array, dy: Array | None) -> None:
        ops = self.network.ops
        try:
            y = ops.asarray(x.copy())
            for layer in layers:
                y = layer.forward(y)
            alone.y = as_array(ops, y)
            kept = {name: place for name, place in places(self.network).items() if name in owned and not place.is_param}
            alone.statistics = {name: place.read() for name, place in kept.items()}
            if dy is not None and dy.shape == alone.y.shape:
                dx = ops.asarray(dy.copy())
                for layer in reversed(layers):
                    dx = layer.backward(dx)
                alone.grads = gradients(self.network, owned)
                alone.dx = as_array(ops, dx)
        except Exception:
            return  # what is missing tells it

    def loss(self) -> tuple[MaybeArray, MaybeArray]:
        """(loss, its gradient) of the other's output; None where it fails."""
        self.loss_object.ops, ops = self.network.ops, self.network.ops
        try:
            value = self.loss_object.forward(ops.asarray(self.there.output.copy()), self.there.setup.labels)
            return np.array(float(value)), as_array(ops, self.loss_object.backward())
        except Exception:
            return None, None

    def step(self) -> dict[str, Array] | None:
        """The parameters after a step from the other's parameters with the other's gradients, by full name; those that
        do not fit are left out. None where it fails."""
        if self.after is None:
            fitting = {a: b for a, b in self.arrays.items() if load(self.network, {a: b}, self.there.before)}
            gradients = {a: self.there.grads[b] for a, b in fitting.items() if b in self.there.grads}
            params = {name: place for name, place in places(self.network).items() if place.is_param}
            for name, place in params.items():
                gradient = gradients.get(name, np.zeros_like(place.read()))
                place.layer.grads[place.key] = place.layer.ops.asarray(gradient.copy())
            try:
                self.optimizer(self.network).step()
            except Exception:
                return None
            self.after = {name: params[name].read() for name in fitting if name in params}
        return self.after


def load(network: Sequential, arrays: Mapping[str, str], values: Mapping[str, Array]) -> bool:
    """Write values[there] to the parameters and statistics `arrays`, {full name here: there}; False, and nothing is
    written, where a shape does not fit."""
    targets = places(network)
    if any(targets[here].read().shape != values[there].shape for here, there in arrays.items()):
        return False
    for here, there in arrays.items():
        targets[here].write(values[there])
    return True
