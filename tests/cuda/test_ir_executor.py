"""The executor `ir_on_cpu` itself: barriers, indices, arithmetic, and faults that are planted for it to find."""

import math
from functools import lru_cache

import numpy as np
import pytest

from minicnn.backends.cuda.convolution import plan
from minicnn.backends.cuda.runtime.device import cuda, inlined
from minicnn.geometry import adaptive_start, adaptive_stop, fixed_start
from tests.cuda.ir_on_cpu import DivergentBarrier, OutOfBounds, run
from tests.cuda.operations import ORDERS, PARAMETRIZE_DTYPE, in_all_orders

pytestmark = pytest.mark.cuda_ir


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
