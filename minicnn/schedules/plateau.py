"""ReduceLROnPlateau: a smaller learning rate where a value no longer improves."""

import math
from typing import Any

from minicnn.checks import as_count, as_number, require_entries
from minicnn.optim import Optimizer
from minicnn.schedules.schedule import Schedule


class ReduceLROnPlateau(Schedule):
    """The learning rate times `factor` where a value has not improved for more than `patience` epochs.

    `torch.optim.lr_scheduler.ReduceLROnPlateau`, whose relative threshold it has: an improvement is by more than the
    share `threshold` of the best so far. A `Trainer` gives it the column that it monitors, after each epoch.

    Args:
        mode: "min" where smaller is better, as for losses, or "max".
        factor: from 0 to 1, below 1.
        patience: epochs without improvement that change nothing.
        threshold: of at least 0.
        cooldown: epochs after a change in which none are counted.
        min_lr: the learning rate stays at least this.
        eps: a change that is not larger is not made.

    Raises TypeError or ValueError for a setting out of range.
    """

    progress = ("t", "base_lr", "best", "bad_epochs", "cooldown_left")
    asks_for_value = True

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f'ReduceLROnPlateau: expected mode "min" or "max", got {mode!r}')
        self.mode, self.factor = mode, as_number(factor, "ReduceLROnPlateau: factor", 0, math.nextafter(1, 0))
        self.patience = as_count(patience, "ReduceLROnPlateau: patience")
        self.threshold = as_number(threshold, "ReduceLROnPlateau: threshold", 0)
        self.cooldown = as_count(cooldown, "ReduceLROnPlateau: cooldown")
        self.min_lr = as_number(min_lr, "ReduceLROnPlateau: min_lr", 0)
        self.eps = as_number(eps, "ReduceLROnPlateau: eps", 0)
        self.best: float | None = None
        self.bad_epochs = self.cooldown_left = 0
        super().__init__(optimizer)

    def lr_at(self, t: int) -> float:
        return self.base_lr  # which is the present one: it depends on what was measured

    def step(self, value: float) -> None:  # type: ignore[override]  # this one depends on what was measured
        """Note an epoch's value. NaN is no improvement. Raises TypeError for what is no number."""
        value = float(value)
        self.t += 1
        if self._is_better(value):
            self.best, self.bad_epochs = value, 0
        else:
            self.bad_epochs += 1
        if self.cooldown_left > 0:
            self.cooldown_left, self.bad_epochs = self.cooldown_left - 1, 0
        if self.bad_epochs > self.patience:
            smaller = max(self.optimizer.lr * self.factor, self.min_lr)
            if self.optimizer.lr - smaller > self.eps:
                self.base_lr = smaller
            self.cooldown_left, self.bad_epochs = self.cooldown, 0
            self._apply()

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return not math.isnan(value)
        if self.mode == "min":
            return value < self.best * (1 - self.threshold)
        return value > self.best * (1 + self.threshold)

    def load_state_dict(self, state: Any) -> None:
        what = "ReduceLROnPlateau.load_state_dict"
        require_entries(state, self.state_dict(), what)
        try:
            best = None if state["best"] is None else as_number(state["best"], f"{what}: best")
        except TypeError as error:
            raise ValueError(str(error)) from error
        counts = [as_count(state[name], f"{what}: {name}") for name in ("bad_epochs", "cooldown_left")]
        super().load_state_dict(state)
        self.best, (self.bad_epochs, self.cooldown_left) = best, counts
