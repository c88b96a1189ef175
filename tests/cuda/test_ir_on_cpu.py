"""Kernels of the cuda backend run on the CPU from the IR that a launch would make of them; see `ir_on_cpu`.

First the executor itself, faults planted and all. Then every operation at the size of a small network: as the reference
says, and the same to the bit in whatever order threads and blocks take their turns. Then the convolutions' kernels in
each variant and tile, and training steps of a whole network.
"""

import inspect
import itertools
import math
from functools import lru_cache
from unittest import mock

import numpy as np
import pytest

import minicnn
from minicnn import Images, backends
from minicnn.backends import cuda as backend
from minicnn.backends.contract import Norm
from minicnn.backends.cuda import matrix
from minicnn.backends.cuda.convolution import kernels, passes, plan
from minicnn.backends.cuda.convolution.sides import ACTIVATION, GRADIENT, MASKED, MOMENTS, PLAIN, Sink, Source
from minicnn.backends.cuda.runtime.device import cuda, inlined
from minicnn.backends.cuda.runtime.device_array import from_host
from minicnn.backends.cuda.tiles import THREADS, TILES
from minicnn.geometry import adaptive_start, adaptive_stop, adaptive_windows, fixed_start, output_size
from tests import checks
from tests.cuda import ir_on_cpu
from tests.cuda.host_device import host_device
from tests.cuda.ir_on_cpu import DivergentBarrier, OutOfBounds, forward, reverse, run, shuffled
from tests.test_contract import CHANGED, OPAQUE, example_calls, examples_with_images

pytestmark = pytest.mark.cuda_ir

REFERENCE = backends.get_backend("reference")
ORDERS = {"forward": lambda: forward, "reverse": lambda: reverse, "shuffled": lambda: shuffled(seed=0)}
PARAMETRIZE_DTYPE = pytest.mark.parametrize("dtype", checks.DTYPES)


@pytest.fixture(autouse=True)
def _tools(request):
    """Skip where tools are missing, with the reason; but fail where these tests were asked for by their mark."""
    reason = ir_on_cpu.missing_tools()
    if reason:
        (pytest.fail if "cuda_ir" in request.config.option.markexpr else pytest.skip)(reason)


def in_all_orders(work):
    """The arrays of work(order), for the first order; they must have the same bits for every order."""
    results = {name: [np.asarray(array) for array in work(order())] for name, order in ORDERS.items()}
    for name, arrays in results.items():
        for position, (array, first) in enumerate(zip(arrays, results["forward"], strict=True)):
            same_bits = array.tobytes() == first.tobytes()  # not within assert, which would describe every byte
            assert same_bits, f"result {position} depends on the order of threads or blocks: {name} is not as forward"
    return results["forward"]


# The executor.


def of_kernel(body, blocks, threads, *arguments):
    """The arrays among the arguments after a run of a kernel, the same in all orders."""

    def work(order):
        copies = [argument.copy() if isinstance(argument, np.ndarray) else argument for argument in arguments]
        run(body, blocks, threads, copies, order)
        return [argument for argument in copies if isinstance(argument, np.ndarray)]

    return in_all_orders(work)


@lru_cache
def sum_of_blocks(threads, wait_first=True, wait_each_time=True):
    """sums[block] = the sum of the block's numbers, by halving; with all of its barriers or without some."""

    def kernel(numbers, sums):
        shared = cuda.shared.array(threads, np.float32)
        thread = cuda.threadIdx.x
        shared[thread] = numbers[np.uint64(cuda.blockIdx.x * threads + thread)]
        if wait_first:
            cuda.syncthreads()
        step = threads // 2
        while step > 0:
            if thread < step:
                shared[thread] += shared[thread + step]
            if wait_each_time:
                cuda.syncthreads()
            step //= 2
        if thread == 0:
            sums[np.uint64(cuda.blockIdx.x)] = shared[0]

    return kernel


@pytest.mark.parametrize("threads", [2, 64, 256])
def test_barriers(threads):
    numbers = np.arange(3 * threads, dtype=np.float32)
    _, sums = of_kernel(sum_of_blocks(threads), 3, threads, numbers, np.zeros(3, np.float32))
    np.testing.assert_array_equal(sums, numbers.reshape(3, threads).sum(axis=1))


