"""What the pages show as a program, a command or its output is run: while the site is built, or by a test.

A page gets its programs from `{code-cell}`, its commands from `{command-output}` and `{program-output}`, all of which
are run by the build. What is shown otherwise is listed here with the test that holds it; a block that is not fails.
"""

import importlib.util
import re
import shlex
from pathlib import Path

import click
import pytest

from minicnn.cli.program import program

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]

RUN_BY_THE_BUILD = ("{code-cell}", "{command-output}", "{program-output}")
NO_PROGRAM = ("{include}", "{toctree}", "{literalinclude}")
FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?<=\n\n)(?: {4,}\S.*\n)+")

# By page: how a block begins, and the test that runs it, or holds it against what is run. What cannot be run is in a
# list of test_docs.py, which says why not.
NOT_RUN = "test_docs.py::test_what_is_told_to_type_is_run"
NEW_EXERCISE = "test_add_an_exercise.py::test_the_page_adds_an_exercise"
EXAMPLE_IN_C = "test_export_c_program.py::test_the_example_and_what_the_page_shows_of_it"
HELD = {
    "README.md": {
        "git clone": "test_readme.py::newcomer",
        "python3 -m venv": "test_readme.py::newcomer",
        "Epoch 0 - loss": "test_readme.py::test_the_example_prints_what_readme_shows",
        ". .venv/bin/activate": "test_readme.py::newcomer",
        "import minicnn": "test_readme.py::test_a_script_beside_the_clone_finds_the_package",
        "minicnn learn start": "test_readme.py::test_the_first_exercise_is_graded",
        "minicnn inspect": "test_readme.py::test_pages_and_pictures_are_there",
        "minicnn sample": "test_readme.py::test_pages_and_pictures_are_there",
        "minicnn/\n": "test_docs.py::test_the_map_in_the_readme_names_what_there_is",
    },
    "CONTRIBUTING.md": {
        "python3 -m venv": NOT_RUN,
        "python -m pytest": NOT_RUN,
    },
    "add-an-exercise.md": {
        "# learn:": NEW_EXERCISE,
        "Task(": NEW_EXERCISE,
        "def batchnorm2d_statistics": NEW_EXERCISE,
        "Mistake(": NEW_EXERCISE,
        "python -m minicnn": "test_learn_mistakes.py::test_the_published_table_is_the_one_of_this_code",
    },
    "c.md": {
        "gcc -std=c99": "test_export_c_program.py::compiled",
        "$ ./digits": EXAMPLE_IN_C,
        "/* A network": EXAMPLE_IN_C,
        "/* pool:": EXAMPLE_IN_C,
        "float sum": EXAMPLE_IN_C,
        "int minicnn_predict": EXAMPLE_IN_C,
    },
    "distributed.md": {
        "pip install": "mpi/test_programs.py::test_the_commands_of_the_page_as_they_are_typed",
        "export OMPI": "mpi/test_programs.py::test_the_commands_of_the_page_as_they_are_typed",
        "minicnn sample": "mpi/test_programs.py::test_the_commands_of_the_page_as_they_are_typed",
        "import minicnn": "mpi/test_programs.py::test_the_program_of_the_page",
    },
    "explain.md": {"weight[c] =": "test_grad_cam.py::test_grad_cam_is_its_definition_written_out"},
    "fit.md": {"epoch 2 of 10": "test_progress.py::test_a_line_every_so_often_while_an_epoch_lasts"},
    "gpu.md": {".venv/bin/pip install": NOT_RUN, "network.to": NOT_RUN},
    "onnx.md": {"(360, 1, 8, 8)": "test_onnx.py::test_the_example_prints_what_the_page_shows"},
    "performance.md": {"pip install": NOT_RUN},
    "pytorch.md": {
        "from_torch: layer4": "test_interop_torch.py::test_what_cannot_be_had_is_refused_by_name",
        "Sequential(": "test_interop_examples.py::test_the_page_shows_what_the_example_prints",
    },
    "reliability.md": {"python -m pytest": "test_site.py::test_a_promise_names_tests_that_are_there"},
    "scikit-learn.md": {"accuracy in two": "test_interop_examples.py::test_the_page_shows_what_the_example_prints"},
}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def blocks_of(text):
    """(language or directive, text) of every block between fences, and ("", text) of those that are indented."""
    found = [(match[1], match[2]) for match in FENCE.finditer(text)]
    plain = re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    return found + [("", block) for block in INDENTED.findall(plain)]


@pytest.mark.quick
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_run(page):
    held, used = HELD.get(page.name, {}), set()
    for language, block in blocks_of(page.read_text("utf-8")):
        if language in (*RUN_BY_THE_BUILD, *NO_PROGRAM):
            continue
        starts = [start for start in held if block.strip().startswith(start)]
        assert starts, f"{page.name}: what runs this block?\n{block}"
        used |= {*starts}
    assert used == {*held}


@pytest.mark.quick
@pytest.mark.parametrize(
    ("page", "test"), [(page, test) for page, held in HELD.items() for test in dict.fromkeys(held.values())]
)
def test_what_holds_a_block_is_there(page, test):
    file, _, name = test.partition("::")
    text = (ROOT / "tests" / file).read_text("utf-8")
    assert f"def {name}(" in text


# Of mpiexec, sbatch and the benchmarks, which a page explains without running them.
OPTIONS_OF_OTHERS = {"--bind-to", "--map-by", "--signal", "--with-ft", "--no-binary"}
SCRIPTS = [*(ROOT / "examples").glob("*.py"), *(ROOT / "benchmarks").glob("*.py"), ROOT / "conftest.py"]
EXTRAS = {*re.findall(r"^([\w-]+) =$", (ROOT / "setup.cfg").read_text("utf-8").partition("extras_require]")[2], re.M)}


def words_of(sentence):
    """The words of a command in a sentence, up to what comes after it."""
    return shlex.split(sentence.partition(" && ")[0].partition(" > ")[0])


def options_of(command):
    """All options of a command of the program and of those below it."""
    own = {option for parameter in command.params for option in parameter.opts}
    return own.union(*map(options_of, getattr(command, "commands", {}).values()))


def parse(words):
    """As `minicnn` reads them: raises click.UsageError for a command or an option that is not there."""
    command = program
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command, words = command.commands[words[0]], words[1:]
    command.make_parser(click.Context(command)).parse_args([*words])


@pytest.mark.quick
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_sentence_says_to_type_could_be_typed(page):
    """Commands, options, files and extras that are named in a sentence or a table exist."""
    known = options_of(program) | OPTIONS_OF_OTHERS
    known |= {option for path in SCRIPTS for option in re.findall(r'"(--[\w-]+)"', path.read_text("utf-8"))}
    for sentence in re.findall(r"`([^`\n]+)`", page.read_text("utf-8")):
        start, *words = words_of(sentence) if re.match(r"(minicnn|python|pip) |--\w", sentence) else [""]
        if start == "minicnn":
            parse(words)
        elif start == "pip":
            named = re.findall(r"\[([\w,-]+)\]", sentence)
            assert {extra for extras in named for extra in extras.split(",")} <= EXTRAS, sentence
        elif start == "python" and words[0] == "-m":
            assert importlib.util.find_spec(words[1]) or words[1] in ("sphinx", "mpi4py"), sentence
        elif start == "python":
            assert words[0] == "first.py" or (ROOT / words[0]).exists(), sentence
            assert {word for word in words if word.startswith("--")} <= known, sentence
        elif start:
            assert start in known, sentence
