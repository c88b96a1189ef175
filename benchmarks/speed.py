"""How fast minicnn is, beside PyTorch: time, memory, start-up, share of the machine's peak.

Every figure is taken in a process of its own, which warms up, measures, and ends. The contestants take turns, round
after round, so that a machine that slows down slows all of them; a ratio is taken within a round, and the median of
the rounds' ratios is reported. PyTorch runs in both its memory layouts, and the better one counts.

    python benchmarks/speed.py --markdown speed.md --plot speed.png          (PyTorch: pip install torch==2.13.0)
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

WORKER = Path(__file__).with_name("speed_worker.py")
STEPS = ("10 x 32", "128 x 32", "16 x 224")  # images x side; the three on which minicnn is judged
OPERATIONS = (
    "conv 3x3 16-32",
    "conv 3x3 32-64",
    "conv 1x1 64-64",
    "conv 5x5 16-32",
    "conv 7x7 16-32",
    "conv 3x3 stride 2 32-64",
    "batchnorm 64",
    "relu 64",
    "max pool 64 to 1",
    "avg pool 64 to 3",
)
ONLY = ("step", "operations", "ladder", "growth", "start", "cuda")
RUNGS = ("plain", "shifts", "tile", "winograd")
GROWTH = (
    *(f"{n} x 32" for n in (1, 4, 16, 64)),
    *(f"4 x {side}" for side in (16, 64, 128, 256)),
    *(f"4 x 32 x {times}" for times in (2, 4, 8)),  # times SimpleNet's channels
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", choices=ONLY, help="only this table; cuda: a GPU's, which is not among the rest")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables here as well")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the ratios here")
    options = parser.parse_args()

    bench = Bench(options.rounds, options.threads)
    tables = {}
    if options.only in (None, "step"):
        tables["Training step and inference"] = bench.steps(STEPS)
    if options.only in (None, "operations"):
        tables["Single operations, 32 images of 32 × 32, forward and backward"] = bench.operations(OPERATIONS)
    if options.only in (None, "ladder"):
        tables["The ladder: conv 3x3 32-64, 32 images of 32 × 32"] = bench.ladder("conv 3x3 32-64")
    if options.only in (None, "growth"):
        tables["Growth with the number and the size of images, and with channels"] = bench.beside_pytorch(
            [("step", case) for case in GROWTH]
        )
    if options.only in (None, "start"):
        tables["Start-up"] = bench.start()
    if options.only == "cuda":
        runs = [(what, case) for case in STEPS for what in ("step", "predict")]
        tables["On a GPU, beside PyTorch with cuDNN; images are on the device"] = bench.beside_pytorch(runs, "-cuda")

    head = f"{bench.machine()}, {options.threads} threads, median of {options.rounds} rounds."
    show(head, tables)
    if options.markdown:
        options.markdown.write_text(as_markdown(head, tables))
    if options.plot:
        plot(tables, head, options.plot)


class Bench:
    """Runs workers in turn and makes rows of what they measure. A table is a list of dicts, column to text."""

    def __init__(self, rounds, threads, worker=WORKER):
        self.rounds, self.worker_script = rounds, worker
        self.environment = os.environ | {name: str(threads) for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS")}

    def worker(self, *arguments, **environment):
        """What a new process measures: the dict that it prints."""
        command = [sys.executable, str(self.worker_script), *map(str, arguments)]
        run = subprocess.run(command, env=self.environment | environment, capture_output=True, text=True)
        if run.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{run.stderr}")
        return json.loads(run.stdout.splitlines()[-1])

    def alternate(self, contestants):
        """{name: [a measurement for each round]} of {name: worker arguments}, the contestants taking turns."""
        measured = {name: [] for name in contestants}
        for _ in range(self.rounds):
            for name, arguments in contestants.items():
                measured[name].append(self.worker(*arguments))
        return measured

    def steps(self, cases):
        rows = []
        for case in cases:
            for what in ("step", "predict"):
                found = self.alternate(contestants(what, case))
                rows.append({"": named(what, case), **self.row(found)})
        return rows

    def beside_pytorch(self, runs, device=""):
        """`runs` are pairs (step or predict, case); `device` is "" or "-cuda"."""
        rows = []
        for what, case in runs:
            names = {"minicnn": "minicnn", "nchw": "torch", "channels_last": "torch-channels-last"}
            found = self.alternate({name: (framework + device, what, case) for name, framework in names.items()})
            ms = {name: [1e3 * one["seconds"] for one in of] for name, of in found.items()}
            rounds = list(zip(*ms.values(), strict=True))
            ratio = statistics.median(ours / min(theirs) for ours, *theirs in rounds)
            columns = ("minicnn ms", "PyTorch NCHW ms", "channels_last ms")
            times = {name: f"{statistics.median(of):.2f}" for name, of in zip(columns, ms.values(), strict=True)}
            rows.append({"": named(what, case), **times, "ratio to the better": f"{ratio:.2f}"})
        return rows

    def operations(self, cases):
        rows = []
        for case in cases:
            for what in ("forward", "backward"):
                found = self.alternate(contestants(what, case))
                rows.append({"": f"{case}, {what}", **self.row(found)})
        return rows

    def ladder(self, case):
        rows = []
        for what in ("forward", "backward"):
            found = self.alternate({rung: (rung, what, case) for rung in RUNGS} | {"peak": ("peak",)})
            for rung in RUNGS:
                rates = [one["flops"] / one["seconds"] for one in found[rung]]
                shares = [rate / peak["flops_per_second"] for rate, peak in zip(rates, found["peak"], strict=True)]
                rows.append(
                    {
                        "": f"{rung}, {what}",
                        "ms": f"{1e3 * statistics.median(one['seconds'] for one in found[rung]):.2f}",
                        "GFLOP/s": f"{statistics.median(rates) / 1e9:.1f}",
                        "share of FMA peak": f"{statistics.median(shares):.0%}",
                    }
                )
        return rows

    def row(self, found):
        ms = {name: [1e3 * one["seconds"] for one in of] for name, of in found.items() if name != "peak"}
        rounds = list(zip(ms["minicnn"], ms["nchw"], ms["channels_last"], strict=True))
        ratio = statistics.median(ours / min(theirs) for ours, *theirs in rounds)
        row = {
            "minicnn ms": f"{statistics.median(ms['minicnn']):.2f}",
            "own plain kernels ms": f"{statistics.median(ms['plain']):.2f}",
            "PyTorch NCHW ms": f"{statistics.median(ms['nchw']):.2f}",
            "channels_last ms": f"{statistics.median(ms['channels_last']):.2f}",
            "ratio to the better": f"{ratio:.2f}",
        }
        flops = found["minicnn"][0]["flops"]
        if flops:  # of the convolution as a direct sum; Winograd makes fewer and can pass the peak
            rates = [flops / one["seconds"] for one in found["minicnn"]]
            shares = [rate / peak["flops_per_second"] for rate, peak in zip(rates, found["peak"], strict=True)]
            row["GFLOP/s"] = f"{statistics.median(rates) / 1e9:.0f}"
            row["share of FMA peak"] = f"{statistics.median(shares):.0%}"
        for name, column in (("minicnn", "minicnn MB"), ("nchw", "PyTorch MB")):
            row[column] = f"{statistics.median(one['peak_mb'] for one in found[name]):.0f}"
        return row

    def start(self):
        """From the start of the process to the end of the first step of the published run."""
        rows = []
        with tempfile.TemporaryDirectory() as folder:
            cold = [
                self.worker("minicnn", "start", "10 x 32", NUMBA_CACHE_DIR=f"{folder}/{k}")["seconds"]
                for k in range(min(3, self.rounds))
            ]
        warm = self.alternate({"minicnn": ("minicnn", "start", "10 x 32"), "PyTorch": ("torch", "start", "10 x 32")})
        rows.append({"": "minicnn, cold: nothing compiled yet", "seconds": f"{statistics.median(cold):.1f}"})
        for name, measured in warm.items():
            seconds = statistics.median(one["seconds"] for one in measured)
            rows.append({"": f"{name}, warm", "seconds": f"{seconds:.2f}"})
        return rows

    def machine(self):
        peak = statistics.median(self.worker("peak")["flops_per_second"] for _ in range(3))
        return f"{cpu_name()}, FMA peak measured at {peak / 1e9:.0f} GFLOP/s"


def named(what, case):
    """'step 4 × 32², 2 × the channels' of "4 x 32 x 2" and the like."""
    n_images, side, *times = case.split(" x ")
    name = f"{what} {n_images} × {side}²".replace("predict", "inference")
    return name + (f", {times[0]} × the channels" if times else "")


def contestants(what, case):
    """minicnn, its own plain kernels and PyTorch in both layouts, by name; and the peak of the moment."""
    return {
        "minicnn": ("minicnn", what, case),
        "plain": ("shifts", what, case),
        "nchw": ("torch", what, case),
        "channels_last": ("torch-channels-last", what, case),
        "peak": ("peak",),
    }


def cpu_name():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


def show(head, tables):
    console = Console(width=200)
    console.print(head)
    for title, rows in tables.items():
        table = Table(title=title)
        for column in rows[0]:
            table.add_column(column)
        for row in rows:
            table.add_row(*(row.get(column, "") for column in rows[0]))
        console.print(table)


def as_markdown(head, tables):
    lines = [head, ""]
    for title, rows in tables.items():
        columns = list(rows[0])
        lines += [f"**{title}**", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        lines += ["| " + " | ".join(row.get(column, "") for column in columns) + " |" for row in rows] + [""]
    return "\n".join(lines)


def plot(tables, head, path):
    """Bars of the ratios: how much of PyTorch's time minicnn takes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for table in tables.values() for row in table if "ratio to the better" in row]
    figure, axis = pyplot.subplots(figsize=(9, 1 + 0.28 * len(rows)), layout="constrained")
    ratios = [float(row["ratio to the better"]) for row in rows]
    bars = axis.barh([row[""] for row in rows], ratios, color=["C0" if ratio <= 1 else "C3" for ratio in ratios])
    axis.bar_label(bars, fmt="%.2f", padding=3)
    axis.axvline(1, color="black", linewidth=1)
    axis.invert_yaxis()
    axis.set(xlabel="minicnn's time as a share of PyTorch's better layout; 1 is equal", title=head)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
