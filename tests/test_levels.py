"""The levels of tests, and that the quick one leaves no module of the package out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import minicnn

PACKAGE = Path(minicnn.__file__).parent
# What needs a GPU, MPI or PyTorch, which levels of their own run; lessons, which are texts; the start of the program.
ELSEWHERE = (
    "minicnn.backends.cuda",
    "minicnn.distributed",
    "minicnn.verify.compare.pytorch",
    "minicnn.interop.torch_chain",
    "minicnn.interop.torch_layers",
    "minicnn.interop.torch_residual",
    "minicnn.interop.torch_same",
    "minicnn.learn.lessons.texts",
    "minicnn.__main__",
    "minicnn.backends.protocol",  # declarations, which nothing calls
    "minicnn.backends.declared",  # a table that is read once, as it is imported
)
# Run by quick tests in processes of their own, in which calls are not counted: commands as they are typed.
IN_CHILDREN = {
    "minicnn.cli",
    "minicnn.cli.train",
    "minicnn.cli.evaluate",
    "minicnn.cli.predict",
    "minicnn.cli.processes",
    "minicnn.cli.learn.export",
    "minicnn.cli.learn.marks",
    "minicnn.learn.classroom.marks",
}
# Called where a kernel is compiled, not where it is read from disk.
BY_THE_COMPILER = {"minicnn.backends.cpu.convolution.emit", "minicnn.backends.cpu.fused.places"}


def modules():
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if not any(name == other or name.startswith(f"{other}.") for other in ELSEWHERE):
            yield name


@pytest.mark.slow
def test_the_quick_level_runs_every_module(tmp_path):
    """In each module a function is called, or, where there is none but kernels and tables, it is imported.

    A few cases of each test do so already; that all of them pass is seen where the whole suite runs.
    """
    sample = ["-m", "quick", "--one-in", "100"]
    command = [sys.executable, "-m", "pytest", "-q", *sample, "-p", "tests.entered", "-p", "no:cacheprovider"]
    environment = os.environ | {"MINICNN_ENTERED": str(tmp_path)}
    ended = subprocess.run(command, cwd=PACKAGE.parent, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
    found = [json.loads(path.read_text()) for path in tmp_path.iterdir()]
    imported, entered, without = ({name for each in found for name in each[key]} for key in found[0])
    assert set(modules()) - entered - (imported & without) - IN_CHILDREN - BY_THE_COMPILER == set()
