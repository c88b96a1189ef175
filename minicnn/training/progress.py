"""What a training run shows of itself: a bar on a terminal, plain lines elsewhere, or nothing.

A reporter is notified of what happens and decides what to show:

    compiling(name, done, total)     a kernel is about to be compiled, or read from the cache
    run_begins(first, last)          the numbers of the first and the last epoch to come
    epoch_begins(epoch, n_batches)
    batch_ends(loss)
    validation_begins(n_batches)
    validation_batch_ends()
    epoch_ends(row)                  row is the epoch's line of the history
    message(text)                    anything else

How many batches there are may be unknown, None.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from minicnn.io.output import printable
from minicnn.training.time_left import TimeLeft, in_words

if TYPE_CHECKING:
    from typing_extensions import Self

NOTICEABLE = 0.5  # seconds; kernels that come from the cache are ready before this and need no line
LINE_EVERY = 10.0  # seconds, of an epoch that takes longer, where there is no bar


def epoch_line(row: dict[str, Any]) -> str:
    """One line for one row of the history.

    >>> epoch_line({"epoch": 3, "lr": 0.001, "loss": 0.25, "accuracy": 0.9, "seconds": 1.26})
    'epoch 3 - lr 0.001 - loss 0.2500 - accuracy 0.9000 - 1.3 s'
    """
    numbers = [f"{key} {value:.4f}" for key, value in row.items() if key not in ("epoch", "lr", "seconds")]
    return " - ".join([f"epoch {row['epoch']}", f"lr {row['lr']:.3g}", *numbers, f"{row['seconds']:.1f} s"])


class Reporter:
    """Shows nothing; those that show something are made from it."""

    def compiling(self, name: str, done: int, total: int) -> None:
        pass

    def run_begins(self, first: int, last: int) -> None:
        pass

    def epoch_begins(self, epoch: int, n_batches: int | None) -> None:
        pass

    def batch_ends(self, loss: float) -> None:
        pass

    def validation_begins(self, n_batches: int | None) -> None:
        pass

    def validation_batch_ends(self) -> None:
        pass

    def epoch_ends(self, row: dict[str, Any]) -> None:
        pass

    def message(self, text: str) -> None:
        pass

    def validating(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches one after another, each noted once it was measured."""
        self.validation_begins(len(batches) if isinstance(batches, Sized) else None)
        for batch in batches:
            yield batch
            self.validation_batch_ends()


class RunReporter(Reporter):
    """Knows where in the run it is: what is counted, and how long the rest of all epochs will take.

    Of each epoch the batches are counted, and then those of the validation; `moved` is called after each of them.
    """

    def run_begins(self, first: int, last: int) -> None:
        self.last = last
        self.time_left = TimeLeft(last - first + 1)

    def epoch_begins(self, epoch: int, n_batches: int | None) -> None:
        self.place = f"epoch {epoch} of {self.last}"
        self._begin("batch", n_batches)

    def batch_ends(self, loss: float) -> None:
        self.done += 1
        self.time_left.batch_ends(self.done, self.total)
        self.moved(f"loss {loss:.4f}")

    def validation_begins(self, n_batches: int | None) -> None:
        self._begin("validation batch", n_batches)

    def validation_batch_ends(self) -> None:
        self.done += 1
        self.moved("")

    def epoch_ends(self, row: dict[str, Any]) -> None:
        self.time_left.epoch_ends()
        self.message(epoch_line(row))

    def _begin(self, counted: str, total: int | None) -> None:
        self.counted, self.done, self.total = counted, 0, total

    def moved(self, loss: str) -> None:
        """Show how far the run is; `loss` in words, of a batch that was learnt."""

    @property
    def left(self) -> str:
        """How long the rest takes, in words; empty while nothing tells."""
        seconds = self.time_left.seconds()
        return "" if seconds is None else f"about {in_words(seconds)} left"


class LineReporter(RunReporter):
    """A plain line for each epoch, and one every few seconds while one takes longer or kernels are made ready."""

    def __init__(self) -> None:
        self._kernel_line: float | None = None
        self._next_line = 0.0

    def compiling(self, name: str, done: int, total: int) -> None:
        now = time.monotonic()
        if self._kernel_line is None:
            self._kernel_line = now + NOTICEABLE
        elif now >= self._kernel_line:
            self.message(f"kernels: {done} of {total} ready (compiled on the first run, read from disk on later ones)")
            self._kernel_line = now + 4

    def epoch_begins(self, epoch: int, n_batches: int | None) -> None:
        super().epoch_begins(epoch, n_batches)
        self._next_line = time.monotonic() + LINE_EVERY

    def moved(self, loss: str) -> None:
        if time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY
            of = "" if self.total is None else f" of {self.total}"
            parts = [f"{self.place}, {self.counted} {self.done}{of}", loss, self.left]
            self.message(" - ".join(part for part in parts if part))

    def message(self, text: str) -> None:
        print(printable(text, sys.stdout), flush=True)


class BarReporter(RunReporter):
    """A bar that moves with the batches, and a line that stays for each epoch."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=Console(),
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "Self":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def compiling(self, name: str, done: int, total: int) -> None:
        self._show(f"kernels: {name}", done, total)

    def _begin(self, counted: str, total: int | None) -> None:
        super()._begin(counted, total)
        self._show(f"{self.place}{' - validation' if counted.startswith('validation') else ''}", 0, total)

    def moved(self, loss: str) -> None:
        assert self._task is not None  # since something has begun
        description = f"{self.place} - {loss or 'validation'}"
        self._progress.update(self._task, advance=1, description=description, left=self.left)

    def message(self, text: str) -> None:
        console = self._progress.console
        console.print(printable(text, console.file), highlight=False)

    def _show(self, description: str, completed: int, total: int | None) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(description, completed=completed, total=total, left="")


@contextmanager
def reporter(quiet: bool = False) -> Iterator[Reporter]:
    """The reporter that suits standard output: a bar on a terminal, plain lines elsewhere, nothing with `quiet`."""
    if quiet:
        yield Reporter()
    elif sys.stdout.isatty() and not Console().is_dumb_terminal:  # a dumb one cannot redraw a line
        with BarReporter() as bar:
            yield bar
    else:
        yield LineReporter()
