"""What a training step costs today, and what it cost in another checkout of minicnn, such as one of an earlier commit.

    git worktree add /tmp/before COMMIT
    python benchmarks/since.py /tmp/before

The two take turns, each in a process of its own, in the order here, there, there, here. Of each process the median of
many steps counts, and what is printed is the median over the rounds of the ratio of neighbours, with their quartiles.
"Step" is `Trainer.step` alone; "fit" is a step within `Trainer.fit`, nothing shown and without callbacks.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent.parent
CASES = [(what, n) for what in ("step", "fit") for n in (1, 10, 128)]  # images of 32 × 32
STEPS = {1: 400, 10: 200, 128: 30}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="the other checkout")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    for tree in (HERE, options.other):
        measured(tree)  # compiles its kernels
    pairs = []
    for number in range(options.rounds):
        trees = (HERE, options.other) if number % 2 == 0 else (options.other, HERE)
        found = {tree: measured(tree) for tree in trees}
        pairs.append((found[HERE], found[options.other]))
    for case in map("{0[0]} {0[1]}".format, CASES):
        ratios = [here[case] / there[case] for here, there in pairs]
        low, middle, high = statistics.quantiles(ratios, n=4)
        here, there = (min(pair[k][case] for pair in pairs) * 1e3 for k in (0, 1))
        print(f"{case:9} × 32²  {here:8.3f} ms  {there:8.3f} ms there   ratio {middle:.4f} ({low:.4f} to {high:.4f})")


def measured(tree):
    """{case: median seconds of a step} in a process that imports minicnn from this checkout."""
    environment = os.environ | {"PYTHONPATH": str(tree)}
    command = [sys.executable, __file__, "--worker", str(tree)]
    return json.loads(subprocess.run(command, env=environment, cwd=tree, capture_output=True, check=True).stdout)


def work(tree):
    import numpy as np

    import minicnn

    assert Path(minicnn.__file__).is_relative_to(tree), minicnn.__file__
    rng = np.random.default_rng(0)
    found = {}
    for what, n in CASES:
        network = minicnn.SimpleNet(rng=0)
        trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network), quiet=True)
        x, y = rng.standard_normal((n, 3, 32, 32), np.float32), rng.integers(10, size=n)
        times = []
        if what == "step":
            for _ in range(STEPS[n] + 10):
                started = time.perf_counter()
                trainer.step(x, y)
                times.append(time.perf_counter() - started)
        else:
            trainer.fit(noting_the_time(times, x, y, STEPS[n] + 10))
        found[f"{what} {n}"] = statistics.median(times[10:])
    print(json.dumps(found))


def noting_the_time(times, x, y, steps):
    """Batches, and how long each took until the next was asked for."""
    for _ in range(steps):
        started = time.perf_counter()
        yield x, y
        times.append(time.perf_counter() - started)


if __name__ == "__main__":
    if "--worker" in sys.argv:
        work(Path(sys.argv[-1]))
    else:
        main()
