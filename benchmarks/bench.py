"""Runs workers in turn and makes rows of what they measure. A table is a list of dicts, column to text."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import bound
import numpy as np
from engines import ENGINES, OURS, RUNGS
from engines.cases import named, operation_flops

WORKER = Path(__file__).with_name("speed_worker.py")
# How each library is told how many threads to start: Numba; OpenMP, and what the workers hand on; XLA.
THREADS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "NPROC")
# How each is told not to use AVX-512: Numba (whose features are else the host's, whatever the name); oneDNN in PyTorch;
# ATen and TorchInductor; what GCC makes of Inductor's sources; MKL; XLA.
ISAS = {
    "avx2": {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe,+popcnt",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "TORCHINDUCTOR_CPP_MARCH": "haswell",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    }
}
# Of log-probabilities, and of losses in training, both of the size of 1 to 10. PyTorch's channels_last, as it comes, is
# off by 1.8e-4 of the first loss at 16 × 224², by 1.2e-5 at 128 × 32²: its error grows with the number of pixels.
# (From the same in float64, from which minicnn, JAX and PyTorch's NCHW are off by less than 1e-6.)
TOLERANCES = {"predict": 1e-4, "step": 1e-3}


class Bench:
    def __init__(self, rounds, threads, worker=WORKER, isa=None):
        self.rounds, self.worker_script = rounds, worker
        self.environment = os.environ | dict.fromkeys(THREADS, str(threads)) | ISAS.get(isa, {})

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

    def networks(self, runs, engines):
        """A row for each (step or predict, case): minicnn beside `engines`, and which of them is the best."""
        rows = []
        for what, case in runs:
            names = [*OURS, *(name for name in engines if ENGINES[name].trains or what == "predict")]
            found = self.alternate({name: (name, what, case) for name in names} | {"machine": ("machine",)})
            speed = found.pop("machine")
            check_agreement(what, found)
            row = beside_the_best(found) | share_of_the_bound(what, case, found["minicnn"], speed) | memory(found)
            rows.append({"": named(what, case), **row})
        return rows

    def beside_pytorch(self, runs, device=""):
        """The same beside PyTorch as it comes, in both layouts; `device` is "" or "-cuda"."""
        rows = []
        for what, case in runs:
            found = self.alternate({name: (name + device, what, case) for name in ("minicnn", *LAYOUTS)})
            if not device:  # cuDNN convolves in TF32, unless it is told not to
                check_agreement(what, found)
            rows.append({"": named(what, case), **beside_the_layouts(found)})
        return rows

    def operations(self, runs):
        """A row for each (forward or backward, operation)."""
        rows = []
        for what, case in runs:
            names = {"minicnn": "minicnn", "plain": "shifts", **dict.fromkeys(LAYOUTS)}
            contestants = {name: (made_by or name, what, case) for name, made_by in names.items()}
            found = self.alternate(contestants | {"machine": ("machine",)})
            row = beside_the_layouts(found) | {"own plain kernels ms": text(median_ms(found["plain"]))}
            if flops := operation_flops(what, case):  # as plain sums; Winograd makes fewer and can pass the peak
                rates = [flops / one["seconds"] for one in found["minicnn"]]
                row["GFLOP/s"] = f"{statistics.median(rates) / 1e9:.0f}"
                row["share of FMA peak"] = f"{share_of_peak(rates, found['machine']):.0%}"
            rows.append({"": f"{case}, {what}", **row, **memory(found)})
        return rows

    def ladder(self, runs):
        rows = []
        for what, case in runs:
            found = self.alternate({rung: (rung, what, case) for rung in RUNGS} | {"machine": ("machine",)})
            for rung in RUNGS:
                rates = [operation_flops(what, case) / one["seconds"] for one in found[rung]]
                row = {"": f"{rung}, {what}", "ms": text(median_ms(found[rung]))}
                row["GFLOP/s"] = f"{statistics.median(rates) / 1e9:.1f}"
                rows.append(row | {"share of FMA peak": f"{share_of_peak(rates, found['machine']):.0%}"})
        return rows

    def start(self, others):
        """From the start of the process to the end of the first step of the published run."""
        rows = []
        with tempfile.TemporaryDirectory() as folder:
            cold = [
                self.worker("minicnn", "start", "10 x 32", NUMBA_CACHE_DIR=f"{folder}/{k}")["seconds"]
                for k in range(min(3, self.rounds))
            ]
        warm = self.alternate({name: (name, "start", "10 x 32") for name in ("minicnn", *others)})
        rows.append({"": "minicnn, cold: nothing compiled yet", "seconds": f"{statistics.median(cold):.1f}"})
        for name, measured in warm.items():
            seconds = statistics.median(one["seconds"] for one in measured)
            rows.append({"": f"{ENGINES[name].column}, warm", "seconds": f"{seconds:.2f}"})
        return rows

    def machine(self):
        found = [self.worker("machine") for _ in range(3)]
        peak, bandwidth = (
            statistics.median(one[key] for one in found) / 1e9 for key in ("flops_per_second", "bytes_per_second")
        )
        return f"{cpu_name()}, multiply-add peak measured at {peak:.0f} GFLOP/s, memory at {bandwidth:.0f} GB/s"


LAYOUTS = ("torch", "torch-channels-last")


def check_agreement(what, found):
    """The time of a network that computes something else is worth nothing."""
    expected = np.array(found["minicnn"][0]["answers"])
    for name, measured in found.items():
        difference = np.abs(np.array(measured[0]["answers"]) - expected).max()
        if not difference <= TOLERANCES[what]:
            raise RuntimeError(
                f"{name}: expected minicnn's losses or log-probabilities to {TOLERANCES[what]:g}, got a difference of "
                f"{difference:.2g}; it does not compute the same network"
            )


def beside_the_best(found):
    """Columns of the times; then the best of the others, and the median of each round's ratio to that round's best."""
    row, medians = {}, {}
    for name, measured in found.items():
        column = name if name in OURS else ENGINES[name].column
        medians[column] = min(medians.get(column, np.inf), median_ms(measured))
    row |= {f"{column} ms": text(ms) for column, ms in medians.items()}
    others = [name for name in found if name not in OURS]
    if others:
        row["best"] = min((column for column in medians if column not in OURS), key=medians.get)
        row["ratio to the best"] = f"{ratio(found, others):.2f}"
    return row


def beside_the_layouts(found):
    row = {f"{ENGINES[name].column} ms": text(median_ms(found[name])) for name in ("minicnn", *LAYOUTS)}
    return row | {"ratio to the better": f"{ratio(found, LAYOUTS):.2f}"}


def share_of_the_bound(what, case, measured, speed):
    """Of the least time at the `speed` that the machine had in the same round; see `bound.py`."""
    shares = [
        bound.seconds(what, case, of["flops_per_second"], of["bytes_per_second"]) / one["seconds"]
        for one, of in zip(measured, speed, strict=True)
    ]
    return {"share of the bound": f"{statistics.median(shares):.0%}"}


def ratio(found, others):
    """Of minicnn's time to that of the fastest of `others`, in each round; the median of the rounds."""
    rounds = zip(*([one["seconds"] for one in found[name]] for name in ("minicnn", *others)), strict=True)
    return statistics.median(ours / min(theirs) for ours, *theirs in rounds)


def memory(found):
    """The most memory that each process held; PyTorch's as it comes."""
    columns = {"minicnn": "minicnn MB", "torch": "PyTorch MB"}
    return {
        column: f"{statistics.median(one['peak_mb'] for one in found[name]):.0f}"
        for name, column in columns.items()
        if name in found
    }


def share_of_peak(rates, speed):
    return statistics.median(rate / of["flops_per_second"] for rate, of in zip(rates, speed, strict=True))


def median_ms(measured):
    return 1e3 * statistics.median(one["seconds"] for one in measured)


def text(ms):
    """Three digits that count: 0.224, 14.8, 1577."""
    return f"{ms:.0f}" if ms >= 100 else f"{ms:#.3g}"


def cpu_name():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"
