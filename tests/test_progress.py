"""What a run shows: a bar on a real terminal, plain lines in a pipe, nothing with quiet."""

import os
import pty
import re
import select
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import numpy as np, minicnn
    from minicnn.data import Batches
    network = minicnn.SimpleNet(rng=0)
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network), quiet={quiet})
    batches = Batches(np.zeros((6, 3, 4, 4), np.float32), np.arange(6), 2)
    trainer.fit(batches, batches, epochs=2)
"""


def run_in_pipe(quiet=False, **environment):
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM.format(quiet=quiet))]
    run = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    assert run.stderr == ""
    return run.stdout


def run_on_terminal():
    """The same program with a pseudo-terminal as its standard output; returns all that it wrote."""
    ours, its = pty.openpty()
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM.format(quiet=False))]
    process = subprocess.Popen(command, stdout=its, env=os.environ | {"TERM": "xterm", "COLUMNS": "100"})
    os.close(its)
    written = b""
    while select.select([ours], [], [], 120)[0]:
        try:
            part = os.read(ours, 65536)
        except OSError:  # how Linux reports that the other end was closed
            break
        written += part
    os.close(ours)
    assert process.wait() == 0
    return written.decode()


def test_plain_lines_in_a_pipe():
    output = run_in_pipe()
    assert "\x1b" not in output
    fused, *lines = [line for line in output.splitlines() if not line.startswith("kernels: ")]
    assert fused.startswith("fused: ")
    assert [line.split(" - ")[0] for line in lines] == ["epoch 1", "epoch 2"]
    for word in ("lr 0.001", "loss", "accuracy", "val_loss", "val_accuracy", " s"):
        assert word in lines[0]


def test_nothing_when_quiet():
    assert run_in_pipe(quiet=True) == ""


def test_a_bar_on_a_terminal():
    output = run_on_terminal()
    assert "\x1b" in output  # the bar is drawn and redrawn
    assert "3/3" in output
    assert "val_accuracy" in output


@pytest.mark.slow
def test_a_cold_start_shows_how_far_compiling_is(tmp_path):
    output = run_in_pipe(NUMBA_CACHE_DIR=str(tmp_path))
    lines = [line for line in output.splitlines() if line.startswith("kernels: ")]
    assert lines
    said = r"kernels: \d of \d ready \(compiled on the first run, read from disk on later ones\)"
    assert all(re.fullmatch(said, line) for line in lines)
