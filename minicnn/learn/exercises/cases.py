"""What a learner's function is called with: small numbers that can be checked by hand, and random ones.

For each task there is a function of a random generator that yields cases, (label, arguments). `results` calls a
function on one case and gives what it returned and what it changed as a dict of arrays. The learner's process and the
grader's make the same cases from the same seed, so that only results travel between them.

All numbers are float64. The small cases come first: where several are wrong, the first is what a learner is shown.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

import minicnn
from minicnn.backends import get_backend
from minicnn.geometry import adaptive_windows, fixed_windows
from minicnn.learn.exercises.catalogue import TASKS
from minicnn.learn.exercises.exercise import Task
from minicnn.plain import Array, Pair

Arguments: TypeAlias = tuple[Any, ...]
Case: TypeAlias = tuple[str, Arguments]

ONE_WINDOW = ("adaptive_start", "adaptive_stop")  # called for each window p of a case, which has n_in and n_out only
SEEDS = (1, 2)  # of the random cases; a check adds one that nobody knows before


def cases(task: str, seed: int) -> list[Case]:
    """The list of (label, arguments) for a task's name and a seed; all arrays are new."""
    return list(_CASES[task](np.random.default_rng(seed)))


def by_name(task: str, arguments: Arguments) -> dict[str, Any]:
    """A case's arguments as a dict, by the names that the function gives them."""
    names = TASKS[task][1].arguments()
    return dict(zip(names[1:] if task in ONE_WINDOW else names, arguments, strict=False))


def results(task: str, function: Callable[..., Any], arguments: Arguments) -> dict[str, Array]:
    """A dict of what `function` returned and changed, by name.

    Raises TypeError where it returned another number of things than asked for, or something that is no number.
    """
    _, definition = TASKS[task]
    returned = _returned(function, arguments, task)
    if not definition.outputs:
        named = {}
    elif len(definition.outputs) == 1:
        named = {definition.outputs[0]: returned}
    else:
        if not isinstance(returned, (tuple, list)) or len(returned) != len(definition.outputs):
            got = f"{len(returned)} of them" if isinstance(returned, (tuple, list)) else type(returned).__name__
            raise TypeError(f"expected the function to return {', '.join(definition.outputs)}, got {got}")
        named = dict(zip(definition.outputs, returned, strict=True))
    arrays = {name: _as_numbers(value, name) for name, value in named.items()}
    return arrays | _changed(arguments, definition)


def _returned(function: Callable[..., Any], arguments: Arguments, task: str) -> Any:
    if task in ONE_WINDOW:
        n_in, n_out = arguments
        return [function(p, n_in, n_out) for p in range(n_out)]
    return function(*arguments)


def _as_numbers(value: Any, name: str) -> Array:
    if value is None:
        raise TypeError(f"expected the function to return {name}, got None; is there a `return`?")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise TypeError(f"expected {name} to be an array, got a ragged {type(value).__name__}") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"expected {name} to be an array of numbers, got {type(value).__name__} of {array.dtype}")
    return np.array(array, dtype=np.float64, order="C")


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
    return arrays


def _integers(rng: np.random.Generator, *shape: int) -> Array:
    """Small integers, at most nine, no two alike: a kernel must not be its own transpose."""
    return rng.permutation(np.arange(-4.0, 5))[: math.prod(shape)].reshape(shape)


# Fully connected

# Every axis of another length, and no sum twice, so that no mistake is right by chance.
HAND_X, HAND_DY = np.array([[1.0, 2, 0, 3], [4, 1, 2, -1]]), np.array([[1.0, -1, 2], [2, 3, -2]])
HAND_WEIGHT = np.array([[1.0, 0, 2, -1], [3, 1, 0, 2], [0, -2, 1, 1]])


def _linear_sizes(rng: np.random.Generator) -> Iterator[tuple[str, Array, Array, Array]]:
    yield "small", HAND_X.copy(), HAND_WEIGHT.copy(), HAND_DY.copy()
    for n_images, n_in, n_out in ((5, 4, 3), (3, 4, 4), (1, 2, 6), (4, 3, 1), (2, 1, 3)):
        x, weight, dy = (rng.standard_normal(size) for size in ((n_images, n_in), (n_out, n_in), (n_images, n_out)))
        yield f"{n_images} images, {n_in} inputs, {n_out} outputs", x, weight, dy


