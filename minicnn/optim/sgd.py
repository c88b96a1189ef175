"""SGD: a step against the gradient, and momentum that remembers the steps before."""

from collections.abc import Sequence

from minicnn.backends.protocol import Operations
from minicnn.network import Sequential
from minicnn.optim.optimizer import MODERATE, Optimizer, Setting, non_negative, yes_or_no
from minicnn.plain import Array


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, Nesterov momentum and weight decay; `torch.optim.SGD`.

        g = grad + weight_decay * param
        velocity = momentum * velocity + g
        param -= lr * velocity                    with Nesterov: param -= lr * (g + momentum * velocity)

    Args:
        network: whose parameters are changed.
        lr, momentum, weight_decay: numbers of at least 0.
        nesterov: look ahead along the velocity (Sutskever et al., 2013); needs momentum.
        decay_vectors: with False weight decay leaves parameters of one axis alone: biases, and batchnorm's weight and
            bias. In PyTorch that takes two parameter groups, of which the second has weight_decay=0.

    Raises ValueError for a negative setting or Nesterov without momentum.

    The arithmetic, in `minicnn/backends/`:
        reference/optim.py    to read
        cpu/optim.py          to run
        cuda/optim.py         to run on a GPU
    """

    slots = ("velocity",)
    settings = ("lr", "momentum", "nesterov", "weight_decay", "decay_vectors")
    momentum, nesterov = Setting(non_negative), Setting(yes_or_no)

    def __init__(
        self,
        network: Sequential,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decay_vectors: bool = True,
    ) -> None:
        super().__init__(network, lr, weight_decay, decay_vectors)
        self.momentum, self.nesterov = momentum, nesterov
        if self.nesterov and self.momentum == 0:
            raise ValueError("SGD: nesterov needs a momentum above 0, got 0")

    def stays_finite(self, gradient_norm: float) -> bool:
        return gradient_norm < MODERATE and self.momentum < 1 and self.lr < 1e3 and self.lr * self.weight_decay <= 1

    def _update(
        self,
        ops: Operations,
        params: Sequence[Array],
        slots: Sequence[Sequence[Array]],
        grads: Sequence[Array],
        weight_decay: float,
    ) -> None:
        (velocities,) = slots
        settings = (self.lr, self.momentum, self.nesterov, weight_decay)
        ops.foreach_sgd_step_(params, velocities, grads, *settings)
