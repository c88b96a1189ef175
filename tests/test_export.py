"""The class set and the marks, as a teacher uses them: with pytest and submissions in processes of their own."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import minicnn
from minicnn.cli.program import program
from minicnn.learn.classroom.export import export
from minicnn.learn.classroom.marks import as_csv, marks
from minicnn.learn.exercises import EXERCISES, TASKS
from minicnn.learn.worksheets import WORKSHEETS, as_page

ROOT = Path(minicnn.__file__).parent.parent
NAMES = ("linear", "relu")
ASKED = ["linear_bias_gradient", "linear_weight_gradient", "linear_input_gradient", "relu_backward"]

ENDS_ITSELF = "import os\ndef linear_bias_gradient(dy):\n    os._exit(0)\n"
ENDS_ITS_GRADER = "import os, signal\ndef linear_bias_gradient(dy):\n    os.kill(os.getppid(), signal.SIGKILL)\n"
ENDS_PYTEST = "import os\nos._exit(0)\n"


@pytest.fixture(scope="module")
def class_set(tmp_path_factory):
    """A class set of two exercises, and what five students handed in."""
    folder = tmp_path_factory.mktemp("teacher") / "class"
    assert export(folder, NAMES, seed=4) == ASKED
    solved = {exercise.file: exercise.solution() for exercise in EXERCISES[:2]}
    stubs = {exercise.file: exercise.stub() for exercise in EXERCISES[:2]}
    wrong = solved | {"02_relu.py": solved["02_relu.py"].replace("y <= 0", "y < 0")}
    handed_in = {
        "ada": solved,
        "ben": stubs,
        "cy": wrong,
        "dee": solved | {"01_linear.py": solved["01_linear.py"] + ENDS_ITSELF, "conftest.py": ENDS_PYTEST},
        "eve": solved | {"01_linear.py": solved["01_linear.py"] + ENDS_ITS_GRADER},
        "no one": {},
    }
    for name, texts in handed_in.items():
        (folder / "submissions" / name).mkdir(parents=True)
        for file, text in texts.items():
            (folder / "submissions" / name / file).write_text(text, "utf-8")
    (folder / "submissions" / "notes.txt").write_text("no submission")
    return folder


@pytest.mark.quick
def test_a_class_set_has_the_answers_apart(class_set):
    exercises = EXERCISES[:2]
    for exercise in exercises:
        assert (class_set / "students" / exercise.file).read_text("utf-8") == exercise.stub()
        assert (class_set / "answers" / exercise.file).read_text("utf-8") == exercise.solution()
    sheets = {"01_linear.html": "linear", "02_relu.html": "relu"}
    for folder, answers in (("worksheets", False), ("answers/worksheets", True)):
        assert {path.name for path in (class_set / folder).iterdir()} == set(sheets)
        for file, name in sheets.items():
            assert (class_set / folder / file).read_text("utf-8") == as_page(name, 4, answers)
    handed_out = {path.name for path in (class_set / "students").iterdir()}
    assert handed_out == {exercise.file for exercise in exercises} | {"README.md", "lessons"}
    readme = (class_set / "README.md").read_text("utf-8")
    assert "minicnn learn marks submissions/* --only linear,relu --json marks.json --csv marks.csv" in readme
    assert "come from seed 4" in readme
    assert "SUBMISSION=submissions/ada python -m pytest\n" in readme
    assert "pytest and minicnn must be installed in the same environment" in readme


def test_a_class_set_of_everything(tmp_path):
    assert export(tmp_path / "class") == list(TASKS)
    for folder in ("worksheets", "answers/worksheets"):
        assert len(list((tmp_path / "class" / folder).iterdir())) == len(WORKSHEETS)
    for folder in ("students", "answers"):
        assert {path.name for path in (tmp_path / "class" / folder).glob("*.py")} == {e.file for e in EXERCISES}
    tests = (tmp_path / "class" / "test_exercises.py").read_text("utf-8")
    assert all(f'        "{task}",\n' in tests for task in TASKS)
    assert "marks submissions/* --json" in (tmp_path / "class" / "README.md").read_text("utf-8")


def test_nothing_is_written_over(class_set, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in class_set.rglob("*")}
    with pytest.raises(ValueError, match="expected a new or empty folder, got"):
        export(class_set)
    assert {path: path.stat().st_mtime_ns for path in class_set.rglob("*")} == before
    with pytest.raises(ValueError, match="there is no exercise or task 'conv3'"):
        export(tmp_path / "class", ["conv3"])
    assert not (tmp_path / "class").exists()


def pytest_on(class_set, submission, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SUBMISSION": f"submissions/{submission}"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=class_set, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("arguments", [(), ("test_exercises.py",)], ids=["pytest", "pytest test_exercises.py"])
def test_pytest_passes_what_is_solved(class_set, arguments):
    result = pytest_on(class_set, "ada", *arguments)
    assert (result.returncode, "4 passed" in result.stdout) == (0, True), result.stdout


@pytest.mark.parametrize(
    ("submission", "counted", "said"),
    [
        ("ben", "4 failed", "linear_bias_gradient: not written yet: `...` in line"),
        ("cy", "1 failed, 3 passed", "What is y where x was negative?"),
        ("dee", "1 failed, 3 passed", "your code ended the process"),
        ("no one", "4 failed", "there is no file"),
        ("nobody", "4 failed", "there is no file"),
    ],
)
def test_pytest_fails_with_what_the_grader_says(class_set, submission, counted, said):
    result = pytest_on(class_set, submission)
    assert (result.returncode, counted in result.stdout) == (1, True), result.stdout
    assert said in result.stdout
    assert "Traceback" not in result.stdout


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="there are no signals here")
def test_who_ends_pytest_does_not_pass(class_set):
    assert pytest_on(class_set, "eve").returncode not in (0, 1)


@pytest.mark.quick
def test_marks_of_a_class(class_set, tmp_path):
    """In a process of its own, as typed."""
    submissions = sorted(str(path.relative_to(class_set)) for path in (class_set / "submissions").iterdir())
    command = [sys.executable, "-m", "minicnn", "learn", "marks", *submissions, "--only", "linear, relu"]
    command += ["--json", str(tmp_path / "marks.json"), "--csv", str(tmp_path / "marks.csv")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=class_set, env=environment, capture_output=True, text=True)
    assert result.returncode == 0
    left_out, *progress = result.stderr.splitlines()
    assert left_out == "left out, since it is no folder: submissions/notes.txt"

    passed = {"ada": "1111", "ben": "0000", "cy": "1110", "dee": "0111", "eve": "0111", "no one": "0000"}
    assert progress == [f"{n}/6 graded: submissions/{name}" for n, name in enumerate(passed, start=1)]
    head, *rows, empty, legend = result.stdout.splitlines()
    assert (empty, legend) == ("", "columns: 1 linear, 2 relu; - where the file was not handed in")
    assert head.split() == ["passed", "1", "2"]
    assert len(rows) == len(passed)
    for row, (name, marked) in zip(rows, passed.items(), strict=True):
        shares = [f"{marked.count('1')}/4", f"{marked[:3].count('1')}/3", f"{marked[3]}/1"]
        if name == "no one":  # handed in no file
            shares[1:] = ["-", "-"]
        assert row.startswith(f"submissions/{name} ")
        assert row.split()[-3:] == shares

    table = list(csv.reader(io.StringIO((tmp_path / "marks.csv").read_text("utf-8"))))
    assert table == [
        ["submission", "passed", *ASKED],
        *([f"submissions/{name}", str(marked.count("1")), *marked] for name, marked in passed.items()),
    ]

    found = json.loads((tmp_path / "marks.json").read_text("utf-8"))
    assert [(mark["passed"], mark["of"]) for mark in found] == [(m.count("1"), 4) for m in passed.values()]
    of = {mark["submission"].removeprefix("submissions/"): mark["verdicts"] for mark in found}
    assert of["cy"][3]["mistakes"] == ["the gate is open at 0"]
    assert of["ben"][0]["status"] == "blank"
    assert of["dee"][0]["status"] == "broken"
    assert of["eve"][0]["headline"] == "its code stopped the grader"
    assert all(
        verdict["task"] == task for verdicts in of.values() for verdict, task in zip(verdicts, ASKED, strict=True)
    )


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="there are no signals here")
def test_a_grader_that_is_held_up_is_ended(class_set, tmp_path, monkeypatch):
    monkeypatch.setattr("minicnn.learn.classroom.marks.GRACE", 4)
    stops = "import os, signal\ndef linear_bias_gradient(dy):\n    os.kill(os.getppid(), signal.SIGSTOP)\n"
    (tmp_path / "01_linear.py").write_text(EXERCISES[0].solution() + stops, "utf-8")
    (mark,) = marks([tmp_path], ASKED[:1], seconds=1)
    assert (mark["passed"], mark["verdicts"][0]["status"]) == (0, "broken")


def test_modules_of_a_submission_are_not_the_graders(class_set, tmp_path, monkeypatch):
    (tmp_path / "01_linear.py").write_text(EXERCISES[0].solution(), "utf-8")
    (tmp_path / "json.py").write_text(ENDS_PYTEST, "utf-8")
    monkeypatch.chdir(tmp_path)
    (mark,) = marks(["."], ASKED[:1])
    assert (mark["submission"], mark["passed"]) == (".", 1)


def test_the_folder_of_all_submissions_is_no_submission(class_set):
    folder = class_set / "submissions"
    result = call("marks", folder, "--only", "linear")
    assert result.exit_code == 2
    assert f"there is no exercise in {folder}; did you mean {folder}/*?" in " ".join(result.output.split())


def test_no_marks():
    assert list(marks([], ASKED)) == []
    assert as_csv([]) == ""


def call(*arguments):
    return CliRunner().invoke(program, ["learn", *map(str, arguments)])


def test_the_commands_used_wrongly(tmp_path):
    assert call("export", tmp_path / "class", "--only", "relu").output.startswith("1 task written to ")
    result = call("export", tmp_path / "class")
    assert (result.exit_code, "which is not empty" in result.output) == (1, True)
    assert call("export", tmp_path / "other", "--only", "conv3").exit_code == 1
    assert call("marks").exit_code == 2
    assert call("marks", tmp_path / "none").exit_code == 2
    assert call("marks", tmp_path, "--only", "conv3").exit_code == 1
