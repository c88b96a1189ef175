"""A network compared with the same network elsewhere: every array of a training step, and the first divergence.

settings.py   the settings of a layer on either side in one form
setup.py      what both sides do: a batch, a loss, one step of an optimiser
trace.py      the arrays of one training step
layers.py     those of a minicnn network, and its layers run alone on the other side's numbers
pytorch.py    those of a live PyTorch module
recording.py  those in a file
pairing.py    which layer belongs to which
judgement.py  what agrees, what differs by itself, and what only follows
causes.py     why, where no setting differs and what is known of the numbers leaves no other reason
report.py     the table and the words
"""

import math
import numbers
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minicnn.losses import CrossEntropyLoss
from minicnn.network import Sequential
from minicnn.optim import SGD, Optimizer
from minicnn.plain import Array
from minicnn.verify.compare import recording
from minicnn.verify.compare.causes import cause
from minicnn.verify.compare.judgement import DIFFERS, Row, judged
from minicnn.verify.compare.layers import Replay, calls_of, load, places
from minicnn.verify.compare.layers import traced as traced_layers
from minicnn.verify.compare.pairing import array_pairs, segments
from minicnn.verify.compare.report import Comparison
from minicnn.verify.compare.setup import (
    ClassificationLoss,
    Setup,
    Spec,
    as_batch,
    loss_spec,
    made_loss,
    made_optimizer,
    optimizer_spec,
    spec_without_network,
)
from minicnn.verify.compare.trace import Trace
from minicnn.verify.isolate import own_copy

__all__ = ["Comparison", "Row", "compare", "record"]

LR = 0.01
TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-10}


def compare(
    network: Sequential,
    other: Any,
    x: Array | None = None,
    y: ArrayLike | None = None,
    *,
    loss: ClassificationLoss | None = None,
    optimizer: Callable[[Sequential, float], Optimizer] | None = None,
    lr: float | None = None,
    training: bool | None = None,
    copy_weights: bool = False,
    tolerance: float | None = None,
) -> Comparison:
    """Make the same training step with both networks, and compare every array on the way.

    Forward, loss, backward, one step of the optimiser: outputs layer by layer, running statistics, the loss, gradients
    layer by layer, parameters after the step. Both run on copies and stay as they are. Layers belong together that
    have the same name; others by their order, where their kinds are the same. What the other side computes without a
    layer (`torch.relu`) is compared by what goes in and what comes out.

    An array that is off may be wrong itself or may follow from something before it. Each such layer is therefore run
    again alone, on the other side's input and dy: what then agrees only follows.

    Args:
        network: a minicnn network, maybe with layers of your own in it.
        other: a `torch.nn.Module`; or a minicnn network; or the path of a recording that `record` wrote.
        x: inputs (N, …) of both networks' dtype. A recording has its own, and no x, y, lr and training are given.
        y: labels (N,).
        loss: `CrossEntropyLoss()` unless given; or `NLLLoss()`, or an object of a class of your own that inherits from
            one of them. The other side uses the original with the same settings.
        optimizer: `minicnn.SGD` unless given, called as optimizer(network, lr); or `Adam`, `AdamW`, a class of your
            own that inherits from one of them, or a function: lambda network, lr: SGD(network, lr, weight_decay=0.1).
        lr: the learning rate, 0.01 unless given.
        training: True unless given: batchnorm takes its statistics from the batch. False: the running ones.
        copy_weights: whether to start from the parameters and statistics of `other`. If not, those of each are used,
            and that they differ is the first divergence.
        tolerance: how far a number may be off, relative to the largest of its array; 1e-5 for float32 and 1e-10 for
            float64 unless given. See `judgement.py` for arrays that should be 0.

    Returns:
        `Comparison`, true where they agree; `print` it.

    Raises:
        TypeError: something of another kind than above, x of another dtype than the networks.
        ValueError: x, labels or settings that do not fit; a recording made with other settings than those given.
        ValueError, FileNotFoundError: no recording at that path.
        RuntimeError: `other` fails, or a network cannot be copied. Where `network` fails, that is a divergence.

    >>> import minicnn
    >>> class Halved(minicnn.ReLU):
    ...     def backward(self, dy, need_dx=True):
    ...         return super().backward(dy) / 2
    >>> def network(relu):
    ...     return minicnn.Sequential(fc=minicnn.Linear(2, 3, rng=0), relu=relu, fc2=minicnn.Linear(3, 2, rng=0))
    >>> x = np.random.default_rng(0).standard_normal((4, 2)).astype(np.float32)
    >>> compare(network(minicnn.ReLU()), network(minicnn.ReLU()), x, [0, 1, 0, 1])
    Comparison(20 arrays agree)
    >>> compare(network(Halved()), network(minicnn.ReLU()), x, [0, 1, 0, 1])
    Comparison(first divergence: dx of relu)
    """
    _require_network(network)
    _require_tolerance(tolerance)
    if isinstance(other, (str, os.PathLike)):
        for name, value in {"x": x, "y": y, "lr": lr, "training": training}.items():
            if value is not None:
                raise TypeError(f"compare: expected no {name} with a recording, which has its own; got {value!r}")
        there = recording.load(os.fspath(other))
    else:
        settings = loss or CrossEntropyLoss(), optimizer or SGD, LR if lr is None else lr
        there = _traced(other, _setup(other, x, y, training is None or training, *settings, "compare"), "compare")
    setup = there.setup
    copy = own_copy(network, "compare", "the network").train(setup.training)
    _require_dtype(copy, setup.x)
    arrays = array_pairs(calls_of(copy)[0], there.calls, there.before)
    if copy_weights:
        for pair in arrays.items():
            load(copy, dict([pair]), there.before)  # one by one: what does not fit is shown as a difference

    loss = made_loss(setup.loss) if loss is None else own_copy(loss, "compare", "the loss")
    _require_same(loss_spec(loss, "compare"), setup.loss, "loss")

    def make_optimizer(network: Sequential) -> Optimizer:
        if optimizer is None:
            return made_optimizer(setup.optimizer, network)
        return optimizer(network, setup.optimizer.settings["lr"])

    optimizer_here = make_optimizer(copy)
    _require_same(optimizer_spec(optimizer_here, "compare"), setup.optimizer, "optimizer")

    replay = Replay(
        own_copy(copy, "compare", "the network"), own_copy(loss, "compare", "the loss"), make_optimizer, arrays, there
    )
    here = traced_layers(copy, setup, loss, optimizer_here)
    found = segments(here, there)
    tolerance = TOLERANCE[setup.x.dtype] if tolerance is None else float(tolerance)
    rows = judged(here, there, found, replay, tolerance)
    first = next((row for row in rows if row.status == DIFFERS), None)
    why = "" if first is None else cause(first, found, here, there, replay, tolerance)
    return Comparison(here, there, found, rows, tolerance, why)


