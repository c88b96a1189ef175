"""The process that runs a learner's code: `python -m minicnn.learn.grader.child TASK FOLDER SEED …`.

It judges nothing. It calls the learner's function on the cases of each seed and writes what came out, as
numbers, into FOLDER; whatever the function prints, breaks or ends, the grader only reads these files afterwards.

    learner.py           the learner's file, a copy
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
from types import CodeType, FrameType
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import minicnn
from minicnn.learn.exercises.cases import cases, results
from minicnn.learn.exercises.catalogue import TASKS
from minicnn.learn.grader.running import LONGEST_LINE
from minicnn.plain import Array

MEMORY, FILE_SIZE = 4 << 30, 64 << 20  # bytes: the most that a learner's code may take, and may write into one file
PACKAGE = str(Path(minicnn.__file__).parent)


def main(arguments: list[str]) -> None:
    """Run a task and write its results."""
    task, folder, seeds = arguments[0], Path(arguments[1]), [int(seed) for seed in arguments[2:]]
    _limit_resources()
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
    namespace = {"__name__": "learner", "__file__": str(file)}
    try:
        exec(compile(file.read_text("utf-8"), str(file), "exec"), namespace)
    except BaseException as error:
        return {}, {"error": _described(error, file)}
    function = namespace.get(task)
    if not callable(function):
        return {}, {"error": f"the file has no function {task}; was it renamed? `minicnn learn stub {task}` shows it"}
    tracer = _Tracer(file, task, function)
    arrays, outcomes, out_of_memory = {}, [], None
    for seed, position, label, args in todo:
        now.write_text(f"the case “{label}”", "utf-8")
        outcome = {"seed": seed, "position": position, "error": None, "kind": None, "changed": []}
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
    """Calls a function and notes whose code runs meanwhile: the learner's, or the framework's of the same name."""

    def __init__(self, file: Path, task: str, function: Callable[..., Any]) -> None:
        self.file, self.task = str(file), task
        self.function = function
        self.compiled = hasattr(function, "py_func")  # by Numba, so that its calls need not be seen as Python's
        in_python = getattr(function, "py_func", function)
        self.code: CodeType | None = getattr(inspect.unwrap(in_python), "__code__", None)
        self.calls, self.watched = 0, True
        self.ours: str | None = None

    def called(self, *args: Any) -> Any:
        self.calls += self.compiled and self._is_inside()
        threading.setprofile(self._note)  # in threads that are started meanwhile
        sys.setprofile(self._note)
        try:
            return self.function(*args)
        finally:
            self.watched = self.watched and sys.getprofile() == self._note
            sys.setprofile(None)
            threading.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code.co_filename == self.file:
            self.calls += code is self.code and not self.compiled
        elif code.co_filename.startswith(PACKAGE) and self._is_the_answer(frame):
            self.ours = self.ours or f"{code.co_name} in {Path(code.co_filename).relative_to(PACKAGE)}"

    def _is_the_answer(self, frame: FrameType) -> bool:
        """Whether a frame of the framework is the function of the task."""
        function, name = TASKS[self.task][1].function, frame.f_code.co_name
        owner, _, method = function.rpartition(".")
        if not owner:
            return name == function
        classes = [parent.__name__ for parent in type(frame.f_locals.get("self")).__mro__]
        return name == method and owner in classes

    def _is_inside(self) -> bool:
        return self._first_line() is not None

    def _first_line(self) -> int | None:
        """Where the function begins in the learner's file; None where it stands elsewhere."""
        if self.code is None or self.code.co_filename != self.file:
            return None
        return self.code.co_firstlineno

    def report(self) -> dict[str, Any]:
        ours = self.ours or self._compiled_answer()
        return {"calls": self.calls, "first_line": self._first_line(), "ours": ours, "watched": self.watched}

    def _compiled_answer(self) -> str | None:
        """The framework's function, where Numba compiled it for a call: such calls are not seen as Python's."""
        definition = TASKS[self.task][1]
        answer = getattr(import_module(definition.module), definition.function, None)
        return definition.function if getattr(answer, "overloads", None) else None


def _described(error: BaseException, file: Path) -> str:
    """An error as its learner should read it: the lines of their own file, and what went wrong."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f"line {error.lineno}: {(error.text or '').strip()[:LONGEST_LINE]}\n{type(error).__name__}: {error.msg}"
    lines = []
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == str(file):
            text = linecache.getline(str(file), frame.lineno or 0).strip()[:LONGEST_LINE]
            lines.append(f"line {frame.lineno}, in {frame.name}: {text}")
    shown = lines if len(lines) <= 6 else [*lines[:3], f"… {len(lines) - 6} more …", *lines[-3:]]
    message = f"{type(error).__name__}: {error}".rstrip(": ")
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
