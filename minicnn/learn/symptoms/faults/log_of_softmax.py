"""The logarithm is taken of a finished softmax, in half precision: what is less than 6e-8 is 0, and its log is -inf."""

from typing import Any

import numpy as np

from minicnn.layers import LogSoftmax
from minicnn.learn.symptoms import measures
from minicnn.learn.symptoms.cause import Cause, Sign
from minicnn.learn.symptoms.experiment import Experiment
from minicnn.plain import Array


class LogOfSoftmax(LogSoftmax):
    """First softmax, then log, each with a backward of its own; in half precision, which saves memory."""

    def forward(self, x: Array) -> Array:
        exponentials = np.exp((x - x.max(axis=1, keepdims=True)).astype(np.float16))
        p = exponentials / exponentials.sum(axis=1, keepdims=True)
        y = np.log(p).astype(x.dtype)
        self.remember(y, p=p.astype(x.dtype))
        return y

    def backward(self, dy: Array, need_dx: bool = True) -> Array:
        dy, memory = self.recall(dy)
        dp = dy / memory.p  # of the log; 0 / 0 where the probability is 0
        return memory.p * (dp - (dp * memory.p).sum(axis=1, keepdims=True))  # of the softmax


class TwoSteps(Experiment):
    def layers(self, rng: np.random.Generator) -> dict[str, Any]:
        return super().layers(rng) | {"log_softmax": LogOfSoftmax()}


CAUSE = Cause(
    name="log-of-softmax",
    title="log(softmax(x)) is computed in two steps, and the probabilities underflow to 0",
    experiment=TwoSteps,
    place="layers",
    signature=(
        Sign(measures.STEPS, high=119),
        Sign(measures.LOWEST_LOSS, high=1),
        Sign(measures.HIGHEST_LOSS, high=3),
    ),
    shown=(
        "All is as in the healthy run, to the eye, until the network is sure: then a wrong class's score lies so far "
        "below the best that its probability is 0 in half precision (below 6e-8; in float32 it would take a distance "
        "of 104, which is rarer and ends the same way). log 0 is -inf, the backward of the log divides by that 0, "
        "0 / 0 is not a number, and after one step no weight is a number any more. That success is what breaks it is "
        "the mark of underflow."
    ),
    confused={
        "gradient-sign": "it ends without numbers, too, but the loss rises all the way there",
        "learning-rate": "too long steps may overflow, but they make the loss jump first",
    },
    fix=(
        "Compute log-softmax in one step, x - max - log(sum(exp(x - max))): the sum is at least 1, so that nothing is "
        "lost. Its backward, dy - exp(y) * sum(dy), does not divide."
    ),
)
