"""Ranks on two hosts, which are network namespaces of this machine, with a cable of 5 ms between them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mpi.jobs import MPIEXEC, ROOT, environment, is_open_mpi
from tests.mpi.problems import CASE_OF_FAULTS, run

pytestmark = pytest.mark.mpi


def test_two_hosts_compute_what_one_process_does(tmp_path):
    if not (is_open_mpi() and os.geteuid() == 0 and shutil.which("ip") and Path("/dev/net/tun").exists()):
        pytest.skip("needs Open MPI, root, the program ip and /dev/net/tun")
    program = (sys.executable, "-m", "mpi4py", "-m", "tests.mpi.one_run", tmp_path / "result.json")
    exported = [part for name in ("NUMBA_NUM_THREADS", "OMP_WAIT_POLICY", "PYTHONPATH") for part in ("-x", name)]
    ended = subprocess.run(
        [ROOT / "tests" / "mpi" / "two_hosts.sh", "0.005", *exported, *program],
        cwd=ROOT,
        env=environment(PATH=f"{Path(MPIEXEC).parent}{os.pathsep}{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert sorted(result["hosts"]) == sorted(set(result["hosts"]))
    assert len(result["hosts"]) == 2
    assert result["losses"] == pytest.approx(run(CASE_OF_FAULTS, epochs=1)[0][0], rel=1e-5)
