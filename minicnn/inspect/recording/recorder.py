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
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicnn.backends import reference
from minicnn.checks import as_floats, as_int, refuse_images
from minicnn.inspect.recording.activations import activations
from minicnn.inspect.recording.file import columns, load_recording, sampled
from minicnn.inspect.recording.kept_cells import KeptCells, dtype_of
from minicnn.inspect.recording.thinning import Thinned
from minicnn.inspect.recording.training_step import TrainingStep
from minicnn.io.files import require_writable
from minicnn.io.safetensors import write_safetensors
from minicnn.network import Sequential
from minicnn.optim import Optimizer
from minicnn.plain import Array

MAX_BYTES = 4_000_000
NUMBERS_SHARE = 0.25  # of the file, for the numbers of the steps; the rest is for the arrays
LEAST_STEPS = 3
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

    def __init__(self, path: str | Path, image: Array | None = None, max_bytes: int = MAX_BYTES) -> None:
        self.path = Path(path)
        self.image = None if image is None else _as_image(image)
        self.max_bytes = as_int(max_bytes, "Recorder: max_bytes", 1)
        require_writable(self.path)
        self._kept: _KeptSteps | None = None  # made when the network is known
        self._last: TrainingStep | None = None  # the last step, should the run end with it

    def prepare(self, network: Sequential) -> None:
        """Choose what to keep, unless that is done. Raises ValueError where the network cannot be recorded so."""
        self._kept_of(network)

    @contextmanager
    def watching(self, network: Sequential, optimizer: Optimizer, epoch: int, loss: float) -> Iterator[None]:
        """Within, the optimiser makes its step, and is watched. Raises ValueError for a step before the last one."""
        cells, numbers, arrays = self._kept_of(network)
        last = next(reversed(numbers.kept), 0)
        if optimizer.steps < last:
            raise ValueError(
                f"Recorder: expected a step after step {last}, got step {optimizer.steps + 1}; make a new Recorder for "
                "each run"
            )
        self._last = None  # should the step be torn by a second Ctrl-C, nothing half is kept
        before = {name: layer.ops.copy(layer.params[key]) for name, layer, key in network.named_params()}
        yield
        self._last = step = TrainingStep(network, before, optimizer.steps, epoch, optimizer.lr, loss)
        if numbers.is_due(step.number):
            numbers.keep(step.number, step.numbers())
        if arrays.is_due(step.number):
            arrays.keep(step.number, step.arrays(cells))

    def save(self) -> None:
        """Write the file, up to the last step; nothing where there was none."""
        if self._kept is None or not self._kept.numbers.kept:
            return
        cells = self._kept.cells
        numbers, arrays = dict(self._kept.numbers.kept), dict(self._kept.arrays.kept)
        if self._last is not None and self._last.number not in numbers:
            numbers[self._last.number] = self._last.numbers()
        if self._last is not None and self._last.number not in arrays:
            arrays[self._last.number] = self._last.arrays(cells)
        intervals = self._kept.numbers.interval, self._kept.arrays.interval
        write_safetensors(self.path, *cells.file(numbers, arrays, *intervals))

    def resumed(self, network: Sequential, steps: int) -> "Recorder":
        """A Recorder that goes on after step number `steps` with what the file holds up to there, if there is one.

        Raises ValueError where the file is damaged, or of another network, image or bound.
        """
        cells, numbers, arrays = kept = self._nothing_of(network)
        if self.path.exists():
            recording = load_recording(self.path)
            if not cells.fits(recording):
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
        other._kept, other._last = kept, None
        return other

    def _kept_of(self, network: Sequential) -> "_KeptSteps":
        if self._kept is None:
            self._kept = self._nothing_of(network)
        return self._kept

    def _nothing_of(self, network: Sequential) -> "_KeptSteps":
        """What to keep of each step, without a step yet, and with room for as many as fit."""
        image, outputs = None, {}
        if self.image is not None:
            image = self.image.astype(dtype_of(network))
            try:
                outputs = activations(network, image)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"Recorder: image: expected an input of the network without its batch axis, got shape "
                    f"{image.shape}: {error}"
                ) from error
        for side in SIDES:
            cells = KeptCells(network, image, outputs, side)
            room = self.max_bytes - cells.fixed_bytes
            n_numbers = math.floor(room * NUMBERS_SHARE / cells.numbers_bytes)
            n_arrays = math.floor(room * (1 - NUMBERS_SHARE) / cells.arrays_bytes)
            if n_arrays >= MANY_STEPS:
                break
        if min(n_numbers, n_arrays) < LEAST_STEPS:
            least = max(cells.numbers_bytes / NUMBERS_SHARE, cells.arrays_bytes / (1 - NUMBERS_SHARE)) * LEAST_STEPS
            raise ValueError(
                f"Recorder: max_bytes: expected at least {cells.fixed_bytes + math.ceil(least)} for this network, "
                f"got {self.max_bytes}"
            )
        # One place of each is for the last step. A step with arrays has its numbers too, so there are no more of them.
        return _KeptSteps(cells, Thinned(n_numbers - 1), Thinned(min(n_numbers, n_arrays) - 1))


class _KeptSteps(NamedTuple):
    """Which cells are kept of the arrays, and of the steps kept their numbers and their arrays."""

    cells: KeptCells
    numbers: Thinned[dict[str, Any]]
    arrays: Thinned[dict[str, Array]]


def _as_image(image: Array) -> Array:
    image = as_floats(reference, image, "Recorder: image")
    refuse_images(image, "Recorder: image")
    if not np.isfinite(image).all():
        raise ValueError("Recorder: image: expected finite numbers, got NaN or infinity")
    return image.copy()
