"""The weights as the forward kernel reads them, phase after phase."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from numba import get_num_threads

from minicnn.backends.cpu.convolution.patches import lanes_up
from minicnn.backends.cpu.convolution.pieces import SMALL
from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.convolution.tile.plan import Taps
from minicnn.backends.cpu.runtime.jit import by_pointer
from minicnn.backends.cpu.runtime.launch import Launch, launch, unpack
from minicnn.backends.cpu.runtime.memory import empty
from minicnn.backends.cpu.runtime.program import Place
from minicnn.plain import Array


class Phase(NamedTuple):
    """The numbers of one phase, the output's pixels (row + p * out_h, column + q * out_w). The rows of its taps and
    then their columns come after them."""

    row: int
    column: int
    n_taps: int
    weights_at: int


PHASE_NUMBERS = len(Phase._fields)


class Packed(NamedTuple):
    """The weights of all phases, and the phases' numbers: for each a `Phase` and its taps."""

    weight: Any  # an array, or its place in a program
    phases: Sequence[int]


def packed_weight(taps_of_axes: tuple[tuple[Taps, ...], ...], weight: Array, flip: bool) -> Packed:
    packed = empty(packed_size(weight.shape, flip), weight.dtype)
    launches, phases = packing_launches(taps_of_axes, weight, packed, weight.shape, flip)
    for one in launches:
        launch(*one, dtype=weight.dtype)
    return Packed(packed, phases)


def packed_size(shape: tuple[int, ...], flip: bool) -> int:
    """How many numbers the packed weights have, of a weight of this shape."""
    F, C, KH, KW = shape
    inputs, outputs = (F, C) if flip else (C, F)
    return inputs * lanes_up(outputs) * KH * KW


def packing_launches(
    taps_of_axes: tuple[tuple[Taps, ...], ...], weight: Place, packed: Place, shape: tuple[int, ...], flip: bool
) -> tuple[list[Launch], list[int]]:
    """(the launches that fill `packed`, one for each phase; the phases' numbers)."""
    F, C, KH, KW = shape
    inputs, outputs = (F, C) if flip else (C, F)
    workers = min(lanes_up(outputs) // LANES, get_num_threads()) if F * C >= SMALL else 1
    launches: list[Launch] = []
    phases: list[int] = []
    start = 0
    for a, b, taps in _phases(*taps_of_axes):
        places = [i * KW + j for (i, _), (j, _) in taps]
        numbers = (F, C, KH * KW, flip, workers, start, *places)
        launches.append(Launch(pack_weight_kernel, (weight, packed), numbers, workers))
        phases += [*Phase(a, b, len(taps), start), *(row for (_, row), _ in taps), *(column for _, (_, column) in taps)]
        start += inputs * lanes_up(outputs) * len(taps)
    return launches, phases


def _phases(
    down: tuple[Taps, ...], across: tuple[Taps, ...]
) -> Iterator[tuple[int, int, list[tuple[tuple[int, int], tuple[int, int]]]]]:
    """Row, column and taps of each phase: pairs of a tap down and a tap across."""
    for a, rows in enumerate(down):
        for b, columns in enumerate(across):
            yield a, b, [(row, column) for row in rows for column in columns]


@by_pointer
def pack_weight_kernel(arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, worker: int) -> None:
    """The weights of one phase, laid out (blocks of 2 vectors of outputs, inputs, taps, lanes), as `gather_gemm` reads.

    Worker i owns the vectors i, i + workers, … of outputs. arrays: weight (F, C, KH, KW), packed.
    numbers: F, C, KH * KW, flip, workers, where the phase's weights start, and its taps' places in the kernel.
    flip 0: from channels to filters. flip 1: from filters to channels (input gradient).
    """
    weight, packed = arrays[:2]
    F, C, kernel, flip, workers, start = unpack(numbers, 6)
    taps = numbers[6:]
    inputs, outputs = (F, C) if flip else (C, F)
    padded = lanes_up(outputs)
    for vector in range(worker * LANES, padded, workers * LANES):
        first = vector // (2 * LANES) * 2 * LANES
        width = min(2 * LANES, padded - first)
        for o in range(vector, vector + LANES):
            at = start + first * inputs * len(taps) + o - first
            for c in range(inputs):
                weight_at = (c * C + o if flip else o * C + c) * kernel
                for t in range(len(taps)):
                    packed[at] = weight[weight_at + taps[t]] if o < outputs else 0
                    at += width
