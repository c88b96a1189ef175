"""Cases of the optimisers and of the whole network."""

from collections.abc import Iterator
from typing import Any

import numpy as np

import minicnn
from minicnn.learn.exercises.arguments.case import Case
from minicnn.plain import Array


def sgd_step_(rng: np.random.Generator) -> Iterator[Case]:
    small = np.array([1.0, 2]), np.array([0.5, 0]), np.array([1.0, -1])
    yield "small, no momentum", (*(array.copy() for array in small), 0.1, 0.0, False, 0.0)
    yield "small, momentum 0.5", (*(array.copy() for array in small), 0.1, 0.5, False, 0.0)
    for nesterov in (False, True):
        for weight_decay in (0.0, 0.3):
            label = f"random, {'Nesterov' if nesterov else 'momentum'} 0.9, weight decay {weight_decay}"
            yield label, (*rng.standard_normal((3, 2, 3)), 0.05, 0.9, nesterov, weight_decay)


def adam_step_(rng: np.random.Generator) -> Iterator[Case]:
    def slots() -> tuple[Array, Array, Array]:
        return rng.standard_normal((2, 3)), 0.1 * rng.standard_normal((2, 3)), rng.uniform(0.01, 0.2, (2, 3))

    first = np.array([1.0, 2]), np.zeros(2), np.zeros(2), np.array([3.0, -0.5])
    yield "the first step", (*(array.copy() for array in first), 0.1, 0.9, 0.99, 1e-3, 0.0, False, 1)
    yield "step 7", (*slots(), rng.standard_normal((2, 3)), 0.05, 0.9, 0.99, 1e-3, 0.0, False, 7)
    yield "step 3, weight decay", (*slots(), rng.standard_normal((2, 3)), 0.05, 0.8, 0.99, 1e-3, 0.2, False, 3)
    yield "step 3, decoupled", (*slots(), rng.standard_normal((2, 3)), 0.05, 0.8, 0.99, 1e-3, 0.2, True, 3)


def _float64(network: minicnn.Sequential) -> minicnn.Sequential:
    return network.to("reference", np.float64)


class First(minicnn.Linear):
    """A first layer that remembers whether it was asked for dx, and gives none where it was not."""

    asked_for_dx: bool | None = None

    def backward(self, dy: Array, need_dx: bool = True) -> Any:
        self.asked_for_dx = need_dx
        return super().backward(dy, need_dx=need_dx)


def sequential_backward(rng: np.random.Generator) -> Iterator[Case]:
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
    first_asked = _float64(minicnn.Sequential(a=First(3, 3, rng=seed), b=minicnn.Linear(3, 2, rng=seed)))
    y = first_asked.forward(rng.standard_normal((4, 3)))
    yield "need_dx is False", (first_asked, rng.standard_normal(y.shape), False)


def cross_entropy_loss_backward(rng: np.random.Generator) -> Iterator[Case]:
    for label, weight, smoothing in (
        ("equal weights", None, 0.0),
        ("class weights", np.array([1.0, 2, 0.5, 1]), 0.0),
        ("label smoothing 0.1", None, 0.1),
        ("class weights, label smoothing 0.2", np.array([1.0, 2, 0.5, 1]), 0.2),
    ):
        loss = minicnn.CrossEntropyLoss(weight, smoothing).to("reference")
        loss.forward(2 * rng.standard_normal((3, 4)), rng.integers(0, 4, 3))
        yield label, (loss,)


def clip_gradients(rng: np.random.Generator) -> Iterator[Case]:
    for label, scale, of_last, max_norm in (
        ("a norm that is too large", 5, 1, 2.5),
        ("a norm that is too large, and a small max_norm", 5, 1, 0.5),
        ("the last layer's gradients the largest", 1, 30, 2.5),
        ("a norm that is small enough", 0.1, 1, 2.5),
        ("a norm that is small enough, and a small max_norm", 0.01, 1, 0.5),
        ("nothing but 0", 0, 1, 0.5),
    ):
        seed = int(rng.integers(1 << 30))
        network = _float64(minicnn.Sequential(a=minicnn.Linear(3, 2, rng=seed), b=minicnn.Linear(2, 2, rng=seed)))
        for _, layer, key in network.named_params():
            larger = of_last if layer is network["b"] else 1
            layer.grads[key] = scale * larger * rng.standard_normal(layer.params[key].shape)
        yield label, (network, max_norm)
