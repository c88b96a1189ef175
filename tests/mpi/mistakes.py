"""A job in which something is wrong on rank 1; the second argument says what."""

import sys

import numpy as np

import minicnn
from minicnn.distributed import world
from tests.mpi import problems

CASE = problems.CASE_OF_FAULTS


class Broken:
    """Batches of which this rank cannot read its share of the second."""

    def __init__(self, batches):
        self._batches = batches

    def __len__(self):
        return len(self._batches)

    def __iter__(self):
        return iter(self._batches)

    def share(self, rank, size):
        for number, part in enumerate(self._batches.share(rank, size)):
            if number == 1 and rank == 1:
                raise OSError("disk of this rank: no such file")
            yield part


class FailsOnRank1(minicnn.ReLU):
    group = None

    def forward(self, x):
        if self.group.rank == 1:
            raise MemoryError("no memory on this rank")
        return super().forward(x)


def main(what):
    with world() as group:
        wrong = group.rank == 1
        batches = problems.batches(CASE)
        if what == "version" and wrong:
            minicnn.__version__ = "0.0.1"
        trainer = problems.trainer(CASE, group, patience=3 if what == "arguments" and wrong else None)
        if what == "weights" and wrong:
            trainer.network["fc"].params["weight"][0, 0] += 1
        if what == "labels" and wrong:
            batches.labels = (batches.labels + 1) % 3
        if what == "broken data":
            batches = Broken(batches)
        if what == "number of batches":
            batches = list(batches)[: 1 if wrong else None]
            batches = (batch for batch in batches)  # so that their number is not known before
        if what == "dtype" and wrong:
            batches = [(np.float64(x), y) for x, y in batches]
        elif what == "dtype":
            batches = list(batches)
        if what == "not finite":
            batches = [(x * np.float32(np.inf), y) for x, y in batches]
        if what == "a layer of one rank":
            failing = FailsOnRank1()
            failing.group = group
            network = minicnn.Sequential(conv=minicnn.Conv2d(2, 3, 1, rng=0), relu=failing,
                                         bn=minicnn.BatchNorm2d(3), pool=minicnn.AdaptiveAvgPool2d(1),
                                         flatten=minicnn.Flatten())  # fmt: skip
            trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.SGD(network, 0.1), group=group)
        trainer.fit(batches, epochs=2)


if __name__ == "__main__":
    main(sys.argv[1])
