"""Changes of an argument: the right function, given something else than it was given.

A function that behaves "as if stride were 1" does so however it is written. Each change is a sentence's end and a
function from the arguments of a case, by name, to the changed one.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np

from minicnn.learn.diagnosis.axes import axis, letters
from minicnn.plain import Array

Named: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class InputChange:
    """A changed argument, or two that are changed together.

    Attributes:
        words: what was done, to follow "as if".
        changed: from the arguments of a case, by name, to those that change.
        seldom: whether few people would write it, so that it is tried last.
    """

    words: str
    changed: Callable[..., dict[str, Any]]
    seldom: bool = False


def _one(name: str, words: str, value: Callable[..., Any], seldom: bool = False) -> InputChange:
    return InputChange(words, lambda n: {name: value(n)}, seldom)


def input_changes(task: str, named: Named) -> Iterator[InputChange]:
    """The changes that are tried on a task's arguments; `named` are those of any case, to see their kinds."""
    yield from _together(named)
    for name, value in named.items():
        if isinstance(value, np.ndarray):
            yield from _of_table((name,)) if _is_table(name) else _of_array(task, name, value, named)
        elif isinstance(value, tuple):
            yield from _of_pair(name)
        elif isinstance(value, (bool, np.bool_)):
            yield from _of_flag(name)
        elif isinstance(value, (int, float)):
            yield from _of_number(name, named)


def _together(named: Named) -> Iterator[InputChange]:
    """Changes of two arguments at once."""
    if _is_table("rows") and "rows" in named:
        yield from _of_table(("rows", "columns"))
        yield InputChange("rows and columns were exchanged", lambda n: {"rows": n["columns"], "columns": n["rows"]})
    if "mean" in named and "x" in named:
        words = "mean and var were those of x, and not the ones that are given"
        pixels = (0, 2, 3)
        yield InputChange(words, lambda n: {"mean": n["x"].mean(axis=pixels), "var": n["x"].var(axis=pixels)})
    for one, other in combinations(named, 2):
        if type(named[one]) is type(named[other]) and not isinstance(named[one], bool):
            words = f"{one} and {other} were exchanged"
            yield InputChange(words, lambda n, a=one, b=other: {a: n[b], b: n[a]})


def _is_table(name: str) -> bool:
    return name in ("rows", "columns")


def _of_array(task: str, name: str, array: Array, named: Named) -> Iterator[InputChange]:
    if array.dtype.kind == "f":
        yield from _of_numbers(name, named)
        yield from _means(task, name, letters(task).get(name, ()))
    for position in range(array.ndim):
        yield from _along(name, position, axis(task, name, position), array.dtype.kind == "f")
    if array.ndim >= 2:
        square = "with its last two axes exchanged"
        yield _one(name, f"{name} were taken {square}", lambda n: _same_shape(n[name].swapaxes(-1, -2), n[name]))
        yield _one(
            name,
            f"{name} were transposed and then read in its old shape (reshape keeps the order of the numbers, it does "
            "not transpose)",
            lambda n: n[name].swapaxes(-1, -2).reshape(n[name].shape),
        )
    for other, its in named.items():
        if (
            other != name
            and isinstance(its, np.ndarray)
            and its.dtype.kind == array.dtype.kind
            and its.ndim == array.ndim
        ):
            yield _one(
                name, f"{other} stood in place of {name}", lambda n, o=other: _same_shape(n[o], n[name]), seldom=True
            )


