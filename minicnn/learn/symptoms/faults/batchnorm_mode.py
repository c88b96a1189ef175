"""The network is measured without `network.eval()`: batchnorm goes on normalising by the batch it is given."""

from minicnn.learn.symptoms import measures
from minicnn.learn.symptoms.cause import Cause, Sign
from minicnn.learn.symptoms.experiment import Experiment
from minicnn.network import Sequential


class NeverEvaluates(Experiment):
    def to_evaluation(self, network: Sequential) -> None:
        pass  # network.eval() is forgotten


CAUSE = Cause(
    name="batchnorm-mode",
    title="batchnorm is left in training mode when the network is measured",
    experiment=NeverEvaluates,
    place="to_evaluation",
    signature=(
        Sign(measures.TRAIN_ACCURACY, low=0.9),
        Sign(measures.VAL_ACCURACY, high=0.6),
        Sign(measures.MIXED_ACCURACY, low=0.85),
        Sign(measures.OFFSET_OF_MEAN, high=0.001),
    ),
    shown=(
        "The same pictures are recognised when they come mixed and not when they come class by class, so what is said "
        "of a picture depends on its neighbours in the batch. Only batchnorm lets pictures of a batch meet, and only "
        "in training mode: it takes away the batch's own mean, and in a batch of one class that mean is what all its "
        "pictures have in common, the class. In evaluation mode the mean taken away is the running one, which no "
        "batch hits exactly; here the difference is 0. (Each such measurement moves the running statistics, too.)"
    ),
    confused={
        "not-normalised": "if only the validation pictures were prepared differently, they would fail in any order",
        "pooling-windows": "a network that does not see enough fails on the pictures it is trained on, too",
    },
    fix="Call network.eval() before measuring and network.train() after it; or use network.predict(x).",
)
