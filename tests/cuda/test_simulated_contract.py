"""Every operation of the cuda backend against the reference, in the simulator: what kernels do, thread by thread."""

from functools import lru_cache

import numpy as np
import pytest

import minicnn
from minicnn import Images
from minicnn.backends.cuda import tiles
from minicnn.backends.cuda.runtime import device
from minicnn.backends.cuda.runtime.device_array import DeviceArray
from minicnn.backends.protocol import OPERATIONS
from tests import checks
from tests.test_contract import (
    CHANGED,
    NOT_AN_ARRAY_OPERATION,
    OPAQUE,
    REFERENCE,
    WITH_IMAGES,
    example_calls,
    examples_with_images,
    flattened,
    leaves,
    results_of,
)

pytestmark = pytest.mark.cuda_sim

cuda = minicnn.backends.cuda

NAMES = sorted(set(OPERATIONS) - NOT_AN_ARRAY_OPERATION - {"asarray", "to_numpy"})
FEATURES = 20  # of a linear layer in the examples


def to_device(value):
    """Arrays, in tuples and `Images` too, as DeviceArrays; but tables of integers stay where the layers keep them."""
    return _mapped(value, lambda array: array if _is_table(array) else cuda.asarray(array), np.ndarray)


def to_host(value):
    """The same with NumPy arrays, copies."""
    return _mapped(value, lambda array: array.numpy(), DeviceArray)


def _is_table(array):
    """Of pooling's windows, or of sizes."""
    return array.ndim == 2 and np.issubdtype(array.dtype, np.int64)


