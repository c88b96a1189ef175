"""Reliability: whether a classifier that is sure to 80 % is right in 80 of 100 cases."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minicnn.checks import as_int
from minicnn.classify.evaluate import Evaluation
from minicnn.plain import Array


class Reliability(NamedTuple):
    """How sure a classifier was, and how often it was right, in B bins of how sure it was.

    edges: (B + 1,) from 0 to 1.
    counts: (B,) images whose largest probability is in the bin.
    confidence: (B,) the mean of that probability; NaN where there are none.
    accuracy: (B,) the share of them that are right; NaN where there are none.
    """

    edges: Array
    counts: Array
    confidence: Array
    accuracy: Array

    @property
    def error(self) -> float:
        """The expected calibration error: the mean over images of |accuracy - confidence| of their bins."""
        gaps = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return float((gaps * self.counts).sum() / self.counts.sum())


def reliability(evaluation: Evaluation, bins: int = 10) -> Reliability:
    """The `Reliability` of an `Evaluation`, in bins of equal width.

    >>> sure = Evaluation(["a", "b"], [], np.array([0, 0, 1, 1]), np.float32([[0.9, 0.1]] * 2 + [[0.2, 0.8]] * 2))
    >>> found = reliability(sure)
    >>> found.counts.tolist(), round(found.error, 3)
    ([0, 0, 0, 0, 0, 0, 0, 2, 2, 0], 0.15)
    """
    edges = np.linspace(0, 1, as_int(bins, "reliability: bins", 1) + 1)
    confidence = evaluation.probabilities.max(axis=1).astype(np.float64)
    right = evaluation.predicted == evaluation.labels
    of_bin = np.clip(np.ceil(confidence * bins - 1e-6).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(of_bin, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(of_bin, values, bins) / counts for values in (confidence, right)]
    return Reliability(edges, counts, *means)
