"""The grader: is it right, and if not, what helps?

Right means: the numbers of the framework's own function, in float64, on small cases and random ones, by code in
the learner's file. Everything is compared here, in the grader's process; the learner's only computes.
"""

import ast
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.learn.diagnosis import Evidence, Observed, explained
from minicnn.learn.diagnosis.agreement import agree, differing
from minicnn.learn.exercises import source
from minicnn.learn.exercises.cases import Unusable, by_name, cases
from minicnn.learn.exercises.catalogue import TASKS
from minicnn.learn.grader import answers
from minicnn.learn.grader.differences import around, digits_that_differ, worst_index
from minicnn.learn.grader.running import LONGEST_LINE, SECONDS, TEXT, Execution, Key, run

PASSED, BLANK, WRONG, BROKEN = "passed", "blank", "wrong", "broken"
SMALL = 24  # numbers in an argument, up to which it is shown
LARGEST_FILE = 1 << 20  # bytes


@dataclass(frozen=True)
class Verdict:
    """What the grader says of one task.

    Attributes:
        task, exercise: their names.
        status: "passed"; "blank", not written yet; "wrong", other numbers; "broken", it gave no numbers.
        headline: the verdict in a sentence.
        details: paragraphs for the learner, in their order.
        mistakes: the names of the known mistakes whose numbers these are.
        printed: what the learner's code printed.
        seconds: how long it ran.
    """

    task: str
    exercise: str
    status: str
    headline: str
    details: tuple[str, ...] = ()
    mistakes: tuple[str, ...] = ()
    printed: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return self.status == PASSED

    def as_dict(self) -> dict[str, Any]:
        """The verdict as JSON can hold it."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n\n".join([f"{self.task}: {self.headline}", *self.details])


def check(file: str | Path, task: str, seconds: float = SECONDS) -> Verdict:
    """Grade the function of a task in a learner's file. Returns a `Verdict`, whatever the file holds.

    The code runs in a process of its own, for at most `seconds`.

    Raises KeyError for an unknown task.
    """
    exercise, _ = TASKS[task]

    def verdict(status: str, headline: str, *details: str) -> Verdict:
        return Verdict(task, exercise.name, status, headline, details)

    text = _text(Path(file))
    if isinstance(text, tuple):
        return verdict(*text)
    before = _without_running(text, task)
    if before is not None:
        return verdict(*before)
    return verdict_on(task, run(text, task, Path(file).resolve().parent, seconds))


def verdict_on(task: str, ran: Execution) -> Verdict:
    """The verdict on the results of running a task's function."""
    judged = _judged(task, ran)
    return Verdict(
        task,
        TASKS[task][0].name,
        judged["status"],
        judged["headline"],
        tuple(judged["details"]),
        tuple(judged.get("mistakes", ())),
        ran.printed,
        round(ran.seconds, 3),
    )


def _text(file: Path) -> str | tuple[str, str]:
    """The text of a learner's file, or (status, headline) where it cannot be read."""
    try:
        if file.exists() and not file.is_file():  # to read from a pipe or a device may never end
            return BROKEN, f"{file} cannot be read as text: it is no file"
        if file.exists() and file.stat().st_size > LARGEST_FILE:
            return BROKEN, f"{file} is larger than {LARGEST_FILE} bytes; is it the right file?"
        return file.read_text(TEXT)
    except FileNotFoundError:
        return BROKEN, f"there is no file {file}; `minicnn learn start` writes those that are missing"
    except UnicodeDecodeError as error:
        return BROKEN, f"{file} cannot be read as text: {error}; save it with the encoding UTF-8"
    except OSError as error:
        return BROKEN, f"{file} cannot be read as text: {error}"


def _without_running(text: str, task: str) -> tuple[str, ...] | None:
    """(status, headline, details …) where the text alone decides, or None."""
    try:
        tree = source.parsed(text)
    except (RecursionError, MemoryError):
        return BROKEN, "Python cannot read the file", "Some expression in it is nested too deeply."
    except (SyntaxError, ValueError) as error:
        line, text_of_line = getattr(error, "lineno", None), getattr(error, "text", None) or ""
        where = f"line {line}: {text_of_line.strip()[:LONGEST_LINE]}" if line else str(error)
        return BROKEN, "Python cannot read the file", f"{where}\n{type(error).__name__}: {getattr(error, 'msg', error)}"
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == task]
    if functions:
        lines = source.blanks_left(functions[-1])
        if lines:
            where = f"line {lines[0]}" if len(lines) == 1 else f"lines {', '.join(map(str, lines))}"
            return BLANK, f"not written yet: `...` in {where}"
    return None


