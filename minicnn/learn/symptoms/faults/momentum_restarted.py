"""The velocity starts anew in each step, as when the optimiser is made inside the loop over the batches."""

from minicnn.learn.symptoms import measures
from minicnn.learn.symptoms.cause import Cause, Sign
from minicnn.learn.symptoms.experiment import Experiment
from minicnn.network import Sequential
from minicnn.optim import SGD


class ForgetfulSGD(SGD):
    def step(self) -> None:
        for velocity in self.state["velocity"].values():
            velocity[:] = 0  # the velocity was meant to last for the whole run
        super().step()


class Restarts(Experiment):
    def optimizer(self, network: Sequential) -> SGD:
        return ForgetfulSGD(network, self.learning_rate, self.momentum)


CAUSE = Cause(
    name="momentum-restarted",
    title="momentum is restarted in each step, so that there is none",
    experiment=Restarts,
    place="optimizer",
    signature=(
        Sign(measures.GROWTH_OF_STEP, high=1.01),
        Sign(measures.LOWEST_ALIGNMENT, low=0.999),
        Sign(measures.LAST_LOSS, low=0.5),
    ),
    shown=(
        "Every step is the same multiple of the gradient of its own batch, and points exactly against it. With "
        "momentum 0.9 only the first step does; later ones add up what came before, grow to several times that length, "
        "and point where the gradients of many batches agree. Without that sum the run learns the same, but far more "
        "slowly."
    ),
    confused={
        "not-normalised": "learning is slow, too, but the steps grow as they should; it is the pictures that are small",
        "labels-shuffled": "there the loss does not fall at all",
    },
    fix="Make the optimiser once, before the loop over the epochs, and reset nothing in it.",
)
