"""Running a lesson: its cells one after another in one namespace, with what each prints, shows and draws.

    cells = run_lesson(path)      a list of `Text` and `Code`, of which pages and notebooks are made

What the text of a lesson claims, its code asserts: the claims of a lesson that runs are true.
"""

from __future__ import annotations

import ast
import contextlib
import io
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from minicnn.learn.exercises.source import parsed
from minicnn.learn.lessons.figures import shown_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Tags of cells, which a page folds away until the reader opens them.
ANSWER = "answer"  # the answer to a question
PICTURE = "picture"  # code that only draws; what it draws is shown all the same


# In pictures text and axes have this colour and nothing is behind them, so that a page can show them in light and dark.
INK = "#1c1f26"
DRAWN: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none"),
}


class Text(NamedTuple):
    """A cell of text: its Markdown, and its tags."""

    source: str
    tags: tuple[str, ...]


class Code(NamedTuple):
    """A cell of code: its Python, its tags, and what came out, a list of `Printed` and `Picture` in their order."""

    source: str
    tags: tuple[str, ...]
    outputs: list[Printed | Picture]


class Printed(NamedTuple):
    """What a cell printed, or the value of its last line."""

    text: str


class Picture(NamedTuple):
    """A figure of matplotlib's, and its caption."""

    figure: Figure
    caption: str


class LessonError(RuntimeError):
    """A lesson that does not run; says which, and where."""


@contextlib.contextmanager
def needing_lesson_packages(who: str) -> Iterator[None]:
    """Turn the ImportError of a package that only building lessons needs into one with the remedy."""
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"{who}: lessons are built with {error.name}, which is not installed; "
            "get it with: pip install 'minicnn-numba[learn]'"
        ) from error


def read_lesson(path: Path) -> Any:
    """The lesson as an nbformat notebook without outputs."""
    with needing_lesson_packages("read_lesson"):
        import jupytext
    return jupytext.reads(path.read_text("utf-8"), fmt="py:percent")


def run_lesson(path: Path) -> list[Text | Code]:
    """Run the cells of a lesson; returns a list of `Text` and `Code`.

    Not for several threads at once: a process has one standard output and one style of pictures, and what another
    thread prints meanwhile goes into the lesson.

    Raises LessonError where a cell raises, with the lesson, the cell (counted from 1, those of text too), the line and
    the error.
    """
    with needing_lesson_packages("run_lesson"):
        import matplotlib
    text = path.read_text("utf-8")
    namespace = {"__name__": "__main__", "__file__": str(path)}
    cells: list[Text | Code] = []
    position = 0
    for number, cell in enumerate(read_lesson(path).cells, start=1):
        tags = tuple(cell.metadata.get("tags", ()))
        if cell.cell_type != "code":
            cells.append(Text(cell.source, tags))
            continue
        position = text.index(cell.source, position)  # cells of code stand in the file as they are
        lines_above = text.count("\n", 0, position)
        position += len(cell.source)
        with matplotlib.rc_context(DRAWN):
            outputs = _run_cell(cell.source, lines_above, namespace, f"lesson {path.stem}, cell {number}", path)
        cells.append(Code(cell.source, tags, outputs))
    return cells


def _run_cell(
    source: str, lines_above: int, namespace: dict[str, Any], where: str, path: Path
) -> list[Printed | Picture]:
    """Run one cell; returns its outputs."""
    outputs: list[Printed | Picture] = []
    printed = io.StringIO()

    def end_printed() -> None:
        if printed.getvalue():
            outputs.append(Printed(printed.getvalue()))
            printed.seek(0)
            printed.truncate()

    def receive(figure: Figure, caption: str) -> None:
        end_printed()
        outputs.append(Picture(figure, caption))

    try:
        tree = ast.increment_lineno(parsed(source, str(path)), lines_above)
        last = tree.body[-1] if tree.body else None
        if isinstance(last, ast.Expr):
            tree.body.pop()
        with contextlib.redirect_stdout(printed), shown_by(receive):
            exec(compile(tree, str(path), "exec"), namespace)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), str(path), "eval"), namespace)
                if value is not None:
                    print(repr(value))
    except SyntaxError as error:
        line = (error.lineno or 1) + (lines_above if error.filename == str(path) else 0)
        raise LessonError(f"{where}, line {line}: SyntaxError: {error.msg}") from error
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = (frames[-1].lineno if frames else None) or lines_above + 1
        raise LessonError(f"{where}, line {line}: {type(error).__name__}: {error}\n  {frames[-1].line}") from error
    end_printed()
    return outputs
