"""A learner's function in a process of its own, with limits of time and memory, and its results.

The process gets a copy of the file, in a folder that is thrown away, and leaves its results there. None of
these files is trusted: each may be a pipe, a link, or nonsense.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

import minicnn
from minicnn.checks import shortened
from minicnn.io.safetensors import read_safetensors
from minicnn.learn.exercises.cases import SEEDS, cases
from minicnn.plain import Array

SECONDS = 30
TEXT = "utf-8-sig"  # what learners' files are written in; editors on Windows begin UTF-8 with a mark
LONGEST_LINE = 200  # characters of a line of theirs that are shown
PRINTED = 4000  # characters of what the learner's code prints that are handed on
LARGEST_RESULTS = 64 << 20  # bytes
MARK = "MINICNN_LEARN_RUN"  # the variable by which a process is known to come from a run


Key: TypeAlias = tuple[int, int]  # (seed, position) of a case


@dataclass(frozen=True)
class Execution:
    """The results of running a learner's function, or why there are none.

    Attributes:
        seeds: of the cases, in order.
        broken: None, or why there are no results, for the learner to read.
        arrays: dict from (seed, position, name) to an array.
        cases: dict from (seed, position) to {"error", "kind", "changed"}: the error for the learner to read, its class,
            and the positions of the arguments that were changed.
        calls: whose code ran: {"calls", "first_line", "ours", "watched"}, how often the learner's was called, where it
            begins, the framework's function if that ran as well, and whether it was seen to the end.
        printed: what the learner's code printed.
        seconds: how long it took, the start of Python included.
    """

    seeds: tuple[int, ...]
    broken: str | None
    arrays: dict[tuple[int, int, str], Array] = field(default_factory=dict)
    cases: dict[Key, dict[str, Any]] = field(default_factory=dict)
    calls: dict[str, Any] = field(default_factory=dict)
    printed: str = ""
    seconds: float = 0.0

    def outcomes(self) -> dict[int, list[dict[str, Array] | str]]:
        """For each seed the list of its cases: a dict of arrays, or the name of an error's class."""
        found: dict[int, list[dict[str, Array] | str]] = {seed: [] for seed in self.seeds}
        for (seed, position), case in sorted(self.cases.items()):
            arrays = {name: array for (*key, name), array in self.arrays.items() if key == [seed, position]}
            found[seed].append(case["kind"] if case["error"] else arrays)
        return found


def run(text: str, task: str, beside: Path, seconds: float = SECONDS) -> Execution:
    """Run the function of a task in a learner's file, given as text. Returns a `Execution`; whatever the code does.

    Modules in the folder `beside` can be imported, as they can where the file lies there. The cases are those of two
    seeds that are always the same, and of a random one.
    """
    seeds = (*SEEDS, secrets.randbelow(1 << 30))
    started = time.perf_counter()
    folder = Path(tempfile.mkdtemp(prefix="minicnn-learn-"))
    try:
        (folder / "learner.py").write_text(text, "utf-8")
        ended, printed = _process(task, folder, beside, seeds, seconds)
        took = time.perf_counter() - started
        try:
            arrays, report = _results(folder / "results.safetensors", task, seeds)
        except Exception:  # the files may be anything, and wrong in any way
            arrays, report = {}, {"error": _why(ended, _doing(folder / "now"), printed, seconds)}
    finally:
        with contextlib.suppress(OSError, RecursionError):  # of folders in folders without end
            shutil.rmtree(folder)
    if "error" in report:
        return Execution(seeds, report["error"], printed=printed, seconds=took)
    return Execution(seeds, None, arrays, report["cases"], report["calls"], printed, took)


