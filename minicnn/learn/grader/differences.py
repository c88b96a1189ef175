"""What a wrong array looks like beside the right one: the worst number, what lies around it, and what is striking."""

import numpy as np

NEIGHBOURS = 2  # on each side of the worst number, along the last two axes
FLOAT32 = 1e-5  # differences below this share of the largest number look like rounding


def worst_index(expected, got):
    """The index where the two differ most; a number that is not finite differs most of all."""
    with np.errstate(invalid="ignore"):
        difference = np.array(abs(got - expected))  # an array also of a single number
    difference[~np.isfinite(got) & np.isfinite(expected)] = np.inf
    return tuple(int(index) for index in np.unravel_index(np.argmax(np.nan_to_num(difference, nan=-1)), got.shape))


def around(expected, got, index):
    """The numbers around an index as text: expected to the left, got to the right, the worst in brackets."""
    if not expected.ndim:
        return ""
    *leading, row, column = (0, 0, *index)[-max(2, len(index)) :]
    leading = index[:-2]
    tables = [np.atleast_2d(array[leading] if leading else array) for array in (expected, got)]
    rows = slice(max(row - NEIGHBOURS, 0), row + NEIGHBOURS + 1)
    columns = slice(max(column - NEIGHBOURS, 0), column + NEIGHBOURS + 1)
    cells = [[[_short(number) for number in line] for line in table[rows, columns].tolist()] for table in tables]
    at = row - rows.start, column - columns.start
    for table in cells:
        table[at[0]][at[1]] = f"[{table[at[0]][at[1]]}]"
    width = max(len(cell) for table in cells for line in table for cell in line)
    sides = [["  ".join(cell.rjust(width) for cell in line) for line in table] for table in cells]
    head = f"{'expected'.rjust(len(sides[0][0]))}     {'got'.rjust(len(sides[1][0]))}"
    return "\n".join([head, *(f"{left}  |  {right}" for left, right in zip(*sides, strict=True))])


def striking(expected, got, arguments):
    """What strikes one about all of the wrong numbers, a sentence each; maybe nothing.

    `arguments` are the arrays the function was called with, by name.
    """
    if expected.shape != got.shape:
        return _about_the_shape(expected, got)
    if not np.isfinite(got).all():
        kinds = [name for name, test in (("NaN", np.isnan), ("infinity", np.isinf)) if test(got).any()]
        return [
            f"There is {' and '.join(kinds)} in it: look for a division by 0, the log of 0, or exp of a large number."
        ]
    if not got.any():
        return ["All your numbers are 0."]
    said = [f"It is {name} as it came in." for name, array in arguments.items() if np.array_equal(array, got)]
    said += _a_factor(expected, got) or _a_rearrangement(expected, got) or _where(expected, got)
    return said


def _short(number):
    return f"{number:.4g}"


def _about_the_shape(expected, got):
    said = [f"Its shape should be {expected.shape}, and is {got.shape}."]
    if got.T.shape == expected.shape and np.allclose(got.T, expected):
        said.append("Transposed it would be right.")
    elif got.size == expected.size and np.allclose(got.ravel(), expected.ravel()):
        said.append("The numbers are right, in their order; only the shape is not.")
    return said


def _a_factor(expected, got):
    """Whether every number is the right one times the same factor."""
    scale = np.abs(expected).max()
    if np.abs(got - expected).max() < FLOAT32 * scale:
        return ["The differences are as small as the rounding of float32: is there a float32 array on the way?"]
    away_from_0 = np.abs(expected) > 1e-9 * scale
    if np.count_nonzero(away_from_0) < 2:
        return []
    ratios = got[away_from_0] / expected[away_from_0]
    factor = float(np.median(ratios))
    if factor == 0 or not np.allclose(ratios, factor) or np.abs(got[~away_from_0]).max(initial=0) > 1e-6 * scale:
        return []
    if np.isclose(factor, -1):
        return ["Every number has the wrong sign."]
    share = f" (1/{1 / factor:.4g})" if abs(factor) < 1 else ""
    return [f"Every number is the right one times {factor:.4g}{share}."]


def _a_rearrangement(expected, got):
    """Whether the right numbers stand in the wrong places."""
    for axis in range(expected.ndim):
        if expected.shape[axis] > 1 and np.allclose(np.flip(got, axis), expected):
            return [f"Flipped along axis {axis} it would be right."]
    if expected.ndim > 1 and np.allclose(got[..., ::-1, ::-1], expected):
        return ["Turned by half a turn along the last two axes it would be right."]
    if (
        expected.ndim > 1
        and expected.shape[-1] == expected.shape[-2]
        and np.allclose(np.swapaxes(got, -1, -2), expected)
    ):
        return ["With its last two axes exchanged it would be right."]
    if np.allclose(np.sort(got.ravel()), np.sort(expected.ravel())):
        return ["The right numbers are all there, in other places."]
    return []


def _where(expected, got):
    """Where the wrong numbers lie."""
    wrong = ~np.isclose(got, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())
    said = []
    if expected.ndim >= 2 and min(expected.shape[-2:]) > 2 and not wrong[..., 1:-1, 1:-1].any():
        said.append("Only cells at the border are wrong.")
    if expected.ndim >= 2 and len(expected) > 1:
        right = [n for n in range(len(expected)) if not wrong[n].any()]
        if right and wrong.any():
            said.append(
                f"Along the first axis, {', '.join(map(str, right))} {'is' if len(right) == 1 else 'are'} right."
            )
    return said