def record(
    module: Any,
    x: Array,
    y: ArrayLike,
    path: str | Path,
    *,
    loss: ClassificationLoss | None = None,
    optimizer: Callable[[Sequential, float], Optimizer] = SGD,
    lr: float = LR,
    training: bool = True,
) -> None:
    """Make a training step with a PyTorch module, and write every array of it to a file for `compare`.

    The file is in safetensors form; comparing with it needs no PyTorch.

    Args:
        module: a `torch.nn.Module`; it stays as it is. A minicnn network is taken as well.
        x, y: a batch, (N, C, H, W) or (N, D), and its labels (N,).
        loss, optimizer, lr, training: see `compare`.
        path: where the file is written.

    Raises what `compare` raises, and OSError where the file cannot be written.
    """
    setup = _setup(module, x, y, training, loss or CrossEntropyLoss(), optimizer, lr, "record")
    recording.save(_traced(module, setup, "record"), path)


def _setup(
    other: Any,
    x: Array | None,
    y: ArrayLike | None,
    training: bool,
    loss: ClassificationLoss,
    optimizer: Callable[[Sequential, float], Optimizer],
    lr: float,
    who: str,
) -> Setup:
    """What a live `other` is asked to do."""
    if not isinstance(other, Sequential) and not _is_module(other):
        raise TypeError(
            f"{who}: expected a torch.nn.Module, a minicnn network or the path of a recording, "
            f"got {type(other).__name__}"
        )
    if x is None or y is None:
        raise TypeError(f"{who}: expected x and y, the batch that both networks get")
    return Setup(*as_batch(x, y, who), bool(training), loss_spec(loss, who), spec_without_network(optimizer, lr, who))


def _traced(other: Any, setup: Setup, who: str) -> Trace:
    """The trace of a live module or network."""
    if _is_module(other):
        from minicnn.verify.compare import pytorch  # here, since that imports PyTorch

        return pytorch.traced(other, setup, who)
    copy = own_copy(other, who, "the other network").train(setup.training)
    _require_dtype(copy, setup.x)
    trace = traced_layers(copy, setup, made_loss(setup.loss), made_optimizer(setup.optimizer, copy))
    if trace.failure is not None or (not trace.after and places(copy)):
        failure = trace.failure
        error = failure.error if failure else "backward left gradients missing or of another shape"
        raise RuntimeError(f"{who}: the other network fails: {error}") from (failure.error if failure else None)
    return trace


def _is_module(other: object) -> bool:
    torch = sys.modules.get("torch")  # where there is a live module, it has been imported
    return torch is not None and isinstance(other, torch.nn.Module)


def _require_network(network: object) -> None:
    if not isinstance(network, Sequential):
        raise TypeError(
            f"compare: expected a Sequential network, got {type(network).__name__}; put a layer into Sequential(layer)"
        )


def _require_dtype(network: Sequential, x: Array) -> None:
    for name, place in places(network).items():
        dtype = place.arrays[place.key].dtype
        if dtype.kind == "f" and dtype != x.dtype:
            raise TypeError(
                f"compare: expected x of the dtype of the network's {name}, {dtype}, got {x.dtype}; convert the "
                f"network with .to(dtype=np.{x.dtype}) or x with x.astype"
            )


def _require_same(given: Spec, recorded: Spec, what: str) -> None:
    if given != recorded:
        raise ValueError(
            f"compare: expected the {what} of the recording, {recorded.name} with {recorded.settings}, "
            f"got {given.name} with {given.settings}"
        )


def _require_tolerance(tolerance: float | None) -> None:
    if tolerance is not None and not (
        isinstance(tolerance, numbers.Real) and math.isfinite(tolerance) and tolerance > 0
    ):
        raise ValueError(f"compare: expected a finite tolerance above 0, got {tolerance!r}")
