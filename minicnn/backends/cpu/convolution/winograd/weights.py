"""The weights, transformed: U = G g Gᵀ."""

import math
from typing import Any, NamedTuple

from numba import get_num_threads

from minicnn.backends.cpu.convolution.patches import lanes_up
from minicnn.backends.cpu.convolution.pieces import SMALL
from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.convolution.winograd.plan import POINTS, kernel_parts
from minicnn.backends.cpu.convolution.winograd.transforms import Grid, weight_transform
from minicnn.backends.cpu.runtime.jit import by_pointer
from minicnn.backends.cpu.runtime.launch import Launch, launch, unpack
from minicnn.backends.cpu.runtime.memory import empty
from minicnn.backends.cpu.runtime.program import Place
from minicnn.plain import Array


class Packed(NamedTuple):
    """U = G g Gᵀ as the forward kernel reads it; and g, for what is summed plainly."""

    weight: Any  # an array, or its place in a program
    plain_weight: Any


def packed_weight(weight: Array, flip: bool) -> Packed:
    U = empty(packed_size(weight.shape, flip), weight.dtype)
    launch(*packing_launch(weight, U, weight.shape, flip), dtype=weight.dtype)
    return Packed(U, weight)


def packed_size(shape: tuple[int, ...], flip: bool) -> int:
    """How many numbers U has, of a weight of this shape."""
    F, C, *kernel_size = shape
    inputs, outputs = (F, C) if flip else (C, F)
    return POINTS * math.prod(kernel_parts(tuple(kernel_size))) * inputs * lanes_up(outputs)


def packing_launch(weight: Place, U: Place, shape: tuple[int, ...], flip: bool) -> Launch:
    """The launch that fills U."""
    F, C, *_ = shape
    workers = min(lanes_up(C if flip else F) // LANES, get_num_threads()) if C * F >= SMALL else 1
    return Launch(transform_weight_kernel, (weight, U), (*shape, flip, workers), workers, scratch_size=9 * LANES)


@by_pointer
def transform_weight_kernel(
    arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, worker: int
) -> None:
    """U = G g Gᵀ, laid out (36, blocks of 2 vectors of outputs, inputs, lanes) as `gather_gemm` reads it.

    Worker i owns the vectors i, i + workers, … of outputs.
    arrays: weight (F, C, KH, KW), U; numbers: F, C, KH, KW, flip, workers.
    flip 0: from channels to filters. flip 1: from filters to channels, the kernel turned (input gradient).
    """
    weight, U = arrays[:2]
    F, C, KH, KW, flip, workers = unpack(numbers, 6)
    channels, outputs = (F, C) if flip else (C, F)
    parts_h, parts_w = (KH + 2) // 3, (KW + 2) // 3
    inputs, padded = parts_h * parts_w * channels, lanes_up(outputs)
    step = inputs * padded
    for o in range(worker * LANES, padded, workers * LANES):
        first = o // (2 * LANES) * 2 * LANES
        width = min(2 * LANES, padded - first)
        for cell in range(9 * LANES):
            scratch[cell] = 0
        for a in range(parts_h):
            for b in range(parts_w):
                for c in range(channels):
                    for lane in range(min(LANES, outputs - o)):
                        at = ((c * C + o + lane) if flip else ((o + lane) * C + c)) * KH * KW
                        for i in range(3 * a, 3 * a + 3):
                            for j in range(3 * b, 3 * b + 3):
                                g = weight.dtype.type(0)
                                if i < KH and j < KW:
                                    g = weight[at + ((KH - 1 - i) * KW + KW - 1 - j if flip else i * KW + j)]
                                scratch[((i - 3 * a) * 3 + j - 3 * b) * LANES + lane] = g
                    U_at = first * inputs + ((a * parts_w + b) * channels + c) * width + o - first
                    weight_transform(Grid(scratch, 0, 3 * LANES, LANES), Grid(U, U_at, 6 * step, step))
