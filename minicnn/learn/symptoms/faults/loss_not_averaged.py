"""The loss is the mean over the batch, but its backward forgets the 1 / N."""

import numpy as np

from minicnn.learn.symptoms import measures
from minicnn.learn.symptoms.cause import Cause, Sign
from minicnn.learn.symptoms.experiment import Experiment
from minicnn.losses import NLLLoss
from minicnn.plain import Array


class SummedGradient(NLLLoss):
    def backward(self) -> Array:
        log_p, labels, _ = self._recall()
        d_log_p = np.zeros_like(log_p)
        d_log_p[np.arange(len(labels)), labels] = -1  # -1 / len(labels) was meant
        return d_log_p


class NotAveraged(Experiment):
    def loss(self) -> NLLLoss:
        return SummedGradient()


CAUSE = Cause(
    name="loss-not-averaged",
    title="the gradient of the loss lacks 1 / N: it is that of the sum over the batch, not of the mean",
    experiment=NotAveraged,
    place="loss",
    signature=(
        Sign(measures.FIRST_RATIO, low=0.05),
        Sign(measures.FIRST_STEP, high=0.1),
        Sign(measures.LOSS_GRADIENT, low=2),
    ),
    shown=(
        "The loss is a mean, so each of the N pictures has the share 1 / N in it, and |d loss / d log p| must sum to "
        "1 over a batch. Here it sums to N = 64, and the gradients of all layers are 64 times too large from the first "
        "step on. A step is the learning rate times the gradient: the learning rate is right, as the step over the "
        "gradient shows, and the steps are 64 times too long."
    ),
    confused={
        "learning-rate": "the loss jumps in the same way; there it is the step over the gradient that is too large",
        "gradient-sign": "the loss rises, too, but with short steps in the wrong direction",
    },
    fix=(
        "Divide by the number of pictures in backward as in forward. A learning rate divided by 64 would hide it until "
        "the next change of the batch size."
    ),
)