def _mapped(value, change, kind):
    if isinstance(value, Images):
        return Images.of(_mapped(value.data, change, kind), value.channels, value.sizes)
    if isinstance(value, tuple | list):
        parts = [_mapped(part, change, kind) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return change(value) if isinstance(value, kind) else value


class OnDevice:
    """The cuda backend for who has NumPy arrays: it sends arguments to the device, and leaves results there."""

    def __getattr__(self, name):
        return lambda *arguments: getattr(cuda, name)(*to_device(arguments))


@lru_cache
def examples(dtype):
    return example_calls(OnDevice(), dtype, features=FEATURES)


@lru_cache
def mixed_examples():
    return examples_with_images(OnDevice(), np.float64)


def addresses(value):
    """Where the device arrays in nested tuples lie, (first, after the last) each."""
    places = []

    def note(array):
        first = device.pointer(array.flat)
        places.append((first, first + array.size * array.dtype.itemsize))

    _mapped(value, note, DeviceArray)
    return places


def check(name, arguments):
    """Call an operation: its arguments stay, but for those that it changes, and what it gives is new. Returns both
    kinds of results on the host."""
    arguments = to_device(arguments)
    before = leaves(to_host(arguments))
    returned = getattr(cuda, name)(*arguments)
    for position, (after, old) in enumerate(zip(leaves(to_host(arguments)), before, strict=True)):
        if position >= len(leaves(to_host(arguments[: CHANGED.get(name, 0)]))):
            np.testing.assert_array_equal(after, old, err_msg=f"{name} wrote to argument {position}")
    if returned is None:
        return to_host(arguments[: CHANGED[name]])
    if name not in OPAQUE:
        # A gradient between fused operations is used up: its sums may be the result.
        inputs = addresses(arguments[1:] if name == "fused_conv_backward" else arguments)
        for first, stop in addresses(returned):
            assert not any(first < end and start < stop for start, end in inputs), name
    return to_host(returned)


def check_close(actual, expected, dtype, what):
    """Leaf by leaf: what the reference has, and of the dtype of the input, or int32 for positions."""
    for result, wanted in zip(leaves(actual), leaves(expected), strict=True):
        if not isinstance(result, float):
            assert result.dtype == (np.int32 if np.issubdtype(result.dtype, np.integer) else dtype), what
        checks.assert_close(result, wanted, dtype, what)


@pytest.mark.parametrize("dtype", checks.DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_against_the_reference(name, dtype):
    results = check(name, examples(dtype)[name])
    if name not in OPAQUE:
        arguments = example_calls(REFERENCE, dtype, features=FEATURES)[name]
        check_close(results, results_of(REFERENCE, name, arguments), dtype, name)


@pytest.mark.parametrize("name", list(WITH_IMAGES))
def test_images_of_different_sizes(name):
    results = check(name, mixed_examples()[name]())
    expected = getattr(REFERENCE, name)(*examples_with_images(REFERENCE, np.float64)[name]())
    assert [type(result) for result in flattened(results)] == WITH_IMAGES[name]
    assert [result.shape for result in flattened(results)] == [result.shape for result in flattened(expected)]
    check_close(results, expected, np.float64, name)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# Less than a tile and more than one in every direction, sums of one part and of several.
LINEAR = [(1, 1, 1), (3, 5, 2), (9, 40, 3), (2, 7, 37), (37, 19, 18)]


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(("n", "d", "k"), LINEAR)
def test_linear(n, d, k, with_bias):
    x, weight, bias, dy = draw(n, d), draw(k, d), draw(k) if with_bias else None, draw(n, k)
    calls = {
        "linear_forward": (x, weight, bias),
        "linear_input_gradient": (dy, weight),
        "linear_weight_gradient": (dy, x),
        "linear_bias_gradient": (dy,),
    }
    for name, arguments in calls.items():
        check_close(check(name, arguments), getattr(REFERENCE, name)(*arguments), float, name)


def test_a_nan_stays_in_its_row_and_column():
    """What a tile has beyond the edge is not part of any sum."""
    x, weight = draw(3, 5), draw(4, 5)
    x[1, 2] = np.nan
    np.testing.assert_array_equal(np.isnan(check("linear_forward", (x, weight, None))).any(axis=1), [0, 1, 0])


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("n_classes", [1, 2, tiles.THREADS, 2 * tiles.THREADS + 1])
def test_log_softmax(n_classes):
    x = 100 * draw(7, n_classes)
    x[1] += 1e4
    for row, number in enumerate((np.nan, np.inf, -np.inf), start=2):
        x[row, -1] = number
    x[5] = -np.inf
    y = check("log_softmax_forward", (x,))
    with np.errstate(invalid="ignore"):
        expected = REFERENCE.log_softmax_forward(x)
    check_close(y, expected, float, "log_softmax_forward")
    dy = draw(*x.shape, seed=1)
    dx = check("log_softmax_backward", (dy, expected))
    check_close(dx, REFERENCE.log_softmax_backward(dy, expected), float, "log_softmax_backward")


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (1, 3), (13, 5)])
def test_losses(n, k, label_smoothing):
    log_p, targets = REFERENCE.log_softmax_forward(draw(n, k)), np.random.default_rng(0).integers(k, size=n)
    weights = np.abs(draw(k)) + 0.1
    if label_smoothing == 0 and k > 1:
        log_p[0, targets[0] - 1] = -np.inf  # no term of the loss
    arguments = log_p, targets, weights, label_smoothing
    for name in ("nll_loss_forward", "nll_loss_backward"):
        check_close(check(name, arguments), getattr(REFERENCE, name)(*arguments), float, name)
    assert isinstance(cuda.nll_loss_forward(*to_device(arguments)), float)


@pytest.mark.parametrize("dtype", checks.DTYPES)
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sgd_step_", (0.1, 0.9, False, 0.01)),
        ("sgd_step_", (0.1, 0.9, True, 0.0)),
        ("adam_step_", (0.1, 0.9, 0.99, 1e-8, 0.01, False, 1)),
        ("adam_step_", (0.1, 0.9, 0.99, 1e-8, 0.01, True, 50)),
    ],
)
def test_optimizers(name, settings, dtype):
    n_arrays = CHANGED[name] + 1
    arrays = [np.abs(draw(3, 7, seed=k)).astype(dtype) for k in range(n_arrays)]
    results = check(name, (*arrays, *settings))
    getattr(REFERENCE, name)(*arrays, *settings)
    check_close(results, tuple(arrays[:-1]), dtype, name)


