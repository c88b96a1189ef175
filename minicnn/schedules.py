"""Learning-rate schedules: the learning rate as a function of how often `step` was called.

Each has PyTorch's name, arguments and numbers. Making one sets the optimiser's learning rate to its value at 0;
`schedule.step()` moves on, once an epoch or once a batch, as the user (or the Trainer) decides.
"""

import math


class _Schedule:
    """A count t, and the learning rate that belongs to it. `base_lr` is the optimiser's own at the start."""

    def __init__(self, optimizer):
        self.optimizer = optimizer
        self.base_lr = optimizer.lr
        self.t = 0
        self._apply()

    def lr_at(self, t):
        """The learning rate after t calls of `step`."""
        raise NotImplementedError

    def step(self):
        """Move on by one, and set the optimiser's learning rate."""
        self.t += 1
        self._apply()

    def state_dict(self):
        """Class, settings, t and base_lr, as a dict of numbers that JSON can hold."""
        return {"class": type(self).__name__} | {key: value for key, value in vars(self).items() if key != "optimizer"}

    def load_state_dict(self, state):
        """Go on where `state_dict` was taken. Raises ValueError where that was another schedule."""
        mine = self.state_dict()
        progress = {"t", "base_lr"}
        other = [key for key in mine.keys() | state.keys() if key not in progress and mine.get(key) != state.get(key)]
        if other:
            name = type(self).__name__
            expected, got = ({key: of.get(key) for key in sorted(other)} for of in (mine, state))
            raise ValueError(f"{name}.load_state_dict: expected the state of a schedule with {expected}, got {got}")
        self.t, self.base_lr = state["t"], state["base_lr"]
        self._apply()

    def _apply(self):
        self.optimizer.lr = self.lr_at(self.t)


class StepLR(_Schedule):
    """lr = base_lr * gamma ** (t // step_size); `torch.optim.lr_scheduler.StepLR`."""

    def __init__(self, optimizer, step_size, gamma=0.1):
        self.step_size, self.gamma = _positive(step_size, "StepLR: step_size"), gamma
        super().__init__(optimizer)

    def lr_at(self, t):
        return self.base_lr * self.gamma ** (t // self.step_size)


class CosineAnnealingLR(_Schedule):
    """Half a cosine from base_lr down to eta_min in T_max steps; `torch.optim.lr_scheduler.CosineAnnealingLR`.

    lr = eta_min + (base_lr - eta_min) * (1 + cos(pi * t / T_max)) / 2          (Loshchilov and Hutter, 2017)
    """

    def __init__(self, optimizer, T_max, eta_min=0.0):
        self.T_max, self.eta_min = _positive(T_max, "CosineAnnealingLR: T_max"), eta_min
        super().__init__(optimizer)

    def lr_at(self, t):
        return self.eta_min + (self.base_lr - self.eta_min) * (1 + math.cos(math.pi * t / self.T_max)) / 2


class LinearLR(_Schedule):
    """Linear warm-up from base_lr * start_factor to base_lr * end_factor in total_iters steps, then constant.

    `torch.optim.lr_scheduler.LinearLR`.
    """

    def __init__(self, optimizer, start_factor=1 / 3, end_factor=1.0, total_iters=5):
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValueError(
                "LinearLR: expected start_factor above 0 and both factors at most 1, "
                f"got {start_factor} and {end_factor}"
            )
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = _positive(total_iters, "LinearLR: total_iters")
        super().__init__(optimizer)

    def lr_at(self, t):
        done = min(t, self.total_iters) / self.total_iters
        return self.base_lr * (self.start_factor + (self.end_factor - self.start_factor) * done)


class OneCycleLR(_Schedule):
    """Up to max_lr and down again along two half cosines; `torch.optim.lr_scheduler.OneCycleLR`.

    From max_lr / div_factor up to max_lr in the first `pct_start` of `total_steps`, then down to that first
    value / final_div_factor (Smith and Topin, 2018). The momentum (SGD's, or Adam's beta1) runs the other way,
    from max_momentum down to base_momentum and up again, unless `cycle_momentum` is False.

    Raises ValueError on more than `total_steps` steps.
    """

    def __init__(
        self,
        optimizer,
        max_lr,
        total_steps,
        pct_start=0.3,
        cycle_momentum=True,
        base_momentum=0.85,
        max_momentum=0.95,
        div_factor=25.0,
        final_div_factor=1e4,
    ):
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: expected pct_start from 0 to 1, got {pct_start}")
        self.total_steps = _positive(total_steps, "OneCycleLR: total_steps")
        self.max_lr = max_lr
        self.first_lr = max_lr / div_factor
        self.last_lr = self.first_lr / final_div_factor
        self.peak = pct_start * self.total_steps - 1  # the t at which the learning rate is max_lr; may be a fraction
        self.cycle_momentum, self.base_momentum, self.max_momentum = cycle_momentum, base_momentum, max_momentum
        super().__init__(optimizer)

    def lr_at(self, t):
        return self._between(self.first_lr, self.max_lr, self.last_lr, t)

    def momentum_at(self, t):
        return self._between(self.max_momentum, self.base_momentum, self.max_momentum, t)

    def _between(self, first, peak, last, t):
        if t > self.total_steps:  # the value at total_steps comes after the last step, and serves none
            raise ValueError(f"OneCycleLR: expected at most {self.total_steps} steps, got one more")
        if t <= self.peak:
            return _cosine(first, peak, t / self.peak if self.peak > 0 else 1)
        return _cosine(peak, last, (t - self.peak) / (self.total_steps - 1 - self.peak))

    def _apply(self):
        super()._apply()
        if not self.cycle_momentum:
            return
        momentum = self.momentum_at(self.t)
        if hasattr(self.optimizer, "betas"):
            self.optimizer.betas = (momentum, self.optimizer.betas[1])
        else:
            self.optimizer.momentum = momentum


def _cosine(start, end, done):
    """From start (done = 0) to end (done = 1) along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def _positive(value, what):
    if value != int(value) or value < 1:
        raise ValueError(f"{what}: expected a whole number of at least 1, got {value}")
    return int(value)
