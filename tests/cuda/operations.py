"""Operations of the cuda backend called with arrays of the host, on a device or without one, and their judges."""

import inspect

import numpy as np
import pytest

import minicnn
from minicnn import Images, backends
from minicnn.backends import cuda as backend
from minicnn.backends.contract import Block, Norm
from tests import checks
from tests.cuda.host_device import host_device
from tests.cuda.ir_on_cpu import forward, reverse, shuffled
from tests.test_contract import CHANGED

REFERENCE = backends.get_backend("reference")
ORDERS = {"forward": lambda: forward, "reverse": lambda: reverse, "shuffled": lambda: shuffled(seed=0)}
PARAMETRIZE_DTYPE = pytest.mark.parametrize("dtype", checks.DTYPES)
SIZE = 3


def in_all_orders(work):
    """The arrays of work(order), for the first order; they must have the same bits for every order."""
    results = {name: [np.asarray(array) for array in work(order())] for name, order in ORDERS.items()}
    for name, arrays in results.items():
        for position, (array, first) in enumerate(zip(arrays, results["forward"], strict=True)):
            same_bits = array.tobytes() == first.tobytes()  # not within assert, which would describe every byte
            assert same_bits, f"result {position} depends on the order of threads or blocks: {name} is not as forward"
    return results["forward"]


def on_backend(ops, value):
    """Arrays, images, and what blocks compute with, on a backend; anything else, as it is."""
    if isinstance(value, np.ndarray):
        return ops.asarray(value)
    if isinstance(value, Images):
        return value.like(ops.asarray(value.data))
    if isinstance(value, Norm | Block):
        return type(value)(*(on_backend(ops, part) for part in value))
    if type(value) in (tuple, list):
        return type(value)(on_backend(ops, part) for part in value)
    return value


def called(ops, name, arguments):
    """(what an operation returns, its arguments on the backend). Tables of windows and sizes stay on the host."""
    names = inspect.signature(getattr(ops, name)).parameters
    on_host = ("rows", "columns", "input_size")
    arguments = [
        value if key in on_host else on_backend(ops, value) for key, value in zip(names, arguments, strict=True)
    ]
    return getattr(ops, name)(*arguments), arguments


class FromHost:
    """A backend whose operations take arrays of the host."""

    def __init__(self, ops):
        self._ops = ops

    def __getattr__(self, name):
        return lambda *arguments: called(self._ops, name, arguments)[0]


def on_host(value):
    """The arrays and numbers in nested tuples, images and arrays of a backend, on the host."""
    if isinstance(value, Images):
        return on_host(value.data)
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in on_host(part)]
    if isinstance(value, np.ndarray | float):
        return [value]
    return [value.numpy()] if hasattr(value, "numpy") else []


def results_on_cuda(name, dtype, examples, order):
    """All arrays that an operation returns or changes, in one order of threads."""
    with host_device(order):
        # What a fused operation takes, another one has made; all other arguments are the reference's.
        arguments = examples(FromHost(backend) if name.startswith("fused") else REFERENCE, dtype, SIZE)[name]
        returned, on_cuda = called(backend, name, arguments() if callable(arguments) else arguments)
        return on_host(on_cuda[: CHANGED[name]] if returned is None else returned)


def results_of_reference(name, dtype, examples):
    arguments = examples(REFERENCE, dtype, SIZE)[name]
    arguments = arguments() if callable(arguments) else arguments
    returned = getattr(REFERENCE, name)(*arguments)
    return on_host(arguments[: CHANGED[name]] if returned is None else returned)


BATCHES = {
    "equal": np.random.default_rng(0).standard_normal((4, 3, 12, 9)),
    "mixed": Images([np.random.default_rng(n).standard_normal((3, 5 + 4 * n, 14 - 3 * n)) for n in range(4)]),
}


def trained(backend, fuse, batch):
    """Losses of three steps, parameters and statistics after them, and the output in evaluation."""
    network = minicnn.SimpleNet(rng=0).to(backend)
    optimizer = minicnn.SGD(network, lr=0.05, momentum=0.9, weight_decay=1e-3)
    trainer = minicnn.Trainer(network, minicnn.NLLLoss().to(backend), optimizer, fuse=fuse, quiet=True)
    x, labels = BATCHES[batch].astype(np.float32), np.array([3, 0, 9, 3])
    losses = [trainer.step(x, labels) for _ in range(3)]
    evaluated = (minicnn.fuse(network) if fuse else network).eval()
    return {"losses": np.array(losses), "output": network.ops.to_numpy(evaluated.predict(x)), **network.state_dict()}
