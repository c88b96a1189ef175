"""What the kernels of the cuda backend need of a GPU, by their compiled code, and the least time a step can take.

Neither needs a GPU, and neither is a measurement. The first kind of table is read off the machine code that a launch
would run (see `tests/cuda/resources.py`). The second is a *roofline*: for each kernel that a step launches the time to
move its arrays, each once, or to do its multiply-adds, whichever is longer; and beside that what it costs to launch
them, which the host does while the device works. A step takes no less than the larger sum, and on a GPU more.

    python benchmarks/cuda_report.py --markdown cuda.md              (needs pip install "minicnn-numba[cuda-check]")
    python benchmarks/cuda_report.py --only roofline --bandwidth 936 --peak 35.6
"""

import argparse
import importlib.metadata
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from engines.cases import named, numbers_in
from tables import as_markdown, show

sys.path.insert(0, str(Path(__file__).parents[1]))  # where `tests` is

from tests.cuda.resources import MULTIPROCESSORS, missing

CASES = ("10 x 32", "128 x 32", "16 x 224")  # images x side


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
        for case in CASES:
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

    found = compiled(lambda number: tuple(architectures))
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
        """Equal launches in a row together, and their sum: a step takes no less than either of its two times."""
        from tests.cuda.recorded import launches_of_prediction, launches_of_step

        n_images, side, _ = numbers_in(case)
        launches = (launches_of_step if what == "step" else launches_of_prediction)(n_images, side, side)
        rows, on_device = [], 0.0
        for (name, blocks, moved, flops), times in Counter(map(work_of, launches)).items():
            microseconds = max(moved / (self.options.bandwidth * 1e3), flops / (self.options.peak * 1e6))
            on_device += times * microseconds
            rows.append(
                {
                    "": name,
                    "blocks": " × ".join(map(str, blocks)),
                    "launches": f"{times}",
                    "MB each": f"{moved / 1e6:.2f}",
                    "MFLOP each": f"{flops / 1e6:.1f}" if flops else "",
                    "µs on the device, all": f"{times * microseconds:.2f}",
                    "µs to launch, all": f"{times * self.options.launch:.0f}",
                }
            )
        total = {"": "all", "launches": f"{len(launches)}", "µs on the device, all": f"{on_device:.2f}"}
        return [*rows, total | {"µs to launch, all": f"{len(launches) * self.options.launch:.0f}"}]


def work_of(launch):
    """(name, blocks, bytes of the arrays, multiply and add operations of a product)."""
    arrays = {id(array.base): array.nbytes for array in launch.arguments if isinstance(array, np.ndarray)}
    return launch.name, launch.blocks, sum(arrays.values()), flops_of(launch)


def flops_of(launch):
    """2 * rows * columns * terms of a product; 0 of other kernels, whose memory takes longer than their arithmetic."""
    argument = launch.argument
    if launch.factory in ("convolution", "weight_gradient"):
        from minicnn.backends.cuda.convolution.plan import JOB, Job

        job = Job(*argument["plan"][:JOB].tolist())
        return 2 * job.rows * job.taps * job.pixels
    if launch.factory == "matrix_product":
        return 2 * argument["rows"] * argument["columns"] * argument["terms"]
    return 0


def dotted(cc):
    return ".".join(map(str, cc))


if __name__ == "__main__":
    main()
