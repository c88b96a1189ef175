"""What the lessons draw with: arrays as tables of numbers, and a picture shown wherever the lesson runs.

A lesson makes a `matplotlib.figure.Figure`, draws on it and hands it to `show` with a caption. Where it goes depends on
who runs the lesson: into the page or notebook that is being built, below the cell in Jupyter, VS Code or Spyder, and
from a plain script into a file whose path is printed. No window opens, so nothing waits for one to be closed.
"""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from minicnn.io.files import write_whole
from minicnn.io.output import printable
from minicnn.plain import Pair

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One colour for each kind of number, the same in every lesson; they are seen on white and on black paper.
COLOURS = {"value": "#7f4fb5", "gradient": "#d1495b", "weight": "#1b998b"}
MARK = "#e08e00"
GREY = "#8b8f99"
DPI = 130
# Inches: a cell's side, between two tables, above each for its title, around all, and about what a letter takes.
CELL, GAP, TITLE, EDGE, LETTER = 0.46, 0.3, 0.32, 0.05, 0.088
FOLDER = "pictures"  # in the folder the script is started from

_receiver: ContextVar[Callable[[Figure, str], None] | None] = ContextVar("receiver of figures", default=None)
_numbers = itertools.count(1)  # of the pictures of a script


def show(figure: Figure, caption: str) -> None:
    """Show a figure where the lesson runs; `caption` says in a sentence what is seen in it."""
    receiver = _receiver.get()
    if receiver is not None:
        receiver(figure, caption)
    elif _in_a_notebook():
        from IPython.display import Image, display

        display(Image(as_png(figure)))
        print(caption)
    else:
        path = _next_path()
        path.parent.mkdir(exist_ok=True)
        write_whole(path, as_png(figure))
        print(printable(f"picture: {path}\n         {caption}", sys.stdout))


@contextmanager
def shown_by(receiver: Callable[[Figure, str], None]) -> Iterator[None]:
    """While this lasts, `show` calls `receiver(figure, caption)` and does nothing else."""
    token = _receiver.set(receiver)
    try:
        yield
    finally:
        _receiver.reset(token)


def as_png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file, on white."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI, facecolor="white")
    return content.getvalue()


def _in_a_notebook() -> bool:
    """Whether the code runs in a kernel of Jupyter's, as in VS Code and Spyder too; IPython's terminal is none."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def _next_path() -> Path:
    script = getattr(sys.modules["__main__"], "__file__", None) or "lesson.py"
    return Path(FOLDER) / f"{Path(script).stem}-{next(_numbers)}.png"


def draw_cells(axes: Axes, array: ArrayLike, title: str, kind: str = "value", mark: Iterable[Pair] = ()) -> None:
    """Draw an array as a table, a number in each cell; the larger it is, of either sign, the stronger the shade.

    Args:
        axes: of matplotlib, to draw on.
        array: (H, W), or (W,) as one row. NaN is left blank, but not everywhere.
        title: a line above it.
        kind: "value", "gradient" or "weight", which chooses the colour.
        mark: (row, column) of cells to be framed.
    """
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Rectangle

    array = np.atleast_2d(np.asarray(array, np.float64))
    largest = np.nanmax(np.abs(array), initial=0) or 1
    longest = max(len(as_text(number)) for number in array.flat if not np.isnan(number))
    size = 10 if longest < 5 else 8  # so that numbers keep clear of their neighbours
    for (r, s), number in np.ndenumerate(array):
        if np.isnan(number):
            continue
        strength = 0.55 * abs(number) / largest
        shade = [1 - strength * (1 - part) for part in to_rgb(COLOURS[kind])]
        axes.add_patch(Rectangle((s, r), 1, 1, facecolor=shade, edgecolor=GREY, clip_on=False))
        axes.text(s + 0.5, r + 0.5, as_text(number), ha="center", va="center", color="black", fontsize=size)
    for r, s in mark:
        axes.add_patch(Rectangle((s, r), 1, 1, fill=False, edgecolor=MARK, linewidth=3, clip_on=False, zorder=3))
    height, width = array.shape
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    axes.set_title(title, fontsize=11)
    axes.set_axis_off()


def tables(*rows: Sequence[tuple[Any, ...]]) -> Figure:
    """A figure of arrays as tables, all cells of one size, in rows and columns.

    Each row is a list of tuples (array, title, kind, mark), of which kind and mark may be left out; see `draw_cells`.
    """
    from matplotlib.figure import Figure

    row_heights = [TITLE + max(_size(array)[1] for array, *_ in row) for row in rows]
    columns = list(itertools.zip_longest(*rows))
    column_widths = [max(_width_with_title(*table) for table in column if table) for column in columns]
    width, height = sum(column_widths) + GAP * (len(columns) - 1), sum(row_heights) + GAP * (len(rows) - 1)
    figure = Figure(figsize=(width + 2 * EDGE, height + 2 * EDGE))

    top = height + EDGE
    for row, row_height in zip(rows, row_heights, strict=True):
        left = EDGE
        for table, column_width in zip(row, column_widths, strict=False):  # a row may be shorter than others
            _add_table(figure, left + column_width / 2, top - TITLE, table)
            left += column_width + GAP
        top -= row_height + GAP
    return figure


def _add_table(figure: Figure, centre: float, top: float, table: tuple[Any, ...]) -> None:
    """Draw one of `tables` below `top` and around `centre`, both in inches."""
    width, height = _size(table[0])
    whole_width, whole_height = figure.get_size_inches()
    left, bottom = centre - width / 2, top - height
    place = (left / whole_width, bottom / whole_height, width / whole_width, height / whole_height)
    draw_cells(figure.add_axes(place), *table)


def _size(array: ArrayLike) -> tuple[float, float]:
    """(width, height) of a table, in inches."""
    height, width = np.atleast_2d(array).shape
    return CELL * width, CELL * height


def _width_with_title(array: ArrayLike, title: str, *_: object) -> float:
    return max(_size(array)[0], LETTER * len(title))


def as_text(number: float) -> str:
    """A number in few characters; whole ones of up to four digits as they are.

    >>> as_text(3.0), as_text(-0.12345), as_text(0.0), as_text(1234.0)
    ('3', '−0.123', '0', '1234')
    """
    digits = 4 if number == round(number) else 3
    return f"{number + 0.0:.{digits}g}".replace("-", "−")
