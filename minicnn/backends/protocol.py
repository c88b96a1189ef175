"""The operations of a backend: what each takes and gives, in the letters of `minicnn.backends`.

`layer.ops` is one of these. An operation's own docstring, in the backend `reference`, has its formula.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from numpy.typing import DTypeLike

from minicnn.backends.contract import Activation, Block, Norm
from minicnn.images import Batch, Images
from minicnn.plain import Array, Pads, Pair, Sizes

Windows: TypeAlias = Array | list[Array]  # a table of `minicnn.geometry`; for `Images` a list with one for each image
Report: TypeAlias = Callable[[str, int, int], object]  # report(name, done, total)


class Operations(Protocol):
    """A module with these functions is a backend.

    Where `Batch` is written, an array (N, C, H, W) gives arrays, and `Images` give `Images`. The last line of each
    entry names the files where the operation stands, below `minicnn/backends/`.
    """

    __name__: str

    # device

    def require_device(self) -> None:
        """Raise RuntimeError, saying what to do, where this backend cannot run.

        reference/device.py, cpu/runtime/device.py, cuda/runtime/device.py
        """

    # arrays

    def asarray(self, array: Array) -> Array:
        """A host array of any shape on this backend: contiguous, dtype kept.

        reference/arrays.py, cpu/arrays.py, cuda/arrays.py
        """

    def to_numpy(self, array: Array) -> Array:
        """And back: a NumPy array of the same shape.

        reference/arrays.py, cpu/arrays.py, cuda/arrays.py
        """

    def copy(self, array: Array) -> Array:
        """An independent copy, of the same shape, on this backend.

        reference/arrays.py, cpu/arrays.py, cuda/arrays.py
        """

    def prefetch(self, batches: Iterable[tuple[Any, Any]]) -> Iterable[tuple[Any, Any]]:
        """(x, y) after (x, y); x may be on this backend already, sent while kernels work on the one before.

        reference/arrays.py, cpu/arrays.py, cuda/arrays.py
        """

    def sum_of_squares(self, array: Array) -> float:
        """sum of a² over an array of any shape, for the norm of a gradient.

        reference/arrays.py, cpu/arrays.py, cuda/arrays.py
        """

    def scale_(self, array: Array, factor: float) -> None:
        """`array *= factor`, in place, for any shape.

        reference/arrays.py, cpu/arrays.py, cuda/arrays.py
        """

    # compile

    def compile_kernels(
        self, dtype: DTypeLike, report: Report | None = None, files: Collection[str] | None = None
    ) -> None:
        """Make the kernels of these files ready ("conv", "fused", …), by default of all.

        `report(name, done, total)` is called before each.

        reference/compile.py, cpu/compile.py, cuda/compile.py
        """

    # conv

    def conv2d_forward(self, x: Batch, weight: Array, bias: Array | None, stride: Pair, padding: Pair) -> Batch:
        """y (N, F, OH, OW) from x (N, C, H, W), weight (F, C, KH, KW) and bias (F,) or None.

        reference/conv.py, cpu/conv.py, cuda/conv.py
        """

    def conv2d_input_gradient(self, dy: Batch, weight: Array, input_size: Sizes, stride: Pair, padding: Pair) -> Batch:
        """dx (N, C, H, W) from dy (N, F, OH, OW) and weight (F, C, KH, KW); input_size is (H, W).

        reference/conv.py, cpu/conv.py, cuda/conv.py
        """

    def conv2d_weight_gradient(self, dy: Batch, x: Batch, kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
        """dweight (F, C, KH, KW) from dy (N, F, OH, OW) and x (N, C, H, W); kernel_size is (KH, KW).

        reference/conv.py, cpu/conv.py, cuda/conv.py
        """

    def conv2d_bias_gradient(self, dy: Batch) -> Array:
        """dbias (F,) from dy (N, F, OH, OW).

        reference/conv.py, cpu/conv.py, cuda/conv.py
        """

    # general_conv

    def general_conv2d_forward(
        self, x: Batch, weight: Array, bias: Array | None, stride: Pair, pads: Pads, dilation: Pair, groups: int
    ) -> Batch:
        """y (N, F, OH, OW) from x (N, C, H, W), weight (F, CG, KH, KW) with CG = C / groups, and bias (F,) or None.

        pads is ((top, bottom), (left, right)).

        reference/general_conv.py, cpu/general_conv.py, cuda/general_conv.py
        """

    def general_conv2d_input_gradient(
        self, dy: Batch, weight: Array, input_size: Sizes, stride: Pair, pads: Pads, dilation: Pair, groups: int
    ) -> Batch:
        """dx (N, C, H, W) from dy (N, F, OH, OW) and weight (F, CG, KH, KW); input_size is (H, W).

        reference/general_conv.py, cpu/general_conv.py, cuda/general_conv.py
        """

    def general_conv2d_weight_gradient(
        self, dy: Batch, x: Batch, kernel_size: Pair, stride: Pair, pads: Pads, dilation: Pair, groups: int
    ) -> Array:
        """dweight (F, CG, KH, KW) from dy (N, F, OH, OW) and x (N, C, H, W); kernel_size is (KH, KW).

        reference/general_conv.py, cpu/general_conv.py, cuda/general_conv.py
        """

    # batchnorm

    def batchnorm2d_statistics(self, x: Batch) -> tuple[Array, Array]:
        """mean (C,) and the biased var (C,) of x (N, C, H, W): float64, on cuda of x's dtype.

        reference/batchnorm.py, cpu/batchnorm.py, cuda/batchnorm.py
        """

    def batchnorm2d_forward(self, x: Batch, weight: Array, bias: Array, mean: Array, var: Array, eps: float) -> Batch:
        """y (N, C, H, W) from x (N, C, H, W) and weight, bias, mean and var (C,), in training and evaluation alike.

        reference/batchnorm.py, cpu/batchnorm.py, cuda/batchnorm.py
        """

    def batchnorm2d_train_backward(
        self, dy: Batch, x: Batch, weight: Array, mean: Array, var: Array, eps: float
    ) -> tuple[Batch, Array, Array]:
        """dx (N, C, H, W), dweight (C,) and dbias (C,) from dy and x (N, C, H, W) and weight (C,).

        mean and var (C,) are those of x, and so depend on it.

        reference/batchnorm.py, cpu/batchnorm.py, cuda/batchnorm.py
        """

    def batchnorm2d_eval_backward(
        self, dy: Batch, x: Batch, weight: Array, mean: Array, var: Array, eps: float
    ) -> tuple[Batch, Array, Array]:
        """dx (N, C, H, W), dweight (C,) and dbias (C,) from dy and x (N, C, H, W) and weight (C,).

        mean and var (C,) are constants.

        reference/batchnorm.py, cpu/batchnorm.py, cuda/batchnorm.py
        """

    def update_running_statistics_(
        self, running_mean: Array, running_var: Array, mean: Array, var: Array, count: int, momentum: float
    ) -> None:
        """Move running_mean and running_var (C,) towards mean and var (C,) of `count` numbers to a channel, in place.

        reference/batchnorm.py, cpu/batchnorm.py, cuda/batchnorm.py
        """

    # activation

    def relu_forward(self, x: Batch) -> Batch:
        """y from x of any shape.

        reference/activation.py, cpu/activation.py, cuda/activation.py
        """

    def relu_backward(self, dy: Batch, y: Batch) -> Batch:
        """dx from dy and the output y, all of one shape.

        reference/activation.py, cpu/activation.py, cuda/activation.py
        """

    # where paths meet

    def add(self, x: Batch, other: Batch) -> Batch:
        """x + other, all of one shape.

        reference/addition.py, cpu/addition.py, cuda/addition.py
        """

    # dropout

    def dropout(self, x: Batch, p: float, seed: int, step: int, first_image: int) -> Batch:
        """x of any shape, first the axis of images, times its mask: 0 for a share p of the numbers, else 1 / (1 - p).

        seed and step are integers from 0 below 2 ** 63; first_image says where in its batch the first of x stands.

        reference/dropout.py, cpu/dropout.py, cuda/dropout.py
        """

    # pooling: rows (OH, 3) and columns (OW, 3) are tables of windows, with start, stop and extent

    def max_pool2d_forward(self, x: Batch, rows: Windows, columns: Windows) -> tuple[Batch, Batch]:
        """y (N, C, OH, OW) from x (N, C, H, W), and argmax (N, C, OH, OW) int32: the pixel r * W + s each came from.

        reference/pooling.py, cpu/pooling.py, cuda/pooling.py
        """

    def max_pool2d_backward(
        self, dy: Batch, argmax: Batch, rows: Windows, columns: Windows, input_size: Sizes
    ) -> Batch:
        """dx (N, C, H, W) from dy and argmax (N, C, OH, OW).

        reference/pooling.py, cpu/pooling.py, cuda/pooling.py
        """

    def avg_pool2d_forward(self, x: Batch, rows: Windows, columns: Windows) -> Batch:
        """y (N, C, OH, OW) from x (N, C, H, W).

        reference/pooling.py, cpu/pooling.py, cuda/pooling.py
        """

    def avg_pool2d_backward(self, dy: Batch, rows: Windows, columns: Windows, input_size: Sizes) -> Batch:
        """dx (N, C, H, W) from dy (N, C, OH, OW).

        reference/pooling.py, cpu/pooling.py, cuda/pooling.py
        """

    # linear

    def linear_forward(self, x: Array, weight: Array, bias: Array | None) -> Array:
        """y (N, K) from x (N, D), weight (K, D) and bias (K,) or None.

        reference/linear.py, cpu/linear.py, cuda/linear.py
        """

    def linear_input_gradient(self, dy: Array, weight: Array) -> Array:
        """dx (N, D) from dy (N, K) and weight (K, D).

        reference/linear.py, cpu/linear.py, cuda/linear.py
        """

    def linear_weight_gradient(self, dy: Array, x: Array) -> Array:
        """dweight (K, D) from dy (N, K) and x (N, D).

        reference/linear.py, cpu/linear.py, cuda/linear.py
        """

    def linear_bias_gradient(self, dy: Array) -> Array:
        """dbias (K,) from dy (N, K).

        reference/linear.py, cpu/linear.py, cuda/linear.py
        """

    # log_softmax

    def log_softmax_forward(self, x: Array) -> Array:
        """y (N, K) from x (N, K).

        reference/log_softmax.py, cpu/log_softmax.py, cuda/log_softmax.py
        """

    def log_softmax_backward(self, dy: Array, y: Array) -> Array:
        """dx (N, K) from dy and the output y (N, K).

        reference/log_softmax.py, cpu/log_softmax.py, cuda/log_softmax.py
        """

    # losses

    def nll_loss_forward(self, log_p: Array, targets: Array, class_weights: Array, label_smoothing: float) -> float:
        """The loss from log_p (N, K), targets (N,) int64 and class_weights (K,).

        reference/losses.py, cpu/losses.py, cuda/losses.py
        """

    def nll_loss_backward(self, log_p: Array, targets: Array, class_weights: Array, label_smoothing: float) -> Array:
        """d_log_p (N, K) from log_p (N, K), targets (N,) int64 and class_weights (K,).

        reference/losses.py, cpu/losses.py, cuda/losses.py
        """

    # optim: arrays of any one shape

    def sgd_step_(
        self,
        param: Array,
        velocity: Array,
        grad: Array,
        lr: float,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
    ) -> None:
        """One step of SGD: param and velocity, of any shape and grad like them, change in place.

        reference/optim.py, cpu/optim.py, cuda/optim.py
        """

    def adam_step_(
        self,
        param: Array,
        m: Array,
        v: Array,
        grad: Array,
        lr: float,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
        decoupled: bool,
        step: int,
    ) -> None:
        """One step of Adam, of AdamW where weight decay is decoupled: param, m and v, of one shape, change in place.

        reference/optim.py, cpu/optim.py, cuda/optim.py
        """

    # The same for several parameters, which are in lists and all of one dtype. As torch._foreach, of which PyTorch's
    # optimisers are made.

    def foreach_sgd_step_(
        self,
        params: Sequence[Array],
        velocities: Sequence[Array],
        grads: Sequence[Array],
        lr: float,
        momentum: float,
        nesterov: bool,
        weight_decay: float,
    ) -> None:
        """`sgd_step_` for each of the params, of any shapes.

        reference/optim.py, cpu/optim.py, cuda/optim.py
        """

    def foreach_adam_step_(
        self,
        params: Sequence[Array],
        ms: Sequence[Array],
        vs: Sequence[Array],
        grads: Sequence[Array],
        lr: float,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
        decoupled: bool,
        step: int,
    ) -> None:
        """`adam_step_` for each of the params, of any shapes.

        reference/optim.py, cpu/optim.py, cuda/optim.py
        """

    # fused: blocks of convolution, batchnorm and relu. `below` is images or the Activation of the block below;
    # gradients and peaks are in the backend's own layout, and only its fused operations look inside.

    def fused_conv_forward(
        self, below: Any, weight: Array, bias: Array | None, norm: Norm, stride: Pair, padding: Pair
    ) -> Activation:
        """The Activation of one block in training, from weight (F, C, KH, KW) and bias (F,) or None.

        mean and var of `norm` are taken from the batch where they are None.

        reference/fused.py, cpu/fused/forward.py, cuda/fused.py
        """

    def fused_renormalised(self, activation: Activation, norm: Norm) -> Activation:
        """The activation (N, F, OH, OW) as it is with another norm, whose mean and var are given.

        For a batch of which others hold the rest: mean and var are then those of the whole batch.

        reference/fused.py, cpu/fused/forward.py, cuda/fused.py
        """

    def fused_predict(self, x: Any, blocks: Sequence[Block], to_maximum: bool) -> Any:
        """x (N, C, H, W) through blocks in evaluation, which have their norm's mean and var.

        y (N, F, OH, OW), an ordinary array or `Images`; or the maximum of each channel, (N, F).

        reference/fused.py, cpu/fused/prediction.py, cuda/fused.py
        """

    def fused_output(self, activation: Activation) -> Any:
        """a (N, F, OH, OW), an ordinary array or `Images`.

        reference/fused.py, cpu/fused/output.py, cuda/fused.py
        """

    def fused_output_backward(self, da: Array | Images, activation: Activation) -> Any:
        """The gradient for fused_conv_backward from da (N, F, OH, OW).

        reference/fused.py, cpu/fused/output.py, cuda/fused.py
        """

    def fused_max(self, activation: Activation) -> tuple[Array, Any]:
        """y (N, F), the maximum of each channel, and its peaks.

        reference/fused.py, cpu/fused/maximum.py, cuda/fused.py
        """

    def fused_max_backward(self, dy: Array, peaks: Any, activation: Activation) -> Any:
        """The gradient for fused_conv_backward from dy (N, F).

        reference/fused.py, cpu/fused/maximum.py, cuda/fused.py
        """

    def fused_conv_backward(
        self,
        gradient: Any,
        activation: Activation,
        below: Any,
        weight: Array,
        stride: Pair,
        padding: Pair,
        need_below: bool,
    ) -> tuple[tuple[Array, Array], tuple[Array, Array], Any]:
        """(dweight, dbias) of the convolution, (dweight, dbias) of batchnorm, and the gradient (or dx) of below.

        weight is (F, C, KH, KW). The last result is None unless it is needed.

        reference/fused.py, cpu/fused/backward.py, cuda/fused.py
        """


OPERATIONS = tuple(sorted(name for name in vars(Operations) if not name.startswith("_")))