@pytest.mark.parametrize("missing", [{"wait_first": False}, {"wait_each_time": False}])
def test_a_missing_barrier_shows(missing):
    numbers, sums = np.arange(128, dtype=np.float32), np.zeros(2, np.float32)
    with pytest.raises(AssertionError, match="depends on the order"):
        of_kernel(sum_of_blocks(64, **missing), 2, 64, numbers, sums)


def test_blocks_that_depend_on_one_another_show():
    def kernel(numbers):
        block = cuda.blockIdx.x
        numbers[np.uint64(block)] = np.float32(block) + (numbers[np.uint64(block - 1)] if block > 0 else np.float32(0))

    with pytest.raises(AssertionError, match="depends on the order"):
        of_kernel(kernel, 5, 1, np.zeros(5, np.float32))


@lru_cache
def divergent(where):
    """Not all threads of block (1, 2) come to one and the same barrier."""

    def kernel(numbers):
        special = cuda.blockIdx.x == 1 and cuda.blockIdx.y == 2
        if special and cuda.threadIdx.x < 3:
            if where == "return":
                return
            if where == "branch":
                cuda.syncthreads()
        elif where == "branch":
            numbers[0] = np.float32(1)
            cuda.syncthreads()
        if where == "return":
            cuda.syncthreads()

    return kernel


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("return", r"in block \(1, 2, 0\) of 8 threads 3 have left and 5 wait at barrier 1"),
        ("branch", r"in block \(1, 2, 0\) of 8 threads 3 wait at barrier 1 and 5 wait at barrier 2"),
    ],
)
def test_a_divergent_barrier_is_refused(where, message):
    for order in ORDERS.values():
        with pytest.raises(DivergentBarrier, match=message):
            run(divergent(where), (2, 3), 8, [np.zeros(1, np.float32)], order())


def test_what_nobody_wrote_shows():
    """Shared memory is new in each block: what the block before has left is not to be seen."""

    def kernel(numbers, counts):
        shared = cuda.shared.array(4, np.float32)
        shared_counts = cuda.shared.array(4, np.int32)
        thread = cuda.threadIdx.x
        if thread < 2:
            shared[thread], shared_counts[thread] = np.float32(7), 7
        cuda.syncthreads()
        i = cuda.blockIdx.x * 4 + thread
        numbers[np.uint64(i)], counts[np.uint64(i)] = shared[thread], shared_counts[thread]

    numbers, counts = of_kernel(kernel, 2, 4, np.zeros(8, np.float32), np.zeros(8, np.int32))
    np.testing.assert_array_equal(numbers, [7, 7, np.nan, np.nan] * 2)
    np.testing.assert_array_equal(counts, [7, 7, -1, -1] * 2)


@lru_cache
def copied(real, read_from, write_to):
    """b[i + write_to] = a[i + read_from]"""

    def kernel(a, b):
        i = cuda.threadIdx.x
        b[np.uint64(i + write_to)] = a[np.uint64(i + read_from)]

    return kernel


@lru_cache
def doubled(real, at):
    """a[i + at] is doubled in place, be it NaN."""

    def kernel(a):
        a[np.uint64(cuda.threadIdx.x + at)] *= real(2)

    return kernel


@PARAMETRIZE_DTYPE
@pytest.mark.parametrize("beyond", [-1, 1])
def test_an_index_beyond_an_end_shows(dtype, beyond):
    a, b = np.arange(6, dtype=dtype), np.zeros(6, dtype)
    np.testing.assert_array_equal(of_kernel(copied(dtype, 0, 0), 1, 6, a, b)[1], a)
    expected = [1, 2, 3, 4, 5, np.nan] if beyond == 1 else [np.nan, 0, 1, 2, 3, 4]
    np.testing.assert_array_equal(of_kernel(copied(dtype, beyond, 0), 1, 6, a, b)[1], expected)
    message = f"wrote {'behind' if beyond == 1 else 'before'} an array of 6 {np.dtype(dtype)} numbers"
    with pytest.raises(OutOfBounds, match=message):
        run(copied(dtype, 0, beyond), 1, 6, [a, b])
    with pytest.raises(OutOfBounds, match=message):  # although the number that it writes is an uninitialised one
        run(copied(dtype, beyond, beyond), 1, 6, [a, b])
    with pytest.raises(OutOfBounds, match=message):
        run(doubled(dtype, beyond), 1, 6, [a])


