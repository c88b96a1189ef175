"""Adam and AdamW: a step of its own size for every parameter."""

from collections.abc import Sequence
from typing import Any

from minicnn.backends.protocol import Operations
from minicnn.network import Sequential
from minicnn.optim.optimizer import MODERATE, Optimizer, Setting, non_negative
from minicnn.plain import Array


def _two_betas(value: Any, what: str) -> tuple[float, float]:
    try:
        beta1, beta2 = value
    except (TypeError, ValueError):
        raise ValueError(f"{what}: expected (beta1, beta2), got {value!r}") from None
    betas = non_negative(beta1, what), non_negative(beta2, what)
    if max(betas) >= 1:
        raise ValueError(f"{what}: expected betas of at least 0 and below 1, got {value}")
    return betas


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015, arXiv:1412.6980); `torch.optim.Adam`.

        g = grad + weight_decay * param
        m = beta1 * m + (1 - beta1) * g           v = beta2 * v + (1 - beta2) * g²
        param -= lr * m_hat / (sqrt(v_hat) + eps) m_hat = m / (1 - beta1 ** steps), v_hat likewise

    Args:
        network: whose parameters are changed.
        lr, eps, weight_decay: numbers of at least 0.
        betas: (beta1, beta2), each at least 0 and below 1.
        decay_vectors: with False weight decay leaves parameters of one axis alone: biases, and batchnorm's weight and
            bias. In PyTorch that takes two parameter groups, of which the second has weight_decay=0.

    Raises ValueError for a setting out of range.

    The arithmetic, in `minicnn/backends/`:
        reference/optim.py    to read
        cpu/optim.py          to run
        cuda/optim.py         to run on a GPU
    """

    slots = ("m", "v")
    settings = ("lr", "betas", "eps", "weight_decay", "decay_vectors")
    betas, eps = Setting(_two_betas), Setting(non_negative)
    decoupled = False  # whether weight decay acts on the parameter directly, and not through g

    def __init__(
        self,
        network: Sequential,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decay_vectors: bool = True,
    ) -> None:
        super().__init__(network, lr, weight_decay, decay_vectors)
        self.betas, self.eps = betas, eps

    def stays_finite(self, gradient_norm: float) -> bool:
        moderate = gradient_norm < MODERATE and self.lr < 1e3 and self.lr * self.weight_decay <= 1
        return moderate and self.eps >= 1e-12  # without it a gradient of 0 gives 0 / 0

    def _is_sound(self, slot: str, array: Array) -> bool:
        # A square may be too large for a number. v is infinite then, and the update 0, as in PyTorch.
        return bool((array >= 0).all()) if slot == "v" else super()._is_sound(slot, array)

    def _update(
        self,
        ops: Operations,
        params: Sequence[Array],
        slots: Sequence[Sequence[Array]],
        grads: Sequence[Array],
        weight_decay: float,
    ) -> None:
        ms, vs = slots
        settings = (self.lr, *self.betas, self.eps, weight_decay, self.decoupled, self.steps)
        ops.foreach_adam_step_(params, ms, vs, grads, *settings)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019, arXiv:1711.05101); `torch.optim.AdamW`.

    `param *= 1 - lr * weight_decay`, then Adam's step with g = grad. In Adam the decay goes through g and is divided by
    sqrt(v_hat) like any gradient, so that weights with large gradients decay less; here all decay alike.

    Args as for Adam, but weight_decay is 0.01 unless given. Raises ValueError for a setting out of range.
    """

    decoupled = True

    def __init__(
        self,
        network: Sequential,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        decay_vectors: bool = True,
    ) -> None:
        super().__init__(network, lr, betas, eps, weight_decay, decay_vectors)
