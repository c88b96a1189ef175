"""A second process that compiles kernels while this one does, so that the first training step ends sooner.

Numba compiles one kernel at a time in a process. So where a training step is begun and code is missing on disk, a
helper is started. It goes through the operations of such a step without running anything, which tells which kernels
there will be, and compiles them from the last to the first, while this process works from the first to the last as
ever, and finds on disk what the helper has done. `claims` sees to it that none is compiled twice.

The helper serves speed alone: whatever becomes of it, this process compiles what is missing. It is a fresh interpreter,
which imports from where this one does (`sys.path`) and nothing of the user's program, so that a script needs no
`if __name__ == "__main__"`. It prints nothing, and ends with its work, with Ctrl-C, and with the process that started
it.

There is none where it could not help: on one core, with one thread (NUMBA_NUM_THREADS=1), on Windows, in a frozen
program, in a forked child; nor where the environment variable MINICNN_HELPER is 0.
"""

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from minicnn.backends.cpu.runtime.claims import CAN_CLAIM
from minicnn.backends.cpu.runtime.numba_internals import most_threads

SWITCH = "MINICNN_HELPER"
PAUSE = 0.1  # seconds between two looks at whether the parent is still there

# Signals end it as they end a program in C, without a word.
PROGRAM = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
request = json.loads(sys.stdin.readline())
sys.path[:] = request.pop("path")
from minicnn.backends.cpu.runtime import helper
helper.end_with(request.pop("parent"))
from minicnn.backends.cpu.compile import help_to_compile
help_to_compile(**request)
"""

Work: TypeAlias = Callable[[], dict[str, Any]]

_imported_by = os.getpid()
_begun: Work | None = None
_helper: subprocess.Popen[str] | None = None


@contextlib.contextmanager
def begun(work: Work) -> Iterator[None]:
    """Where a kernel is missing meanwhile, more will be: those of `help_to_compile(**work())`, see `cpu.compile`.

    `work` is called only then. Within another, the outer one counts.
    """
    global _begun
    before, _begun = _begun, _begun or work
    try:
        yield
    finally:
        _begun = before


def kernel_is_missing() -> None:
    """To be called before a kernel is compiled. Starts the helper, once, where it is known what it could do."""
    global _helper
    if _helper is not None or _begun is None or not _can_help():
        return
    path = [entry for entry in sys.path if isinstance(entry, str)]  # others are passed over by `import`, too
    request = json.dumps({**_begun(), "path": path, "parent": os.getpid()})
    atexit.register(_end)
    try:
        _helper = subprocess.Popen(
            [sys.executable, "-I", "-B", "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {SWITCH: "0"},
        )
        # A thread waits for its end, or it would stay in the table of processes for as long as this one lives.
        threading.Thread(target=_helper.communicate, args=(request,), name="minicnn helper", daemon=True).start()
    except (OSError, RuntimeError):  # no memory, or no more processes or threads
        return


def _can_help() -> bool:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return (
        CAN_CLAIM
        and min(cores, most_threads()) > 1
        and os.environ.get(SWITCH) != "0"
        and os.getpid() == _imported_by
        and not getattr(sys, "frozen", False)
        and "python" in Path(sys.executable or "").name  # not a program that Python is built into
    )


def _end() -> None:
    if _helper is not None and os.getpid() == _imported_by:
        _helper.kill()
        _helper.wait()


# In the helper.


def end_with(parent: int) -> None:
    """End this process as soon as it is no longer a child of `parent`."""
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PAUSE)
    os._exit(1)
