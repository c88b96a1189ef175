"""Recordings in files, and `minicnn compare` on the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import minicnn
from minicnn.cli.program import program
from minicnn.io.safetensors import read_safetensors, write_safetensors
from minicnn.verify.compare import compare, record, recording
from tests.comparing import same_trace
from tests.make_comparison_recording import PATH, batch, layers, network

ROOT = Path(minicnn.__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


# Files


def test_the_recording_is_small_and_holds_each_array_once():
    assert PATH.stat().st_size < 200_000
    arrays, metadata = read_safetensors(PATH)
    contents = [(array.shape, array.dtype, array.tobytes()) for array in arrays.values()]
    assert len(contents) == len(set(contents))
    assert set(metadata) == {"format", "comparison"}
    trace = recording.load(PATH)
    assert trace.source.startswith("PyTorch 2.")
    assert [(step.name, step.kind) for step in trace.calls] == [(k, type(v).__name__) for k, v in layers().items()]


@pytest.mark.quick
def test_a_round_trip(tmp_path):
    trace = recording.load(PATH)
    recording.save(trace, tmp_path / "again")
    same_trace(recording.load(tmp_path / "again"), trace)


@pytest.mark.quick
def test_recording_a_network_of_minicnn(tmp_path):
    x, y = batch()
    weighted = minicnn.CrossEntropyLoss(weight=np.array([1.0, 2.0, 0.5]), label_smoothing=0.1)
    decaying = lambda network, lr: minicnn.AdamW(network, lr, betas=(0.8, 0.99), weight_decay=0.1)  # noqa: E731
    options = {"loss": weighted, "optimizer": decaying, "lr": 0.02, "training": False}
    record(network(), x, y, tmp_path / "r", **options)
    trace = recording.load(tmp_path / "r")
    settings = {"lr": 0.02, "betas": [0.8, 0.99], "eps": 1e-8, "weight_decay": 0.1}
    assert trace.setup.optimizer == ("AdamW", settings)
    assert trace.setup.loss == ("CrossEntropyLoss", {"weight": [1.0, 2.0, 0.5], "label_smoothing": 0.1})
    assert not trace.setup.training
    assert compare(network(), tmp_path / "r")  # loss, optimiser and mode are those of the file
    assert compare(network(), str(tmp_path / "r"), loss=weighted, optimizer=decaying)
    with pytest.raises(ValueError, match=r"expected the loss of the recording, CrossEntropyLoss with .*0\.1"):
        compare(network(), tmp_path / "r", loss=minicnn.CrossEntropyLoss())
    with pytest.raises(ValueError, match="expected the optimizer of the recording, AdamW"):
        compare(network(), tmp_path / "r", optimizer=minicnn.Adam)


def test_a_recording_needs_no_pytorch(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from tests.make_comparison_recording import network, PATH\n"
        "import minicnn; print(minicnn.compare(network(), PATH, copy_weights=True))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert "Agree: all 66 arrays." in result.stdout, result.stderr


def changed(tmp_path, change):
    """A copy of the recording whose arrays and description were changed by `change`."""
    arrays, metadata = read_safetensors(PATH)
    description = json.loads(metadata["comparison"])
    change(arrays, description)
    path = tmp_path / "changed"
    write_safetensors(path, arrays, {"format": metadata["format"], "comparison": json.dumps(description)})
    return path


DAMAGES = {
    "an array missing": lambda arrays, description: arrays.pop("output"),
    "another shape": lambda arrays, description: arrays.update({"after/fc.bias": np.zeros(4)}),
    "another dtype": lambda arrays, description: arrays.update({"d_output": np.zeros((4, 3), np.float32)}),
    "labels beyond the classes": lambda arrays, description: arrays.update({"labels": np.array([0, 1, 2, 3])}),
    "a parameter missing": lambda arrays, description: arrays.pop("before/conv1.weight"),
    "an output missing": lambda arrays, description: arrays.pop("step/0/y"),
    "no steps": lambda arrays, description: description.pop("steps"),
    "steps that are none": lambda arrays, description: description.update(steps=[3]),
    "an unknown loss": lambda arrays, description: description.update(loss=["Loss", {"weight": None}]),
    "an unknown optimiser": lambda arrays, description: description.update(optimizer=["sys", {}]),
    "equal to nothing": lambda arrays, description: description["equal"].update({"step/1/x": "nowhere"}),
    "no dictionary": lambda arrays, description: description.update(equal=7),
    "a gradient of nothing": lambda arrays, description: arrays.update({"grads/ghost.weight": np.zeros(3)}),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_recordings_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match=r"changed: the recording is damaged \(.*\); record again"):
        compare(network(), changed(tmp_path, DAMAGES[name]))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere"):
        compare(network(), tmp_path / "nowhere")
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(ValueError, match="junk: expected a safetensors file"):
        compare(network(), tmp_path / "junk")
    (tmp_path / "cut").write_bytes(PATH.read_bytes()[:-100])
    with pytest.raises(ValueError, match="cut: expected a safetensors file"):
        compare(network(), tmp_path / "cut")
    minicnn.save_weights(network(), tmp_path / "weights")
    with pytest.raises(ValueError, match=r"weights: expected a recording that minicnn\.verify\.compare\.record wrote"):
        compare(network(), tmp_path / "weights")
    write_safetensors(tmp_path / "newer", {}, {"format": "minicnn comparison 2"})
    with pytest.raises(ValueError, match="newer: expected a recording of format 1, got format 2"):
        compare(network(), tmp_path / "newer")


def call(*arguments):
    return CliRunner().invoke(program, ["compare", *map(str, arguments)])


MINE = f"{ROOT / 'tests' / 'make_comparison_recording.py'}:network"


def test_the_program_on_a_network_of_ones_own(tmp_path):
    result = call(PATH, "--network", MINE, "--copy-weights")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Agree: all 66 arrays." in result.output

    result = call(PATH, "--network", MINE)
    assert result.exit_code == 1
    assert "First divergence: conv1.weight before the step." in result.output
    assert result.stderr == ""

    (tmp_path / "neighbour.py").write_text("import minicnn\nclass MyPool(minicnn.AdaptiveMaxPool2d): pass\n")
    (tmp_path / "mine.py").write_text(
        "import minicnn\nfrom neighbour import MyPool\nfrom tests.make_comparison_recording import layers\n"
        "NETWORK = minicnn.Sequential(**(layers() | {'pool2': MyPool(2)}))\n"
    )
    path = list(sys.path)
    result = call(PATH, "--network", f"{tmp_path / 'mine.py'}:NETWORK", "--copy-weights")
    assert result.exit_code == 1
    assert "First divergence: the output of pool2." in result.output
    assert sys.path == path


@pytest.mark.quick
def test_the_program_on_weights_and_on_a_simple_net(tmp_path):
    there = minicnn.SimpleNet(3, 2, rng=5)
    x, y = batch()
    record(there, x.astype(np.float32), y, tmp_path / "r")
    minicnn.save_weights(there, tmp_path / "weights")
    minicnn.save_weights(minicnn.SimpleNet(3, 2, rng=6), tmp_path / "others")
    assert call(tmp_path / "r").exit_code == 0
    assert call(tmp_path / "r", "--model", tmp_path / "weights").exit_code == 0
    result = call(tmp_path / "r", "--model", tmp_path / "others")
    assert result.exit_code == 1
    assert "First divergence: conv1.weight before the step." in result.output
    there["bn1"].eps = 1e-3
    record(there, x.astype(np.float32), y, tmp_path / "r")
    result = call(tmp_path / "r")
    assert (result.exit_code, "First divergence: the output of bn1." in result.output) == (1, True)
    assert call(tmp_path / "r", "--tolerance", 0.1).exit_code == 0


def test_the_program_used_wrongly(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("junk").write_bytes(b"junk")
    Path("mine.py").write_text("import minicnn\nvalue = 3\ndef fails():\n    return 1 / 0\n")
    Path("typo.py").write_text("def network(:\n    pass\n")
    vectors = minicnn.Sequential(fc=minicnn.Linear(2, 2, rng=0))
    record(vectors, np.ones((2, 2), np.float32), [0, 1], "vectors")
    for arguments, code, words in [
        ([], 2, "Missing argument 'RECORDING'"),
        (["nowhere"], 1, "no file nowhere"),
        (["junk"], 1, "junk: expected a safetensors file"),
        ([PATH, "--network", "mine.py"], 2, "expected FILE.py:NAME, got 'mine.py'"),
        ([PATH, "--network", "nowhere.py:network"], 1, "no file nowhere.py"),
        ([PATH, "--network", "mine.py:ghost"], 1, "there is no ghost in mine.py"),
        ([PATH, "--network", "mine.py:value"], 1, "expected value to be or to make a network, got int"),
        ([PATH, "--network", "mine.py:fails"], 1, "mine.py, line 4: ZeroDivisionError: division by zero"),
        ([PATH, "--network", "typo.py:network"], 1, "typo.py, line 1: SyntaxError"),
        ([PATH, "--network", MINE, "--model", "nowhere"], 1, "no file nowhere"),
        ([PATH, "--model", "x", "--copy-weights"], 2, "exclude each other"),
        (["vectors"], 2, "SimpleNet takes images (N, C, H, W); give your own --network"),
        ([PATH, "--tolerance", "0"], 2, "0.0 is not in the range x>0"),
    ]:
        result = call(*arguments)
        assert result.exit_code == code, (arguments, result.output)
        assert words in " ".join(result.stderr.split()), (arguments, result.output)


def test_help_has_examples():
    result = call("--help")
    assert result.exit_code == 0
    assert "minicnn compare recording.safetensors --network mine.py:MyNet --copy-weights" in result.output
