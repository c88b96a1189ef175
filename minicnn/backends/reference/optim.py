"""Parameter updates, in place, as PyTorch defines them.

    SGD     g = grad + weight_decay * param
            velocity = momentum * velocity + g
            param -= lr * velocity                        Nesterov: lr * (g + momentum * velocity)

    Adam    g = grad + weight_decay * param               (Kingma and Ba, 2015)
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g²
            param -= lr * m_hat / (sqrt(v_hat) + eps)     m_hat = m / (1 - beta1 ** step), v_hat likewise

    AdamW   param *= 1 - lr * weight_decay first, and g = grad: the decay is decoupled from the step's size
            (Loshchilov and Hutter, 2019)

`step` counts from 1 over the whole run. m and v start at 0 and are too small at first by exactly the factor
that the division takes out.
"""

from collections.abc import Sequence

import numpy as np

from minicnn.plain import Array


def sgd_step_(
    param: Array, velocity: Array, grad: Array, lr: float, momentum: float, nesterov: bool, weight_decay: float
) -> None:
    """Change param and velocity, of any shape and grad like them."""
    g = grad + weight_decay * param
    # learn: the old velocity fades, and g is added
    velocity *= momentum
    velocity += g
    # learn: the step, with Nesterov along g and the velocity to come
    param -= lr * (g + momentum * velocity if nesterov else velocity)


def adam_step_(
    param: Array,
    m: Array,
    v: Array,
    grad: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    step: int,
) -> None:
    """Change param, m and v, of any shape and grad like them."""
    if decoupled:
        param *= 1 - lr * weight_decay
        g = grad
    else:
        g = grad + weight_decay * param
    # learn: m follows g, and v its square, both slowly
    m += (1 - beta1) * (g - m)
    v *= beta2
    v += (1 - beta2) * np.square(g)

    # learn: m and v began at 0: take out what they are too small by
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    # learn: the step
    param -= lr * m_hat / (np.sqrt(v_hat) + eps)


def foreach_sgd_step_(
    params: Sequence[Array],
    velocities: Sequence[Array],
    grads: Sequence[Array],
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> None:
    """`sgd_step_` for each of the params."""
    for param, velocity, grad in zip(params, velocities, grads, strict=True):
        sgd_step_(param, velocity, grad, lr, momentum, nesterov, weight_decay)


def foreach_adam_step_(
    params: Sequence[Array],
    ms: Sequence[Array],
    vs: Sequence[Array],
    grads: Sequence[Array],
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    step: int,
) -> None:
    """`adam_step_` for each of the params."""
    for param, m, v, grad in zip(params, ms, vs, grads, strict=True):
        adam_step_(param, m, v, grad, lr, beta1, beta2, eps, weight_decay, decoupled, step)
