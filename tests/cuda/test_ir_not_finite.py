"""Products of numbers that are not finite, in every tile, against the reference; kernels run on the CPU from their IR.

Terms that fill up the last strip must be 0 times 0, for 0 times infinity is NaN.
"""

from unittest import mock

import numpy as np
import pytest

from minicnn.backends import cuda as backend
from minicnn.backends.cuda import matrix
from minicnn.backends.cuda.convolution import passes
from minicnn.backends.cuda.convolution.sides import ACTIVATION, GRADIENT, PLAIN, Sink, Source
from minicnn.backends.cuda.runtime.device_array import from_host
from tests import checks
from tests.cuda.host_device import host_device
from tests.cuda.operations import REFERENCE, called, in_all_orders, on_host
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
