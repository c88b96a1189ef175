"""What the door to compiled code costs: steps and predictions of SimpleNet with `minicnn.backends.guard`, and without.

    python benchmarks/guard.py

The two take turns in one process, on the same network and batch; the median of the ratios of neighbours is printed.
"""

import statistics
import time

import numpy as np

import minicnn
from minicnn.backends import cpu, guard

GUARDED = {name: getattr(cpu, name) for name in guard.CONTRACT}
ROUNDS, CALLS = 60, 5


def put(guarded):
    """The operations of the backend with the door, or without."""
    for name, operation in GUARDED.items():
        setattr(cpu, name, operation if guarded else operation.__wrapped__)


def seconds(call):
    started = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - started) / CALLS


def compare(what, call):
    call()
    with_door, without = [], []
    for _ in range(ROUNDS):
        for guarded, times in ((True, with_door), (False, without)):
            put(guarded)
            times.append(seconds(call))
    ratio = statistics.median(a / b for a, b in zip(with_door, without, strict=True))
    best_with, best_without = min(with_door) * 1e3, min(without) * 1e3
    print(f"{what:24} {best_with:8.3f} ms {best_without:8.3f} ms without   ratio {ratio:.4f}")


def main():
    rng = np.random.default_rng(0)
    network = minicnn.SimpleNet(rng=0)
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network), quiet=True)
    for n in (1, 10, 128):
        x, y = rng.standard_normal((n, 3, 32, 32), np.float32), rng.integers(10, size=n)
        compare(f"step {n} × 32²", lambda x=x, y=y: trainer.step(x, y))
        compare(f"predict {n} × 32²", lambda x=x: minicnn.fuse(network).predict(x))


if __name__ == "__main__":
    main()
