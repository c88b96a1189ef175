"""What a run shows: a bar on a real terminal, plain lines in a pipe, nothing with quiet."""

import os
import pty
import re
import select
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from minicnn.training import progress
from minicnn.training.time_left import TimeLeft

PAGE = Path(__file__).parents[1] / "docs" / "fit.md"

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


def run_on_terminal(term="xterm"):
    """The same program with a pseudo-terminal as its standard output; returns all that it wrote."""
    ours, its = pty.openpty()
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM.format(quiet=False))]
    process = subprocess.Popen(command, stdout=its, env=os.environ | {"TERM": term, "COLUMNS": "100"})
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


@pytest.mark.parametrize(
    "ending", ["1 / 0", "os.kill(os.getpid(), signal.SIGTERM)", "os.kill(os.getpid(), signal.SIGINT)"]
)
def test_whole_lines_in_a_pipe_however_a_run_ends(ending):
    """In the midst of an epoch, as when output goes to a log file."""
    program = textwrap.dedent(PROGRAM.format(quiet=False)).replace(
        "trainer.fit",
        "trainer.callbacks = [lambda trainer, event, values: values['step'] == 5 and ending()]\ntrainer.fit",
    )
    program = f"import os, signal\ndef ending():\n    {ending}\n{program}"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == (1 if ending == "1 / 0" else 0)
    assert run.stdout.endswith("\n")
    assert not re.search(r"[\r\x1b\x08]", run.stdout)
    assert not [
        line for line in run.stdout.splitlines() if not re.match("fused: |kernels: |epoch 1 - |stopped by ", line)
    ]


def test_nothing_when_quiet():
    assert run_in_pipe(quiet=True) == ""


def test_a_bar_on_a_terminal():
    output = run_on_terminal()
    assert "\x1b" in output  # the bar is drawn and redrawn
    assert "3/3" in output
    assert "val_accuracy" in output
    assert "epoch 1 of 2" in output
    assert "epoch 2 of 2 - validation" in output
    assert re.search(r"about \d+ s left", output)


def test_whole_lines_on_a_terminal_that_cannot_redraw():
    output = run_on_terminal("dumb")
    lines = [line for line in output.splitlines() if line and not line.startswith(("kernels: ", "fused: "))]
    assert [line.split(" - ")[0] for line in lines] == ["epoch 1", "epoch 2"]


def test_a_line_every_so_often_while_an_epoch_lasts(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    with progress.reporter() as report:
        report.run_begins(3, 4)
        report.epoch_begins(3, 8)
        report.batch_ends(0.5)
        list(report.validating(iter([1])))
        report.epoch_begins(4, None)
        report.batch_ends(0.25)
    first, validation, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"epoch 3 of 4, batch 1 of 8 - loss 0.5000 - about \d+ s left", first)
    assert re.fullmatch(r"epoch 3 of 4, validation batch 1 - about \d+ s left", validation)
    assert second.startswith("epoch 4 of 4, batch 1 - loss 0.2500")
    (shown,) = re.findall(r"^epoch .* left$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert form(first) == form(shown)


def form(line):
    return re.sub(r"\d+(\.\d+)?", "#", re.sub(r"\d+ (s|min|h) left", "time left", line))


def test_the_time_left_is_that_of_all_epochs():
    now = 100.0
    left = TimeLeft(5, clock=lambda: now)
    assert left.seconds() is None
    now += 2
    left.batch_ends(1, 10)
    assert left.seconds() == pytest.approx(5 * 20 - 2)  # as if all batches took 2 s
    now += 28
    left.epoch_ends()  # with its validation it took 30 s
    assert left.seconds() == pytest.approx(4 * 30)
    now += 10
    left.batch_ends(1, 10)
    assert left.seconds() == pytest.approx(4 * 30 - 10)
    now += 1000
    assert left.seconds() == 0  # late, and not before its time


def test_nothing_is_guessed_of_batches_without_a_number():
    left = TimeLeft(2)
    left.batch_ends(1, None)
    assert left.seconds() is None


@pytest.mark.slow
def test_a_cold_start_shows_how_far_compiling_is(tmp_path):
    output = run_in_pipe(NUMBA_CACHE_DIR=str(tmp_path))
    lines = [line for line in output.splitlines() if line.startswith("kernels: ")]
    assert lines
    said = r"kernels: \d of \d ready \(compiled on the first run, read from disk on later ones\)"
    assert all(re.fullmatch(said, line) for line in lines)
