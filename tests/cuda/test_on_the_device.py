"""What goes to the device and comes back: operations leave their numbers there, and a training step moves a batch in
and one loss out. Kernels are not run, see `recorded`."""

from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest

import minicnn
from minicnn import Images
from minicnn.backends import cuda as backend
from minicnn.backends import get_backend
from minicnn.backends.cuda.runtime import device
from minicnn.backends.cuda.runtime.device_array import DeviceArray
from minicnn.backends.cuda.tiles import MOST_BLOCKS
from minicnn.backends.protocol import OPERATIONS
from tests.cuda.operations import FromHost, called
from tests.cuda.recorded import recording
from tests.test_contract import CHANGED, NOT_AN_ARRAY_OPERATION, example_calls, examples_with_images

REFERENCE = get_backend("reference")
TO_AND_FRO = {"asarray", "to_numpy"}
MOST_FETCHED = {"sum_of_squares": MOST_BLOCKS, "nll_loss_forward": 1}  # numbers, for a float
NAMES = sorted(set(OPERATIONS) - NOT_AN_ARRAY_OPERATION - TO_AND_FRO)


@contextmanager
def traffic():
    """Hands out the sizes and dtypes of the arrays that go to the device, those that come back, and the launches."""
    sent, fetched = [], []
    with recording() as launches:
        upload, download = device.upload, device.download

        def noted_upload(flat, host):
            sent.append((host.size, host.dtype))
            upload(flat, host)

        def noted_download(flat):
            fetched.append((flat.size, flat.dtype))
            return download(flat)

        with mock.patch.object(device, "upload", noted_upload), mock.patch.object(device, "download", noted_download):
            yield sent, fetched, launches


def check_stays_on_the_device(name, examples):
    """An operation on arrays of the device launches kernels, sends no number and fetches none, but tables once."""
    with traffic() as (sent, fetched, launches):
        arguments = examples(FromHost(backend) if name.startswith("fused") else REFERENCE, np.float32)[name]
        _, on_device = called(backend, name, arguments() if callable(arguments) else arguments)
        for notes in (sent, fetched, launches):
            notes.clear()
        returned = getattr(backend, name)(*on_device)
        assert sent == []
        assert sum(size for size, _ in fetched) <= MOST_FETCHED.get(name, 0)
        assert launches or name == "copy"
        if name in CHANGED:
            assert returned is None
        elif name in MOST_FETCHED:
            assert isinstance(returned, float)
        else:
            assert set(map(type, arrays_in(returned))) == {DeviceArray}


def arrays_in(value):
    """The arrays in nested tuples, whosever they are. Sizes of images are no results."""
    if isinstance(value, Images):
        return [value.data]
    if isinstance(value, tuple | list):
        return [array for part in value for array in arrays_in(part)]
    is_sizes = isinstance(value, np.ndarray) and value.dtype == np.int64
    return [value] if hasattr(value, "dtype") and not is_sizes else []


@pytest.mark.parametrize("name", NAMES)
def test_operation(name):
    check_stays_on_the_device(name, example_calls)


@pytest.mark.parametrize("name", examples_with_images(REFERENCE, np.float32))
def test_operation_on_images_of_different_sizes(name):
    check_stays_on_the_device(name, examples_with_images)


@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("kind", ["array", "Images"])
def test_a_training_step_moves_a_batch_in_and_one_loss_out(kind, fuse):
    n_images, n_classes = 4, 10
    x, labels = np.ones((n_images, 3, 8, 6), np.float32), np.arange(n_images)
    x = Images(list(x)) if kind == "Images" else x
    with traffic() as (sent, fetched, _):
        network = minicnn.SimpleNet(n_classes, rng=0).to("cuda")
        loss = minicnn.CrossEntropyLoss()
        trainer = minicnn.Trainer(network, loss, minicnn.Adam(network), fuse=fuse, quiet=True)
        trainer.step(x, labels)
        sent.clear()
        fetched.clear()
        trainer.step(x, labels)
    assert sent == [(x.size, np.float32), (n_images, np.int64), (n_classes, np.float32)]  # the last are class weights
    assert fetched == [(1, np.float32)]


def test_numbers_on_the_device_are_not_taken_for_numbers_on_the_host():
    """What NumPy could compute with, it would: a device array gives it nothing."""
    with recording():
        array = backend.asarray(np.ones(3, np.float32))
        for attempt in (np.asarray, np.sum, np.maximum.reduce, lambda a: np.add(a, 1), lambda a: np.ones(3) * a):
            with pytest.raises(TypeError):
                attempt(array)
