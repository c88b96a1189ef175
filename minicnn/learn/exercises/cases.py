"""The cases of each task, and what a function gives on them.

`results` calls a function on one case and gives what it returned and what it changed as a dict of arrays. The learner's
process and the grader's make the same cases from the same seed, so that only results travel between them.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import minicnn
from minicnn.learn.exercises.arguments import batchnorm, convolution, dense, pooling, training
from minicnn.learn.exercises.arguments.case import Arguments, Case
from minicnn.learn.exercises.arguments.training import First
from minicnn.learn.exercises.catalogue import TASKS
from minicnn.learn.exercises.exercise import Task
from minicnn.plain import Array

ONE_WINDOW = ("adaptive_start", "adaptive_stop")  # called for each window p of a case, which has n_in and n_out only
SEEDS = (1, 2)  # of the random cases; a check adds one that nobody knows before

_CASES: dict[str, Callable[[np.random.Generator], Iterator[Case]]] = {
    "linear_bias_gradient": dense.linear_bias_gradient,
    "linear_weight_gradient": dense.linear_weight_gradient,
    "linear_input_gradient": dense.linear_input_gradient,
    "relu_backward": dense.relu_backward,
    "log_softmax_forward": dense.log_softmax_forward,
    "log_softmax_backward": dense.log_softmax_backward,
    "nll_loss_backward": dense.nll_loss_backward,
    "max_pool2d_backward": pooling.max_pool2d_backward,
    "avg_pool2d_forward": pooling.avg_pool2d_forward,
    "adaptive_start": pooling.adaptive_sizes,
    "adaptive_stop": pooling.adaptive_sizes,
    "avg_pool2d_backward": pooling.avg_pool2d_backward,
    "conv2d_bias_gradient": convolution.conv2d_bias_gradient,
    "conv2d_weight_gradient": convolution.conv2d_weight_gradient,
    "conv2d_input_gradient": convolution.conv2d_input_gradient,
    "batchnorm2d_eval_backward": batchnorm.batchnorm2d_eval_backward,
    "update_running_statistics_": batchnorm.update_running_statistics_,
    "batchnorm2d_train_backward": batchnorm.batchnorm2d_train_backward,
    "sgd_step_": training.sgd_step_,
    "adam_step_": training.adam_step_,
    "sequential_backward": training.sequential_backward,
    "cross_entropy_loss_backward": training.cross_entropy_loss_backward,
    "clip_gradients": training.clip_gradients,
    "to_pixels": convolution.to_pixels,
    "to_weights": convolution.to_weights,
}


class Unusable(TypeError):
    """What a function returned is not of the kind that was asked for."""


def cases(task: str, seed: int) -> list[Case]:
    """The list of (label, arguments) for a task's name and a seed; all arrays are new."""
    return list(_CASES[task](np.random.default_rng(seed)))


def by_name(task: str, arguments: Arguments) -> dict[str, Any]:
    """A case's arguments as a dict, by the names that the function gives them."""
    names = TASKS[task][1].arguments()
    return dict(zip(names[1:] if task in ONE_WINDOW else names, arguments, strict=False))


def results(task: str, function: Callable[..., Any], arguments: Arguments) -> dict[str, Array]:
    """A dict of what `function` returned and changed, by name.

    Raises Unusable where it returned another number of things than asked for, or something that is no number.
    """
    _, definition = TASKS[task]
    returned = _returned(function, arguments, task)
    if not definition.outputs or _nobody_needs_it(task, arguments):
        named = {}
    elif len(definition.outputs) == 1:
        named = {definition.outputs[0]: returned}
    else:
        if not isinstance(returned, (tuple, list)) or len(returned) != len(definition.outputs):
            got = f"{len(returned)} of them" if isinstance(returned, (tuple, list)) else type(returned).__name__
            raise Unusable(f"expected the function to return {', '.join(definition.outputs)}, got {got}")
        named = dict(zip(definition.outputs, returned, strict=True))
    arrays = {name: _as_numbers(value, name) for name, value in named.items()}
    if task in ONE_WINDOW:
        _require_indices(returned, definition.outputs[0])
    return arrays | _changed(arguments, definition)


def _returned(function: Callable[..., Any], arguments: Arguments, task: str) -> Any:
    if task in ONE_WINDOW:
        n_in, n_out = arguments
        return [function(p, n_in, n_out) for p in range(n_out)]
    return function(*arguments)


def _nobody_needs_it(task: str, arguments: Arguments) -> bool:
    """Whether what the function returns is of no use to anyone, so that it may be anything: dx, without need_dx."""
    return task == "sequential_backward" and by_name(task, arguments).get("need_dx") is False


def _as_numbers(value: Any, name: str) -> Array:
    if value is None:
        raise Unusable(f"expected the function to return {name}, got None; is there a `return`?")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise Unusable(f"expected {name} to be an array, got a ragged {type(value).__name__}") from error
    if array.dtype.kind not in "fiub":
        raise Unusable(f"expected {name} to be an array of numbers, got {type(value).__name__} of {array.dtype}")
    return np.array(array, dtype=np.float64, order="C")


def _require_indices(numbers: list[Any], name: str) -> None:
    """Raise Unusable where a number is no int, since it will be an index."""
    for number in numbers:
        if not isinstance(number, (int, np.integer)) or isinstance(number, bool):
            of = type(number).__name__
            raise Unusable(f"expected {name} to be an int, since x[{name}] must work; got {number!r}, of type {of}")


def _changed(arguments: Arguments, definition: Task) -> dict[str, Array]:
    """The arguments that the task changes in place, and the gradients of networks among the arguments."""
    names = definition.arguments()
    arrays = {name: arguments[names.index(name)].copy() for name in definition.changes}
    for network in arguments:
        if isinstance(network, minicnn.Sequential):
            arrays |= {
                f"gradient of {name}.{key}": np.array(layer.grads[key], dtype=np.float64)
                for name, layer in network.named_layers()
                for key in layer.params
                if key in layer.grads
            }
            arrays |= {
                f"need_dx as {name} was asked": np.array(float(layer.asked_for_dx))
                for name, layer in network.named_layers()
                if isinstance(layer, First) and layer.asked_for_dx is not None
            }
    return arrays
