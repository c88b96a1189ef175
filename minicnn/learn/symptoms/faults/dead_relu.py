"""The first weights of fc1 are all negative; its inputs, from a ReLU, never are; so its outputs always are."""

from typing import Any

import numpy as np

from minicnn.layers import Linear
from minicnn.learn.symptoms import measures
from minicnn.learn.symptoms.cause import Cause, Sign
from minicnn.learn.symptoms.experiment import Experiment


class NegativeLinear(Linear):
    def __init__(self, in_features: int, out_features: int, rng: np.random.Generator) -> None:
        super().__init__(in_features, out_features, rng=rng)
        bound = 1 / np.sqrt(in_features)
        for name, param in self.params.items():
            draws = rng.random(param.shape)  # from 0 to 1
            self.params[name] = (bound * (draws - 1)).astype(param.dtype)  # 2 * draws - 1 was meant


class NegativeWeights(Experiment):
    def layers(self, rng: np.random.Generator) -> dict[str, Any]:
        layers = super().layers(rng)
        fc1 = layers["fc1"]
        return layers | {"fc1": NegativeLinear(fc1.in_features, fc1.out_features, rng)}


CAUSE = Cause(
    name="dead-relu",
    title="the units of a ReLU are dead: negative for every picture, from the first weights on",
    experiment=NegativeWeights,
    place="layers",
    signature=(
        Sign(measures.FIRST_LAYER, high=1e-9),
        Sign(measures.DEAD_UNITS, low=0.9),
        Sign(measures.LOWEST_LOSS, low=2.1),
    ),
    shown=(
        "relu3 gives 0 for every picture before the first step already. What is 0 for all pictures tells none of them "
        "apart, so the loss stays at log 10 = 2.303, that of guessing; and where y = 0 the ReLU's backward sends 0, so "
        "every layer before it has a gradient of exactly 0 and can never leave this state. Only fc2's bias learns, "
        "which is how often each class occurs."
    ),
    confused={
        "labels-shuffled": "the loss is that of guessing, too, but all layers get gradients",
        "not-normalised": "there the first layer's gradient is small, here it is exactly 0",
        "learning-rate": "steps that are too long also kill ReLUs, but later; here they are dead before the first",
    },
    fix=(
        "Draw the first weights around 0: bound * (2 * rng.random(shape) - 1). Where training itself kills units, take "
        "shorter steps, or put batchnorm before the ReLU."
    ),
)
