"""A rank is killed with SIGKILL in the middle of a run: the others go on, or the job ends and can be resumed."""

import functools
import itertools
import json
import random
import time

import pytest

from tests.mpi.jobs import is_open_mpi, job, result_of

pytestmark = pytest.mark.mpi

ULFM = ("--with-ft", "ulfm")
needs_ulfm = pytest.mark.skipif(not is_open_mpi(), reason="only Open MPI goes on without a lost rank")
MOST_SECONDS = 5.0  # from one step to the next, however a rank is lost between them; so long a job may hang
PATIENCE = 90  # for a whole job, most of which is the start of its processes


class Killed:
    """What the ranks that are left had to say."""

    def __init__(self, folder, n_ranks, victim, step, delay):
        self.n_ranks, self.victim = n_ranks, victim
        folder.mkdir()
        self.ended = job(n_ranks, "-m", "tests.mpi.killed", folder, victim, step, delay, flags=ULFM, patience=PATIENCE)
        assert self.ended.returncode == 0, self.ended.stdout + self.ended.stderr
        self.ranks = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]

    @property
    def steps_before(self):
        """How many steps were made before the rank was lost; None where the run was over first."""
        return next((step for step, size in enumerate(self.ranks[0]["sizes"]) if size < self.n_ranks), None)


@functools.cache
def undisturbed(n_ranks, folder):
    """A run in which nobody is killed."""
    return Killed(folder / f"undisturbed-{n_ranks}", n_ranks, -1, 0, 0).ranks[0]


def check(n_ranks, n_moments, folder, seed):
    whole = undisturbed(n_ranks, folder)
    a_step = (whole["times"][-1] - whole["times"][0]) / whole["steps"]
    rng = random.Random(seed)
    jobs = []
    for moment in range(n_moments):
        victim, step, delay = rng.randrange(n_ranks), rng.randrange(whole["steps"] - 2), rng.uniform(0, a_step)
        jobs.append(Killed(folder / f"{n_ranks}-{seed}-{moment}", n_ranks, victim, step, delay))
    lost = [one for one in jobs if len(one.ranks) < n_ranks and one.steps_before is not None]
    assert len(lost) >= n_moments // 2, "most were killed after the end"
    faults = [(one.victim, one.steps_before) for one in lost]
    expected = result_of(n_ranks, folder, "tests.mpi.undisturbed", json.dumps(faults), flags=ULFM)
    for one, (weights, history) in zip(lost, expected, strict=True):
        assert f"1 of {n_ranks} ranks were lost; {n_ranks - 1} go on" in one.ended.stdout
        assert len(one.ranks) == n_ranks - 1
        for rank in one.ranks:
            assert rank["steps"] == len(rank["losses"]) == whole["steps"]
            assert rank["losses"] == pytest.approx(whole["losses"], rel=1e-5)
            assert rank["weights"] == weights
            assert rank["history"] == history
            assert max(after - before for before, after in itertools.pairwise(rank["times"])) < MOST_SECONDS


@needs_ulfm
@pytest.mark.parametrize("n_ranks", [2, 4])
def test_those_that_are_left_go_on(n_ranks, tmp_path):
    check(n_ranks, 2, tmp_path, seed=0)


@pytest.mark.slow
@needs_ulfm
@pytest.mark.parametrize("n_ranks", [2, 4])
def test_those_that_are_left_go_on_at_twenty_moments(n_ranks, tmp_path, request):
    """At six of them where --one-in asks for a sample."""
    check(n_ranks, 20 if request.config.option.one_in == 1 else 6, tmp_path, seed=1)


def test_without_fault_tolerance_the_job_ends_and_resumes_on_fewer_ranks(tmp_path):
    """From the last whole epoch, to the curve of a run that was never killed."""
    path, program = tmp_path / "run", "tests.mpi.resumed"
    began = time.monotonic()
    killed = job(4, "-m", program, tmp_path / "none", path, "kill", patience=PATIENCE)
    assert killed.returncode != 0
    assert time.monotonic() - began < PATIENCE
    assert path.exists()
    resumed = result_of(3, tmp_path, program, path, "resume")
    whole = result_of(4, tmp_path, program, tmp_path / "other", "whole")
    assert resumed["epochs before"] == 1
    assert resumed["curve"] == pytest.approx(whole["curve"], rel=1e-5)
