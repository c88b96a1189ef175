"""How long the rest of a training run will take, judged by what it took so far."""

import time
from collections.abc import Callable


class TimeLeft:
    """The time that is left of `n_epochs`, their validation included once one epoch is over.

    All epochs are taken to be as long as the last one; the first, as long as it took so far divided by the share of
    its batches that are done. The clock starts here.
    """

    def __init__(self, n_epochs: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.epochs_left, self.clock = n_epochs, clock
        self.epoch_began = clock()
        self.seconds_an_epoch: float | None = None
        self._is_first = True

    def batch_ends(self, done: int, total: int | None) -> None:
        """So many of an epoch's batches are done."""
        if self._is_first and total:
            self.seconds_an_epoch = (self.clock() - self.epoch_began) * max(1.0, total / done)

    def epoch_ends(self) -> None:
        now = self.clock()
        self.seconds_an_epoch, self.epoch_began, self._is_first = now - self.epoch_began, now, False
        self.epochs_left -= 1

    def seconds(self) -> float | None:
        """How many seconds are left, or None where nothing tells yet."""
        if self.seconds_an_epoch is None:
            return None
        return max(0.0, self.epochs_left * self.seconds_an_epoch - (self.clock() - self.epoch_began))


def in_words(seconds: float) -> str:
    """A length of time, to two digits or so.

    >>> in_words(8.4), in_words(95), in_words(3725)
    ('8 s', '2 min', '1 h 2 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
