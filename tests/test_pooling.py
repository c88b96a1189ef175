"""Pooling, adaptive and fixed, maximum and average."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minicnn
from minicnn import backends, geometry
from minicnn.backends.cpu.convolution.registers import LANES
from tests import cases, checks

pytestmark = pytest.mark.quick

ROW = np.arange(14.0).reshape(1, 1, 1, 14)


def forward_and_backward(layer, x, dy):
    return layer.forward(np.float64(x)).tolist(), layer.backward(np.float64(dy)).tolist()


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_14_in_4_by_hand(backend):
    """Windows 0–3, 3–6, 7–10, 10–13: cells 3 and 10 lie in two of them."""
    dy = np.float64([1, 10, 100, 1000]).reshape(1, 1, 1, 4)
    average = minicnn.AdaptiveAvgPool2d((1, 4)).to(backend)
    np.testing.assert_array_equal(average.forward(ROW).ravel(), [1.5, 4.5, 8.5, 11.5])
    shares = [1, 1, 1, 11, 10, 10, 10, 100, 100, 100, 1100, 1000, 1000, 1000]
    np.testing.assert_array_equal(average.backward(dy).ravel() * 4, shares)

    largest = minicnn.AdaptiveMaxPool2d((1, 4)).to(backend)
    np.testing.assert_array_equal(largest.forward(ROW).ravel(), [3, 6, 10, 13])
    np.testing.assert_array_equal(np.flatnonzero(largest.backward(dy)), [3, 6, 10, 13])


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_one_cell_wins_two_windows(backend):
    x = np.float64([0, 1, 9, 3, 4]).reshape(1, 1, 5)  # 5 → 4: windows 0–1, 1–2, 2–3, 3–4
    y, dx = forward_and_backward(minicnn.AdaptiveMaxPool2d((1, 4)).to(backend), x, [[[1, 10, 100, 1000]]])
    assert y == [[[1, 9, 9, 4]]]
    assert dx == [[[0, 1, 110, 0, 1000]]]


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_first_maximum_wins(backend):
    y, dx = forward_and_backward(minicnn.MaxPool2d(2).to(backend), [[[1, 7], [7, 7]]], [[[5]]])
    assert y == [[[7]]]
    assert dx == [[[0, 5], [0, 0]]]


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_nan_beats_every_number(backend):
    y, dx = forward_and_backward(minicnn.MaxPool2d(2).to(backend), [[[np.inf, np.nan], [np.nan, 1]]], [[[5]]])
    assert np.isnan(y).all()
    assert dx == [[[0, 0], [5, 0]]]  # the last NaN, as in PyTorch


@pytest.mark.parametrize("backend", checks.BACKENDS)
@pytest.mark.parametrize("layer", [minicnn.AdaptiveMaxPool2d, minicnn.MaxPool2d])
def test_nothing_but_minus_infinity(backend, layer):
    y, dx = forward_and_backward(
        layer(2).to(backend),
        np.full((1, 2, 2), -np.inf),
        [[[5.0]]] if layer is minicnn.MaxPool2d else [[[5, 0], [0, 0]]],
    )
    assert np.isneginf(y).all()
    assert dx == [[[5, 0], [0, 0]]]


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_padding_never_wins_and_counts_in_the_mean(backend):
    y, dx = forward_and_backward(
        minicnn.MaxPool2d(2, padding=1).to(backend), [[[-8, -4], [-2, -6]]], np.ones((1, 2, 2))
    )
    assert y == [[[-8, -4], [-2, -6]]]
    assert dx == [[[1, 1], [1, 1]]]
    y, dx = forward_and_backward(
        minicnn.AvgPool2d(2, padding=1).to(backend), [[[-8, -4], [-2, -6]]], np.ones((1, 2, 2))
    )
    assert y == [[[-2, -1], [-0.5, -1.5]]]
    assert dx == [[[0.25, 0.25], [0.25, 0.25]]]


@pytest.mark.parametrize("backend", checks.BACKENDS)
@pytest.mark.parametrize("layer", [minicnn.AdaptiveMaxPool2d, minicnn.AdaptiveAvgPool2d])
def test_the_published_shapes(backend, layer):
    x = np.random.default_rng(0).standard_normal((1, 3, 10, 10), np.float32)
    assert layer((3, 3)).to(backend).forward(x).shape == (1, 3, 3, 3)


@pytest.mark.parametrize("case", cases.MAX_POOL + cases.AVG_POOL, ids=cases.name_of)
def test_loops(case):
    checks.check_against_naive(case)


@pytest.mark.parametrize("case", [case for case in cases.MAX_POOL + cases.AVG_POOL if case.numeric], ids=cases.name_of)
def test_difference_quotient(case):
    checks.check_numeric_gradient(case)


@pytest.mark.torch
@pytest.mark.parametrize("case", cases.MAX_POOL + cases.AVG_POOL, ids=cases.name_of)
def test_pytorch(case):
    checks.check_against_torch(case)


SIZES = st.tuples(*[st.integers(1, 9)] * 4)


@pytest.mark.parametrize("backend", checks.BACKENDS)
@given(sizes=SIZES, seed=st.integers(0, 2**32 - 1))
def test_adaptive_pooling_keeps_what_it_should(backend, sizes, seed):
    height, width, out_h, out_w = sizes
    rng = np.random.default_rng(seed)
    x = rng.permutation(height * width).astype(np.float64).reshape(1, height, width)
    dy = rng.standard_normal((1, out_h, out_w))
    average, largest = (
        layer((out_h, out_w)).to(backend) for layer in (minicnn.AdaptiveAvgPool2d, minicnn.AdaptiveMaxPool2d)
    )
    mean, maximum = average.forward(x), largest.forward(x)

    assert maximum.max() == x.max()  # the windows cover the image
    assert (mean <= maximum).all()
    assert np.isin(maximum, x).all()
    for dx in (average.backward(dy), largest.backward(dy)):  # every share of dy arrives somewhere, once
        np.testing.assert_allclose(dx.sum(), dy.sum(), atol=1e-12)
    np.testing.assert_allclose(average.predict(np.full_like(x, 3)), 3, rtol=1e-15)


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_adaptive_equals_fixed_where_sizes_divide(backend):
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 8))
    for adaptive, fixed in [
        (minicnn.AdaptiveMaxPool2d((3, 2)), minicnn.MaxPool2d((2, 4))),
        (minicnn.AdaptiveAvgPool2d((3, 2)), minicnn.AvgPool2d((2, 4))),
    ]:
        np.testing.assert_array_equal(adaptive.to(backend).predict(x), fixed.to(backend).predict(x))


@pytest.mark.parametrize("backend", checks.BACKENDS)
@pytest.mark.parametrize("layer", [minicnn.AdaptiveMaxPool2d(2), minicnn.AdaptiveAvgPool2d(2)])
def test_one_layer_takes_images_of_any_size(backend, layer):
    layer.to(backend)
    for size in [(2, 2), (7, 3), (1, 9), (32, 5)]:
        x = np.random.default_rng(0).standard_normal((2, 3, *size))
        assert layer.forward(x).shape == (2, 3, 2, 2)
        assert layer.backward(np.ones((2, 3, 2, 2))).shape == x.shape


def test_repr_shows_the_settings():
    assert repr(minicnn.AdaptiveAvgPool2d((None, 3))) == "AdaptiveAvgPool2d((None, 3))"
    assert repr(minicnn.MaxPool2d(2, padding=1)) == "MaxPool2d(kernel_size=(2, 2), stride=(2, 2), padding=(1, 1))"
    assert repr(minicnn.MaxPool2d(2, ceil_mode=True)).endswith("padding=(0, 0), ceil_mode=True)")
    assert repr(minicnn.AvgPool2d(2, count_include_pad=False, divisor_override=3)) == (
        "AvgPool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0), count_include_pad=False, divisor_override=3)"
    )


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_what_a_mean_counts_by_hand(backend):
    """Windows of 3 with stride 2 over a 0 of padding, 1, 2, 4, another 0, and what ceil_mode adds behind it."""
    row = np.float64([1, 2, 4, 8]).reshape(1, 1, 4)
    for settings, expected in [
        ({}, [1, 14 / 3]),
        ({"ceil_mode": True}, [1, 14 / 3, 4]),  # the last is 8 and a 0 of padding; a cell behind them is not counted
        ({"ceil_mode": True, "count_include_pad": False}, [1.5, 14 / 3, 8]),
        ({"ceil_mode": True, "divisor_override": 2}, [1.5, 7, 4]),
    ]:
        pool = minicnn.AvgPool2d((1, 3), (1, 2), (0, 1), **settings).to(backend)
        np.testing.assert_allclose(pool.predict(row)[0, 0], expected, rtol=1e-15)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: minicnn.MaxPool2d(2, ceil_mode=1), TypeError, "MaxPool2d: ceil_mode: expected True or False, got 1"),
        (lambda: minicnn.AvgPool2d(2, 2, 0, 3), TypeError, "AvgPool2d: ceil_mode"),
        (lambda: minicnn.AvgPool2d(2, count_include_pad="no"), TypeError, "AvgPool2d: count_include_pad"),
        (lambda: minicnn.AvgPool2d(2, divisor_override=0), ValueError, "AvgPool2d: divisor_override: .* at least 1"),
        (lambda: minicnn.AvgPool2d(2, divisor_override=2.0), TypeError, "AvgPool2d: divisor_override"),
        (lambda: minicnn.MaxPool2d(4, ceil_mode=True).predict(np.ones((1, 9, 0))), ValueError, "at least one element"),
        (lambda: minicnn.MaxPool2d((9, 2), 3, ceil_mode=True).predict(np.ones((1, 6, 2))), ValueError, "as large as"),
    ],
)
def test_wrong_arguments_are_refused_by_name(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("make", [lambda: minicnn.AvgPool2d(3, 2, 1, True, False, 5)])
def test_settings_survive_copies(make):
    layer = make()
    x = np.random.default_rng(0).standard_normal((1, 2, 6, 8))
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), eval(repr(layer), vars(minicnn))):
        assert repr(other) == repr(layer)
        np.testing.assert_array_equal(other.predict(x), layer.predict(x))


WINDOWS = st.one_of(
    st.tuples(st.just("adaptive"), st.integers(1, 9)),
    st.tuples(st.just("fixed"), st.integers(1, 9), st.integers(1, 6), st.integers(0, 4)),
)
VALUES = {
    "distinct": lambda x, where: x,
    "ties": lambda x, where: np.round(x),
    "nan": lambda x, where: np.where(where < 0.1, np.nan, x),
    "minus infinity": lambda x, where: np.where(where < 0.7, -np.inf, x),
}


def table_of(windows, n_in):
    rule, *numbers = windows
    if rule == "adaptive":
        return geometry.adaptive_windows(n_in, *numbers)
    kernel, stride, padding = numbers
    kernel = min(kernel, n_in)
    return geometry.fixed_windows(n_in, kernel, stride, min(padding, kernel // 2))


@given(
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    windows=st.tuples(WINDOWS, WINDOWS),
    values=st.sampled_from(sorted(VALUES)),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_vector_of_cells_at_a_time(sizes, windows, values, dtype, seed):
    """By taps, by bands and by plain forms: as in `reference`, winners among equals and NaN too."""
    compare_with_reference(sizes, windows, values, dtype, seed)


@given(
    sizes=st.tuples(st.integers(1, 40), st.integers(2 * LANES, 5 * LANES)),
    rows=WINDOWS,
    values=st.sampled_from(sorted(VALUES)),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**32 - 1),
)
def test_windows_in_pairs_of_columns(sizes, rows, values, dtype, seed):
    """The same for windows two cells wide side by side, whatever their rows are."""
    compare_with_reference(sizes, (rows, ("fixed", 2, 2, 0)), values, dtype, seed)


@pytest.mark.parametrize("name", ["max", "avg"])
def test_pairs_of_columns_of_images_of_different_sizes(name):
    """Each image's own windows decide how it is pooled."""
    layers = {"max": minicnn.MaxPool2d, "avg": minicnn.AvgPool2d}
    rng = np.random.default_rng(0)
    sizes = ((6, 4), (7, 2 * LANES + 3), (4, 4 * LANES), (5, 6))
    images = [rng.standard_normal((3, *size), np.float32) for size in sizes]
    layer = layers[name](2)
    y = layer(minicnn.Images(images))
    dys = [rng.standard_normal(one.shape, np.float32) for one in y]
    dx = layer.backward(minicnn.Images(dys))
    for image, dy, got, got_dx in zip(images, dys, y, dx, strict=True):
        alone = layers[name](2).to("reference")
        np.testing.assert_allclose(got, alone(image[None])[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(got_dx, alone.backward(dy[None])[0], rtol=1e-5, atol=1e-6)


def compare_with_reference(sizes, windows, values, dtype, seed):
    fast, reference = map(backends.get_backend, ("cpu", "reference"))
    rng = np.random.default_rng(seed)
    shape = (2, 3, *sizes)
    x = VALUES[values](rng.standard_normal(shape), rng.random(shape)).astype(dtype)
    tables = list(map(table_of, windows, sizes))
    (y, argmax), expected = fast.max_pool2d_forward(x, *tables), reference.max_pool2d_forward(x, *tables)
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_array_equal(argmax, expected[1])
    dy = rng.standard_normal(y.shape).astype(dtype)
    near = {"rtol": 1e-5, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-13}
    arguments = (dy, *tables, sizes)
    np.testing.assert_allclose(fast.avg_pool2d_backward(*arguments), reference.avg_pool2d_backward(*arguments), **near)
    if values in ("distinct", "ties"):
        np.testing.assert_allclose(
            fast.avg_pool2d_forward(x, *tables), reference.avg_pool2d_forward(x, *tables), **near
        )