def _process(task: str, folder: Path, beside: Path, seeds: tuple[int, ...], seconds: float) -> tuple[int | None, str]:
    """(exit status, what was printed) of the learner's process; the status is None where it had to be ended."""
    command = [sys.executable, "-m", "minicnn.learn.grader.child", task, str(folder), str(beside), *map(str, seeds)]
    with open(folder / "printed", "w+b") as printed:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment() | {MARK: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that what it starts can be ended with it
        )
        try:
            ended = process.wait(seconds)
        except subprocess.TimeoutExpired:
            ended = None
        finally:
            end(process)
            _end_strays(folder)
        printed.seek(0)
        return ended, printed.read(4 * PRINTED).decode("utf-8", "replace")[:PRINTED]


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session, and with it all that it started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _end_strays(folder: Path) -> None:
    """End what left the session of a run: on Linux, every process that has the run's mark in its environment."""
    mark = f"{MARK}={folder}".encode()
    for _ in range(10):  # one that is being started while others end is found the next time
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # other people's, and what has ended meanwhile
                if mark in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        for stray in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(stray, signal.SIGKILL)
        if not found:
            return


def environment() -> dict[str, str]:
    """The environment of a process of the grader's: this minicnn, one thread, and no settings of the shell's Python.

    Numba is set to check every index, so that one outside of its array is an error and not a wrong number.
    """
    package = str(Path(minicnn.__file__).parent.parent)
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON") or name == "PYTHONHOME"}
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    python = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
    return kept | threads | python | {"NUMBA_BOUNDSCHECK": "1"}


def _results(path: Path, task: str, seeds: tuple[int, ...]) -> tuple[dict[tuple[int, int, str], Array], dict[str, Any]]:
    """(arrays, report) that the learner's process wrote. Raises where it did not, or wrote something else."""
    _require_plain(path, LARGEST_RESULTS)
    written, metadata = read_safetensors(path)
    report = json.loads(metadata["report"])
    arrays = {}
    for name_of_case, array in written.items():
        seed, position, name = name_of_case.split("/")
        arrays[int(seed), int(position), name] = array.astype(np.float64)
    if "error" in report:
        return {}, {"error": shortened(report["error"], PRINTED)}
    arguments = {(seed, n): len(given) for seed in seeds for n, (_, given) in enumerate(cases(task, seed))}
    found = {(case["seed"], case["position"]): case for case in report["cases"]}
    if found.keys() != arguments.keys():
        raise ValueError("expected the results of all cases")
    for key, case in found.items():
        _require(case["error"], str, None)
        _require(case["kind"], str, None)
        case["error"] = case["error"] and shortened(case["error"], PRINTED)
        if not set(case["changed"]) <= set(range(arguments[key])):
            raise ValueError(f"expected positions of arguments, got {case['changed']}")
    calls = report["calls"]
    _require(calls["calls"], int)
    _require(calls["first_line"], int, None)
    _require(calls["ours"], str, None)
    _require(calls["watched"], bool)
    return arrays, {"cases": found, "calls": calls}


def _require(value: object, kind: type, *others: object) -> None:
    if not isinstance(value, kind) and value not in others:
        raise TypeError(f"expected {kind.__name__}, got {value!r}")


def _require_plain(path: Path, most: int) -> None:
    """Raise ValueError where a path is no file of at most this many bytes: to read from a pipe may never end."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > most:
        raise ValueError(f"expected a file of at most {most} bytes")


def _doing(path: Path) -> str:
    """The last entry of the learner's process about what it is doing."""
    try:
        _require_plain(path, 1000)
        return path.read_text("utf-8", "replace") or "starting"
    except (OSError, ValueError):
        return "starting"


def _why(ended: int | None, doing: str, printed: str, seconds: float) -> str:
    """Why there are no results, as a sentence."""
    if ended is None:
        return (
            f"it did not come to an end within {seconds:g} s, {_while(doing)}. Is there a loop that never ends, or one "
            "that does far more than it needs to?"
        )
    if ended == 0:
        return (
            f"your code ended the process, {_while(doing)}. Take out what stops Python (sys.exit, os._exit, quit), "
            "so that the function can return"
        )
    if ended < 0:
        name = _signal(-ended)
        return (
            f"the process was killed by {name}, {_while(doing)}. In code that Numba compiles this is most often an "
            "index outside of its array: take @serial away to see where, or look for memory that grows without end"
        )
    last = printed.strip().splitlines()[-1:] or ["it printed nothing"]
    return f"the process ended with status {ended}, {_while(doing)}: {last[0][:300]}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _while(doing: str) -> str:
    return f"in {doing}" if doing.startswith("the case") else f"while it was {doing}"
