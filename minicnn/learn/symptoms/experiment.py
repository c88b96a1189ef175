"""The healthy training run, with a place for each mistake.

Ten epochs on handwritten digits with a network in SimpleNet's manner, small enough for half a second. Every choice
that a fault may get wrong is a method or an attribute of its own, so that a faulty run is a subclass with exactly one
of them overridden; take the override away, and it is the healthy run to the last bit.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from minicnn.data import Batches, Dataset, LabelledImages, standardised
from minicnn.layers import AdaptiveMaxPool2d, BatchNorm2d, Conv2d, Flatten, Linear, LogSoftmax, ReLU
from minicnn.losses import NLLLoss
from minicnn.network import Sequential
from minicnn.optim import SGD
from minicnn.plain import Array

EPOCHS = 10
N_TRAIN, BATCH_SIZE = 768, 64  # twelve equal batches an epoch
CLASSES = 10


class Experiment:
    """How the healthy run does everything. A fault overrides one of these."""

    learning_rate = 0.02
    momentum = 0.9

    def prepared(self, digits: Dataset) -> Dataset:
        """The `Dataset` as the network gets it, from pictures with values from 0 to 1."""
        digits = standardised(digits)
        train = LabelledImages(digits.train.images[:N_TRAIN], digits.train.labels[:N_TRAIN])
        return replace(digits, train=train)

    def batches(self, train: LabelledImages, rng: np.random.Generator) -> Iterable[tuple[Array, Array]]:
        """What is iterated over in each epoch: (pictures, labels) in batches of BATCH_SIZE."""
        return Batches(train.images, train.labels, BATCH_SIZE, shuffle=True, rng=rng)

    def layers(self, rng: np.random.Generator) -> dict[str, Any]:
        """The layers by name, for pictures (N, 1, 8, 8)."""
        return {
            "conv1": Conv2d(1, 8, kernel_size=3, padding=1, rng=rng),
            "relu1": ReLU(),
            "pool": AdaptiveMaxPool2d(5),
            "conv2": Conv2d(8, 32, kernel_size=5, rng=rng),
            "bn2": BatchNorm2d(32),
            "relu2": ReLU(),
            "flatten": Flatten(),
            "fc1": Linear(32, 32, rng=rng),
            "relu3": ReLU(),
            "fc2": Linear(32, CLASSES, rng=rng),
            "log_softmax": LogSoftmax(),
        }

    def network(self, rng: np.random.Generator) -> Sequential:
        return Sequential(**self.layers(rng))

    def loss(self) -> NLLLoss:
        return NLLLoss()

    def optimizer(self, network: Sequential) -> SGD:
        return SGD(network, self.learning_rate, self.momentum)

    def to_evaluation(self, network: Sequential) -> None:
        """Called before the network is measured; afterwards it is put into training mode."""
        network.eval()
