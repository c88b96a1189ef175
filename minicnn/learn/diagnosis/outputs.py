"""Changes of a result: its sign, a factor with a meaning, its axes, and what was summed over or was not."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np

from minicnn.learn.diagnosis.axes import WORDS, axis, sizes
from minicnn.plain import Array

Named: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class OutputChange:
    """One change of a result.

    Attributes:
        words: what the result then is, to follow "your dx is".
        value: from the right array and the arguments of its case, by name, to the changed one.
    """

    words: str
    value: Callable[..., Array]


def output_changes(task: str, name: str, example: Array, named: Named) -> Iterator[OutputChange]:
    """The changes that are tried on the result called `name`; `example` is the right one of any case."""
    yield OutputChange("the right one with the wrong sign", lambda a, _: -a)
    yield from _of_numbers()
    for position in range(example.ndim):
        yield from _along(position, axis(task, name, position))
    if example.ndim >= 2:
        yield OutputChange("the transpose of the right one", lambda a, _: a.T)
        yield OutputChange("the right one with its last two axes exchanged", lambda a, _: a.swapaxes(-1, -2))
        yield OutputChange(
            "the right one turned by half a turn along its last two axes", lambda a, _: a[..., ::-1, ::-1]
        )
        yield OutputChange("the right one with its last axis left out of its shape", lambda a, _: a.ravel())
    yield from _other_shapes(example)


def factors(task: str, named: Named) -> Iterator[OutputChange]:
    """Multiples of a result: by products of the lengths of axes, by small numbers, and by arguments."""
    letters = list(sizes(task, named))
    for many in (1, 2, 3):
        for chosen in combinations(letters, many):
            size = lambda n, c=chosen: np.prod([sizes(task, n)[letter] for letter in c])  # noqa: E731
            what = " * ".join(chosen)
            meaning = f", the number of {WORDS[chosen[0]]}" if many == 1 and chosen[0] != "K" else ""
            yield OutputChange(f"the right one divided by {what}{meaning}", lambda a, n, s=size: a / s(n))
            yield OutputChange(f"the right one times {what}{meaning}", lambda a, n, s=size: a * s(n))
    for number in (2.0, 3.0, 4.0):
        yield OutputChange(f"the right one times {number:g}", lambda a, _, k=number: a * k)
        yield OutputChange(f"the right one divided by {number:g}", lambda a, _, k=number: a / k)
    for name, value in named.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield OutputChange(f"the right one times {name}", lambda a, n, k=name: a * n[k])
            yield OutputChange(f"the right one divided by {name}", lambda a, n, k=name: a / n[k])
            yield OutputChange(f"the right one times (1 - {name})", lambda a, n, k=name: a * (1 - n[k]))
            yield OutputChange(f"the right one divided by (1 - {name})", lambda a, n, k=name: a / (1 - n[k]))
        if type(value) is int:
            yield OutputChange(f"the right one times {name} / ({name} - 1)", lambda a, n, k=name: a * n[k] / (n[k] - 1))
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            yield OutputChange(f"the right one times exp of {name}", lambda a, n, k=name: a * np.exp(n[k]))
            yield OutputChange(f"the right one divided by exp of {name}", lambda a, n, k=name: a / np.exp(n[k]))
            yield OutputChange(f"the right one times {name}", lambda a, n, k=name: a * _meeting(n[k], a))
            yield OutputChange(f"the right one divided by {name}", lambda a, n, k=name: a / _meeting(n[k], a))
            yield OutputChange(f"the right one and {name} added", lambda a, n, k=name: a + _meeting(n[k], a))
            yield OutputChange(f"the right one less {name}", lambda a, n, k=name: a - _meeting(n[k], a))
            yield OutputChange(f"{name} as it came in", lambda a, n, k=name: n[k])


def _meeting(array: Array, result: Array) -> Array:
    """A vector of channels as it meets the channels of images; other arrays as they are."""
    return array[:, None, None] if array.ndim == 1 and result.ndim == 4 else array


def _of_numbers() -> Iterator[OutputChange]:
    functions: tuple[tuple[str, Callable[[Array], Array]], ...] = (
        ("all 0", np.zeros_like),
        ("all 1", np.ones_like),
        ("the right one without its signs", np.abs),
        ("the right one where it is positive, and 0 elsewhere", lambda a: np.maximum(a, 0)),
        ("the right one squared", np.square),
        ("the root of the right one", np.sqrt),
        ("exp of the right one", np.exp),
        ("the log of the right one", np.log),
        ("the right one rounded down", np.floor),
        ("the right one less 1", lambda a: a - 1),
        ("the right one and 1 more", lambda a: a + 1),
        ("1 less the right one", lambda a: 1 - a),
        ("1 divided by the right one", lambda a: 1 / a),
    )
    for words, function in functions:
        yield OutputChange(words, lambda a, _, f=function: f(a))


def _along(position: int, what: str) -> Iterator[OutputChange]:
    yield OutputChange(f"the right one reversed along its {what}", lambda a, _: np.flip(a, position))
    for shift, where in ((1, "later"), (-1, "earlier")):
        words = f"the right one moved along its {what} to one place {where}"
        yield OutputChange(words, lambda a, _, k=shift: np.roll(a, k, position))
    for called, function in (("summed", np.sum), ("averaged", np.mean)):
        yield OutputChange(f"the right one {called} over its {what}", lambda a, _, f=function: f(a, axis=position))
        words = f"the right one {called} over its {what}, the same number for all of them"
        yield OutputChange(words, lambda a, _, f=function: np.broadcast_to(f(a, axis=position, keepdims=True), a.shape))
    yield OutputChange(f"the right one of the first of its {what} alone", lambda a, _: a.take(0, position))
    yield OutputChange(
        f"the right one without the last of its {what}", lambda a, _: np.delete(a, a.shape[position] - 1, position)
    )
    for index, which in ((0, "first"), (-1, "last")):
        yield OutputChange(
            f"the right one, but for the {which} of its {what}, which is 0",
            lambda a, _, i=index: _with_zeros(a, position, i),
        )
    yield OutputChange(
        f"the right one of the first of its {what}, the same for all of them",
        lambda a, _: np.broadcast_to(a.take([0], position), a.shape),
    )


def _with_zeros(array: Array, position: int, index: int) -> Array:
    changed = array.copy()
    changed[(slice(None),) * position + (index,)] = 0
    return changed


def _other_shapes(example: Array) -> Iterator[OutputChange]:
    """The right numbers in another shape."""
    for position in range(example.ndim + 1):
        words = f"right in its numbers, but has an axis too many, of length 1 (axis {position})"
        yield OutputChange(words, lambda a, _, p=position: np.expand_dims(a, p))
    for position in range(example.ndim + 1):
        words = f"right in its numbers, but has two axes too many, of length 1 (from axis {position})"
        yield OutputChange(words, lambda a, _, p=position: a.reshape((*a.shape[:p], 1, 1, *a.shape[p:])))
    yield OutputChange("the sum of all numbers of the right one", lambda a, _: np.array(a.sum()))
    yield OutputChange("the mean of all numbers of the right one", lambda a, _: np.array(a.mean()))
