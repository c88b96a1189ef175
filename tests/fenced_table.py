"""What is run between guard pages: every operation and layer of the cpu backend over the awkward table.

    python -m tests.fenced_table LOG SKIP (behind|before) (1|2|in-turn) (table|drawn|planted)

is the child of `tests/test_guard_pages.py`, see `tests/children.py`. A case is run on ordinary memory and again between
guard pages, and must give the same bits.
"""

import copy
import itertools
import os
import random
import sys
import traceback
import warnings

import numba
import numpy as np

import minicnn
from minicnn import Images
from minicnn.backends import get_backend
from tests import cases, checks, test_contract, test_fusion, test_ladder
from tests.children import Log
from tests.fenced import Fence, is_fenced, without_a_pool

CPU = get_backend("cpu")
MIXED_SIZES = ((7, 9), (5, 5), (8, 6), (33, 12))
SIZES_AROUND_A_CHUNK = (1, 5, 16383, 16384, 16385, 40000)


def table():
    """(name, function without arguments that gives arrays) of every case of the ordinary suite."""
    for dtype in checks.DTYPES:
        word = dtype.__name__
        for case in cases.ALL + cases.MIXED:
            yield f"{case} {word}", lambda case=case, dtype=dtype: checks.run_minicnn(case, "cpu", dtype)
        for size in (1, 4):
            for name, arguments in test_contract.example_calls(CPU, dtype, size).items():
                yield f"{name} {size} {word}", lambda a=(arguments, name): _operation(*a)
        for size in (1, 9):
            for name, make in test_contract.examples_with_images(CPU, dtype, size).items():
                arguments = make()
                yield f"{name} on Images {size} {word}", lambda a=(arguments, name): _operation(*a)
        for name in test_fusion.STACKS:
            for shape in test_fusion.SHAPES:
                yield f"fused {name} {shape} {word}", lambda a=(name, shape, dtype): _fused(*a)
            yield f"fused {name} on Images {word}", lambda a=(name, MIXED_SIZES, dtype): _fused(*a)
        for size, (name, settings) in itertools.product(SIZES_AROUND_A_CHUNK, cases.OPTIMIZERS[::3]):
            yield f"{name} {settings} {size} {word}", lambda a=(name, settings, size, dtype): _steps(*a)
        for size in SIZES_AROUND_A_CHUNK:  # of each image
            x = np.ones((2, size), dtype)
            yield f"dropout {size} {word}", lambda x=x: _operation((x, 0.5, 1, 0, 0), "dropout")
            yield f"add {size} {word}", lambda x=x: _operation((x, x), "add")
        yield from _rungs(dtype)
        yield from drawn_cases(dtype, seed=0, count=60)


def part_of_the_table():
    """A good quarter of it, the same in every run and on both sides."""
    choose = random.Random(0)
    return (case for case in table() if choose.random() < 0.26)


def drawn_table():
    for seed, dtype in itertools.product(range(1, 11), checks.DTYPES):
        yield from drawn_cases(dtype, seed, count=200)


def drawn_cases(dtype, seed, count):
    """Convolutions alone and in blocks, of sizes and channels around those that the kernels are cut at."""
    rng = np.random.default_rng(seed)

    def number(*choices):
        return int(rng.choice(choices))

    for _ in range(count):
        n, c, f = number(1, 2, 3), number(1, 3, 7, 8, 9, 15, 16, 17, 33), number(1, 5, 7, 8, 9, 16, 17, 31, 33)
        kernel = number(1, 2, 3, 3, 3, 4, 5, 6), number(1, 2, 3, 3, 3, 4, 5, 7)
        if rng.random() < 0.5:
            kernel = kernel[:1] * 2
        stride = (number(1, 1, 1, 2, 3), number(1, 1, 1, 2, 3)) if rng.random() < 0.5 else (1, 1)
        padding = tuple(int(rng.integers(0, side + 1)) for side in kernel)
        sizes = [
            tuple(max(side, number(1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 65)) for side in kernel)
            for _ in range(n)
        ]
        mixed = bool(rng.random() < 0.3)
        arguments = ((c, f, kernel, stride, padding), sizes if mixed else sizes[:1] * n, mixed, dtype)
        words = f"{c} {f} kernel {kernel} stride {stride} padding {padding} on {sizes if mixed else (n, sizes[0])}"
        yield f"Conv2d {words} {dtype.__name__}", lambda a=arguments: _conv(*a)
        yield f"block {words} {dtype.__name__}", lambda a=arguments: _block(*a)


def planted():
    """A kernel that reads one number behind its array, one that writes one before it, one that reads uninitialised
    memory, and one that is right. They leave ordinary memory alone."""
    read, write = numba.njit(lambda x: x[x.size]), numba.njit(_write_before)
    read(np.zeros(9, np.float32)[:8])  # compiled, on views of arrays that go on
    write(np.zeros(9)[1:])

    def if_fenced(kernel, array):
        if is_fenced(array):
            kernel(array)
        return {"array": array}

    yield "reads behind", lambda: if_fenced(read, np.zeros(3, np.float32))
    yield "reads behind a large output", lambda: if_fenced(read, CPU.relu_forward(np.ones(70000, np.float32)))
    yield "writes before", lambda: if_fenced(write, np.zeros(1000))
    yield "reads uninitialised memory", lambda: {"y": np.where(np.isnan(np.empty(3, np.float32)), 1, 0)}
    yield "is right", lambda: {"y": np.zeros(3) + 1}


def _write_before(x):
    x[np.uint64(0) - np.uint64(1)] = 1  # unsigned, or Numba would count from the end


