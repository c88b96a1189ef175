"""Parameter updates, in place, as PyTorch defines them.

    SGD     g = grad + weight_decay * param
            velocity = momentum * velocity + g
            param -= lr * velocity                        Nesterov: lr * (g + momentum * velocity)

    Adam    g = grad + weight_decay * param
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g²
            param -= lr * m_hat / (sqrt(v_hat) + eps)     m_hat = m / (1 - beta1 ** step), v_hat likewise

    AdamW   param *= 1 - lr * weight_decay first, and g = grad

Who owns what: each worker owns one chunk of param and of its state. Cost: one pass over memory.
"""

import math

import numpy as np

from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.runtime.jit import CHUNK, by_pointer, chunks, inlined
from minicnn.backends.cpu.runtime.launch import launch, unpack
from minicnn.plain import Array


@guarded
def sgd_step_(
    param: Array, velocity: Array, grad: Array, lr: float, momentum: float, nesterov: bool, weight_decay: float
) -> None:
    settings = np.array((lr, momentum, weight_decay, nesterov), param.dtype)
    launch(_sgd_chunk, (param, velocity, grad, settings), (), workers=chunks(param.size), dtype=param.dtype)


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
    # lr * m_hat / (sqrt(v_hat) + eps), with both bias corrections moved out of the loop into the settings.
    step_size = lr / (1 - beta1**step)
    v_hat_root = 1 / math.sqrt(1 - beta2**step)
    keep = 1 - lr * weight_decay if decoupled else 1
    decay = 0 if decoupled else weight_decay
    settings = (step_size, v_hat_root, 1 - beta1, beta2, 1 - beta2, eps, keep, decay)
    arrays = (param, m, v, grad, np.array(settings, param.dtype))
    launch(_adam_chunk, arrays, (), workers=chunks(param.size), dtype=param.dtype)


@inlined
def _own_chunk(array: Array, chunk: int) -> Array:
    """The numbers that a worker owns. A loop over these alone is done several numbers at a time: no index can be
    negative, and what was written is not read again."""
    return array[chunk * CHUNK : (chunk + 1) * CHUNK]


@by_pointer
def _sgd_chunk(arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, chunk: int) -> None:
    """arrays: param, velocity, grad, settings."""
    params, velocities, grads, settings = arrays[:4]
    lr, momentum, weight_decay, nesterov = unpack(settings, 4)
    param, velocity, grad = _own_chunk(params, chunk), _own_chunk(velocities, chunk), _own_chunk(grads, chunk)
    for t in range(param.size):
        g = grad[t] + weight_decay * param[t]
        new_velocity = momentum * velocity[t] + g
        velocity[t] = new_velocity
        param[t] -= lr * (g + momentum * new_velocity if nesterov else new_velocity)


@by_pointer
def _adam_chunk(arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, chunk: int) -> None:
    """arrays: param, m, v, grad, settings."""
    params, ms, vs, grads, settings = arrays[:5]
    step_size, v_hat_root, one_minus_beta1, beta2, one_minus_beta2, eps, keep, decay = unpack(settings, 8)
    param, m = _own_chunk(params, chunk), _own_chunk(ms, chunk)
    v, grad = _own_chunk(vs, chunk), _own_chunk(grads, chunk)
    for t in range(param.size):
        p = keep * param[t]
        g = grad[t] + decay * p
        new_m = m[t] + one_minus_beta1 * (g - m[t])
        new_v = beta2 * v[t] + one_minus_beta2 * g * g
        m[t], v[t] = new_m, new_v
        param[t] = p - step_size * new_m / (math.sqrt(new_v) * v_hat_root + eps)