@pytest.mark.parametrize("optimizer", [minicnn.SGD, minicnn.AdamW])
def test_vectors_that_do_not_decay(optimizer):
    found = []
    for backend in ("reference", "cuda"):
        network = minicnn.Sequential(fc=minicnn.Linear(4, 3, rng=0)).to(backend)
        layer, step = network["fc"], optimizer(network, lr=0.1, weight_decay=0.5, decay_vectors=False)
        layer.grads = {
            key: layer.ops.asarray(np.zeros(param.shape, param.dtype)) for key, param in layer.params.items()
        }
        before = network.state_dict()
        step.step()
        found.append(network.state_dict())
        assert np.array_equal(found[-1]["fc.bias"], before["fc.bias"])
    np.testing.assert_allclose(found[1]["fc.weight"], found[0]["fc.weight"], rtol=1e-6)
    np.testing.assert_allclose(found[1]["fc.weight"], 0.95 * before["fc.weight"], rtol=1e-6)


def test_compile_kernels_reports_each_file_before_it():
    reports = []
    files = ("losses", "linear", "optim")
    assert cuda.compile_kernels("float32", lambda *report: reports.append(report), files) is None
    assert sorted(name for name, _, _ in reports) == sorted(files)
    assert [(done, total) for _, done, total in reports] == [(0, 3), (1, 3), (2, 3)]
    assert cuda.compile_kernels("float64", files=["activation"]) is None


def small_network(backend, dtype):
    """SimpleNet with fewer blocks and channels."""
    layers, channels = {}, (2, 3, 9)
    for k in (1, 2):
        layers[f"conv{k}"] = minicnn.Conv2d(channels[k - 1], channels[k], 3, padding=1, rng=k)
        layers[f"bn{k}"] = minicnn.BatchNorm2d(channels[k])
        layers[f"relu{k}"] = minicnn.ReLU()
    head = {"pool": minicnn.AdaptiveMaxPool2d((1, 1)), "flatten": minicnn.Flatten(), "fc": minicnn.Linear(9, 4, rng=0)}
    return minicnn.Sequential(**layers, **head, log_softmax=minicnn.LogSoftmax()).to(backend, dtype)


def trained(backend, dtype, images, fuse):
    """Losses of two steps and what is measured afterwards; and the weights."""
    network = small_network(backend, dtype)
    loss, optimizer = minicnn.CrossEntropyLoss(label_smoothing=0.1), minicnn.SGD(network, lr=0.1, momentum=0.9)
    trainer = minicnn.Trainer(network, loss, optimizer, max_grad_norm=1.0, fuse=fuse, quiet=True)
    labels = np.array([2, 0])
    numbers = [trainer.step(images, labels) for _ in range(2)]
    measured = trainer.evaluate([(images, labels)])
    return {"loss": numbers, "measured": list(measured.values()), **network.state_dict()}


@pytest.mark.parametrize(
    ("fuse", "kind", "dtype"),
    [(True, "Images", np.float64), (False, "array", np.float32)],
)
def test_training(fuse, kind, dtype):
    images = draw(2, 2, 3, 4).astype(dtype)
    if kind == "Images":
        images = Images([images[0], images[1, :, :, :2]])
    expected, actual = (trained(backend, dtype, images, fuse) for backend in ("reference", "cuda"))
    for name in expected:
        error = np.abs(actual[name] - np.asarray(expected[name])).max()
        assert error <= 10 * checks.TOLERANCE[np.dtype(dtype)], f"{name}: off by {error}"


def test_two_steps_of_simple_net():
    """With its real channels, which fill the tiles. The second step allocates a few arrays, since gradients live on."""
    images, labels, allocated = draw(2, 1, 2, 3), np.array([3, 7]), []
    allocate = device.allocate

    def trained(backend):
        network = minicnn.SimpleNet(10, in_channels=1, rng=0).to(backend, float)
        trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network), quiet=True)
        losses = []
        for _ in range(2):
            allocated.clear()
            losses.append(trainer.step(images, labels))
        return {"loss": losses, **network.state_dict()}

    expected = trained("reference")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "allocate", lambda *size: allocated.append(size) or allocate(*size))
        actual = trained("cuda")
    for name in expected:
        np.testing.assert_allclose(actual[name], expected[name], rtol=0, atol=1e-9, err_msg=name)
    assert len(allocated) <= 14, allocated
