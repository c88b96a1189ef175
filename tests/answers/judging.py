"""The grader's verdict on an answer, without a process of its own: the same code, in a fraction of the time."""

import sys
from pathlib import Path

import numpy as np

from minicnn.learn.exercises import TASKS
from minicnn.learn.exercises.cases import SEEDS
from minicnn.learn.grader import child, grading
from minicnn.learn.grader.running import Execution


def with_answer(task: str, code: str) -> str:
    """The text of an exercise's file in which all is solved, one task by `code`."""
    exercise, asked = TASKS[task]
    solution, text = asked.solution(), exercise.solution()
    assert text.count(solution) == 1
    return text.replace(solution, code)


def run(task: str, code: str, folder: Path) -> Execution:
    """The results of `code` as the answer to a task, run in this process on the cases of three seeds."""
    file = folder / "learner.py"
    file.write_text(with_answer(task, code), "utf-8")
    seeds = (*SEEDS, 3)
    with np.errstate(all="ignore"):
        try:
            arrays, report = child._run(file, task, folder, list(seeds))
        finally:
            sys.modules.pop("learner", None)
    if "error" in report:
        return Execution(seeds, report["error"])
    found = {}
    for key, array in arrays.items():
        seed, position, name = key.split("/")
        found[int(seed), int(position), name] = array
    cases = {(case["seed"], case["position"]): case for case in report["cases"]}
    return Execution(seeds, None, found, cases, report["calls"])


def is_accepted(task: str, ran: Execution) -> bool:
    """Whether an answer is right, without asking what is wrong with it."""
    wrong = ran.broken is not None or grading._first_wrong(task, ran) or grading._changed_argument(task, ran)
    return not wrong and not ran.calls["ours"]


def judged(task: str, code: str, folder: Path) -> grading.Verdict:
    """The verdict on `code` as the answer to a task."""
    return grading.verdict_on(task, run(task, code, folder))
