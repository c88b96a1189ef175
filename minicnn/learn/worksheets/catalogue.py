"""The list of worksheets, in the order of the course, and a worksheet by its name and seed."""

from collections.abc import Callable

import numpy as np

from minicnn.learn.worksheets import batchnorm, convolution, dense, training, windows
from minicnn.learn.worksheets.sheet import Worksheet

WORKSHEETS: dict[str, Callable[[np.random.Generator], Worksheet]] = {
    "linear": dense.linear,
    "relu": dense.relu,
    "log_softmax": dense.log_softmax,
    "max_pooling": windows.max_pooling,
    "average_pooling": windows.average_pooling,
    "adaptive_pooling": windows.adaptive_pooling,
    "convolution": convolution.convolution,
    "convolution_stride": convolution.convolution_stride,
    "batchnorm": batchnorm.batchnorm,
    "optimisers": training.optimisers,
    "simplenet": training.simplenet,
}


def worksheet(name: str, seed: int = 0) -> Worksheet:
    """The `Worksheet` of a name, its numbers drawn from a seed. Raises ValueError for an unknown name."""
    if name not in WORKSHEETS:
        raise ValueError(f"there is no worksheet {name!r}; expected one of {', '.join(WORKSHEETS)}")
    number = list(WORKSHEETS).index(name)  # so that sheets of one seed do not share their numbers
    return WORKSHEETS[name](np.random.default_rng([seed, number]))


def heading(name: str, answers: bool) -> str:
    """The first line of a sheet."""
    number = list(WORKSHEETS).index(name) + 1
    return f"{'Answers' if answers else 'Worksheet'} {number}"


def how_to_print(name: str, seed: int, answers: bool) -> str:
    """The command for the other of the two, the sheet or its key."""
    key = "" if answers else " --answers"
    return f"{'The sheet' if answers else 'The key'}: minicnn learn worksheet {name} --seed {seed}{key}"
