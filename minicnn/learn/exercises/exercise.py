"""What an exercise and a task are. The list of them is in `catalogue.py`.

An exercise is one file for the learner. Some functions are given complete, as worked examples to build on; the
others are tasks, first with a blank or two in them, later blank but for the first line. The text of the functions is
the framework's (`source`); here are only the instructions.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from minicnn.learn.exercises import source


@dataclass(frozen=True)
class Task:
    """One function to write.

    Attributes:
        module, function: where it is in the framework; "Sequential.backward" for a method.
        docstring: of the function as the learner gets it: meaning, formula in words, shapes.
        outputs: the names of what it returns.
        changes: the names of the arguments that it changes in place.
        from_blank: whether the learner writes all of it, and not only the lines that its markers name.
        helpers: functions of the same module that the framework's version calls and the learner's need not.
    """

    module: str
    function: str
    docstring: str
    outputs: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    from_blank: bool = False
    helpers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the function is called in the learner's file."""
        return name_of(self.function).lstrip("_")

    def solution(self) -> str:
        """The text of the function as the framework has it."""
        text = _renamed(source.solution(self.module, self.function, self.docstring), self.function, self.name)
        return "\n\n".join([text, *(source.solution(self.module, helper) for helper in self.helpers)])

    def arguments(self) -> list[str]:
        """The names of the function's arguments."""
        return list(_arguments(self))

    def stub(self) -> str:
        """The text of the function as the learner gets it."""
        with_blanks = source.blank if self.from_blank else source.completion
        return _renamed(with_blanks(self.module, self.function, self.docstring), self.function, self.name)


@lru_cache(maxsize=256)
def _arguments(task: Task) -> tuple[str, ...]:
    return tuple(argument.arg for argument in source.function_in(task.solution()).args.args)


@dataclass(frozen=True)
class Exercise:
    """One file of tasks.

    Attributes:
        number, name, title: of the file and in listings; `lesson` is the lesson that goes with it.
        introduction: the text at the top of the file.
        tasks: the functions to write.
        given: (module, function) of the functions that are given complete.
        header: the first lines of its code, imports and constants.
    """

    number: int
    name: str
    title: str
    lesson: str
    introduction: str
    tasks: tuple[Task, ...]
    given: tuple[tuple[str, str], ...] = ()
    header: str = "import numpy as np"

    @property
    def file(self) -> str:
        """Its file's name in the learner's folder."""
        return f"{self.number:02}_{self.name}.py"

    def stub(self) -> str:
        """The whole file as the learner gets it."""
        return self._text(Task.stub)

    def solution(self) -> str:
        """The whole file with every task solved."""
        return self._text(Task.solution)

    def _text(self, of_task: Callable[[Task], str]) -> str:
        many = f"{len(self.tasks)} tasks" if len(self.tasks) > 1 else "one task"
        introduction = self.introduction.strip("\n")
        head = (
            f'"""Exercise {self.number}: {self.title}, {many}.\n\n{introduction}\n\n'
            f'Read first: lessons/{self.lesson}.py\nThen check:  minicnn learn check {self.name}\n"""\n'
        )
        parts = [head + "\n" + self.header + "\n"]
        parts += [
            _renamed(source.solution(module, function), function, name_of(function)) for module, function in self.given
        ]
        parts += [of_task(task) for task in self.tasks]
        return "\n\n".join(parts)


def name_of(function: str) -> str:
    """What a function of the framework is called in a learner's file, where methods are functions.

    >>> name_of("relu_backward"), name_of("CrossEntropyLoss.backward")
    ('relu_backward', 'cross_entropy_loss_backward')
    """
    owner, _, name = function.rpartition(".")
    words = re.findall("[A-Z][a-z]*", owner)
    return "_".join([*(word.lower() for word in words), name])


def _renamed(text: str, function: str, name: str) -> str:
    return text.replace(f"def {function.rpartition('.')[2]}(", f"def {name}(", 1)
