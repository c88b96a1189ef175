"""What all schedules share: a count of steps, the learning rate that belongs to it, and saving."""

import math
from typing import Any

from minicnn.checks import as_count, as_number, as_plain, require_entries
from minicnn.optim import Optimizer


class Schedule:
    """A count t, and the learning rate that belongs to it. `base_lr` is the optimiser's own at the start."""

    progress: tuple[str, ...] = ("t", "base_lr")  # what changes from step to step; all else is settings
    asks_for_value = False  # whether `step` takes the value of a column, and so is called after epochs

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.base_lr = optimizer.lr
        self.t = 0
        self._apply()

    def lr_at(self, t: int) -> float:
        """The learning rate after t calls of `step`."""
        raise NotImplementedError

    def step(self) -> None:
        """Move on by one, and set the optimiser's learning rate.

        Raises ValueError, and stays where it is, where that would be no finite number of at least 0.
        """
        self.t += 1
        try:
            self._apply()
        except Exception:
            self.t -= 1
            raise

    def state_dict(self) -> dict[str, Any]:
        """Class, settings, t and base_lr, as a dict of what JSON can hold."""
        settings = {key: value for key, value in vars(self).items() if key != "optimizer"}
        return {"class": type(self).__name__} | as_plain(settings)

    def load_state_dict(self, state: Any) -> None:
        """Go on where `state_dict` was taken.

        Raises ValueError, and changes nothing, where that was another schedule, or `state` is damaged.
        """
        what = f"{type(self).__name__}.load_state_dict"
        mine = self.state_dict()
        require_entries(state, mine, what)
        progress = self.progress
        other = [key for key in mine.keys() | state.keys() if key not in progress and mine.get(key) != state.get(key)]
        if other:
            expected, got = ({key: of.get(key) for key in sorted(other)} for of in (mine, state))
            raise ValueError(f"{what}: expected the state of a schedule with {expected}, got {got}")
        before = self.t, self.base_lr
        try:
            self.t, self.base_lr = as_count(state["t"], f"{what}: t"), as_number(state["base_lr"], "base_lr", 0)
            self._apply()
        except (ArithmeticError, TypeError, ValueError) as error:
            self.t, self.base_lr = before
            raise ValueError(f"{what}: {error}") from error

    def _apply(self) -> None:
        try:
            self.optimizer.lr = self.lr_at(self.t)
        except OverflowError:  # Python's, of a power
            self.optimizer.lr = math.inf  # which it refuses


def positive(value: float, what: str) -> int:
    number = as_number(value, what, 1)
    if number != int(number):
        raise ValueError(f"{what}: expected a whole number of at least 1, got {value}")
    return int(number)


def above_zero(value: float, what: str) -> float:
    number = as_number(value, what, 0)
    if number == 0:
        raise ValueError(f"{what}: expected a number above 0, got {value}")
    return number
