"""A trace: all arrays of one training step, whoever computed it.

x -> step 0 -> step 1 -> … -> output -> loss          each step: x -> y forward, dy -> dx backward
dx <-       <-        <-  … <- d_output
"""

from dataclasses import dataclass, field

import numpy as np

from minicnn.verify.compare.task import Task


@dataclass
class Step:
    """One call of a layer: x -> y forward, dy -> dx backward.

    name: of the layer, dotted; kind: of its class, or of the framework's class that this inherits from.
    own: whether the framework has no such class. text: the layer's repr.
    owns: of its parameters and statistics the full names, by short name: {"weight": "conv1.weight"}.
    Arrays are None where the step did not get so far, or no gradient came.
    """

    name: str
    kind: str
    own: bool
    text: str
    owns: dict
    x: np.ndarray | None = None
    y: np.ndarray | None = None
    dy: np.ndarray | None = None
    dx: np.ndarray | None = None


@dataclass
class Failure:
    """Where a pass ended before its time: at the step of a number, or at "loss" or "optimizer"."""

    phase: str
    place: int | str
    error: Exception


@dataclass
class Trace:
    """One training step.

    source: who computed, for people to read.
    before: parameters and statistics at the start, by full name ("conv1.weight"); statistics: those that are kept but
    not learned, after the forward pass; grads; after: parameters after the optimiser's step.
    left_out: layers whose calls could not be noted, in words.
    """

    source: str
    task: Task
    steps: list
    before: dict
    statistics: dict = field(default_factory=dict)
    grads: dict = field(default_factory=dict)
    after: dict = field(default_factory=dict)
    output: np.ndarray | None = None
    loss: float | None = None
    d_output: np.ndarray | None = None
    dx: np.ndarray | None = None
    left_out: list = field(default_factory=list)
    failure: Failure | None = None
