"""Parameter updates, in place, as PyTorch defines them.

    SGD     g = grad + weight_decay * param
            velocity = momentum * velocity + g
            param -= lr * velocity                        Nesterov: lr * (g + momentum * velocity)

    Adam    g = grad + weight_decay * param
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g²
            param -= lr * m_hat / (sqrt(v_hat) + eps)     m_hat = m / (1 - beta1 ** step), v_hat likewise

    AdamW   param *= 1 - lr * weight_decay first, and g = grad

Who owns what: each thread one number of param and of its state. Cost: one pass over memory.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from minicnn.backends.cuda.arrays import guarded, guarded_lists
from minicnn.backends.cuda.elementwise import blocks_for, own_number, real_of
from minicnn.backends.cuda.runtime.device import Kernel
from minicnn.backends.cuda.runtime.device_array import launch
from minicnn.backends.cuda.tiles import THREADS
from minicnn.plain import Array


@guarded
def sgd_step_(
    param: Array, velocity: Array, grad: Array, lr: float, momentum: float, nesterov: bool, weight_decay: float
) -> None:
    settings = map(real_of(param), (lr, momentum, weight_decay))
    launch(_sgd(nesterov), blocks_for(param.size), THREADS, param, velocity, grad, *settings, param.size)


@guarded
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
    # lr * m_hat / (sqrt(v_hat) + eps), with both bias corrections moved out of the kernel into the settings.
    step_size = lr / (1 - beta1**step)
    v_hat_root = 1 / math.sqrt(1 - beta2**step)
    keep = 1 - lr * weight_decay if decoupled else 1
    decay = 0 if decoupled else weight_decay
    settings = map(real_of(param), (step_size, v_hat_root, 1 - beta1, beta2, 1 - beta2, eps, keep, decay))
    launch(_adam, blocks_for(param.size), THREADS, param, m, v, grad, *settings, param.size)


@guarded_lists
def foreach_sgd_step_(
    params: Sequence[Array],
    velocities: Sequence[Array],
    grads: Sequence[Array],
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> None:
    for param, velocity, grad in zip(params, velocities, grads, strict=True):
        sgd_step_(param, velocity, grad, lr, momentum, nesterov, weight_decay)


@guarded_lists
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
    for param, m, v, grad in zip(params, ms, vs, grads, strict=True):
        adam_step_(param, m, v, grad, lr, beta1, beta2, eps, weight_decay, decoupled, step)


@lru_cache
def _sgd(nesterov: bool) -> Kernel:
    def kernel(param: Array, velocity: Array, grad: Array, lr: Any, momentum: Any, weight_decay: Any,
               size: int) -> None:  # fmt: skip
        i = own_number()
        if i < size:
            at = np.uint64(i)
            g = grad[at] + weight_decay * param[at]
            velocity[at] = momentum * velocity[at] + g
            param[at] -= lr * (g + momentum * velocity[at] if nesterov else velocity[at])

    return kernel


def _adam(param: Array, m: Array, v: Array, grad: Array, step_size: Any, v_hat_root: Any, one_minus_beta1: Any,
          beta2: Any, one_minus_beta2: Any, eps: Any, keep: Any, decay: Any, size: int) -> None:  # fmt: skip
    i = own_number()
    if i < size:
        at = np.uint64(i)
        p = keep * param[at]
        g = grad[at] + decay * p
        m[at] += one_minus_beta1 * (g - m[at])
        v[at] = beta2 * v[at] + one_minus_beta2 * g * g
        param[at] = p - step_size * m[at] / (math.sqrt(v[at]) * v_hat_root + eps)
