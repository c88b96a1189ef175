"""How training would go on with 1 to 10 000 ranks: a simulation of steps, from times that scaling.py measured.

A step of p ranks, each with b images:

    compute       b * seconds an image, and a part that does not shrink; drawn anew for each rank and each piece between
                  two exchanges, with a lognormal spread. Every exchange waits for the slowest rank.
    an exchange   an Allgather of m bytes from each rank takes  log2(p) * latency + (p - 1) * m / bandwidth,
                  a sum of m bytes           2 * log2(p) * latency + 2 * (p - 1) / p * m / bandwidth   (Rabenseifner)
    messages      what `minicnn.distributed` sends: the batch's labels, batchnorm's statistics of each layer and their
                  two sums, the outputs of all images, and the gradients in buckets, of which all but the last can hide
                  behind the backward pass of earlier layers
    failures      a machine fails every `mtbf` seconds on average, so the job does every mtbf / p: with `survives` the
                  step under way is lost and the rank with it; without, the work since the last checkpoint and a
                  restart, at Young's best interval

Efficiency is images a second by p times those of one rank (weak scaling: b stays; strong: p * b stays).

    python benchmarks/scaling_model.py --measured scaling.json --plot scaling.png
"""

import argparse
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 10_000)
STEPS = 200  # simulated for each number of ranks
DRAWN = 2**20  # at most so many random numbers at once


@dataclass(frozen=True)
class Network:
    """What is sent of a network: SimpleNet with ten classes unless given."""

    channels: tuple[int, ...] = (16, 32, 64)  # of each batchnorm
    classes: int = 10
    gradient_bytes: int = 97_000
    bucket_bytes: int = 2**22


@dataclass(frozen=True)
class Machine:
    """Assumptions: what was measured, and what is guessed for a cluster."""

    seconds_an_image: float
    seconds_a_step: float  # whatever the number of images
    latency: float = 5e-6
    bandwidth: float = 10e9  # bytes a second
    message_overhead: float = 15e-6  # Python's, for each exchange
    spread: float = 0.03  # of the logarithm of a rank's time
    overlap: float = 0.8  # the share of a bucket's time that is hidden where there is work to hide it behind
    mtbf: float = 3 * 365 * 86400.0  # seconds, of one machine
    checkpoint: float = 1.0  # seconds to write one
    restart: float = 120.0
    survives: bool = False


def gathered(machine, p, size):
    """Seconds of an Allgather of `size` bytes from each rank."""
    if p == 1:
        return 0.0
    return machine.message_overhead + math.log2(p) * machine.latency + (p - 1) * size / machine.bandwidth


def summed(machine, p, size):
    """Seconds of an Allreduce of `size` bytes."""
    if p == 1:
        return 0.0
    return machine.message_overhead + 2 * math.log2(p) * machine.latency + 2 * (p - 1) / p * size / machine.bandwidth


def messages(machine, network, p, images):
    """(seconds of the exchanges that are waited for, seconds of the sum of gradients)."""
    waited = gathered(machine, p, 100 + 8 * images) + gathered(machine, p, 4 * images * network.classes)
    for channels in network.channels:
        waited += gathered(machine, p, 8 * (1 + 2 * channels)) + summed(machine, p, 16 * channels)
    buckets = max(1, round(network.gradient_bytes / network.bucket_bytes))
    return waited, buckets * summed(machine, p, network.gradient_bytes / buckets)


