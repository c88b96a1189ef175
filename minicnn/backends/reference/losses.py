"""Negative log-likelihood, with class weights w and label smoothing e, averaged as PyTorch averages.

Label smoothing asks for the distribution (1 - e) * onehot(t) + e / K in place of onehot(t). With
total = sum over images of w[t[n]],

    loss = -1 / total * sum over n of ((1 - e) * w[t[n]] * log_p[n, t[n]]  +  e / K * sum over k of w[k] * log_p[n, k])

The gradient is with respect to log_p, and log_p enters linearly: it does not depend on log_p's values.
"""

import numpy as np

from minicnn.plain import Array


def nll_loss_forward(log_p: Array, targets: Array, class_weights: Array, label_smoothing: float) -> float:
    """The loss, a number, for log_p (N, K), targets (N,) of ints, class_weights (K,)."""
    n_classes = log_p.shape[1]
    target_weights = class_weights[targets]
    of_target = np.take_along_axis(log_p, targets[:, None], axis=1)[:, 0]

    loss = (1 - label_smoothing) * (target_weights * of_target).sum()
    if label_smoothing > 0:  # not 0 * log_p: log_p may be -inf where no target points
        loss += label_smoothing / n_classes * (class_weights * log_p).sum()
    return float(-loss / target_weights.sum())


def nll_loss_backward(log_p: Array, targets: Array, class_weights: Array, label_smoothing: float) -> Array:
    """d_log_p (N, K) for log_p (N, K), targets (N,) of ints, class_weights (K,).

    forward: loss -= (1 - e) / total * w[t[n]] * log_p[n, t[n]]  and  loss -= e / K / total * w[k] * log_p[n, k]
    """
    n_images, n_classes = log_p.shape
    target_weights = class_weights[targets]

    d_log_p = np.zeros_like(log_p)
    # learn: what smoothing asks of every class
    d_log_p += label_smoothing / n_classes * class_weights
    # learn: what each image asks of its own target
    d_log_p[np.arange(n_images), targets] += (1 - label_smoothing) * target_weights
    # learn: the sign of the loss, and what it is averaged by
    d_log_p /= -target_weights.sum()
    return d_log_p
