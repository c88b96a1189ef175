"""A worksheet as a page that prints on one sheet of paper, with everything in it."""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from string import ascii_lowercase

from minicnn.learn.lessons.pages import whole_page
from minicnn.learn.worksheets.catalogue import heading, how_to_print, worksheet
from minicnn.learn.worksheets.sheet import Grid, Problem

STYLE = Path(__file__).parent.parent / "page" / "worksheet.css"
LINE, LINES = '<p class="line"></p>', 3  # to write an explanation on; one line less where there are two to write
NEWLINE = "\n"


def as_page(name: str, seed: int = 0, answers: bool = False) -> str:
    """The worksheet of a name as HTML, a string; with `answers` its key. Raises ValueError for an unknown name."""
    sheet = worksheet(name, seed)
    letters = iter(ascii_lowercase)
    parts = [
        _head(heading(name, answers), sheet.title, answers),
        f"<p>{escape(sheet.introduction)}</p>",
        _grids(sheet.given, True),
        *(_problem(f"{next(letters)}) {problem.instruction}", problem, answers) for problem in sheet.problems),
    ]
    for question in sheet.questions:
        below = f"<p>{escape(question.answer)}</p>" if answers else LINE * (LINES + 1 - len(sheet.questions))
        parts.append(_section(f"{next(letters)}) {question.question}", below))
    kind = "key" if answers else "sheet"
    footer = f"<footer>{escape(how_to_print(name, seed, answers))}</footer>"
    body = f'<main class="{kind}">\n{NEWLINE.join(parts)}\n</main>\n{footer}'
    return whole_page(f"{heading(name, answers)}: {sheet.title}", body, STYLE)


def _head(number: str, title: str, answers: bool) -> str:
    name = "" if answers else '<p class="name">Name</p>'
    return f"<header><h1><small>{number}</small> {escape(title)}</h1>{name}</header>"


def _section(title: str, *below: str) -> str:
    return NEWLINE.join(["<section>", f"<h2>{escape(title)}</h2>", *below, "</section>"])


def _problem(title: str, problem: Problem, answers: bool) -> str:
    formulas = "".join(f"<code>{escape(formula)}</code>" for formula in problem.formulas)
    return _section(title, f'<p class="formulas">{formulas}</p>', _grids(problem.grids, answers))


def _grids(grids: Iterable[Grid], filled: bool) -> str:
    """Grids side by side, and below filled ones the sums that lead to their numbers."""
    sums = [f"<li>{escape(line)}</li>" for grid in grids for line in grid.sums if filled]
    written = f'<ul class="sums">{"".join(sums)}</ul>' if sums else ""
    return f'<div class="grids">{"".join(_table(grid, filled) for grid in grids)}{written}</div>'


def _table(grid: Grid, filled: bool) -> str:
    rows = []
    if grid.across:
        corner = "<td></td>" if grid.down else ""
        rows.append(corner + "".join(f'<th scope="col">{escape(title)}</th>' for title in grid.across))
    for position, cells in enumerate(grid.cells):
        title = "".join(f'<th scope="row">{escape(down)}</th>' for down in grid.down[position : position + 1])
        rows.append(title + "".join(f"<td>{escape(cell) if filled else ''}</td>" for cell in cells))
    # An empty cell has room for the longest number that belongs into its grid.
    longest = max(len(cell) for cells in grid.cells for cell in cells)
    kind = "" if filled else f' class="empty" style="--longest: {longest}"'
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table{kind}><caption>{escape(grid.name)}</caption>{body}</table>"
