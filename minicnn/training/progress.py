"""What a training run shows of itself: a bar on a terminal, plain lines elsewhere, or nothing.

A reporter is notified of what happens and decides what to show:

    compiling(name, done, total)     a kernel is about to be compiled, or read from the cache
    epoch_begins(epoch, n_batches)
    batch_ends(loss)
    epoch_ends(row)                  row is the epoch's line of the history
    message(text)                    anything else
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from minicnn.io.output import printable

if TYPE_CHECKING:
    from typing_extensions import Self

NOTICEABLE = 0.5  # seconds; kernels that come from the cache are ready before this and need no line


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

    def epoch_begins(self, epoch: int, n_batches: int | None) -> None:
        pass

    def batch_ends(self, loss: float) -> None:
        pass

    def epoch_ends(self, row: dict[str, Any]) -> None:
        pass

    def message(self, text: str) -> None:
        pass


class LineReporter(Reporter):
    """A plain line for each epoch; while kernels are made ready, one every few seconds."""

    def __init__(self) -> None:
        self._next_line: float | None = None

    def compiling(self, name: str, done: int, total: int) -> None:
        now = time.monotonic()
        if self._next_line is None:
            self._next_line = now + NOTICEABLE
        elif now >= self._next_line:
            self.message(f"kernels: {done} of {total} ready (compiled on the first run, read from disk on later ones)")
            self._next_line = now + 4

    def epoch_ends(self, row: dict[str, Any]) -> None:
        self.message(epoch_line(row))

    def message(self, text: str) -> None:
        print(printable(text, sys.stdout), flush=True)


class BarReporter(Reporter):
    """A bar that moves with the batches, and a line that stays for each epoch."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
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

    def epoch_begins(self, epoch: int, n_batches: int | None) -> None:
        self._show(f"epoch {epoch}", 0, n_batches)

    def batch_ends(self, loss: float) -> None:
        task = self._progress.tasks[-1]
        name = task.description.split(" - ")[0]
        self._progress.update(task.id, advance=1, description=f"{name} - loss {loss:.4f}")

    def epoch_ends(self, row: dict[str, Any]) -> None:
        self.message(epoch_line(row))

    def message(self, text: str) -> None:
        console = self._progress.console
        console.print(printable(text, console.file), highlight=False)

    def _show(self, description: str, completed: int, total: int | None) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(description, completed=completed, total=total)


@contextmanager
def reporter(quiet: bool = False) -> Iterator[Reporter]:
    """The reporter that suits standard output: a bar on a terminal, plain lines elsewhere, nothing with `quiet`."""
    if quiet:
        yield Reporter()
    elif sys.stdout.isatty():
        with BarReporter() as bar:
            yield bar
    else:
        yield LineReporter()
