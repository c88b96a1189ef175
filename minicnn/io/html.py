"""Tables for notebooks, in HTML."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from minicnn.plain import Array


def table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts.

    >>> table("a < b", ["x"], [["1"]])
    "<table><caption>a &lt; b</caption><tr><th style='text-align:left'>x</th></tr><tr><td style='text-align:left'>1</td></tr></table>"
    """  # noqa: E501

    def line(cells: Sequence[str], tag: str) -> str:
        inner = "".join(f"<{tag} style='text-align:left'>{html.escape(cell)}</{tag}>" for cell in cells)
        return f"<tr>{inner}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><caption>{html.escape(caption)}</caption>{line(headings, 'th')}{body}</table>"


def history_table(history: Sequence[dict[str, Any]]) -> str:
    """A row for each epoch, with the columns that any of them has."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    rows = [[_number(name, row.get(name)) for name in columns] for row in history]
    return table("1 epoch" if len(history) == 1 else f"{len(history)} epochs", columns, rows)


def arrays_table(caption: str, arrays: Mapping[str, Array]) -> str:
    """A row for each array: its name, shape, dtype, and how large its numbers are."""
    rows = [
        (
            name,
            str(array.shape),
            str(array.dtype),
            *(f"{value:.4g}" for value in (array.min(), array.mean(), array.max())),
        )
        for name, array in arrays.items()
    ]
    return table(caption, ("array", "shape", "dtype", "smallest", "mean", "largest"), rows)


def preformatted(text: str) -> str:
    """A text as it is printed."""
    return f"<pre>{html.escape(text)}</pre>"


def _number(name: str, value: Any) -> str:
    if value is None:
        return ""
    return str(value) if name == "epoch" else f"{value:.3g}" if name in ("lr", "seconds") else f"{value:.4f}"
