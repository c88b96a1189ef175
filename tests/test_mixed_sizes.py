"""Images of different sizes in one batch: every layer that takes them, against loops, quotients and PyTorch."""

import pytest

from tests import cases, checks


@pytest.mark.parametrize("case", cases.MIXED, ids=cases.name_of)
def test_loops(case):
    checks.check_against_naive(case)


@pytest.mark.parametrize("case", [case for case in cases.MIXED if case.numeric], ids=cases.name_of)
def test_difference_quotient(case):
    checks.check_numeric_gradient(case)


@pytest.mark.torch
@pytest.mark.parametrize("case", cases.MIXED, ids=cases.name_of)
def test_pytorch(case):
    checks.check_against_torch(case)
