"""The transforms of a block's tiles: long, so compiled by themselves, once for both kernels."""

import numpy as np
from numba import types

from minicnn.backends.cpu.convolution.balance import PARTS, add_squares, balanced
from minicnn.backends.cpu.convolution.patches import SOURCE_ARRAYS, Image, Window, lanes_up, source_address
from minicnn.backends.cpu.convolution.pieces import piece_number
from minicnn.backends.cpu.convolution.vectors import LANES, fill, store
from minicnn.backends.cpu.convolution.winograd.plan import (
    JOB_NUMBERS,
    Job,
    kernel_parts,
    pitch_of,
    tile_outputs,
    tiles_of,
)
from minicnn.backends.cpu.convolution.winograd.transforms import input_transform, output_adjoint_transform
from minicnn.backends.cpu.runtime.jit import by_pointer, inlined
from minicnn.backends.cpu.runtime.launch import address, call, flat, unpack

SUMS = 2 * PARTS * LANES  # of squares for each tile: of the kernel's first 3 × 3 part, and of the others


@by_pointer
def input_tiles(source_arrays, numbers, block, patch, V, sums, unbalanced):
    """V[t, k, input] = (Bᵀ d B)[k] for every tile t of a block; where tiles are guarded also its sums of squares, and
    whether these look `unbalanced`."""
    job = Job(*unpack(numbers, JOB_NUMBERS))
    first, stop = numbers[job.blocks_at + block], numbers[job.blocks_at + block + 1]
    padded = lanes_up(job.C)
    inputs = job.parts_h * job.parts_w * padded
    vectors = PARTS if inputs == padded else 2 * PARTS
    if job.guard:
        for t in range(job.tiles):
            clear(sums, t * SUMS, vectors)
    for c0 in range(0, padded, LANES):
        at, t = c0, 0
        for index in range(first, stop):
            piece = piece_number(numbers, job.pieces_at, index)
            tiles_h, tiles_w = tiles_of(piece)
            rows, columns = 4 * tiles_h + 3 * job.parts_h - 1, 4 * tiles_w + 3 * job.parts_w - 1
            image = Image(piece.number, piece.x_first * job.x_pitch, job.C, piece.H, piece.W)
            window = Window(c0, piece.p0 - job.pad_h, piece.q0 - job.pad_w, rows, columns)
            call(job.source, (source_arrays, image, window, patch))
            for p in range(tiles_h):
                for q in range(tiles_w):
                    for a in range(job.parts_h):
                        for b in range(job.parts_w):
                            patch_at = ((4 * p + 3 * a) * columns + 4 * q + 3 * b) * LANES
                            V_at = at + (a * job.parts_w + b) * padded
                            row, row_V = columns * LANES, 6 * inputs
                            input_transform(patch, patch_at, row, LANES, V, V_at, row_V, inputs)
                            if job.guard:
                                sums_at = t * SUMS + (0 if a + b == 0 else PARTS * LANES)
                                add_squares(patch, patch_at, row, 6, sums, sums_at)
                    at += pitch_of(inputs)
                    if job.guard and c0 + LANES == padded:
                        rows_left, columns_left = tile_outputs(piece, p, q)
                        other = tile_to_compare(t, p, q, tiles_w, rows_left, columns_left)
                        good = balanced(sums, t * SUMS, vectors, rows_left > 2, columns_left > 2, other * SUMS)
                        unbalanced[t] = 0 if good else 1
                    t += 1


@by_pointer
def gradient_tiles(source_arrays, numbers, block, patch, Q, sums, unbalanced):
    """Q[t, k, f] = (A dy Aᵀ)[k] for every tile t of a block; where tiles are guarded also its sums of squares, and
    whether these, too, look `unbalanced`."""
    job = Job(*unpack(numbers, JOB_NUMBERS))
    first, stop = numbers[job.blocks_at + block], numbers[job.blocks_at + block + 1]
    padded = lanes_up(job.F)
    if job.guard:
        for t in range(job.tiles):
            clear(sums, t * SUMS, PARTS)
    for f0 in range(0, padded, LANES):
        at, t = f0, 0
        for index in range(first, stop):
            piece = piece_number(numbers, job.pieces_at, index)
            tiles_h, tiles_w = tiles_of(piece)
            image = Image(piece.number, piece.y_first * job.y_pitch, job.F, piece.OH, piece.OW)
            # A piece ends at the image's border or on whole tiles: what a tile has beyond it, the source makes 0.
            window = Window(f0, piece.p0, piece.q0, 4 * tiles_h, 4 * tiles_w)
            call(job.sink, (source_arrays, image, window, patch))
            for p in range(tiles_h):
                for q in range(tiles_w):
                    patch_at = (4 * p * 4 * tiles_w + 4 * q) * LANES
                    row = 4 * tiles_w * LANES
                    output_adjoint_transform(patch, patch_at, row, LANES, Q, at, 6 * padded, padded)
                    if job.guard:
                        add_squares(patch, patch_at, row, 4, sums, t * SUMS)
                    at += pitch_of(padded)
                    if job.guard and f0 + LANES == padded and unbalanced[t] == 0:
                        rows, columns = tile_outputs(piece, p, q)
                        other = tile_to_compare(t, p, q, tiles_w, rows, columns)
                        good = balanced(sums, t * SUMS, PARTS, rows > 2, columns > 2, other * SUMS)
                        unbalanced[t] = 0 if good else 1
                    t += 1


def tiles_signature(dtype):
    source_arrays, numbers = types.UniTuple(flat(dtype), SOURCE_ARRAYS), flat(np.int64)
    return source_arrays, numbers, types.intp, flat(dtype), flat(dtype), flat(dtype), numbers


@inlined
def count_unbalanced(unbalanced, tiles):
    """How many tiles look unbalanced."""
    count = 0
    for t in range(tiles):
        count += unbalanced[t]
    return count


@inlined
def clear(array, at, vectors):
    """So many vectors from `at` on."""
    zero = fill(array, 0.0)
    for vector in range(vectors):
        store(array, at + vector * LANES, zero)


@inlined
def tile_to_compare(t, p, q, tiles_w, rows, columns):
    """The tile with which tile t, of rows × columns outputs, must be balanced: itself, or at the border, where it has
    less than two quarters in one direction, the one beside or above it. A weight that meets nothing of a tile at the
    border must not suffer from it."""
    other = t
    if rows <= 2 or columns <= 2:
        if q > 0:
            other = t - 1
        elif p > 0:
            other = t - tiles_w
    return other


def job_of(plan, x, y, y_address, transforms, guard, mender, V_size, dtype):
    channels = (x.channels, x.pitch, y.channels, y.pitch)
    kernel = (*plan.kernel_size, *kernel_parts(plan.kernel_size), *plan.padding, plan.flip)
    sizes = (plan.patch_size, V_size, plan.tiles)
    transforms = [address(transform, dtype, tiles_signature) for transform in transforms]
    addresses = source_address(x.access, dtype), y_address, *transforms, *[0] * (2 - len(transforms))
    return Job(*addresses, *channels, *kernel, guard, mender, *sizes)
