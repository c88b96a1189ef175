"""Recording a training run, for the inspector's replay: what each step did to the weights, in a file of bounded size.

    minicnn.Trainer(…, record="run.safetensors")                               the weights
    minicnn.Trainer(…, record=minicnn.Recorder("run.safetensors", image))      and the activations of an image
    minicnn.inspect.load_recording("run.safetensors")                          the `Recording`, arrays to look at

A step turns weights W into W + U. Everything that is noted of it belongs to the W it began with: the loss of its batch,
the gradients G, and the activations of the image; and U is what W really changed by, after minus before, whatever
optimiser, momentum, weight decay and clipping made of G.

THE BOUND. A run may be of any length, and nobody knows it beforehand. So at first every step is kept; once there are
too many, every second one is dropped, and from then on only every second one is kept; then every fourth, and so on:

    room for 4        1 2 3 4 5           one too many
                      1   3   5           every second one goes; the next is step 7
                      1   3   5   7   9   one too many
                      1       5       9   the next is step 13

What is kept is always spread evenly from the first step on, and the file never outgrows its bound. The last step of
the run is added, wherever it falls. This is done twice: the numbers of a step (loss and norms) are few, so that
thousands of steps have room; its arrays are large, so that only samples of them are kept, the same cells each time, and
of fewer steps.
"""

import copy
import json
import math
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from minicnn.backends import reference
from minicnn.checks import as_floats, as_int, refuse_images
from minicnn.inspect.recording import (
    FORMAT,
    NORMS,
    SAMPLES,
    VERSION,
    columns,
    load_recording,
    sampled,
    step_shapes,
)
from minicnn.io.safetensors import as_bytes
from minicnn.layers import Conv2d
from minicnn.network import Sequential
from minicnn.training.checkpoint import require_writable, write_safetensors

MAX_BYTES = 4_000_000
NUMBERS_SHARE = 0.25  # of the file, for the numbers of the steps; the rest is for the arrays
LEAST_STEPS = 3

# Of an array at most so many indices are kept along each axis.
FILTERS = (16, 3, 11, 11)  # the first convolution's weight, to be looked at as pictures
WEIGHTS = {1: (16,), 2: (8, 8), 4: (4, 2, 11, 11)}  # the other parameters, by their number of axes
CHANNELS, VECTOR = 4, 64  # of an activation with maps, and of one without
SIDES, MANY_STEPS = (32, 16, 8, 4), 48  # of a map: the first of them with which many steps have room, or the last


