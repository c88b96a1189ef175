"""docs/add-an-exercise.md, followed: what the page says to write, written into a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "add-an-exercise.md").read_text("utf-8")
MARKED, TASK, CASES, MISTAKE = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
NAME = "batchnorm2d_statistics"

# In a process of its own, which finds the copy: the stub and the solution are graded, and so is the mistake.
LEARNER = f"""
from pathlib import Path
from minicnn.learn.exercises import TASKS, source
from minicnn.learn.grader import check
from minicnn.learn.mistakes import of_task

exercise, task = TASKS["{NAME}"]
(mistake,) = of_task("{NAME}")
assert "TODO: over all pixels" in task.stub(), task.stub()
wrong = source.exchanged(task.solution(), mistake.edits)
texts = [exercise.stub(), exercise.solution(), exercise.solution().replace(task.solution(), wrong)]
for number, text in enumerate(texts):
    path = Path(f"mine_{{number}}.py")
    path.write_text(text, "utf-8")
    verdict = check(path, "{NAME}")
    print(verdict.status, verdict.mistakes)
"""


def insert(path, where, text):
    """Put text before the only line that begins with `where`."""
    before, found, after = path.read_text("utf-8").partition(f"\n{where}")
    assert found, f"{path.name}: {where}"
    path.write_text(f"{before}\n{text.rstrip()}{found}{after}", "utf-8")


def indented(text, by):
    return "".join(f"{' ' * by}{line}" if line.strip() else line for line in text.splitlines(keepends=True))


def test_the_page_adds_an_exercise(tmp_path):
    copy = tmp_path / "minicnn"
    shutil.copytree(ROOT / "minicnn", copy, ignore=shutil.ignore_patterns("__pycache__"))

    framework = copy / "backends" / "reference" / "batchnorm.py"
    marker, line = MARKED.splitlines()
    insert(framework, line, marker)
    first = '        Task(\n            BATCHNORM,\n            "batchnorm2d_eval_backward"'
    insert(copy / "learn/exercises/catalogue.py", first, indented(TASK, 8).rstrip() + ",")
    insert(copy / "learn/exercises/arguments/batchnorm.py", "def batchnorm2d_train_backward", f"{CASES}\n")
    insert(copy / "learn/exercises/cases.py", '    "update_running_statistics_"', f'    "{NAME}": batchnorm.{NAME},')
    insert(copy / "learn/mistakes/batchnorm.py", "    Mistake(", indented(MISTAKE, 4).rstrip() + ",")

    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", LEARNER]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        "blank ()",
        "passed ()",
        "wrong ('the variance divided by n − 1',)",
    ]
