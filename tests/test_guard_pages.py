"""No kernel reads or writes beyond the ends of what it is given, of its outputs or of its scratch.

Each case of the awkward table, and more around the sizes that kernels are cut at, runs in a child process in which
every NumPy array lies between two guard pages (see `tests/fenced.py`): against the page behind, and against the page
before. Beyond the end is a segmentation fault, which is put down to its case.
"""

import sys

import pytest

from tests.children import run_cases, summary
from tests.fenced import SIDES

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="guard pages are made with mprotect")


@pytest.mark.parametrize("side", SIDES)
def test_kernels_stay_within_their_arrays(tmp_path, side):
    """A quarter of the cases, each with one thread on one side, and with two on the other."""
    assert_all_stay_within(tmp_path, side, "in-turn", "part", 500)


@pytest.mark.long
@pytest.mark.parametrize("table", ["table", "drawn"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("side", SIDES)
def test_every_kernel_stays_within_its_arrays_in_every_way(tmp_path, side, threads, table):
    """The whole table in all four ways, and 8000 more convolutions and blocks."""
    assert_all_stay_within(tmp_path, side, threads, table, {"table": 2000, "drawn": 8000}[table])


def assert_all_stay_within(folder, side, threads, table, at_least):
    outcome = run_cases(folder, "tests.fenced_table", side, threads, table)
    assert not outcome.failures, summary(outcome)
    assert outcome.complete
    assert outcome.begun >= at_least


@pytest.mark.parametrize("side", SIDES)
def test_a_kernel_that_leaves_its_array_is_found(tmp_path, side):
    """Planted ones; on the other side of the array is the rest of a page, where nothing shows."""
    outcome = run_cases(tmp_path, "tests.fenced_table", side, 1, "planted")
    deaths = {case for case, why in outcome.failures if "SIGSEGV" in why or "SIGBUS" in why}
    wrong = {case for case, why in outcome.failures if "other numbers" in why}
    behind, before = {"reads behind", "reads behind a large output"}, {"writes before"}
    assert deaths == {"behind": behind, "before": before}[side], summary(outcome)
    assert wrong == {"reads uninitialised memory"}, summary(outcome)
    assert outcome.complete