class Recorder:
    """Writes down a training run; made for `Trainer(record=…)`.

    Of a step it keeps the loss, the learning rate, and of each parameter the norms of weight, gradient and true update;
    of some steps also a sample of these arrays (the first convolution's filters, a few cells of the others) and the
    activations of an image. Which steps, and why the file keeps within its bound, stands at the top of this file.

    Recording copies the weights before each step, and passes the image forward where arrays are kept. Training goes to
    the same bits with and without it. `fit` writes the file at the end of each epoch, and where Ctrl-C or an error
    ends the run; a run that `Trainer.load` takes up goes on in the same file.

    Args:
        path: the file, in safetensors form. One that is there already is replaced, or gone on with by `Trainer.load`.
        image: whose activations are shown, (C, H, W): an input of the network without its batch axis.
        max_bytes: the file is never larger.

    Raises:
        TypeError, ValueError: an image that is not of finite numbers, or a `max_bytes` that is no integer above 0; when
            training begins, an image that the network does not take, or a `max_bytes` too small for the network.
        OSError: the file cannot be written there (said at once, not after the first epoch).
    """

    def __init__(self, path, image=None, max_bytes=MAX_BYTES):
        self.path = Path(path)
        self.image = None if image is None else _as_image(image)
        self.max_bytes = as_int(max_bytes, "Recorder: max_bytes", 1)
        require_writable(self.path)
        self._layout = None  # which cells are kept; made when the network is known
        self._numbers = self._arrays = None  # the steps kept
        self._last = None  # the last step, should the run end with it

    def prepare(self, network):
        """Choose what to keep, unless that is done. Raises ValueError where the network cannot be recorded so."""
        if self._layout is None:
            self._layout, self._numbers, self._arrays = self._planned(network)

    @contextmanager
    def watching(self, network, optimizer, epoch, loss):
        """Within, the optimiser makes its step, and is watched."""
        self.prepare(network)
        last = next(reversed(self._numbers.kept), 0)
        if optimizer.steps < last:
            raise ValueError(
                f"Recorder: expected a step after step {last}, got step {optimizer.steps + 1}; make a new Recorder for "
                "each run"
            )
        self._last = None  # should the step be torn by a second Ctrl-C, nothing half is kept
        before = {name: layer.ops.copy(layer.params[key]) for name, layer, key in network.named_params()}
        yield
        self._last = step = _Step(network, before, optimizer.steps, epoch, optimizer.lr, loss)
        if self._numbers.is_due(step.number):
            self._numbers.keep(step.number, step.numbers())
        if self._arrays.is_due(step.number):
            self._arrays.keep(step.number, step.arrays(self._layout))

    def save(self):
        """Write the file, up to the last step; nothing where there was none."""
        if self._layout is None or not self._numbers.kept:
            return
        numbers, arrays = dict(self._numbers.kept), dict(self._arrays.kept)
        if self._last is not None and self._last.number not in numbers:
            numbers[self._last.number] = self._last.numbers()
        if self._last is not None and self._last.number not in arrays:
            arrays[self._last.number] = self._last.arrays(self._layout)
        intervals = self._numbers.interval, self._arrays.interval
        write_safetensors(self.path, *self._layout.file(numbers, arrays, *intervals))

    def resumed(self, network, steps):
        """A Recorder that goes on after step number `steps` with what the file holds up to there, if there is one.

        Raises ValueError where the file is damaged, or of another network, image or bound.
        """
        layout, numbers, arrays = self._planned(network)
        if self.path.exists():
            recording = load_recording(self.path)
            if not layout.fits(recording):
                raise ValueError(
                    f"Recorder: {self.path} was recorded with another network, image or max_bytes; go on with the "
                    "same, or record to another file"
                )
            numbers.interval, arrays.interval = recording.interval, recording.array_interval
            for position, step in enumerate(recording.step.tolist()):
                if step <= steps and numbers.is_due(step):
                    numbers.keep(step, {name: getattr(recording, name)[position] for name in columns(0)})
            for position, step in enumerate(recording.array_step.tolist()):
                if step <= steps and arrays.is_due(step):
                    arrays.keep(step, {name: array[position] for name, array in sampled(recording).items()})
        other = copy.copy(self)
        other._layout, other._numbers, other._arrays, other._last = layout, numbers, arrays, None
        return other

    def _planned(self, network):
        """(layout, numbers, arrays): what to keep of each step, and the two lists with room for as many as fit."""
        image, outputs = None, {}
        if self.image is not None:
            image = self.image.astype(_dtype(network))
            try:
                outputs = _outputs(network, image)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"Recorder: image: expected an input of the network without its batch axis, got shape "
                    f"{image.shape}: {error}"
                ) from error
        for side in SIDES:
            layout = _Layout(network, image, outputs, side)
            room = self.max_bytes - layout.fixed_bytes
            n_numbers = math.floor(room * NUMBERS_SHARE / layout.numbers_bytes)
            n_arrays = math.floor(room * (1 - NUMBERS_SHARE) / layout.arrays_bytes)
            if n_arrays >= MANY_STEPS:
                break
        if min(n_numbers, n_arrays) < LEAST_STEPS:
            least = max(layout.numbers_bytes / NUMBERS_SHARE, layout.arrays_bytes / (1 - NUMBERS_SHARE)) * LEAST_STEPS
            raise ValueError(
                f"Recorder: max_bytes: expected at least {layout.fixed_bytes + math.ceil(least)} for this network, "
                f"got {self.max_bytes}"
            )
        # One place of each is for the last step. A step with arrays has its numbers too, so there are no more of them.
        return layout, _Thinned(n_numbers - 1), _Thinned(min(n_numbers, n_arrays) - 1)


class _Thinned:
    """Items by their steps: every `interval`-th from the first one on, and never more than `most`."""

    def __init__(self, most):
        self.most, self.interval, self.kept = most, 1, {}

    def is_due(self, step):
        return (step - next(iter(self.kept), step)) % self.interval == 0

    def keep(self, step, item):
        self.kept[step] = item
        if len(self.kept) > self.most:
            self.interval *= 2
            self.kept = {step: item for step, item in self.kept.items() if self.is_due(step)}


class _Step:
    """One step of the optimiser: the weights before it, and where the gradients and the weights after it are."""

    def __init__(self, network, before, number, epoch, lr, loss):
        self.network, self.number = network, number
        self.epoch, self.lr, self.loss = epoch, lr, loss
        self._before = before
        # Layers assign their gradients, so these remain this step's; the weights do until the optimiser's next step.
        self._params = [
            (name, layer.ops, layer.params[key], layer.grads[key]) for name, layer, key in network.named_params()
        ]

    def numbers(self):
        """What `Recording` has a row for: epoch, lr, loss, and the three norms of each parameter."""
        norms = [[_norm(array) for array in arrays] for _, *arrays in self._on_host()]
        by_kind = zip(*norms, strict=True) if norms else [()] * len(NORMS)
        return {"epoch": self.epoch, "lr": self.lr, "loss": self.loss, **dict(zip(NORMS, by_kind, strict=True))}

    def arrays(self, layout):
        """What `Recording` has arrays (m, …) of: the cells that `layout` keeps, by "weight/conv1.weight" and so on."""
        kept = {}
        for name, *arrays in self._on_host():
            for kind, array in zip(SAMPLES, arrays, strict=True):
                kept[f"{kind}/{name}"] = layout.cells(f"parameter/{name}", array)
        if layout.image is not None:
            with _weights(self.network, self._before):
                for name, output in _outputs(self.network, layout.image).items():
                    kept[f"activation/{name}"] = layout.cells(f"activation/{name}", output)
        return kept

    def _on_host(self):
        """(name, weight, gradient, update) of each parameter, NumPy arrays."""
        for name, ops, param, grad in self._params:
            before = ops.to_numpy(self._before[name])
            yield name, before, ops.to_numpy(grad), ops.to_numpy(param) - before


