"""Ways to write the right function: the framework's, and others that have other pieces to be wrong."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from minicnn.learn.exercises import source
from minicnn.learn.exercises.catalogue import TASKS


@dataclass(frozen=True, eq=False)
class Form:
    """One way to write a function: its module as a syntax tree, the function in it, and the names that it finds."""

    module: ast.Module
    function: ast.FunctionDef
    namespace: Mapping[str, Any]


@lru_cache
def forms(task: str) -> list[Form]:
    """The forms of a task, the framework's first."""
    exercise, definition = TASKS[task]
    namespace: dict[str, Any] = {}
    exec(compile(exercise.solution(), f"<{exercise.file}>", "exec"), namespace)
    namespace |= {"np": np}
    namespace["serial"] = lambda function: function  # not compiled: a few small numbers are not worth it
    found = []
    for text in (definition.solution(), *OTHERS.get(task, ())):
        module = source.parsed(text)
        function = next(node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == task)
        found.append(Form(module, function, namespace))
    return found


OTHERS: dict[str, tuple[str, ...]] = {
    "log_softmax_forward": (
        """
def log_softmax_forward(x):
    largest = x.max(axis=1, keepdims=True)
    total = np.exp(x - largest).sum(axis=1, keepdims=True)
    return x - (largest + np.log(total))
""",
        """
def log_softmax_forward(x):
    shifted = x - x.max(axis=1, keepdims=True)
    softmax = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    return np.log(softmax)
""",
    ),
    "log_softmax_backward": (
        """
def log_softmax_backward(dy, y):
    softmax = np.exp(y)
    total = dy.sum(axis=1, keepdims=True)
    return dy - softmax * total
""",
    ),
    "nll_loss_backward": (
        """
def nll_loss_backward(log_p, targets, class_weights, label_smoothing):
    n_images, n_classes = log_p.shape
    hit = np.eye(n_classes)[targets]
    wanted = (1 - label_smoothing) * hit + label_smoothing / n_classes
    total = class_weights[targets].sum()
    return -wanted * class_weights / total
""",
    ),
    "max_pool2d_backward": (
        """
def max_pool2d_backward(dy, argmax, rows, columns, input_size):
    height, width = input_size
    dx = np.zeros((*dy.shape[:2], height, width))
    for n, c, p, q in np.ndindex(*dy.shape):
        (top, bottom, extent_h), (left, right, extent_w) = rows[p], columns[q]
        r = argmax[n, c, p, q] // width
        s = argmax[n, c, p, q] % width
        dx[n, c, r, s] += dy[n, c, p, q]
    return dx
""",
    ),
    "avg_pool2d_forward": (
        """
def avg_pool2d_forward(x, rows, columns):
    y = np.zeros((*x.shape[:2], len(rows), len(columns)))
    for p in range(len(rows)):
        for q in range(len(columns)):
            (top, bottom, extent_h), (left, right, extent_w) = rows[p], columns[q]
            area = extent_h * extent_w
            y[:, :, p, q] = x[:, :, top:bottom, left:right].sum(axis=(2, 3)) / area
    return y
""",
    ),
    "avg_pool2d_backward": (
        """
def avg_pool2d_backward(dy, rows, columns, input_size):
    dx = np.zeros((*dy.shape[:2], *input_size))
    for p in range(len(rows)):
        for q in range(len(columns)):
            (top, bottom, extent_h), (left, right, extent_w) = rows[p], columns[q]
            area = extent_h * extent_w
            dx[:, :, top:bottom, left:right] += dy[:, :, p, q, None, None] / area
    return dx
""",
    ),
    "adaptive_stop": (
        """
def adaptive_stop(p, n_in, n_out):
    return -(-((p + 1) * n_in) // n_out)
""",
        """
def adaptive_stop(p, n_in, n_out):
    return (p + 1) * n_in // n_out + ((p + 1) * n_in % n_out > 0)
""",
    ),
    "conv2d_weight_gradient": (
        """
def conv2d_weight_gradient(dy, x, kernel_size, stride, padding):
    n_images, n_channels, height, width = x.shape
    n_filters, out_h, out_w = dy.shape[1:]
    dweight = np.zeros((n_filters, n_channels, *kernel_size))
    for i in range(kernel_size[0]):
        for j in range(kernel_size[1]):
            for p in range(out_h):
                for q in range(out_w):
                    r, s = p * stride[0] - padding[0] + i, q * stride[1] - padding[1] + j
                    if 0 <= r < height and 0 <= s < width:
                        dweight[:, :, i, j] += dy[:, :, p, q].T @ x[:, :, r, s]
    return dweight
""",
    ),
    "conv2d_input_gradient": (
        """
def conv2d_input_gradient(dy, weight, input_size, stride, padding):
    height, width = input_size
    n_filters, n_channels, kernel_h, kernel_w = weight.shape
    dx = np.zeros((len(dy), n_channels, height, width))
    for p in range(dy.shape[2]):
        for q in range(dy.shape[3]):
            for i in range(kernel_h):
                for j in range(kernel_w):
                    r, s = p * stride[0] - padding[0] + i, q * stride[1] - padding[1] + j
                    if 0 <= r < height and 0 <= s < width:
                        dx[:, :, r, s] += dy[:, :, p, q] @ weight[:, :, i, j]
    return dx
""",
    ),
    "batchnorm2d_eval_backward": (
        """
def batchnorm2d_eval_backward(dy, x, weight, mean, var, eps):
    std = np.sqrt(var + eps)[:, None, None]
    x_hat = (x - mean[:, None, None]) / std
    dx = weight[:, None, None] * dy / std
    return dx, (dy * x_hat).sum(axis=(0, 2, 3)), dy.sum(axis=(0, 2, 3))
""",
    ),
    "batchnorm2d_train_backward": (
        """
def batchnorm2d_train_backward(dy, x, weight, mean, var, eps):
    std = np.sqrt(var + eps)[:, None, None]
    x_hat = (x - mean[:, None, None]) / std
    via_mean = dy.mean(axis=(0, 2, 3), keepdims=True)
    via_variance = x_hat * (dy * x_hat).mean(axis=(0, 2, 3), keepdims=True)
    dx = weight[:, None, None] / std * (dy - via_mean - via_variance)
    return dx, (dy * x_hat).sum(axis=(0, 2, 3)), dy.sum(axis=(0, 2, 3))
""",
        """
def batchnorm2d_train_backward(dy, x, weight, mean, var, eps):
    n_images, n_channels, height, width = x.shape
    count = n_images * height * width
    centred = x - mean[:, None, None]
    inverse = 1 / np.sqrt(var + eps)[:, None, None]
    dx_hat = dy * weight[:, None, None]
    dvar = -0.5 * inverse**3 * (dx_hat * centred).sum(axis=(0, 2, 3), keepdims=True)
    dmean = -inverse * dx_hat.sum(axis=(0, 2, 3), keepdims=True)
    dx = dx_hat * inverse + dvar * 2 * centred / count + dmean / count
    return dx, (dy * centred * inverse).sum(axis=(0, 2, 3)), dy.sum(axis=(0, 2, 3))
""",
    ),
    "update_running_statistics_": (
        """
def update_running_statistics_(running_mean, running_var, mean, var, count, momentum):
    unbiased = var * count / (count - 1)
    running_mean[:] = (1 - momentum) * running_mean + momentum * mean
    running_var[:] = (1 - momentum) * running_var + momentum * unbiased
""",
    ),
    "sgd_step_": (
        """
def sgd_step_(param, velocity, grad, lr, momentum, nesterov, weight_decay):
    g = grad + weight_decay * param
    velocity[:] = momentum * velocity + g
    param -= lr * (g + momentum * velocity) if nesterov else lr * velocity
""",
    ),
    "adam_step_": (
        """
def adam_step_(param, m, v, grad, lr, beta1, beta2, eps, weight_decay, decoupled, step):
    if decoupled:
        param -= lr * weight_decay * param
    g = grad if decoupled else grad + weight_decay * param
    m[:] = beta1 * m + (1 - beta1) * g
    v[:] = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**step)
    v_hat = v / (1 - beta2**step)
    param -= lr * m_hat / (np.sqrt(v_hat) + eps)
""",
    ),
    "sequential_backward": (
        """
def sequential_backward(self, dy, need_dx=True):
    layers = list(self.children.values())
    first = layers[0]
    for child in reversed(layers):
        dy = first.backward(dy, need_dx=need_dx) if child is first else child.backward(dy)
    return dy
""",
    ),
    "cross_entropy_loss_backward": (
        """
def cross_entropy_loss_backward(self):
    log_p, targets, weights = self._recall()
    n_images, n_classes = log_p.shape
    hit = np.eye(n_classes)[targets]
    wanted = ((1 - self.label_smoothing) * hit + self.label_smoothing / n_classes) * weights
    total = weights[targets].sum()
    return (np.exp(log_p) * wanted.sum(axis=1, keepdims=True) - wanted) / total
""",
    ),
    "clip_gradients": (
        """
def clip_gradients(network, max_norm):
    squares = 0.0
    for _, layer, key in network.named_params():
        squares += layer.ops.sum_of_squares(layer.grads[key])
    norm = math.sqrt(squares)
    factor = min(1, max_norm / (norm + 1e-6))
    for _, layer, key in network.named_params():
        layer.ops.scale_(layer.grads[key], factor)
    return norm
""",
    ),
}
