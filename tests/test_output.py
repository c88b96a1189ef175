"""Output that cannot take every character, and names that are no UTF-8: the work goes on, and all is said readably."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import minicnn
from minicnn.cli.program import program
from minicnn.io.output import printable
from tests.shapes import write_shapes

ROOT = Path(minicnn.__file__).parent.parent
ODD = os.fsdecode(b"caf\xe9")  # Latin-1's é, which is no UTF-8


def environment(encoding):
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}


def run(encoding, *command, folder, program=("-m", "minicnn")):
    """What is printed by a process whose output is in this encoding: (standard output, standard error), both strict."""
    result = subprocess.run(
        [sys.executable, *program, *map(str, command)], cwd=folder, env=environment(encoding), capture_output=True
    )
    output, errors = result.stdout.decode(encoding), result.stderr.decode(encoding)
    assert result.returncode == 0, errors
    assert "Traceback" not in errors
    return output, errors


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Pictures of two classes, one in another script, one whose name is no UTF-8; files like that, one of them bad."""
    here = tmp_path_factory.mktemp("names")
    for name, per_class in (("shapes", 8), ("others", 4)):
        write_shapes(here / name, per_class, seed=per_class)
        (here / name / "bar").rename(here / name / "猫")
        try:
            (here / name / "disc").rename(here / name / ODD)
        except OSError:
            pytest.skip("this disk takes no names but UTF-8")
        (here / name / "猫" / "1.png").rename(here / name / "猫" / f"{ODD}.png")
        (here / name / "猫" / "2.png").rename(here / name / "猫" / "× été.png")
    (here / "shapes" / "猫" / f"bad {ODD}.png").write_bytes(b"junk")
    return here


@pytest.fixture(scope="module")
def model(here):
    run("utf-8", "train", "shapes", "-o", "model", "--epochs", 1, folder=here)
    return here / "model"


def also(*encodings):
    """Those in which a test runs where the slow ones are asked for."""
    return [pytest.param(encoding, marks=pytest.mark.slow) for encoding in encodings]


CAT = {"utf-8": "猫"}  # in the others by its number


@pytest.mark.parametrize("encoding", ["ascii", *also("cp1252", "utf-8")])
def test_training_goes_on(here, tmp_path, encoding):
    output, errors = run(encoding, "train", here / "shapes", "-o", tmp_path / "m", "--epochs", 1, folder=here)
    cat = CAT.get(encoding, r"\u732b")
    assert rf"13 images to train, 3 to validate, of 2 classes: caf\udce9, {cat}" in output
    assert f"model: {tmp_path / 'm'}" in output
    assert rf"{cat}/bad caf\udce9.png is left out" in errors
    assert rf"1 of 17 image files could not be read ({cat}/bad caf\udce9.png" in errors
    assert minicnn.Classifier.load(tmp_path / "m").class_names == [ODD, "猫"]


@pytest.mark.parametrize("encoding", ["ascii", *also("utf-8")])
def test_measuring_goes_on(here, model, tmp_path, encoding):
    pictures = ("--confusion", tmp_path / "c.png", "--mistakes", tmp_path / "m.png")
    output, _ = run(encoding, "evaluate", model, "others", *pictures, folder=here)
    cat = CAT.get(encoding, r"\u732b")
    assert [line.split()[:2] for line in output.splitlines()[1:3]] == [[r"caf\udce9", "4"], [cat, "4"]]
    assert (tmp_path / "c.png").stat().st_size
    assert (tmp_path / "m.png").stat().st_size
    part = tmp_path / "part"
    write_shapes(part, 1, seed=0, classes=("猫",))
    output, _ = run(encoding, "evaluate", model, part, folder=here)
    assert ("–" if encoding == "utf-8" else "-") in output.splitlines()[1].split()  # in place of a share of nothing


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are always UTF-8")
def test_classes_have_the_same_names_where_the_system_is_set_to_ascii(here, model):
    plain = {"PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = subprocess.run(
        [sys.executable, "-m", "minicnn", "evaluate", "model", "others"],
        cwd=here,
        env={name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"} | plain,
        capture_output=True,
    )
    assert result.returncode == 0, result.stderr
    assert b"on 8 images" in result.stdout
    assert result.stdout.isascii()


@pytest.mark.parametrize("encoding", ["cp1252", *also("utf-8")])
def test_predicting_goes_on(here, model, tmp_path, encoding):
    output, _ = run(encoding, "predict", model, "others", "--winners", tmp_path / "w", folder=here)
    lines = [line.split("\t") for line in output.splitlines()]
    assert len(lines) == 8
    assert {name for line in lines for name in line[1::2]} == {r"caf\udce9", CAT.get(encoding, r"\u732b")}
    assert len(list((tmp_path / "w").iterdir())) == 8
    output, _ = run(encoding, "predict", model, "others", "--json", folder=here)
    assert {Path(json.loads(line)["path"]) for line in output.splitlines()} == {
        path.relative_to(here) for path in (here / "others").rglob("*.png")
    }


@pytest.mark.parametrize("encoding", ["ascii", *also("cp1252")])
def test_inspecting_goes_on(here, model, tmp_path, encoding):
    page = tmp_path / f"{ODD} ×.html"
    for name in (f"{ODD}.png", "× été.png"):
        output, _ = run(encoding, "inspect", here / "others" / "猫" / name, "--model", model, "-o", page, folder=here)
        assert "page: " in output
        assert "<title>model on " in page.read_text("utf-8")


@pytest.mark.parametrize("encoding", ["ascii", *also("cp437")])
def test_a_terminal_gets_its_table_and_its_bar(here, model, tmp_path, encoding):
    for arguments, words in (
        (["predict", str(model), "others"], r"\u732b"),
        (["train", "shapes", "-o", str(tmp_path / "m"), "--epochs", "1"], "validation accuracy"),
    ):
        terminal, end = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "minicnn", *arguments], cwd=here, env=environment(encoding), stdout=end, stderr=end
        )
        os.close(end)
        shown = b""
        while True:
            try:
                part = os.read(terminal, 10000)
            except OSError:  # as Linux says that the other end is closed
                part = b""
            if not part:
                break
            shown += part
        os.close(terminal)
        assert process.wait() == 0, shown.decode(encoding)
        assert words in shown.decode(encoding)
        assert "Traceback" not in shown.decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_errors_keep_their_exit_codes(here, model, encoding):
    for arguments, code, words in (
        (["predict", model, "猫.png"], 1, r"\u732b.png: there is no such file"),
        (["train", "猫", "-o", "m"], 1, r"no folder \u732b"),
        (["inspect", "others/猫/0.png", "--model", model, "--label", "犬"], 2, r"got '\u72ac'"),
        (["猫"], 2, r"No such command '\u732b'"),
    ):
        result = subprocess.run(
            [sys.executable, "-m", "minicnn", *map(str, arguments)],
            cwd=here,
            env=environment(encoding),
            capture_output=True,
        )
        assert (result.returncode, result.stdout) == (code, b"")
        assert words in result.stderr.decode(encoding)


