"""Losses of some of the images of a batch, and sums in place of means: what `ignore_index` and `reduction` ask for.

The operations of a backend take the mean of the negative log-likelihood over all images, weighted by class,

    mean = -1 / total * sum over n of (…)        total = sum over n of w[t[n]]

so a loss of some images is theirs of a smaller batch, and a sum is a mean times its total.
"""

from typing import Any

import numpy as np

from minicnn.backends.copying import Copyable
from minicnn.backends.protocol import Operations
from minicnn.plain import Array


class Reduced(Copyable):
    """The operations of a backend, but the negative log-likelihood is of the images `kept` alone, and may be a sum.

    Their rows are gathered on the host: they are few numbers, K to an image, and with no image left out there is
    nothing to gather.

    Attributes:
        backend: whose operations the rest are.
        kept: positions of the images that count, (M,).
        targets: their labels, (M,) int64.
        total: the sum of their class weights for a sum, None for a mean.
    """

    def __init__(self, backend: Operations, kept: Array, targets: Array, total: float | None) -> None:
        self.backend, self.kept, self.targets, self.total = backend, kept, targets, total

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # which `copy` and `pickle` ask for before there is a backend
            raise AttributeError(name)
        return getattr(self.backend, name)

    def nll_loss_forward(self, log_p: Array, targets: Array, class_weights: Array, label_smoothing: float) -> float:
        """The mean or sum; of no images NaN or 0, as in PyTorch."""
        if self._is_zero(label_smoothing):
            return float("nan") if self.total is None else 0.0
        asked, smoothing, factor = self._asked(class_weights, label_smoothing)
        return factor * self.backend.nll_loss_forward(self._rows(log_p), asked, class_weights, smoothing)

    def nll_loss_backward(self, log_p: Array, targets: Array, class_weights: Array, label_smoothing: float) -> Array:
        """d_log_p (N, K), with 0 for images that do not count."""
        if self._is_zero(label_smoothing):
            return self.backend.asarray(np.zeros(log_p.shape, log_p.dtype))
        asked, smoothing, factor = self._asked(class_weights, label_smoothing)
        d_rows = self.backend.nll_loss_backward(self._rows(log_p), asked, class_weights, smoothing)
        self.backend.scale_(d_rows, factor)
        if len(self.kept) == len(log_p):
            return d_rows
        d_log_p = np.zeros(log_p.shape, log_p.dtype)
        d_log_p[self.kept] = self.backend.to_numpy(d_rows)
        return self.backend.asarray(d_log_p)

    def _is_zero(self, label_smoothing: float) -> bool:
        """Whether nothing is added up: no image counts, or of a sum the class of none, and there is no smoothing."""
        return not len(self.kept) or (self.total == 0 and not label_smoothing)

    def _asked(self, class_weights: Array, label_smoothing: float) -> tuple[Array, float, float]:
        """(targets, label smoothing, factor): the mean of these times the factor is what is asked for."""
        if self.total == 0:  # the smoothing is left of the sum: as if all were of one class, which has a weight
            weights = self.backend.to_numpy(class_weights)
            heaviest = int(weights.argmax())
            total = len(self.kept) * float(weights[heaviest])
            return self.backend.asarray(np.full_like(self.targets, heaviest)), 1.0, label_smoothing * total
        return self.backend.asarray(self.targets), label_smoothing, 1.0 if self.total is None else self.total

    def _rows(self, log_p: Array) -> Array:
        if len(self.kept) == len(log_p):
            return log_p
        return self.backend.asarray(self.backend.to_numpy(log_p)[self.kept])
