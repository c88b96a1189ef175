"""Gradient clipping: a bound on the norm of all gradients together."""

import math

from minicnn.network import Sequential


def clip_gradients(network: Sequential, max_norm: float) -> float:
    """Scale all gradients by one factor so that their norm is at most `max_norm`; returns the norm before.

        norm = sqrt(sum of all squares)               factor = min(1, max_norm / (norm + 1e-6))

    `torch.nn.utils.clip_grad_norm_`'s rule and numbers. Raises RuntimeError where a parameter has no gradient yet.
    """
    without = [name for name, layer, key in network.named_params() if key not in layer.grads]
    if without:
        raise RuntimeError(f"clip_gradients: no gradient for {', '.join(without)}; call backward first")
    grads = [(layer.ops, layer.grads[key]) for _, layer, key in network.named_params()]
    # learn: the norm of all gradients as one long vector
    norm = math.sqrt(sum(ops.sum_of_squares(grad) for ops, grad in grads))
    # learn: the factor that brings it down to max_norm
    factor = max_norm / (norm + 1e-6)
    if factor < 1:
        for ops, grad in grads:
            ops.scale_(grad, factor)
    return norm
