"""The child process: plays the examples that hypothesis draws, or one that is given."""

import ast
import gc
import json
import sys
import types
import warnings

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from numba.core.dispatcher import Dispatcher

import minicnn
from minicnn.backends.protocol import OPERATIONS
from tests.children import Log
from tests.hostile.judge import TOLERANCE, play, require_close
from tests.hostile.recipes import recipes
from tests.hostile.world import (
    CPU,
)

SECONDS = 60  # for one example


def main(log, skip, examples, number):
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    log, operations = Log(log, int(skip), SECONDS), set()
    for name in OPERATIONS:
        setattr(CPU, name, _noted(getattr(CPU, name), operations))

    @seed(int(number))
    @settings(
        max_examples=int(examples),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(recipes())
    def examples_of_hypothesis(recipe):
        log.run(repr(recipe), lambda: play(recipe))

    examples_of_hypothesis()
    log.run("numbers far apart", numbers_far_apart)
    log.run("many blocks", many_blocks)
    log.run("single steps", single_steps)
    reached = {name for name, kernel in kernels() if kernel.overloads}  # compiled, or loaded, when it is first called
    every = {name for name, _ in kernels()}
    log.say(json.dumps({"operations": sorted(operations), "reached": sorted(reached), "kernels": sorted(every)}))
    log.end()


def numbers_far_apart():
    """What Winograd's kernels leave to plain sums: so far apart that hypothesis seldom draws it."""
    found, expected = [], []
    for backend, dtype, numbers in (("cpu", np.float32, found), ("reference", np.float64, expected)):
        layer, x = minicnn.Conv2d(8, 8, 3, padding=1, rng=0).to(backend, dtype), np.full((1, 8, 12, 12), 1e-3, dtype)
        x[0, 0, 5, 5] = 1e6
        numbers += [layer.forward(x), layer.backward(x), *layer.grads.values()]
    require_close({"passes": found}, {"passes": expected}, TOLERANCE["float32"])
    layer = minicnn.Conv2d(8, 8, 3, padding=1, rng=0)
    layer.params["weight"][0, 0, 0, 0] = np.inf
    dx = layer.backward(np.ones_like(layer.forward(x.astype(np.float32))))
    assert np.isinf(dx[0, 0, :-1, :-1]).all()
    assert np.isfinite(dx[0, 1:]).all()


def many_blocks():
    """A batch so large that a block's two gradients are taken in one pass, which hypothesis never draws."""
    found, expected = [], []
    for backend, dtype, numbers in (("cpu", np.float32, found), ("reference", np.float64, expected)):
        rng = np.random.default_rng(0)
        layers = [
            layer
            for channels in (3, 8)
            for layer in (minicnn.Conv2d(channels, 8, 3, padding=1, rng=rng), minicnn.BatchNorm2d(8), minicnn.ReLU())
        ]
        network = minicnn.Sequential(*layers).to(backend, dtype)
        x = rng.standard_normal((9, 3, 32, 32)).astype(np.float32).astype(dtype)
        computed = minicnn.fuse(network) if backend == "cpu" else network
        y = computed.forward(x)
        dy = rng.standard_normal(y.shape).astype(np.float32).astype(dtype)
        numbers += [y, computed.backward(dy), *(grad for layer in layers for grad in layer.grads.values())]
    require_close({"passes": found}, {"passes": expected}, TOLERANCE["float32"])


def single_steps():
    """Those of one parameter, which optimisers make for all in one call."""
    reference = minicnn.get_backend("reference")
    rng = np.random.default_rng(0)
    for name, n_arrays, rest in (
        ("sgd_step_", 3, (0.1, 0.9, True, 0.01)),
        ("adam_step_", 4, (0.1, 0.9, 0.99, 1e-8, 0.01, False, 3)),
    ):
        found = [rng.uniform(0.1, 1, (5, 4)).astype(np.float32) for _ in range(n_arrays)]
        expected = [array.astype(np.float64) for array in found]
        getattr(CPU, name)(*found, *rest)
        getattr(reference, name)(*expected, *rest)
        require_close({name: found}, {name: expected}, TOLERANCE["float32"])


def _noted(function, operations):
    def noted(*arguments, **keywords):
        operations.add(function.__name__)
        return function(*arguments, **keywords)

    return types.FunctionType(
        noted.__code__, noted.__globals__, function.__name__, noted.__defaults__, noted.__closure__
    )


def kernels():
    """All compiled functions of the cpu backend that Python may start: parallel loops, and those called by address.

    But for plain forms that stand beside fast ones: of the convolution's first rung operations call the input gradient
    alone, and that of matrix products is called by tests.
    """
    for found in gc.get_objects():
        if isinstance(found, Dispatcher) and found.py_func.__module__.startswith("minicnn.backends.cpu"):
            options = found.targetoptions
            name = f"{found.py_func.__module__}.{found.py_func.__qualname__}"
            plain = name.endswith(("plain._forward", "plain._weight_gradient", "products.plain_kernel"))
            if (options.get("parallel") or options.get("no_cpython_wrapper")) and not plain:
                yield name, found


if __name__ == "__main__":
    if sys.argv[1] == "play":
        warnings.simplefilter("ignore")
        play(ast.literal_eval(sys.argv[2]))
    else:
        main(*sys.argv[1:])
