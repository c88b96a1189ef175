"""Runs without a fault, whose batches are shared by all ranks up to a step, and from there by all but one.

They stop as by Ctrl-C, and go on from a checkpoint. For each (victim, steps) of the list that is the second argument.
"""

import json
import os
import signal
import sys
import tempfile

from mpi4py import MPI

from minicnn.distributed import MPIGroup, world
from tests.mpi.killed import EPOCHS
from tests.mpi.problems import BUCKET_BYTES, CASE_OF_FAULTS, digest, slow_batches, trainer


class StoppedBefore:
    """Batches, and Ctrl-C before one of them is drawn."""

    def __init__(self, batches, step):
        self._batches, self._left = batches, step

    def __getattr__(self, name):
        return getattr(self._batches, name)

    def __len__(self):
        return len(self._batches)

    def __iter__(self):
        return iter(self._batches)

    def share(self, rank, size):
        shares = self._batches.share(rank, size)
        for _ in range(len(self)):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGINT)
            yield next(shares)
        yield from shares  # none; it ends the epoch


def run(group, victim, steps, path):
    """The digest of the last weights, and the history, of those that are left."""
    if steps:
        before = trainer(CASE_OF_FAULTS, group, checkpoint=path)
        before.fit(StoppedBefore(slow_batches(), steps), slow_batches(shuffle=False), epochs=EPOCHS)
    left = group.ranks.comm.Split(color=int(group.rank == victim), key=group.rank)
    if group.rank == victim:
        return None
    with MPIGroup(left, bucket_bytes=BUCKET_BYTES) as others:
        after, batches = trainer(CASE_OF_FAULTS, others), slow_batches()
        if steps:
            after.load(path, batches)
        after.fit(batches, slow_batches(shuffle=False), epochs=EPOCHS - after.epoch)
        history = [{key: value for key, value in row.items() if key != "seconds"} for row in after.history]
        return digest(after.network.state_dict().values()), history


def main(path, faults):
    with world(bucket_bytes=BUCKET_BYTES) as group, tempfile.TemporaryDirectory() as folder:
        folder = group.ranks.sent(folder)
        results = [run(group, victim, steps, f"{folder}/run") for victim, steps in json.loads(faults)]
        of_all = group.exchanged(results)
        if group.rank == 0:
            found = [next(ranks[number] for ranks in of_all if ranks[number]) for number in range(len(results))]
            with open(path, "w", encoding="utf-8") as file:
                json.dump(found, file)
        group.ranks.comm.Barrier()
        MPI.COMM_WORLD.Barrier()


if __name__ == "__main__":
    main(*sys.argv[1:])
