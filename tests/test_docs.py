"""README, CONTRIBUTING and the pages of the site, as texts: short, linked, and true where no building is needed for it.

What is built and run of them is held by tests/test_site.py; what README tells to type by tests/test_readme.py.
"""

import doctest
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(DOCS.glob("*.md")),
    DOCS / "api" / "index.md",
    *(ROOT / "benchmarks").glob("*.md"),
]
FENCE = re.compile(r"^(`{3,}|:{3,})(.*?)^\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def text_of(path):
    return path.read_text("utf-8")


def prose_of(path):
    """The text without its blocks of code."""
    return FENCE.sub("", text_of(path))


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def anchors_of(path):
    """Of each heading what a link to it says, as GitHub and MyST make it."""
    text = text_of(path)
    for included in re.findall(r"^```\{include\} (\S+)", text, re.MULTILINE):
        text += text_of((path.parent / included).resolve())
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_one_screen_after_another_of_which_there_are_few():
    assert len(text_of(ROOT / "README.md").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for link in LINK.findall(text_of(page)):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme == "https", link
            assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc), link
            continue
        target = page if not parts.path else page.parent / parts.path
        if target.parent.name == "lessons" and target.suffix == ".md":  # written when the site is built
            target = ROOT / "minicnn" / "learn" / "lessons" / "texts" / f"{target.stem}.py"
        assert target.exists(), link
        if parts.fragment:
            assert parts.fragment in anchors_of(target), link


# The changelog says what was measured when, and so may be older than the tables.
WITHOUT_FIGURES = [page for page in PAGES if page.parent.name != "benchmarks" and page.name != "CHANGELOG.md"]


@pytest.mark.parametrize("page", WITHOUT_FIGURES, ids=name_of)
def test_figures_stand_in_one_place(page):
    """A number of a table in benchmarks/ is in no other text, from three digits on."""
    measured = set()
    for path in (ROOT / "benchmarks").glob("*.md"):
        for line in re.findall(r"^\|.*\|$", text_of(path), re.MULTILINE):
            measured |= {number for number in re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", line) if _digits(number) > 2}
    assert measured
    assert not measured & set(re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", prose_of(page)))


def test_what_was_measured_stands_on_one_page():
    """A number with a unit of time, memory or share, on whatever page."""
    pages = {}
    for page in [page for page in PAGES if page.name != "CHANGELOG.md"]:
        for figure in re.findall(r"(?<![\w.])\d[\d.]* (?:ns|µs|ms|s|%|KB|MB|GB)(?!\w)", prose_of(page)):
            pages.setdefault(figure, set()).add(name_of(page))
    assert len(pages) > 20
    assert {figure: where for figure, where in pages.items() if len(where) > 1} == {}


def _digits(number):
    return len(number.replace(".", "").lstrip("0"))


def test_the_map_in_the_readme_names_what_there_is():
    (tree,) = re.findall(
        r"^## What is where\n\n```text\n(.*?)^```$", text_of(ROOT / "README.md"), re.MULTILINE | re.DOTALL
    )
    named = {word.rstrip("/") for line in tree.splitlines() for word in re.findall(r"\w+(?:/|\.py)", line)}
    package = {path.name for path in (ROOT / "minicnn").iterdir() if not path.name.startswith("_")} - {"py.typed"}
    assert package <= named, package - named


def test_every_page_is_in_a_table_of_contents():
    listed = set()
    for page in [*DOCS.glob("*.md"), DOCS / "api" / "index.md"]:
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL):
            names = [line for line in block.splitlines() if line and line[0] != ":" and "*" not in line]
            listed |= {(page.parent / name).relative_to(DOCS).as_posix() for name in names}
    pages = [*DOCS.glob("*.md"), *(DOCS / "api").glob("*.*")]
    assert {path.relative_to(DOCS).with_suffix("").as_posix() for path in pages} - {"index"} == listed


@pytest.mark.quick
def test_docstrings_are_marked_as_their_extension_says(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "extensions")
    import docstrings

    assert doctest.testmod(docstrings) == (0, 1)


MODULES = (
    "minicnn",
    "minicnn.layers",
    "minicnn.optim",
    "minicnn.data",
    "minicnn.inspect",
    "minicnn.distributed",
    "minicnn.verify.compare",
    "minicnn.verify.gradcheck",
    "minicnn.learn.grader",
    "minicnn.learn.exercises",
    "minicnn.learn.mistakes",
    "minicnn.learn.symptoms",
    "minicnn.learn.worksheets",
)
MORE = (
    "minicnn.backends.get_backend",
    "minicnn.backends.protocol.Operations",
    "minicnn.interop.torch.from_torch",
    "minicnn.interop.torch.to_torch",
    "minicnn.interop.onnx.export_onnx",
    "minicnn.interop.c.export_c",
    "minicnn.interop.sklearn.CNNClassifier",
)


def object_called(name):
    """What a dotted name stands for, a module or something in one; None if it is an attribute of instances."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found
    return None


PUBLIC = sorted(
    {f"{module}.{name}" for module in MODULES for name in importlib.import_module(module).__all__} | {*MORE}
)
# They take nothing that could be wrong, or are made by functions that say what they raise.
RAISE_NOTHING = {
    "release_memory",
    "random_flip",
    "standardised",
    *("LabelledImages", "Dataset", "Inspection", "Recording", "replay_data", "Comparison", "Row"),
    *("Layer", "Optimizer", "Operations"),
    *("MPIGroup", "DataParallel", "RankLostError"),
    *("Exercise", "Task", "Mistake", "Verdict", "Run", "of_task"),
    *("cause_of", "complaint", "diagnose", "draw", "explain", "healthy"),
}


@pytest.mark.quick
@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_says_what_it_is_and_raises(name):
    found = object_called(name)
    if not callable(found):
        return
    text = inspect.getdoc(found)
    assert text
    assert text.split("\n\n")[0].rstrip().endswith((".", ":", ";", ",")) or ">>>" in text
    assert name.rpartition(".")[2] in RAISE_NOTHING or re.search(r"\b[Rr]aises?\b|\b[Ee]rrors\b", text)


@pytest.mark.quick
@pytest.mark.parametrize("name", [name for name in PUBLIC if name.startswith("minicnn.layers.")])
def test_a_layer_says_its_formula_its_shapes_and_where_its_arithmetic_is(name):
    text = inspect.getdoc(object_called(name))
    if name.endswith(".Layer"):
        return
    assert re.search(r"^Shapes?:|\(N, ", text, re.MULTILINE)
    assert re.search(r"(^|  )(y|dx)\b.* = ", text, re.MULTILINE)
    assert ">>>" in text
    assert "minicnn/backends/" in text or name.endswith(".Flatten")


WITH_MEMBERS = {
    name.rpartition(".")[2]
    for path in (DOCS / "api").glob("*.rst")
    for name in re.findall(r"^\.\. autoclass:: (\S+)\n   :members:", text_of(path), re.MULTILINE)
}
TAKES_ARRAYS = re.compile(r"\b(ndarray|Batch|Images)\b")
SAYS_SHAPES = re.compile(r"\([A-Z0-9][^()]*,[^()]*\)|\b[Ss]hapes?\b")
# Whose arrays may have any shape, or that hand them to what says it.
OF_ANY_SHAPE = {"Images.astype", "train_classifier"}


@pytest.mark.quick
@pytest.mark.parametrize("name", PUBLIC)
def test_where_arrays_are_taken_or_given_their_shapes_are_said(name):
    """In the docstring of the function, or for a method in that of its class."""
    found = object_called(name)
    functions = {name: found} if inspect.isfunction(found) else {}
    if isinstance(found, type) and found.__name__ in WITH_MEMBERS:
        functions = {
            f"{found.__name__}.{key}": getattr(method, "__func__", method)
            for key, method in vars(found).items()
            if key[0] != "_" and inspect.isfunction(getattr(method, "__func__", method))
        }
    for path, function in functions.items():
        hints = str(inspect.signature(function))
        text = f"{inspect.getdoc(function)}\n{inspect.getdoc(found)}"
        if TAKES_ARRAYS.search(hints) and path.rpartition("minicnn.")[2] not in OF_ANY_SHAPE:
            assert SAYS_SHAPES.search(text), path


# Programs and commands are run while the site is built, where a page has them as {code-cell} and {command-output}. What
# is said as a command and not run there is here: what starts the line, and where it is run, or why it is not.
NOT_RUN_BY_THE_SITE = {
    "add-an-exercise.md": {
        "python -m minicnn.learn.mistakes.table": "tests/test_learn_mistakes.py holds what it writes",
        "python -m pytest": "tests of the suite",
    },
    "c.md": {"gcc": "tests/test_export_c_program.py compiles and runs such files"},
    "distributed.md": {
        "pip install": "an MPI is needed",
        "mpiexec": "tests/mpi/test_programs.py runs the page's blocks",
        "minicnn sample": "tests/mpi/test_programs.py, too",
    },
    "gpu.md": {
        ".venv/bin/pip install": "needs a GPU",
        "network.to": "needs a GPU; tests/cuda runs it in the simulator",
    },
    "performance.md": {
        "pip install": "gigabytes of other engines",
        "python benchmarks/speed.py": "measures for minutes",
    },
    "reliability.md": {"python -m pytest": "tests of the suite; tests/test_site.py looks whether they are there"},
    "CONTRIBUTING.md": {
        "python3 -m venv": ".ci/run",
        "pre-commit": "installs hooks into git",
        "python -m pytest": "tests of the suite",
        "ruff": ".ci/run",
    },
}
COMMAND = re.compile(
    r"^(?: {4})?((?:python3?|pip|minicnn|gcc|ruff|pre-commit|mpiexec|\.venv/\S+|network\.) ?.*)$", re.MULTILINE
)


@pytest.mark.quick
@pytest.mark.parametrize("page", [*sorted(DOCS.glob("*.md")), ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_what_is_told_to_type_is_run(page):
    """In a block of its own; what stands in a sentence may be a part of a command."""
    text = re.sub(r"^```\{.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)  # directives
    blocks = [*re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]
    blocks += re.findall(r"(?:^ {4}\S.*\n)+", FENCE.sub("", text), re.MULTILINE)
    found = {line for block in blocks for line in COMMAND.findall(block)}
    elsewhere = NOT_RUN_BY_THE_SITE.get(page.name, {})
    assert {line for line in found if not line.startswith(tuple(elsewhere))} == set()
    assert {start for start in elsewhere if not any(line.startswith(start) for line in found)} == set()


# README's program is run by test_readme.py, and what needs an MPI by tests/mpi.
WITH_PIECES = ("README.md", "add-an-exercise.md", "distributed.md")


@pytest.mark.quick
@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in WITH_PIECES], ids=name_of)
def test_programs_in_python_are_cells_or_files(page):
    assert "```python" not in text_of(page)


PROGRAMS = ["adaptive_max", "adaptive_avg", "simplenet"]


@pytest.mark.torch
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_published_programs_print_the_same(tmp_path, name):
    """minicnn's, and PyTorch's, of which the site shows what is in the file."""
    printed = []
    for program in (f"{name}.py", f"{name}_torch.py"):
        command = [sys.executable, DOCS / "published" / program]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        printed.append(ended.stdout)
    kept = text_of(DOCS / "published" / f"{name}_torch.txt")
    assert_same_but_for_the_last_digit(printed[1], kept)
    assert_same_but_for_the_last_digit(printed[0], kept)


NUMBER = re.compile(r"-?\d+\.\d+")


def assert_same_but_for_the_last_digit(printed, kept):
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", kept)
    numbers = [np.array(NUMBER.findall(text), float) for text in (printed, kept)]
    np.testing.assert_allclose(*numbers, rtol=0, atol=1.1e-4)