def _linear_bias_gradient(rng: np.random.Generator) -> Iterator[Case]:
    for label, _, _, dy in _linear_sizes(rng):
        yield label, (dy,)


def _linear_weight_gradient(rng: np.random.Generator) -> Iterator[Case]:
    for label, x, _, dy in _linear_sizes(rng):
        yield label, (dy, x)


def _linear_input_gradient(rng: np.random.Generator) -> Iterator[Case]:
    for label, _, weight, dy in _linear_sizes(rng):
        yield label, (dy, weight)


# ReLU


def _relu_backward(rng: np.random.Generator) -> Iterator[Case]:
    yield "small", (np.array([[5.0, -6, 7, 8]]), np.array([[3.0, 2, 0, 0]]))
    for shape in ((4, 7), (2, 3, 4, 5)):
        yield f"shape {shape}", (rng.standard_normal(shape), np.maximum(rng.standard_normal(shape), 0))


# Log-softmax and its loss


def _log_softmax_forward(rng: np.random.Generator) -> Iterator[Case]:
    yield "small", (np.array([[0.0, 1, 2], [1, 1, 1]]),)
    yield "random, shape (5, 4)", (2 * rng.standard_normal((5, 4)),)
    yield "large scores", (rng.standard_normal((2, 3)) + 2000,)
    yield "rows far apart", (rng.standard_normal((3, 4)) + np.array([[0], [-3000], [3000]]),)
    yield "one class far behind", (np.array([[0.0, -2000, 1], [3, 2, 1]]),)
    yield "one class far ahead", (np.array([[0.0, 2000, 1], [3, 2, 1]]),)  # so that only its own score is a safe shift


def _log_softmax_backward(rng: np.random.Generator) -> Iterator[Case]:
    small = minicnn.LogSoftmax().to("reference").predict(np.array([[0.0, 1, 2], [1, 1, 1]]))
    yield "small", (np.array([[1.0, 0, 2], [-1, 3, 0]]), small)
    for shape in ((5, 4), (3, 3)):
        y = minicnn.LogSoftmax().to("reference").predict(2 * rng.standard_normal(shape))
        yield f"random, shape {shape}", (rng.standard_normal(shape), y)


def _nll_loss_backward(rng: np.random.Generator) -> Iterator[Case]:
    def probabilities(*shape: int) -> Array:
        return minicnn.LogSoftmax().to("reference").predict(rng.standard_normal(shape))

    yield "small, equal weights", (probabilities(2, 3), np.array([0, 2]), np.ones(3), 0.0)
    yield "5 images, 4 classes, equal weights", (probabilities(5, 4), rng.integers(0, 4, 5), np.ones(4), 0.0)
    yield "class weights", (probabilities(4, 3), np.array([0, 2, 1, 2]), np.array([0.5, 1.0, 3.0]), 0.0)
    yield "label smoothing 0.2", (probabilities(4, 3), np.array([2, 1, 1, 0]), np.array([2.0, 1.0, 0.5]), 0.2)
    yield "one image, a class of weight 0", (probabilities(1, 4), np.array([2]), np.array([0.0, 1.0, 2.0, 0.5]), 0.1)


# Pooling


def _pooling_sizes() -> Iterator[tuple[str, Pair, Pair, tuple[Array, Array]]]:
    yield "1 × 4 cells, windows of 2, none shared", (1, 1), (1, 4), (adaptive_windows(1, 1), adaptive_windows(4, 2))
    yield "1 × 5 cells, 3 windows that overlap", (1, 1), (1, 5), (adaptive_windows(1, 1), adaptive_windows(5, 3))
    yield "2 × 2 windows, stride 2", (2, 3), (4, 6), (fixed_windows(4, 2, 2, 0), fixed_windows(6, 2, 2, 0))
    yield "3 × 3 windows, stride 2, padding 1", (2, 2), (5, 7), (fixed_windows(5, 3, 2, 1), fixed_windows(7, 3, 2, 1))
    yield "10 × 14 cells in 3 × 4 windows", (1, 2), (10, 14), (adaptive_windows(10, 3), adaptive_windows(14, 4))
    apart = fixed_windows(6, 2, 3, 0), fixed_windows(8, 3, 4, 0)
    yield "2 × 3 windows, stride (3, 4), cells in none", (1, 2), (6, 8), apart