class _Layout:
    """Which cells of which arrays are kept, and what that takes in the file.

    Attributes:
        names, shapes, kept, filters: as in `Recording`.
        image: the whole image, of the network's dtype, or None.
        fixed_bytes, numbers_bytes, arrays_bytes: of a file without steps; a step's numbers; a step's arrays.
    """

    def __init__(self, network, image, outputs, side):
        params = {name: layer.params[key] for name, layer, key in network.named_params()}
        convolutions = (name for name, layer in network.named_layers() if isinstance(layer, Conv2d))
        self.names, self.image, self.dtype = list(params), image, _dtype(network)
        self.filters = next((f"{name}.weight" for name in convolutions), None)

        self.shapes, self.kept = {}, {}
        for name, param in params.items():
            most = FILTERS if name == self.filters else WEIGHTS.get(param.ndim, (4,) * param.ndim)
            self._choose(f"parameter/{name}", param.shape, most)
        for name, array in outputs.items():
            most = (VECTOR,) if array.ndim == 1 else (CHANNELS, *[side] * (array.ndim - 1))
            self._choose(f"activation/{name}", array.shape, most)
        if image is not None:
            self._choose("image", image.shape, (CHANNELS, *[side] * (image.ndim - 1)))

        self.numbers_bytes = 8 * (4 + len(NORMS) * len(params))
        values = sum(math.prod(shape) for shape in step_shapes(self.names, self.shapes, self.kept).values())
        self.arrays_bytes = 8 + self.dtype.itemsize * values
        arrays, metadata = self.file({}, {}, 1, 1)
        # The header names each array's shape and place, which have more digits in a file with steps.
        self.fixed_bytes = sum(map(len, as_bytes(arrays, metadata))) + 40 * len(arrays) + 40

    def cells(self, key, array):
        """The cells of `array` that are kept, a new array."""
        axes = zip(array.shape, self.kept[key], strict=True)
        return array[np.ix_(*[range(length) if chosen is None else chosen for length, chosen in axes])]

    def fits(self, recording):
        """Whether steps of this layout may follow those of `recording`."""
        image = None if self.image is None else self.cells("image", self.image)
        return (
            (recording.names, recording.shapes, recording.kept) == (self.names, self.shapes, self.kept)
            and np.array_equal(recording.image, image)
            and all(array.dtype == self.dtype for array in sampled(recording).values())
        )

    def file(self, numbers, arrays, interval, array_interval):
        """(arrays, metadata) of the file, of the numbers and arrays by step."""
        content = {"step": np.array(list(numbers), np.int64), "array_step": np.array(list(arrays), np.int64)}
        for name, width in columns(len(self.names)).items():
            dtype = np.int64 if name == "epoch" else np.float64
            content[name] = np.array([row[name] for row in numbers.values()], dtype).reshape(len(numbers), *width)
        for name, shape in step_shapes(self.names, self.shapes, self.kept).items():
            content[name] = np.array([kept[name] for kept in arrays.values()], self.dtype).reshape(len(arrays), *shape)
        if self.image is not None:
            content["image"] = self.cells("image", self.image)
        description = {
            "names": self.names,
            "shapes": self.shapes,
            "kept": self.kept,
            "filters": self.filters,
            "interval": interval,
            "array_interval": array_interval,
        }
        return content, {"format": f"{FORMAT} {VERSION}", "recording": json.dumps(description)}

    def _choose(self, key, shape, most):
        """Keep of each axis every index, or every second, third, …, until there are no more than `most` of them."""
        self.shapes[key] = tuple(shape)
        self.kept[key] = [
            None if length <= limit else list(range(0, length, -(-length // limit)))
            for length, limit in zip(shape, most, strict=True)
        ]


@contextmanager
def _weights(network, weights):
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


def _outputs(network, image):
    """The output of every layer for one image, in evaluation mode: NumPy arrays without the batch axis, by name."""
    outputs = {}

    def passed(layer, name, x):
        if isinstance(layer, Sequential) and type(layer).predict is Sequential.predict:
            for child_name, child in layer.children.items():
                x = passed(child, f"{name}.{child_name}" if name else child_name, x)
            return x
        y = layer.predict(x)
        outputs[name or type(layer).__name__] = layer.ops.to_numpy(y)[0]
        return y

    passed(network, "", network.ops.asarray(image[None]))
    return outputs


def _dtype(network):
    return next((np.dtype(layer.params[key].dtype) for _, layer, key in network.named_params()), np.dtype(np.float32))


def _norm(array):
    """The root of the sum of squares, added up in float64."""
    return math.sqrt(np.sum(np.square(array, dtype=np.float64)))


def _as_image(image):
    image = as_floats(reference, image, "Recorder: image")
    refuse_images(image, "Recorder: image")
    if not np.isfinite(image).all():
        raise ValueError("Recorder: image: expected finite numbers, got NaN or infinity")
    return image.copy()
