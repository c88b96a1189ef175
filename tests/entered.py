"""A plugin of pytest, `-p tests.entered`: notes in which modules of the package a function of Python's was called.

Each process writes what it found to a file in the folder that MINICNN_ENTERED names: the modules it imported, those in
which a function was called, and those that have no function to call, but tables, or kernels, which are called from
elsewhere.
"""

import inspect
import json
import os
import sys
import threading
from pathlib import Path

import minicnn

PACKAGE = str(Path(minicnn.__file__).parent) + os.sep
_seen, _entered = set(), set()


def _note(frame, event, _argument):
    code = frame.f_code
    if event == "call" and code not in _seen:
        _seen.add(code)
        if code.co_filename.startswith(PACKAGE) and code.co_name != "<module>":
            _entered.add(frame.f_globals.get("__name__"))  # a dataclass is compiled in globals without one


def pytest_sessionstart():
    threading.setprofile(_note)
    sys.setprofile(_note)


def pytest_sessionfinish():
    sys.setprofile(None)
    imported = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "minicnn"}
    found = {
        "imported": sorted(imported),
        "entered": sorted(_entered - {None}),
        "without": [name for name, module in imported.items() if not any(_functions(module))],
    }
    folder = Path(os.environ["MINICNN_ENTERED"])
    (folder / f"{os.getpid()}.json").write_text(json.dumps(found))


def _functions(module):
    """Those written in its file, methods among them; a kernel is none."""
    for value in vars(module).values():
        members = vars(value).values() if inspect.isclass(value) and value.__module__ == module.__name__ else (value,)
        for member in members:
            if hasattr(member, "py_func"):  # Numba's, which has the function that it compiles as `__wrapped__`
                continue
            function = inspect.unwrap(getattr(member, "fget", None) or getattr(member, "__func__", member))
            if inspect.isfunction(function) and function.__code__.co_filename == module.__file__:
                yield function
