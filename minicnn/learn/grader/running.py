"""A learner's function in a process of its own, with limits of time and memory, and what came of it."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open

import minicnn
from minicnn.learn.exercises.cases import SEEDS

SECONDS = 30
TEXT = "utf-8-sig"  # what learners' files are written in; editors on Windows begin UTF-8 with a mark
PRINTED = 4000  # characters of what the learner's code prints that are handed on


@dataclass(frozen=True)
class Run:
    """What came of running a learner's function.

    Attributes:
        seeds: of the cases, in order.
        broken: None, or why there are no results, for the learner to read.
        arrays: dict from (seed, position, name) to an array.
        cases: dict from (seed, position) to {"error", "kind", "changed"}: the error for the learner to read, its class,
            and the positions of the arguments that were changed.
        calls: whose code ran: {"calls", "first_line", "ours"}.
        printed: what the learner's code printed.
        seconds: how long it took, the start of Python included.
    """

    seeds: tuple
    broken: str | None
    arrays: dict = field(default_factory=dict)
    cases: dict = field(default_factory=dict)
    calls: dict = field(default_factory=dict)
    printed: str = ""
    seconds: float = 0.0

    def outcomes(self):
        """For each seed the list of what came of its cases: a dict of arrays, or the name of an error's class."""
        found = {seed: [] for seed in self.seeds}
        for (seed, position), case in sorted(self.cases.items()):
            arrays = {name: array for (*key, name), array in self.arrays.items() if key == [seed, position]}
            found[seed].append(case["kind"] if case["error"] else arrays)
        return found


def run(file, task, seconds=SECONDS):
    """Run the function of a task in a learner's file. Returns a `Run`; whatever the code does, nothing is raised.

    The cases are those of two seeds that are always the same, and of one that nobody can know before.
    """
    file = Path(file).resolve()
    seeds = (*SEEDS, secrets.randbelow(1 << 30))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="minicnn-learn-", ignore_cleanup_errors=True) as folder:
        folder = Path(folder)
        ended = _process(file, task, folder, seeds, seconds)
        printed = (folder / "printed").read_text(errors="replace")[:PRINTED]
        took = time.perf_counter() - started
        try:
            arrays, report = _results(folder / "results.safetensors")
        except (OSError, SafetensorError, KeyError, ValueError, TypeError):
            arrays, report = {}, {"error": _why(ended, _read(folder / "now"), printed, seconds)}
    if "cases" not in report:
        return Run(seeds, report["error"], printed=printed, seconds=took)
    cases = {(case["seed"], case["position"]): case for case in report["cases"]}
    return Run(seeds, None, arrays, cases, report["calls"], printed, took)


def _process(file, task, folder, seeds, seconds):
    """The exit status of the learner's process; None where it had to be ended."""
    command = [sys.executable, "-m", "minicnn.learn.grader.child", str(file), task, str(folder), *map(str, seeds)]
    with open(folder / "printed", "wb") as printed:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that what it starts can be ended with it
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            end(process)


def end(process):
    """End a process that leads a session, and with it all that it started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def environment():
    """The environment of a process of the grader's: with this minicnn, and one thread."""
    package = str(Path(minicnn.__file__).parent.parent)
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    return os.environ | threads | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}


def _results(path):
    """(arrays, report) that the learner's process wrote. Raises where it did not, or wrote something else."""
    with safe_open(path, framework="numpy") as results:
        report = json.loads(results.metadata()["report"])
        arrays = {}
        for key in results.keys():  # noqa: SIM118, it is no dict
            seed, position, name = key.split("/")
            arrays[int(seed), int(position), name] = results.get_tensor(key)
    if "error" not in report and not {"cases", "calls"} <= report.keys():
        raise ValueError("expected a report")
    return arrays, report


def _read(path):
    return path.read_text(errors="replace") if path.exists() else "starting"


def _why(ended, doing, printed, seconds):
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
        name = signal.Signals(-ended).name
        return (
            f"the process was killed by {name}, {_while(doing)}. In code that Numba compiles this is most often an "
            "index outside of its array: take @serial away to see where, or look for memory that grows without end"
        )
    last = printed.strip().splitlines()[-1:] or ["it printed nothing"]
    return f"the process ended with status {ended}, {_while(doing)}: {last[0][:300]}"


def _while(doing):
    return f"while it was {doing}" if doing[0] != "t" else f"in {doing}"