def _pooling_numbers(
    rng: np.random.Generator, batch: Pair, size: Pair, tables: tuple[Array, Array]
) -> tuple[Array, Array]:
    x = rng.permutation(batch[0] * batch[1] * size[0] * size[1]).reshape(*batch, *size).astype(np.float64)
    dy = rng.standard_normal((*batch, len(tables[0]), len(tables[1])))
    return x, dy


def _max_pool2d_backward(rng: np.random.Generator) -> Iterator[Case]:
    reference = get_backend("reference")
    for label, batch, size, tables in _pooling_sizes():
        x, dy = _pooling_numbers(rng, batch, size, tables)
        if label.startswith("1 × 5"):  # the third cell wins two windows and the fourth none
            x, dy = np.array([[[[1.0, 2, 9, 3, 4]]]]), np.array([[[[5.0, 6, 7]]]])
        _, argmax = reference.max_pool2d_forward(x, *tables)
        yield label, (dy, argmax, *tables, size)


def _avg_pool2d_forward(rng: np.random.Generator) -> Iterator[Case]:
    for label, batch, size, tables in _pooling_sizes():
        x, _ = _pooling_numbers(rng, batch, size, tables)
        yield label, (x, *tables)


def _avg_pool2d_backward(rng: np.random.Generator) -> Iterator[Case]:
    for label, batch, size, tables in _pooling_sizes():
        _, dy = _pooling_numbers(rng, batch, size, tables)
        yield label, (dy, *tables, size)


def _adaptive_sizes(rng: np.random.Generator) -> Iterator[Case]:
    known = [(6, 3), (5, 3), (10, 3), (14, 4), (5, 8), (13, 13), (7, 25), (3, 1), (30, 22), (22, 22), (25, 25)]
    for n_in, n_out in known + [tuple(pair) for pair in rng.integers(1, 60, (4, 2)).tolist()]:
        yield f"{n_in} cells, {n_out} windows", (n_in, n_out)


# Convolution


def _conv_sizes(rng: np.random.Generator) -> Iterator[tuple[str, Array, Array, Array, Pair, Pair]]:
    """(label, x, weight, dy, stride, padding)"""
    table = (
        ("3 × 3 image, 2 × 2 kernel", 1, 1, 1, (3, 3), (2, 2), (1, 1), (0, 0)),
        ("3 × 3 image, 3 × 3 kernel, padding 1", 1, 1, 1, (3, 3), (3, 3), (1, 1), (1, 1)),
        ("2 images, 2 channels, 3 filters", 2, 2, 3, (5, 6), (3, 3), (1, 1), (1, 1)),
        ("stride (2, 3), padding (1, 2), kernel 2 × 3", 3, 2, 2, (7, 9), (2, 3), (2, 3), (1, 2)),
        ("stride 2, last column unused", 2, 3, 2, (6, 8), (3, 3), (2, 2), (0, 0)),
        ("1 × 2 kernel, stride (3, 2), padding (2, 1)", 1, 2, 1, (4, 7), (1, 2), (3, 2), (2, 1)),
    )
    for position, (label, n, c, f, size, kernel, stride, padding) in enumerate(table):
        draw = _integers if position < 2 else lambda rng, *shape: rng.standard_normal(shape)
        out = [(s + 2 * pad - k) // step + 1 for s, pad, k, step in zip(size, padding, kernel, stride, strict=True)]
        x, weight, dy = draw(rng, n, c, *size), draw(rng, f, c, *kernel), draw(rng, n, f, *out)
        yield label, x, weight, dy, stride, padding


def _conv2d_bias_gradient(rng: np.random.Generator) -> Iterator[Case]:
    for label, _, _, dy, _, _ in _conv_sizes(rng):
        yield label, (dy,)


def _conv2d_weight_gradient(rng: np.random.Generator) -> Iterator[Case]:
    for label, x, weight, dy, stride, padding in _conv_sizes(rng):
        yield label, (dy, x, weight.shape[2:], stride, padding)


def _conv2d_input_gradient(rng: np.random.Generator) -> Iterator[Case]:
    for label, x, weight, dy, stride, padding in _conv_sizes(rng):
        yield label, (dy, weight, x.shape[2:], stride, padding)


def _to_pixels(rng: np.random.Generator) -> Iterator[Case]:
    for label, x, weight, dy, stride, padding in _conv_sizes(rng):
        yield label, (dy[0, 0], weight[0], stride, padding, x[0])


def _to_weights(rng: np.random.Generator) -> Iterator[Case]:
    for label, x, weight, dy, stride, padding in _conv_sizes(rng):
        yield label, (dy[0, 0], x[0], stride, padding, weight[0])


# Batch normalisation


def _batchnorm_sizes(rng: np.random.Generator) -> Iterator[tuple[str, Array, Array, Array]]:
    """(label, dy, x, weight)"""
    x = np.array([[[[1.0, 3], [5, 7]]]])
    yield "one image of 2 × 2", np.array([[[[1.0, 0], [0, 2]]]]), x, np.array([2.0])
    for shape in ((3, 2, 4, 5), (4, 3, 2, 2)):
        dy, x = rng.standard_normal(shape), 3 * rng.standard_normal(shape) + 1
        yield f"shape {shape}", dy, x, rng.uniform(0.5, 2, shape[1])


EPS = 0.5  # large, so that forgetting it shows


def _batchnorm2d_train_backward(rng: np.random.Generator) -> Iterator[Case]:
    for label, dy, x, weight in _batchnorm_sizes(rng):
        yield label, (dy, x, weight, x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3)), EPS)


