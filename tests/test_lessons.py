"""The lessons: each runs and tells the truth, pages and notebooks hold everything, and nobody's work is overwritten."""

import os
import re
import subprocess
import sys
import textwrap
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner

import minicnn
from minicnn.cli.program import program
from minicnn.learn.lessons import run as lesson_run
from minicnn.learn.lessons.files import copy_lessons, lesson_paths, title_of
from minicnn.learn.lessons.notebooks import write_notebook
from minicnn.learn.lessons.pages import page_of, write_index, write_page
from minicnn.learn.lessons.run import Code, LessonError, Picture, Printed, Text, read_lesson, run_lesson

LESSONS = {path.stem: path for path in lesson_paths()}
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(minicnn.__file__).parent.parent), "MPLBACKEND": "agg"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Gives the folder with the page and the notebook of a lesson, which is run when it is first asked for."""
    folder = tmp_path_factory.mktemp("lessons")

    @cache
    def build(name):
        cells = run_lesson(LESSONS[name])
        write_page(LESSONS[name], cells, folder / f"{name}.html")
        write_notebook(LESSONS[name], cells, folder / f"{name}.ipynb")
        return folder

    return build


def page(built, name):
    return (built(name) / f"{name}.html").read_text("utf-8")


def notebook(built, name):
    return nbformat.read(built(name) / f"{name}.ipynb", as_version=4)


def write(folder, text):
    path = folder / "01_own.py"
    path.write_text(textwrap.dedent(text), "utf-8")
    return path


class References(HTMLParser):
    """Everything in a page that a browser would fetch or follow."""

    def __init__(self, text):
        super().__init__()
        self.fetched, self.followed, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if tag == "a" and name == "href":
                self.followed.append(value)
            elif name in ("src", "href", "srcset", "data", "poster", "action", "background", "style"):
                self.fetched.append(value)


# Every lesson.


def test_there_are_twelve_lessons_numbered_in_order():
    assert [name[:2] for name in LESSONS] == [f"{n:02}" for n in range(1, len(LESSONS) + 1)]
    assert [title_of(path).split(" · ")[0] for path in LESSONS.values()] == [str(n) for n in range(1, len(LESSONS) + 1)]


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_has_formulas_code_a_question_and_a_picture(built, name):
    cells = notebook(built, name).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert text.count("$$") >= 2
    assert "> **Question.**" in text
    assert "assert " in code
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", ()))


@pytest.mark.parametrize("name", list(LESSONS)[:-1])  # the last ends with the symptom lab
def test_the_frameworks_own_code_comes_after_the_learners(name):
    """The exercise comes before the files that hold its solution, and what an answer prints is announced."""
    cells = read_lesson(LESSONS[name]).cells
    (task,) = [cell.source for cell in cells if "## Now you" in cell.source]
    assert 0 < task.index("minicnn learn check") < task.index(".py`")
    for cell in cells:
        if "answer" in cell.metadata.get("tags", ()) and "print(solution(" in cell.source:
            said, _, _ = cell.source.partition("solution(")
            assert 'print("The answer, to be compared with yours' in said


@pytest.mark.parametrize("name", LESSONS)
def test_a_page_needs_nothing_outside_itself(built, name):
    references = References(page(built, name))
    assert references.fetched
    assert all(value.startswith("data:image/svg+xml;base64,") for value in references.fetched)
    assert {link.removesuffix(".html") for link in references.followed} <= {"index", *LESSONS}
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(references.tags)
    style = page(built, name).partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.parametrize("name", LESSONS)
def test_every_formula_becomes_mathml(built, name):
    text = page(built, name)
    source = "\n".join(cell.source for cell in read_lesson(LESSONS[name]).cells if cell.cell_type == "markdown")
    without_code = re.sub(r"`[^`\n]*`|^ {4}.*$", "", source, flags=re.MULTILINE)
    displayed = re.findall(r"\$\$.*?\$\$", without_code, re.DOTALL)
    inline = re.findall(r"\$[^$]+\$", re.sub(r"\$\$.*?\$\$", "", without_code, flags=re.DOTALL))
    assert text.count('display="block"') == len(displayed)
    assert text.count('display="inline"') == len(inline)
    for formula in re.findall(r"<math.*?</math>", text, re.DOTALL):
        assert "\\" not in formula  # a command that the converter does not know stays as it is
        assert "<merror" not in formula


@pytest.mark.parametrize("name", LESSONS)
def test_a_notebook_is_valid_and_has_run(built, name):
    nbformat.validate(notebook(built, name))
    code = [cell for cell in notebook(built, name).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


@pytest.mark.parametrize("name", [next(iter(LESSONS)), pytest.param(list(LESSONS)[-1], marks=pytest.mark.slow)])
def test_a_lesson_runs_as_a_plain_script(tmp_path, name):
    result = subprocess.run(
        [sys.executable, LESSONS[name]], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    pictures = re.findall(r"^picture: (.+)$", result.stdout, re.MULTILINE)
    assert pictures == [f"pictures/{name}-{n}.png" for n in range(1, len(pictures) + 1)]
    assert all((tmp_path / path).read_bytes().startswith(b"\x89PNG") for path in pictures)


@pytest.mark.quick
def test_the_list_leads_to_every_lesson(tmp_path):
    write_index(tmp_path / "index.html")
    references = References((tmp_path / "index.html").read_text("utf-8"))
    assert references.followed == [f"{name}.html" for name in LESSONS]


def test_a_page_is_the_same_when_it_is_built_again(built):
    name = next(iter(LESSONS))
    assert page_of(LESSONS[name], run_lesson(LESSONS[name])) == page(built, name)


# What is kept of a cell.


def test_outputs_are_kept_in_their_order(tmp_path):
    path = write(
        tmp_path,
        """\
        # %% [markdown] tags=["answer"]
        # # 1 · Own

        # %%
        from matplotlib.figure import Figure
        from minicnn.learn.lessons.figures import show

        print("before")
        show(Figure(), "an empty figure")
        print("after")
        [1, 2]

        # %% tags=["picture"]
        None
        """,
    )
    text, code, silent = run_lesson(path)
    assert text == Text("# 1 · Own", ("answer",))
    before, picture, after = code.outputs
    assert (before, after) == (Printed("before\n"), Printed("after\n[1, 2]\n"))
    assert isinstance(picture, Picture)
    assert picture.caption == "an empty figure"
    assert silent == Code("None", ("picture",), [])


def test_answers_and_the_code_of_pictures_are_folded_away(tmp_path):
    path = write(
        tmp_path,
        """\
        # %% [markdown]
        # # 1 · Own
        #
        # > **Question.** Why?

        # %% [markdown] tags=["answer"]
        # Because <b>.

        # %% tags=["answer"]
        print("6 < 7")

        # %% tags=["picture"]
        from matplotlib.figure import Figure
        from minicnn.learn.lessons.figures import show

        show(Figure(), 'a "caption"')
        """,
    )
    text = page_of(path, run_lesson(path))
    answer, drawing = re.findall(r"<details>\n<summary>(?:Answer|How it is drawn)</summary>(.*?)</details>", text, re.S)
    assert "Because &lt;b&gt;." in answer
    assert "6 &lt; 7\n</pre>" in answer
    assert "Figure" in drawing
    assert '<figcaption aria-hidden="true">a &quot;caption&quot;</figcaption></figure>\n<details>' in text


def test_primes_are_not_raised_twice(tmp_path):
    path = write(tmp_path, "# %% [markdown]\n# # 1 · Own\n#\n# $i' = x_{j'} + \\tilde a''$ and $b^2$\n")
    text = page_of(path, run_lesson(path))
    assert text.count("<msup>") == text.count("</msup>") == 1  # of the square
    assert "<mi>i</mi>" + (prime := '<mo lspace="0" rspace="0">&#x02032;</mo>') in text
    assert f"<mi>j</mi>{prime}" in text
    assert prime.replace("2032", "2033") in text


# A lesson that is wrong.


def fails(folder, code):
    path = write(folder, "# %% [markdown]\n# # 1 · Own\n\n# %%\na = 1\n\n# %%\na = 1\n\n# %%\n" + textwrap.dedent(code))
    with pytest.raises(LessonError) as caught:
        run_lesson(path)
    return str(caught.value)


def test_a_false_claim_is_reported_with_cell_and_line(tmp_path):
    message = fails(tmp_path, "b = 2\nassert a + a == 3, 'sum'\n")
    assert message == "lesson 01_own, cell 4, line 12: AssertionError: sum\n  assert a + a == 3, 'sum'"


def test_an_error_within_a_function_is_reported_where_the_lesson_is(tmp_path):
    message = fails(tmp_path, "import numpy as np\n\n\ndef f():\n    np.ones(3) @ np.ones(4)\n\n\nf()\n")
    assert message.startswith("lesson 01_own, cell 4, line 15: ValueError: ")


def test_a_syntax_error_is_reported_with_its_line(tmp_path):
    assert fails(tmp_path, "b = 2\nb = = 3\n") == "lesson 01_own, cell 4, line 12: SyntaxError: invalid syntax"


def test_the_second_of_two_equal_cells_is_reported_at_its_own_line(tmp_path):
    path = write(tmp_path, "# %%\nn = 0\n\n# %%\nn += 1\nassert n < 2\n\n# %%\nn += 1\nassert n < 2\n")
    with pytest.raises(LessonError, match=r"cell 3, line 10: AssertionError"):
        run_lesson(path)


@pytest.fixture
def own_lessons(tmp_path, monkeypatch):
    """A folder of lessons with two short ones in place of the course's; each prints once when it is run."""
    for number, name in ((1, "one"), (2, "two")):
        text = f"# %% [markdown]\n# # {number} · {name}\n\n# %%\nwith open(__file__ + '.log', 'a') as file:\n"
        text += "    file.write('ran')\n"
        (tmp_path / f"0{number}_{name}.py").write_text(text, "utf-8")
    monkeypatch.setattr("minicnn.learn.lessons.files.FOLDER", tmp_path)
    return tmp_path


