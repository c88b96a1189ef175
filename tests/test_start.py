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
        from minicnn.backends.cpu.runtime import launch
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
    assert list(cache.rglob("*.nbc"))


def test_where_nothing_can_be_written_it_works_all_the_same(package_that_keeps_nothing, tmp_path):
    result = python(USE, tmp_path, XDG_CACHE_HOME="/dev/null/cache", HOME="/dev/null")
    assert result.stderr == ""
    assert result.stdout.strip() == str(package_that_keeps_nothing / "__init__.py")


WITHOUT_COMPILER = """
    import numpy as np, minicnn

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 3, 8, 8), np.float32), [0, 1, 2, 3]
    new = minicnn.SimpleNet(rng=0)
    network = minicnn.SimpleNet(rng=0).to("reference")
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network))
    trainer.compile_kernels()
    losses = [trainer.step(x, y) for _ in range(3)]
    assert losses[2] < losses[0], losses
    assert minicnn.accuracy(network.predict(x), y) >= 0
    assert minicnn.fuse(network).predict(x).shape == (4, 10)
    small = minicnn.Sequential(conv=minicnn.Conv2d(3, 2, 3, rng=0), flatten=minicnn.Flatten(),
                               fc=minicnn.Linear(72, 4, rng=0)).to("reference")
    assert minicnn.gradcheck(small, x)
    small.inspect(x, y, loss=minicnn.CrossEntropyLoss())

    for needs_it in (
        lambda: new.forward(x),
        lambda: new.predict(x),
        lambda: network.to("cpu"),
        lambda: minicnn.compile_kernels(),
        lambda: minicnn.CrossEntropyLoss().forward(np.zeros((1, 2)), [0]),
        lambda: minicnn.LogSoftmax().forward(np.zeros((1, 2))),
        lambda: minicnn.gradcheck(minicnn.SimpleNet(), x),
    ):
        try:
            needs_it()
        except RuntimeError as error:
            print(error)
        else:
            raise AssertionError("it was computed all the same")
"""


def test_without_numbas_compiler_reference_works_and_the_rest_says_what_to_do():
    result = python(textwrap.dedent(WITHOUT_COMPILER), NUMBA_DISABLE_JIT="1")
    assert result.stderr == ""
    said = result.stdout.splitlines()
    assert len(said) == 7
    for line in said:
        assert "NUMBA_DISABLE_JIT" in line
        assert 'network.to("reference")' in line


@pytest.mark.torch
def test_without_numbas_compiler_compare_works_on_reference():
    code = """
        import numpy as np, torch, minicnn
        torch.manual_seed(0)
        x, y = np.random.default_rng(0).standard_normal((4, 3, 8, 8), np.float32), [0, 1, 2, 3]
        theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.Flatten(), torch.nn.Linear(72, 4))
        ours = minicnn.Sequential(conv=minicnn.Conv2d(3, 2, 3), flatten=minicnn.Flatten(), fc=minicnn.Linear(72, 4))
        print(bool(minicnn.compare(ours.to("reference"), theirs, x, y, copy_weights=True)))
    """
    result = python(textwrap.dedent(code), NUMBA_DISABLE_JIT="1")
    assert result.stdout == "True\n", result.stdout + result.stderr
