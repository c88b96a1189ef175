"""The pictures are divided by 255, as bytes would have to be; but they come with values from 0 to 1."""

from dataclasses import replace

import numpy as np

from minicnn.data import Dataset, LabelledImages
from minicnn.learn.symptoms import measures
from minicnn.learn.symptoms.cause import Cause, Sign
from minicnn.learn.symptoms.experiment import N_TRAIN, Experiment


class DividedBy255(Experiment):
    def prepared(self, digits: Dataset) -> Dataset:
        def divided(part: LabelledImages) -> LabelledImages:
            return LabelledImages(part.images / np.float32(255), part.labels)  # standardised(digits) was meant

        train = LabelledImages(digits.train.images[:N_TRAIN], digits.train.labels[:N_TRAIN])
        return replace(digits, train=divided(train), test=divided(digits.test))


CAUSE = Cause(
    name="not-normalised",
    title="the pictures are not normalised: their values are not around 0 with a spread of 1",
    experiment=DividedBy255,
    place="prepared",
    signature=(
        Sign(measures.FIRST_LAYER, high=0.08),
        Sign(measures.PIXEL_FACTOR, low=3),
        Sign(measures.LAST_LOSS, low=1),
    ),
    shown=(
        "The pictures reach the network with values a few hundred times smaller than those that its first weights are "
        "made for, from 0 to 0.004. In conv1 the bias outweighs them: its outputs are nearly the same for all "
        "pictures, some units negative for all. Batchnorm would stretch any spread to 1, but not one whose square is "
        "below its eps of 0.00001. And conv1's gradient is small, since dweight is a sum of dy * x."
    ),
    confused={
        "labels-shuffled": "the loss stands still, too, but the pictures have their spread and not their labels",
        "dead-relu": "there all units of a ReLU are 0 and no gradient at all gets through",
        "momentum-restarted": "learning is slow there, too, but with healthy pictures",
    },
    fix=(
        "Take away the mean and divide by the standard deviation of the training pictures, and do the same to all "
        "others: minicnn.data.standardised(dataset). Print the mean and the spread of a batch before each new training."
    ),
)
