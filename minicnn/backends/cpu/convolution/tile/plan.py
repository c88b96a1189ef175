"""How the output is cut into pieces, from sizes only, and which taps of the kernel its pixels meet."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np

from minicnn.backends.cpu.convolution.patches import lanes_up
from minicnn.backends.cpu.convolution.pieces import Layout, cut, one_to_a_block, sizes_from
from minicnn.plain import Array, Pair

PIXELS = 512  # output pixels in a piece
PATCH_BYTES = 256 * 1024  # what the padded patch of the input may take

Taps: TypeAlias = tuple[Pair, ...]  # along one axis: (index into the kernel, offset in the patch)


class Plan(NamedTuple):
    """How a batch is cut, and for each axis the phases with their taps.

    out_step pixels of the output lie between neighbours of a phase, and their patch pixels patch_step apart.
    """

    layout: Layout
    pixels: int  # in the largest piece
    patch_size: int
    out_step: Pair
    patch_step: Pair
    taps: tuple[tuple[Taps, ...], ...]  # taps[axis][phase]
    first: tuple[int, ...]  # the least and the greatest offset of each axis
    last: tuple[int, ...]
    flip: bool  # the input gradient: filters and channels exchanged

    @property
    def pieces(self) -> int:
        """How many pieces a sink or a source of a gradient meets."""
        return len(self.layout.pieces)


def plan_forward(
    kernel_size: Pair, stride: Pair, padding: Pair, inputs: int, x_sizes: Array, y_sizes: Array, number_bytes: int
) -> Plan:
    """How to convolve images of x_sizes (N, 2) into y_sizes, `inputs` channels of numbers of so many bytes.

    Every output pixel meets all taps: one phase.
    """
    taps = forward_taps(kernel_size, padding)
    return _plan((1, 1), stride, taps, False, inputs, x_sizes.tobytes(), y_sizes.tobytes(), number_bytes)


def forward_taps(kernel_size: Pair, padding: Pair) -> tuple[tuple[Taps, ...], ...]:
    """The taps of each axis, of one phase."""
    return tuple(
        (tuple((i, i - pad) for i in range(kernel)),) for kernel, pad in zip(kernel_size, padding, strict=True)
    )


def plan_input_gradient(
    kernel_size: Pair, stride: Pair, padding: Pair, inputs: int, dy_sizes: Array, dx_sizes: Array, number_bytes: int
) -> Plan:
    """The same for the convolution from dy to dx; `inputs` are the filters.

    Pixel r of dx meets those taps i for which r + ph - i divides by the stride: a phase for each remainder.
    """

    def phases(kernel: int, step: int, pad: int) -> tuple[Taps, ...]:
        meets = [[i for i in range(kernel) if (a + pad - i) % step == 0] for a in range(step)]
        return tuple(tuple((i, (a + pad - i) // step) for i in taps) for a, taps in enumerate(meets))

    taps = tuple(map(phases, kernel_size, stride, padding))
    return _plan(stride, (1, 1), taps, True, inputs, dy_sizes.tobytes(), dx_sizes.tobytes(), number_bytes)


@lru_cache(maxsize=64)
def _plan(
    out_step: Pair,
    patch_step: Pair,
    taps: tuple[tuple[Taps, ...], ...],
    flip: bool,
    channels: int,
    x_bytes: bytes,
    y_bytes: bytes,
    number_bytes: int,
) -> Plan:
    x_sizes, y_sizes = sizes_from(x_bytes), sizes_from(y_bytes)
    offsets = [[offset for phase in axis for _, offset in phase] or [0] for axis in taps]
    first, last = tuple(map(min, offsets)), tuple(map(max, offsets))

    def patch_size(piece: Pair) -> int:
        high, wide = (
            (-(-size // unit) - 1) * step + high - low + 1
            for size, unit, step, low, high in zip(piece, out_step, patch_step, first, last, strict=True)
        )
        return lanes_up(channels) * high * wide

    sizes: list[Pair] = [(height, width) for height, width in y_sizes.tolist()]
    cuts = {size: _cut(size, out_step, lambda piece: patch_size(piece) * number_bytes) for size in set(sizes)}
    layout = one_to_a_block(cut(x_sizes, y_sizes, np.array([cuts[size] for size in sizes])))
    pixels, patch = max(h * w for h, w in cuts.values()), max(map(patch_size, cuts.values()))
    return Plan(layout, pixels, patch, out_step, patch_step, taps, first, last, flip)


def _cut(out_size: Pair, unit: Pair, patch_bytes: Callable[[Pair], int]) -> Pair:
    """A piece of at most PIXELS output pixels, its sides multiples of `unit`, whose patch takes PATCH_BYTES if it can.

    Halves the height first: long rows are read and written faster.
    """

    def share(size: int, most: int, unit: int) -> int:
        parts = math.ceil(size / max(unit, most))
        return math.ceil(math.ceil(size / parts) / unit) * unit

    width = share(out_size[1], 64, unit[1])
    height = share(out_size[0], max(1, PIXELS // width), unit[0])
    while patch_bytes((height, width)) > PATCH_BYTES and (height > unit[0] or width > 8 * unit[1]):
        if height > unit[0]:
            height = max(unit[0], height // 2 // unit[0] * unit[0])
        else:
            width = max(8 * unit[1], width // 2 // unit[1] * unit[1])
    return height, width
