"""What several ranks compute is what one process computes on the whole batch."""

import functools

import numpy as np
import pytest

from tests.mpi import problems
from tests.mpi.jobs import result_of

pytestmark = pytest.mark.mpi

RANKS = [1, 2, 3, 4]
CASES = problems.cases()
AGAIN = 5  # a job is run again with every 5th case, which has each choice of each column


@functools.cache
def alone(case):
    return problems.run(case)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """By number of ranks what a job gave, and what another of some cases; each is started when first asked for."""

    @functools.cache
    def of(n_ranks):
        folder = tmp_path_factory.mktemp
        return [result_of(n_ranks, folder("run"), "tests.mpi.exactness", every) for every in (1, AGAIN)]

    return of


def flat(curves):
    return np.concatenate([np.ravel(curve) for curve in curves])


@pytest.mark.parametrize("n_ranks", RANKS)
def test_curves_are_those_of_one_process(tables, n_ranks):
    tolerance = {"float32": 2e-5, "float64": 1e-10}
    wrong = {}
    for case in CASES:
        expected, got = flat(alone(case)[0]), flat(tables(n_ranks)[0][case.name]["curves"])
        difference = np.abs(expected - got).max() / max(1, np.abs(expected).max())
        if not difference <= tolerance[case.dtype]:
            wrong[case.name] = difference
    assert not wrong


@pytest.mark.parametrize("n_ranks", RANKS)
def test_gradients_and_weights_are_the_same_bits_on_every_rank(tables, n_ranks):
    assert [case for case, result in tables(n_ranks)[0].items() if not result["same on every rank"]] == []


@pytest.mark.parametrize("n_ranks", RANKS)
def test_another_run_gives_the_same_bits(tables, n_ranks):
    first, second = tables(n_ranks)
    assert len(second) > len(CASES) // AGAIN
    assert [case for case in second if first[case]["digests"] != second[case]["digests"]] == []


@pytest.mark.parametrize("n_ranks", [2, 3, 4])
def test_batchnorm_by_own_images_is_another_computation(tables, n_ranks):
    """And nearly the same one: what is compared above is compared closely enough to tell them apart."""
    whole, local = flat(alone(problems.LOCAL)[0]), flat(tables(n_ranks)[0]["local"]["curves"])
    assert 1e-4 < np.abs(whole - local).max() < 1