def _commands(group=program, names=()):
    """The names that lead to each command, groups included."""
    yield names
    for name, command in getattr(group, "commands", {}).items():
        yield from _commands(command, (*names, name))


@pytest.mark.parametrize("names", list(_commands()), ids=" ".join)
def test_help_is_in_ascii(names):
    """So that it is the same everywhere."""
    result = CliRunner().invoke(program, [*names, "--help"])
    assert result.exit_code == 0
    assert result.output.isascii(), [c for c in result.output if not c.isascii()]


def test_the_course_goes_on(tmp_path):
    """The grader's report with what the learner's code printed, a solution, a worksheet, the lessons' titles."""
    run("ascii", "learn", "start", "exercises", folder=tmp_path)
    file = next(path for path in (tmp_path / "exercises").iterdir() if "linear" in path.name)
    file.write_text(file.read_text("utf-8").replace("...", "print('猫 ×')", 1), "utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "minicnn", "learn", "check", "linear"],
        cwd=tmp_path / "exercises",
        env=environment("ascii"),
        capture_output=True,
    )
    assert (result.returncode, result.stderr) == (1, b"")
    report = result.stdout.decode("ascii")
    assert r"\u732b x" in report
    assert "0 of 3 tasks are right" in report
    for command in (["solution", "conv2d_input_gradient"], ["worksheet", "convolution"], ["lessons"], ["symptoms"]):
        output, _ = run("ascii", "learn", *command, folder=tmp_path)
        assert output


def test_the_examples_go_on(here, tmp_path):
    examples = ROOT / "examples"
    output, _ = run(
        "ascii",
        *("--folder", here / "shapes", "--epochs", 1, "--ways", "mixed"),
        folder=tmp_path,
        program=[examples / "any_size.py"],
    )
    assert "padded to " in output
    output, _ = run(
        "ascii",
        *("--data", "digits", "--epochs", 1, "--plot", "猫.png"),
        folder=tmp_path,
        program=[examples / "train_simplenet.py"],
    )
    assert r"digits, 8 x 8" in output
    assert r"curves: \u732b.png" in output


def test_a_metric_of_any_name_is_printed(tmp_path):
    """In a program of one's own, whose output is as Python made it."""
    code = (
        "import numpy as np, minicnn\n"
        "network = minicnn.Sequential(minicnn.Linear(2, 2, rng=0))\n"
        "trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.SGD(network, lr=0.1),\n"
        "                          metrics={'точность': minicnn.accuracy})\n"
        "trainer.fit([(np.ones((3, 2), np.float32), np.array([0, 1, 1]))])\n"
    )
    output, _ = run("ascii", code, folder=tmp_path, program=["-c"])
    assert r"\u0442\u043e\u0447" in output


def test_names_that_differ_are_printed_differently():
    class Stream:
        encoding = "ascii"

    names = ["猫", "犬", "é", "e", "è", ODD, os.fsdecode(b"caf\xe8")]
    assert len({printable(name, Stream) for name in names}) == len(names)
    assert printable("3 × 3 – 2² … “a”", Stream) == '3 x 3 - 2^2 ... "a"'
    Stream.encoding = "cp1252"
    assert printable("3 × 3 – é", Stream) == "3 × 3 – é"
