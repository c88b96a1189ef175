"""Pictures and labels are shuffled apart, each in an order of its own."""

from collections.abc import Iterator

import numpy as np

from minicnn.data import Batches, LabelledImages
from minicnn.learn.symptoms import measures
from minicnn.learn.symptoms.cause import Cause, Sign
from minicnn.learn.symptoms.experiment import BATCH_SIZE, Experiment
from minicnn.plain import Array


class ShuffledApart:
    """Batches whose pictures and labels belong to different draws."""

    def __init__(self, train: LabelledImages, rng: np.random.Generator) -> None:
        self.for_pictures, self.for_labels = (
            Batches(train.images, train.labels, BATCH_SIZE, shuffle=True, rng=generator) for generator in rng.spawn(2)
        )

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        for (pictures, _), (_, labels) in zip(self.for_pictures, self.for_labels, strict=True):
            yield pictures, labels


class LabelsAstray(Experiment):
    def batches(self, train: LabelledImages, rng: np.random.Generator) -> ShuffledApart:
        return ShuffledApart(train, rng)


CAUSE = Cause(
    name="labels-shuffled",
    title="pictures and labels are shuffled apart, so that a label says nothing about its picture",
    experiment=LabelsAstray,
    place="batches",
    signature=(
        Sign(measures.LABEL_SHARE, high=0.05),
        Sign(measures.LOWEST_LOSS, low=2.1),
        Sign(measures.FIRST_LAYER, low=0.01),
    ),
    shown=(
        "The mean picture of every label is the same blur: what carries the label 3 is no 3. So there is nothing to "
        "learn but how often each label occurs, and the loss stays at log 10 = 2.303, that of guessing. The network "
        "itself is well: all layers get gradients, which point another way in each batch."
    ),
    confused={
        "dead-relu": "the loss is that of guessing, too, but because no gradient gets through",
        "not-normalised": "the loss stands still, too, but the pictures still go with their labels",
        "momentum-restarted": "learning is slow there, but the loss does fall",
    },
    fix=(
        "Draw one order and take pictures and labels by it: images[order], labels[order]. Look at a few pictures with "
        "their labels before each new training."
    ),
)
