"""Tests whose cases may end the process: run in a child, which says what it is about to do before it does it.

The child writes a line for each case to a log, `begin`, and after one that went wrong another, `fail`. Where it dies,
the case that began last is to blame, and a new child goes on with the next.
"""

import contextlib
import faulthandler
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
MOST_DEATHS = 20  # of children, after which the rest of the cases are not run


class Outcome(NamedTuple):
    begun: int  # how many cases
    failures: list  # pairs (case, what went wrong)
    said: list  # what the children had to say at their end
    complete: bool  # whether every case was begun


class Log:
    """The child's side. Cases up to number `skip` were begun by an earlier child."""

    def __init__(self, path, skip, seconds=None):
        self._path, self._left, self._seconds = Path(path), skip, seconds

    def run(self, case, play):
        """play(), the case's name and any failure written down; ends the process where it takes too long."""
        if self._left:
            self._left -= 1
            return
        self._write("begin", case)
        if self._seconds:
            faulthandler.dump_traceback_later(self._seconds, exit=True)
        try:
            play()
        except Exception as error:
            self._write("fail", f"{type(error).__name__}: {error}")
        if self._seconds:
            faulthandler.cancel_dump_traceback_later()

    def say(self, what):
        self._write("say", what)

    def end(self):
        """End the process as it stands: what lies in fenced memory is not to be taken down by a dying interpreter."""
        self._write("end", "")
        os._exit(0)

    def _write(self, kind, what):
        _append(self._path, kind, what)


def run_cases(folder, module, *arguments, environment=()):
    """What came of the cases of `python -m module log skip arguments…`, in as many children as it takes."""
    log = Path(folder) / "log"
    log.write_text("")
    failures, deaths = [], 0
    while True:
        skip = sum(kind == "begin" for kind, _ in _lines(log))
        command = [sys.executable, "-X", "faulthandler", "-m", module, str(log), str(skip), *map(str, arguments)]
        child = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        lines = _lines(log)
        complete = bool(lines) and lines[-1][0] == "end"
        begun = sum(kind == "begin" for kind, _ in lines)
        if complete or begun == skip:
            assert complete, f"the child ended before a case, {_why(child)}"
            break
        _append(log, "fail", f"the process ended, {_why(child)}")
        deaths += 1
        if deaths == MOST_DEATHS:
            break
    lines, case = _lines(log), None
    for kind, what in lines:
        if kind == "begin":
            case = what
        elif kind == "fail":
            failures.append((case, what))
    return Outcome(
        sum(kind == "begin" for kind, _ in lines), failures, [what for kind, what in lines if kind == "say"], complete
    )


def summary(outcome, most=15):
    """Failures in words, no reason twice."""
    of_reason = {}
    for case, reason in outcome.failures:
        of_reason.setdefault(reason[:60], []).append(f"{case}\n    {reason}")
    shown = [
        cases[0] + (f"\n    (and {len(cases) - 1} like it)" if len(cases) > 1 else "") for cases in of_reason.values()
    ]
    more = f"\n… and {len(shown) - most} other reasons" if len(shown) > most else ""
    return f"{len(outcome.failures)} of {outcome.begun} cases failed:\n" + "\n".join(shown[:most]) + more


def _append(log, kind, what):
    with log.open("a", encoding="utf-8") as file:
        print(json.dumps([kind, what]), file=file)


def _lines(log):
    lines = []
    for line in log.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):  # the last may be torn
            lines.append(json.loads(line))
    return lines


def _why(child):
    code = child.returncode
    how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
    return f"{how}; its last words:\n{child.stdout[-3000:]}"