def _of_numbers(name: str, named: Named) -> Iterator[InputChange]:
    """Changes of every number of an array."""
    functions: tuple[tuple[str, Callable[[Array], Array]], ...] = (
        (f"{name} had the other sign", np.negative),
        (f"{name} were all 1: its own numbers make no difference", np.ones_like),
        (f"{name} were all 0: its own numbers make no difference", np.zeros_like),
        (f"{name} had lost its signs", np.abs),
        (f"the negative numbers of {name} were 0", lambda a: np.maximum(a, 0)),
        (f"{name} were squared", np.square),
        (f"{name} were twice as large", lambda a: 2 * a),
    )
    for words, function in functions:
        yield _one(name, words, lambda n, f=function: f(n[name]))
    for called, function in (("exp", np.exp), ("log", np.log), ("the root", np.sqrt)):
        words = f"{called} of {name} stood in place of {name}"
        yield _one(name, words, lambda n, f=function: f(n[name]), seldom=True)
    for other, value in named.items():
        if type(value) is int and value > 1:
            yield _one(
                name,
                f"{name} were multiplied by {other} / ({other} - 1)",
                lambda n, o=other: n[name] * n[o] / (n[o] - 1),
            )
            yield _one(
                name,
                f"{name} were multiplied by ({other} - 1) / {other}",
                lambda n, o=other: n[name] / n[o] * (n[o] - 1),
            )
        elif type(value) is float:
            yield _one(name, f"{name} were multiplied by {other}", lambda n, o=other: n[name] * n[o], seldom=True)
            yield _one(
                name, f"{name} were multiplied by 1 - {other}", lambda n, o=other: n[name] * (1 - n[o]), seldom=True
            )


def _means(task: str, name: str, axes: tuple[str, ...]) -> Iterator[InputChange]:
    """Divided by the lengths of its axes: a mean in place of a sum."""
    for many in range(1, len(axes) + 1):
        for chosen in combinations(range(len(axes)), many):
            what = " * ".join(axes[position] for position in chosen)
            words = f"{name} were divided by {what}, a mean in place of a sum"
            yield _one(name, words, lambda n, c=chosen: n[name] / np.prod([n[name].shape[k] for k in c]))


def _along(name: str, position: int, what: str, is_float: bool) -> Iterator[InputChange]:
    """Changes along an axis."""

    def at(array: Array, index: int | slice) -> Array:
        return array[(slice(None),) * position + (slice(index, index + 1) if isinstance(index, int) else index,)]

    def only(array: Array, index: slice) -> Array:
        kept = np.zeros_like(array)
        place = (slice(None),) * position + (index,)
        kept[place] = array[place]
        return kept

    yield _one(name, f"{name} were reversed along its {what}", lambda n: np.flip(n[name], position))
    for shift, where in ((1, "one place earlier"), (-1, "one place later")):  # roll(a, 1)[n] is a[n - 1]
        words = f"{name} were read {where} along its {what}"
        yield _one(name, words, lambda n, k=shift: np.roll(n[name], k, position))
    yield _one(
        name,
        f"the first of the {what} of {name} stood in place of all",
        lambda n: np.broadcast_to(at(n[name], 0), n[name].shape).copy(),
    )
    if not is_float:
        return
    for words, index in (
        (f"only the first of the {what} of {name} counted", slice(0, 1)),
        (f"only the last of the {what} of {name} counted", slice(-1, None)),
        (f"the last of the {what} of {name} were left out", slice(0, -1)),
        (f"the first of the {what} of {name} were left out", slice(1, None)),
    ):
        yield _one(name, words, lambda n, i=index: only(n[name], i))
    for called, function in (("mean", np.mean), ("sum", np.sum)):
        words = f"each number of {name} were replaced by the {called} over the {what}"
        yield _one(
            name,
            words,
            lambda n, f=function: np.broadcast_to(f(n[name], axis=position, keepdims=True), n[name].shape).copy(),
        )


