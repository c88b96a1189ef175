"""SGD: a step against the gradient, and momentum that remembers the steps before."""

from collections.abc import Sequence

import numpy as np

from minicnn.backends.protocol import Operations
from minicnn.network import Sequential
from minicnn.optim.optimizer import MODERATE, Optimizer, Setting, non_negative
from minicnn.plain import Array


def _yes_or_no(value: object, what: str) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{what}: expected True or False, got {value!r}")
    return bool(value)


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, Nesterov momentum and weight decay; `torch.optim.SGD`.

        g = grad + weight_decay * param
        velocity = momentum * velocity + g
        param -= lr * velocity                    with Nesterov: param -= lr * (g + momentum * velocity)

    Args:
        network: whose parameters are changed.
        lr, momentum, weight_decay: numbers of at least 0.
        nesterov: look ahead along the velocity (Sutskever et al., 2013); needs momentum.

    Raises ValueError for a negative setting or Nesterov without momentum.
    """

    slots = ("velocity",)
    settings = ("lr", "momentum", "nesterov", "weight_decay")
    momentum, nesterov = Setting(non_negative), Setting(_yes_or_no)

    def __init__(
        self, network: Sequential, lr: float, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
    ) -> None:
        super().__init__(network, lr, weight_decay)
        self.momentum, self.nesterov = momentum, nesterov
        if self.nesterov and self.momentum == 0:
            raise ValueError("SGD: nesterov needs a momentum above 0, got 0")

    def stays_finite(self, gradient_norm: float) -> bool:
        return gradient_norm < MODERATE and self.momentum < 1 and self.lr < 1e3 and self.lr * self.weight_decay <= 1

    def _update(
        self, ops: Operations, params: Sequence[Array], slots: Sequence[Sequence[Array]], grads: Sequence[Array]
    ) -> None:
        (velocities,) = slots
        settings = (self.lr, self.momentum, self.nesterov, self.weight_decay)
        ops.foreach_sgd_step_(params, velocities, grads, *settings)
