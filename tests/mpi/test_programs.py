"""The example and the command line on several ranks: what one process says, once."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.mpi.jobs import PATIENCE, ROOT, environment, job

pytestmark = pytest.mark.mpi

EXAMPLE = ROOT / "examples" / "train_simplenet.py"


def one_process(*arguments):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True).stdout


def numbers(text):
    """Losses and accuracies of the lines that stay: Open MPI gives its ranks a terminal, which has a bar."""
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n").splitlines()
    kept = [line for line in lines if re.match(r"[Ee]poch \d+ - (lr|loss:)|\w+ accuracy:", line)]
    return [float(number) for line in kept for number in re.findall(r"(?:loss|accuracy):? ([0-9.]+)", line)]


@pytest.mark.parametrize("options", [("--data", "random", "--epochs", "4"), ("--data", "digits", "--epochs", "1")])
def test_the_example_says_what_it_says_in_one_process(options, tmp_path):
    if options[1] == "digits":
        pytest.importorskip("matplotlib")
        options = (*options, "--plot", tmp_path / "curves.png")
    ended = job(2, EXAMPLE, "--distributed", *options)
    assert ended.returncode == 0, ended.stderr
    expected = numbers(one_process(EXAMPLE, *options))
    assert len(expected) >= 4
    assert numbers(ended.stdout) == pytest.approx(expected, rel=5e-3, abs=2e-3)


@pytest.fixture
def folder(tmp_path):
    """Red and blue pictures of several sizes, and a file that is damaged behind its header."""
    rng = np.random.default_rng(0)
    for channel, name in ((0, "red"), (2, "blue")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(9):
            pixels = rng.integers(0, 80, (*rng.integers(6, 14, 2), 3)).astype(np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    whole = (tmp_path / "pictures" / "red" / "3.png").read_bytes()
    (tmp_path / "pictures" / "red" / "3.png").write_bytes(whole[: len(whole) // 2])
    return tmp_path / "pictures"


def test_a_folder_is_learnt_by_three_ranks(folder, tmp_path):
    options = ("--epochs", "2", "--batch-size", "4")
    alone = one_process("-m", "minicnn", "train", folder, "-o", tmp_path / "alone.safetensors", *options)
    command = ("-m", "minicnn", "train", folder, "-o", tmp_path / "model.safetensors", "--distributed", *options)
    ended = job(3, *command)
    assert ended.returncode == 0, ended.stderr
    assert numbers(ended.stdout) == pytest.approx(numbers(alone), rel=1e-3, abs=1e-3)
    assert len(re.findall("images to train", ended.stdout)) == len(re.findall("model: ", ended.stdout)) == 1
    assert (tmp_path / "model.safetensors").exists()
    assert "1 of 18 image files could not be read (red/3.png" in ended.stderr
    again = job(3, "-m", "tests.mpi.late", *command[2:])
    assert again.returncode != 0
    assert len(re.findall("there is .*model.safetensors already", again.stderr)) == 3


def blocks_of_the_page(language):
    page = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def test_the_program_of_the_page(tmp_path):
    [program] = blocks_of_the_page("python")
    (tmp_path / "train.py").write_text(program, encoding="utf-8")
    ended = job(2, tmp_path / "train.py")
    assert ended.returncode == 0, ended.stderr
    [accuracy] = re.findall(r"2 ranks: validation accuracy (0\.\d+)", ended.stdout)
    assert float(accuracy) > 0.6


def test_the_commands_of_the_page_as_they_are_typed(tmp_path):
    lines = "".join(blocks_of_the_page("sh")).splitlines()
    commands = [line for line in lines if not line.startswith("pip install")]
    assert len(commands) == len(lines) - 1 == 4
    commands.sort(key=lambda line: not line.startswith("export"))  # this may be root
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-e", "-c", "\n".join(commands)],
        cwd=tmp_path,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("Epoch 9 - loss: ") == 1
    assert ended.stdout.count("model: photos.safetensors") == 1
    assert (tmp_path / "photos.safetensors").exists()


def test_what_is_wrong_with_a_folder_is_said_by_every_rank(tmp_path):
    ended = job(2, "-m", "minicnn", "train", tmp_path / "nowhere", "-o", tmp_path / "model", "--distributed")
    assert ended.returncode != 0
    assert "rank 0 of 2: ImageFolder: no folder" in ended.stderr
    assert "rank 1 of 2: rank 0 could not do its part: FileNotFoundError: ImageFolder: no folder" in ended.stderr
