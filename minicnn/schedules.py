"""Learning-rate schedules: the learning rate as a function of how often `step` was called.

Each has PyTorch's name, arguments and numbers. Making one sets the optimiser's learning rate to its value at 0;
`schedule.step()` moves on, once an epoch or once a batch, as the user (or the Trainer) decides.
"""

import math
from typing import Any

from minicnn.checks import as_count, as_number, as_plain, require_entries
from minicnn.optim import Optimizer


class Schedule:
    """A count t, and the learning rate that belongs to it. `base_lr` is the optimiser's own at the start."""

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
        progress = {"t", "base_lr"}
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


class StepLR(Schedule):
    """lr = base_lr * gamma ** (t // step_size); `torch.optim.lr_scheduler.StepLR`."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = _positive(step_size, "StepLR: step_size")
        self.gamma = as_number(gamma, "StepLR: gamma", 0)
        super().__init__(optimizer)

    def lr_at(self, t: int) -> float:
        return self.base_lr * self.gamma ** (t // self.step_size)


class CosineAnnealingLR(Schedule):
    """Half a cosine from base_lr down to eta_min in T_max steps; `torch.optim.lr_scheduler.CosineAnnealingLR`.

    lr = eta_min + (base_lr - eta_min) * (1 + cos(pi * t / T_max)) / 2          (Loshchilov and Hutter, 2017)
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max = _positive(T_max, "CosineAnnealingLR: T_max")
        self.eta_min = as_number(eta_min, "CosineAnnealingLR: eta_min", 0)
        super().__init__(optimizer)

    def lr_at(self, t: int) -> float:
        return self.eta_min + (self.base_lr - self.eta_min) * (1 + math.cos(math.pi * t / self.T_max)) / 2


class LinearLR(Schedule):
    """Linear warm-up from base_lr * start_factor to base_lr * end_factor in total_iters steps, then constant.

    `torch.optim.lr_scheduler.LinearLR`.
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5
    ) -> None:
        self.start_factor = as_number(start_factor, "LinearLR: start_factor")
        self.end_factor = as_number(end_factor, "LinearLR: end_factor")
        if not 0 < self.start_factor <= 1 or not 0 <= self.end_factor <= 1:
            raise ValueError(
                "LinearLR: expected start_factor above 0 and both factors at most 1, "
                f"got {start_factor} and {end_factor}"
            )
        self.total_iters = _positive(total_iters, "LinearLR: total_iters")
        super().__init__(optimizer)

    def lr_at(self, t: int) -> float:
        done = min(t, self.total_iters) / self.total_iters
        return self.base_lr * (self.start_factor + (self.end_factor - self.start_factor) * done)


class OneCycleLR(Schedule):
    """Up to max_lr and down again along two half cosines; `torch.optim.lr_scheduler.OneCycleLR`.

    From max_lr / div_factor up to max_lr in the first `pct_start` of `total_steps`, then down to that first
    value / final_div_factor (Smith and Topin, 2018). The momentum (SGD's, or Adam's beta1) runs the other way,
    from max_momentum down to base_momentum and up again, unless `cycle_momentum` is False.

    Raises ValueError on more than `total_steps` steps.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int,
        pct_start: float = 0.3,
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        self.total_steps = _positive(total_steps, "OneCycleLR: total_steps")
        self.max_lr = as_number(max_lr, "OneCycleLR: max_lr", 0)
        self.first_lr = self.max_lr / _above_zero(div_factor, "OneCycleLR: div_factor")
        self.last_lr = self.first_lr / _above_zero(final_div_factor, "OneCycleLR: final_div_factor")
        pct_start = as_number(pct_start, "OneCycleLR: pct_start", 0, 1)
        self.peak = pct_start * self.total_steps - 1  # the t at which the learning rate is max_lr; may be a fraction
        self.cycle_momentum = bool(cycle_momentum)
        most = math.nextafter(1, 0) if hasattr(optimizer, "betas") else math.inf
        self.base_momentum = as_number(base_momentum, "OneCycleLR: base_momentum", 0, most)
        self.max_momentum = as_number(max_momentum, "OneCycleLR: max_momentum", 0, most)
        super().__init__(optimizer)

    def lr_at(self, t: int) -> float:
        return self._between(self.first_lr, self.max_lr, self.last_lr, t)

    def momentum_at(self, t: int) -> float:
        return self._between(self.max_momentum, self.base_momentum, self.max_momentum, t)

    def _between(self, first: float, peak: float, last: float, t: int) -> float:
        if t > self.total_steps:
            raise ValueError(f"OneCycleLR: expected at most {self.total_steps} steps, got one more")
        t = min(t, self.total_steps - 1)  # of the last step, which `step` may follow once more
        if t <= self.peak:
            return _cosine(first, peak, t / self.peak if self.peak > 0 else 1)
        return _cosine(peak, last, (t - self.peak) / (self.total_steps - 1 - self.peak))

    def _apply(self) -> None:
        super()._apply()
        if not self.cycle_momentum:
            return
        momentum, optimizer = self.momentum_at(self.t), self.optimizer
        if hasattr(optimizer, "betas"):
            optimizer.betas = (momentum, optimizer.betas[1])
        else:
            optimizer.momentum = momentum  # type: ignore[attr-defined]  # SGD's, or a custom optimiser's


def _cosine(start: float, end: float, done: float) -> float:
    """From start (done = 0) to end (done = 1) along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def _positive(value: float, what: str) -> int:
    number = as_number(value, what, 1)
    if number != int(number):
        raise ValueError(f"{what}: expected a whole number of at least 1, got {value}")
    return int(number)


def _above_zero(value: float, what: str) -> float:
    number = as_number(value, what, 0)
    if number == 0:
        raise ValueError(f"{what}: expected a number above 0, got {value}")
    return number