def _batchnorm2d_eval_backward(rng: np.random.Generator) -> Iterator[Case]:
    for label, dy, x, weight in _batchnorm_sizes(rng):
        mean, var = rng.standard_normal(len(weight)), rng.uniform(0.5, 3, len(weight))
        yield label, (dy, x, weight, mean, var, EPS)


def _update_running_statistics_(rng: np.random.Generator) -> Iterator[Case]:
    yield "small", (np.array([0.0]), np.array([1.0]), np.array([10.0]), np.array([4.0]), 5, 0.1)
    for count in (2, 40):
        running_mean, mean = rng.standard_normal((2, 3))
        running_var, var = rng.uniform(0.5, 3, (2, 3))
        yield f"{count} values for each channel", (running_mean, running_var, mean, var, count, 0.2)


# Optimisers


def _sgd_step_(rng: np.random.Generator) -> Iterator[Case]:
    small = np.array([1.0, 2]), np.array([0.5, 0]), np.array([1.0, -1])
    yield "small, no momentum", (*(array.copy() for array in small), 0.1, 0.0, False, 0.0)
    yield "small, momentum 0.5", (*(array.copy() for array in small), 0.1, 0.5, False, 0.0)
    for nesterov in (False, True):
        for weight_decay in (0.0, 0.3):
            label = f"random, {'Nesterov' if nesterov else 'momentum'} 0.9, weight decay {weight_decay}"
            yield label, (*rng.standard_normal((3, 2, 3)), 0.05, 0.9, nesterov, weight_decay)


def _adam_step_(rng: np.random.Generator) -> Iterator[Case]:
    def slots() -> tuple[Array, Array, Array]:
        return rng.standard_normal((2, 3)), 0.1 * rng.standard_normal((2, 3)), rng.uniform(0.01, 0.2, (2, 3))

    first = np.array([1.0, 2]), np.zeros(2), np.zeros(2), np.array([3.0, -0.5])
    yield "the first step", (*(array.copy() for array in first), 0.1, 0.9, 0.99, 1e-3, 0.0, False, 1)
    yield "step 7", (*slots(), rng.standard_normal((2, 3)), 0.05, 0.9, 0.99, 1e-3, 0.0, False, 7)
    yield "step 3, weight decay", (*slots(), rng.standard_normal((2, 3)), 0.05, 0.8, 0.99, 1e-3, 0.2, False, 3)
    yield "step 3, decoupled", (*slots(), rng.standard_normal((2, 3)), 0.05, 0.8, 0.99, 1e-3, 0.2, True, 3)


# The whole network


def _float64(network: minicnn.Sequential) -> minicnn.Sequential:
    return network.to("reference", np.float64)


