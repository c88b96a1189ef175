"""Whatever is wrong on one rank ends the job, with a sentence from each rank that can speak, and never hangs it."""

import os
import re
import subprocess
import sys

import pytest

from tests.mpi.jobs import ROOT, environment, job

pytestmark = pytest.mark.mpi

# What is wrong on rank 1, what is said, and by how many of three ranks.
MISTAKES = {
    "arguments": (
        r"ValueError: Trainer: expected the same on every rank, got patience: rank 0 has None, rank 1 has 3",
        3,
    ),
    "version": (r"ValueError: Trainer: expected .* got minicnn: rank 0 has [0-9.a-z]+, rank 1 has 0\.0\.1", 3),
    "weights": (r"ValueError: weights: expected the same on every rank, got fc\.weight: rank 0 has", 3),
    "labels": (r"ValueError: Trainer\.fit: expected the same on every rank, got train: labels: rank 0 has", 3),
    "broken data": (
        r"(OSError: disk of this rank|RuntimeError: rank 1 of 3 could not .*OSError: disk of this rank)",
        3,
    ),
    "number of batches": (r"RuntimeError: rank 1 of 3 could not give its share of a batch: no more batches", 3),
    "dtype": (
        r"ValueError: expected images .* got float32 of 2 channels on rank 0 and float64 of 2 channels on rank 1",
        3,
    ),
    "not finite": (r"RuntimeError: Trainer: the loss is nan", 3),
    "a layer of one rank": (r"MemoryError: no memory on this rank", 1),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_ends_the_job(what):
    sentence, n_speakers = MISTAKES[what]
    ended = job(3, "-m", "tests.mpi.mistakes", what)
    assert ended.returncode != 0
    assert len(re.findall(sentence, ended.stderr)) == n_speakers, ended.stderr


def alone(code, **more):
    command = [sys.executable, "-c", f"from minicnn.distributed import world\n{code}"]
    return subprocess.run(command, cwd=ROOT, env=environment(**more), capture_output=True, text=True)


def test_without_an_mpi_library():
    ended = alone("world()", MPI4PY_LIBMPI="/nowhere/libmpi.so")
    assert "ImportError: mpi4py is installed, but no MPI library was found" in ended.stderr
    assert ended.returncode != 0


def test_with_the_mpiexec_of_another_mpi():
    other = "PMI_SIZE" if "OMPI_COMM_WORLD_SIZE" in os.environ else "MV2_COMM_WORLD_SIZE"
    ended = alone("world()", **{other: "4"})
    assert "expected 4 ranks, as many as mpiexec has started, got 1" in ended.stderr
    assert ended.returncode != 0


def test_ranks_cannot_be_copied():
    ended = alone(
        "import copy, pickle\n"
        "from tests.mpi.problems import LOCAL, trainer\n"
        "for what in (group := world(), trainer(LOCAL, group)):\n"
        "    for action in (copy.deepcopy, pickle.dumps):\n"
        "        try: action(what)\n"
        "        except TypeError as error: print(error)\n"
    )
    assert ended.stdout.splitlines() == 4 * [
        "MPIGroup: the ranks of a job can be neither copied nor pickled, and so cannot a Trainer that has them; make "
        "another Trainer, without group=, for what is tried on a copy, as lr_find does"
    ], ended.stderr


def test_without_mpiexec_there_is_one_rank():
    ended = alone("print(world().size)")
    assert ended.stdout == "1\n", ended.stderr
