"""Ctrl-C, and whatever else asks a run to stop, waits for the end of a step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}  # the second is what batch systems send before they kill


class Stop:
    """Set where a run is to stop after the step under way; `by` says what asked for it, and is empty before."""

    def __init__(self) -> None:
        self.by = ""

    def is_set(self) -> bool:
        return bool(self.by)

    @property
    def from_outside(self) -> bool:
        """Whether a signal asked, and not the program itself."""
        return self.by in SIGNALS.values()


@contextmanager
def signals_noted(stop: Stop) -> Iterator[Stop]:
    """Within, the first Ctrl-C or SIGTERM sets `stop`, and the second one ends the program as usual.

    So no step is left half done. Signals reach the main thread only; elsewhere none sets it.
    """
    stop.by = ""
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, _: object) -> None:
        stop.by = SIGNALS[signal.Signals(number)]
        signal.signal(number, before[number])

    ours = [number for number in SIGNALS if signal.getsignal(number) is not None]  # else C handles it
    before: dict[int, Any] = {number: signal.signal(number, note) for number in ours}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
