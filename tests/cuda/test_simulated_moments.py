"""Records of parts of a channel, joined."""

import numpy as np
import pytest

from minicnn import Images
from minicnn.backends import reference
from minicnn.backends.cuda import arrays, moments
from minicnn.backends.cuda.tiles import CHUNK, THREADS
from tests import checks
from tests.cuda.on_device import results_of

pytestmark = pytest.mark.cuda_sim

PARAMETRIZE_DTYPE = pytest.mark.parametrize("dtype", checks.DTYPES)
NUMBERS_OF_RECORDS = (1, 2, THREADS - 1, THREADS, THREADS + 1, 2 * THREADS + 3)
RNG = np.random.default_rng(0)


def merged(x, in_record):
    """merged_moments of the columns of x (pixels, channels), cut into records by NumPy."""
    parts = [x[first : first + in_record] for first in range(0, len(x), in_record)]
    means = [part.mean(axis=0) for part in parts]
    squares = [((part - mean) ** 2).sum(axis=0) for part, mean in zip(parts, means, strict=True)]
    pairs = np.stack([means, squares], axis=2).astype(x.dtype)
    results = moments.merged_moments(moments.Records(arrays.asarray(pairs), len(x), in_record))
    return [result.numpy() for result in results]


@PARAMETRIZE_DTYPE
@pytest.mark.parametrize("n_records", NUMBERS_OF_RECORDS)
@pytest.mark.parametrize("missing", [0, 4])
def test_merged_moments(dtype, n_records, missing):
    """Of records of five pixels each, the last one of fewer; each with a mean of its own."""
    x = (RNG.standard_normal((5 * n_records, 2)) + np.repeat(RNG.standard_normal((n_records, 2)), 5, axis=0)) * [1, 9]
    x = x[: len(x) - missing].astype(dtype)
    mean, var = merged(x, 5)
    assert mean.dtype == var.dtype == dtype
    x = x.astype(np.float64)
    checks.assert_close(mean, x.mean(axis=0), dtype, "mean")
    checks.assert_close(var, x.var(axis=0), dtype, "var")


def test_a_variance_beside_a_large_mean():
    """In float32 sum(x²) / n - mean² would be off by more than the variance, 16e6 / 2^24 being about 1."""
    x = (RNG.standard_normal((60, 1)) + 4000).astype(np.float32)
    mean, var = merged(x, 4)
    np.testing.assert_allclose(mean, x.mean(axis=0, dtype=np.float64), rtol=2e-7)
    np.testing.assert_allclose(var, x.var(axis=0, dtype=np.float64), rtol=1e-3)


@PARAMETRIZE_DTYPE
@pytest.mark.parametrize("n_records", NUMBERS_OF_RECORDS)
@pytest.mark.parametrize("k", [1, 2])
def test_added(dtype, n_records, k):
    records = RNG.standard_normal((n_records, 3, k)).astype(dtype)
    sums = moments.added(arrays.asarray(records)).numpy()
    assert sums.dtype == dtype
    checks.assert_close(sums, records.sum(axis=0, dtype=np.float64).T, dtype, "sums")


@PARAMETRIZE_DTYPE
@pytest.mark.parametrize(
    "shapes",
    [
        (2, 3, 4, 5),
        (1, 2, 1, CHUNK),
        (3, 1, 1, 1),
        [(2, 4, 4), (2, 1, 1), (2, 5, 7), (2, 1, 3)],  # the first fills a chunk
        [(3, 1, 1)] * 5,
    ],
    ids=str,
)
def test_channel_sums(dtype, shapes):
    if isinstance(shapes, list):
        batch = Images([RNG.standard_normal(shape).astype(dtype) for shape in shapes])
    else:
        batch = RNG.standard_normal(shapes).astype(dtype)
    (sums,) = results_of(moments.channel_sums, batch)
    assert sums.dtype == dtype
    checks.assert_close(sums, reference.conv2d_bias_gradient(batch.astype(np.float64)), dtype, "sums")
