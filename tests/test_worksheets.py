"""The worksheets: every line of every key is computed again, and the sheets give away nothing of it."""

import ast
import math
import operator
import re
from fractions import Fraction
from html import unescape

import numpy as np
import pytest
from click.testing import CliRunner

from minicnn.cli.program import program
from minicnn.learn.exercises import EXERCISES
from minicnn.learn.worksheets import WORKSHEETS, as_markdown, as_page, worksheet
from minicnn.learn.worksheets.sheet import decimal, fraction

SEEDS = range(40)
LARGEST, LARGEST_DENOMINATOR = 100, 24  # of all numbers on sheets and keys
NUMBER = re.compile(r"(\d+(?:\.\d+)?)(?:/(\d+))?")
# How far two sides may be apart that "≈" stands between: logarithms of the table have two decimals.
NEARLY = 0.02

OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
}
FUNCTIONS = {"max": max, "floor": math.floor, "ceil": math.ceil, "sqrt": math.sqrt, "ln": math.log}


def computed(side):
    """The number that one side of a line stands for; exact where there is no root and no logarithm in it."""
    written = side.replace("−", "-").replace("·", "*").replace("²", "**2")
    return _of_node(ast.parse(re.sub(r"ln (\d+)", r"ln(\1)", written).strip(), mode="eval").body)


def _of_node(node):
    if isinstance(node, ast.Constant):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp):
        return OPERATORS[type(node.op)](_of_node(node.operand))
    if isinstance(node, ast.BinOp):
        return OPERATORS[type(node.op)](_of_node(node.left), _of_node(node.right))
    return FUNCTIONS[node.func.id](*map(_of_node, node.args))


def grids(sheet):
    return [grid for part in sheet.problems for grid in part.grids]


def answers(sheet):
    return [cell for grid in grids(sheet) for row in grid.cells for cell in row]


def test_the_arithmetic_of_these_tests():
    assert computed("2·1 + (−1)·3") == -1
    assert computed("(−2)/2 + (−9)/3") == -4
    assert computed("1/2·(5/2) + 1/2·(−1)²") == Fraction(7, 4)
    assert computed("max(−3, 2)") == 2
    assert computed("floor(1·5/3)") == 1
    assert computed("−1/2·(ln(1/4) + ln 4)") == 0


@pytest.mark.quick
@pytest.mark.parametrize("name", WORKSHEETS)
def test_every_line_of_the_key_holds(name):
    """The sums, computed from what is written, give the layers' numbers; and these stand in the grids."""
    lines = 0
    for seed in SEEDS:
        for grid in grids(worksheet(name, seed)):
            for line in grid.sums:
                left, *sides = re.split(r" [=≈] ", line)
                values = list(map(computed, sides))
                exact = line.count(" = ")
                for k, value in enumerate(values[1:], start=1):
                    near = 1e-12 if k < exact else NEARLY
                    assert abs(value - values[0]) <= near, f"seed {seed}: {line}"
                index = re.fullmatch(r"[\w ]+\[(\d+)(?:, (\d+))?\]", left)
                if index and not grid.across:
                    row, column = (0, int(index[1])) if index[2] is None else map(int, index.groups())
                    assert grid.cells[row][column] == sides[-1], f"seed {seed}: {line}"
                else:
                    assert any(side in cell for row in grid.cells for cell in row for side in sides), line
                lines += 1
    assert lines >= 5 * len(SEEDS)


@pytest.mark.parametrize("name", WORKSHEETS)
def test_numbers_are_small_and_differ_from_seed_to_seed(name):
    given = set()
    for seed in SEEDS:
        sheet = worksheet(name, seed)
        given.add(repr(sheet.given))
        for grid in [*sheet.given, *grids(sheet)]:
            for cell in [cell for row in grid.cells for cell in row]:
                for number, denominator in NUMBER.findall(cell):
                    assert float(number) <= LARGEST, f"seed {seed}: {grid.name} has {cell}"
                    assert int(denominator or 1) <= LARGEST_DENOMINATOR, f"seed {seed}: {grid.name} has {cell}"
    assert len(given) >= 0.95 * len(SEEDS)
    assert as_page(name, 3) == as_page(name, 3)


