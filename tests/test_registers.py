"""The register tile follows what Numba compiles for, and its inner loop stays in registers on every processor."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from minicnn.backends.cpu.convolution import registers

on_x86 = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="Numba compiles for x86-64 there only"
)


@on_x86
@pytest.mark.parametrize(
    ("name", "features", "tile"),
    [
        ("generic", "", (4, 6)),
        ("nehalem", "", (4, 6)),
        ("sandybridge", "", (8, 6)),
        ("haswell", "", (8, 6)),
        ("znver3", "", (8, 6)),
        ("znver4", "", (16, 8)),
        ("skylake-avx512", "", (16, 8)),
        ("haswell", "+avx512f", (16, 8)),
        ("skylake-avx512", "-avx512f", (8, 6)),
    ],
)
def test_the_tile_follows_what_numba_compiles_for(name, features, tile, monkeypatch):
    monkeypatch.setattr(numba.config, "CPU_NAME", name)
    monkeypatch.setattr(numba.config, "CPU_FEATURES", features)
    assert registers.tile() == tile


@pytest.mark.parametrize(
    "name",
    [pytest.param("generic", marks=pytest.mark.long), pytest.param("haswell", marks=[on_x86, pytest.mark.slow])],
)
def test_the_ladder_holds_for_other_processors(name, tmp_path):
    """The oldest, whose vectors are short and which has no fused multiply-add; and most laptops'."""
    if name == "haswell" and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("a processor with AVX2 is needed to run its code")
    others = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    rungs = ["-k", "tile or winograd or matrix"]  # of the others the code knows no tile
    command = [sys.executable, "-m", "pytest", "-q", "-n0", *rungs, "-p", "no:cacheprovider", "tests/test_ladder.py"]
    ended = subprocess.run(
        command, cwd=Path(__file__).parents[1], env=os.environ | others, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout
