"""How far a training run has come."""

import math
from dataclasses import dataclass, field
from typing import Any

from minicnn.io.html import history_table
from minicnn.plain import Array


class History(list[dict[str, Any]]):
    """A list with a row of columns for each epoch; a notebook shows it as a table."""

    def _repr_html_(self) -> str:
        return history_table(self)


@dataclass
class RunState:
    """What a run counts and keeps, beside network, optimiser and schedule.

    Attributes:
        lr: the learning rate of the last step.
        epoch: how many epochs are complete.
        history: a row of columns for each epoch.
        sums: of the epoch under way, each column's sum over the images so far, and their number.
        seconds: how long the epoch under way has taken.
        monitor: the column whose best value is kept.
        best: {"value": that value, None where there is none yet, "epoch": the epoch it is from}.
        best_weights: the network's state after that epoch, where it is kept.
    """

    lr: float
    epoch: int = 0
    history: History = field(default_factory=History)
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    monitor: str | None = None
    best: dict[str, Any] = field(default_factory=lambda: {"value": None, "epoch": 0})
    best_weights: dict[str, Array] = field(default_factory=dict)

    def watch(self, monitor: str) -> None:
        """Keep the best value of this column. Where it was another's, start again: two columns cannot be compared."""
        if monitor != self.monitor:
            self.monitor, self.best, self.best_weights = monitor, {"value": None, "epoch": self.epoch}, {}

    def is_better(self, value: float, monitor: str) -> bool:
        """Whether `value` of the column `monitor` is better than the best so far."""
        best = self.best["value"]
        if best is None or math.isnan(best):
            return not math.isnan(value)
        return bool(value < best if monitor.endswith("loss") else value > best)

    def begin_epoch(self) -> None:
        """Forget what was summed up of an epoch."""
        self.sums, self.seconds = {}, 0.0
