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

from numba import prange

from minicnn.backends.cpu.jit import CHUNK, chunks, parallel, serial


def sgd_step_(param, velocity, grad, lr, momentum, nesterov, weight_decay):
    as_dtype = param.dtype.type
    settings = as_dtype(lr), as_dtype(momentum), nesterov, as_dtype(weight_decay)
    _sgd_step(param.reshape(-1), velocity.reshape(-1), grad.reshape(-1), settings, chunks(param.size))


def adam_step_(param, m, v, grad, lr, beta1, beta2, eps, weight_decay, decoupled, step):
    # lr * m_hat / (sqrt(v_hat) + eps), with both bias corrections moved out of the loop into the scalars.
    as_dtype = param.dtype.type
    step_size = as_dtype(lr / (1 - beta1**step))
    v_hat_root = as_dtype(1 / math.sqrt(1 - beta2**step))
    keep = as_dtype(1 - lr * weight_decay if decoupled else 1)
    decay = as_dtype(0 if decoupled else weight_decay)
    betas = as_dtype(1 - beta1), as_dtype(beta2), as_dtype(1 - beta2)
    settings = (step_size, v_hat_root, *betas, as_dtype(eps), keep, decay)
    _adam_step(param.reshape(-1), m.reshape(-1), v.reshape(-1), grad.reshape(-1), settings, chunks(param.size))


@parallel
def _sgd_step(param, velocity, grad, settings, n_chunks):
    for chunk in prange(n_chunks):
        part = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        _sgd_step_chunk(param[part], velocity[part], grad[part], settings)


@serial
def _sgd_step_chunk(param, velocity, grad, settings):
    lr, momentum, nesterov, weight_decay = settings
    for t in range(param.size):
        g = grad[t] + weight_decay * param[t]
        velocity[t] = momentum * velocity[t] + g
        param[t] -= lr * (g + momentum * velocity[t] if nesterov else velocity[t])


@parallel
def _adam_step(param, m, v, grad, settings, n_chunks):
    for chunk in prange(n_chunks):
        part = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        _adam_step_chunk(param[part], m[part], v[part], grad[part], settings)


@serial
def _adam_step_chunk(param, m, v, grad, settings):
    step_size, v_hat_root, one_minus_beta1, beta2, one_minus_beta2, eps, keep, decay = settings
    for t in range(param.size):
        p = keep * param[t]
        g = grad[t] + decay * p
        m[t] += one_minus_beta1 * (g - m[t])
        v[t] = beta2 * v[t] + one_minus_beta2 * g * g
        param[t] = p - step_size * m[t] / (math.sqrt(v[t]) * v_hat_root + eps)
