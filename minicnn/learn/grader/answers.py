"""What the right function gives on a task's cases, and what each known mistake would give."""

from functools import lru_cache
from itertools import combinations

import numpy as np

from minicnn.learn.exercises import source
from minicnn.learn.exercises.cases import cases, results
from minicnn.learn.exercises.catalogue import TASKS
from minicnn.learn.grader.differences import differing
from minicnn.learn.mistakes import of_task


def right(task, seed):
    """What the framework's function gives: for each case of the seed a dict of arrays."""
    return outcomes(task, seed)


def outcomes(task, seed, *mistakes):
    """For each case of the seed what a function with these mistakes gives: a dict of arrays, or an error's class name.

    Raises ValueError where two mistakes do not go together, since they change one piece of the text.
    """
    called = function(task, mistakes)
    found = []
    with np.errstate(all="ignore"):
        for _, arguments in cases(task, seed):
            try:
                found.append(results(task, called, arguments))
            except Exception as error:
                found.append(type(error).__name__)
    return found


def named(task, given):
    """The known mistakes that would have given just this: none, one, or two at once, as a tuple.

    `given` is a dict from seeds to outcomes.
    """
    mistakes = of_task(task)
    for together in (*((mistake,) for mistake in mistakes), *combinations(mistakes, 2)):
        try:
            if all(alike(outcomes(task, seed, *together), given[seed]) for seed in given):
                return together
        except (ValueError, SyntaxError):  # two that do not go together
            continue
    return ()


def alike(expected, given):
    """Whether two lists of outcomes are the same, errors included."""
    return len(expected) == len(given) and all(map(_one_alike, expected, given))


def _one_alike(expected, given):
    if isinstance(expected, str) or isinstance(given, str):
        return expected == given
    return expected.keys() == given.keys() and all(agree(array, given[name]) for name, array in expected.items())


def agree(expected, got):
    """Whether two arrays have one shape and the same numbers, up to rounding; NaN and infinity in the same places."""
    return expected.shape == got.shape and not differing(expected, got).any()


def function(task, mistakes):
    """The framework's function, or one with mistakes, as Python that is not compiled."""
    exercise, definition = TASKS[task]
    text = definition.solution()
    for mistake in mistakes:
        text = source.exchanged(text, mistake.edits)
    namespace = dict(_given(exercise.name))
    exec(compile(text, f"<{task}>", "exec"), namespace)
    compiled = namespace[task]
    return getattr(compiled, "py_func", compiled)  # Numba's, not compiled: a few small numbers are not worth it


@lru_cache
def _given(exercise_name):
    """The namespace of an exercise's solution."""
    exercise = next(exercise for exercise, _ in TASKS.values() if exercise.name == exercise_name)
    namespace = {}
    exec(compile(exercise.solution(), f"<{exercise.file}>", "exec"), namespace)
    return namespace
