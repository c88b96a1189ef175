"""What is measured of batches, and its means over images."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from minicnn.losses import CrossEntropyLoss, Loss, NLLLoss
from minicnn.plain import Array

Metric: TypeAlias = Callable[[Array, Any], float]  # of a batch's outputs (N, K) and its labels

IMAGES = "number of images"  # beside the columns' sums
RESERVED = ("epoch", "lr", "loss", "seconds", IMAGES)


def accuracy(output: Array, labels: Any) -> float:
    """The share of images whose largest output (N, K) is that of their label (N,).

    Raises what NumPy raises of arrays that do not fit.
    """
    return float(np.mean(output.argmax(axis=1) == labels))


def monitored(monitor: str | None, metrics: Iterable[str], validation: bool) -> str:
    """The column to monitor: `monitor` where it is given. Raises ValueError where there will be no such column."""
    columns = ["loss", *metrics]
    if validation:
        columns += [f"val_{column}" for column in columns]
    monitor = monitor or ("val_loss" if validation else "loss")
    if monitor not in columns:
        raise ValueError(f"Trainer.fit: expected monitor to be one of {', '.join(columns)}, got {monitor!r}")
    return monitor


def counted(loss: Loss, output: Array, labels: Any) -> tuple[Array, Any]:
    """(output, labels) of the images that count: those whose label is not the loss's `ignore_index`."""
    if not isinstance(loss, (NLLLoss, CrossEntropyLoss)):
        return output, labels
    counts = np.asarray(labels) != loss.ignore_index
    return (output, labels) if counts.all() else (output[counts], np.asarray(labels)[counts])


def add_batch(sums: dict[str, float], metrics: Mapping[str, Metric], loss: float, output: Array, labels: Any) -> None:
    """Add a batch's loss and metrics to `sums`, weighted by its number of images; of none there is nothing to add."""
    if not len(output):
        return
    values = {"loss": loss} | {
        name: as_float(metric(output, labels), f"Trainer: metric {name}") for name, metric in metrics.items()
    }
    for name, value in values.items():
        sums[name] = sums.get(name, 0.0) + value * len(output)
    sums[IMAGES] = sums.get(IMAGES, 0) + len(output)


def means(sums: Mapping[str, float], what: str) -> dict[str, float]:
    """The mean over images of each column that `add_batch` summed up. Raises ValueError where that was of no batch."""
    if not sums:
        raise ValueError(
            f"{what}: expected at least one batch, got none; a generator gives them only once, and images with the "
            "loss's ignore_index do not count"
        )
    return {name: value / sums[IMAGES] for name, value in sums.items() if name != IMAGES}


def as_float(value: Any, what: str) -> float:
    """A number of any library as a Python float."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    try:
        number = None if isinstance(value, (str, bytes)) else float(value)
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise TypeError(f"{what}: expected a number, got {value!r:.200} of type {type(value).__name__}")
    return number
