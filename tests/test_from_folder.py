"""The notebook that goes from a folder to a saved, explained and re-loaded model runs as it stands."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minicnn
from tests.shapes import write_shapes

EXAMPLE = Path(minicnn.__file__).parent.parent / "examples" / "from_folder.py"


@pytest.mark.quick
def test_it_runs_and_draws(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    write_shapes(tmp_path / "shapes", 40, seed=0)
    command = [sys.executable, EXAMPLE, tmp_path / "shapes", tmp_path]
    environment = os.environ | {"PYTHONPATH": str(EXAMPLE.parent.parent), "MPLBACKEND": "agg"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "SimpleNet on 1 × 3 × 64 × 64" in ended.stdout
    assert float(ended.stdout.split("accuracy ")[-1].split(",")[0]) > 0.8
    for name in ("history.png", "confusion.png", "why.png"):
        with image_module.open(tmp_path / name) as drawn:
            assert np.ptp(np.asarray(drawn.convert("L"))) > 200


def test_it_is_a_notebook():
    jupytext = pytest.importorskip("jupytext")
    notebook = jupytext.read(EXAMPLE)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown"
    assert kinds.count("code") == 6
    lines = [line for cell in notebook.cells if cell.cell_type == "code" for line in cell.source.splitlines() if line]
    assert len(lines) <= 30
