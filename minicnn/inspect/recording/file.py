"""A recorded run: what its file holds, and how it is read. `recorder.py` writes it.

The file is in safetensors form. Its arrays have the names of `Recording`'s, those of parameters and layers with their
name behind, "weight/conv1.weight" or "activation/relu1"; what `Recording` has besides is JSON in the metadata.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minicnn.checks import as_int
from minicnn.io.recordings import RecordingForm
from minicnn.plain import Array

FORM = RecordingForm("minicnn recording", 1, key="recording", writer="Trainer(record=…)")
NORMS = ("weight_norm", "gradient_norm", "update_norm")
SAMPLES = ("weight", "gradient", "update")

Shapes: TypeAlias = dict[str, tuple[int, ...]]
Cells: TypeAlias = dict[str, list[list[int] | None]]  # for each axis the indices kept, or None for all


class Recording(NamedTuple):
    """A recorded run: n steps with their numbers, and m of these, `array_step`, with arrays; P parameters.

    step, epoch, lr, loss: (n,); steps and epochs count from 1, the loss is that of the step's batch.
    names: of the P parameters, in forward order.
    weight_norm, gradient_norm, update_norm: (n, P), each the root of the sum of squares of the whole array. The
        gradient is the one the optimiser was given, after clipping.
    array_step: (m,).
    weight, gradient, update: dicts with an array (m, …) for each parameter, the cells that were kept of it.
    activation: dict with an array (m, …) for each layer, its output for the image in evaluation mode; empty where no
        image was chosen.
    image: the image's pixels that were kept, or None.
    shapes: the whole shapes, by "parameter/" or "activation/" and the name, and by "image".
    kept: by the same keys, for each axis the indices kept, or None for all.
    filters: the name of the first convolution's weight, or None where there is no convolution.
    interval, array_interval: how many steps from one of `step`, or of `array_step`, to the next; the last may be
        nearer.
    """

    step: Array
    epoch: Array
    lr: Array
    loss: Array
    names: list[str]
    weight_norm: Array
    gradient_norm: Array
    update_norm: Array
    array_step: Array
    weight: dict[str, Array]
    gradient: dict[str, Array]
    update: dict[str, Array]
    activation: dict[str, Array]
    image: Array | None
    shapes: Shapes
    kept: Cells
    filters: str | None
    interval: int
    array_interval: int

    @property
    def update_ratio(self) -> Array:
        """(n, P), update_norm / weight_norm: how much of a parameter one step changes; NaN where its norm is 0."""
        return self.update_norm / np.where(self.weight_norm > 0, self.weight_norm, np.nan)


def load_recording(path: str | Path) -> Recording:
    """The `Recording` that a `Recorder` wrote.

    Raises FileNotFoundError; ValueError where the file is damaged, is something else, or comes from a newer version.
    """
    return FORM.read(path, _as_recording)


def sampled(recording: Recording) -> dict[str, Array]:
    """The recording's arrays (m, …) by the names they have in the file."""
    of_params = {f"{kind}/{name}": getattr(recording, kind)[name] for kind in SAMPLES for name in recording.names}
    return of_params | {f"activation/{name}": array for name, array in recording.activation.items()}


def columns(n_params: int) -> dict[str, tuple[int, ...]]:
    """The shapes of a step's numbers, by name."""
    return {"epoch": (), "lr": (), "loss": ()} | dict.fromkeys(NORMS, (n_params,))


def step_shapes(names: Sequence[str], shapes: Shapes, kept: Cells) -> Shapes:
    """The shapes of a step's arrays, by "weight/conv1.weight", "activation/relu1" and so on."""
    of_params = {f"{kind}/{name}": kept_shape(shapes, kept, f"parameter/{name}") for kind in SAMPLES for name in names}
    return of_params | {key: kept_shape(shapes, kept, key) for key in shapes if key.startswith("activation/")}


def kept_shape(shapes: Shapes, kept: Cells, key: str) -> tuple[int, ...]:
    axes = zip(shapes[key], kept[key], strict=True)
    return tuple(length if chosen is None else len(chosen) for length, chosen in axes)


def _require_cells(key: str, shape: Sequence[Any], kept: Sequence[Any]) -> None:
    """Raise ValueError unless `kept` are, for each axis of a shape, None or some of its indices in ascending order."""
    for length, chosen in zip(shape, kept, strict=True):
        length = as_int(length, key, 1)
        if chosen is not None and not (
            chosen
            and all(type(index) is int and 0 <= index < length for index in chosen)
            and sorted(set(chosen)) == chosen
        ):
            raise ValueError(f"{key}: expected some of {length} indices in ascending order, got {chosen}")


def _as_recording(arrays: dict[str, Array], description: dict[str, Any]) -> Recording:
    """The `Recording` in a file's arrays and description. Raises where they do not belong together."""
    names, kept = description["names"], description["kept"]
    if not all(isinstance(name, str) for name in names) or len(names) != len(set(names)):
        raise ValueError("names: expected different texts")
    shapes = {key: tuple(shape) for key, shape in description["shapes"].items()}
    for key, shape in shapes.items():
        _require_cells(key, shape, kept[key])
    filters = description["filters"]
    if filters is not None and filters not in names:
        raise ValueError(f"filters: expected one of the names, got {filters}")
    n, m = len(arrays["step"]), len(arrays["array_step"])
    expected: Shapes = {"step": (n,), "array_step": (m,)}
    expected |= {name: (n, *width) for name, width in columns(len(names)).items()}
    expected |= {name: (m, *shape) for name, shape in step_shapes(names, shapes, kept).items()}
    if "image" in shapes:
        expected["image"] = kept_shape(shapes, kept, "image")
    found = {name: array.shape for name, array in arrays.items()}
    if found != expected:
        name = min(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise ValueError(f"{name}: expected shape {expected.get(name)}, got {found.get(name)}")
    floats = {name for name in found if name not in ("step", "array_step", "epoch")}
    wrong = [name for name, array in arrays.items() if array.dtype.kind != ("f" if name in floats else "i")]
    if wrong:
        raise ValueError(
            f"{wrong[0]}: expected {'floats' if wrong[0] in floats else 'integers'}, got {arrays[wrong[0]].dtype}"
        )
    step, array_step = arrays["step"], arrays["array_step"]
    if not (m and (np.diff(step) > 0).all() and np.isin(array_step, step).all() and (np.diff(array_step) > 0).all()):
        raise ValueError("expected steps in ascending order, and those with arrays among them")
    samples = {kind: {name: arrays[f"{kind}/{name}"] for name in names} for kind in SAMPLES}
    activations = [key.removeprefix("activation/") for key in shapes if key.startswith("activation/")]
    return Recording(
        step=step,
        epoch=arrays["epoch"],
        lr=arrays["lr"],
        loss=arrays["loss"],
        names=names,
        weight_norm=arrays["weight_norm"],
        gradient_norm=arrays["gradient_norm"],
        update_norm=arrays["update_norm"],
        array_step=array_step,
        weight=samples["weight"],
        gradient=samples["gradient"],
        update=samples["update"],
        activation={name: arrays[f"activation/{name}"] for name in activations},
        image=arrays.get("image"),
        shapes=shapes,
        kept=kept,
        filters=filters,
        interval=as_int(description["interval"], "interval", 1),
        array_interval=as_int(description["array_interval"], "array_interval", 1),
    )
