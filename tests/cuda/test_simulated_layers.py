"""The awkward table through layers and losses on the device, against the loops; pooling and batchnorm have files of
their own, and all of the table is in `test_table`."""

import numpy as np
import pytest

from tests import cases, checks

pytestmark = pytest.mark.cuda_sim

MOST = 75  # numbers in a case, for the simulator


def size_of(case):
    if case.is_mixed:
        channels, sizes = case.x
        return channels * sum(h * w for h, w in sizes)
    return np.prod(case.x)


def is_skew(case):
    """Whether it has another stride down than across: there are few."""
    return isinstance(dict(case.kwargs).get("stride"), tuple)


# Layouts do not come this far.
CASES = [
    case
    for case in cases.CONV + cases.MIXED_CONV + cases.ACTIVATION + cases.LINEAR + cases.LOG_SOFTMAX + cases.LOSSES
    if case.layout == "plain" and (size_of(case) <= MOST or is_skew(case))
]


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("case", CASES, ids=cases.name_of)
def test_against_the_loops(case):
    actual = checks.run_minicnn(case, "cuda", np.float64)
    checks.assert_same_results(actual, checks.run_naive(case), np.float64, str(case))


def test_the_cases_are_awkward():
    convolutions = [case for case in CASES if case.layer == "Conv2d"]
    assert {case.is_mixed for case in convolutions} == {True, False}
    assert {"stride", "padding", "bias"} <= {key for case in convolutions for key, _ in case.kwargs}
    assert {case.layer for case in CASES} == {"Conv2d", "ReLU", "Linear", "LogSoftmax", "NLLLoss", "CrossEntropyLoss"}
