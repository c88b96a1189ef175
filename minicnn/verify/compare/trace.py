"""A trace: all arrays of one training step, whoever computed it.

x -> call 0 -> call 1 -> … -> output -> loss          each call: x -> y forward, dy -> dx backward
dx <-       <-        <-  … <- d_output
"""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from minicnn.plain import Array
from minicnn.verify.compare.setup import Setup

# An `Array`, or None where a pass did not get so far: what reads it knows by what came before it.
MaybeArray: TypeAlias = Any


@dataclass
class LayerCall:
    """One call of a layer: x -> y forward, dy -> dx backward.

    name: of the layer, dotted; kind: of its class, or of the framework's class that this inherits from.
    own: whether the framework has no such class. text: the layer's repr.
    owns: of its parameters and statistics the full names, by short name: {"weight": "conv1.weight"}.
    settings: by name, as text, what changes the numbers of a layer of this kind; empty where they are not known.
    Arrays are None where the call did not get so far, or no gradient came.
    """

    name: str
    kind: str
    own: bool
    text: str
    owns: dict[str, str]
    x: MaybeArray = None
    y: MaybeArray = None
    dy: MaybeArray = None
    dx: MaybeArray = None
    settings: dict[str, str] = field(default_factory=dict)


@dataclass
class Failure:
    """Where a pass ended before its time: at the call of a number, or at "loss" or "optimizer"."""

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
    setup: Setup
    calls: list[LayerCall]
    before: dict[str, Array]
    statistics: dict[str, Array] = field(default_factory=dict)
    grads: dict[str, Array] = field(default_factory=dict)
    after: dict[str, Array] = field(default_factory=dict)
    output: MaybeArray = None
    loss: float | None = None
    d_output: MaybeArray = None
    dx: MaybeArray = None
    left_out: list[str] = field(default_factory=list)
    failure: Failure | None = None