def _judged(task: str, ran: Execution) -> dict[str, Any]:
    """A dict of status, headline, details and mistakes for the results of running."""
    if ran.broken is not None:
        return _broken("it gave no result", ran.broken)
    kinds = {case["kind"] for case in ran.cases.values()}
    if len(kinds) == 1 and all(case["error"] for case in ran.cases.values()):
        headline = "what it returns cannot be used" if kinds == {Unusable.__name__} else "it stopped with an error"
        return _broken(headline, _shown(task, ran, (ran.seeds[0], 0), None))
    if ran.calls["ours"]:
        return _broken(
            "it was not your code that did the work",
            f"The framework's own {ran.calls['ours']} was called from your function. Write out what it does.",
        )
    if not ran.calls["watched"]:
        return _broken(
            "it was not seen whose code ran",
            "Your code replaced the function of sys.setprofile, by which the grader sees what runs. Leave it alone.",
        )
    wrong = _first_wrong(task, ran)
    if wrong is None:
        changed = _changed_argument(task, ran)
        return changed or {"status": PASSED, "headline": "right", "details": (_whose_code(task, ran),)}
    together = answers.named(task, ran.outcomes())
    if together:
        details = [
            *(mistake.message for mistake in together),
            _shown(task, ran, *wrong),
            *(f"Ask yourself: {m.hint}" for m in together),
        ]
        headline = " and ".join(mistake.name for mistake in together)
        return {
            "status": WRONG,
            "headline": f"not right yet: {headline}",
            "details": tuple(details),
            "mistakes": tuple(mistake.name for mistake in together),
        }
    error = ran.cases[wrong[0]]["error"]
    with np.errstate(all="ignore"):
        said = explained(evidence_of(task, ran))
    return {
        "status": BROKEN if error else WRONG,
        "headline": "not right yet",
        "details": (*said, _shown(task, ran, *wrong)),
    }


def _broken(headline: str, *details: str) -> dict[str, Any]:
    return {"status": BROKEN, "headline": headline, "details": details}


def _first_wrong(task: str, ran: Execution) -> tuple[Key, str | None] | None:
    """((seed, position), name or None) of the first case that is not right, its first wrong output; None if all are."""
    for seed in ran.seeds:
        for position, expected in enumerate(answers.right(task, seed)):
            key = seed, position
            if ran.cases[key]["error"]:
                return key, None
            for name, array in expected.items():
                got = ran.arrays.get((seed, position, name))
                if got is None or not agree(array, got):
                    return key, name
    return None


def _shown(task: str, ran: Execution, key: Key, name: str | None) -> str:
    """The paragraph about the first wrong case."""
    seed, position = key
    label, arguments = cases(task, seed)[position]
    lines = [f"The case “{label}”:"]
    if name is None:
        return "\n".join([*lines, *_assignments(task, arguments), ran.cases[key]["error"]])
    lines += _assignments(task, arguments)
    expected, got = answers.right(task, seed)[position][name], ran.arrays.get((seed, position, name))
    if got is None:
        return "\n".join([*lines, f"there is no {name}."])
    if expected.shape == got.shape:
        index = worst_index(expected, got)
        wrong = int(differing(expected, got).sum())
        digits = digits_that_differ(expected[index], got[index], 6)
        where = f"{name}{list(index)}" if index else name
        many = f"{wrong} of {got.size} numbers of {name} are wrong; the worst is {where}"
        head = many if got.size > 1 else f"{name} is wrong"
        lines.append(f"{head}: expected {expected[index]:.{digits}g}, got {got[index]:.{digits}g}")
        if got.size > 1:
            lines += ["    " + line for line in around(expected, got, index).splitlines()]
    return "\n".join(lines)


def evidence_of(task: str, ran: Execution) -> Evidence:
    """All cases that were run, with what is right and what came out."""
    observed = []
    for seed in ran.seeds:
        expected = answers.right(task, seed)
        for position, (label, arguments) in enumerate(cases(task, seed)):
            failed = ran.cases[seed, position]["error"]
            got = {name: array for (*key, name), array in ran.arrays.items() if key == [seed, position]}
            observed.append(Observed(label, arguments, expected[position], None if failed else got))
    return Evidence(task, observed)


def _changed_argument(task: str, ran: Execution) -> dict[str, Any] | None:
    """A verdict where the function wrote into an argument that is not its own to change."""
    definition = TASKS[task][1]
    names = definition.arguments()
    for case in ran.cases.values():
        for index in case["changed"]:
            if names[index] not in definition.changes:
                return {
                    "status": WRONG,
                    "headline": f"the numbers are right, but it changed its argument {names[index]}",
                    "details": (
                        f"Whoever called it may need {names[index]} again: a layer's input is the output of the layer "
                        "before. Operators like += and slices on the left of = write into an array; work on a new one.",
                    ),
                }
    return None


def _whose_code(task: str, ran: Execution) -> str:
    """The sentence that shows that it was the learner's code."""
    calls, line, many = ran.calls["calls"], ran.calls["first_line"], len(ran.cases)
    where = f" (line {line} of your file)" if line else ""
    return f"Right in all {many} cases: your {task}{where} was called {calls} times for them."


def _assignments(task: str, arguments: tuple[Any, ...]) -> list[str]:
    """The lines that say what the function was called with: small numbers and arrays in full, of others the shape."""
    named = by_name(task, arguments)
    lines = [_assigned(name, value) for name, value in named.items() if _is_small(value)]
    shapes = [
        f"{name} {value.shape}"
        for name, value in named.items()
        if isinstance(value, np.ndarray) and not _is_small(value)
    ]
    return lines + ([f"    too large to show: {', '.join(shapes)}"] if shapes else [])


def _is_small(value: Any) -> bool:
    return value.size <= SMALL if isinstance(value, np.ndarray) else isinstance(value, (int, float, tuple))


def _assigned(name: str, value: Any) -> str:
    """The line `name = value`, of a matrix several lines under each other."""
    start = f"    {name} = "
    if not isinstance(value, np.ndarray):
        return start + str(value)
    return start + np.array2string(value, separator=", ", precision=4, prefix=start)
