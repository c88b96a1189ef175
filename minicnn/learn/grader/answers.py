"""What the right function gives on a task's cases, and what each known mistake would give."""

from functools import lru_cache
from itertools import combinations

import numpy as np

from minicnn.learn.exercises import source
from minicnn.learn.exercises.cases import cases, results
from minicnn.learn.exercises.catalogue import TASKS
from minicnn.learn.mistakes import of_task

# How far a number may be from the right one, as a share of the largest number of the array; everything is float64, so
# that any order of summation passes and float32 does not.
TOLERANCE = 1e-9


def right(task, seed):
    """What the framework's function gives: for each case of the seed a dict of arrays."""
    return _all_cases(task, _function(task, {}), seed)


def named(task, run):
    """The known mistakes whose numbers those of a `Run` are on every case: none, one, or two at once, as a tuple."""
    mistakes = of_task(task)
    for together in (*((mistake,) for mistake in mistakes), *combinations(mistakes, 2)):
        try:
            function = _function(task, *(mistake.edits for mistake in together))
        except (ValueError, SyntaxError):  # two that change the same piece
            continue
        if all(_gave(run, task, seed, function) for seed in run.seeds):
            return together
    return ()


def agree(expected, got):
    """Whether two arrays have one shape and the same numbers, up to rounding; NaN and infinity in the same places."""
    if expected.shape != got.shape:
        return False
    with np.errstate(invalid="ignore"):
        largest = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
        return bool(np.isclose(got, expected, rtol=0, atol=TOLERANCE * max(largest, 1e-300), equal_nan=True).all())


def _gave(run, task, seed, function):
    """Whether the learner's function gave on all cases of a seed what `function` gives, errors included."""
    for position, expected in enumerate(_all_cases(task, function, seed)):
        case = run.cases[seed, position]
        if isinstance(expected, str) or case["error"]:
            if case.get("kind") != expected:
                return False
        elif not all(agree(array, run.arrays[seed, position, name]) for name, array in expected.items()):
            return False
    return True


def _all_cases(task, function, seed):
    """For each case a dict of arrays, or the name of the error that it ended in."""
    found = []
    with np.errstate(all="ignore"):
        for _, arguments in cases(task, seed):
            try:
                found.append(results(task, function, arguments))
            except Exception as error:
                found.append(type(error).__name__)
    return found


def _function(task, *edits):
    """The framework's function, or one with mistakes, as Python that is not compiled."""
    exercise, asked = TASKS[task]
    text = asked.solution()
    for edit in edits:
        text = source.exchanged(text, edit)
    namespace = dict(_given(exercise.name))
    exec(compile(text, f"<{task}>", "exec"), namespace)
    function = namespace[task]
    return getattr(function, "py_func", function)  # Numba's, not compiled: a few small numbers are not worth it


@lru_cache
def _given(exercise_name):
    """The namespace of an exercise's solution."""
    exercise = next(exercise for exercise, _ in TASKS.values() if exercise.name == exercise_name)
    namespace = {}
    exec(compile(exercise.solution(), f"<{exercise.file}>", "exec"), namespace)
    return namespace
