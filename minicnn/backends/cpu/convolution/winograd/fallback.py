"""Fallbacks: the kernels that sum the tiles of a block that look unbalanced plainly. They are seldom needed, and
compiled when they are."""

from collections.abc import Callable, Iterator
from typing import Any

from minicnn.backends.cpu.convolution.patches import Image, Window, lanes_up
from minicnn.backends.cpu.convolution.pieces import Piece
from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.convolution.winograd.plan import Job
from minicnn.backends.cpu.runtime.jit import inlined, serial
from minicnn.backends.cpu.runtime.launch import address, call, kernel_signature
from minicnn.plain import Array

_fallbacks: dict[tuple[Callable[..., None], Any], int] = {}  # (fallback, dtype) -> address, of those that were needed


def fallbacks_for(fallback: Callable[..., None], dtype: Any) -> Iterator[int]:
    """The address of the fallback to run a pass with, or 0; and where that was not enough, to run it again with.

    A fallback takes seconds to compile and most networks never need it, so it is compiled when it is called for, and
    the pass is done again. It writes the same places anew.
    """
    yield _fallbacks.get((fallback, dtype), 0)
    _fallbacks[fallback, dtype] = address(fallback, dtype, _fallback_signature)
    yield _fallbacks[fallback, dtype]


def _fallback_signature(dtype: Any) -> tuple[Any, ...]:
    arrays, numbers, table, scratch, number = kernel_signature(dtype)
    return arrays, numbers, table, scratch, number, number


@inlined
def tile_sides(job: Job) -> tuple[int, int]:
    """Rows and columns of the input that a tile meets."""
    return 3 * job.parts_h + 3, 3 * job.parts_w + 3


@serial
def tile_patch_size(C: int, parts_h: int, parts_w: int) -> int:
    """What `read_tile` fills, and one number more for each pixel."""
    return (lanes_up(C) + 1) * (3 * parts_h + 3) * (3 * parts_w + 3)


@inlined
def read_tile(source_arrays: tuple[Array, ...], job: Job, piece: Piece, p: int, q: int, tile_patch: Array) -> None:
    """tile_patch (C / LANES, rows, columns, LANES) = all channels of what tile (p, q) of the piece meets."""
    high, wide = tile_sides(job)
    image = Image(piece.number, piece.x_first * job.x_pitch, job.C, piece.H, piece.W)
    for c in range(0, job.C, LANES):
        window = Window(c, piece.p0 + 4 * p - job.pad_h, piece.q0 + 4 * q - job.pad_w, high, wide)
        call(job.source, (source_arrays, image, window, tile_patch[c * high * wide :]))
