"""Blocks in evaluation: batchnorm is folded into the convolutions, and all of them run as one program.

For one small picture the kernels take a tenth of a millisecond, and to prepare them takes longer. So two things are
kept: for each network the weights as kernels read them, in `prepared`, and for each size of batch the program.

A large batch is taken in passes: some images through all blocks, then the next, so that there need be memory for the
activations of those only, not of the batch: 16 images of 224 × 224 take 37 MB instead of 147 MB. How it is cut changes
no bit. Smaller passes, whose activations would stay in a cache, were not faster with 32 MB of it (2-core EPYC).
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numba import get_num_threads

from minicnn.backends.chain import require_chain
from minicnn.backends.contract import Block
from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.batches import empty_batch, flat, sizes_table
from minicnn.backends.cpu.conv import output_sizes
from minicnn.backends.cpu.convolution import tile, winograd
from minicnn.backends.cpu.convolution.patches import (
    Image,
    Window,
    four,
    lanes_up,
    nchw_sink,
    plane_source,
)
from minicnn.backends.cpu.convolution.pieces import View, sizes_from, sums_before
from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.convolution.vectors import load, relu, store, where_greater
from minicnn.backends.cpu.convolution.winograd.fallback import fallbacks_for
from minicnn.backends.cpu.convolution.winograd.forward import forward_fallback
from minicnn.backends.cpu.fused.block import activation_source, as_read_by
from minicnn.backends.cpu.fused.channels import relu_coefficients
from minicnn.backends.cpu.fused.forward import store_sink
from minicnn.backends.cpu.fused.output import copy_launch, strips_of
from minicnn.backends.cpu.fused.prepared import Kind, prepared
from minicnn.backends.cpu.runtime.jit import by_pointer
from minicnn.backends.cpu.runtime.launch import Launch, unpack
from minicnn.backends.cpu.runtime.program import Given, Kept, Program, Room
from minicnn.plain import Array

PASS_BYTES = 32 * 1024 * 1024  # of the activations in a pass, but for its last image

X, Y, MISSING = map(Given, range(3))  # what a program is given: images, output, and `missing` of Winograd's kernels


@guarded
def fused_predict(x: Any, blocks: Sequence[Block], to_maximum: bool) -> Any:
    """The output of blocks in evaluation, (N, F, OH, OW) or `Images`; or of each channel the maximum, (N, F)."""
    weights = prepared(blocks)
    require_chain((x.shape, x.dtype), weights.forms)
    sizes = sizes_table(x).tobytes()
    *_, last = weights.kinds
    if to_maximum:
        y = np.empty((len(x), last.filters), x.dtype)
        flat_y = y.reshape(-1)
    else:
        y = empty_batch(x, last.filters, _sizes_behind(sizes, weights.kinds)[-1], x.dtype)
        flat_y = flat(y)
    flat_x, missing = flat(x), np.zeros(get_num_threads(), x.dtype)
    for fallback in fallbacks_for(forward_fallback, x.dtype):
        missing[:] = 0
        for program, read, written in _passes(
            sizes, x.shape[1], weights.kinds, x.dtype, to_maximum, fallback, get_num_threads()
        ):
            program.run(flat_x[read], flat_y[written], missing, kept=weights.addresses)
        if not missing.any():
            break
    return y


# The programs.


class Pass(NamedTuple):
    """The program for some of the images, and where their numbers and those of their output lie in the batch."""

    program: Program
    read: slice
    written: slice


@lru_cache(maxsize=64)
def _passes(
    sizes: bytes,
    channels: int,
    kinds: tuple[Kind, ...],
    dtype: np.dtype[Any],
    to_maximum: bool,
    fallback: int,
    threads: int,
) -> list[Pass]:
    """The passes for images of `sizes`, which cost about the same; of equal images the larger ones come first, so that
    the others use their memory again."""
    x_sizes, behind = sizes_from(sizes), _sizes_behind(sizes, kinds)
    stored = [lanes_up(kind.filters) * y_sizes.prod(axis=1) for kind, y_sizes in zip(kinds, behind, strict=True)]
    cost = np.cumsum(sum(stored[:-1] if to_maximum else stored, np.zeros(len(x_sizes), np.int64)))
    count = max(1, -(-int(cost[-1]) * dtype.itemsize // PASS_BYTES))
    ends = np.searchsorted(cost, cost[-1] * np.arange(1, count) // count) + 1
    bounds = np.unique([0, *ends, len(x_sizes)]).tolist()
    x_at = channels * sums_before(x_sizes.prod(axis=1))
    pixels_behind = np.ones(len(x_sizes), np.int64) if to_maximum else behind[-1].prod(axis=1)
    y_at = kinds[-1].filters * sums_before(pixels_behind)
    return [
        Pass(
            _program(x_sizes[first:stop].tobytes(), channels, kinds, dtype, to_maximum, fallback, threads),
            slice(x_at[first], x_at[stop]),
            slice(y_at[first], y_at[stop]),
        )
        for first, stop in pairwise(bounds)
    ]


@lru_cache(maxsize=64)
def _program(
    sizes: bytes,
    channels: int,
    kinds: tuple[Kind, ...],
    dtype: np.dtype[Any],
    to_maximum: bool,
    fallback: int,
    threads: int,
) -> Program:
    """The launches for images of `sizes`. The workers of a launch are at most `threads`."""
    rooms = Room(0), Room(0)  # each block reads one and writes the other
    read = View(plane_source, four(X), channels, sizes_from(sizes), channels)
    launches = []
    for k, kind in enumerate(kinds):
        algorithm, room, padded = kind.algorithm, rooms[k % 2], lanes_up(kind.filters)
        y_sizes = output_sizes(read.sizes, kind.kernel_size, kind.stride, kind.padding)
        window = kind.kernel_size, kind.stride, kind.padding
        plan = algorithm.plan_forward(*window, read.channels, read.sizes, y_sizes, dtype.itemsize)
        last = to_maximum and k == len(kinds) - 1
        room.size = max(room.size, padded * (plan.pieces if last else plan.layout.pixels))
        written = View(max_sink if last else store_sink, four(room), kind.filters, y_sizes, padded)
        weight, bias, plain_weight = Kept(3 * k), Kept(3 * k + 1), Kept(3 * k + 2)
        x = as_read_by(algorithm, read)
        if algorithm is winograd:
            packed = winograd.Packed(weight, plain_weight)
            launches.append(winograd.forward_launch(plan, x, written, packed, bias, dtype, MISSING, fallback))
        else:
            launches.append(tile.forward_launch(plan, x, written, tile.Packed(weight, kind.phases), bias, dtype))
        activation = four(room, relu_coefficients(padded, dtype))
        read = View(activation_source, activation, kind.filters, y_sizes, padded)
    if to_maximum:
        of_images = plan.layout.first_of_image
        numbers = (len(of_images), kind.filters, padded, *of_images, plan.pieces)
        launches.append(Launch(maximum_kernel, (room, Y), numbers, workers=1))
    else:
        written = View(nchw_sink, four(Y), kind.filters, y_sizes, kind.filters)
        launches.append(copy_launch(read, written, strips_of(y_sizes), dtype))
    return Program(launches, dtype, kept=3 * len(kinds))


@lru_cache(maxsize=256)
def _sizes_behind(sizes: bytes, kinds: tuple[Kind, ...]) -> list[Array]:
    """(N, 2) of the output of each block."""
    behind = [sizes_from(sizes)]
    for kind in kinds:
        behind.append(output_sizes(behind[-1], kind.kernel_size, kind.stride, kind.padding))
    return behind[1:]


@by_pointer
def max_sink(arrays: tuple[Array, ...], image: Image, window: Window, pitch: int, record: int, patch: Array) -> None:
    """The piece's maximum; nothing else is stored. arrays: maxima (pieces, F)."""
    (maxima,) = arrays[:1]
    padded = lanes_up(image.channels)
    best = load(patch, 0)
    for p in range(window.rows):
        for q in range(window.columns):
            value = load(patch, (p * pitch + q) * LANES)
            best = where_greater(value, best, value, best)
    store(maxima, record * padded + window.channel, best)


@by_pointer
def maximum_kernel(arrays: tuple[Array, ...], numbers: Array, table: Array, scratch: Array, worker: int) -> None:
    """y[n, f] = relu of the maximum over the pieces of image n. arrays: maxima (pieces, F up to whole vectors), y.

    numbers: N, F, F up to whole vectors, and for each image its first piece, then how many pieces there are.
    """
    maxima, y = arrays[:2]
    N, F, padded = unpack(numbers, 3)
    firsts = numbers[3:]
    for n in range(N):
        for f in range(0, padded, LANES):
            best = load(maxima, firsts[n] * padded + f)
            for piece in range(firsts[n] + 1, firsts[n + 1]):
                value = load(maxima, piece * padded + f)
                best = where_greater(value, best, value, best)
            store(maxima, f, relu(best))
            for lane in range(min(LANES, F - f)):
                y[n * F + f + lane] = maxima[f + lane]
