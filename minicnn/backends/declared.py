"""What each operation takes and gives, in a form that can be checked.

CONTRACT is the list of `minicnn.backends.protocol` in a form that can be checked. An array is written as its name and
its axes, in the package's letters; "..." is any shape, the same in one call, and "any" that of an array that is no
`Images`. A mark after the name says more:

    real    float32 or float64, the same in one call; said of every array without a mark
    float   float32 or float64
    int32, int64
    ?       may be None
    !       changed in place, so it must be contiguous as it is

What has no axes is a setting: those in SETTINGS say how axes belong together, and others are numbers, or lists, which
`foreach` checks. Behind the arrow is what comes back, "None" where arguments are changed instead. No function of one's
own can stand in for an operation without an arrow: it answers in its backend's own layout, or is another one on lists.
"""

from typing import NamedTuple

CONTRACT = {
    "sum_of_squares": "array: any -> square_sum",
    "scale_": "array!: any, factor -> None",
    "conv2d_forward": "x: N C H W, weight: F C KH KW, bias?: F, stride, padding -> y: N F OH OW",
    "conv2d_input_gradient": "dy: N F OH OW, weight: F C KH KW, input_size, stride, padding -> dx: N C H W",
    "conv2d_weight_gradient": "dy: N F OH OW, x: N C H W, kernel_size, stride, padding -> dweight: F C KH KW",
    "conv2d_bias_gradient": "dy: N F OH OW -> dbias: F",
    "general_conv2d_forward": "x: N C H W, weight: F CG KH KW, bias?: F, stride, pads, dilation, groups "
    "-> y: N F OH OW",
    "general_conv2d_input_gradient": "dy: N F OH OW, weight: F CG KH KW, input_size, stride, pads, dilation, groups "
    "-> dx: N C H W",
    "general_conv2d_weight_gradient": "dy: N F OH OW, x: N C H W, kernel_size, stride, pads, dilation, groups "
    "-> dweight: F CG KH KW",
    "batchnorm2d_statistics": "x: N C H W -> mean float: C, var float: C",
    "batchnorm2d_forward": "x: N C H W, weight: C, bias: C, mean float: C, var float: C, eps -> y: N C H W",
    "batchnorm2d_train_backward": "dy: N C H W, x: N C H W, weight: C, mean float: C, var float: C, eps "
    "-> dx: N C H W, dweight: C, dbias: C",
    "batchnorm2d_eval_backward": "dy: N C H W, x: N C H W, weight: C, mean float: C, var float: C, eps "
    "-> dx: N C H W, dweight: C, dbias: C",
    "update_running_statistics_": "running_mean!: C, running_var!: C, mean float: C, var float: C, count, momentum "
    "-> None",
    "add": "x: ..., other: ... -> y: ...",
    "dropout": "x: ..., p, seed, step, first_image -> y: ...",
    "relu_forward": "x: ... -> y: ...",
    "relu_backward": "dy: ..., y: ... -> dx: ...",
    "max_pool2d_forward": "x: N C H W, rows, columns -> y: N C OH OW, argmax int32: N C OH OW",
    "max_pool2d_backward": "dy: N C OH OW, argmax int32: N C OH OW, rows, columns, input_size -> dx: N C H W",
    "avg_pool2d_forward": "x: N C H W, rows, columns -> y: N C OH OW",
    "avg_pool2d_backward": "dy: N C OH OW, rows, columns, input_size -> dx: N C H W",
    "linear_forward": "x: N D, weight: K D, bias?: K -> y: N K",
    "linear_input_gradient": "dy: N K, weight: K D -> dx: N D",
    "linear_weight_gradient": "dy: N K, x: N D -> dweight: K D",
    "linear_bias_gradient": "dy: N K -> dbias: K",
    "log_softmax_forward": "x: N K -> y: N K",
    "log_softmax_backward": "dy: N K, y: N K -> dx: N K",
    "nll_loss_forward": "log_p: N K, targets int64: N, class_weights: K, label_smoothing -> loss",
    "nll_loss_backward": "log_p: N K, targets int64: N, class_weights: K, label_smoothing -> d_log_p: N K",
    "sgd_step_": "param!: any, velocity!: any, grad: any, lr, momentum, nesterov, weight_decay -> None",
    "adam_step_": "param!: any, m!: any, v!: any, grad: any, lr, beta1, beta2, eps, weight_decay, decoupled, step "
    "-> None",
    "foreach_sgd_step_": "params, velocities, grads, lr, momentum, nesterov, weight_decay",
    "foreach_adam_step_": "params, ms, vs, grads, lr, beta1, beta2, eps, weight_decay, decoupled, step",
    "fused_conv_forward": "below: N C H W, weight: F C KH KW, bias?: F, norm: F, stride, padding",
    "fused_renormalised": "activation: N F OH OW, norm: F",
    "fused_predict": "x: N C H W, blocks, to_maximum",
    "fused_output": "activation: N F OH OW",
    "fused_output_backward": "da: N F OH OW, activation: N F OH OW",
    "fused_max": "activation: N F OH OW",
    "fused_max_backward": "dy: N F, peaks, activation: N F OH OW",
    "fused_conv_backward": "gradient, activation: N F OH OW, below: N C H W, weight: F C KH KW, stride, padding, "
    "need_below",
}

SETTINGS = ("stride", "padding", "pads", "dilation", "groups", "kernel_size", "input_size", "rows", "columns")


class Declared(NamedTuple):
    """An argument or a result as CONTRACT declares it; `axes` is None for what is no array."""

    name: str
    kind: str
    axes: tuple[str, ...] | None
    may_be_none: bool
    changed: bool


def _declared(text: str) -> Declared:
    name_and_kind, _, axes = text.partition(":")
    name, _, kind = name_and_kind.strip().partition(" ")
    return Declared(name.rstrip("?!"), kind or "real", tuple(axes.split()) or None, "?" in name, "!" in name)


def _side(text: str) -> tuple[Declared, ...]:
    return tuple(_declared(part) for part in text.split(",")) if text else ()


ARGUMENTS = {name: _side(text.partition("->")[0]) for name, text in CONTRACT.items()}
RESULTS = {name: _side(text.partition("-> ")[2]) for name, text in CONTRACT.items()}
