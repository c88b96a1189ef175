"""Batch normalisation on the device, against the reference: batches of one size, and `Images`."""

import numpy as np
import pytest

from minicnn import Images
from minicnn.backends.cuda import arrays, batchnorm
from minicnn.backends.cuda.tiles import CHUNK, THREADS
from tests import cases, checks
from tests.cuda.on_device import check_against_reference, draw_like

pytestmark = pytest.mark.cuda_sim

PARAMETRIZE_DTYPE = pytest.mark.parametrize("dtype", checks.DTYPES)
MOST = 100  # numbers in a case, for the simulator


def size_of(case):
    channels, sizes = case.x[-2:]
    return channels * sum(h * w for h, w in sizes) if case.is_mixed else np.prod(case.x)


# Layouts do not come this far, and momentum has tests of its own.
CASES = [
    case
    for case in cases.BATCHNORM + cases.MIXED_BATCHNORM
    if size_of(case) <= MOST and case.layout == "plain" and "momentum" not in dict(case.kwargs)
]


@PARAMETRIZE_DTYPE
@pytest.mark.parametrize("case", CASES, ids=cases.name_of)
def test_against_the_reference(case, dtype):
    numbers, eps = checks.problem(case), dict(case.kwargs).get("eps", 1e-5)
    x, weight, bias = numbers.x, numbers.params["weight"], numbers.params["bias"]
    if case.training:
        mean, var = check_against_reference(batchnorm.batchnorm2d_statistics, dtype, x)
        backward = batchnorm.batchnorm2d_train_backward
    else:
        mean, var = numbers.state["running_mean"], numbers.state["running_var"]
        backward = batchnorm.batchnorm2d_eval_backward
    check_against_reference(batchnorm.batchnorm2d_forward, dtype, x, weight, bias, mean, var, eps)
    check_against_reference(backward, dtype, checks.draw_dy(case, x.shape), x, weight, mean, var, eps)


def test_the_cases_are_awkward():
    """More than one chunk, and less than one; both modes; pixels of several images in one chunk."""
    pixels = [size_of(case) // (case.x[0] if case.is_mixed else case.x[1]) for case in CASES]
    assert min(pixels) < CHUNK < 3 * CHUNK < max(pixels)
    assert {case.training for case in CASES} == {case.is_mixed for case in CASES} == {True, False}


@PARAMETRIZE_DTYPE
def test_chunks_that_begin_and_end_with_an_image(dtype):
    """And one in which the second pixel of a thread is the first of an image."""
    rng = np.random.default_rng(1)
    sizes = [(CHUNK // 4, 4), (1, CHUNK), (1, THREADS + 1), (1, THREADS - 1), (1, 1)]
    x = Images([rng.standard_normal((2, *size)) for size in sizes])
    weight, bias = rng.standard_normal((2, 2))
    mean, var = check_against_reference(batchnorm.batchnorm2d_statistics, dtype, x)
    check_against_reference(batchnorm.batchnorm2d_forward, dtype, x, weight, bias, mean, var, 1e-5)
    dy = draw_like(x)
    check_against_reference(batchnorm.batchnorm2d_train_backward, dtype, dy, x, weight, mean, var, 1e-5)


def test_nan_stays_in_its_channel():
    x = np.random.default_rng(0).standard_normal((2, 3, 3, 3))
    x[1, 1, 2, 0] = np.nan
    mean, var = check_against_reference(batchnorm.batchnorm2d_statistics, np.float64, x)
    assert np.isnan(mean).tolist() == np.isnan(var).tolist() == [False, True, False]


def test_a_variance_beside_a_large_mean():
    """Of float32 numbers round 4000, from all of which sum(x²) / n - mean² would make nothing."""
    x = (np.random.default_rng(0).standard_normal((3, 1, 5, 4)) + 4000).astype(np.float32)
    mean, var = batchnorm.batchnorm2d_statistics(arrays.asarray(x))
    np.testing.assert_allclose(mean.numpy(), x.mean(dtype=np.float64), rtol=2e-7)
    np.testing.assert_allclose(var.numpy(), x.var(dtype=np.float64), rtol=1e-3)


@PARAMETRIZE_DTYPE
@pytest.mark.parametrize("count", [2, 3, 1000])
@pytest.mark.parametrize("momentum", [0.0, 0.1, 1.0])
def test_running_statistics(dtype, count, momentum):
    """With the unbiased variance, in place, and for more channels than a block has threads."""
    running_mean, mean = np.random.default_rng(0).standard_normal((2, 17)).astype(dtype)
    running_var, var = np.random.default_rng(1).uniform(0.5, 2, (2, 17)).astype(dtype)
    own = [arrays.asarray(array) for array in (running_mean, running_var, mean, var)]
    assert batchnorm.update_running_statistics_(*own, count, momentum) is None
    keep = 1 - momentum
    expected = keep * running_mean + momentum * mean, keep * running_var + momentum * var * (count / (count - 1))
    for actual, wanted, name in zip(own, (*expected, mean, var), ("mean", "var", "batch", "batch"), strict=True):
        checks.assert_close(actual.numpy(), wanted, dtype, name)
