"""Every kernel of the cuda backend compiled for five architectures: nothing spilled, no double precision, little beside
the multiply-adds.

    python -m pytest -m cuda_compile            (needs pip install "minicnn-numba[cuda-check]", a few minutes, no GPU)

The bounds on instructions are those of the toolkit that `cuda-check` names; another may count differently.
"""

import numpy as np
import pytest

from tests.cuda import resources as needs
from tests.cuda.resources import MULTIPROCESSORS, resources

pytestmark = pytest.mark.cuda_compile

LEAST_SHARE = 0.7  # of the multiply-adds among the instructions of the inner loop of a product
LARGEST_GRID = (2**31 - 1, 65535, 65535)  # CUDA C++ Programming Guide, the table that `resources` cites


@pytest.fixture(scope="module", autouse=True)
def _tools(request):
    """Skip where tools are missing, with the reason; but fail where these tests were asked for by their mark."""
    if reason := needs.missing():
        (pytest.fail if "cuda_compile" in request.config.option.markexpr else pytest.skip)(reason)


@pytest.fixture(scope="module")
def everything(request):
    """[(launch, {architecture: its Resources})] of every kernel launched; with --one-in, of two architectures."""
    from tests.cuda.compiled import compiled, two_of_them

    return compiled(two_of_them) if request.config.option.one_in > 1 else compiled()


def faults(launch, found):
    """What is wrong with a kernel as compiled for one architecture, in sentences."""
    registers = found.registers * launch.threads
    share = found.share if launch.tile else 1.0
    wrong = {
        f"{found.spilled} bytes of registers spilled": found.spilled > 0,
        f"{found.stack} bytes of stack": found.stack > 0,
        f"{found.local} instructions on local memory": found.local > 0,
        f"{found.doubles} instructions in double precision": found.doubles > 0,
        f"{registers} registers in a block of {launch.threads} threads": found.blocks(launch.threads) < 1,
        f"{found.shared} bytes of shared memory": found.shared > needs.SHARED_OF_A_BLOCK,
        f"{launch.threads} threads in a block": launch.threads > needs.THREADS_OF_A_BLOCK,
        f"a grid of {launch.blocks}": any(np.greater(launch.blocks, LARGEST_GRID[: len(launch.blocks)])),
        f"multiply-adds are {share:.0%} of the inner loop": share < LEAST_SHARE,
    }
    cc = ".".join(map(str, found.cc))
    return [f"{launch.name} for {cc}: {what}" for what, is_so in wrong.items() if is_so]


@pytest.mark.parametrize("cc", list(MULTIPROCESSORS), ids=lambda cc: ".".join(map(str, cc)))
def test_no_kernel_has_a_fault(everything, cc):
    of_this = [(launch, found[cc]) for launch, found in everything if cc in found]
    assert len(of_this) >= len(everything) // len(MULTIPROCESSORS)
    assert [fault for launch, found in of_this for fault in faults(launch, found)] == []


def test_the_kernels_are_those_that_there_should_be(everything):
    """Nothing would be wrong with an empty list."""
    names = [launch.name for launch, _ in everything]
    assert len(set(names)) == len(names) >= 60
    tiles = {(launch.factory, launch.tile) for launch, _ in everything if launch.tile}
    assert len(tiles) == 9, "three products, each with three tiles"
    assert all(found.multiply_adds >= 64 for launch, by_cc in everything if launch.tile for found in by_cc.values())


def test_compile_ahead_makes_every_kernel_that_a_training_needs():
    """Else the first batch would wait for a compiler after the progress bar has said that all is compiled."""
    from tests.cuda import recorded

    ahead = {launch.kernel for launch in recorded.launches_of_compile_kernels()}
    for shape in recorded.SHAPES:
        for fuse in (True, False):
            launches = recorded.launches_of_step(*shape, fuse) + recorded.launches_of_prediction(*shape, fuse)
            assert [one.name for one in recorded.different(launches) if one.kernel not in ahead] == []


# Kernels with a fault each, which the same check finds.


def faults_of(body, types, threads=64, max_registers=None, cc=(9, 0)):
    from tests.cuda.recorded import Launch

    launch = Launch(body, (1,), threads, ())
    return faults(launch, resources(body, types, cc, max_registers))


def flat(dtype):
    from numba import types
    from numba.np.numpy_support import from_dtype

    return types.Array(from_dtype(np.dtype(dtype)), 1, "C")


