"""What the kernels of the cuda backend need of a GPU, by their compiled code, and the least time a step can take.

Neither needs a GPU, and neither is a measurement. The first kind of table is read off the machine code that a launch
would run (see `tests/cuda/resources.py`). The second is a *roofline*: for each kernel that a step launches the time to
move its arrays, each once, or to do its multiply-adds, whichever is longer, and never less than a launch costs. A real
GPU takes longer.

    python benchmarks/cuda_report.py --markdown cuda.md              (needs pip install "minicnn-numba[cuda-check]")
    python benchmarks/cuda_report.py --only roofline --bandwidth 936 --peak 35.6
"""

import argparse
import importlib.metadata
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
from speed import STEPS, as_markdown, named, show
from speed_worker import numbers_in

sys.path.insert(0, str(Path(__file__).parents[1]))  # where `tests` is

from tests.cuda.resources import MULTIPROCESSORS, missing


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("compiled", "roofline"), help="only tables of this kind")
    parser.add_argument("--capability", metavar="X.Y", help="compile for this compute capability alone, of five")
    parser.add_argument("--bandwidth", type=float, default=3350, help="of the GPU's memory, GB/s (an H100 SXM's)")
    parser.add_argument("--peak", type=float, default=67, help="its float32 TFLOP/s, multiply and add counted apart")
    parser.add_argument("--launch", type=float, default=7, help="µs that a launch costs at least")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables here as well")
    options = parser.parse_args()
    if reason := missing():
        parser.error(reason)

    tables = {}
    if options.only in (None, "compiled"):
        tables |= compiled_tables([cc for cc in MULTIPROCESSORS if options.capability in (None, dotted(cc))])
    if options.only in (None, "roofline"):
        for case in STEPS:
            for what in ("step", "predict"):
                tables[f"ESTIMATE, not measured: {named(what, case)}"] = Roofline(options).table(what, case)

    versions = (f"{package} {importlib.metadata.version(package)}" for package in ("numba-cuda", "nvidia-nvjitlink"))
    head = (
        f"{', '.join(versions)}. Estimates are for {options.bandwidth:g} GB/s, {options.peak:g} TFLOP/s in float32 and "
        f"{options.launch:g} µs a launch, each reached without loss; a GPU takes longer."
    )
    show(head, tables)
    if options.markdown:
        options.markdown.write_text(as_markdown(head, tables))


def compiled_tables(architectures):
    """A table for each architecture, of all kernels."""
    from tests.cuda.compiled import compiled

    found = compiled(tuple(architectures))
    return {
        f"Kernels in float32, compute capability {dotted(cc)}": [row(launch, by_cc[cc]) for launch, by_cc in found]
        for cc in architectures
    }


def row(launch, needs):
    """One kernel; occupancy is for the block size that it is launched with."""
    return {
        "": launch.name,
        "threads": f"{launch.threads}",
        "registers": f"{needs.registers}",
        "shared B": f"{needs.shared}",
        "spilled B": f"{needs.spilled}",
        "occupancy": f"{needs.occupancy(launch.threads):.0%}",
        "instructions": f"{needs.instructions}",
        "FFMA": f"{needs.multiply_adds}",
        "FFMA of the inner loop": f"{needs.share:.0%}" if launch.tile else "",
        "doubles": f"{needs.doubles}",
        "calls": f"{needs.calls}",
    }


class Roofline:
    """The least time of each launch on a GPU of given numbers."""

    def __init__(self, options):
        self.options = options

    def table(self, what, case):
        """Launches in their order, equal ones in a row together, and their sum."""
        from tests.cuda.recorded import launches_of_prediction, launches_of_step

        n_images, side, _ = numbers_in(case)
        launches = (launches_of_step if what == "step" else launches_of_prediction)(n_images, side, side)
        rows, total = [], 0.0
        for (name, blocks, moved, flops), equal in groupby(map(key, launches)):
            times = len(list(equal))
            microseconds, bound = self.least_time(moved, flops)
            total += times * microseconds
            rows.append(
                {
                    "": name,
                    "blocks": " × ".join(map(str, blocks)),
                    "launches": f"{times}",
                    "MB each": f"{moved / 1e6:.2f}",
                    "MFLOP each": f"{flops / 1e6:.1f}" if flops else "",
                    "µs each": f"{microseconds:.1f}",
                    "bound by": bound,
                }
            )
        everything = {"": "all", "launches": f"{len(launches)}", "µs each": f"{total:.0f} in all"}
        return [*rows, everything]

    def least_time(self, moved, flops):
        """(µs, what takes them)."""
        times = {
            "launch": self.options.launch,
            "memory": moved / (self.options.bandwidth * 1e3),
            "arithmetic": flops / (self.options.peak * 1e6),
        }
        bound = max(times, key=times.get)
        return times[bound], bound


def key(launch):
    """(name, blocks, bytes of the arrays, multiply and add operations of a product)."""
    moved = sum({id(array.base): array.nbytes for array in launch.arguments if isinstance(array, np.ndarray)}.values())
    return launch.name, launch.blocks, moved, flops_of(launch)


def flops_of(launch):
    """2 * rows * columns * terms of a product; 0 of other kernels, whose memory takes longer than their arithmetic."""
    argument = launch.argument
    if launch.factory in ("convolution", "weight_gradient"):
        _, rows, _, taps, pixels = argument["plan"][:5].tolist()
        return 2 * rows * taps * pixels
    if launch.factory == "matrix_product":
        return 2 * argument["rows"] * argument["columns"] * argument["terms"]
    return 0


def dotted(cc):
    return ".".join(map(str, cc))


if __name__ == "__main__":
    main()
