"""What a worksheet is, and its numbers as they are written by hand: integers, fractions, and sums written out.

Every line of a sum is an equation that holds as it stands, side by side: `y[0, 1] = 2·1 + (−1)·3 = −1`. The tests read
the lines of the answer keys and compute them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from minicnn.plain import Array

Number: TypeAlias = Any  # also an element of an array, whose type NumPy leaves open
Write: TypeAlias = Callable[[Number], str]  # a number as it is written by hand
Titles: TypeAlias = tuple[str, ...]

MINUS = "−"
LARGEST_DENOMINATOR = 400


@dataclass(frozen=True)
class Grid:
    """A table of numbers, given or to fill in.

    Attributes:
        name: of the array, "dx".
        cells: rows of texts.
        sums: the sums that lead to its numbers, a line each; only the answer key shows them.
        across, down: titles of its columns and rows; maybe none.
    """

    name: str
    cells: tuple[tuple[str, ...], ...]
    sums: tuple[str, ...] = ()
    across: tuple[str, ...] = ()
    down: tuple[str, ...] = ()


@dataclass(frozen=True)
class Problem:
    """One step: the instruction, its formulas, a line each, and the grids to fill in."""

    instruction: str
    formulas: tuple[str, ...]
    grids: tuple[Grid, ...]


@dataclass(frozen=True)
class Question:
    """A question that asks for an explanation, and the answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Worksheet:
    """A sheet of paper.

    Attributes:
        title: what it is about.
        exercises: the names of the exercises that it goes with.
        introduction: what one needs to know before starting.
        given: the grids that are filled in.
        problems, questions: in their order.
    """

    title: str
    exercises: tuple[str, ...]
    introduction: str
    given: tuple[Grid, ...]
    problems: tuple[Problem, ...]
    questions: tuple[Question, ...]


def grid(name: str, array: ArrayLike, across: Titles = (), down: Titles = (), write: Write | None = None) -> Grid:
    """The `Grid` of an array with one axis or two. Its numbers are written by `write`, which is `text` unless given."""
    write = write or text
    return Grid(name, tuple(tuple(write(value) for value in row) for row in np.atleast_2d(array)), (), across, down)


def worked(
    name: str,
    array: ArrayLike,
    side: Callable[..., str | None],
    across: Titles = (),
    down: Titles = (),
    write: Write | None = None,
) -> Grid:
    """A `Grid` with its sums: `side(*index)` writes out the sum of one number, or gives None for one without.

    Where the sum is the number itself, no line is made of it.

    >>> worked("dbias", np.array([3.0]), lambda k: "2 + 1").sums
    ('dbias[0] = 2 + 1 = 3',)
    """
    write, array = write or text, np.asarray(array)
    sums = []
    for index in np.ndindex(array.shape):
        left, right = side(*index), write(array[index])
        if left is not None and left != right:
            sums.append(equation(name, index, left, right))
    return replace(grid(name, array, across, down, write), sums=tuple(sums))


def fraction(value: Number) -> Fraction:
    """The fraction that a number is, up to rounding. Raises ValueError where it is none with a small denominator.

    >>> fraction(0.3333333333333333)
    Fraction(1, 3)
    """
    near = Fraction(value).limit_denominator(LARGEST_DENOMINATOR)
    if abs(float(near) - float(value)) > 1e-9:
        raise ValueError(f"fraction: expected a fraction that can be written by hand, got {value!r}")
    return near


def text(value: Number) -> str:
    """A number as it is written by hand.

    >>> text(2.0), text(-0.75)
    ('2', '−3/4')
    """
    exact = fraction(value)
    digits = str(abs(exact.numerator)) if exact.denominator == 1 else f"{abs(exact.numerator)}/{exact.denominator}"
    return MINUS + digits if exact < 0 else digits


def decimal(value: Number) -> str:
    """A number with few decimals as it is written by hand.

    >>> decimal(-1.7500000000000002), decimal(3.0)
    ('−1.75', '3')
    """
    size = abs(float(value))
    digits = f"{size:.3f}".rstrip("0").rstrip(".")
    if abs(float(digits) - size) > 1e-9:
        raise ValueError(f"decimal: expected at most three decimals, got {value!r}")
    return MINUS + digits if value < 0 and digits != "0" else digits


def logarithm(value: Number) -> str:
    """The natural logarithm of a number, left as it is.

    >>> logarithm(4), logarithm(0.25)
    ('ln 4', 'ln(1/4)')
    """
    written = text(value)
    return f"ln {written}" if written.isdigit() else f"ln({written})"


def factor(value: Number, write: Write = text) -> str:
    """A number as a factor, in brackets if it is negative or a fraction.

    >>> factor(2), factor(-2), factor(0.5)
    ('2', '(−2)', '(1/2)')
    """
    written = write(value)
    return f"({written})" if written.startswith(MINUS) or "/" in written else written


def products(*pairs: tuple[Number, Number]) -> str:
    """A sum of products written out.

    >>> products((2, 1), (-1, 3))
    '2·1 + (−1)·3'
    """
    return " + ".join(f"{factor(a)}·{factor(b)}" for a, b in pairs)


def plus(value: Number, write: Write = text) -> str:
    """A number as it is added to what stands before it.

    >>> plus(2), plus(-2)
    (' + 2', ' − 2')
    """
    return f" {MINUS} {write(-value)}" if value < 0 else f" + {write(value)}"


def minus(value: Number, write: Write = text) -> str:
    """A number as it is taken from what stands before it.

    >>> minus(2), minus(-0.5)
    (' − 2', ' − (−1/2)')
    """
    written = write(value)
    return f" {MINUS} ({written})" if written.startswith(MINUS) else f" {MINUS} {written}"


def added(first: Number, *rest: Number, write: Write = text) -> str:
    """Numbers added up, written out.

    >>> added(3, -2, 4)
    '3 − 2 + 4'
    """
    return write(first) + "".join(plus(value, write) for value in rest)


def equation(name: str, index: tuple[int, ...], *sides: str) -> str:
    """A line of the key.

    >>> equation("y", (0, 1), "2·1 + 3", "5")
    'y[0, 1] = 2·1 + 3 = 5'
    """
    left = f"{name}[{', '.join(map(str, index))}]" if index else name
    return " = ".join([left, *sides])


def nonzero(rng: np.random.Generator, *shape: int, most: int = 3) -> Array:
    """Random integers from -most to most, none of them 0, as float64."""
    return (rng.integers(1, most + 1, shape) * rng.choice([-1, 1], shape)).astype(np.float64)
