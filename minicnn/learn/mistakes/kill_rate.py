"""How many of the known mistakes the numeric gradient check sees: each is put into a layer, and the layer checked.

Of use are mistakes in operations that a layer, or the loss, calls on its way forward or back. Left out are those in
updates, window arithmetic, kernels in loops and the network's own methods, which are no layer's operations.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

import minicnn
from minicnn.backends.own import OwnOperations
from minicnn.backends.protocol import Operations
from minicnn.learn.grader.answers import function
from minicnn.learn.mistakes import MISTAKES, Mistake
from minicnn.plain import Array

Replaced: TypeAlias = dict[str, Callable[..., Any]]  # what stands in for an operation, by its name


def survivors() -> tuple[list[Mistake], list[Mistake]]:
    """(mistakes tried, those that `gradcheck` passes), two lists."""
    tried = [mistake for mistake in MISTAKES if _checks(mistake)]
    return tried, [mistake for mistake in tried if all(_passes(mistake, *check) for check in _checks(mistake))]


def _passes(mistake: Mistake, layer: minicnn.Layer, x: Array, loss: Any = None, y: Array | None = None) -> bool:
    replaced = {mistake.task: function(mistake.task, (mistake,))}
    if loss is None:
        layer.use(**replaced)
    else:
        loss.replaced = replaced
    try:
        return bool(minicnn.gradcheck(layer, x, y, loss=loss))
    except (ValueError, TypeError, IndexError):  # what does not fit, numbers that are not finite
        return False


class _WrongNLLLoss(minicnn.NLLLoss):
    """With replaced operations, on whichever backend it is put."""

    replaced: Replaced

    def to(self, backend: str) -> "_WrongNLLLoss":
        super().to(backend)
        self.ops = _with_replaced(self.ops, self.replaced)
        return self


class _WrongCrossEntropyLoss(minicnn.CrossEntropyLoss):
    """With replaced operations, on whichever backend it is put."""

    replaced: Replaced

    def to(self, backend: str) -> "_WrongCrossEntropyLoss":
        super().to(backend)
        self.ops = _with_replaced(self.ops, self.replaced)
        return self


def _with_replaced(ops: Operations, replaced: Replaced) -> Any:
    return OwnOperations(ops, replaced)


def _checks(mistake: Mistake) -> list[tuple[Any, ...]]:
    """The checks that call a mistake's operation, each (layer, x) or (layer, x, loss, y); none for other tasks.

    A new BatchNorm2d has weights of 1, beside which forgetting them cannot be seen: these have others.
    """
    rng = np.random.default_rng(0)
    images, scores, labels = rng.standard_normal((3, 2, 7, 9)), rng.standard_normal((5, 4)), np.array([0, 3, 1, 2, 3])
    batchnorm, frozen = minicnn.BatchNorm2d(2), minicnn.BatchNorm2d(2).eval()
    for layer in (batchnorm, frozen):
        layer.params["weight"][:] = [0.5, 2]
    weights = np.array([0.5, 1.0, 2.0, 3.0])
    conv = minicnn.Conv2d(2, 3, kernel_size=(3, 2), stride=(2, 1), padding=(1, 1), rng=0)
    checks: dict[str, list[tuple[Any, ...]]] = {
        "linear_": [(minicnn.Linear(4, 3, rng=0), scores)],
        "relu_": [(minicnn.ReLU(), images)],
        "log_softmax_": [(minicnn.LogSoftmax(), scores)],
        "nll_loss_": [
            (minicnn.Flatten(), scores, _WrongNLLLoss(weights), labels),
            (minicnn.Flatten(), scores, _WrongCrossEntropyLoss(weights, label_smoothing=0.1), labels),
        ],
        "max_pool2d_": [(minicnn.AdaptiveMaxPool2d((3, 4)), images)],
        "avg_pool2d_": [(minicnn.AvgPool2d(3, stride=2, padding=1), images)],
        "conv2d_": [(conv, images), (minicnn.Conv2d(2, 3, kernel_size=2, rng=0), images)],
        "batchnorm2d_train_": [(batchnorm, images)],
        "batchnorm2d_eval_": [(frozen, images)],
    }
    found = next((checks for prefix, checks in checks.items() if mistake.task.startswith(prefix)), [])
    return [(layer.to("reference"), *rest) for layer, *rest in found]
