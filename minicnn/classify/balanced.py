"""BalancedLoss: every class counts for as much, however few images it has."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from minicnn.checks import as_floats, as_int, shortened
from minicnn.losses import CrossEntropyLoss
from minicnn.plain import Array


class BalancedLoss(CrossEntropyLoss):
    """Cross-entropy of a network's outputs with the log of each class's share added (Menon et al., 2021).

        share[k] = images of class k / N
        loss     = CrossEntropyLoss of output[n, k] + log(share[k])

    The sum is what predicts the training set, where some classes are rare, and its second part is known; the network
    learns the first. Its outputs alone are then those of a set in which all classes are equally frequent. To weight
    the rare images instead, as scikit-learn's "balanced", has less effect the better a network fits all of its images.

    The gradient by the outputs is that of the sum. Otherwise as `CrossEntropyLoss`.

    Args:
        labels: (N,) the classes of all images to learn from, integers from 0 to K - 1.
        n_classes: K.

    Attributes:
        log_share: (K,) float64.

    Raises ValueError where a class has no image.

    >>> loss = BalancedLoss(np.array([0, 0, 0, 1]), 2)
    >>> loss.forward(np.log([[0.75, 0.25]]) - loss.log_share, [1])      # as sure as the shares are: -log 0.25
    1.3862943611198906
    """

    def __init__(self, labels: Array, n_classes: int) -> None:
        super().__init__()
        counts = np.bincount(labels, minlength=as_int(n_classes, "BalancedLoss: n_classes", 1))
        if len(counts) > n_classes or not counts.all():
            raise ValueError(f"BalancedLoss: expected images of each of {n_classes} classes, got {shortened(counts)}")
        self.log_share = np.log(counts / len(labels))

    def forward(self, output: Array, target: ArrayLike) -> float:
        """The loss as a Python float."""
        self.require_readable(output, target)
        output = as_floats(self.ops, output, "BalancedLoss: output")
        numbers = self.ops.to_numpy(output)
        if numbers.shape[1] != len(self.log_share):
            raise ValueError(f"BalancedLoss: expected outputs of {len(self.log_share)} classes, got {numbers.shape[1]}")
        return super().forward(self.ops.asarray(numbers + self.log_share.astype(numbers.dtype)), target)
