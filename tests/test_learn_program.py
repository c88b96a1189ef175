"""minicnn learn as a learner uses it: start, check, stub, solution, train."""

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
from minicnn.learn.exercises import EXERCISES, TASKS
from minicnn.learn.practice.comparison import load, operations_among, train

pytestmark = pytest.mark.quick

ROOT = Path(minicnn.__file__).parent.parent


def call(*arguments):
    return CliRunner().invoke(program, ["learn", *map(str, arguments)])


@pytest.fixture
def course(tmp_path):
    """A folder in which the first exercise is solved but for one mistake, and the others are as they were given."""
    folder = tmp_path / "course"
    assert call("start", folder).exit_code == 0
    path = folder / "01_linear.py"
    path.write_text(EXERCISES[0].solution().replace("dy.T @ x", "x.T @ dy"))
    return folder


def test_from_start_to_the_first_graded_exercise(tmp_path):
    """In processes of its own, as typed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def run(*arguments, folder=tmp_path):
        command = [sys.executable, "-m", "minicnn", "learn", *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)

    started = run("start", "course")
    assert started.returncode == 0
    assert started.stdout.endswith(
        "next: cd course, read lessons/01_linear.py, fill in 01_linear.py, "
        f"then: {sys.executable} -m minicnn learn check linear\n"
    )
    course = tmp_path / "course"
    checked = run("check", "linear", folder=course)
    assert checked.returncode == 1
    assert checked.stdout.count("not written yet: `...` in line") == 3
    path = course / "01_linear.py"
    path.write_text(path.read_text().replace("return ...", "return dy.sum(axis=0)", 1))
    checked = run("check", "linear_bias_gradient", folder=course)
    assert checked.returncode == 0
    assert "✓ linear_bias_gradient" in checked.stdout
    assert "your linear_bias_gradient (line 22 of your file) was called" in " ".join(checked.stdout.split())


@pytest.mark.skipif(os.name == "nt", reason="an installed program is no script there")
def test_start_names_the_program_so_that_it_is_found_from_the_new_folder(tmp_path):
    program = tmp_path / "my programs" / "minicnn"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom minicnn.cli.program import program\n\nprogram()\n")
    program.chmod(0o755)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def start(command, folder, **more):
        said = subprocess.check_output(
            [command, "learn", "start", folder], cwd=tmp_path, env=environment | more, text=True
        )
        return said.partition("then: ")[2].strip()

    assert start("my programs/minicnn", "one") == f"'{program}' learn check linear"
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    assert start(program, "two", PATH=path) == "minicnn learn check linear"


def test_check_shows_every_task_and_the_first_mistake_in_full(course):
    result = call("check", "linear", "relu", "--folder", course)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0] == "01_linear.py"
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["✓", "linear_bias_gradient"],
        ["✗", "linear_weight_gradient"],
        ["✓", "linear_input_gradient"],
    ]
    assert lines[4] == "02_relu.py"
    assert "· relu_backward" in lines[5]
    assert "not right yet: transposed" in lines[2]
    assert "Which of dy and x has outputs" in " ".join(result.output.split())
    assert lines[-1] == "2 of 4 tasks are right"
    assert call("check", "linear_bias_gradient", "--folder", course).exit_code == 0


def test_check_as_json(course):
    result = call("check", "linear", "--folder", course, "--json")
    assert result.exit_code == 1
    verdicts = json.loads(result.output)
    assert [verdict["status"] for verdict in verdicts] == ["passed", "wrong", "passed"]
    assert verdicts[1]["mistakes"] == ["transposed"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check"], "there is no exercise in"),
        (["check", "nonsense"], "there is no exercise or task 'nonsense'"),
        (["check", "--folder", "nowhere"], "Directory 'nowhere' does not exist"),
        (["stub", "nonsense"], "there is no exercise or task 'nonsense'"),
        (["train", "adaptive_start"], "there is no function of yours that is right and an operation of the network"),
    ],
)
def test_wrong_use(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code != 0
    assert said in result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_a_file_stands_where_the_folder_should(tmp_path):
    (tmp_path / "file").write_text("mine")
    result = call("start", tmp_path / "file")
    assert result.exit_code == 2
    assert (tmp_path / "file").read_text() == "mine"
    result = call("start", tmp_path / "file" / "course")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")


def test_stub_and_solution():
    assert call("stub", "relu").output.rstrip() == TASKS["relu_backward"][1].stub().rstrip()
    solution = call("solution", "relu_backward").output
    assert "return np.where(y <= 0, dy.dtype.type(0), dy)" in solution
    assert "..." not in solution


def test_functions_that_are_operations():
    tasks = operations_among(TASKS)
    assert "conv2d_input_gradient" in tasks
    assert not {"adaptive_start", "sequential_backward", "to_pixels", "clip_gradients"} & set(tasks)


def test_functions_are_loaded_from_their_files(course):
    functions = load(course, ["linear_bias_gradient", "linear_weight_gradient"])
    dy = np.array([[1.0, 2], [3, 4]])
    np.testing.assert_array_equal(functions["linear_bias_gradient"](dy), [4, 6])
    (course / "02_relu.py").write_text("relu_backward = 3")
    with pytest.raises(ValueError, match="load: expected a function relu_backward in"):
        load(course, ["relu_backward"])


def test_training_with_right_functions_goes_as_with_the_frameworks_and_with_wrong_ones_not(tmp_path):
    for exercise in EXERCISES:
        (tmp_path / exercise.file).write_text(exercise.solution())
    names = ["linear_weight_gradient", "relu_backward", "adam_step_", "nll_loss_backward"]
    right = train(load(tmp_path, names), epochs=1)
    assert right.operations.keys() == set(names)
    assert all(calls > 0 and yours > 0 and ours > 0 for calls, yours, ours in right.operations.values())
    assert abs(right.yours[0]["loss"] - right.ours[0]["loss"]) < 1e-3
    lists = {
        "linear_bias_gradient": lambda dy: dy.sum(axis=0).tolist(),
        "relu_backward": lambda dy, y: list(dy * (y > 0)),
    }
    assert train(lists, epochs=1).yours[0]["loss"] == pytest.approx(right.ours[0]["loss"], abs=1e-3)
    wrong = train({"relu_backward": lambda dy, y: dy, "avg_pool2d_backward": lambda *arguments: 1 / 0}, epochs=1)
    assert wrong.operations.keys() == {"relu_backward"}
    assert wrong.ours[0]["loss"] == right.ours[0]["loss"]
    assert abs(wrong.yours[0]["loss"] - wrong.ours[0]["loss"]) > 1e-2


def test_what_is_not_there_is_not_called_wrong(tmp_path):
    result = call("train", "--folder", tmp_path)
    assert result.exit_code == 2
    assert "left out" not in result.output


def test_train_on_the_command_line(course):
    result = call("train", "--folder", course, "--epochs", "1")
    assert result.exit_code == 0, result.output
    assert "linear_bias_gradient" in result.output
    assert "left out, since not right: linear_weight_gradient\n" in result.output
    assert result.output.count("linear_weight_gradient") == 1
    assert "relu_backward" not in result.output  # it is not written
    assert "times the" in result.output
    assert max(map(len, result.output.splitlines())) <= 80
    result = call("train", "linear_weight_gradient", "--folder", course, "--epochs", "1")
    assert result.exit_code == 1  # transposed: it does not fit
    assert "linear_weight_gradient: not right yet: transposed; it is used as it is" in " ".join(result.output.split())
    assert "Error: " in result.output
