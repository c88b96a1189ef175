"""What a Trainer may be given: every argument is checked before anything is made of it."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minicnn.checks import as_int
from minicnn.io.files import require_writable
from minicnn.network import Sequential
from minicnn.optim import Optimizer
from minicnn.schedules import Schedule
from minicnn.training.metrics import RESERVED, Metric, as_float


def require_settings(
    schedule_every: str,
    max_grad_norm: float | None,
    metrics: Mapping[str, Metric] | None,
    patience: int | None,
    checkpoint: str | Path | None,
) -> None:
    """Raise TypeError or ValueError for a wrong setting, OSError for a checkpoint that cannot be written."""
    if schedule_every not in ("epoch", "batch"):
        raise ValueError(f'Trainer: expected schedule_every "epoch" or "batch", got {schedule_every!r}')
    if max_grad_norm is not None and not as_float(max_grad_norm, "Trainer: max_grad_norm") > 0:
        raise ValueError(f"Trainer: expected max_grad_norm above 0, got {max_grad_norm}")
    if patience is not None and as_int(patience, "Trainer: patience", -math.inf) < 1:
        raise ValueError(f"Trainer: expected patience of at least 1 epoch, got {patience}")
    if checkpoint is not None:
        require_writable(checkpoint)
    for name, metric in dict(metrics or {}).items():
        if not (isinstance(name, str) and callable(metric)):
            raise TypeError(f"Trainer: expected functions by name as metrics, got {metric!r} as {name!r}")
    reserved = [name for name in metrics or () if name in RESERVED or name.startswith("val_")]
    if reserved:
        raise ValueError(f"Trainer: expected names of metrics that no other column has, got {', '.join(reserved)}")


def require_one_network(
    network: Sequential, optimizer: Optimizer, schedule: Schedule | None, schedule_every: str
) -> None:
    """Raise ValueError for another network's optimiser, another optimiser's schedule, or one that moves otherwise."""
    its_layers = {id(layer) for _, layer in network.named_layers()}
    if not its_layers.issuperset(id(layer) for _, layer, _ in optimizer.network.named_params()):
        raise ValueError("Trainer: expected an optimiser of this network or of layers of it, got another network's")
    if schedule is not None and getattr(schedule, "optimizer", optimizer) is not optimizer:
        raise ValueError("Trainer: expected a schedule of this optimiser, got another optimiser's")
    if schedule_every == "batch" and getattr(schedule, "asks_for_value", False):
        raise ValueError(
            f'Trainer: expected schedule_every "epoch" with {type(schedule).__name__}, whose values come after '
            'epochs, got "batch"'
        )


def require_mode(schedule: Schedule | None, monitor: str) -> None:
    """Raise ValueError where a schedule takes the worst values of the column `monitor` for the best."""
    mode, expected = getattr(schedule, "mode", None), "min" if monitor.endswith("loss") else "max"
    if mode is not None and mode != expected:
        raise ValueError(
            f"Trainer.fit: expected a {type(schedule).__name__} of mode {expected!r} for the column {monitor}, "
            f"got {mode!r}"
        )


def as_read_back(settings: dict[str, Any] | None) -> dict[str, Any] | None:
    """`settings` as a checkpoint gives them back. Raises TypeError where JSON cannot hold them."""
    try:
        return None if settings is None else json.loads(json.dumps(settings))
    except (TypeError, ValueError) as error:
        raise TypeError(f"Trainer: expected settings that JSON can hold, got others: {error}") from error


def as_recorder(record: Any) -> Any:
    """What `Trainer(record=…)` was given, a path or a `Recorder`, as a `Recorder`; None where nothing is recorded."""
    from minicnn.inspect import Recorder  # here, since the inspector stands above the trainer

    return record if record is None or isinstance(record, Recorder) else Recorder(record)
