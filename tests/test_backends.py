"""get_backend, and a backend that cannot run where it is asked for: one sentence with the remedy, and nothing else."""

import importlib.util
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

import minicnn
from minicnn import backends
from minicnn.backends.cuda.runtime import device
from minicnn.backends.cuda.runtime import numba_internals as runtime

HAS_NUMBA_CUDA = importlib.util.find_spec("numba_cuda") is not None

ASK_FOR_CUDA = """
import numpy, minicnn
network = minicnn.SimpleNet(rng=0)
loss, optimizer = minicnn.CrossEntropyLoss(), minicnn.SGD(network, lr=0.1)
before, ops = network.state_dict(), network.ops
for thing in (network, loss):
    try:
        thing.to("cuda")
    except RuntimeError as error:
        print(error)
assert network.ops is ops and loss.ops is ops
assert all(numpy.array_equal(array, before[name]) for name, array in network.state_dict().items())
x, y = minicnn.data.published_batch(rng=0)
trainer = minicnn.Trainer(network, loss, optimizer)
assert trainer.step(x, y) > trainer.step(x, y)
"""


def what_is_said():
    """The lines printed where a network and a loss are moved to a CUDA device in a process that can see none."""
    code = ASK_FOR_CUDA.replace("import numpy, minicnn", "import numpy, minicnn, minicnn.data")
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "NUMBA_ENABLE_CUDASIM": "0"}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.skipif(HAS_NUMBA_CUDA, reason="numba-cuda is installed")
def test_cuda_without_numba_cuda():
    said = what_is_said()
    assert said == ["the cuda backend needs the package numba-cuda, which is not installed; " + device.REMEDY] * 2


@pytest.mark.skipif(not HAS_NUMBA_CUDA, reason="numba-cuda is not installed")
def test_cuda_without_a_gpu():
    said = what_is_said()
    assert len(said) == 2
    for sentence in said:
        assert sentence.startswith("the cuda backend needs an NVIDIA GPU and its driver, and found none (")
        assert sentence.endswith('; install the driver, or use the backend "cpu"')


@pytest.fixture
def numba_cuda(monkeypatch):
    """Puts in the place of numba-cuda one that has found a driver and a toolkit of the given CUDA versions, or not."""

    def put(driver, toolkit):
        found = SimpleNamespace(
            implementation="NVIDIA",
            is_available=lambda: toolkit is not None,
            cuda_error=lambda: None,
            cudadrv=SimpleNamespace(driver=SimpleNamespace(get_version=lambda: driver)),
            runtime=SimpleNamespace(get_version=lambda: toolkit),
        )
        monkeypatch.setattr(runtime, "cuda", found)
        monkeypatch.setattr(runtime, "SIMULATED", False)

    return put


@pytest.mark.parametrize(("driver", "toolkit"), [((13, 0), (13, 5)), ((13, 5), (13, 0)), ((14, 0), (13, 5))])
def test_a_driver_runs_what_a_toolkit_of_its_major_version_or_an_older_one_makes(numba_cuda, driver, toolkit):
    numba_cuda(driver, toolkit)
    assert backends.get_backend("cuda").__name__ == "minicnn.backends.cuda"


def test_a_driver_too_old_for_the_toolkit(numba_cuda):
    numba_cuda((12, 8), (13, 5))
    layer = minicnn.Linear(2, 1)
    with pytest.raises(RuntimeError, match=r"driver of CUDA 12\.8, too old for .* CUDA 13\.5; update .*\[cuda12\]"):
        layer.to("cuda")
    assert layer.ops is backends.get_backend("cpu")


NO_TOOLKIT = "needs the CUDA toolkit, which numba-cuda does not find; pip install"


def test_no_toolkit(numba_cuda):
    numba_cuda((13, 0), None)
    with pytest.raises(RuntimeError, match=NO_TOOLKIT):
        backends.get_backend("cuda")


def test_a_toolkit_whose_libraries_are_not_there(numba_cuda, monkeypatch):
    """numba-cuda without its extras thinks that all is well until a library is called for."""

    def get_version():
        raise RuntimeError("Failure finding libnvrtc.so.13")  # as cuda.pathfinder does

    numba_cuda((13, 0), (13, 5))
    monkeypatch.setattr(runtime.cuda.runtime, "get_version", get_version)
    with pytest.raises(RuntimeError, match=NO_TOOLKIT):
        backends.get_backend("cuda")


def test_an_unknown_name():
    with pytest.raises(ValueError, match="unknown backend 'gpu'; expected one of reference, cpu, cuda"):
        backends.get_backend("gpu")
