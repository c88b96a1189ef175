"""What the right function gives on a task's cases, and what each known mistake would give."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np

from minicnn.learn.diagnosis.agreement import agree
from minicnn.learn.exercises import source
from minicnn.learn.exercises.cases import cases, results
from minicnn.learn.exercises.catalogue import TASKS
from minicnn.learn.mistakes import Mistake, of_task
from minicnn.plain import Array

Outcome: TypeAlias = dict[str, Array] | str  # of a case: arrays by name, or the name of an error's class
Outcomes: TypeAlias = Sequence[Outcome]


def right(task: str, seed: int) -> list[dict[str, Array]]:
    """What the framework's function gives: for each case of the seed a dict of arrays."""
    called = function(task, ())
    with np.errstate(all="ignore"):
        return [results(task, called, arguments) for _, arguments in cases(task, seed)]


def outcomes(task: str, seed: int, *mistakes: Mistake) -> Outcomes:
    """For each case of the seed what a function with these mistakes gives: a dict of arrays, or an error's class name.

    Raises ValueError where two mistakes do not go together, since they change one piece of the text.
    """
    called = function(task, mistakes)
    found: list[Outcome] = []
    with np.errstate(all="ignore"):
        for _, arguments in cases(task, seed):
            try:
                found.append(results(task, called, arguments))
            except Exception as error:
                found.append(type(error).__name__)
    return found


def named(task: str, given: Mapping[int, Outcomes]) -> tuple[Mistake, ...]:
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


def alike(expected: Outcomes, given: Outcomes) -> bool:
    """Whether two lists of outcomes are the same, errors included."""
    return len(expected) == len(given) and all(map(_one_alike, expected, given))


def _one_alike(expected: Outcome, given: Outcome) -> bool:
    if isinstance(expected, str) or isinstance(given, str):
        return expected == given
    return expected.keys() == given.keys() and all(agree(array, given[name]) for name, array in expected.items())


def function(task: str, mistakes: Iterable[Mistake]) -> Callable[..., Any]:
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
def _given(exercise_name: str) -> dict[str, Any]:
    """The namespace of an exercise's solution."""
    exercise = next(exercise for exercise, _ in TASKS.values() if exercise.name == exercise_name)
    namespace: dict[str, Any] = {}
    exec(compile(exercise.solution(), f"<{exercise.file}>", "exec"), namespace)
    return namespace