def _draw(rng, shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


def _operation(arguments, name):
    arguments = copy.deepcopy(arguments)  # these were made before there was a fence, the copies are within it
    return _numbered(test_contract.results_of(CPU, name, arguments))


def _numbered(arrays):
    return dict(enumerate(map(np.asarray, arrays)))


def _fused(stack, shape, dtype):
    """Forward and backward in training and in evaluation, and predict."""
    rng = np.random.default_rng(0)
    mixed = isinstance(shape[0], tuple)
    channels = 3 if mixed else shape[1]
    x = Images([_draw(rng, (channels, *size), dtype) for size in shape]) if mixed else _draw(rng, shape, dtype)
    results = {}
    for training in (True, False):
        network = test_fusion.make_network(stack, channels, dtype, "cpu").train(training)
        found = _everything(minicnn.fuse(network), network, x)
        results |= {f"{name}, training {training}": result for name, result in found.items()}
    return results


def _everything(computed, network, x):
    y = computed.forward(x)
    rng = np.random.default_rng(1)
    dy = y.like(_draw(rng, y.data.shape, y.dtype)) if isinstance(y, Images) else _draw(rng, y.shape, y.dtype)
    dx = computed.backward(dy)
    grads = {f"grad {name}": layer.grads[key] for name, layer, key in network.named_params()}
    images = {name: checks.numbers_of(a) for name, a in {"y": y, "dx": dx, "predict": computed.predict(x)}.items()}
    return images | grads | network.state_dict()


def _conv(arguments, sizes, mixed, dtype):
    conv = minicnn.Conv2d(*arguments, rng=0).to(dtype=dtype)
    return _everything(
        conv_alone := minicnn.Sequential(conv=conv), conv_alone, _images(arguments[0], sizes, mixed, dtype)
    )


def _block(arguments, sizes, mixed, dtype):
    channels, filters, *_ = arguments
    network = minicnn.Sequential(
        conv1=minicnn.Conv2d(*arguments, rng=0),
        bn1=minicnn.BatchNorm2d(filters),
        relu1=minicnn.ReLU(),
        conv2=minicnn.Conv2d(filters, channels, 3, padding=1, rng=0),
        bn2=minicnn.BatchNorm2d(channels),
        relu2=minicnn.ReLU(),
        pool=minicnn.AdaptiveMaxPool2d(1),
    ).to(dtype=dtype)
    x = _images(channels, sizes, mixed, dtype)
    if len(sizes) == 1:
        network.eval()  # there may be one pixel only
    return _everything(minicnn.fuse(network), network, x)


def _images(channels, sizes, mixed, dtype):
    rng = np.random.default_rng(0)
    images = [_draw(rng, (channels, *size), dtype) for size in sizes]
    return Images(images) if mixed else np.stack(images)


def _steps(name, settings, size, dtype):
    """Two steps on a parameter of `size` numbers, its gradients clipped."""
    rng = np.random.default_rng(0)
    network = minicnn.Sequential(fc=minicnn.Linear(size, 1, rng=0)).to(dtype=dtype)
    optimizer = getattr(minicnn, name)(network, **settings)
    for _ in range(2):
        network["fc"].grads = {key: _draw(rng, param.shape, dtype) for key, param in network["fc"].params.items()}
        minicnn.clip_gradients(network, 0.5)
        optimizer.step()
    return network.state_dict() | optimizer.state_dict()[0]


def _rungs(dtype):
    """All rungs of the convolution, those that no layer calls included."""
    for name, *arrays, stride, padding in test_ladder.problems():
        arrays = [array.astype(dtype) for array in arrays]
        weight = arrays[1]
        for rung in (test_ladder.plain, test_ladder.shifts, test_ladder.tile, test_ladder.winograd):
            fits = stride == (1, 1) and all(pad < kernel for pad, kernel in zip(padding, weight.shape[2:], strict=True))
            if rung is test_ladder.winograd and not fits:
                continue

            def run(rung=rung, arrays=arrays, stride=stride, padding=padding):
                copies = [array.copy() for array in arrays]
                return _numbered(test_ladder.three_passes(rung, *copies, stride, padding))

            yield f"{rung.__name__.rpartition('.')[2]} {name} {dtype.__name__}", run


def check(play, fence):
    expected = {name: np.array(array) for name, array in play().items()}
    with fence:
        results = play()
        for name, array in results.items():
            array = np.asarray(array)
            if array.tobytes() != expected[name].tobytes():
                wrong = np.flatnonzero(array.reshape(-1) != expected[name].reshape(-1))
                raise AssertionError(f"{name}: other numbers than on ordinary memory, {wrong.size} of {array.size}")
        del results


def main(log, skip, side, threads, which):
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    without_a_pool()
    log, fence = Log(log, int(skip)), Fence(side)
    with fence:
        assert is_fenced(np.zeros(3)[1:])
        assert is_fenced(CPU.relu_forward(np.ones((4, 70000), np.float32)))
    tables = {"table": table, "part": part_of_the_table, "drawn": drawn_table, "planted": planted}
    for number, (name, play) in enumerate(tables[which]()):
        # In turn, so that one child for each side meets both numbers, and of every case the two meet both.
        minicnn.set_num_threads((number + (side == "before")) % 2 + 1 if threads == "in-turn" else int(threads))
        log.run(name, lambda play=play: check(play, fence))
    log.say(f"{fence.arrays} arrays")
    log.end()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except BaseException:  # of the table itself; an interpreter that takes down fenced memory never ends
        traceback.print_exc()
        os._exit(1)
