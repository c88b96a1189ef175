"""Temperature: one number by which a classifier becomes as sure as it is right.

    p_T[n, k] = softmax over k of (log p[n, k] / T)

With the temperature T above 1 all probabilities move towards each other, with T below 1 apart; which class is likeliest
stays. T is chosen so that labelled images that were not learnt from get the largest likelihood (Guo et al., 2017).
"""

from __future__ import annotations

import numpy as np

from minicnn.checks import as_number
from minicnn.plain import Array

SMALLEST = np.finfo(np.float32).tiny  # probabilities below it came out as 0
TEMPERATURES = (0.05, 20.0)  # within which it is looked for


def temperature_of(probabilities: Array, labels: Array) -> float:
    """The T whose probabilities have the largest likelihood: of images that were not learnt from.

    Args:
        probabilities: (N, K), each row from 0 to 1.
        labels: (N,) the true classes.

    The likelihood is a concave function of b = 1 / T, whose slope is the mean over images of log p[n, t[n]] - sum over
    k of p_T[n, k] * log p[n, k]; the b where that is 0 is found by halving.

    Raises ValueError where there are no images.
    """
    if not len(labels):
        raise ValueError("temperature_of: expected labelled images, got none")
    log_p = np.log(np.maximum(probabilities, SMALLEST).astype(np.float64))
    of_labels = log_p[np.arange(len(labels)), labels].mean()

    def slope(b: float) -> float:
        return float(of_labels - (scaled(probabilities, 1 / b) * log_p).sum(axis=1).mean())

    coldest, hottest = TEMPERATURES
    low, high = 1 / hottest, 1 / coldest
    while high - low > 1e-6 * low:
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return 2 / (low + high)


def scaled(probabilities: Array, temperature: float) -> Array:
    """softmax(log p / T), (N, K) of the dtype of p.

    >>> scaled(np.array([[0.9, 0.1]]), 2).round(3)
    array([[0.75, 0.25]])
    """
    as_number(temperature, "scaled: temperature", 0)
    logs = np.log(np.maximum(probabilities, SMALLEST)) / np.asarray(temperature, probabilities.dtype)
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
