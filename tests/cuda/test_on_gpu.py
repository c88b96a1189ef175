"""Level 4: a real GPU. What the simulator, the compiler and the CPU cannot show: that it runs, and runs the same again.

python -m pytest -m cuda tests/cuda
"""

import numpy as np
import pytest

import minicnn
import minicnn.data
from minicnn.backends import cuda, get_backend
from minicnn.backends.cuda.runtime import device
from tests import checks
from tests.cuda.operations import (
    BATCHES,
    PARAMETRIZE_DTYPE,
    REFERENCE,
    SIZE,
    FromHost,
    called,
    on_host,
    results_of_reference,
    trained,
)
from tests.test_contract import CHANGED, OPAQUE, example_calls, examples_with_images


def reason_to_skip():
    try:
        get_backend("cuda")
    except RuntimeError as error:
        return str(error)
    return "this is the simulator" if device.SIMULATED else None


NO_GPU = reason_to_skip()
pytestmark = [pytest.mark.cuda, pytest.mark.skipif(NO_GPU is not None, reason=str(NO_GPU))]

RUNS = 5


def test_it_is_nvidias_package():
    """With a plain PYTHONPATH Numba's own, deprecated target would run instead, without a word."""
    assert device.cuda.implementation == "NVIDIA"


def check_operation(name, dtype, examples):
    runs = []
    for _ in range(RUNS):
        arguments = examples(FromHost(cuda) if name.startswith("fused") else REFERENCE, dtype, SIZE)[name]
        returned, on_cuda = called(cuda, name, arguments() if callable(arguments) else arguments)
        runs.append(on_host(on_cuda[: CHANGED[name]] if returned is None else returned))
    for run in runs[1:]:
        for result, again in zip(runs[0], run, strict=True):
            np.testing.assert_array_equal(result, again, err_msg=f"{name}: another result in another run")
    if name in OPAQUE:  # what is in it is seen through the operations that take it
        return
    for result, expected in zip(runs[0], results_of_reference(name, dtype, examples), strict=True):
        checks.assert_close(result, expected, dtype, name)


@PARAMETRIZE_DTYPE
@pytest.mark.parametrize("name", example_calls(REFERENCE, np.float32))
def test_operation(name, dtype):
    check_operation(name, dtype, example_calls)


@PARAMETRIZE_DTYPE
@pytest.mark.parametrize("name", examples_with_images(REFERENCE, np.float32))
def test_operation_on_images_of_different_sizes(name, dtype):
    check_operation(name, dtype, examples_with_images)


@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("batch", BATCHES)
def test_training_steps_of_a_network(batch, fuse):
    expected, first, again = trained("cpu", fuse, batch), *(trained("cuda", fuse, batch) for _ in "ab")
    for name, result in first.items():
        np.testing.assert_array_equal(result, again[name], err_msg=f"{name}: another result in another run")
    checks.assert_same_results(first, expected, np.float32, "trained")


def test_fit_sends_batches_ahead_and_learns():
    digits = minicnn.data.load_digits()
    train, validation = digits.train.split(144, rng=0)
    network = minicnn.SimpleNet(10, 1, rng=0).to("cuda")
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network, lr=0.004), quiet=True)
    batches = minicnn.data.Batches(train.images, train.labels, 32, shuffle=True, rng=0)
    validation_batches = minicnn.data.Batches(validation.images, validation.labels, 128)
    history = trainer.fit(batches, validation_batches, epochs=5)
    assert history[-1]["val_accuracy"] > 0.9


def test_a_host_array_in_pinned_memory_is_free_at_once():
    host = device.cuda.pinned_array(2**24, np.float32)
    host[:] = 1
    busy = cuda.asarray(np.ones((64, 64, 64, 64), np.float32))
    for _ in range(20):  # so that the copy has to wait
        cuda.relu_forward(busy)
    array = cuda.asarray(host)
    host[:] = 2
    np.testing.assert_array_equal(array.numpy(), 1)


@pytest.mark.parametrize("library", ["torch", "cupy"])
def test_arrays_of_other_libraries_are_the_same_memory(library):
    other = pytest.importorskip(library)
    if library == "torch" and not other.cuda.is_available():
        pytest.skip("this PyTorch knows no GPU")
    theirs = other.arange(12, device="cuda").float() if library == "torch" else other.arange(12, dtype="float32")
    ours = cuda.asarray(theirs.reshape(3, 4))
    cuda.scale_(ours, 2)
    device.synchronize()
    np.testing.assert_array_equal(ours.numpy().reshape(-1), 2 * np.arange(12))
    assert float(theirs[-1]) == 22
    assert ours.__cuda_array_interface__["stream"] == int(device.stream())
    back = other.from_dlpack(ours)
    assert float(back.sum()) == 2 * 66
    if library == "torch":
        with pytest.raises(ValueError, match="C-contiguous"):
            cuda.asarray(theirs.reshape(3, 4).T)
