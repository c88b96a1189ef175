"""What the axes of a task's arrays are, read from the text of the task: "dy (N, F, OH, OW)"."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from minicnn.learn.exercises.catalogue import TASKS

WORDS = {
    "N": "images",
    "C": "channels",
    "K": "classes",
    "D": "inputs",
    "F": "filters",
    "H": "rows",
    "W": "columns",
    "OH": "output rows",
    "OW": "output columns",
    "KH": "kernel rows",
    "KW": "kernel columns",
}
_SHAPE = re.compile(r"(\w+) \(((?:[A-Z]+,? ?)+)\)")
_SHAPES = re.compile(r"\((\w+(?:, \w+)+)\), of shapes ((?:\([A-Z, ]+\)(?:, )?)+)")


@lru_cache
def letters(task: str) -> dict[str, tuple[str, ...]]:
    """The axes of a task's arguments and results by name, as far as its text gives them.

    >>> letters("linear_weight_gradient")
    {'dweight': ('K', 'D'), 'dy': ('N', 'K'), 'x': ('N', 'D')}
    """
    text = " ".join(TASKS[task][1].docstring.split())
    found = {name: _split(shape) for name, shape in _SHAPE.findall(text)}
    for names, shapes in _SHAPES.findall(text):
        found |= dict(zip(names.split(", "), map(_split, re.findall(r"\(([^)]*)\)", shapes)), strict=True))
    return found


def axis(task: str, name: str, position: int) -> str:
    """What an axis of an argument or result is called.

    >>> axis("linear_weight_gradient", "dy", 1), axis("conv2d_bias_gradient", "dy", 0), axis("relu_backward", "dy", 1)
    ('outputs', 'images', 'axis 1')
    """
    axes = letters(task).get(name, ())
    if position >= len(axes):
        return "windows" if task.startswith("adaptive") else f"axis {position}"
    if axes[position] == "K" and task.startswith("linear"):
        return "outputs"
    return WORDS[axes[position]]


def sizes(task: str, arguments: Mapping[str, Any]) -> dict[str, int]:
    """How long each axis is that has a letter, in a case: {"N": 2, "K": 3}."""
    found: dict[str, int] = {}
    for name, axes in letters(task).items():
        array = arguments.get(name)
        if isinstance(array, np.ndarray) and array.ndim == len(axes):
            found |= dict(zip(axes, array.shape, strict=True))
    for name, pair in (("input_size", ("H", "W")), ("kernel_size", ("KH", "KW"))):
        if name in arguments:
            found |= dict(zip(pair, map(int, arguments[name]), strict=True))
    return found


def _split(shape: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in shape.split(",") if part.strip())
