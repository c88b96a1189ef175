"""The kernels of a convolution in every variant that is launched and every tile, run on the CPU from their own IR; and
every barrier of the products is needed."""

import inspect
import itertools
from unittest import mock

import numpy as np
import pytest

from minicnn.backends import cuda as backend
from minicnn.backends.cuda import matrix
from minicnn.backends.cuda.convolution import kernels, passes
from minicnn.backends.cuda.convolution.sides import ACTIVATION, GRADIENT, MASKED, MOMENTS, PLAIN, Sink, Source
from minicnn.backends.cuda.runtime.device_array import from_host
from minicnn.backends.cuda.tiles import TILES
from tests import checks
from tests.cuda.operations import REFERENCE
from tests.cuda.pixels import (
    CHANNELS,
    FILTERS,
    KERNEL,
    KINDS,
    PADDING,
    PARAMETRIZE_SIZES,
    PARAMETRIZE_TILE,
    SIZES,
    STRIDE,
    Pixels,
    assert_all_close,
    in_tile,
    output_sizes,
    side_by_side,
)

pytestmark = pytest.mark.cuda_ir


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
