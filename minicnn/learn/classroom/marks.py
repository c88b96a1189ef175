"""The marks of many submissions, a folder each; `python -m minicnn.learn.classroom.marks FOLDER SECONDS TASK …`.

Each submission is graded by a process of its own, which in turn runs each task in one (`grader.running`). So whatever a
submission does to its grader, the others get their marks; and so do its own other tasks, since a grader that was ended
is started again for each of them alone.
"""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import minicnn
from minicnn.learn.exercises import TASKS
from minicnn.learn.grader import Verdict, check
from minicnn.learn.grader.running import SECONDS, end, environment

GRACE = 60  # seconds that a grader may take beyond what its tasks may


def marks(folders: Iterable[str | Path], tasks: Sequence[str], seconds: float = SECONDS) -> Iterator[dict[str, Any]]:
    """Grade the tasks in each folder, several at a time. Yields a dict for each folder, in order:

    {"submission": the folder as it was given, "passed": how many tasks, "of": how many there are,
    "verdicts": a list of dicts, as `Verdict.as_dict` gives them}
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for folder, verdicts in zip(
            folders, pool.map(lambda folder: _graded(folder, tasks, seconds), folders), strict=True
        ):
            passed = sum(verdict["status"] == "passed" for verdict in verdicts)
            yield {"submission": str(folder), "passed": passed, "of": len(tasks), "verdicts": verdicts}


def as_csv(found: Iterable[dict[str, Any]]) -> str:
    """Marks as a table for spreadsheets, a string: a line for each submission, 1 for a task that is right and 0."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    for position, mark in enumerate(found):
        if position == 0:
            table.writerow(["submission", "passed", *(verdict["task"] for verdict in mark["verdicts"])])
        table.writerow([mark["submission"], mark["passed"], *(int(v["status"] == "passed") for v in mark["verdicts"])])
    return text.getvalue()


def _graded(folder: str | Path, tasks: Sequence[str], seconds: float) -> list[dict[str, Any]]:
    """The verdicts on the tasks, a list of dicts, whatever the code does."""
    verdicts = _by_a_process(folder, tasks, seconds)
    if verdicts is not None:
        return verdicts
    if len(tasks) > 1:
        return [verdict for task in tasks for verdict in _graded(folder, [task], seconds)]
    exercise, _ = TASKS[tasks[0]]
    details = ("The process that graded it was ended, or held up, by the code that was handed in.",)
    return [Verdict(tasks[0], exercise.name, "broken", "its code stopped the grader", details).as_dict()]


def _by_a_process(folder: str | Path, tasks: Sequence[str], seconds: float) -> list[dict[str, Any]] | None:
    """The verdicts that a process of its own gives; None where it did not come to its end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "minicnn.learn.classroom.marks", str(Path(folder).resolve()), str(seconds), *tasks],
        cwd=Path(minicnn.__file__).parent.parent,  # Python imports what lies where it starts: no file of a submission
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with process:
        try:
            written, _ = process.communicate(timeout=seconds * len(tasks) + GRACE)
            verdicts = json.loads(written)
            return verdicts if [verdict["task"] for verdict in verdicts] == list(tasks) else None
        except (subprocess.TimeoutExpired, ValueError, TypeError, KeyError, RecursionError):
            return None
        finally:
            end(process)


def _grade(arguments: list[str]) -> None:
    """Print the verdicts on one submission as JSON."""
    folder, seconds, *tasks = arguments
    verdicts = [check(Path(folder) / TASKS[task][0].file, task, float(seconds)).as_dict() for task in tasks]
    print(json.dumps(verdicts))


if __name__ == "__main__":
    _grade(sys.argv[1:])
