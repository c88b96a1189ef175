"""A run with a checkpoint: whole, with a rank that is killed in the second epoch, or going on from the checkpoint.

resumed.py RESULT CHECKPOINT HOW
"""

import json
import os
import signal
import sys

from minicnn.distributed import world
from tests.mpi.problems import CASE_OF_FAULTS, slow_batches, trainer

EPOCHS = 3


def main(result, checkpoint, how):
    with world() as group:
        a_trainer, batches = trainer(CASE_OF_FAULTS, group, checkpoint=checkpoint), slow_batches()
        if how == "resume":
            a_trainer.load(checkpoint, batches)
        begun = a_trainer.epoch
        step = a_trainer.step

        def killed_in_the_second_epoch(x, y):
            if a_trainer.optimizer.steps == len(batches) + 2 and group.rank == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(x, y)

        if how == "kill":
            a_trainer.step = killed_in_the_second_epoch
        history = a_trainer.fit(batches, slow_batches(shuffle=False), epochs=EPOCHS - begun)
        curve = [row[name] for row in history for name in ("loss", "val_loss", "accuracy")]
        if group.rank == 0:
            with open(result, "w", encoding="utf-8") as file:
                json.dump({"epochs before": begun, "curve": curve}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
