"""The learning rate is fifty times too high."""

from minicnn.learn.symptoms import measures
from minicnn.learn.symptoms.cause import Cause, Sign
from minicnn.learn.symptoms.experiment import Experiment


class TooFast(Experiment):
    learning_rate = 1.0  # 0.02 was meant


CAUSE = Cause(
    name="learning-rate",
    title="the learning rate is too high",
    experiment=TooFast,
    place="learning_rate",
    signature=(
        Sign(measures.FIRST_RATIO, low=0.05),
        Sign(measures.LOSS_GRADIENT, high=1.01),
        Sign(measures.FIRST_STEP, low=0.2),
        Sign(measures.HIGHEST_LOSS, low=3),
    ),
    shown=(
        "The first step already changes a layer's weights by a tenth or more of their length; one in a thousand is "
        "usual. The gradient is of a healthy size and points the right way, but it describes the loss only close by, "
        "and steps of this length land beyond the valley: the loss jumps above where it began. At last a jump leaves "
        "units negative for every picture; they are dead, and the loss stands still at that of guessing."
    ),
    confused={
        "loss-not-averaged": "the steps are as long, but because the gradient is N times too large",
        "dead-relu": "the units die during training, not before it",
        "gradient-sign": "there the steps are short, and the loss rises all the same",
    },
    fix="Divide the learning rate by ten until the first updates are about a thousandth of the weights.",
)
