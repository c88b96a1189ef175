"""The examples of the ways to other libraries: what they print is what their pages of the documentation show."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

NUMBER = re.compile(r"\b[01]\.\d\d\b")  # an accuracy; processors round differently, and training goes on from that
ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("example", "page"),
    [
        pytest.param("pytorch_both_ways", "pytorch", marks=pytest.mark.torch),
        ("scikit_learn", "scikit-learn"),
    ],
)
def test_the_page_shows_what_the_example_prints(tmp_path, example, page):
    path = ROOT / "examples" / f"{example}.py"
    assert len(path.read_text("utf-8").splitlines()) < 40
    result = subprocess.run([sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8")
    assert (result.returncode, result.stderr) == (0, "")
    shown = (ROOT / "docs" / f"{page}.md").read_text("utf-8").rpartition("prints:")[2].split("```")[1]
    assert NUMBER.sub("0.…", result.stdout.strip()) == NUMBER.sub("0.…", shown.strip())
    for number, there in zip(NUMBER.findall(result.stdout), NUMBER.findall(shown), strict=True):
        assert float(number) == pytest.approx(float(there), abs=0.1), "after rounding a little otherwise, say"
    assert list(tmp_path.iterdir()) == []