@pytest.mark.quick
def test_the_command_runs_each_lesson_once_and_writes_what_is_asked_for(own_lessons):
    html, notebooks = own_lessons / "html", own_lessons / "notebooks"
    result = CliRunner().invoke(program, ["learn", "lessons", "--html", str(html), "--notebooks", str(notebooks)])
    assert result.exit_code == 0, result.output
    said = [
        "2 lessons are run, which takes minutes",
        "1/2 01_one …",
        "2/2 02_two …",
        f"pages: {html / 'index.html'}",
        f"notebooks: {notebooks}",
    ]
    assert result.output.splitlines() == said
    assert sorted(path.name for path in html.iterdir()) == ["01_one.html", "02_two.html", "index.html"]
    assert sorted(path.name for path in notebooks.iterdir()) == ["01_one.ipynb", "02_two.ipynb"]
    assert (own_lessons / "01_one.py.log").read_text() == "ran"
    assert '<a rel="next" href="02_two.html">2 · two →</a>' in (html / "01_one.html").read_text("utf-8")
    assert '<a rel="prev" href="01_one.html">← 1 · one</a>' in (html / "02_two.html").read_text("utf-8")


def test_the_command_ends_with_the_lesson_that_does_not_run(own_lessons):
    with open(own_lessons / "02_two.py", "a") as file:
        file.write("raise RuntimeError('no')\n")
    result = CliRunner().invoke(program, ["learn", "lessons", "--html", str(own_lessons / "html")])
    assert result.exit_code == 1
    assert "2/2 02_two …\n" in result.output  # said as it begins
    assert "Error: lesson 02_two, cell 2, line 7: RuntimeError: no" in result.output
    assert [path.name for path in (own_lessons / "html").iterdir()] == ["01_one.html"]