def _relu(zero):
    """relu, written with this zero. Not cached, for 0.0 and np.float32(0) are equal."""
    from minicnn.backends.cuda.elementwise import own_number

    def kernel(x, y, size):
        i = own_number()
        if i < size:
            y[np.uint64(i)] = max(x[np.uint64(i)], zero)

    return kernel


def test_a_double_constant_is_found():
    from numba import types

    signature = flat(np.float32), flat(np.float32), types.int64
    assert faults_of(_relu(np.float32(0)), signature) == []
    (fault,) = faults_of(_relu(0.0), signature)
    assert "in double precision" in fault


def _scaled(factor):
    from minicnn.backends.cuda.elementwise import own_number

    def kernel(x, size):
        i = own_number()
        if i < size:
            x[np.uint64(i)] *= factor

    return kernel


@pytest.mark.parametrize("cc", list(MULTIPROCESSORS))
def test_a_double_factor_is_found_on_every_architecture(cc):
    from numba import types

    signature = flat(np.float32), types.int64
    assert faults_of(_scaled(np.float32(0.3)), signature, cc=cc) == []
    assert any("in double precision" in fault for fault in faults_of(_scaled(0.3), signature, cc=cc))


def test_a_float_argument_from_python_is_found():
    """A number that a wrapper forgot to make float32 comes as a float64."""
    from numba import types

    from minicnn.backends.cuda.arrays import _scale

    assert faults_of(_scale, (flat(np.float32), types.float32, types.int64)) == []
    (fault,) = faults_of(_scale, (flat(np.float32), types.float64, types.int64))
    assert "in double precision" in fault


@pytest.fixture
def convolution():
    """The kernel of a plain convolution, as the backend launches it."""
    from tests.cuda.recorded import every_kernel

    return next(launch for launch in every_kernel() if launch.factory == "convolution")


def test_spilled_registers_are_found(convolution):
    found = faults_of(convolution.body, convolution.types, max_registers=40)
    assert any("spilled" in fault for fault in found)
    assert any("on local memory" in fault for fault in found)


def test_more_registers_than_there_are_are_found(convolution):
    (fault,) = faults_of(convolution.body, convolution.types, threads=1024)
    assert "registers in a block of 1024 threads" in fault


def test_a_stack_is_found():
    """An array of a thread's own whose places are known only at run time cannot be in registers."""
    from minicnn.backends.cuda.runtime.device import cuda

    def kernel(x, places):
        own = cuda.local.array(64, np.float32)
        for i in range(64):
            own[places[np.uint64(i)]] = x[np.uint64(i)]
        x[np.uint64(cuda.threadIdx.x)] = own[places[np.uint64(cuda.threadIdx.x)]]

    found = faults_of(kernel, (flat(np.float32), flat(np.int64)))
    assert any("256 bytes of stack" in fault for fault in found)


def test_too_much_shared_memory_is_found():
    """As much as fits a multiprocessor, but not a block that does not ask for it."""
    from minicnn.backends.cuda.runtime.device import cuda

    def kernel(x):
        shared = cuda.shared.array(12 * 1024 + 64, np.float32)
        shared[cuda.threadIdx.x] = x[np.uint64(cuda.threadIdx.x)]
        cuda.syncthreads()
        x[np.uint64(cuda.threadIdx.x)] = shared[63 - cuda.threadIdx.x]

    (fault,) = faults_of(kernel, (flat(np.float32),))
    assert "49408 bytes of shared memory" in fault


def test_an_inner_loop_of_little_but_overhead_is_found():
    """The same sums with signed places, which could count from the end: the index arithmetic outweighs them."""
    from minicnn.backends.cuda.runtime.device import cuda

    ROWS, COLUMNS, SUMS = 16, 16, 16

    def kernel(left, right, y):
        sums = cuda.local.array(SUMS, np.float32)
        for a in range(SUMS):
            sums[a] = np.float32(0)
        for depth in range(ROWS * COLUMNS):
            for a in range(4):
                for b in range(4):
                    sums[a * 4 + b] += left[depth * a - 1] * right[depth * b - 1]
        for a in range(SUMS):
            y[np.uint64(a)] = sums[a]

    found = faults_of(kernel, (flat(np.float32),) * 3)
    assert any("of the inner loop" in fault for fault in found)
