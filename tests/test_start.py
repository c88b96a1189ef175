"""The first seconds: what importing brings in, and where compiled kernels are kept."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import minicnn

PACKAGE = Path(minicnn.__file__).parent
USE = "import numpy, minicnn; minicnn.Linear(2, 2).forward(numpy.ones((1, 2), numpy.float32)); print(minicnn.__file__)"


def python(code, folder=None, **environment):
    """Run `code` in a new process in `folder`, from which it imports first."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True)


def test_importing_brings_in_nothing_heavy():
    """Numba is imported with the first layer, and CUDA, plots and data sets only by those who ask for them."""
    result = python("import sys, minicnn; print(*sys.modules)")
    modules = set(result.stdout.split())
    assert not modules & {"numba", "numba.cuda", "matplotlib", "sklearn", "torch", "scipy", "click", "PIL"}


def test_using_it_does_not_import_cuda():
    result = python(f"{USE}; import sys; print('numba.cuda' in sys.modules)")
    assert result.stdout.split()[-1] == "False", result.stdout


COUNT_HITS = """
import numpy, minicnn
from minicnn.backends.cpu import losses
minicnn.NLLLoss().forward(numpy.zeros((1, 2)), [0])
print(sum(losses._forward.stats.cache_hits.values()))
"""


def test_kernels_are_compiled_anew_when_anything_they_may_contain_has_changed(tmp_path):
    """Numba itself looks at the function's own file only."""
    shutil.copytree(PACKAGE, tmp_path / "minicnn", ignore=shutil.ignore_patterns("__pycache__"))
    hits = []
    for _ in range(2):
        hits.append(int(python(COUNT_HITS, tmp_path).stdout.split()[-1]))
    with open(tmp_path / "minicnn" / "backends" / "cpu" / "convolution" / "vectors.py", "a") as file:
        file.write("# changed\n")
    hits.append(int(python(COUNT_HITS, tmp_path).stdout.split()[-1]))
    assert hits == [0, 1, 0]


def test_compiling_ahead_leaves_nothing_for_the_first_step(tmp_path):
    code = """
        import numpy, minicnn
        from minicnn.backends.cpu import launch
        network = minicnn.SimpleNet(rng=0)
        trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network))
        trainer.compile_kernels()
        from numba.core import event
        compiled = []
        class Listener(event.Listener):
            def on_start(self, e):
                compiled.append(e.data["dispatcher"].py_func.__qualname__)
            def on_end(self, e):
                pass
        event.register("numba:compile", Listener())
        trainer.step(*minicnn.data.published_batch(rng=0))
        trainer.evaluate([minicnn.data.published_batch(rng=0)])
        print(compiled)
    """.replace("import numpy, minicnn", "import numpy, minicnn, minicnn.data")
    result = python(textwrap.dedent(code), NUMBA_CACHE_DIR=str(tmp_path))
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


@pytest.fixture
def package_that_keeps_nothing(tmp_path):
    """A copy of the package in which not even root can make a folder __pycache__: a file of that name is there."""
    copy = tmp_path / "minicnn"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (copy, *(path for path in copy.rglob("*") if path.is_dir())):
        (folder / "__pycache__").touch()
    return copy


def test_where_the_package_cannot_be_written_the_users_cache_is_used(package_that_keeps_nothing, tmp_path):
    cache = tmp_path / "cache"
    result = python(USE, tmp_path, XDG_CACHE_HOME=str(cache))
    assert result.stderr == ""
    assert result.stdout.strip() == str(package_that_keeps_nothing / "__init__.py")
    assert list(cache.rglob("*.nbi"))


def test_where_nothing_can_be_written_it_works_all_the_same(package_that_keeps_nothing, tmp_path):
    result = python(USE, tmp_path, XDG_CACHE_HOME="/dev/null/cache", HOME="/dev/null")
    assert result.stderr == ""
    assert result.stdout.strip() == str(package_that_keeps_nothing / "__init__.py")