def step_seconds(machine, network, p, images, rng):
    """The mean time of a step."""
    own = machine.seconds_a_step + images * machine.seconds_an_image
    pieces = 2 * len(network.channels) + 2  # between two exchanges
    steps = max(1, min(STEPS, DRAWN // (p * pieces)))
    drawn = rng.lognormal(-(machine.spread**2) / 2, machine.spread, (steps, pieces, p))
    compute = own * drawn.max(axis=2).mean()
    waited, gradients = messages(machine, network, p, images)
    buckets = max(1, round(network.gradient_bytes / network.bucket_bytes))
    can_hide = gradients * (1 - 1 / buckets)  # the last bucket is full when there is nothing left to compute
    hidden = min(machine.overlap * can_hide, 2 / 3 * compute)
    return compute + waited + gradients - hidden


def surviving_share(machine, p, step):
    """The share of time that is not lost by failures."""
    between = machine.mtbf / p
    if machine.survives:
        return 1 / (1 + step / between)
    interval = math.sqrt(2 * machine.checkpoint * between)
    return max(0.0, 1 - machine.checkpoint / interval - interval / (2 * between) - machine.restart / between)


def efficiency(machine, network, images, weak=True, seed=0):
    """{p: efficiency}; of strong scaling as long as there is an image for each rank."""
    rng = np.random.default_rng(seed)
    alone = step_seconds(machine, network, 1, images, rng)
    found = {}
    for p in RANKS:
        own = images if weak else images / p
        if own >= 1:
            step = step_seconds(machine, network, p, math.ceil(own), rng)
            speed = (p if weak else 1) * alone / step
            found[p] = speed / p * surviving_share(machine, p, step)
    return found


def machine_of(measured):
    """The model's compute times, from two measured batches of one rank with one thread."""
    (few, few_seconds), (many, many_seconds) = measured["one rank, one thread"]
    an_image = (many_seconds - few_seconds) / (many - few)
    return Machine(
        an_image,
        max(0.0, few_seconds - few * an_image),
        latency=measured["latency"],
        bandwidth=measured["bandwidth"],
        message_overhead=measured["overhead"],
    )


def predicted(measured):
    """{"strong": [(ranks, images of each, measured seconds, predicted seconds)], "weak": the same}

    Ranks that share a machine slow each other down, as was measured of processes that send nothing.
    """
    machine, rng, found = machine_of(measured), np.random.default_rng(0), {}
    points, alone = measured["points"], dict(measured["one rank, one thread"])
    slower = {1: 1.0} | {p: seconds / alone[images] for p, images, seconds in points["no messages"]}
    for scaling in ("strong", "weak"):
        found[scaling] = []
        for p, images, seconds in points[scaling]:
            shared = replace(
                machine,
                seconds_an_image=slower[p] * machine.seconds_an_image,
                seconds_a_step=slower[p] * machine.seconds_a_step,
            )
            found[scaling].append((p, images, seconds, step_seconds(shared, Network(), p, images, rng)))
    return found


def plot(measured, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    here, network = machine_of(measured), Network()
    cluster = replace(here, latency=2e-6, bandwidth=10e9)
    large = Network(channels=(64, 128, 256, 512) * 4, classes=1000, gradient_bytes=100 * 2**20)
    slow_images = replace(cluster, seconds_an_image=100 * here.seconds_an_image)
    curves = {
        "SimpleNet, 128 images a rank, 10 GB/s, 2 µs": efficiency(cluster, network, 128),
        "the same over 1 Gbit/s, 50 µs": efficiency(replace(here, latency=5e-5, bandwidth=0.125e9), network, 128),
        "the same, no spread between ranks": efficiency(replace(cluster, spread=0.0), network, 128),
        "1024 images in all (strong scaling)": efficiency(cluster, network, 1024, weak=False),
        "100 MB of gradients, overlap 0.8": efficiency(slow_images, large, 32),
        "100 MB of gradients, no overlap": efficiency(replace(slow_images, overlap=0.0), large, 32),
        "100 MB, machines fail once a month": efficiency(replace(slow_images, mtbf=30 * 86400.0), large, 32),
        "the same, and survive (ULFM)": efficiency(replace(slow_images, mtbf=30 * 86400.0, survives=True), large, 32),
    }
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(13, 5), width_ratios=(1, 2.4), layout="constrained")
    for number, (name, points) in enumerate(predicted(measured).items()):
        ranks, _, seconds, model = zip(*points, strict=True)
        left.plot(ranks, np.multiply(1e3, model), f"C{number}.-", label=f"{name}, model")
        left.plot(ranks, np.multiply(1e3, seconds), f"C{number}x", markersize=9, label=f"{name}, measured")
    left.set(title="SimpleNet, on the machine that was measured", xlabel="ranks", ylabel="ms a step", ylim=(0, None))
    left.set_xticks(ranks)
    for name, curve in curves.items():
        right.plot(list(curve), list(curve.values()), ".-", label=name)
    right.set(title="clusters, model", xscale="log", ylim=(0, 1.05), xlabel="ranks", ylabel="efficiency")
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    figure.savefig(path, dpi=120)
    return curves


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measured", type=Path, required=True, help="what scaling.py wrote")
    parser.add_argument("--plot", type=Path, default=Path(__file__).with_name("scaling.png"))
    options = parser.parse_args()
    measured = json.loads(options.measured.read_text())
    for scaling, points in predicted(measured).items():
        for p, images, seconds, model in points:
            print(
                f"{scaling}, {p} ranks of {images} images: measured {1e3 * seconds:.2f} ms, model {1e3 * model:.2f} ms"
            )
    for name, curve in plot(measured, options.plot).items():
        print(f"{name}: " + ", ".join(f"{p}: {value:.2f}" for p, value in curve.items()))


if __name__ == "__main__":
    main()
