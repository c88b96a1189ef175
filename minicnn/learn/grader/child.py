"""The process that runs a learner's code: `python -m minicnn.learn.grader.child TASK FOLDER BESIDE SEED …`.

It judges nothing. It calls the learner's function on the cases of each seed and writes what came out, as
numbers, into FOLDER; whatever the function prints, breaks or ends, the grader only reads these files afterwards.

    learner.py           the learner's file, a copy; modules beside the original, in BESIDE, can be imported
    now                  what it is doing, in case it never ends
    results.safetensors  arrays "seed/case/name", and as metadata a report, see `_run`
"""

import contextlib
import inspect
import json
import linecache
import os
import sys
import threading
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import minicnn
from minicnn.learn.exercises.cases import Unusable, cases, results
from minicnn.learn.exercises.catalogue import TASKS
from minicnn.learn.grader.running import LONGEST_LINE
from minicnn.plain import Array

MEMORY, FILE_SIZE = 4 << 30, 64 << 20  # bytes: the most that a learner's code may take, and may write into one file
PACKAGE = str(Path(minicnn.__file__).parent)


def main(arguments: list[str]) -> None:
    """Run a task and write its results."""
    task, folder, beside, seeds = arguments[0], Path(arguments[1]), arguments[2], [int(seed) for seed in arguments[3:]]
    _limit_resources()
    sys.path.append(beside)  # at its end: modules of the learner's, and none in place of Python's
    np.seterr(all="ignore")  # what becomes infinite is seen in the results
    arrays, report = _run(folder / "learner.py", task, folder, seeds)
    save_file(arrays, folder / "results.part", {"report": json.dumps(report)})
    os.replace(folder / "results.part", folder / "results.safetensors")
    with contextlib.suppress(Exception):  # the learner may have closed it
        sys.stdout.flush()
    os._exit(0)  # not waiting for threads that the learner started


def _run(file: Path, task: str, folder: Path, seeds: list[int]) -> tuple[dict[str, Array], dict[str, Any]]:
    """(arrays, report), the report a dict: "error" where the file could not be used, else "cases" and "calls"."""
    todo = [(seed, position, *case) for seed in seeds for position, case in enumerate(cases(task, seed))]
    now = folder / "now"
    now.write_text("reading the file", "utf-8")
    process = os.getpid()
    learner = ModuleType("learner")
    learner.__file__ = str(file)
    namespace = vars(learner)
    sys.modules["learner"] = learner  # where dataclasses and pickle look for what the file defines
    try:
        exec(compile(file.read_text("utf-8"), str(file), "exec", dont_inherit=True), namespace)
    except BaseException as error:
        return {}, {"error": _described(error, file)}
    function = namespace.get(task)
    if not callable(function):
        return {}, {"error": f"the file has no function {task}; was it renamed? `minicnn learn stub {task}` shows it"}
    tracer = _Tracer(file, task, function)
    arrays: dict[str, Array] = {}
    outcomes: list[dict[str, Any]] = []
    out_of_memory: dict[str, str] | None = None
    for seed, position, label, args in todo:
        now.write_text(f"the case “{label}”", "utf-8")
        outcome: dict[str, Any] = {"seed": seed, "position": position, "error": None, "kind": None, "changed": []}
        if out_of_memory:  # once is enough: each time takes long
            outcomes.append(outcome | out_of_memory)
            continue
        before = [np.copy(argument) if isinstance(argument, np.ndarray) else None for argument in args]
        try:
            found = results(task, tracer.called, args)
        except BaseException as error:
            failure = {"error": _described(error, file), "kind": type(error).__name__}
            out_of_memory = failure if isinstance(error, MemoryError) else None
            outcome |= failure
        else:
            arrays |= {f"{seed}/{position}/{name}": array for name, array in found.items()}
        if os.getpid() != process:  # a copy of this process, made by os.fork, has nothing to report
            os._exit(0)
        outcome["changed"] = [
            index
            for index, (old, new) in enumerate(zip(before, args, strict=True))
            if old is not None and not (old.shape == new.shape and np.array_equal(old, new, equal_nan=True))
        ]
        outcomes.append(outcome)
    return arrays, {"cases": outcomes, "calls": tracer.report()}


class _Tracer:
    """Calls what the learner's file has under the task's name, a function or anything else that can be called, and
    notes whether the framework's function of the same name runs meanwhile."""

    def __init__(self, file: Path, task: str, function: Callable[..., Any]) -> None:
        self.file, self.task = str(file), task
        self.function = function
        self.calls, self.watched = 0, True
        self.ours: str | None = None

    def called(self, *args: Any) -> Any:
        self.calls += 1
        threading.setprofile(self._note)  # in threads that are started meanwhile
        sys.setprofile(self._note)
        try:
            return self.function(*args)
        finally:
            self.watched = self.watched and sys.getprofile() == self._note
            sys.setprofile(None)
            threading.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE) and self._is_the_answer(frame):
            self.ours = self.ours or f"{code.co_name} in {Path(code.co_filename).relative_to(PACKAGE)}"

    def _is_the_answer(self, frame: FrameType) -> bool:
        """Whether a frame of the framework is the function of the task."""
        function, name = TASKS[self.task][1].function, frame.f_code.co_name
        owner, _, method = function.rpartition(".")
        if not owner:
            return name == function
        classes = [parent.__name__ for parent in type(frame.f_locals.get("self")).__mro__]
        return name == method and owner in classes

    def _first_line(self) -> int | None:
        """Where the function begins in the learner's file; None for what is no function of that file."""
        inside = getattr(self.function, "py_func", self.function)  # of what Numba compiled
        code = getattr(inspect.unwrap(inside), "__code__", None)
        return code.co_firstlineno if code is not None and code.co_filename == self.file else None

    def report(self) -> dict[str, Any]:
        ours = self.ours or self._compiled_answer()
        return {"calls": self.calls, "first_line": self._first_line(), "ours": ours, "watched": self.watched}

    def _compiled_answer(self) -> str | None:
        """The framework's function, where Numba compiled it for a call, or where it is what was called: such calls are
        not seen as Python's."""
        definition = TASKS[self.task][1]
        answer = getattr(import_module(definition.module), definition.function, None)
        code = getattr(getattr(self.function, "py_func", None), "__code__", None)
        is_ours = code is not None and code.co_filename.startswith(PACKAGE)
        return definition.function if is_ours or getattr(answer, "overloads", None) else None


def _described(error: BaseException, file: Path) -> str:
    """An error as its learner should read it: the lines of their own file, and what went wrong."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f"line {error.lineno}: {(error.text or '').strip()[:LONGEST_LINE]}\n{type(error).__name__}: {error.msg}"
    lines = []
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename).parent in (file.parent, Path(sys.path[-1])):
            text = linecache.getline(frame.filename, frame.lineno or 0).strip()[:LONGEST_LINE]
            of = "" if frame.filename == str(file) else f" of {Path(frame.filename).name}"
            lines.append(f"line {frame.lineno}{of}, in {frame.name}: {text}")
    shown = lines if len(lines) <= 6 else [*lines[:3], f"… {len(lines) - 6} more …", *lines[-3:]]
    message = str(error) if isinstance(error, Unusable) else f"{type(error).__name__}: {error}".rstrip(": ")
    return "\n".join([*shown, message[:2000]])


def _limit_resources() -> None:
    try:
        import resource
    except ImportError:  # Windows: there the time limit alone holds
        return
    for limit, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, FILE_SIZE), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(limit)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))  # both, so that it cannot be taken back


if __name__ == "__main__":
    main(sys.argv[1:])
