"""`--one-in N`, which leaves out cases of the tests that have many."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TESTS = """
import pytest

@pytest.mark.parametrize("n", range(40))
def test_many(n): pass

@pytest.mark.parametrize("n", range(8))
def test_few(n): pass

def test_one(): pass
"""


def pytest_in(folder, *arguments):
    (folder / "conftest.py").write_text((ROOT / "conftest.py").read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "test_cases.py").write_text(TESTS, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def run(folder, *arguments):
    """Names of the tests that run, in order."""
    ended = pytest_in(folder, *arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return [line.partition("::")[2].partition(" ")[0] for line in ended.stdout.splitlines() if " PASSED" in line]


def test_of_many_cases_one_in_four_runs_always_the_same_and_of_few_all(tmp_path):
    whole = run(tmp_path)
    assert whole == [f"test_many[{n}]" for n in range(40)] + [f"test_few[{n}]" for n in range(8)] + ["test_one"]
    part = run(tmp_path, "--one-in", "4")
    assert part == run(tmp_path, "--one-in", "4")
    assert part == [name for name in whole if name in part], "the order is changed"
    assert sum("test_many" in name for name in part) == 10
    assert [name for name in part if "many" not in name] == [name for name in whole if "many" not in name]


def test_one_in_none_is_refused(tmp_path):
    ended = pytest_in(tmp_path, "--one-in", "0")
    assert ended.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--one-in: expected an integer from 1 on, got 0" in ended.stderr
