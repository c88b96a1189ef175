"""The ladder of the CPU's convolution: each rung gives the numbers of the one below."""

import numpy as np
import pytest

from minicnn.backends.cpu import conv
from minicnn.backends.cpu.convolution import matrix, plain, shifts, tile, winograd
from minicnn.backends.cpu.convolution.registers import LANES
from tests import cases

pytestmark = pytest.mark.quick

# Beside the awkward table: many channels and filters, images of many blocks, and every remainder of a vector.
LARGE = [
    # x (N, C, H, W), filters, kernel, stride, padding
    ((10, 16, 32, 32), 32, (3, 3), (1, 1), (1, 1)),
    ((2, 33, 21, 50), 49, (3, 3), (1, 1), (1, 1)),
    ((1, 64, 5, 3), 10, (3, 3), (1, 1), (2, 2)),
    ((2, 17, 13, 50), 33, (3, 3), (1, 1), (0, 0)),
    ((1, 8, 3, 300), 8, (3, 3), (1, 1), (1, 1)),
    ((40, 20, 4, 4), 20, (3, 3), (1, 1), (1, 1)),
    ((3, 20, 14, 15), 40, (1, 1), (1, 1), (0, 0)),
    ((2, 17, 21, 10), 33, (5, 5), (1, 1), (2, 2)),
    ((1, 3, 40, 41), 64, (7, 7), (2, 2), (3, 3)),
    ((1, 40, 30, 130), 20, (3, 3), (2, 2), (1, 1)),
    ((2, 6, 12, 11), 5, (3, 5), (3, 2), (0, 2)),
    *(((1, LANES + extra, 9, 9), LANES - extra, (3, 3), (1, 1), (1, 1)) for extra in (-1, 0, 1)),
]


