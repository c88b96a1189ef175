"""Schedules whose learning rate is a function of t alone."""

import math

from minicnn.checks import as_number
from minicnn.optim import Optimizer
from minicnn.schedules.schedule import Schedule, above_zero, positive


class StepLR(Schedule):
    """lr = base_lr * gamma ** (t // step_size); `torch.optim.lr_scheduler.StepLR`.

    Raises TypeError or ValueError for a step_size that is no whole number of at least 1, or a gamma below 0.
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = positive(step_size, "StepLR: step_size")
        self.gamma = as_number(gamma, "StepLR: gamma", 0)
        super().__init__(optimizer)

    def lr_at(self, t: int) -> float:
        return self.base_lr * self.gamma ** (t // self.step_size)


class CosineAnnealingLR(Schedule):
    """Half a cosine from base_lr down to eta_min in T_max steps; `torch.optim.lr_scheduler.CosineAnnealingLR`.

    lr = eta_min + (base_lr - eta_min) * (1 + cos(pi * t / T_max)) / 2          (Loshchilov and Hutter, 2017)

    Raises TypeError or ValueError for a T_max that is no whole number of at least 1, or an eta_min below 0.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max = positive(T_max, "CosineAnnealingLR: T_max")
        self.eta_min = as_number(eta_min, "CosineAnnealingLR: eta_min", 0)
        super().__init__(optimizer)

    def lr_at(self, t: int) -> float:
        return self.eta_min + (self.base_lr - self.eta_min) * (1 + math.cos(math.pi * t / self.T_max)) / 2


class CosineAnnealingWarmRestarts(Schedule):
    """Half a cosine from base_lr down to eta_min, begun again and again, each time T_mult times as long.

        lr = eta_min + (base_lr - eta_min) * (1 + cos(pi * since / length)) / 2          (Loshchilov and Hutter, 2017)

    The first takes T_0 steps; `since` counts from the last beginning. `CosineAnnealingWarmRestarts` of
    `torch.optim.lr_scheduler`.

    Raises TypeError or ValueError for a T_0 or T_mult that is no whole number of at least 1, or an eta_min below 0.
    """

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0) -> None:
        self.T_0 = positive(T_0, "CosineAnnealingWarmRestarts: T_0")
        self.T_mult = positive(T_mult, "CosineAnnealingWarmRestarts: T_mult")
        self.eta_min = as_number(eta_min, "CosineAnnealingWarmRestarts: eta_min", 0)
        super().__init__(optimizer)

    def lr_at(self, t: int) -> float:
        since, length = t, self.T_0
        if self.T_mult == 1:
            since %= length
        while since >= length:
            since, length = since - length, length * self.T_mult
        return _cosine(self.base_lr, self.eta_min, since / length)


class LinearLR(Schedule):
    """Linear warm-up from base_lr * start_factor to base_lr * end_factor in total_iters steps, then constant.

    `torch.optim.lr_scheduler.LinearLR`.

    Raises TypeError or ValueError for factors outside of 0 to 1 (start_factor above 0), or a total_iters that is no
    whole number of at least 1.
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
        self.total_iters = positive(total_iters, "LinearLR: total_iters")
        super().__init__(optimizer)

    def lr_at(self, t: int) -> float:
        done = min(t, self.total_iters) / self.total_iters
        return self.base_lr * (self.start_factor + (self.end_factor - self.start_factor) * done)


class OneCycleLR(Schedule):
    """Up to max_lr and down again along two half cosines; `torch.optim.lr_scheduler.OneCycleLR`.

    From max_lr / div_factor up to max_lr in the first `pct_start` of `total_steps`, then down to that first
    value / final_div_factor (Smith and Topin, 2018). The momentum (SGD's, or Adam's beta1) runs the other way,
    from max_momentum down to base_momentum and up again, unless `cycle_momentum` is False.

    `batches.batches_in(epochs)` says how many steps a run will have. Where they are more than `total_steps`,
    `Trainer.fit` stays at the last learning rate.

    Raises ValueError on more than `total_steps` steps, and TypeError or ValueError for a setting out of range.
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
        self.total_steps = positive(total_steps, "OneCycleLR: total_steps")
        self.max_lr = as_number(max_lr, "OneCycleLR: max_lr", 0)
        self.first_lr = self.max_lr / above_zero(div_factor, "OneCycleLR: div_factor")
        self.last_lr = self.first_lr / above_zero(final_div_factor, "OneCycleLR: final_div_factor")
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