def test_an_index_beyond_a_shared_array_shows():
    def kernel(numbers):
        shared = cuda.shared.array(8, np.float64)
        shared[np.uint64(cuda.threadIdx.x + 1)] = np.float64(1)
        cuda.syncthreads()
        numbers[0] = shared[0]

    with pytest.raises(OutOfBounds, match=r"beyond a shared array in block \(0, 0, 0\)"):
        run(kernel, 1, 8, [np.zeros(1)])


def test_arrays_that_overlap_are_refused():
    a = np.zeros(8)
    run(copied(np.float64, 0, 0), 1, 4, [a[:4], a[4:]])
    run(copied(np.float64, 0, 0), 1, 4, [a, a])
    with pytest.raises(ValueError, match="overlap"):
        run(copied(np.float64, 0, 0), 1, 4, [a[:5], a[4:]])


def test_blocks_and_threads_of_three_axes():
    def kernel(places):
        thread, block, threads, blocks = cuda.threadIdx, cuda.blockIdx, cuda.blockDim, cuda.gridDim
        i = (thread.z * threads.y + thread.y) * threads.x + thread.x
        n = (block.z * blocks.y + block.y) * blocks.x + block.x
        at = n * (threads.x * threads.y * threads.z) + i
        number = block.z * 1000 + block.y * 100 + block.x * 10
        places[np.uint64(at)] = number * 1000 + thread.z * 100 + thread.y * 10 + thread.x

    (places,) = of_kernel(kernel, (2, 3, 4), (4, 3, 2), np.zeros(24 * 24, np.int64))
    digits = [(z * 100 + y * 10 + x) for z in range(4) for y in range(3) for x in range(2)]
    inner = [(z * 100 + y * 10 + x) for z in range(2) for y in range(3) for x in range(4)]
    np.testing.assert_array_equal(places, [10_000 * block + thread for block in digits for thread in inner])


@PARAMETRIZE_DTYPE
def test_arithmetic_is_of_the_type_of_the_arrays(dtype):
    """Not in double precision and rounded, and no product and sum in one: the bits are NumPy's."""

    def kernel(a, b, scale, y):
        i = np.uint64(cuda.threadIdx.x)
        y[i] = (a[i] * b[i] + a[i]) / (b[i] - scale) - a[i] * scale

    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(200).astype(dtype) for _ in range(2))
    scale = dtype(0.3)
    *_, y = of_kernel(kernel, 1, 200, a, b, scale, np.zeros(200, dtype))
    np.testing.assert_array_equal(y, (a * b + a) / (b - scale) - a * scale)
    assert (y.astype(np.float32) != ((a.astype("d") * b + a) / (b - scale) - a * scale).astype("f")).any() == (
        dtype is np.float32
    )


@PARAMETRIZE_DTYPE
def test_functions_of_the_math_module(dtype):
    def kernel(x, roots, powers, logarithms):
        i = np.uint64(cuda.threadIdx.x)
        roots[i], powers[i], logarithms[i] = math.sqrt(x[i]), math.exp(x[i]), math.log(x[i])

    x = np.linspace(0.01, 30, 100).astype(dtype)
    _, *results = of_kernel(kernel, 1, 100, x, *(np.zeros_like(x) for _ in range(3)))
    for name, result in zip(("sqrt", "exp", "log"), results, strict=True):
        np.testing.assert_array_max_ulp(result, getattr(np, name)(x), maxulp=2)


