"""How fast minicnn is, beside PyTorch, JAX, onnxruntime and OpenVINO: time, memory, start-up, share of what can be had.

Every figure is taken in a process of its own, which warms up, measures, and ends. The contestants take turns, round
after round, so that a machine that slows down slows all of them; a ratio is taken within a round, and the median of
the rounds' ratios is reported. Networks are compared with the best engine of all, PyTorch compiled and as it comes, in
both its memory layouts; single operations with PyTorch's better layout.

    python benchmarks/speed.py --markdown speed.md --plot speed.png     (pip install 'minicnn-numba[engines]', or some)
    python benchmarks/speed.py --only networks --case "step 1 x 32"     (a part, in less than a minute)
    python benchmarks/speed.py --only networks --isa avx2               (everyone as on a processor without AVX-512)
"""

import argparse
import os
import sys
from pathlib import Path

from bench import ISAS, LAYOUTS, Bench
from engines import OTHERS, present
from tables import as_markdown, plot, show

NETWORKS = ("1 x 32", "10 x 32", "128 x 32", "16 x 224")  # images x side; those on which minicnn is judged
OPERATIONS = (
    "conv 3x3 3-16",
    "conv 3x3 16-32",
    "conv 3x3 32-64",
    "conv 3x3 128-256",
    "conv 1x1 64-64",
    "conv 5x5 16-32",
    "conv 7x7 3-64",
    "conv 7x7 16-32",
    "conv 3x3 stride 2 32-64",
    "batchnorm 64",
    "relu 64",
    "max pool 64 to 1",
    "avg pool 64 to 3",
    "max pool 2x2 stride 2 64",
    "max pool 3x3 stride 2 64",
    "avg pool 2x2 stride 2 64",
    "linear 64x1024-1024",
    "linear 64x4096-4096",
)
GENERAL = (
    "conv 3x3 groups 16 16-16",
    "conv 3x3 groups 32 32-32",
    "conv 3x3 groups 128 128-128",
    "conv 3x3 groups 32 stride 2 32-32",
    "conv 3x3 groups 4 32-32",
    "conv 3x3 groups 32 64-64",
    "conv 3x3 dilation 2 16-16",
    "conv 3x3 dilation 2 64-64",
    "conv 3x3 dilation 2 groups 32 32-32",
)
LADDER = "conv 3x3 32-64"
GROWTH = (
    *(f"{n} x 32" for n in (1, 4, 16, 64)),
    *(f"4 x {side}" for side in (16, 64, 128, 256)),
    *(f"4 x 32 x {times}" for times in (2, 4, 8)),  # times SimpleNet's channels
)
STEP_AND_PREDICT, BOTH_PASSES = ("step", "predict"), ("forward", "backward")
# {table: (its title, the cases, what is done with each)}
RUNS = {
    "networks": ("Training step and inference", NETWORKS, STEP_AND_PREDICT),
    "operations": ("Single operations, 32 images of 32 × 32, forward and backward", OPERATIONS, BOTH_PASSES),
    "general": ("Groups and dilation, 32 images of 32 × 32, forward and backward", GENERAL, BOTH_PASSES),
    "ladder": (f"The ladder: {LADDER}, 32 images of 32 × 32", (LADDER,), BOTH_PASSES),
    "growth": ("Growth with the number and the size of images, and with channels", GROWTH, ("step",)),
    "start": ("Start-up", ("10 x 32",), ("start",)),
    "cuda": ("On a GPU, beside PyTorch with cuDNN; images are on the device", NETWORKS, STEP_AND_PREDICT),
}
NEED_PYTORCH = ("operations", "general", "growth", "cuda")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", choices=RUNS, help="only this table; cuda: a GPU's, which is not among the rest")
    parser.add_argument("--case", action="append", metavar="TEXT", help='only rows with this, as "step 1 x 32"; repeat')
    parser.add_argument("--engine", action="append", choices=OTHERS, help="networks beside this one only; repeat")
    parser.add_argument("--isa", choices=ISAS, help="keep all to these instructions, and leave out who cannot be kept")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables here as well")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the ratios here")
    options = parser.parse_args()

    engines, left_out = present(options.engine or OTHERS, options.isa)
    print(*left_out, sep="\n", file=sys.stderr)
    bench = Bench(options.rounds, options.threads, isa=options.isa)
    tables = {}
    for name in [options.only] if options.only else [name for name in RUNS if name != "cuda"]:
        title, cases, ways = RUNS[name]
        runs = chosen(cases, ways, options.case)
        if not runs:
            continue
        if name in NEED_PYTORCH and not set(LAYOUTS) <= set(present(LAYOUTS)[0]):
            print(f"the table of {name} is left out: it is beside PyTorch", file=sys.stderr)
            continue
        tables[title] = measured(bench, name, runs, engines)

    only = f", {options.isa.upper()} only" if options.isa else ""
    head = f"{bench.machine()}{only}, {options.threads} threads, median of {options.rounds} rounds."
    show(head, tables)
    if options.markdown:
        options.markdown.write_text(as_markdown(head, tables))
    if options.plot:
        plot(tables, head, options.plot)


def chosen(cases, ways, texts):
    """(way, case) for every row that has one of `texts`, or for all."""
    runs = [(way, case) for case in cases for way in ways]
    return [run for run in runs if not texts or any(text in " ".join(run) for text in texts)]


def measured(bench, name, runs, engines):
    """The rows of the table `name`."""
    if name == "networks":
        return bench.networks(runs, engines)
    if name in ("operations", "general"):
        return bench.operations(runs)
    if name == "ladder":
        return bench.ladder(runs)
    if name == "start":
        return bench.start([engine for engine in ("torch", "jax") if engine in engines])
    return bench.beside_pytorch(runs, "-cuda" if name == "cuda" else "")


if __name__ == "__main__":
    main()
