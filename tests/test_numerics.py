"""Numbers that are hard to add up: far apart, not finite, or very many. Judged by the reference backend in float64."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import minicnn

# kernel, padding, height, width: whole tiles of 4 × 4 and every remainder, one image of one tile, a large kernel.
WINDOWS = [
    (3, 1, 30, 33),
    (3, 1, 16, 12),
    (3, 1, 3, 3),
    (3, 0, 21, 19),
    (3, 2, 13, 15),
    (5, 2, 22, 17),
    (3, 1, 40, 70),
]


def three_passes(conv_arguments, x, weight, dy, backend, dtype):
    """(y, dx, dweight) of a Conv2d with these numbers."""
    layer = minicnn.Conv2d(*conv_arguments, bias=False, rng=0).to(backend)
    layer.params["weight"] = weight.astype(dtype)
    y = layer.forward(as_dtype(x, dtype))
    dx = layer.backward(as_dtype(dy, dtype))
    return tuple(flat_numbers(a) for a in (y, dx, layer.grads["weight"]))


def as_dtype(batch, dtype):
    if isinstance(batch, minicnn.Images):
        return minicnn.Images([image.astype(dtype) for image in batch])
    return batch.astype(dtype)


def flat_numbers(batch):
    return batch.data if isinstance(batch, minicnn.Images) else np.asarray(batch).reshape(-1)


def draw(kernel, padding, height, width, channels=16, filters=20, rng=None):
    rng = rng or np.random.default_rng(0)
    x = rng.standard_normal((2, channels, height, width))
    weight = rng.standard_normal((filters, channels, kernel, kernel))
    grown = 2 * padding - kernel + 1
    dy = rng.standard_normal((2, filters, height + grown, width + grown))
    return tuple(array.astype(np.float32) for array in (x, weight, dy))


def assert_all_right(arguments, x, weight, dy, dtype=np.float32):
    """Each number is off by at most 2e-4 of the sum of its products' magnitudes, a weight's gradient, in which both
    factors may be uneven, by 1e-3; and NaN and infinity are where they are in float64."""
    got = three_passes(arguments, x, weight, dy, "cpu", dtype)
    with np.errstate(all="ignore"):
        wanted = three_passes(arguments, x, weight, dy, "reference", np.float64)
        magnitudes = three_passes(arguments, *map(magnitude, (x, weight, dy)), "reference", np.float64)
        for name, g, w, m in zip(("y", "dx", "dweight"), got, wanted, magnitudes, strict=True):
            assert g.dtype == dtype
            clear = np.isnan(w) | np.isinf(w) | (m < 0.1 * np.finfo(dtype).max)  # not on the edge of an overflow
            np.testing.assert_array_equal(np.isnan(g[clear]), np.isnan(w[clear]), err_msg=f"NaN in {name}")
            infinite = clear & np.isinf(w)
            np.testing.assert_array_equal(g[infinite], w[infinite], err_msg=f"infinity in {name}")
            finite = clear & np.isfinite(w)
            worst = np.max(np.abs(g[finite] - w[finite]) / np.where(m[finite] > 0, m[finite], 1), initial=0)
            bound = 1e-3 if name == "dweight" else 2e-4
            assert worst <= bound, f"{name}: off by {worst:.1e} of the products' magnitudes"


def magnitude(batch):
    return minicnn.Images([np.abs(image) for image in batch]) if isinstance(batch, minicnn.Images) else np.abs(batch)


def places(shape):
    """(row, column): in the middle, on the border between tiles, in the corners and on the sides."""
    high, wide = shape[2:]
    return [
        (high // 2, wide // 2),
        (min(3, high - 1), min(4, wide - 1)),
        (0, 0),
        (high - 1, wide - 1),
        (0, wide - 1),
        (high - 1, wide // 2),
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("windows", WINDOWS, ids=str)
def test_one_pixel_far_above_the_others_spoils_no_number_that_it_does_not_touch(windows, dtype):
    kernel, padding, *_ = windows
    arguments = (16, 20, kernel, 1, padding)
    for position in range(6):
        x, weight, dy = draw(*windows)
        x, dy = x * np.float32(1e-3), dy * np.float32(1e-3)
        x[(1, 3, *places(x.shape)[position])] = 1e6
        assert_all_right(arguments, x, weight, dy, dtype)
        dy[(0, 7, *places(dy.shape)[position])] = -1e6
        assert_all_right(arguments, x, weight, dy, dtype)


@pytest.mark.parametrize("spread", [1e1, 1e2, 1e3, 1e4, 1e5, 1e7])
def test_however_far_the_pixel_is_above_the_others(spread):
    for position in range(6):
        x, weight, dy = draw(3, 1, 16, 19)
        x[(0, 2, *places(x.shape)[position])] = spread
        dy[(0, 2, *places(dy.shape)[position])] = spread
        assert_all_right((16, 20, 3, 1, 1), x, weight, dy)


def test_images_that_are_dark_in_parts():
    """Of several magnitudes side by side, so that no number is an outlier; and zeros, as relu leaves them."""
    rng = np.random.default_rng(0)
    x, weight, dy = draw(3, 1, 32, 36)
    for array in (x, dy):
        array *= 10.0 ** rng.integers(-12, 12, (2, 1, 8, 9)).repeat(4, 2).repeat(4, 3)
        array[:, :, 10:20, 5:25] = 0
    assert_all_right((16, 20, 3, 1, 1), x, weight, dy)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e37, -1e38])
@pytest.mark.parametrize("windows", WINDOWS, ids=str)
def test_nan_infinity_and_huge_numbers_reach_what_they_touch_and_no_more(windows, value):
    kernel, padding, *_ = windows
    for position in range(6):
        x, weight, dy = draw(*windows)
        x[(1, 3, *places(x.shape)[position])] = value
        assert_all_right((16, 20, kernel, 1, padding), x, weight * np.float32(0.01), dy)
        x, weight, dy = draw(*windows)
        x = np.maximum(x, 0)  # infinity times 0
        dy[(0, 7, *places(dy.shape)[position])] = value
        assert_all_right((16, 20, kernel, 1, padding), x, weight * np.float32(0.01), dy)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
def test_they_do_in_images_of_different_sizes_too(value):
    rng = np.random.default_rng(0)
    sizes = [(9, 30), (1, 1), (17, 6), (8, 8)]
    x = [rng.standard_normal((8, *size)).astype(np.float32) for size in sizes]
    dy = [rng.standard_normal((12, *size)).astype(np.float32) for size in sizes]
    x[2][3, 5, 5], dy[0][1, 8, 0] = value, value
    weight = (0.01 * rng.standard_normal((12, 8, 3, 3))).astype(np.float32)
    assert_all_right((8, 12, 3, 1, 1), minicnn.Images(x), weight, minicnn.Images(dy))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6, 1e30])
def test_a_weight_that_is_far_above_the_others_or_not_finite(value):
    x, weight, dy = draw(3, 1, 18, 17)
    x, dy = np.maximum(x, 0), np.maximum(dy, 0)  # where the weight meets 0, the others count
    weight[4, 5, 0, 2] = value
    assert_all_right((16, 20, 3, 1, 1), x, weight, dy)
    images = [minicnn.Images([array[0], array[1, :, :7, :9]]) for array in (x, dy)]
    assert_all_right((16, 20, 3, 1, 1), images[0], weight, images[1])


def blocks(channels, rng=0):
    return minicnn.Sequential(
        conv1=minicnn.Conv2d(channels, 16, 3, padding=1, rng=rng),
        bn1=minicnn.BatchNorm2d(16),
        relu1=minicnn.ReLU(),
        conv2=minicnn.Conv2d(16, 24, 3, padding=1, rng=rng),
        bn2=minicnn.BatchNorm2d(24),
        relu2=minicnn.ReLU(),
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e20])
def test_fused_blocks_predict_nan_and_infinity_where_the_layers_do(value):
    x = np.random.default_rng(0).standard_normal((2, 8, 21, 18)).astype(np.float32)
    x[1, 3, 10, 9] = value
    with np.errstate(all="ignore"):
        wanted = blocks(8).to("reference").to(dtype=np.float64).predict(x.astype(np.float64))
    got = minicnn.fuse(blocks(8)).predict(x)
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(wanted))
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    finite = np.isfinite(wanted)
    assert not finite.all() or value == 1e20
    touched = np.zeros(wanted.shape, bool)
    touched[1, :, 8:13, 7:12] = True
    np.testing.assert_allclose(got[~touched], wanted[~touched], atol=1e-5)


def test_fused_blocks_train_on_an_outlier_as_the_layers_do():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 8, 21, 18)).astype(np.float32)
    x[1, 3, 10, 9] = 1e6
    dy = rng.standard_normal((2, 24, 21, 18)).astype(np.float32)
    plain = blocks(8)
    exact = blocks(8).to("reference").to(dtype=np.float64)
    fused = minicnn.fuse(plain)
    fused.forward(x)
    exact.forward(x.astype(np.float64))
    results = [(fused.backward(dy), exact.backward(dy.astype(np.float64)))]
    results += [(plain[name].grads["weight"], exact[name].grads["weight"]) for name in ("conv1", "conv2")]
    for got, wanted in results:
        assert np.abs(got - wanted).max() <= 1e-4 * np.abs(wanted).max()


BITS = """
    import hashlib, sys
    import numpy as np, minicnn
    minicnn.set_num_threads(int(sys.argv[1]))
    rng = np.random.default_rng(0)
    layer = minicnn.Conv2d(16, 20, 3, padding=1, rng=0)
    x, dy = rng.standard_normal((5, 16, 33, 50), np.float32), rng.standard_normal((5, 20, 33, 50), np.float32)
    for n in range(5):
        x[n, 3, 3 * n, 5 * n], dy[n, 2, 4 * n, n] = 1e6, (np.inf if n == 2 else 1e7)
    digest = hashlib.sha256()
    for array in (layer.forward(x), layer.backward(dy), layer.grads["weight"]):
        digest.update(array.tobytes())
    print(digest.hexdigest())
