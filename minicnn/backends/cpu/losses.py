"""Negative log-likelihood, with class weights w and label smoothing e, averaged as PyTorch averages.

With total = sum over images of w[t[n]],

    loss = -1 / total * sum over n of ((1 - e) * w[t[n]] * log_p[n, t[n]]  +  e / K * sum over k of w[k] * log_p[n, k])

The gradient is with respect to log_p. These loops are serial: N * K numbers are fewer than a parallel loop costs.
"""

import numpy as np

from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.runtime.jit import serial
from minicnn.plain import Array


@guarded
def nll_loss_forward(log_p: Array, targets: Array, class_weights: Array, label_smoothing: float) -> float:
    return _forward(log_p, targets, class_weights, label_smoothing)


@guarded
def nll_loss_backward(log_p: Array, targets: Array, class_weights: Array, label_smoothing: float) -> Array:
    d_log_p = np.empty_like(log_p)
    _backward(targets, class_weights, label_smoothing, d_log_p)
    return d_log_p


@serial
def _forward(log_p: Array, targets: Array, class_weights: Array, label_smoothing: float) -> float:
    n_images, n_classes = log_p.shape
    weighted, total = 0.0, 0.0
    for n in range(n_images):
        target = targets[n]
        weighted += (1 - label_smoothing) * class_weights[target] * log_p[n, target]
        total += class_weights[target]
        if label_smoothing > 0:  # not 0 * log_p: log_p may be -inf where no target points
            for k in range(n_classes):
                weighted += label_smoothing / n_classes * class_weights[k] * log_p[n, k]
    return -weighted / total


@serial
def _backward(targets: Array, class_weights: Array, label_smoothing: float, d_log_p: Array) -> None:
    n_images, n_classes = d_log_p.shape
    total = 0.0
    for n in range(n_images):
        total += class_weights[targets[n]]
    for n in range(n_images):
        for k in range(n_classes):
            d_log_p[n, k] = -label_smoothing / n_classes * class_weights[k] / total
        target = targets[n]
        d_log_p[n, target] -= (1 - label_smoothing) * class_weights[target] / total
