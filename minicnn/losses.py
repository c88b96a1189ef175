"""Losses: one number for a batch, and its gradient with respect to the network's output."""

import copy
import math
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from minicnn.backends import get_backend, module_of
from minicnn.backends.copying import Copyable
from minicnn.backends.protocol import Operations
from minicnn.backends.reduced import Reduced
from minicnn.checks import as_floats, as_int, as_number, kind_of, refuse_images
from minicnn.plain import Array, as_plain_array

if TYPE_CHECKING:
    from typing_extensions import Self

Reduction: TypeAlias = Literal["mean", "sum"]  # PyTorch's third, "none", is refused by name


class Loss(Protocol):
    """What is asked of a loss, minicnn's or a custom one."""

    def forward(self, output: Any, target: Any, /) -> Any:
        """The loss, a number."""

    def backward(self) -> Any:
        """The gradient with respect to the output given to forward."""


class _ClassificationLoss(Loss, Copyable):
    """What both losses share: the checks of output and labels, the class weights, and the memory for backward.

    `forward` and `backward` compute on the backend `ops`: "cpu" for a new loss; `to` changes it.
    """

    def __init__(self, weight: ArrayLike | None, ignore_index: int, reduction: Reduction) -> None:
        self.ops = module_of("cpu")
        self.weight, self.ignore_index, self.reduction = weight, ignore_index, reduction
        self._memory: tuple[Array, Array, Array] | None = None

    @property
    def ops(self) -> Operations:
        """The backend; after a forward that left images out, or is a sum, with `Reduced` in its place."""
        return self._backend if self._reduced is None else self._reduced

    @ops.setter
    def ops(self, ops: Operations) -> None:
        self._backend, self._reduced = ops, None

    @property
    def ignore_index(self) -> int:
        """The label of images that are left out; what is set is checked."""
        return self._ignore_index

    @ignore_index.setter
    def ignore_index(self, ignore_index: int) -> None:
        self._ignore_index = as_int(ignore_index, f"{type(self).__name__}: ignore_index", -math.inf)

    @property
    def reduction(self) -> str:
        """mean or sum; what is set is checked."""
        return self._reduction

    @reduction.setter
    def reduction(self, reduction: str) -> None:
        if reduction not in ("mean", "sum"):
            hint = "; backward begins at one number: for the loss of image n call it with output[n : n + 1]"
            raise ValueError(
                f"{type(self).__name__}: expected reduction 'mean' or 'sum', got {reduction!r}"
                f"{hint if reduction == 'none' else ''}"
            )
        self._reduction = reduction

    @property
    def weight(self) -> Array | None:
        """The weight of each class, (K,), or None; what is set is checked."""
        return self._weight

    @weight.setter
    def weight(self, weight: ArrayLike | None) -> None:
        name = type(self).__name__
        if weight is not None:
            weight = as_plain_array(weight, f"{name}: class weights")
            if weight.ndim != 1 or not np.issubdtype(weight.dtype, np.floating):
                raise TypeError(f"{name}: expected class weights as a float array (K,), got {kind_of(weight)}")
            if not (np.isfinite(weight).all() and (weight >= 0).all()):
                raise ValueError(f"{name}: expected finite class weights of at least 0, got {weight}")
        self._weight = weight

    def to(self, backend: str) -> "Self":
        """Compute on `backend`. Returns the loss."""
        self.ops = get_backend(backend)
        self._memory = None
        return self

    def __call__(self, output: Array, target: ArrayLike) -> float:
        return self.forward(output, target)

    def _checked(self, output: Array, target: ArrayLike) -> tuple[Array, Array, Array]:
        """(output, labels as int64, class weights of the output's dtype), or the error that names what is wrong."""
        name = type(self).__name__
        output = as_floats(self._backend, output, f"{name}: output")
        refuse_images(output, name)
        if output.ndim != 2 or 0 in output.shape:
            raise ValueError(f"{name}: expected output of shape (N, K) with N and K at least 1, got {output.shape}")
        n_images, n_classes = output.shape

        labels = as_plain_array(target, f"{name}: labels")
        if labels.dtype.kind not in "iu":
            raise TypeError(f"{name}: expected integer labels, got dtype {labels.dtype}{_remedy(labels, n_classes)}")
        if labels.shape != (n_images,):
            raise ValueError(
                f"{name}: expected {n_images} labels, shape ({n_images},), got shape {labels.shape}"
                f"{_remedy(labels, n_classes)}"
            )
        counts = labels != self.ignore_index
        targets = np.where(counts, labels, 0).astype(np.int64)
        if targets.view(np.uint64).max() >= n_classes:  # one pass: without a sign, what is below 0 is large
            first = np.flatnonzero(counts & ((labels < 0) | (labels >= n_classes)))[0]
            raise ValueError(
                f"{name}: expected labels from 0 to {n_classes - 1}, got {labels[first]} at position {first}"
            )

        weights = np.ones(n_classes) if self.weight is None else self.weight
        if weights.shape != (n_classes,):
            raise ValueError(f"{name}: expected {n_classes} class weights, one for each class, got {len(weights)}")
        self._reduced = self._choose_reduced(targets, counts, weights)
        return output, self._backend.asarray(targets), self._backend.asarray(weights.astype(output.dtype))

    def require_readable(self, output: Array, target: ArrayLike) -> None:
        """Raise what `forward` raises for outputs or labels that are not what it takes, and change nothing."""
        copy.copy(self)._checked(output, target)

    def _choose_reduced(self, targets: Array, counts: Array, weights: Array) -> Any:
        """None for the mean over all images, which is what a backend's operations compute."""
        if self.reduction == "mean" and counts.all():
            return None
        kept = np.flatnonzero(counts & (self.reduction == "mean" or weights.any()))  # a sum of no weight is 0
        total = float(weights[targets[kept]].sum()) if self.reduction == "sum" else None
        return Reduced(self._backend, kept, targets[kept], total)

    def _recall(self) -> tuple[Array, Array, Array]:
        if self._memory is None:
            raise RuntimeError(
                f"{type(self).__name__}: backward needs a forward first, and each forward serves one backward"
            )
        memory, self._memory = self._memory, None
        return memory


