"""What a wrong array looks like beside the right one: the worst number, what lies around it, and what stands out."""

from collections.abc import Mapping, Sequence

import numpy as np

from minicnn.plain import Array

NEIGHBOURS = 2  # on each side of the worst number, along the last two axes
SMALLEST = 3  # numbers in an array, up to which a pattern may be chance

# How far a number may be from the right one, as a share of the largest number of the array; everything is float64, so
# that any order of summation passes and float32 does not.
TOLERANCE = 1e-9
FLOAT32 = 1e-5  # differences below this share look like rounding


def differing(expected: Array, got: Array) -> Array:
    """Which numbers of two arrays of one shape are not the same, up to rounding; NaN and infinity must be in place."""
    with np.errstate(invalid="ignore"):
        largest = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
        return ~np.isclose(got, expected, rtol=0, atol=TOLERANCE * max(largest, 1e-300), equal_nan=True)


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


def patterns(wrong: Sequence[tuple[Array, Array, str, Mapping[str, Array]]]) -> list[str]:
    """What all the wrong numbers have in common, as a list of sentences about the first of the wrong arrays.

    `wrong` is a list of (expected, got, name, arguments) for the cases that are wrong, the arguments a dict by name.
    Only what is true of the others as well is reported, since a few numbers may look like anything by chance.
    """
    first = _sentences(*wrong[0])
    others = [_sentences(*one) for one in wrong[1:] if one[0].size > SMALLEST]
    found = []
    for kind, sentence in first.items():
        if kind in OF_ONE_CASE or all(kind in sentences for sentences in others):
            same = all(sentences.get(kind) == sentence for sentences in others)
            found.append(
                sentence if same or kind != "factor" else sentence[:-1] + " here, and by another in other cases."
            )
    return found


OF_ONE_CASE = ("shape", "not finite", "first axis")  # what is true of one case, whatever the others are


def _sentences(expected: Array, got: Array, name: str, arguments: Mapping[str, Array]) -> dict[str, str]:
    """A dict from the kind of pattern to a sentence about it; maybe empty."""
    if expected.shape != got.shape:
        return {"shape": _about_the_shape(expected, got)}
    if not np.isfinite(got).all():
        kinds = [kind for kind, test in (("NaN", np.isnan), ("infinity", np.isinf)) if test(got).any()]
        causes = "look for a division by 0, the log of 0, or exp of a large number."
        return {"not finite": f"There is {' and '.join(kinds)} in it: {causes}"}
    if name in arguments and np.array_equal(arguments[name], got):
        return {"unchanged": f"It is {name} as it came in. A line `{name} = …` makes a new array beside the old one."}
    if not got.any():
        return {"zero": "All your numbers are 0."}
    same = [f"It is {other} as it came in." for other, array in arguments.items() if np.array_equal(array, got)]
    found = {"argument": same[0]} if same else {}
    return found | (_a_factor(expected, got) or _a_rearrangement(expected, got) or _where(expected, got))


def _about_the_shape(expected: Array, got: Array) -> str:
    found = [f"Its shape should be {expected.shape}, and is {got.shape}."]
    if got.T.shape == expected.shape and np.allclose(got.T, expected):
        found.append("Transposed it would be right.")
    elif got.size == expected.size and np.allclose(got.ravel(), expected.ravel()):
        found.append("The numbers are right, in their order; only the shape is not.")
    return " ".join(found)


def _a_factor(expected: Array, got: Array) -> dict[str, str]:
    """Whether every number is the right one times the same factor."""
    scale = np.abs(expected).max()
    if np.abs(got - expected).max() < FLOAT32 * scale:
        return {
            "rounding": "Only the last digits differ: is there a float32 array on the way, or a small constant missing?"
        }
    away_from_0 = np.abs(expected) > 1e-9 * scale
    if np.count_nonzero(away_from_0) < 2:
        return {}
    ratios = got[away_from_0] / expected[away_from_0]
    factor = float(np.median(ratios))
    if factor == 0 or not np.allclose(ratios, factor) or np.abs(got[~away_from_0]).max(initial=0) > 1e-6 * scale:
        return {}
    if np.isclose(factor, -1):
        return {"sign": "Every number has the wrong sign."}
    share = f" (1/{1 / factor:.4g})" if abs(factor) < 1 else ""
    return {"factor": f"Every number is the right one times {factor:.4g}{share}."}


def _a_rearrangement(expected: Array, got: Array) -> dict[str, str]:
    """Whether the right numbers are in the wrong places."""
    for axis in range(expected.ndim):
        if expected.shape[axis] > 1 and np.allclose(np.flip(got, axis), expected):
            return {f"flipped {axis}": f"Flipped along axis {axis} it would be right."}
    if expected.ndim > 1 and np.allclose(got[..., ::-1, ::-1], expected):
        return {"turned": "Turned by half a turn along the last two axes it would be right."}
    if (
        expected.ndim > 1
        and expected.shape[-1] == expected.shape[-2]
        and np.allclose(np.swapaxes(got, -1, -2), expected)
    ):
        return {"exchanged": "With its last two axes exchanged it would be right."}
    if np.allclose(np.sort(got.ravel()), np.sort(expected.ravel())):
        return {"order": "The right numbers are all there, in other places."}
    return {}


def _where(expected: Array, got: Array) -> dict[str, str]:
    """Where the wrong numbers lie."""
    wrong = differing(expected, got)
    found = {}
    if expected.ndim >= 3 and min(expected.shape[-2:]) > 2 and not wrong[..., 1:-1, 1:-1].any():
        found["border"] = "Only cells at the border are wrong."
    if expected.ndim >= 2 and len(expected) > 1:
        right = [n for n in range(len(expected)) if not wrong[n].any()]
        if right and wrong.any():
            numbers = ", ".join(map(str, right))
            found["first axis"] = f"Along the first axis these are right: {numbers}."
    return found
