"""What is known of a wrong answer: every case, with what is right and what came out."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from minicnn.learn.diagnosis.agreement import agree
from minicnn.learn.exercises.arguments.case import Arguments
from minicnn.learn.exercises.cases import by_name, results
from minicnn.plain import Array


@dataclass(frozen=True, eq=False)
class Observed:
    """One case.

    Attributes:
        label, arguments: what the function was called with; the arrays are never given to a function, only copies.
        expected: what is right, by name.
        got: what came out, by name; None where an error did.
    """

    label: str
    arguments: Arguments
    expected: Mapping[str, Array]
    got: Mapping[str, Array] | None

    def is_right(self, name: str) -> bool:
        """Whether the result called `name` is right."""
        return self.got is not None and name in self.got and agree(self.expected[name], self.got[name])

    @property
    def size(self) -> int:
        """How many numbers the arguments have together."""
        return sum(argument.size for argument in self.arguments if isinstance(argument, np.ndarray))


@dataclass(frozen=True, eq=False)
class Evidence:
    """All cases of a task, and the names of its results."""

    task: str
    cases: Sequence[Observed]

    @cached_property
    def wrong_names(self) -> list[str]:
        """The names of results that are wrong in some case, in their order."""
        names = dict.fromkeys(name for case in self.cases for name in case.expected)
        return [name for name in names if any(not case.is_right(name) for case in self.cases)]

    def wrong(self, name: str) -> list[Observed]:
        """The cases in which a result is wrong."""
        return [case for case in self.cases if name in case.expected and not case.is_right(name)]

    def named(self, case: Observed) -> dict[str, Any]:
        """The arguments of a case by name."""
        return self._named[id(case)]

    @cached_property
    def _named(self) -> dict[int, dict[str, Any]]:
        return {id(case): by_name(self.task, case.arguments) for case in self.cases}

    def of(self, function: Callable[..., Any], arguments: Arguments) -> dict[str, Array] | None:
        """What a function gives for copies of these arguments, by name; None where it ends with an error."""
        try:
            with np.errstate(all="ignore"):
                return results(self.task, function, copied(arguments))
        except Exception:  # a function that was changed blindly may do anything wrong
            return None


def copied(arguments: Arguments) -> Arguments:
    """Arguments that a function may change."""
    return tuple(
        argument.copy() if isinstance(argument, np.ndarray) else copy.deepcopy(argument) for argument in arguments
    )