def test_a_lesson_without_a_heading_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"01_own\.py: expected a first heading"):
        title_of(write(tmp_path, "# %%\n1\n"))


def test_a_missing_package_is_named_with_the_remedy():
    said = r"who: lessons are built with nowhere, .* 'minicnn-numba\[learn\]'"
    with pytest.raises(ImportError, match=said), lesson_run.needing_lesson_packages("who"):
        import nowhere  # noqa: F401


# Copies.


@pytest.mark.quick
def test_copies_are_made_once_and_never_over_changes(tmp_path):
    written, kept = copy_lessons(tmp_path / "lessons")
    assert [path.name for path in written] == [path.name for path in LESSONS.values()]
    assert kept == []
    mine = written[0]
    mine.write_text("my work")
    written[1].unlink()

    again, kept = copy_lessons(tmp_path / "lessons")
    assert again == [written[1]]
    assert kept == [mine]
    assert mine.read_text() == "my work"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_in_place_of_a_copy_is_kept_and_not_waited_for(tmp_path):
    first = next(iter(LESSONS.values())).name
    os.mkfifo(tmp_path / first)
    assert copy_lessons(tmp_path)[1] == [tmp_path / first]


def test_the_command_says_which_copies_it_kept(tmp_path):
    copy_lessons(tmp_path)
    first = next(iter(LESSONS.values())).name
    (tmp_path / first).write_text("my work")
    result = CliRunner().invoke(program, ["learn", "lessons", "--copy", str(tmp_path)])
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"kept, since it differs from the lesson: {tmp_path / first}",
        f"0 lessons written to {tmp_path}",
    ]


def test_without_options_the_lessons_are_listed():
    lines = CliRunner().invoke(program, ["learn", "lessons"]).output.splitlines()
    assert [line.split()[0] for line in lines] == list(LESSONS)
    assert all(title_of(path) in line for path, line in zip(LESSONS.values(), lines, strict=True))
