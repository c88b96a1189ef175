"""What a wrong array looks like beside the right one: the worst number, and what lies around it."""

import numpy as np

from minicnn.plain import Array

NEIGHBOURS = 2  # on each side of the worst number, along the last two axes


def worst_index(expected: Array, got: Array) -> tuple[int, ...]:
    """The index where the two differ most; a number that is not finite differs most of all."""
    with np.errstate(invalid="ignore"):
        difference = np.array(abs(got - expected))  # an array also of a single number
    difference[~np.isfinite(got) & np.isfinite(expected)] = np.inf
    return tuple(int(index) for index in np.unravel_index(np.argmax(np.nan_to_num(difference, nan=-1)), got.shape))


def around(expected: Array, got: Array, index: tuple[int, ...]) -> str:
    """The numbers around an index as text: expected to the left, got to the right, the worst in brackets."""
    if not expected.ndim:
        return ""
    row, column = (0, *index)[-2:]
    leading = index[:-2]
    tables = [np.atleast_2d(array[leading] if leading else array) for array in (expected, got)]
    rows, columns = (_near(place, n) for place, n in zip((row, column), tables[0].shape, strict=True))
    digits = digits_that_differ(expected[index], got[index], 4)
    cells = [
        [[f"{number + 0.0:.{digits}g}" for number in line] for line in table[rows, columns].tolist()]
        for table in tables
    ]
    at = row - rows.start, column - columns.start
    for table in cells:
        table[at[0]][at[1]] = f"[{table[at[0]][at[1]]}]"
    width = max(len(cell) for table in cells for line in table for cell in line)
    sides = [["  ".join(cell.rjust(width) for cell in line) for line in table] for table in cells]
    head = f"{'expected'.rjust(len(sides[0][0]))}     {'got'.rjust(len(sides[1][0]))}"
    cut = tables[0][rows, columns].shape != tables[0].shape
    if cut or any(n > 1 for n in expected.shape[:-2]):  # which part is shown
        head += f"     [{''.join(f'{k}, ' for k in leading)}{rows.start}:{rows.stop}, {columns.start}:{columns.stop}]"
    return "\n".join([head, *(f"{left}  |  {right}" for left, right in zip(*sides, strict=True))])


def _near(place: int, n: int) -> slice:
    """The stretch of an axis of n numbers that is shown: all of a short one, else what lies around a place."""
    if n <= 2 * NEIGHBOURS + 1:
        return slice(0, n)
    return slice(max(place - NEIGHBOURS, 0), min(place + NEIGHBOURS + 1, n))


def digits_that_differ(expected: float, got: float, least: int) -> int:
    """How many digits to show of two numbers so that they are not written alike."""
    return next((d for d in range(least, 17) if f"{expected:.{d}g}" != f"{got:.{d}g}"), 17)
