"""The loss of the output, its gradient, and what the page's view of log-softmax and loss needs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.backends import get_backend
from minicnn.backends.protocol import Operations
from minicnn.inspect.finite import require_finite
from minicnn.inspect.passes import LayerPass
from minicnn.inspect.sample import WHOLE, Part, Rest
from minicnn.layers import LogSoftmax
from minicnn.losses import CrossEntropyLoss, NLLLoss
from minicnn.plain import Array
from minicnn.verify.isolate import own_copy


@dataclass
class LossPass:
    """The loss of the output, and its gradient dy; nothing but dy where that was given in place of a loss.

    loss: a `CrossEntropyLoss`, a `NLLLoss`, or any object with `forward` and `backward`.
    predicted: whether the labels are those that the network itself predicts.
    """

    dy: Array
    loss: Any = None
    labels: Array | None = None
    predicted: bool = False
    value: float | None = None


def run_loss(backend: str, output: Array, labels: Any, loss: Any) -> LossPass:
    """The loss of the output and its gradient; where there are no labels, those that the network itself predicts."""
    ops = get_backend(backend)
    if loss is None:
        loss = CrossEntropyLoss()
        if output.ndim != 2:
            raise ValueError(
                f"inspect: expected a network with an output of shape (N, K) for CrossEntropyLoss, got {output.shape}; "
                "give the gradient of a loss of your own as dy"
            )
    elif isinstance(loss, type) or not (hasattr(loss, "forward") and hasattr(loss, "backward")):
        raise TypeError(f"inspect: expected a loss such as CrossEntropyLoss(), got {loss!r}")
    else:
        loss = own_copy(loss, "inspect", "the loss")
    if isinstance(loss, (CrossEntropyLoss, NLLLoss)):
        loss.to(backend)
    predicted = labels is None
    if predicted:
        if output.ndim != 2:
            raise ValueError(f"inspect: expected labels y for an output of shape {output.shape}, which has no classes")
        labels = output.argmax(axis=1)
    name = type(loss).__name__
    value = float(loss.forward(ops.asarray(output.copy()), labels))
    if not math.isfinite(value):
        ignored = getattr(loss, "ignore_index", None)
        cause = "every label is one that it ignores" if np.all(labels == ignored) else "the output is too large for it"
        raise ValueError(f"inspect: expected a finite loss from {name}, got {value}; {cause}")
    dy = loss.backward()
    if np.shape(dy) != output.shape or getattr(dy, "dtype", None) != output.dtype:
        raise ValueError(
            f"inspect: expected a gradient of shape {output.shape} and dtype {output.dtype} from {name}.backward, "
            f"got {type(dy).__name__} of shape {np.shape(dy)} and dtype {getattr(dy, 'dtype', None)}"
        )
    dy = np.array(ops.to_numpy(dy))
    require_finite(dy, f"the gradient from {name}")
    return LossPass(dy, loss, np.array(labels), predicted, value)


def loss_view(passes: Sequence[LayerPass], ops: Operations, loss_pass: LossPass) -> dict[str, Any] | None:
    """What the view of log-softmax and loss needs, as `Part`s; None for other losses, and where dy was given.

    None as well for a loss of some of the images, or a sum: what the view says of each image is its part of a mean.

    With q = -d loss / d log_p, which for plain labels is onehot / N, log-softmax backward is

        dlogits = p * sum(q) - q = scale * (p - target)        scale = sum(q),  target = q / scale
    """
    last, loss, labels = passes[-1], loss_pass.loss, loss_pass.labels
    ends_in_log_softmax = type(last.layer) is LogSoftmax
    if labels is None or type(loss) not in (CrossEntropyLoss, NLLLoss):
        return None
    if type(loss) is NLLLoss and not ends_in_log_softmax:
        return None
    if loss.reduction != "mean" or (labels == loss.ignore_index).any():
        return None
    output, again = last.y, ops.to_numpy(ops.log_softmax_forward(ops.asarray(last.y.copy())))
    log_p = output if ends_in_log_softmax else again
    require_finite(log_p, "log_p")
    weights = np.ones(output.shape[1]) if loss.weight is None else loss.weight
    smoothing = loss.label_smoothing if type(loss) is CrossEntropyLoss else 0.0
    q = -ops.to_numpy(
        ops.nll_loss_backward(
            ops.asarray(log_p.copy()),
            ops.asarray(labels.astype(np.int64)),
            ops.asarray(weights.astype(output.dtype)),
            smoothing,
        )
    )
    scale = q.sum(axis=1)
    onehot = np.eye(output.shape[1], dtype=output.dtype)[labels]
    target = np.where(scale[:, None] > 0, q / scale[:, None], onehot)  # of an image with weight 0 nothing is asked
    n, k = axes = (len(passes), 0), (len(passes), 1)
    value = Part(np.array([loss_pass.value]), (WHOLE,))
    terms = Part(-q * log_p, axes)
    return {
        "log_p": Part(log_p, axes),
        "p": Part(np.exp(log_p), axes),
        "onehot": Part(target, axes),
        "scale": Part(scale, (n,)),
        "dlogits": Part(last.dx if ends_in_log_softmax else last.dy, axes),
        "second_log_softmax": Part(again, axes) if ends_in_log_softmax else None,
        "rest": {"loss": Rest(value, (n, k), lambda cut: cut.split(terms)[1].sum(keepdims=True)[0])},
    }
