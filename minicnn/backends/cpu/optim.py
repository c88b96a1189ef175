"""Parameter updates, in place, as PyTorch defines them.

    SGD     g = grad + weight_decay * param
            velocity = momentum * velocity + g
            param -= lr * velocity                        Nesterov: lr * (g + momentum * velocity)

    Adam    g = grad + weight_decay * param
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g²
            param -= lr * m_hat / (sqrt(v_hat) + eps)     m_hat = m / (1 - beta1 ** step), v_hat likewise

    AdamW   param *= 1 - lr * weight_decay first, and g = grad

Who owns what: each worker owns one chunk of param and of its state. Cost: one pass over memory, and for all parameters
one native call: a call for each took a small network longer than its arithmetic.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from minicnn.backends.cpu.arrays import guarded, guarded_lists
from minicnn.backends.cpu.runtime.jit import CHUNK, by_pointer, chunks, inlined
from minicnn.backends.cpu.runtime.launch import Launch, unpack
from minicnn.backends.cpu.runtime.program import Given, Kept, Program, addresses
from minicnn.plain import Array


@guarded
def sgd_step_(
    param: Array, velocity: Array, grad: Array, lr: float, momentum: float, nesterov: bool, weight_decay: float
) -> None:
    foreach_sgd_step_((param,), (velocity,), (grad,), lr, momentum, nesterov, weight_decay)


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
    foreach_adam_step_((param,), (m,), (v,), (grad,), lr, beta1, beta2, eps, weight_decay, decoupled, step)


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
    _for_each(_sgd_chunk, (params, velocities, grads), (lr, momentum, weight_decay, nesterov))


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
    # lr * m_hat / (sqrt(v_hat) + eps), with both bias corrections moved out of the loop into the settings.
    step_size = lr / (1 - beta1**step)
    v_hat_root = 1 / math.sqrt(1 - beta2**step)
    keep = 1 - lr * weight_decay if decoupled else 1
    decay = 0 if decoupled else weight_decay
    settings = (step_size, v_hat_root, 1 - beta1, beta2, 1 - beta2, eps, keep, decay)
    _for_each(_adam_chunk, (params, ms, vs, grads), settings)


def _for_each(kernel: Callable[..., None], lists: Sequence[Sequence[Array]], settings: Sequence[float]) -> None:
    """One native call for all parameters."""
    params = lists[0]
    if not params:
        return
    dtype = params[0].dtype
    program = _program(kernel, tuple([param.size for param in params]), len(lists), dtype)
    every = [array for arrays in lists for array in arrays]
    program.run(np.array(settings, dtype), kept=addresses(every))


@lru_cache(maxsize=64)
def _program(kernel: Callable[..., None], sizes: tuple[int, ...], n_lists: int, dtype: np.dtype[Any]) -> Program:
    """The launches for parameters of these sizes."""
    launches = []
    for position, size in enumerate(sizes):
        arrays = [Kept(k * len(sizes) + position) for k in range(n_lists)]
        launches.append(Launch(kernel, (*arrays, Given(0)), (), workers=chunks(size)))
    return Program(launches, dtype, kept=n_lists * len(sizes))


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
