"""One measurement for scaling.py, on the ranks of this job: rank 0 prints a line of JSON.

scaling_worker.py step NETWORK IMAGES_OF_A_RANK MODE…   (seconds of a step in each mode, in turn; of them in messages)
scaling_worker.py step NETWORK IMAGES_OF_A_RANK alone   (of ranks that send nothing)
scaling_worker.py messages                              (latency, bandwidth, what Python adds to a message)
"""

import itertools
import json
import statistics
import sys
import threading
import time

import numpy as np
from mpi4py import MPI

import minicnn
from minicnn.distributed import world
from minicnn.distributed.ranks import Ranks
from minicnn.training.group import Group

SECONDS, LEAST = 3.0, 8  # of a measurement, and how many steps of each mode at least


# How gradients travel: whether when all of them are there, and whether a thread lets them move.
MODES = {"overlap": (False, True), "no-thread": (False, False), "at-the-end": (True, False)}


class Timed(Ranks):
    """Ranks that add up the time they spend in messages, in one of the modes."""

    spent = 0.0

    def travel(self, mode):
        self.at_the_end, self.serve_threads = MODES[mode]

    def call(self, operation, *arguments):
        started = time.perf_counter()
        try:
            return super().call(operation, *arguments)
        finally:
            if threading.current_thread() is threading.main_thread():  # else of messages that backward hides
                self.spent += time.perf_counter() - started

    def start_sum(self, numbers):
        return Later(self.comm, numbers) if self.at_the_end else super().start_sum(numbers)


class Later:
    """The request of a sum that begins where it is waited for."""

    def __init__(self, comm, numbers):
        self.comm, self.numbers = comm, numbers

    def Test(self):
        return False

    def Wait(self):
        self.comm.Iallreduce(MPI.IN_PLACE, self.numbers).Wait()


def network_of(name):
    if name == "simplenet":
        return minicnn.SimpleNet(rng=0), (3, 32, 32)
    # Its classifier has 8 MB of gradients, which are there before those of the convolutions are begun.
    convolutions = {}
    for number in range(6):
        convolutions |= {
            f"conv{number}": minicnn.Conv2d(3 if number == 0 else 64, 64, 3, padding=1, rng=number),
            f"relu{number}": minicnn.ReLU(),
        }
    head = {"pool": minicnn.AdaptiveAvgPool2d(8), "flatten": minicnn.Flatten(), "fc": minicnn.Linear(4096, 512, rng=9)}
    return minicnn.Sequential(**convolutions, **head), (3, 32, 32)


def step(name, images, *modes):
    network, shape = network_of(name)
    alone = modes == ("alone",)
    group = Group() if alone else world()
    if alone:
        modes = ("overlap",)
    ranks = group.ranks = Timed(MPI.COMM_WORLD)
    rng = np.random.default_rng(0)
    n_images = images * group.size
    x, y = rng.standard_normal((n_images, *shape), np.float32), rng.integers(0, 10, n_images)
    trainer = minicnn.Trainer(
        network, minicnn.CrossEntropyLoss(), minicnn.Adam(network), metrics={}, quiet=True, group=group
    )
    trainer.compile_kernels()
    seconds, in_messages = {mode: [] for mode in modes}, {mode: [] for mode in modes}

    def take_turns(times):
        for _, mode in itertools.product(range(times), modes):
            ranks.travel(mode)
            ranks.spent = 0.0
            started = time.perf_counter()
            trainer.step(x, y)
            seconds[mode].append(time.perf_counter() - started)
            in_messages[mode].append(ranks.spent)

    take_turns(2)
    of_a_turn = sum(taken[-1] for taken in seconds.values())
    times = max(LEAST, round(SECONDS / of_a_turn))
    take_turns(times if alone else ranks.sent(times))
    return group.rank, {
        "gradient bytes": sum(layer.grads[key].nbytes for _, layer, key in network.named_params()),
        "seconds": {mode: statistics.median(seconds[mode][2:]) for mode in modes},
        "in messages": {mode: statistics.median(in_messages[mode][2:]) for mode in modes},
    }


def messages():
    group = world()

    def seconds_of(action, times):
        group.ranks.comm.Barrier()
        taken = []
        for _ in range(times):
            started = time.perf_counter()
            action()
            taken.append(time.perf_counter() - started)
        return statistics.median(taken)

    small, large = np.zeros(16), np.zeros(2**20, np.float32)
    of_small, of_large = np.zeros((group.size, 16)), np.zeros_like(large)
    latency = seconds_of(lambda: group.ranks.comm.Allgather(small, of_small), 2000)
    sum_seconds = seconds_of(lambda: group.ranks.comm.Allreduce(large, of_large), 50)
    pickled = seconds_of(lambda: group.exchanged((0, 5, "float32", small)), 1000)
    return group.rank, {
        "latency": latency,
        "bandwidth": 2 * (group.size - 1) / group.size * large.nbytes / sum_seconds,
        "overhead": max(0.0, pickled - latency),
    }


def main():
    what, *arguments = sys.argv[1:]
    if what == "messages":
        rank, found = messages()
    else:
        name, images, *modes = arguments
        rank, found = step(name, int(images), *modes)
    if rank == 0:
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