class _First(minicnn.Linear):
    """A first layer whose dx is 0, and not left out, where nobody needs it: so it shows what it was asked."""

    def backward(self, dy: Array, need_dx: bool = True) -> Any:
        dx = super().backward(dy)
        return dx if need_dx else 0 * dx


def _sequential_backward(rng: np.random.Generator) -> Iterator[Case]:
    seed = int(rng.integers(1 << 30))
    square = minicnn.Sequential(
        a=minicnn.Linear(3, 3, rng=seed), relu=minicnn.ReLU(), b=minicnn.Linear(3, 3, rng=seed + 1)
    )
    simplenet = minicnn.SimpleNet(num_classes=3, in_channels=2, rng=seed)
    for label, network, shape in (
        ("two square layers", square, (2, 3)),
        ("SimpleNet on 6 × 5", simplenet, (2, 2, 6, 5)),
    ):
        y = _float64(network).forward(rng.standard_normal(shape))
        yield label, (network, rng.standard_normal(y.shape))
    alone = _float64(minicnn.Sequential(a=minicnn.Linear(3, 2, rng=seed)))
    yield "one layer", (alone, rng.standard_normal(alone.forward(rng.standard_normal((4, 3))).shape))
    first_asked = _float64(minicnn.Sequential(a=_First(3, 3, rng=seed), b=minicnn.Linear(3, 2, rng=seed)))
    y = first_asked.forward(rng.standard_normal((4, 3)))
    yield "need_dx is False", (first_asked, rng.standard_normal(y.shape), False)


def _cross_entropy_loss_backward(rng: np.random.Generator) -> Iterator[Case]:
    for label, weight, smoothing in (
        ("equal weights", None, 0.0),
        ("class weights", np.array([1.0, 2, 0.5, 1]), 0.0),
        ("label smoothing 0.1", None, 0.1),
        ("class weights, label smoothing 0.2", np.array([1.0, 2, 0.5, 1]), 0.2),
    ):
        loss = minicnn.CrossEntropyLoss(weight, smoothing).to("reference")
        loss.forward(2 * rng.standard_normal((3, 4)), rng.integers(0, 4, 3))
        yield label, (loss,)


def _clip_gradients(rng: np.random.Generator) -> Iterator[Case]:
    for label, scale, max_norm in (
        ("a norm that is too large", 5, 2.5),
        ("a norm that is small enough", 0.01, 0.5),
        ("nothing but 0", 0, 0.5),
    ):
        seed = int(rng.integers(1 << 30))
        network = _float64(minicnn.Sequential(a=minicnn.Linear(3, 2, rng=seed), b=minicnn.Linear(2, 2, rng=seed)))
        for _, layer, key in network.named_params():
            layer.grads[key] = scale * rng.standard_normal(layer.params[key].shape)
        yield label, (network, max_norm)


_CASES = {
    "linear_bias_gradient": _linear_bias_gradient,
    "linear_weight_gradient": _linear_weight_gradient,
    "linear_input_gradient": _linear_input_gradient,
    "relu_backward": _relu_backward,
    "log_softmax_forward": _log_softmax_forward,
    "log_softmax_backward": _log_softmax_backward,
    "nll_loss_backward": _nll_loss_backward,
    "max_pool2d_backward": _max_pool2d_backward,
    "avg_pool2d_forward": _avg_pool2d_forward,
    "adaptive_start": _adaptive_sizes,
    "adaptive_stop": _adaptive_sizes,
    "avg_pool2d_backward": _avg_pool2d_backward,
    "conv2d_bias_gradient": _conv2d_bias_gradient,
    "conv2d_weight_gradient": _conv2d_weight_gradient,
    "conv2d_input_gradient": _conv2d_input_gradient,
    "batchnorm2d_eval_backward": _batchnorm2d_eval_backward,
    "update_running_statistics_": _update_running_statistics_,
    "batchnorm2d_train_backward": _batchnorm2d_train_backward,
    "sgd_step_": _sgd_step_,
    "adam_step_": _adam_step_,
    "sequential_backward": _sequential_backward,
    "cross_entropy_loss_backward": _cross_entropy_loss_backward,
    "clip_gradients": _clip_gradients,
    "to_pixels": _to_pixels,
    "to_weights": _to_weights,
}
