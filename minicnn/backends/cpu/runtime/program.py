"""Programs: several launches in a row, prepared once for a shape and run by one native call.

What a launch needs besides its arrays does not change from call to call: addresses of kernels, sizes, tables of pieces.
To work it out takes Python ten times as long as a small picture takes a kernel. So an operation describes its launches
once for each shape, naming the arrays that are not there yet, and keeps the `Program`:

    Given(k)      array number k of those that `run` is given
    Kept(k)       array number k of those whose `addresses` it is given, for what somebody keeps from run to run
    Room(size)    so many numbers of the program's own, new for each run: what one launch leaves for the next

Any other array is part of the program and read only. Nothing is kept from one run to the next, so that several threads
may run the same program at once.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minicnn.backends.cpu.runtime.dry_run import dry
from minicnn.backends.cpu.runtime.launch import (
    ARRAYS,
    SLOT_NUMBERS,
    Launch,
    Row,
    address,
    flat_arrays,
    kernel_signature,
    note_addresses,
    run_in_parallel,
    run_serially,
    whole_lines,
    working_memory,
)
from minicnn.plain import Array


class Given(NamedTuple):
    """An array that a program is given for a run, by its position."""

    position: int


class Kept(NamedTuple):
    """An array whose address a program is given for a run, by its position."""

    position: int


class Room:
    """Memory for numbers that exist during a run only."""

    def __init__(self, size: int) -> None:
        self.size = size


Place: TypeAlias = Array | Given | Kept | Room | None


def addresses(arrays: Sequence[Array]) -> Array:
    """Where the arrays, of one dtype, are, for `Program.run`. Somebody must keep them, at the same place, as long."""
    table = np.zeros((len(arrays), SLOT_NUMBERS), np.int64)
    for first in range(0, len(arrays), ARRAYS):
        some = arrays[first : first + ARRAYS]
        note_addresses(table[first:], flat_arrays(some, some[0].dtype))
    return table


class Program:
    """Launches that follow each other, on arrays of one dtype; `kept` says for how many it is given the addresses."""

    def __init__(self, launches: Sequence[Launch], dtype: Any, kept: int = 0) -> None:
        self._dtype = dtype
        self._memory_size = 0
        self._slot_of: dict[int, int] = {}  # by the id of an array or a `Room`
        self._kept: list[Place] = []  # so that arrays stay where they are, and no id is used again
        slots: list[tuple[int, int, bool]] = [(0, 0, False)] * (ARRAYS + kept)
        places = [[self._slot(place, slots) for place in self._filled_up(launch.arrays)] for launch in launches]
        numbers = [np.asarray(launch.numbers, np.int64) for launch in launches]
        stops = np.cumsum([len(one) for one in numbers]).tolist()
        rows = [
            Row(
                address(launch.kernel, dtype, kernel_signature),
                launch.workers,
                stop - len(of_launch),
                stop,
                launch.table_size,
                self._memory_size,  # scratch lies behind the rooms, the same for all
                launch.scratch_size,
                whole_lines(launch.scratch_size, dtype),
            )
            for launch, of_launch, stop in zip(launches, numbers, stops, strict=True)
        ]
        self._memory_size += max(row.workers * row.scratch_pitch for row in rows)
        self._table_size = max(row.workers * row.table_size for row in rows)
        self._run = run_serially if all(row.workers == 1 for row in rows) else run_in_parallel
        self._rows, self._places = np.array(rows, np.int64), np.array(places, np.int64)
        self._slots = np.array(slots, np.int64).reshape(-1, SLOT_NUMBERS)
        self._numbers = np.concatenate(numbers)

    def run(self, *given: Any, kept: Array | None = None) -> None:
        """Run the launches, one after another, on these arrays; `kept` are the `addresses` of further ones."""
        if dry(given):
            return
        slots = self._slots.copy()
        if kept is not None:
            slots[ARRAYS : ARRAYS + len(kept)] = kept
        self._run(
            self._rows,
            self._places,
            slots,
            flat_arrays(given, self._dtype),
            self._numbers,
            np.empty(self._table_size, np.int64),
            working_memory(self._memory_size, self._dtype),
        )

    def _filled_up(self, arrays: Sequence[Place]) -> list[Place]:
        return [*arrays, *[None] * (ARRAYS - len(arrays))]

    def _slot(self, place: Place, slots: list[tuple[int, int, bool]]) -> int:
        """The number of the slot where `place` is found, a new one if need be."""
        if isinstance(place, Given):
            return place.position
        if isinstance(place, Kept):
            return ARRAYS + place.position
        key = id(place)
        if key not in self._slot_of:
            self._slot_of[key] = len(slots)
            self._kept.append(place)
            if isinstance(place, Room):
                slots.append((self._memory_size * np.dtype(self._dtype).itemsize, place.size, True))
                self._memory_size += whole_lines(place.size, self._dtype)
            else:
                slots.append((0, 0, False) if place is None else (place.ctypes.data, place.size, False))
        return self._slot_of[key]
