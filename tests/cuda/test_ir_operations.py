"""Every operation of the cuda backend, its kernels run on the CPU from their own IR (see `ir_on_cpu`).

At the size of a small network: as the reference says, and the same to the bit in whatever order threads and blocks take
their turns. Then training steps of a whole network.
"""

import numpy as np
import pytest

from minicnn import Images
from minicnn.backends import cuda as backend
from minicnn.backends.cuda.tiles import THREADS
from minicnn.geometry import adaptive_windows
from tests import checks
from tests.cuda.host_device import host_device
from tests.cuda.ir_on_cpu import shuffled
from tests.cuda.operations import (
    BATCHES,
    PARAMETRIZE_DTYPE,
    REFERENCE,
    called,
    in_all_orders,
    on_host,
    results_of_reference,
    results_on_cuda,
    trained,
)
from tests.test_contract import OPAQUE, example_calls, examples_with_images

pytestmark = pytest.mark.cuda_ir


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


@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("batch", BATCHES)
def test_training_steps_of_a_network(batch, fuse):
    with host_device(shuffled(seed=0)):
        results = trained("cuda", fuse, batch)
    for judge in ("reference", "cpu"):
        checks.assert_same_results(results, trained(judge, fuse, batch), np.float32, f"trained, against {judge}")