"""


def test_outliers_give_the_same_bits_with_any_number_of_threads():
    def digest(n_threads):
        command = [sys.executable, "-c", textwrap.dedent(BITS), str(n_threads)]
        environment = os.environ | {"NUMBA_NUM_THREADS": "4"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert digest(1) == digest(2) == digest(4)


@pytest.mark.torch
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_come_out_where_pytorch_has_them(value, dtype):
    import torch

    for windows in WINDOWS:
        kernel, padding, *_ = windows
        x, weight, dy = draw(*windows)
        x[1, 3, -1, 0], dy[0, 7, 0, -1] = value, value
        arrays = [array.astype(dtype) for array in (x, weight, dy)]
        torch_x, torch_weight, torch_dy = map(torch.tensor, arrays)
        torch_x.requires_grad_()
        torch_weight.requires_grad_()
        y = torch.conv2d(torch_x, torch_weight, padding=padding)
        y.backward(torch_dy)
        wanted = (y.detach(), torch_x.grad, torch_weight.grad)
        got = three_passes((16, 20, kernel, 1, padding), *arrays, "cpu", dtype)
        for name, g, w in zip(("y", "dx", "dweight"), got, wanted, strict=True):
            w = w.numpy().reshape(-1)
            if name == "dweight" and dtype == np.float32:
                continue  # PyTorch leaves the padding out there, and multiplies infinity with its zeros in float64
            np.testing.assert_array_equal(np.isnan(g), np.isnan(w), err_msg=f"{windows} {name}")
            np.testing.assert_array_equal(g[np.isinf(w)], w[np.isinf(w)], err_msg=f"{windows} {name}")


# Long sums. Each is of numbers around 1, so that every float32 sum of so many in a row would show.


def worst(got, wanted):
    return np.abs(np.asarray(got, np.float64) - wanted).max() / np.abs(wanted).max()


def near_one(*shape):
    return (1 + np.random.default_rng(len(shape)).standard_normal(shape)).astype(np.float32)


def test_linear_over_many_images():
    layer, x, dy = minicnn.Linear(64, 10, rng=0), near_one(20_000, 64), near_one(20_000, 10)
    layer.forward(x)
    layer.backward(dy)
    assert worst(layer.grads["weight"], dy.astype(float).T @ x) <= 1e-6
    assert worst(layer.grads["bias"], dy.sum(axis=0, dtype=float)) <= 3e-7


def test_linear_over_many_features_and_classes():
    layer = minicnn.Linear(100_000, 8, bias=False, rng=0)
    layer.params["weight"], x = near_one(8, 100_000), near_one(4, 100_000)
    assert worst(layer.forward(x), x.astype(float) @ layer.params["weight"].T) <= 1e-6
    layer = minicnn.Linear(8, 100_000, bias=False, rng=0)
    layer.params["weight"], dy = near_one(100_000, 8), near_one(4, 100_000)
    layer.forward(near_one(4, 8))
    assert worst(layer.backward(dy), dy.astype(float) @ layer.params["weight"]) <= 2e-6


def test_log_softmax_over_many_classes():
    layer, dy = minicnn.LogSoftmax(), np.abs(near_one(4, 100_000))
    x = np.random.default_rng(0).standard_normal((4, 100_000), np.float32)
    y, dx = layer.forward(x), layer.backward(dy)
    exact = minicnn.LogSoftmax().to("reference")
    assert worst(y, exact.forward(x.astype(float))) <= 2e-7
    assert worst(dx, exact.backward(dy.astype(float))) <= 1e-6


@pytest.mark.parametrize("channels", [4, 8])
def test_convolution_over_many_images(channels):
    layer = minicnn.Conv2d(channels, 4, 3, padding=1, rng=0)
    x, dy = near_one(10_000, channels, 4, 4), near_one(10_000, 4, 4, 4)
    layer.forward(x)
    layer.backward(dy)
    exact = minicnn.Conv2d(channels, 4, 3, padding=1, rng=0).to("reference").to(dtype=np.float64)
    exact.forward(x.astype(float))
    exact.backward(dy.astype(float))
    assert worst(layer.grads["weight"], exact.grads["weight"]) <= 1e-6
    assert worst(layer.grads["bias"], exact.grads["bias"]) <= 3e-7


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "bound"), [(4096, 1, 1, 8e-7), (1024, 3, 2, 1e-6), (1024, 3, 1, 1e-5)]
)
def test_convolution_over_many_channels(channels, kernel, stride, bound):
    """As a matrix product, by the register tile and by Winograd's kernels."""
    rng = np.random.default_rng(0)
    layer = minicnn.Conv2d(channels, 16, kernel, stride=stride, padding=kernel // 2, bias=False, rng=0)
    layer.params["weight"] = weight = rng.standard_normal(layer.params["weight"].shape, np.float32)
    x = rng.standard_normal((1, channels, 16, 16), np.float32)
    exact = minicnn.Conv2d(channels, 16, kernel, stride=stride, padding=kernel // 2, bias=False, rng=0)
    exact = exact.to("reference").to(dtype=np.float64)
    exact.params["weight"] = weight.astype(float)
    assert worst(layer.forward(x), exact.forward(x.astype(float))) <= bound
