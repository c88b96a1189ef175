"""The exercises are the framework's own functions: what is right, what is left blank, and which mistakes are known."""

import ast
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn.learn.exercises import EXERCISES, TASKS, source
from minicnn.learn.exercises.cases import SEEDS, cases, results
from minicnn.learn.grader import answers, check
from minicnn.learn.mistakes import MISTAKES, of_task
from minicnn.learn.practice.folder import start, tasks_called

MOST_LINES = 30  # that a learner writes in one task


def lines_of(text):
    return [line for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_files_are_python_with_blanks_or_solved(exercise):
    for text, has_blanks in ((exercise.stub(), True), (exercise.solution(), False)):
        functions = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
        for task in exercise.tasks:
            assert bool(source.blanks_left(functions[task.name])) == has_blanks
            assert ast.get_docstring(functions[task.name])
        assert source.MARKER not in text
        assert "Images" not in text
        assert not any(getattr(node, "annotation", None) for node in ast.walk(ast.parse(text)))  # types are left out
        assert all(len(line) <= 120 for line in text.splitlines())


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_a_small_step(task):
    _, definition = TASKS[task]
    assert 1 <= len(lines_of(definition.solution())) - len(lines_of(definition.docstring)) <= MOST_LINES
    assert "TODO" in definition.stub()
    kept = set(lines_of(definition.stub()))
    removed = [
        line
        for line in lines_of(source.solution(definition.module, definition.function, definition.docstring))
        if line not in kept
    ]
    assert removed, "nothing is left to write"


@pytest.mark.quick
@pytest.mark.parametrize("task", TASKS)
def test_solution_is_the_frameworks_function(task):
    """Its text, run apart, gives the very numbers of the function that the framework calls."""
    _, definition = TASKS[task]
    own = import_module(definition.module)
    for part in definition.function.split("."):
        own = getattr(own, part)
    own = getattr(own, "py_func", own)
    for seed in SEEDS:
        for expected, (_, arguments) in zip(answers.right(task, seed), cases(task, seed), strict=True):
            found = results(task, own, arguments)
            assert found.keys() == expected.keys()
            for name, array in found.items():
                np.testing.assert_array_equal(array, expected[name])
                assert array.size
                assert np.isfinite(array).all()


def test_exercises_follow_the_lessons():
    lessons = Path(minicnn.__file__).parent / "learn" / "lessons" / "texts"
    assert [exercise.number for exercise in EXERCISES] == list(range(1, len(EXERCISES) + 1))
    for exercise in EXERCISES:
        text = (lessons / f"{exercise.lesson}.py").read_text()
        assert f"minicnn learn check {exercise.name}" in text


def test_mistakes_are_many_and_each_is_said():
    assert len(MISTAKES) >= 40
    assert len({(mistake.task, mistake.name) for mistake in MISTAKES}) == len(MISTAKES)
    for task in TASKS:
        assert len(of_task(task)) >= 3
    for mistake in MISTAKES:
        assert mistake.message.endswith(".")
        assert mistake.hint.rstrip("”.").endswith("?") or "?" in mistake.hint
        for right in mistake.edits:  # a question does not give the answer away
            assert right not in mistake.hint


def test_edits_must_fit_once():
    with pytest.raises(ValueError, match="expected 'a' once, found it 2 times"):
        source.exchanged("a a", {"a": "b"})
    with pytest.raises(ValueError, match="expected a marker"):
        source.completion("minicnn.backends.reference.linear", "linear_forward", "y for x.")


@pytest.mark.parametrize("task", TASKS)
def test_each_mistake_is_unlike_the_right_one_and_all_others(task):
    """On the cases that are always the same: the confusion table of each task has nothing off its diagonal."""
    given = {"right": answers.outcomes(task, SEEDS[0])}
    given |= {mistake.name: answers.outcomes(task, SEEDS[0], mistake) for mistake in of_task(task)}
    names = list(given)
    for k, name in enumerate(names):
        for other in names[k + 1 :]:
            assert not answers.alike(given[name], given[other]), f"{task}: {name!r} is not to be told from {other!r}"


@pytest.mark.quick
def test_start_writes_what_is_missing_and_nothing_else(tmp_path):
    folder = tmp_path / "course"
    written = start(folder)
    assert {path.name for path in written} >= {exercise.file for exercise in EXERCISES} | {"README.md"}
    mine = folder / "01_linear.py"
    mine.write_text("my work")
    (folder / "02_relu.py").unlink()
    assert [path.name for path in start(folder)] == ["02_relu.py"]
    assert mine.read_text() == "my work"
    assert not list(folder.glob("*.tmp"))


def test_names_mean_tasks():
    assert tasks_called(["linear"]) == tasks_called(["01_linear"]) == tasks_called(["x/01_linear.py"])
    assert tasks_called(["to_weights", "relu"]) == ["relu_backward", "to_weights"]
    assert tasks_called([]) == list(TASKS)
    with pytest.raises(ValueError, match="there is no exercise or task 'conv3'"):
        tasks_called(["conv3"])


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_every_stub_fails_and_every_solution_passes(exercise, tmp_path):
    stub, solved = tmp_path / "stub.py", tmp_path / "solved.py"
    stub.write_text(exercise.stub())
    solved.write_text(exercise.solution())
    for task in exercise.tasks:
        assert check(stub, task.name).status == "blank"
        verdict = check(solved, task.name)
        assert verdict.passed, str(verdict)
        assert re.fullmatch(
            rf"Right in all \d+ cases: your {task.name} \(line \d+ of your file\) was called \d+ times for them\.",
            verdict.details[0],
        ), verdict.details


def test_cases_have_what_is_easily_forgotten():
    rows = [arguments[1] for _, arguments in cases("avg_pool2d_backward", 1)]
    assert any((table[1:, 0] > table[:-1, 1]).any() for table in rows)  # cells of no window: they must not be rubbish
    convolutions = [arguments[1:] for _, arguments in cases("conv2d_input_gradient", 1)]
    assert any(padding[0] > weight.shape[2] - 1 for weight, _, _, padding in convolutions)
    assert any(stride[0] > weight.shape[2] for weight, _, stride, _ in convolutions)
    assert all(max_norm != 1 for _, (_, max_norm) in cases("clip_gradients", 1))
