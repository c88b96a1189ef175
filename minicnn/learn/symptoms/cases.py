"""The ten causes, the ten cases, and which is which."""

from dataclasses import dataclass

from minicnn.learn.symptoms.cause import Cause
from minicnn.learn.symptoms.curves import Curves, record
from minicnn.learn.symptoms.experiment import Experiment
from minicnn.learn.symptoms.faults import (
    batchnorm_mode,
    dead_relu,
    gradient_sign,
    labels_shuffled,
    learning_rate,
    log_of_softmax,
    loss_not_averaged,
    momentum_restarted,
    not_normalised,
    pooling_windows,
)

_FILES = (
    batchnorm_mode,
    dead_relu,
    gradient_sign,
    labels_shuffled,
    learning_rate,
    log_of_softmax,
    loss_not_averaged,
    momentum_restarted,
    not_normalised,
    pooling_windows,
)
CAUSES = {file.CAUSE.name: file.CAUSE for file in _FILES}

# What the owner of each run complains of, and (do not read on if you want to find out) the name of the cause.
_CASES = {
    1: ("It stays at guessing. The loss has not moved for ten epochs.", "labels-shuffled"),
    2: ("It learns, but slowly. The run beside it was done after half the time.", "momentum-restarted"),
    3: ("It was nearly done. Then, from one step to the next, nothing worked any more.", "log-of-softmax"),
    4: ("The loss jumps up and down, and in the end nothing is learnt.", "loss-not-averaged"),
    5: ("Training is all but perfect. On the validation pictures it fails.", "batchnorm-mode"),
    6: ("The loss has not moved, and the network says the same of every picture.", "dead-relu"),
    7: ("It gets somewhere at first, then the loss leaps, and it ends at guessing.", "learning-rate"),
    8: ("It works. But it is never quite as good as the run beside it.", "pooling-windows"),
    9: ("The longer it trains, the worse it is, until there is no loss left to print.", "gradient-sign"),
    10: ("After ten epochs it has hardly begun to learn.", "not-normalised"),
}
NUMBERS = tuple(_CASES)


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        number: of the case; 0 for the healthy run.
        seed: of the weights and of the order of the pictures.
        fixed: whether the fault was taken out.
        curves: what was recorded, a dict of arrays; see `minicnn.learn.symptoms.curves`.
    """

    number: int
    seed: int
    fixed: bool
    curves: Curves


def complaint(number: int) -> str:
    """What the owner of run `number` says of it."""
    return _case(number)[0]


def cause_of(number: int) -> Cause:
    """The `Cause` of run `number`: the answer."""
    return CAUSES[_case(number)[1]]


def run(number: int, seed: int = 0, fixed: bool = False) -> Run:
    """Train the faulty network of case `number`, or with `fixed=True` the same without its fault.

    It takes about half a second, once the kernels are compiled. Returns a `Run`. Raises ValueError for a number that
    is no case, ImportError where scikit-learn is not installed.

    >>> sorted(run(4).curves)[:3]
    ['accuracy', 'alignment', 'bn_offset']
    """
    cause = cause_of(number)
    return Run(number, seed, fixed, record((cause.fixed if fixed else cause.experiment)(), seed))


def healthy(seed: int = 0) -> Run:
    """The run in which nothing is wrong, with the weights and the order of the faulty ones of the same seed."""
    return Run(0, seed, False, record(Experiment(), seed))


def diagnose(curves: Curves) -> list[str]:
    """The names of all causes whose signature holds on these curves: one for a case, none for the healthy run.

    >>> len(diagnose(run(4).curves)), diagnose(healthy().curves)
    (1, [])
    """
    return [cause.name for cause in CAUSES.values() if cause.matches(curves)]


def _case(number: int) -> tuple[str, str]:
    if number not in _CASES:
        raise ValueError(f"symptoms: expected the number of a case, 1 to {len(_CASES)}, got {number!r}")
    return _CASES[number]
