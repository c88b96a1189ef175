"""examples/train_simplenet.py as a person runs it: in its own process, looking at what it prints and writes."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn.data import published_batch

EXAMPLE = Path(__file__).parent.parent / "examples" / "train_simplenet.py"
PNG = b"\x89PNG\r\n\x1a\n"


def run(*arguments, folder):
    command = [sys.executable, str(EXAMPLE), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def losses(output):
    return [float(number) for number in re.findall(r"^Epoch \d+ - loss: (\S+)$", output, re.MULTILINE)]


@pytest.mark.slow
def test_without_arguments(tmp_path):
    result = run(folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    lines = [line for line in result.stdout.splitlines() if line.startswith("Epoch ")]
    assert [re.fullmatch(r"Epoch (\d) - loss: \d+\.\d+", line)[1] for line in lines] == list("0123456789")
    assert losses(result.stdout)[9] < losses(result.stdout)[0] / 5
    accuracy = re.search(r"^test accuracy: (\d\.\d+)$", result.stdout, re.MULTILINE)
    assert float(accuracy[1]) > 0.97
    assert (tmp_path / "simplenet-digits.png").read_bytes().startswith(PNG)
    assert [path.name for path in tmp_path.iterdir()] == ["simplenet-digits.png"]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_the_published_run_from_given_weights(tmp_path, backend):
    """The same losses as the three calls forward, backward, step, written out."""
    network = minicnn.SimpleNet(rng=7)
    minicnn.save_weights(network, tmp_path / "w.safetensors")
    result = run(
        "--data",
        "random",
        "--init-weights",
        "w.safetensors",
        "--seed",
        3,
        "--epochs",
        4,
        "--backend",
        backend,
        folder=tmp_path,
    )
    loss, optimizer = minicnn.CrossEntropyLoss(), minicnn.Adam(network, lr=0.001)
    expected = []
    x, y = published_batch(rng=3)
    for _ in range(4):
        expected.append(loss.forward(network.forward(x), y))
        network.backward(loss.backward())
        optimizer.step()
    np.testing.assert_allclose(losses(result.stdout), expected, rtol=1e-5)


@pytest.mark.parametrize("plain", [True, False])
def test_a_breakpoint_in_a_layer_is_reached_where_training_is_plain(tmp_path, plain):
    backward = minicnn.Conv2d.backward.__code__
    place = f"{backward.co_filename}:{backward.co_firstlineno + 1}"
    command = [sys.executable, "-m", "pdb", "-c", f"break {place}", "-c", "continue", "-c", "where", "-c", "quit"]
    options = ["--data", "random", "--epochs", "2", *(["--plain"] if plain else [])]
    result = subprocess.run([*command, str(EXAMPLE), *options], cwd=tmp_path, capture_output=True, text=True)
    reached = f"> {backward.co_filename}({backward.co_firstlineno + 1})backward()"
    assert (reached in result.stdout) == plain
    assert len(losses(result.stdout)) == (0 if plain else 2)


@pytest.mark.parametrize(
    "optimizer", ["adam", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sgd", "adamw"))]
)
def test_every_optimizer_learns_the_digits(tmp_path, optimizer):
    lr = 0.05 if optimizer == "sgd" else 0.004
    arguments = ("--data", "digits", "--optimizer", optimizer, "--lr", lr, "--epochs", 3, "--seed", 1)
    result = run(*arguments, "--plot", "curves.png", folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert float(re.search(r"test accuracy: (\S+)", result.stdout)[1]) > 0.9
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)


def history(output):
    """The epochs' lines without their times."""
    return [line.rpartition(" - ")[0] for line in output.splitlines() if line.startswith("epoch ")]


def test_ctrl_c_and_resume_give_the_run_that_was_not_stopped(tmp_path):
    arguments = ["--data", "digits", "--epochs", "4", "--batch-size", "64"]
    whole = run(*arguments, folder=tmp_path)

    command = [sys.executable, str(EXAMPLE), *arguments, "--checkpoint", "run.safetensors"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    head = ""
    for line in process.stdout:
        head += line
        if line.startswith("epoch 2 "):
            process.send_signal(signal.SIGINT)
            break
    head += process.communicate()[0]
    assert process.returncode == 0
    assert "stopped by Ctrl-C" in head
    assert "Traceback" not in head

    tail = run(*arguments, "--resume", "run.safetensors", folder=tmp_path)
    assert history(head) + history(tail.stdout) == history(whole.stdout)
    assert re.findall("test accuracy: .*", tail.stdout) == re.findall("test accuracy: .*", whole.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "fashion-mnist", "--data-dir", "nowhere"], "train-images-idx3-ubyte.gz in nowhere"),
        (["--data", "cifar10", "--data-dir", "nowhere"], "cifar-10-python.tar.gz"),
        (["--data", "digits", "--resume", "nowhere.safetensors"], "no file nowhere.safetensors"),
        (["--data", "random", "--init-weights", "nowhere.safetensors"], "no file nowhere.safetensors"),
        (["--data", "digits", "--checkpoint", "nowhere/run"], "no folder"),
        (["--data", "flowers"], "invalid choice: 'flowers'"),
        (["--epochs", "0"], "--epochs: expected at least 1, got 0"),
        (["--resume", "run"], "--resume has no meaning without --data"),
        (["--data", "random", "--batch-size", "3"], "--batch-size has no meaning with --data random"),
        (["--data", "digits", "--plot", "nowhere/curves.png"], "there is no folder"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path, arguments, message):
    result = run(*arguments, folder=tmp_path)
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_cuda_without_a_gpu_is_said_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    result = run("--data", "random", "--backend", "cuda", folder=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("error: the cuda backend needs ")
    assert result.stderr.count("\n") == 1


def test_a_run_resumed_with_other_options_names_them(tmp_path):
    """Another seed, above all, has another split: pictures to validate on were learnt from."""
    begun = ("--data", "digits", "--epochs", 1)
    assert run(*begun, "--checkpoint", "run", folder=tmp_path).returncode == 0
    before = (tmp_path / "run").read_bytes()
    result = run(
        *("--data", "digits", "--epochs", 2, "--seed", 1, "--lr", 0.1, "--batch-size", 31, "--optimizer", "adamw"),
        *("--resume", "run", "--checkpoint", "run"),
        folder=tmp_path,
    )
    assert result.returncode == 1
    assert sorted(result.stderr.splitlines()[1:]) == [
        "  batch-size: expected 32, got 31",
        "  epochs: expected 1, got 2",
        "  lr: expected 0.004, got 0.1",
        "  optimizer: expected adam, got adamw",
        "  seed: expected 0, got 1",
    ]
    result = run(*begun, "--checkpoint", "run", folder=tmp_path)
    assert result.returncode == 2
    assert "run is there already; go on with it by --resume run, name another file, or replace it by" in result.stderr
    assert (tmp_path / "run").read_bytes() == before
    assert run(*begun, "--seed", 1, "--checkpoint", "run", "--overwrite", folder=tmp_path).returncode == 0
    assert (tmp_path / "run").read_bytes() != before


def test_help_reads_well(tmp_path):
    result = run("--help", folder=tmp_path)
    for option in ("data", "data-dir", "backend", "optimizer", "lr", "epochs", "batch-size", "seed"):
        assert f"--{option}" in result.stdout
    for option in ("checkpoint", "resume", "init-weights", "plot", "plain"):
        assert f"--{option}" in result.stdout
