"""Menders: for the tiles of a block that look unbalanced the kernels call these. They are seldom needed, and compiled
when they are."""

from minicnn.backends.cpu.convolution.patches import Image, Window, lanes_up
from minicnn.backends.cpu.convolution.vectors import LANES
from minicnn.backends.cpu.runtime.jit import inlined, serial
from minicnn.backends.cpu.runtime.launch import address, call, kernel_signature

_menders = {}  # (mender, dtype) -> address, of those that were needed


def menders_for(mender, dtype):
    """The address of the mender to run a pass with, or 0; and where that was not enough, to run it again with.

    A mender takes seconds to compile and most networks never need it, so it is compiled when it is called for, and
    the pass is done again. It writes the same places anew.
    """
    yield _menders.get((mender, dtype), 0)
    _menders[mender, dtype] = address(mender, dtype, _mender_signature)
    yield _menders[mender, dtype]


def _mender_signature(dtype):
    arrays, numbers, table, scratch, number = kernel_signature(dtype)
    return arrays, numbers, table, scratch, number, number


@inlined
def tile_sides(job):
    """Rows and columns of the input that a tile meets."""
    return 3 * job.parts_h + 3, 3 * job.parts_w + 3


@serial
def tile_patch_size(C, parts_h, parts_w):
    """What `read_tile` fills, and one number more for each pixel."""
    return (lanes_up(C) + 1) * (3 * parts_h + 3) * (3 * parts_w + 3)


@inlined
def read_tile(source_arrays, job, piece, p, q, tile_patch):
    """tile_patch (C / LANES, rows, columns, LANES) = all channels of what tile (p, q) of the piece meets."""
    high, wide = tile_sides(job)
    image = Image(piece.number, piece.x_first * job.x_pitch, job.C, piece.H, piece.W)
    for c in range(0, job.C, LANES):
        window = Window(c, piece.p0 + 4 * p - job.pad_h, piece.q0 + 4 * q - job.pad_w, high, wide)
        call(job.source, (source_arrays, image, window, tile_patch[c * high * wide :]))
