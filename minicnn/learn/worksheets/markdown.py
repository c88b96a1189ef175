"""A worksheet as Markdown: tables with the name of the grid in their first line, sums and formulas as code."""

from collections.abc import Iterable
from string import ascii_lowercase

from minicnn.learn.worksheets.catalogue import heading, how_to_print, worksheet
from minicnn.learn.worksheets.sheet import Grid

LINE, LINES = "\\" + "_" * 80, 3  # to write an explanation on


def as_markdown(name: str, seed: int = 0, answers: bool = False) -> str:
    """The worksheet of a name as Markdown, a string; with `answers` its key. Raises ValueError for an unknown name."""
    sheet = worksheet(name, seed)
    parts = [f"# {heading(name, answers)}: {sheet.title}", sheet.introduction, "## Given"]
    parts += [_table(given, filled=True) for given in sheet.given]
    letters = iter(ascii_lowercase)
    for problem in sheet.problems:
        parts += [f"## {next(letters)}) {problem.instruction}", _code(problem.formulas)]
        for grid in problem.grids:
            parts.append(_table(grid, filled=answers))
            if answers and grid.sums:
                parts.append(_code(grid.sums))
    for question in sheet.questions:
        parts.append(f"## {next(letters)}) {question.question}")
        parts.append(question.answer if answers else "\n\n".join([LINE] * LINES))
    parts += ["---", how_to_print(name, seed, answers)]
    return "\n\n".join(parts) + "\n"


def _code(lines: Iterable[str]) -> str:
    return "\n".join(["```text", *lines, "```"])


def _table(grid: Grid, filled: bool) -> str:
    """A table. Its first line, which Markdown requires, has the grid's name and the titles of the columns."""
    width = len(grid.cells[0])
    titles = grid.across or ("",) * width
    name = f"**{grid.name}**"
    head = [name, *titles] if grid.down else [f"{name} {titles[0]}".strip(), *titles[1:]]
    rows = [head, ["---:"] * len(head)]
    for position, cells in enumerate(grid.cells):
        rows.append([*grid.down[position : position + 1], *(cells if filled else [""] * width)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
