"""The optimiser adds the step instead of taking it away: it climbs."""

from collections.abc import Sequence

from minicnn.backends.protocol import Operations
from minicnn.learn.symptoms import measures
from minicnn.learn.symptoms.cause import Cause, Sign
from minicnn.learn.symptoms.experiment import Experiment
from minicnn.network import Sequential
from minicnn.optim import SGD
from minicnn.plain import Array


class AscendingSGD(SGD):
    def _update(
        self,
        ops: Operations,
        params: Sequence[Array],
        slots: Sequence[Sequence[Array]],
        grads: Sequence[Array],
        weight_decay: float,
    ) -> None:
        (velocities,) = slots
        for param, velocity, grad in zip(params, velocities, grads, strict=True):
            velocity *= self.momentum
            velocity += grad
            param += self.lr * velocity  # -= was meant


class Climbs(Experiment):
    def optimizer(self, network: Sequential) -> SGD:
        return AscendingSGD(network, self.learning_rate, self.momentum)


CAUSE = Cause(
    name="gradient-sign",
    title="the sign of the step is wrong: weights move along the gradient instead of against it",
    experiment=Climbs,
    place="optimizer",
    signature=(
        Sign(measures.FIRST_ALIGNMENT, high=-0.9),
        Sign(measures.FIRST_RATIO, high=0.02),
        Sign(measures.HIGHEST_LOSS, low=10),
    ),
    shown=(
        "The first step points exactly along the gradient, the way on which the loss rises fastest. The steps are as "
        "short as the healthy run's, so that it is their direction that is wrong and not their length; accuracy falls "
        "even below that of guessing. The loss has no upper end, so weights and gradients feed each other until the "
        "numbers overflow."
    ),
    confused={
        "learning-rate": "the loss rises, too, but because steps along the right direction are too long",
        "loss-not-averaged": "likewise: a gradient that is too large still points the right way",
        "log-of-softmax": "it also ends without numbers, but the loss falls until then",
    },
    fix="Write param -= lr * velocity; or, where the gradient itself has the wrong sign, fix the loss's backward.",
)
