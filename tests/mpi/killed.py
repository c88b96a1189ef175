"""A run in which one rank is killed with SIGKILL at some moment, and what the others make of it."""

import json
import os
import signal
import sys
import threading
import time

from minicnn.distributed import world
from tests.mpi.problems import BUCKET_BYTES, CASE_OF_FAULTS, digest, slow_batches, trainer

EPOCHS = 3


def main(folder, victim, its_step, delay):
    with world(bucket_bytes=BUCKET_BYTES) as group:
        number = group.rank
        a_trainer = trainer(CASE_OF_FAULTS, group, checkpoint=None)
        steps = []
        step = a_trainer.step

        def watch(x, y):
            if len(steps) == its_step and number == victim:
                timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
                timer.daemon = True
                timer.start()
            loss = step(x, y)
            steps.append((loss, group.size, time.time()))
            return loss

        a_trainer.step = watch
        history = a_trainer.fit(slow_batches(), slow_batches(shuffle=False), epochs=EPOCHS)
        result = {
            "losses": [loss for loss, _, _ in steps],
            "sizes": [size for _, size, _ in steps],
            "times": [when for _, _, when in steps],
            "steps": a_trainer.optimizer.steps,
            "history": [{key: value for key, value in row.items() if key != "seconds"} for row in history],
            "weights": digest(a_trainer.network.state_dict().values()),
        }
        with open(f"{folder}/{number}.json", "w", encoding="utf-8") as file:
            json.dump(result, file)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
