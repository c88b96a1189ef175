"""SequentialLR: one schedule after another."""

from collections.abc import Sequence
from typing import Any

from minicnn.checks import as_number, require_entries
from minicnn.optim import Optimizer
from minicnn.schedules.schedule import Schedule, positive


class SequentialLR(Schedule):
    """One schedule after another; `torch.optim.lr_scheduler.SequentialLR`. Each begins at its own 0.

    Args:
        optimizer: of all of them.
        schedules: made for this optimiser one after another, in this order. All of them have the first one's base_lr,
            which is the optimiser's learning rate before any was made.
        milestones: after how many steps the second begins, the third, and so on; they grow.

    Raises:
        TypeError: something that is no schedule, or one that goes by a value.
        ValueError: not one milestone fewer than schedules, milestones that do not grow, another one's schedule.

    Warm-up and then a cosine:

    >>> from minicnn import SGD, CosineAnnealingLR, Linear, LinearLR, Sequential
    >>> optimizer = SGD(Sequential(Linear(2, 1)), lr=1.0)
    >>> warm_up = LinearLR(optimizer, start_factor=0.25, total_iters=3)
    >>> schedule = SequentialLR(optimizer, [warm_up, CosineAnnealingLR(optimizer, T_max=4)], milestones=[3])
    >>> [round(schedule.lr_at(t), 3) for t in range(8)]
    [0.25, 0.5, 0.75, 1.0, 0.854, 0.5, 0.146, 0.0]
    """

    def __init__(self, optimizer: Optimizer, schedules: Sequence[Schedule], milestones: Sequence[int]) -> None:
        self.schedules = list(schedules)
        self.milestones = [positive(milestone, "SequentialLR: milestones") for milestone in milestones]
        if not self.schedules or len(self.milestones) != len(self.schedules) - 1:
            raise ValueError(
                f"SequentialLR: expected one milestone fewer than schedules, got {len(self.milestones)} for "
                f"{len(self.schedules)}"
            )
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError(f"SequentialLR: expected milestones that grow, got {self.milestones}")
        for schedule in self.schedules:
            if not isinstance(schedule, Schedule) or schedule.asks_for_value:
                raise TypeError(f"SequentialLR: expected schedules of t alone, got {type(schedule).__name__}")
            if schedule.optimizer is not optimizer:
                raise ValueError("SequentialLR: expected schedules of this optimiser, got another one's")
            schedule.base_lr = self.schedules[0].base_lr
        optimizer.lr = self.schedules[0].base_lr
        super().__init__(optimizer)

    def lr_at(self, t: int) -> float:
        schedule, since = self._at(t)
        return schedule.lr_at(since)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"schedules": [schedule.state_dict() for schedule in self.schedules]}

    def load_state_dict(self, state: Any) -> None:
        require_entries(state, self.state_dict(), "SequentialLR.load_state_dict")
        mine, theirs = ([_settings(one) for one in of["schedules"]] for of in (self.state_dict(), state))
        if mine != theirs:
            raise ValueError(f"SequentialLR.load_state_dict: expected the state of {mine}, got that of {theirs}")
        before = [schedule.base_lr for schedule in self.schedules]
        try:
            for schedule in self.schedules:
                schedule.base_lr = as_number(state["base_lr"], "SequentialLR.load_state_dict: base_lr", 0)
            super().load_state_dict(state | {"schedules": self.state_dict()["schedules"]})
        except (TypeError, ValueError) as error:
            for schedule, base_lr in zip(self.schedules, before, strict=True):
                schedule.base_lr = base_lr
            raise ValueError(str(error)) from error

    def _at(self, t: int) -> tuple[Schedule, int]:
        """(the schedule whose turn it is after t steps, the steps of its own)"""
        begun = [0, *(milestone for milestone in self.milestones if milestone <= t)]
        return self.schedules[len(begun) - 1], t - begun[-1]

    def _apply(self) -> None:
        schedule, since = self._at(self.t)
        schedule.t = since
        schedule._apply()


def _settings(state: Any) -> dict[str, Any]:
    """A schedule's state without its progress."""
    require_entries(state, ("class",), "SequentialLR.load_state_dict")
    return {name: value for name, value in state.items() if name not in Schedule.progress}
