"""A training run as a checkpoint: written, and checked before it is gone on with.

What is read from a file may be anything, so every entry is checked, and nothing is changed before all of them are.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from minicnn.checks import as_count, require_entries
from minicnn.network import Sequential
from minicnn.optim import Optimizer
from minicnn.plain import Array
from minicnn.schedules import Schedule
from minicnn.training.callbacks import Callback, with_state
from minicnn.training.checkpoint import load_run, require_state, save_run
from minicnn.training.finite import not_finite
from minicnn.training.metrics import IMAGES, Metric
from minicnn.training.run_state import History, RunState


class SavedRun(NamedTuple):
    """What a checkpoint holds: the arrays of network, optimiser, best epoch and callbacks by name, and the numbers."""

    network: dict[str, Array]
    optimizer: dict[str, Array]
    best_weights: dict[str, Array]
    callbacks: list[dict[str, Array]]
    numbers: dict[str, Any]

    def state(self, monitor: str | None) -> RunState:
        """How far the run had come. `monitor` is what the trainer was told to watch, which older files do not say."""
        numbers = self.numbers
        default = "val_loss" if numbers["history"] and "val_loss" in numbers["history"][-1] else "loss"
        names = ("lr", "epoch", "history", "sums", "seconds", "best")
        state = RunState(**{name: numbers[name] for name in names}, best_weights=self.best_weights)
        state.history = History(state.history)
        state.monitor = numbers.get("monitor", monitor or default)
        return state

    def restore(
        self,
        network: Sequential,
        optimizer: Optimizer,
        schedule: Schedule | None,
        train: Any,
        callbacks: Sequence[Callback],
    ) -> None:
        """Give them the states that were saved. Raises ValueError where schedule or batches refuse theirs."""
        # Schedule and batches check their states themselves; should the second refuse, the first is put back.
        schedule_before = schedule and schedule.state_dict()
        settings_before = {name: getattr(optimizer, name) for name in optimizer.settings}
        try:
            if schedule is not None:
                schedule.load_state_dict(self.numbers["schedule"])
            if self.numbers["batches"] is not None and hasattr(train, "load_state_dict"):
                train.load_state_dict(self.numbers["batches"])
        except Exception:
            if schedule is not None:
                schedule.load_state_dict(schedule_before)
            for name, value in settings_before.items():
                setattr(optimizer, name, value)
            raise
        network.load_state_dict(self.network)
        optimizer.load_state_dict(self.optimizer, self.numbers["optimizer"])  # last: the schedule has set its lr
        states = zip(self.callbacks, self.numbers.get("callbacks", []), strict=True)
        for callback, (arrays, numbers) in zip(with_state(callbacks), states, strict=False):  # of another process none
            callback.load_state_dict(arrays, numbers)


def write(
    path: str | Path,
    state: RunState,
    network: Sequential,
    optimizer: Optimizer,
    schedule: Schedule | None,
    train: Any,
    settings: dict[str, Any] | None,
    callbacks: Sequence[Callback],
) -> None:
    """Write a run to a file. Raises RuntimeError where the network has numbers that are not finite."""
    wrong = not_finite(network)
    if wrong:
        raise RuntimeError(
            f"Trainer.save: expected finite numbers, got infinity or NaN in {', '.join(wrong)}; nothing was "
            "written, since such a run cannot go on"
        )
    arrays = {f"network/{name}": array for name, array in network.state_dict().items()}
    arrays |= {f"best/{name}": array for name, array in state.best_weights.items()}
    optimizer_arrays, optimizer_numbers = optimizer.state_dict()
    arrays |= {f"optimizer/{name}": array for name, array in optimizer_arrays.items()}
    callback_numbers = []
    for position, callback in enumerate(with_state(callbacks)):
        callback_arrays, numbers = callback.state_dict()
        arrays |= {f"callback {position}/{name}": array for name, array in callback_arrays.items()}
        callback_numbers.append({"class": type(callback).__name__, **numbers})
    run = {
        "epoch": state.epoch,
        "history": state.history,
        "sums": state.sums,
        "seconds": state.seconds,
        "lr": state.lr,
        "best": state.best,
        "monitor": state.monitor,
        "optimizer": optimizer_numbers,
        "schedule": None if schedule is None else schedule.state_dict(),
        "batches": train.state_dict() if hasattr(train, "state_dict") else None,
        "settings": settings,
        "callbacks": callback_numbers,
    }
    save_run(path, arrays, run)


def read(
    path: str | Path,
    network: Sequential,
    optimizer: Optimizer,
    schedule: Schedule | None,
    metrics: Mapping[str, Metric],
    settings: dict[str, Any] | None,
    callbacks: Sequence[Callback] | None,
) -> SavedRun:
    """The run in a file, all that can be checked of it checked. Raises FileNotFoundError or ValueError.

    Where callbacks are None they are another process's.
    """
    arrays, run = load_run(path)
    if settings is not None:
        _require_same_settings(path, run.get("settings"), settings)
    what = f"Trainer.load: {path}"
    _require_run(run, schedule, metrics, what)
    of_callbacks = [_under(f"callback {position}/", arrays) for position in range(len(run.get("callbacks", [])))]
    parts = _under("network/", arrays), _under("optimizer/", arrays), _under("best/", arrays), of_callbacks
    saved = SavedRun(*parts, run)
    require_state(network, saved.network, f"{what}: network")
    if saved.best_weights:
        require_state(network, saved.best_weights, f"{what}: weights of the best epoch")
    optimizer.checked_state(saved.optimizer, run["optimizer"])
    if callbacks is not None:
        _require_callbacks(saved, callbacks, what)
    return saved


def _require_run(run: dict[str, Any], schedule: Schedule | None, metrics: Mapping[str, Metric], what: str) -> None:
    """Raise ValueError where the numbers of a checkpoint are not those of such a run."""
    names = ("epoch", "history", "sums", "seconds", "lr", "best", "optimizer", "schedule", "batches")
    require_entries(run, names, what)
    if (run["schedule"] is None) != (schedule is None):
        raise ValueError(f"{what} was saved {'without' if schedule else 'with'} a schedule")
    as_count(run["epoch"], f"{what}: epoch")
    for name in ("seconds", "lr"):
        _require_number(run[name], f"{what}: {name}", least=0)
    _require_best(run["best"], run["epoch"], f"{what}: best")
    if not isinstance(run.get("monitor"), (str, type(None))):
        raise ValueError(f"{what}: monitor: expected the name of a column, got {run['monitor']!r:.200}")
    _require_history(run["history"], metrics, f"{what}: history")
    if run["sums"] != {}:
        require_entries(run["sums"], ("loss", *metrics, IMAGES), f"{what}: sums")
        if len(run["sums"]) > len(metrics) + 2:
            raise ValueError(f"{what}: sums: expected no others than these, got {', '.join(run['sums'])}")
        for name in ("loss", *metrics):
            _require_number(run["sums"][name], f"{what}: sum of {name}")
        _require_number(as_count(run["sums"][IMAGES], f"{what}: {IMAGES}"), f"{what}: {IMAGES}", least=1)
    if not isinstance(run.get("callbacks", []), list):
        raise ValueError(f"{what}: callbacks: expected a list, got {run['callbacks']!r:.200}")


def _require_callbacks(saved: SavedRun, callbacks: Sequence[Callback], what: str) -> None:
    """Raise ValueError where the callbacks that have a state are not those of the run, or refuse theirs."""
    mine, numbers = with_state(callbacks), saved.numbers.get("callbacks", [])
    names = [type(callback).__name__ for callback in mine]
    theirs = [entry.get("class") if isinstance(entry, dict) else entry for entry in numbers]
    if names != theirs:
        raise ValueError(
            f"{what}: expected the callbacks {theirs!s:.200} that it was saved with, got {names}; one that begins now "
            "is added after load, with trainer.callbacks.append(...)"
        )
    for callback, arrays, entry in zip(mine, saved.callbacks, numbers, strict=True):
        callback.checked_state(arrays, entry)


def _require_number(value: object, what: str, least: float | None = None) -> None:
    """Raise ValueError where `value`, read from a file, is no number; with `least` it must be finite and not below."""
    try:
        number = None if isinstance(value, bool) or not isinstance(value, (int, float)) else float(value)
    except OverflowError:  # an integer of more than 308 digits
        number = None
    if number is None or (least is not None and not least <= number < math.inf):
        raise ValueError(
            f"{what}: expected a number{'' if least is None else f' of at least {least}'}, got {value!r:.200}"
        )


def _require_best(best: Any, epoch: int, what: str) -> None:
    require_entries(best, ("value", "epoch"), what)
    as_count(best["epoch"], f"{what}: epoch", epoch)
    if best["value"] is not None:
        _require_number(best["value"], f"{what}: value")


def _require_history(history: object, metrics: Mapping[str, Metric], what: str) -> None:
    """Raise ValueError where it is no list of rows with numbers in our columns; other columns may hold anything."""
    if not isinstance(history, list):
        raise ValueError(f"{what}: expected a list, got {history!r:.200}")
    columns = {"epoch", "lr", "loss", "seconds", *metrics}
    for position, row in enumerate(history):
        require_entries(row, ("epoch", "lr", "loss", "seconds"), f"{what}: row {position}")
        for name in row:
            if name.removeprefix("val_") in columns:
                _require_number(row[name], f"{what}: row {position}: {name}")


def _require_same_settings(path: str | Path, started_with: object, settings: dict[str, Any]) -> None:
    """Raise ValueError, which names each difference, unless a run was started with these settings."""
    if not isinstance(started_with, dict):
        raise ValueError(
            f"Trainer.load: expected a run that says what it was begun with, got {path}, which an older version of "
            "minicnn wrote, or a Trainer without settings; begin anew"
        )
    names = dict.fromkeys([*started_with, *settings])
    different = [
        f"{name}: expected {started_with.get(name)!s:.500}, got {settings.get(name)!s:.500}"
        for name in names
        if started_with.get(name) != settings.get(name)
    ]
    if different:
        raise ValueError(
            f"Trainer.load: expected what the run in {path} was begun with, got something else.\n  "
            + "\n  ".join(different)
        )


def _under(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    """The arrays whose names begin with `prefix`, by the rest of their names."""
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
