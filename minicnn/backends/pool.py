"""Memory that is used again: which buffers are handed out another time, and how many are kept for it.

A buffer is given back when nobody sees it any more; that is the business of those who hand out arrays, `cpu.memory` and
`cuda.device_array`.
"""

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Any, TypeAlias

# What a pool holds, in use and free, is at most this many times what was in use at once. A network needs up to 3.3
# times, if each array has to be given a buffer of its own size, and 1.5 if a larger one will do.
SLACK = 2
RECENT = 4096  # arrays handed out; most steps of training take 10 to 100, and after twice as many a peak is forgotten
LARGER = 8  # sizes further up: a buffer is at most four times as large as what it is handed out for

Kind: TypeAlias = Hashable  # of memory, where a backend has more than one
Shelf: TypeAlias = tuple[int, Kind]
Loan: TypeAlias = tuple[Any, Shelf, int]


class Pool:
    """Buffers that are handed out, given back and handed out again. Several threads may ask at once.

    Args:
        allocate: allocate(size, kind) makes a buffer of `size` bytes, or raises MemoryError.
    """

    def __init__(self, allocate: Callable[[int, Kind], Any]) -> None:
        self._allocate = allocate
        self._shelves: OrderedDict[Shelf, list[Any]] = (
            OrderedDict()
        )  # (size, kind) -> free buffers; those first that were used longest ago
        self._given_back: deque[Loan] = deque()  # and not yet on their shelves
        self._held = self._in_use = 0  # bytes of all buffers; bytes asked for that are out
        self._peak = self._peak_before = 0  # of `_in_use`: since the last `RECENT` arrays, and in those before
        self._handed_out = 0
        # Reentrant, since an object's end, or a signal, may run code of others' in the midst of `take`.
        self._lock = threading.RLock()
        if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
            release = self._lock.release
            os.register_at_fork(before=self._lock.acquire, after_in_parent=release, after_in_child=release)

    def take(self, size: int, kind: Kind = None) -> Loan:
        """A loan (buffer, shelf, size) of at least `size` bytes, for `give_back`. Raises MemoryError."""
        size = shelf_size(size)
        with self._lock:
            self._sort_in()
            in_use = self._in_use + size
            peak = in_use if in_use > self._peak else self._peak
            most = SLACK * max(peak, self._peak_before)
            buffer, shelf = self._used_before(size, kind)
            if shelf is None:
                self._shrink(most - size)
                buffer, shelf = self._new(size, kind), (size, kind)
                self._held += size
            elif self._held > most:
                self._shrink(most)
            self._in_use = in_use
            self._peak = peak
            self._handed_out += 1
            if self._handed_out % RECENT == 0:
                self._peak_before, self._peak = peak, 0
            return buffer, shelf, size

    def give_back(self, loan: Loan) -> None:
        """Take a loan back; with None for its buffer, if that must not be used again.

        Where an object ends no more may be done than this: it may be in the midst of `take`.
        """
        self._given_back.append(loan)

    def release(self) -> None:
        """Let go of all buffers that are free, and forget how many were in use."""
        with self._lock:
            self._sort_in()
            self._shrink(0)
            self._peak = self._peak_before = 0

    def _sort_in(self) -> None:
        while self._given_back:
            buffer, shelf, size = self._given_back.popleft()
            self._in_use -= size
            if buffer is None:
                self._held -= shelf[0]
            else:
                self._shelves.setdefault(shelf, []).append(buffer)
                self._shelves.move_to_end(shelf)

    def _used_before(self, size: int, kind: Kind) -> tuple[Any, Shelf] | tuple[None, None]:
        """(a free buffer of this size or one somewhat larger, its shelf), or (None, None)."""
        for _ in range(LARGER + 1):
            try:
                return self._shelves[size, kind].pop(), (size, kind)
            except (KeyError, IndexError):
                size = shelf_size(size + 1)
        return None, None

    def _new(self, size: int, kind: Kind) -> Any:
        try:
            return self._allocate(size, kind)
        except MemoryError:
            self._shrink(0)
            return self._allocate(size, kind)

    def _shrink(self, most: int) -> None:
        """Let go of free buffers until no more than `most` bytes are held, of sizes used longest ago first."""
        while self._held > most and self._shelves:
            (size, _), buffers = self._shelves.popitem(last=False)
            self._held -= size * len(buffers)


def shelf_size(size: int) -> int:
    """`size` rounded up to one of four sizes in each power of two, so that like sizes share buffers.

    >>> [shelf_size(size) for size in (1, 257, 1000, 1024, 1025)]
    [256, 320, 1024, 1024, 1280]
    """
    size = max(size, 256)
    step = 1 << (size.bit_length() - 3)
    return -(-size // step) * step
