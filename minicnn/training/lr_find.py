"""The learning rate, found by a trial run in which it grows with every step (Smith, 2017)."""

import copy
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from minicnn.checks import as_int, as_number
from minicnn.plain import Array
from minicnn.training.fit_arguments import as_batches
from minicnn.training.trainer import Trainer

SMOOTHING = 0.95  # of the losses: how much of the mean so far stays with each step
DIVERGED = 4.0  # times the smallest smoothed loss: the trial ends here
SAFETY = 10.0  # the suggestion is so many times below the learning rate of the smallest loss


class LRFinding(NamedTuple):
    """What `lr_find` saw.

    lrs: (S,) the learning rate of each step of the trial.
    losses: (S,) the loss of its batch.
    smoothed: (S,) a running mean of them, which the suggestion is read from.
    suggestion: a learning rate to begin with.
    """

    lrs: Array
    losses: Array
    smoothed: Array
    suggestion: float


def lr_find(
    trainer: Trainer,
    train: Any,
    labels: Any = None,
    *,
    first: float = 1e-6,
    last: float = 10.0,
    steps: int = 100,
    batch_size: int | None = None,
    rng: np.random.Generator | int | None = None,
) -> LRFinding:
    """Train a copy for `steps` steps while the learning rate grows from `first` to `last`, and suggest one.

        lr[s] = first * (last / first) ** (s / (steps - 1))

    While it is far too small the loss hardly moves, then it falls, and where it is too large the loss rises again. The
    suggestion is a tenth of the learning rate at which the smoothed loss is smallest: still on the slope. The
    trial ends early where the loss is 4 times the smallest, or is no longer a number.

    The trainer, its network and `train` stay as they are; give the suggestion to the optimiser with
    `trainer.optimizer.lr = found.suggestion`, or make optimiser and schedule with it.

    Args:
        trainer: with the network and the optimiser that will be trained.
        train, labels, batch_size, rng: as for `Trainer.fit`; batches begin anew where they end before the trial does.
        first, last: learning rates above 0.
        steps: at least 10.

    Returns `LRFinding`; `minicnn.plot_lr_find(found)` draws it.

    Raises ValueError or TypeError for wrong settings, and where the loss is not finite from the beginning.
    """
    first, last = as_number(first, "lr_find: first", 0), as_number(last, "lr_find: last", 0)
    if not 0 < first < last:
        raise ValueError(f"lr_find: expected first above 0 and below last, got {first} and {last}")
    as_int(steps, "lr_find: steps", 10)
    batches, _ = as_batches(train, labels, None, batch_size, rng)
    trial = copy.deepcopy(trainer)
    trial.recorder = None
    losses: list[float] = []
    smoothed: list[float] = []
    mean = 0.0
    lrs = first * (last / first) ** (np.arange(steps) / (steps - 1))
    for lr, (x, y) in zip(lrs.tolist(), _endless(copy.deepcopy(batches)), strict=False):
        trial.optimizer.lr = lr
        try:
            loss = trial.step(x, y)
        except RuntimeError:  # it says that the loss is not finite
            if len(losses) < 5:
                raise
            break
        losses.append(loss)
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed.append(mean / (1 - SMOOTHING ** len(losses)))  # as in Adam: without the 0 that it began with
        if smoothed[-1] > DIVERGED * min(smoothed):
            break
    suggestion = float(lrs[int(np.argmin(smoothed))]) / SAFETY
    return LRFinding(lrs[: len(losses)], np.array(losses), np.array(smoothed), suggestion)


def _endless(batches: Iterable[Any]) -> Iterator[Any]:
    while True:
        given = 0
        for batch in batches:
            given += 1
            yield batch
        if not given:
            raise ValueError("lr_find: expected batches that can be gone through again, got none any more")