def test_integers_and_local_arrays():
    """int32 stays int32 where it is multiplied and divided, and each thread has a local array of its own."""

    def kernel(x, y, big, small):
        counts = cuda.local.array(4, np.int64)
        i = cuda.threadIdx.x
        for k in range(4):
            counts[k] = big + i * k
        cuda.syncthreads()
        y[np.uint64(i)] = counts[i % 4] // small - counts[(i + 1) % 4] % small
        x[np.uint64(i)] = np.int32(x[np.uint64(i)] * np.int32(3)) // np.int32(-7)

    i, big, small = np.arange(64), 2**40 + 5, np.int32(1000)
    x = (i * 40_000_000).astype(np.int32)
    x_after, y = of_kernel(kernel, 1, 64, x, np.zeros(64, np.int64), big, small)
    np.testing.assert_array_equal(x_after, (x * np.int32(3)) // np.int32(-7))
    np.testing.assert_array_equal(y, (big + i * (i % 4)) // small - (big + i * ((i + 1) % 4)) % small)


def test_functions_that_are_called():
    """Inlined ones (`inlined`), and ones that stay functions, with a barrier in them."""

    @inlined
    def twice(x):
        return x + x

    @cuda.jit(device=True)
    def neighbour(shared, i):
        cuda.syncthreads()
        return shared[(i + 1) % 32]

    def kernel(x):
        shared = cuda.shared.array(32, np.float32)
        i = cuda.threadIdx.x
        shared[i] = twice(x[np.uint64(i)])
        x[np.uint64(i)] = neighbour(shared, i)

    x = np.arange(32, dtype=np.float32)
    np.testing.assert_array_equal(of_kernel(kernel, 1, 32, x)[0], 2 * np.roll(x, -1))


def test_what_is_not_known_is_refused():
    def fence(x):
        cuda.threadfence()
        x[0] = np.float32(1)

    def dynamic_shared_memory(x):
        shared = cuda.shared.array(0, np.float32)
        shared[0] = x[0]
        x[0] = shared[0]

    for kernel, message in ((fence, r"llvm\.nvvm\.membar"), (dynamic_shared_memory, "no static array")):
        with pytest.raises(NotImplementedError, match=message):
            run(kernel, 1, 1, [np.zeros(1, np.float32)])


@lru_cache
def applied(scalar):
    """y[i] = scalar(*the three numbers of row i), a function of the package's geometry compiled for the device."""
    compiled = inlined(scalar)

    def kernel(numbers, y):
        i = np.uint64(cuda.threadIdx.x)
        a, b, c = numbers[i, 0], numbers[i, 1], numbers[i, 2]
        y[i] = compiled(a, b, c)

    return kernel


@pytest.mark.parametrize("scalar", [fixed_start, adaptive_start, adaptive_stop])
def test_geometry_is_compiled_from_its_own_source(scalar):
    numbers = np.random.default_rng(0).integers(1, 10**6, (200, 3))
    _, y = of_kernel(applied(scalar), 1, len(numbers), numbers, np.zeros(len(numbers), np.int64))
    assert y.tolist() == [scalar(*row) for row in numbers.tolist()]


def test_convolutions_find_their_windows_by_geometry():
    assert plan.window_start.py_func is fixed_start


# The operations. Arguments are those of the contract's tests, larger.

SIZE = 3


def on_backend(ops, value):
    """Arrays, images and numbers of a batchnorm on a backend; anything else, as it is."""
    if isinstance(value, np.ndarray):
        return ops.asarray(value)
    if isinstance(value, Images):
        return value.like(ops.asarray(value.data))
    if isinstance(value, Norm):
        return Norm(*(on_backend(ops, number) for number in value))
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


def check_operation(name, dtype, examples):
    results = in_all_orders(lambda order: results_on_cuda(name, dtype, examples, order))
    if name in OPAQUE:  # what is in it is seen through the operations that take it
        return
    for result, expected in zip(results, results_of_reference(name, dtype, examples), strict=True):
        checks.assert_close(result, expected, dtype, name)


@PARAMETRIZE_DTYPE
@pytest.mark.parametrize("name", example_calls(REFERENCE, np.float32))
def test_operation(name, dtype):
    check_operation(name, dtype, example_calls)


@PARAMETRIZE_DTYPE
@pytest.mark.parametrize("name", examples_with_images(REFERENCE, np.float32))
def test_operation_on_images_of_different_sizes(name, dtype):
    check_operation(name, dtype, examples_with_images)


# Global pooling gives a block to each plane, as it does not at the sizes above.
GLOBAL_POOLING = {"equal": [(23, 30)] * 3, "mixed": [(23, 30), (1, 5), (40, 9)]}


@PARAMETRIZE_DTYPE
@pytest.mark.parametrize("values", ["normal", "ties", "nan"])
@pytest.mark.parametrize("sizes", GLOBAL_POOLING)
@pytest.mark.parametrize("name", ["max_pool2d_forward", "avg_pool2d_forward"])
def test_pooling_of_whole_images(name, sizes, values, dtype):
    draw = np.random.default_rng(0).standard_normal
    images = Images([draw((4, *size)).astype(dtype) for size in GLOBAL_POOLING[sizes]])
    if values == "ties":
        images = images.like(np.round(images.data))
    if values == "nan":
        images.data[::7] = np.nan
    tables = [[adaptive_windows(n, 1) for n in axis] for axis in images.sizes.T.tolist()]

    def on_cuda(order):
        with host_device(order):
            return on_host(called(backend, name, (images, *tables))[0])

    expected = on_host(getattr(REFERENCE, name)(images, *tables))
    for result, wanted in zip(in_all_orders(on_cuda), expected, strict=True):
        checks.assert_close(result, wanted, dtype, name)


@PARAMETRIZE_DTYPE
@pytest.mark.parametrize("n_classes", [THREADS // 2 + 1, 2 * THREADS + 1])
def test_log_softmax_of_many_classes(n_classes, dtype):
    """So many that the second half of a block's threads have something to say, at every barrier."""
    x, dy = (30 * np.random.default_rng(0).standard_normal((2, 3, n_classes))).astype(dtype)
    y = REFERENCE.log_softmax_forward(x)
    for name, arguments in (("log_softmax_forward", (x,)), ("log_softmax_backward", (dy, y))):

        def on_cuda(order, name=name, arguments=arguments):
            with host_device(order):
                return on_host(called(backend, name, arguments)[0])

        (result,) = in_all_orders(on_cuda)
        checks.assert_close(result, getattr(REFERENCE, name)(*arguments), dtype, name)


# The kernels of a convolution: every variant that is launched, in every tile. Images are pixels (C, P) side by side.

KERNEL, STRIDE, PADDING = (3, 2), (2, 1), (1, 2)
CHANNELS, FILTERS = 5, 70  # in tiles of 16, 32 and 64 rows
SIZES = {"equal": [(17, 13)] * 4, "mixed": [(40, 9), (1, 1), (5, 31), (2, 3), (17, 13)]}
PARAMETRIZE_TILE = pytest.mark.parametrize("tile", TILES)
KINDS = {PLAIN: "plain", ACTIVATION: "activation", GRADIENT: "gradient", MOMENTS: "moments", MASKED: "masked"}
PARAMETRIZE_SIZES = pytest.mark.parametrize("sizes", SIZES)


def output_sizes(sizes):
    pairs = list(zip(KERNEL, STRIDE, PADDING, strict=True))
    return [tuple(output_size(n, *of_axis) for n, of_axis in zip(size, pairs, strict=True)) for size in sizes]


class Pixels:
    """Random pixels of some channels, what lies there as a raw output y, and a block's coefficients."""

    def __init__(self, channels, sizes, seed):
        rng = np.random.default_rng(seed)
        self.channels, self.sizes = channels, np.array(sizes)
        self.x, self.raw = rng.standard_normal((2, channels, self.sizes.prod(axis=1).sum())).astype(np.float32)
        self.coefficients = rng.standard_normal((5, channels)).astype(np.float32)

    def spoil(self, *bad):
        """Put such pixels into the last channel, far from one another."""
        places = np.arange(len(bad)) * (self.x.shape[1] // len(bad))
        self.x[-1, 40 + places] = bad

    def as_side(self, side, kind):
        """As a Source or Sink."""
        from minicnn.backends.cuda.runtime.device_array import from_host

        x, raw = (from_host(checks.cut_apart(pixels[None, :, None], self.sizes).data) for pixels in (self.x, self.raw))
        return side(x, self.channels, self.sizes, kind, raw, from_host(self.coefficients))

    def distance_and_z(self, y):
        mean, scale, shift, *_ = self.coefficients.astype(np.float64)[:, :, None]
        return y - mean, scale * (y - mean) + shift

    def read(self, kind):
        """What a pass reads, as Images in float64."""
        _, scale, _, c1, c2 = self.coefficients.astype(np.float64)[:, :, None]
        pixels = self.x.astype(np.float64)
        if kind == ACTIVATION:
            pixels = np.maximum(self.distance_and_z(pixels)[1], 0)
        if kind == GRADIENT:
            pixels = scale * pixels - c1 - c2 * self.distance_and_z(self.raw)[0]
        return checks.cut_apart(pixels[None, :, None], self.sizes)

    def written(self, kind, pixels, columns):
        """What a pass writes that has worked out `pixels`, and its records for each tile."""
        distance, z = self.distance_and_z(self.raw)
        if kind == MASKED:
            pixels = np.where(z > 0, pixels, 0)
        records = []
        for first in range(0, pixels.shape[1], columns):
            tile = pixels[:, first : first + columns]
            if kind == MOMENTS:
                mean = tile.mean(axis=1)
                records.append([mean, ((tile - mean[:, None]) ** 2).sum(axis=1)])
            elif kind == MASKED:
                records.append([tile.sum(axis=1), (tile * distance[:, first : first + columns]).sum(axis=1)])
        return [pixels, *([np.transpose(records, (0, 2, 1))] if records else [])]


def in_tile(tile, work):
    """work() of kernels with this tile, in all orders."""

    def in_order(order):
        with host_device(order), mock.patch.object(passes, "tile_for", return_value=tile):
            return work()

    return in_all_orders(in_order)


def assert_all_close(results, expected, what):
    for result, wanted in zip(results, expected, strict=True):
        checks.assert_close(result, wanted, np.float32, what)


@PARAMETRIZE_SIZES
@PARAMETRIZE_TILE
@pytest.mark.parametrize(
    ("source", "sink"),
    [(PLAIN, PLAIN), (PLAIN, MOMENTS), (ACTIVATION, PLAIN), (ACTIVATION, MOMENTS)],
    ids=KINDS.get,
)
def test_convolution_kernel(source, sink, tile, sizes):
    below, above = Pixels(CHANNELS, SIZES[sizes], 0), Pixels(FILTERS, output_sizes(SIZES[sizes]), 1)
    rng = np.random.default_rng(2)
    weight = rng.standard_normal((FILTERS, CHANNELS, *KERNEL)).astype(np.float32)
    bias = rng.standard_normal(FILTERS).astype(np.float32)

    def forward_pass():
        to = above.as_side(Sink, sink)
        records = passes.forward(below.as_side(Source, source), from_host(weight), from_host(bias), to, STRIDE, PADDING)
        return side_by_side(to), *([] if records is None else [records.pairs.numpy()])

    y = REFERENCE.conv2d_forward(below.read(source), weight, bias, STRIDE, PADDING)
    expected = above.written(sink, checks.side_by_side(y)[0, :, 0], tile[1])
    assert_all_close(in_tile(tile, forward_pass), expected, "forward")


@PARAMETRIZE_SIZES
@PARAMETRIZE_TILE
@pytest.mark.parametrize(("source", "sink"), [(PLAIN, PLAIN), (GRADIENT, PLAIN), (GRADIENT, MASKED)], ids=KINDS.get)
def test_input_gradient_kernel(source, sink, tile, sizes):
    """Here the input has the many channels."""
    above, below = Pixels(CHANNELS, output_sizes(SIZES[sizes]), 0), Pixels(FILTERS, SIZES[sizes], 1)
    weight = np.random.default_rng(2).standard_normal((CHANNELS, FILTERS, *KERNEL)).astype(np.float32)

    def backward_pass():
        to = below.as_side(Sink, sink)
        records = passes.input_gradient(above.as_side(Source, source), from_host(weight), to, STRIDE, PADDING)
        return side_by_side(to), *([] if records is None else [records.pairs.numpy()])

    dx = REFERENCE.conv2d_input_gradient(above.read(source), weight, below.sizes, STRIDE, PADDING)
    expected = below.written(sink, checks.side_by_side(dx)[0, :, 0], tile[1])
    assert_all_close(in_tile(tile, backward_pass), expected, "input gradient")


@PARAMETRIZE_SIZES
@PARAMETRIZE_TILE
@pytest.mark.parametrize(
    ("x_source", "dy_source"), [(PLAIN, PLAIN), (PLAIN, GRADIENT), (ACTIVATION, GRADIENT)], ids=KINDS.get
)
def test_weight_gradient_kernel(x_source, dy_source, tile, sizes):
    x, dy = Pixels(CHANNELS, SIZES[sizes], 0), Pixels(FILTERS, output_sizes(SIZES[sizes]), 1)

    def backward_pass():
        sides = x.as_side(Source, x_source), dy.as_side(Source, dy_source)
        return [passes.weight_gradient(*sides, KERNEL, STRIDE, PADDING, np.dtype(np.float32)).numpy()]

    expected = REFERENCE.conv2d_weight_gradient(dy.read(dy_source), x.read(x_source), KERNEL, STRIDE, PADDING)
    assert_all_close(in_tile(tile, backward_pass), [expected], "weight gradient")


# Every barrier of the products is needed: without it, the order of threads shows. One that is not would only cost time.

FACTORIES = kernels.convolution, kernels.weight_gradient, matrix.matrix_product


def pieces_of(factory):
    """The source of a factory of kernels, between its barriers."""
    return inspect.getsource(factory).split("cuda.syncthreads()")


def without_barrier(factory, number):
    """The same factory, but threads of its kernels do not wait at this barrier."""
    barriers = ["cuda.syncthreads()"] * (len(pieces_of(factory)) - 1) + [""]
    barriers[number] = "pass"
    source = "".join(itertools.chain(*zip(pieces_of(factory), barriers, strict=True)))
    namespace = dict(vars(inspect.getmodule(factory)))
    exec(source, namespace)
    return namespace[factory.__name__]


@pytest.mark.parametrize(
    ("factory", "number"),
    [(factory, number) for factory in FACTORIES for number in range(len(pieces_of(factory)) - 1)],
)
def test_every_barrier_of_a_product_is_needed(factory, number):
    x, y = Pixels(CHANNELS, SIZES["equal"], 0), Pixels(FILTERS, output_sizes(SIZES["equal"]), 1)
    weight = np.random.default_rng(2).standard_normal((FILTERS, CHANNELS, *KERNEL)).astype(np.float32)

    def work():
        source, matrix_of_weights = x.as_side(Source, PLAIN), from_host(weight.reshape(FILTERS, -1))
        if factory.__name__ == "convolution":
            to = y.as_side(Sink, MOMENTS)
            records = passes.forward(source, from_host(weight), None, to, STRIDE, PADDING)
            return side_by_side(to), records.pairs.numpy()
        if factory.__name__ == "weight_gradient":
            dy = y.as_side(Source, PLAIN)
            return [passes.weight_gradient(source, dy, KERNEL, STRIDE, PADDING, weight.dtype).numpy()]
        return [backend.linear_forward(matrix_of_weights, matrix_of_weights, None).numpy()]

    in_tile(TILES[-1], work)
    changed = without_barrier(factory, number)
    with (
        mock.patch.object(inspect.getmodule(factory), factory.__name__, changed),
        pytest.raises(AssertionError, match="depends on the order"),
    ):
        in_tile(TILES[-1], work)


# What is not finite is held against the reference too. Terms that fill up the last strip must be 0 times 0, for
# 0 times infinity is NaN.

NOT_FINITE = np.inf, np.nan, -np.inf


@PARAMETRIZE_SIZES
@PARAMETRIZE_TILE
@pytest.mark.parametrize("source", [PLAIN, ACTIVATION], ids=KINDS.get)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_forward_of_pixels_that_are_not_finite(source, tile, sizes):
    below, above = Pixels(CHANNELS, SIZES[sizes], 0), Pixels(FILTERS, output_sizes(SIZES[sizes]), 1)
    below.spoil(*4 * NOT_FINITE)
    weight = np.random.default_rng(2).standard_normal((FILTERS, CHANNELS, *KERNEL)).astype(np.float32)
    bias = np.zeros(FILTERS, np.float32)

    def forward_pass():
        to = above.as_side(Sink, PLAIN)
        passes.forward(below.as_side(Source, source), from_host(weight), from_host(bias), to, STRIDE, PADDING)
        return [side_by_side(to)]

    y = REFERENCE.conv2d_forward(below.read(source), weight, bias, STRIDE, PADDING)
    assert_all_close(in_tile(tile, forward_pass), [some_not_finite(checks.side_by_side(y)[0, :, 0])], "forward")


@PARAMETRIZE_SIZES
@PARAMETRIZE_TILE
@pytest.mark.parametrize("source", [PLAIN, GRADIENT], ids=KINDS.get)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_input_gradient_of_gradients_that_are_not_finite(source, tile, sizes):
    above, below = Pixels(CHANNELS, output_sizes(SIZES[sizes]), 0), Pixels(FILTERS, SIZES[sizes], 1)
    above.spoil(*4 * NOT_FINITE)
    weight = np.random.default_rng(2).standard_normal((CHANNELS, FILTERS, *KERNEL)).astype(np.float32)

    def backward_pass():
        to = below.as_side(Sink, PLAIN)
        passes.input_gradient(above.as_side(Source, source), from_host(weight), to, STRIDE, PADDING)
        return [side_by_side(to)]

    dx = REFERENCE.conv2d_input_gradient(above.read(source), weight, below.sizes, STRIDE, PADDING)
    expected = some_not_finite(checks.side_by_side(dx)[0, :, 0])
    assert_all_close(in_tile(tile, backward_pass), [expected], "input gradient")


@PARAMETRIZE_TILE
@pytest.mark.parametrize("spoilt", ["x", "dy"])
@pytest.mark.parametrize("bad", NOT_FINITE)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_weight_gradient_of_what_is_not_finite(bad, spoilt, tile):
    x, dy = Pixels(CHANNELS, SIZES["mixed"], 0), Pixels(FILTERS, output_sizes(SIZES["mixed"]), 1)
    {"x": x, "dy": dy}[spoilt].spoil(bad)

    def backward_pass():
        sides = x.as_side(Source, PLAIN), dy.as_side(Source, PLAIN)
        return [passes.weight_gradient(*sides, KERNEL, STRIDE, PADDING, np.dtype(np.float32)).numpy()]

    expected = REFERENCE.conv2d_weight_gradient(dy.read(PLAIN), x.read(PLAIN), KERNEL, STRIDE, PADDING)
    assert_all_close(in_tile(tile, backward_pass), [some_not_finite(expected)], "weight gradient")


@PARAMETRIZE_TILE
@pytest.mark.parametrize("bad", NOT_FINITE)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_products_of_matrices_that_are_not_finite(bad, tile):
    rng = np.random.default_rng(0)
    x, weight, dy = (rng.standard_normal(shape).astype(np.float32) for shape in ((19, 37), (21, 37), (19, 21)))
    for spoilt in (x, weight, dy):
        spoilt[-1, -1] = bad
    calls = {
        "linear_forward": (x, weight, None),
        "linear_input_gradient": (dy, weight),
        "linear_weight_gradient": (dy, x),
    }
    for name, arguments in calls.items():

        def on_cuda(order, name=name, arguments=arguments):
            with host_device(order), mock.patch.object(matrix, "tile_for", return_value=tile):
                return on_host(called(backend, name, arguments)[0])

        expected = some_not_finite(getattr(REFERENCE, name)(*arguments))
        assert_all_close(in_all_orders(on_cuda), [expected], name)


def some_not_finite(expected):
    """`expected`, after a look whether it has infinities or NaN, and finite numbers; else a test would show nothing."""
    assert 0 < np.isfinite(expected).sum() < expected.size
    return expected


def side_by_side(sink):
    """The pixels (C, P) that have been written to a sink."""
    return checks.side_by_side(Images.of(sink.y.numpy(), sink.channels, sink.sizes))[0, :, 0]


# A whole network.

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


@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("batch", BATCHES)
def test_training_steps_of_a_network(batch, fuse):
    with host_device(shuffled(seed=0)):
        results = trained("cuda", fuse, batch)
    for judge in ("reference", "cpu"):
        checks.assert_same_results(results, trained(judge, fuse, batch), np.float32, f"trained, against {judge}")