def _remedy(labels: Array, n_classes: int) -> str:
    """What to do with labels of another form, for an error's message."""
    if labels.ndim == 2 and labels.shape[1] == n_classes:
        return "; one-hot labels become classes by labels.argmax(axis=1)"
    if labels.ndim == 2 and labels.shape[1] == 1:
        return "; a column becomes labels by labels[:, 0]"
    return "; convert with labels.astype(np.int64)" if labels.ndim == 1 and labels.dtype.kind in "fb" else ""


class NLLLoss(_ClassificationLoss):
    """Negative log-likelihood of log-probabilities, `torch.nn.NLLLoss`.

        loss = - sum over n of w[t[n]] * log_p[n, t[n]]  /  sum over n of w[t[n]]
        d loss / d log_p[n, k] = - w[k] / (sum over n of w[t[n]])  where k = t[n], else 0

    Shapes: output log_p (N, K), target t (N,) integers from 0 to K - 1, or ignore_index.

    Args:
        weight: the weight w (K,) of each class; all 1 unless given.
        ignore_index: a label whose images are left out, of the loss and of what it is divided by; their gradient is 0.
        reduction: "mean" over the images, weighted as above; or "sum", which is not divided.

    Raises:
        ValueError: labels out of range or of the wrong number, wrong rank, empty batch; reduction "none", which leaves
            no number for backward to begin at.
        TypeError: output that is not float32 or float64, or is `Images`; labels that are not integers.
        RuntimeError: backward without a forward.

    >>> import numpy as np
    >>> loss = NLLLoss()
    >>> loss.forward(np.log([[0.5, 0.5], [0.25, 0.75]]), [0, 1])          # -(log 0.5 + log 0.75) / 2
    0.4904146265058631
    >>> loss.backward()
    array([[-0.5, -0. ],
           [-0. , -0.5]])
    >>> NLLLoss(reduction="sum").forward(np.log([[0.5, 0.5], [0.25, 0.75]]), [0, -100])   # -log 0.5
    0.6931471805599453

    The arithmetic, in `minicnn/backends/`:
        reference/losses.py    to read
        cpu/losses.py          to run
        cuda/losses.py         to run on a GPU
    """

    def __init__(
        self, weight: ArrayLike | None = None, *, ignore_index: int = -100, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(weight, ignore_index, reduction)

    def forward(self, output: Array, target: ArrayLike) -> float:
        """The loss as a Python float."""
        log_p, targets, weights = self._checked(output, target)
        self._memory = log_p, targets, weights
        return self.ops.nll_loss_forward(log_p, targets, weights, 0.0)

    def backward(self) -> Array:
        """The gradient with respect to the output given to forward, (N, K)."""
        log_p, targets, weights = self._recall()
        return self.ops.nll_loss_backward(log_p, targets, weights, 0.0)


class CrossEntropyLoss(_ClassificationLoss):
    """Log-softmax and negative log-likelihood in one, `torch.nn.CrossEntropyLoss`.

        log_p = log_softmax(output)
        loss  = NLL of log_p, where label smoothing e asks for (1 - e) * onehot(t) + e / K in place of onehot(t)

    Backward goes through both steps in turn, first the loss and then the log-softmax; for e = 0 and equal
    weights the result is (softmax(output) - onehot(t)) / N.

    Shapes: output (N, K), scores of any size; target t (N,) integers from 0 to K - 1, or ignore_index.

    Args:
        weight: the weight (K,) of each class; all 1 unless given.
        ignore_index: a label whose images are left out, of the loss and of what it is divided by; their gradient is 0.
        reduction: "mean" over the images, weighted by class; or "sum", which is not divided.
        label_smoothing: e, from 0 to 1 (Szegedy et al., 2016).

    Raises:
        ValueError: labels out of range or of the wrong number, wrong rank, empty batch; reduction "none", which leaves
            no number for backward to begin at.
        TypeError: output that is not float32 or float64, labels that are not integers.
        RuntimeError: backward without a forward.

    >>> import numpy as np
    >>> loss = CrossEntropyLoss()
    >>> loss.forward(np.zeros((1, 2)), [0])          # log 2
    0.6931471805599453
    >>> loss.backward()
    array([[-0.5,  0.5]])

    The arithmetic, in `minicnn/backends/`:
        reference/log_softmax.py, reference/losses.py    to read
        cpu/log_softmax.py, cpu/losses.py                to run
        cuda/log_softmax.py, cuda/losses.py              to run on a GPU
    """

    def __init__(
        self,
        weight: ArrayLike | None = None,
        label_smoothing: float = 0.0,
        *,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        self.label_smoothing = label_smoothing

    @property
    def label_smoothing(self) -> float:
        """e; what is set is checked."""
        return self._label_smoothing

    @label_smoothing.setter
    def label_smoothing(self, label_smoothing: float) -> None:
        self._label_smoothing = as_number(label_smoothing, "CrossEntropyLoss: label_smoothing", 0, 1)

    def forward(self, output: Array, target: ArrayLike) -> float:
        """The loss as a Python float."""
        output, targets, weights = self._checked(output, target)
        log_p = self.ops.log_softmax_forward(output)
        self._memory = log_p, targets, weights
        return self.ops.nll_loss_forward(log_p, targets, weights, self.label_smoothing)

    def backward(self) -> Array:
        """The gradient with respect to the output given to forward, (N, K)."""
        log_p, targets, weights = self._recall()
        # learn: back through the loss, then back through the log-softmax
        d_log_p = self.ops.nll_loss_backward(log_p, targets, weights, self.label_smoothing)
        return self.ops.log_softmax_backward(d_log_p, log_p)
