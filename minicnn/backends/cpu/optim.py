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


@guarded
def sgd_step_(param, velocity, grad, lr, momentum, nesterov, weight_decay):
    settings = np.array((lr, momentum, weight_decay, nesterov), param.dtype)
    launch(_sgd_chunk, (param, velocity, grad, settings), (), 0, 0, chunks(param.size), param.dtype)


@guarded
def adam_step_(param, m, v, grad, lr, beta1, beta2, eps, weight_decay, decoupled, step):
    # lr * m_hat / (sqrt(v_hat) + eps), with both bias corrections moved out of the loop into the settings.
    step_size = lr / (1 - beta1**step)
    v_hat_root = 1 / math.sqrt(1 - beta2**step)
    keep = 1 - lr * weight_decay if decoupled else 1
    decay = 0 if decoupled else weight_decay
    settings = (step_size, v_hat_root, 1 - beta1, beta2, 1 - beta2, eps, keep, decay)
    arrays = (param, m, v, grad, np.array(settings, param.dtype))
    launch(_adam_chunk, arrays, (), 0, 0, chunks(param.size), param.dtype)


@inlined
def _own_chunk(array, chunk):
    """The numbers that a worker owns. A loop over these alone is done several numbers at a time: no index can be
    negative, and what was written is not read again."""
    return array[chunk * CHUNK : (chunk + 1) * CHUNK]


@by_pointer
def _sgd_chunk(arrays, numbers, table, scratch, chunk):
    """arrays: param, velocity, grad, settings."""
    lr, momentum, weight_decay, nesterov = unpack(arrays[3], 4)
    param, velocity, grad = _own_chunk(arrays[0], chunk), _own_chunk(arrays[1], chunk), _own_chunk(arrays[2], chunk)
    for t in range(param.size):
        g = grad[t] + weight_decay * param[t]
        new_velocity = momentum * velocity[t] + g
        velocity[t] = new_velocity
        param[t] -= lr * (g + momentum * new_velocity if nesterov else new_velocity)


@by_pointer
def _adam_chunk(arrays, numbers, table, scratch, chunk):
    """arrays: param, m, v, grad, settings."""
    step_size, v_hat_root, one_minus_beta1, beta2, one_minus_beta2, eps, keep, decay = unpack(arrays[4], 8)
    param, m = _own_chunk(arrays[0], chunk), _own_chunk(arrays[1], chunk)
    v, grad = _own_chunk(arrays[2], chunk), _own_chunk(arrays[3], chunk)
    for t in range(param.size):
        p = keep * param[t]
        g = grad[t] + decay * p
        new_m = m[t] + one_minus_beta1 * (g - m[t])
        new_v = beta2 * v[t] + one_minus_beta2 * g * g
        m[t], v[t] = new_m, new_v
        param[t] = p - step_size * new_m / (math.sqrt(new_v) * v_hat_root + eps)
