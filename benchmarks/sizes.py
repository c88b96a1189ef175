"""Images of different sizes: minicnn on mixed batches, beside equal sizes and beside PyTorch on padded batches.

A row is one pass of training over some batches of SimpleNet. `mixed` trains on the images as they are; `equal` on as
many random ones of one size with the same number of pixels in all; PyTorch on the images padded to the largest of
their batch, in the better of its two memory layouts. Processes and rounds are those of speed.py.

    python benchmarks/sizes.py --folder /usr/share/openclipart/png         (PyTorch: pip install torch==2.13.0)
"""

import argparse
import os
import statistics
from pathlib import Path

from bench import Bench
from tables import as_markdown, show

CONTESTANTS = ("mixed", "equal", "torch", "torch-channels-last")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folder", help="images, a folder for each class; their longer side is made at most 64")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table here as well")
    options = parser.parse_args()

    bench = Bench(options.rounds, options.threads, Path(__file__).with_name("sizes_worker.py"))
    cases = {"trimmed Fashion-MNIST, 128 a batch": "fashion", "16 a batch, sides of 40 to 200 pixels": "large"}
    if options.folder:
        cases[f"{Path(options.folder).parent.name}, longer side 64, 64 a batch"] = options.folder
    rows = [{"": name, **row(bench, case)} for name, case in cases.items()]
    head = f"{options.threads} threads, median of {options.rounds} rounds"
    tables = {"Training on images of different sizes": rows}
    show(head, tables)
    if options.markdown:
        options.markdown.write_text(as_markdown(head, tables))


def row(bench, case):
    found = bench.alternate({name: (name, case) for name in CONTESTANTS})
    rates = {name: [one["pixels"] / one["seconds"] / 1e6 for one in of] for name, of in found.items()}
    rounds = list(zip(*rates.values(), strict=True))
    padding = found["torch"][0]["padded_pixels"] / found["torch"][0]["pixels"]
    return {
        "mixed Mpixel/s": f"{statistics.median(rates['mixed']):.2f}",
        "equal sizes": f"{statistics.median(rates['equal']):.2f}",
        "mixed / equal": f"{statistics.median(mixed / equal for mixed, equal, *_ in rounds):.2f}",
        "PyTorch, padded": f"{statistics.median(max(padded) for _, _, *padded in rounds):.2f}",
        "times PyTorch's speed": f"{statistics.median(mixed / max(padded) for mixed, _, *padded in rounds):.1f}",
        "padded / own pixels": f"{padding:.2f}",
    }


if __name__ == "__main__":
    main()
