"""What QEMU runs: each operation of the cpu backend once, forward and backward, in float32.

    python -m tests.aarch64.emulated PART…        of operations, convolutions, networks

Prints a line for each check, and at last which operations were called and which there are, as JSON. Nearly all of the
time goes into compiling.
"""

import functools
import json
import platform
import sys
import time

import numpy as np

import minicnn
from minicnn import Images
from minicnn.backends import get_backend
from minicnn.backends.protocol import OPERATIONS
from tests import cases, checks, test_contract, test_fusion

CPU, REFERENCE = get_backend("cpu"), get_backend("reference")
FLOAT = np.float32

# x (N, C, H, W) or the sizes of `Images` in its place, filters, kernel, stride, padding.
CONVOLUTIONS = {
    "winograd": ((2, 16, 13, 18), 24, (3, 3), (1, 1), (1, 1)),
    "winograd, a large kernel": ((1, 9, 12, 11), 8, (5, 5), (1, 1), (2, 2)),
    "winograd, images of different sizes": ((8, ((9, 6), (4, 21))), 8, (3, 3), (1, 1), (1, 1)),
    "tile": ((2, 3, 12, 17), 20, (3, 3), (1, 1), (1, 1)),
    "tile, stride": ((2, 9, 12, 11), 8, (3, 3), (2, 2), (1, 1)),
    "matrix": ((2, 9, 12, 11), 14, (1, 1), (1, 1), (0, 0)),
    "matrix, stride": ((2, 9, 12, 11), 14, (1, 1), (2, 2), (0, 0)),
}
STACKS = ("simplenet", "without pooling", "stride")


def operations():
    """The examples of the contract, and the optimisers."""
    for name in test_contract.example_calls(REFERENCE, FLOAT):
        if not name.startswith("fused"):
            found, wanted = (
                test_contract.results_of(ops, name, test_contract.example_calls(REFERENCE, FLOAT)[name])
                for ops in (CPU, REFERENCE)
            )
            for actual, expected in zip(found, wanted, strict=True):
                checks.assert_close(actual, expected, FLOAT, name)
            yield name
    mixed = cases.MIXED_RELU[:1] + cases.MIXED_BATCHNORM[:1] + cases.MIXED_POOL[:1]
    for case in mixed:
        checks.assert_same_results(*(checks.run_minicnn(case, ops, FLOAT) for ops in ("cpu", "reference")), FLOAT, case)
        yield str(case)
    for name, kwargs in cases.OPTIMIZERS[2::5]:
        checks.check_optimizer_against_naive(name, kwargs, backends=["cpu"])
        yield f"{name} {kwargs}"


def convolutions():
    """Each algorithm in all three passes, also on an image that Winograd's transforms would spoil."""
    for name, arguments in CONVOLUTIONS.items():
        _convolve(*_drawn(*arguments))
        yield name
    x, weight, bias, dy, *windows = _drawn((1, 8, 12, 12), 8, (3, 3), (1, 1), (1, 1))
    x *= FLOAT(1e-3)
    x[0, 0, 5, 5] = 1e6
    _convolve(x, weight, bias, dy, *windows)
    yield "winograd, numbers far apart"


def _drawn(x, filters, kernel_size, stride, padding):
    rng = np.random.default_rng(0)

    def batch(channels, shape):
        return rng.standard_normal((*shape[:1], channels, *shape[1:])).astype(FLOAT)

    def images(channels, sizes):
        return Images([rng.standard_normal((channels, *size)).astype(FLOAT) for size in sizes])

    def output(height, width):
        return tuple(
            (side + 2 * pad - kernel) // step + 1
            for side, kernel, step, pad in zip((height, width), kernel_size, stride, padding, strict=True)
        )

    mixed = len(x) == 2
    channels = x[0] if mixed else x[1]
    weight, bias = batch(channels, (filters, *kernel_size)), batch(filters, ())
    if mixed:
        x, dy = images(channels, x[1]), images(filters, [output(*size) for size in x[1]])
    else:
        x, dy = batch(channels, (x[0], *x[2:])), batch(filters, (x[0], *output(*x[2:])))
    return x, weight, bias.reshape(-1), dy, stride, padding


def _convolve(x, weight, bias, dy, stride, padding):
    size = x.sizes if isinstance(x, Images) else x.shape[2:]
    passes = {
        "conv2d_forward": (x, weight, bias, stride, padding),
        "conv2d_input_gradient": (dy, weight, size, stride, padding),
        "conv2d_weight_gradient": (dy, x, weight.shape[2:], stride, padding),
        "conv2d_bias_gradient": (dy,),
    }
    for name, arguments in passes.items():
        found, wanted = (getattr(ops, name)(*arguments) for ops in (CPU, REFERENCE))
        checks.assert_close(checks.numbers_of(found), checks.numbers_of(wanted), FLOAT, name)


def networks():
    """Fused blocks against the plain layers of `reference` in float64, then steps of the `Trainer`."""
    for stack in STACKS:
        for training in (True, False):
            found, wanted = (_everything(stack, training, *one) for one in (("cpu", FLOAT), ("reference", np.float64)))
            for name, expected in wanted.items():
                scale = test_fusion.scale_of(name, wanted)
                test_fusion.assert_close(found[name], expected, scale, FLOAT, f"{stack}: {name}")
            yield f"fused {stack}, {'training' if training else 'evaluation'}"
    found, wanted = (
        ops.fused_output(ops.fused_renormalised(*test_contract.example_calls(ops, FLOAT)["fused_renormalised"]))
        for ops in (CPU, REFERENCE)
    )
    checks.assert_close(found, wanted, FLOAT, "fused_renormalised")
    yield "a block with another norm"
    for fuse in (True, False):
        np.testing.assert_allclose(_losses("cpu", fuse), _losses("reference", False), rtol=1e-4)
        yield f"steps of a trainer, {'fused' if fuse else 'plain'}"


def _everything(stack, training, backend, dtype):
    network = test_fusion.make_network(stack, 3, dtype, backend).train(training)
    x = np.random.default_rng(2).standard_normal((3, 3, 12, 18)).astype(FLOAT).astype(dtype)
    return test_fusion.everything(minicnn.fuse(network) if backend == "cpu" else network, network, x)


def _losses(backend, fuse):
    network, loss = minicnn.SimpleNet(rng=0).to(backend), minicnn.CrossEntropyLoss().to(backend)
    trainer = minicnn.Trainer(network, loss, minicnn.Adam(network), fuse=fuse, quiet=True)
    x, labels = np.random.default_rng(0).standard_normal((4, 3, 12, 12)).astype(FLOAT), np.array([3, 0, 9, 3])
    return [trainer.step(x, labels) for _ in range(3)]


PARTS = {part.__name__: part for part in (operations, convolutions, networks)}


def main(*parts):
    called, started = set(), time.monotonic()
    for name in OPERATIONS:
        setattr(CPU, name, _noted(name, called))
    for part in parts:
        for check in PARTS[part]():
            print(f"{platform.machine()} {time.monotonic() - started:4.0f} s  {part}: {check}", flush=True)
    print(json.dumps({"called": sorted(called), "all": sorted(set(OPERATIONS) - test_contract.NOT_AN_ARRAY_OPERATION)}))


def _noted(name, called):
    function = getattr(CPU, name)

    @functools.wraps(function)
    def operation(*arguments, **keywords):
        called.add(name)
        return function(*arguments, **keywords)

    return operation


if __name__ == "__main__":
    main(*sys.argv[1:])