@pytest.mark.parametrize("name", WORKSHEETS)
def test_a_sheet_gives_nothing_away_and_its_key_has_everything(name):
    sheet = worksheet(name, 5)
    wanted = answers(sheet)
    said = [line for grid in grids(sheet) for line in grid.sums] + [question.answer for question in sheet.questions]
    for form in (as_page, as_markdown):
        plain, key = (unescape(form(name, 5, answers)) for answers in (False, True))
        assert not [text for text in said if text in plain]
        assert not [text for text in said if text not in key]
        assert f"minicnn learn worksheet {name} --seed 5 --answers" in plain
        for text in (sheet.title, sheet.introduction, *(problem.instruction for problem in sheet.problems)):
            assert text in plain
            assert text in key
    page = as_page(name, 5)
    empty = re.findall(r'<table class="empty".*?</table>', page)
    cells = [cell for table in empty for cell in re.findall(r"<td>(.*?)</td>", table)]
    assert cells == [""] * (len(wanted) + sum(bool(grid.across and grid.down) for grid in grids(sheet)))
    filled = re.findall(r"<td>(.*?)</td>", as_page(name, 5, answers=True))
    assert [cell for cell in filled if cell][-len(wanted) :] == wanted


@pytest.mark.parametrize("answers", [False, True])
def test_markdown_tables_have_a_line_of_titles_and_rows_of_one_width(answers):
    for name in WORKSHEETS:
        tables = re.findall(r"(?:^\|.*\|\n)+", as_markdown(name, 1, answers), re.MULTILINE)
        sheet = worksheet(name, 1)
        for table, grid in zip(tables, [*sheet.given, *grids(sheet)], strict=True):
            head, rule, *rows = table.splitlines()
            assert head.startswith(f"| **{grid.name}**")
            assert set(rule) <= set("|-: ")
            assert len({line.count("|") for line in (head, rule, *rows)}) == 1
            cells = [[cell.strip() for cell in row.split("|")[1:-1]][bool(grid.down) :] for row in rows]
            empty = not answers and grid not in sheet.given
            assert cells == [[""] * len(row) if empty else list(row) for row in grid.cells]


def test_worksheets_go_with_exercises():
    names = {exercise.name for exercise in EXERCISES}
    assert all(names.issuperset(worksheet(name).exercises) and worksheet(name).exercises for name in WORKSHEETS)
    assert all(1 <= len(worksheet(name).questions) <= 2 for name in WORKSHEETS)


def test_what_cannot_be_written_by_hand_is_refused():
    with pytest.raises(ValueError, match="expected a fraction that can be written by hand, got"):
        fraction(np.sqrt(2))
    with pytest.raises(ValueError, match="expected at most three decimals"):
        decimal(1 / 3)
    with pytest.raises(ValueError, match="there is no worksheet 'conv3'; expected one of linear, relu"):
        worksheet("conv3")


def call(*arguments):
    return CliRunner().invoke(program, ["learn", "worksheet", *map(str, arguments)])


@pytest.mark.quick
def test_the_command_lists_and_writes(tmp_path):
    listed = call()
    assert [line.split()[0] for line in listed.output.splitlines()] == list(WORKSHEETS)
    assert call("relu").output == as_markdown("relu")
    assert call("relu", "--answers", "--seed", 7).output == as_markdown("relu", 7, answers=True)
    assert call("relu", "--format", "html").output == as_page("relu")

    page, text = tmp_path / "sheet.html", tmp_path / "sheet.md"
    assert call("relu", "-o", page).output.strip() == str(page)
    assert page.read_text("utf-8") == as_page("relu")
    assert call("relu", "-o", text).exit_code == 0
    assert text.read_text("utf-8") == as_markdown("relu")
    assert call("relu", "-o", page, "--format", "markdown").exit_code == 0
    assert page.read_text("utf-8") == as_markdown("relu")


def test_the_command_used_wrongly(tmp_path):
    result = call("conv3")
    assert (result.exit_code, result.output.splitlines()[0][:34]) == (1, "Error: there is no worksheet 'conv")
    assert call("relu", "--seed", -1).exit_code == 2
    assert call("relu", "-o", tmp_path / "none" / "sheet.html").exit_code == 1