def problems():
    """(name, x, weight, bias, dy, stride, padding) in float64 that float32 holds exactly."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.standard_normal(shape).astype(np.float32).astype(np.float64)

    table = [
        (case.x, *case.args[1:3], settings.get("stride", 1), settings.get("padding", 0))
        for case in cases.CONV
        if len(case.x) == 4
        and not {"dilation", "groups"} & (settings := dict(case.kwargs)).keys()
        and not isinstance(settings.get("padding"), str)
    ]
    for x_shape, filters, *windows in table + LARGE:
        kernel, stride, padding = (pair if isinstance(pair, tuple) else (pair, pair) for pair in windows)
        x, weight, bias = draw(*x_shape), draw(filters, x_shape[1], *kernel), draw(filters)
        dy = draw(*plain.forward(x, weight, bias, stride, padding).shape)
        yield f"{x_shape} {filters} {kernel} {stride} {padding}", x, weight, bias, dy, stride, padding


def three_passes(rung, x, weight, bias, dy, stride, padding):
    kernel_size = weight.shape[2:]
    if rung in (tile, winograd):
        reads = conv.reading(x, rung), conv.lanes_reading(dy)
        return (
            conv.convolve(rung, x, weight, bias, stride, padding),
            conv.convolve_back(rung, conv.reading(dy, rung), weight, np.empty_like(x), stride, padding),
            rung.run_weight_gradient(*reads, kernel_size, stride, padding, x.dtype),
        )
    return (
        rung.forward(x, weight, bias, stride, padding),
        rung.input_gradient(dy, weight, x.shape[2:], stride, padding),
        rung.weight_gradient(dy, x, kernel_size, stride, padding),
    )


@pytest.mark.parametrize("rung", [shifts, tile, winograd], ids=["shifts", "tile", "winograd"])
def test_each_rung_gives_the_numbers_of_the_definition(rung):
    compared = 0
    for name, *arrays, stride, padding in problems():
        weight = arrays[1]
        # Not `supports`, which also asks whether it pays: with one channel, too, the numbers must be right.
        fits = stride == (1, 1) and all(pad < kernel for pad, kernel in zip(padding, weight.shape[2:], strict=True))
        if rung is winograd and not fits:
            continue
        expected = three_passes(plain, *arrays, stride, padding)
        for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-12)):
            results = three_passes(rung, *(array.astype(dtype) for array in arrays), stride, padding)
            for what, result, wanted in zip(("y", "dx", "dweight"), results, expected, strict=True):
                assert result.dtype == dtype
                assert result.shape == wanted.shape, f"{name} {what}"
                worst = np.abs(result - wanted).max() / np.abs(wanted).max()
                assert worst <= tolerance, f"{name} {what} {dtype.__name__}: off by {worst:.1e} of the largest"
        compared += 1
    assert compared >= (25 if rung is winograd else 60)


def test_the_matrix_product_gives_the_numbers_of_the_definition():
    one_by_one = [problem for problem in problems() if problem[2].shape[2:] == (1, 1)]
    one_by_one += [("strides", *draw_one_by_one((3, 19, 13, 37), 21, (3, 2)))]
    one_by_one += [("a long row", *draw_one_by_one((2, 5, 1, 1100), 8, (1, 1)))]
    compared = 0
    for name, x, weight, bias, dy, stride, padding in one_by_one:
        if not matrix.supports(weight.shape[2:], padding):
            continue
        expected = plain.forward(x, weight, bias, stride, padding)
        np.testing.assert_allclose(conv.conv2d_forward(x, weight, bias, stride, padding), expected, atol=1e-12)
        expected = plain.input_gradient(dy, weight, x.shape[2:], stride, padding)
        dx = conv.conv2d_input_gradient(dy, weight, x.shape[2:], stride, padding)
        np.testing.assert_allclose(dx, expected, atol=1e-12, err_msg=name)
        compared += 1
    assert compared >= 5


def draw_one_by_one(x_shape, filters, stride):
    rng = np.random.default_rng(1)
    x, weight, bias = rng.standard_normal(x_shape), rng.standard_normal((filters, x_shape[1], 1, 1)), None
    dy = rng.standard_normal(plain.forward(x, weight, bias, stride, (0, 0)).shape)
    return x, weight, bias, dy, stride, (0, 0)


def test_winograds_transforms_are_a_convolution():
    """In one dimension, with fractions that are exact: output_1d(weight_1d(g) * input_1d(d)) = d correlated with g."""
    rng = np.random.default_rng(0)
    d, g = rng.integers(-9, 9, 6).astype(float), rng.integers(-9, 9, 3).astype(float)
    products = [a * b for a, b in zip(winograd.weight_1d(g), winograd.input_1d(d), strict=True)]
    np.testing.assert_allclose(winograd.output_1d(products), np.correlate(d, g, "valid"), atol=1e-12)


@pytest.mark.parametrize(
    ("transform", "adjoint", "sizes"),
    [
        (winograd.output_1d, winograd.output_adjoint_1d, (6, 4)),
        (winograd.weight_1d, winograd.weight_adjoint_1d, (3, 6)),
    ],
)
def test_the_adjoint_transforms_are_the_transposed_matrices(transform, adjoint, sizes):
    n_in, n_out = sizes
    matrix = np.array([transform(list(unit)) for unit in np.eye(n_in)]).T
    transposed = np.array([adjoint(list(unit)) for unit in np.eye(n_out)]).T
    assert matrix.shape == (n_out, n_in)
    np.testing.assert_allclose(transposed, matrix.T, atol=1e-15)


def test_winograds_error_is_what_its_docstring_says():
    rng = np.random.default_rng(0)
    for channels in (16, 64, 300):
        x = rng.standard_normal((2, channels, 16, 16)).astype(np.float32)
        weight = rng.standard_normal((20, channels, 3, 3)).astype(np.float32)
        windows = (None, (1, 1), (1, 1))
        exact = conv.convolve(tile, x.astype(np.float64), weight.astype(np.float64), *windows)
        error = np.abs(conv.convolve(winograd, x, weight, *windows) - exact).max() / np.abs(exact).max()
        assert 1e-7 < error <= 4e-6, channels


def test_the_error_of_winograds_weight_gradient_is_what_its_docstring_says():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((32, 16, 32, 32)).astype(np.float32)
    dy = rng.standard_normal((32, 32, 32, 32)).astype(np.float32)
    windows = ((3, 3), (1, 1), (1, 1))
    exact = conv.conv2d_weight_gradient(dy.astype(np.float64), x.astype(np.float64), *windows)
    assert np.abs(conv.conv2d_weight_gradient(dy, x, *windows) - exact).max() <= 2e-6 * np.abs(exact).max()