def _of_table(names: tuple[str, ...]) -> Iterator[InputChange]:
    """Changes of windows, (start, stop, extent) in rows: of one table, or of both alike."""
    changes: tuple[tuple[str, int, Callable[[Array, Array, Array, int], Any]], ...] = (
        ("the extents were the numbers of cells inside the image", 2, lambda start, stop, extent, cells: stop - start),
        ("all extents were that of the first window", 2, lambda start, stop, extent, cells: extent[0]),
        ("all extents were 1", 2, lambda start, stop, extent, cells: 1),
        ("windows ended one cell later", 1, lambda start, stop, extent, cells: np.minimum(stop + 1, cells)),
        ("windows ended one cell earlier", 1, lambda start, stop, extent, cells: stop - 1),
        ("windows began one cell later", 0, lambda start, stop, extent, cells: start + 1),
        ("windows began one cell earlier", 0, lambda start, stop, extent, cells: np.maximum(start - 1, 0)),
        ("windows held their first cell alone", 1, lambda start, stop, extent, cells: start + 1),
        (
            "windows went from start to start + extent",
            1,
            lambda start, stop, extent, cells: np.minimum(start + extent, cells),
        ),
        ("extents were n_in / n_out, rounded down", 2, lambda start, stop, extent, cells: max(cells // len(start), 1)),
        ("extents were n_in / n_out, rounded up", 2, lambda start, stop, extent, cells: -(-cells // len(start))),
    )
    for words, column, value in changes:

        def changed(named: Named, column: int = column, value: Callable[..., Any] = value) -> dict[str, Any]:
            tables = {name: named[name].copy() for name in names}
            for name, table in tables.items():
                table[:, column] = value(*named[name].T, _cells(named, name))
            return tables

        yield InputChange(f"in {' and '.join(names)} {words}", changed)
    if len(names) == 2:
        yield InputChange(
            "the extents were n_in / n_out, not rounded", lambda n: {name: _nominal(n, name) for name in names}
        )
        return
    (name,) = names
    other = "columns" if name == "rows" else "rows"
    yield _one(name, f"{other} stood in place of {name}", lambda n: _same_shape(n[other], n[name]))


def _nominal(named: Named, name: str) -> Array:
    """A table whose extents are not whole."""
    table = named[name].astype(object)
    table[:, 2] = _cells(named, name) / len(table)
    return table


def _cells(named: Named, name: str) -> int:
    """How many cells the axis has over which a table's windows lie."""
    size = named["input_size"] if "input_size" in named else named["x"].shape[-2:]
    return int(size[0 if name == "rows" else 1])


def _of_pair(name: str) -> Iterator[InputChange]:
    yield _one(name, f"the vertical {name} were used in both directions", lambda n: (n[name][0], n[name][0]))
    yield _one(name, f"the horizontal {name} were used in both directions", lambda n: (n[name][1], n[name][1]))
    yield _one(name, f"the two numbers of {name} were exchanged", lambda n: (n[name][1], n[name][0]))
    yield _one(name, f"{name} had the other sign", lambda n: (-n[name][0], -n[name][1]))
    for number in (0, 1):
        words = f"{name} were ({number}, {number}), whatever it is"
        yield _one(name, words, lambda n, k=number: (k, k))


def _of_flag(name: str) -> Iterator[InputChange]:
    for flag in (False, True):
        words = f"{name} were {flag}, whatever it is"
        yield _one(name, words, lambda n, f=flag: f)
    yield _one(name, f"{name} were the other way round", lambda n: not n[name])


def _of_number(name: str, named: Named) -> Iterator[InputChange]:
    for number in (0, 1):
        yield _one(name, f"{name} were {number}, whatever it is", lambda n, k=number: k)
    yield _one(name, f"{name} had the other sign", lambda n: -n[name])
    yield _one(name, f"1 - {name} stood in place of {name}", lambda n: 1 - n[name])
    yield _one(name, f"{name} were one larger", lambda n: n[name] + 1)
    yield _one(name, f"{name} were one smaller", lambda n: n[name] - 1)
    yield _one(name, f"{name} were twice as large", lambda n: 2 * n[name])
    yield _one(name, f"{name} were squared", lambda n: n[name] ** 2)
    yield _one(name, f"the root of {name} stood in place of {name}", lambda n: n[name] ** 0.5)
    for other, value in named.items():
        if other != name and type(value) is type(named[name]):
            yield _one(name, f"{other} stood in place of {name}", lambda n, o=other: n[o])


def _same_shape(array: Array, like: Array) -> Array:
    """The array, where it has the shape that is asked for. Raises ValueError where not."""
    if array.shape != like.shape:
        raise ValueError(f"expected shape {like.shape}, got {array.shape}")
    return array.copy()
