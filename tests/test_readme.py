"""README as somebody follows it: a new machine, an empty home, a clone, and every command as typed, in the order given.

Level `release`; needs git, and a registry for the packages. The command that runs all tests is left out here: .ci/run
takes it from README and runs it.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")

pytestmark = [
    pytest.mark.release,
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no checkout of git, which could be cloned"),
]

BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = [block for language, block in BLOCKS if language == "sh"]
(PROGRAM,) = [block for language, block in BLOCKS if language == "python"]
OURS = ("PYTHON", "NUMBA", "MINICNN", "XDG", "VIRTUAL_ENV", "OMP", "PIP")


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory):
    """(the folder where the clone was made, {command: what it printed})."""
    folder, home = tmp_path_factory.mktemp("newcomer"), tmp_path_factory.mktemp("home")
    lines = [line for block in COMMANDS for line in block.splitlines()]
    lines = [line for line in lines if not line.endswith("-m pytest")]
    script = ["umask 022"]
    for number, line in enumerate(lines):
        # An exercise that is not written yet is no failure of the program, but has its exit status.
        otherwise = "true" if "learn check" in line else "exit 1"
        script += [f"echo '=== {number}'", f"{line.replace('ADDRESS', str(ROOT))} || {otherwise}"]
    script += ["echo '=== beside'", "cd .. && python beside.py || exit 1"]
    (folder / "beside.py").write_text(PROGRAM, "utf-8")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
    # The Python of these tests may be that of an environment; `python3` is to be the one it was made from.
    path = os.pathsep.join([str(Path(sys.base_prefix, "bin")), os.environ["PATH"]])
    environment |= {"HOME": str(home), "PATH": path}
    ended = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, f"{ended.stdout[-4000:]}\n{ended.stderr[-4000:]}"
    parts = re.split(r"^=== (\w+)\n", ended.stdout, flags=re.MULTILINE)[1:]
    printed = dict(zip(parts[::2], parts[1::2], strict=True))
    return folder / "minicnn", {line: printed[str(number)] for number, line in enumerate(lines)} | {
        "beside": printed["beside"]
    }


def output_of(newcomer, words):
    (found,) = [output for command, output in newcomer[1].items() if words in command]
    return found


def test_the_example_prints_what_readme_shows(newcomer):
    printed = output_of(newcomer, "examples/train_simplenet.py")
    (shown,) = [block for language, block in BLOCKS if language == "text" and block.startswith("Epoch 0")]
    for line in shown.splitlines():
        if line in ("", "…"):
            continue
        (same,) = [other for other in printed.splitlines() if form(other) == form(line) and head(other) == head(line)]
        for number, there in zip(numbers(line), numbers(same), strict=True):
            # Losses and accuracies of processors that round a little differently; times are anybody's.
            assert "s" in line.split()[-1:] or number == pytest.approx(there, rel=1e-3, abs=0.02), (line, same)


def form(line):
    return re.sub(r"\d+\.\d+", "#", line)


def head(line):
    return line[:9]


def numbers(line):
    return [float(number) for number in re.findall(r"\d+\.\d+", line)]


def test_a_script_beside_the_clone_finds_the_package(newcomer):
    """And not the folder of the same name, which Python would take for a package without a file."""
    *_, guessed, shape = newcomer[1]["beside"].splitlines()
    assert re.fullmatch(r"(\d) \1", guessed)
    assert shape == "(16, 1, 3, 3)"


def test_the_first_exercise_is_graded(newcomer):
    assert "not written yet" in output_of(newcomer, "learn check")


def test_pages_and_pictures_are_there(newcomer):
    clone, _ = newcomer
    assert "<title>" in (clone / "inspection.html").read_text("utf-8")
    for path in ("confusion.png", "why/cat-01-winners.png", "simplenet-digits.png"):
        assert (clone / path).read_bytes().startswith(b"\x89PNG")
    assert "cat" in output_of(newcomer, "minicnn predict")
