"""Pixels (C, P) side by side for the kernels of a convolution, what these should make of them, and their tiles."""

from unittest import mock

import numpy as np
import pytest

from minicnn import Images
from minicnn.backends.cuda.convolution import passes
from minicnn.backends.cuda.convolution.sides import ACTIVATION, GRADIENT, MASKED, MOMENTS, PLAIN
from minicnn.backends.cuda.runtime.device_array import from_host
from minicnn.backends.cuda.tiles import TILES
from minicnn.geometry import output_size
from tests import checks
from tests.cuda.host_device import host_device
from tests.cuda.operations import in_all_orders

KERNEL, STRIDE, PADDING = (3, 2), (2, 1), (1, 2)
CHANNELS, FILTERS = 5, 70  # in tiles of 16, 32 and 64 rows
SIZES = {"equal": [(17, 13)] * 4, "mixed": [(40, 9), (1, 1), (5, 31), (2, 3), (17, 13)]}
PARAMETRIZE_TILE = pytest.mark.parametrize("tile", TILES)
KINDS = {PLAIN: "plain", ACTIVATION: "activation", GRADIENT: "gradient", MOMENTS: "moments", MASKED: "masked"}
PARAMETRIZE_SIZES = pytest.mark.parametrize("sizes", SIZES)


def output_sizes(sizes):
    pairs = list(zip(KERNEL, STRIDE, PADDING, strict=True))
    return [tuple(output_size(n, *of_axis) for n, of_axis in zip(size, pairs, strict=True)) for size in sizes]


class Pixels:
    """Random pixels of some channels, what lies there as a raw output y, and a block's coefficients."""

    def __init__(self, channels, sizes, seed):
        rng = np.random.default_rng(seed)
        self.channels, self.sizes = channels, np.array(sizes)
        self.x, self.raw = rng.standard_normal((2, channels, self.sizes.prod(axis=1).sum())).astype(np.float32)
        self.coefficients = rng.standard_normal((5, channels)).astype(np.float32)

    def spoil(self, *bad):
        """Put such pixels into the last channel, far from one another."""
        places = np.arange(len(bad)) * (self.x.shape[1] // len(bad))
        self.x[-1, 40 + places] = bad

    def as_side(self, side, kind):
        """As a Source or Sink."""

        x, raw = (from_host(checks.cut_apart(pixels[None, :, None], self.sizes).data) for pixels in (self.x, self.raw))
        return side(x, self.channels, self.sizes, kind, raw, from_host(self.coefficients))

    def distance_and_z(self, y):
        mean, scale, shift, *_ = self.coefficients.astype(np.float64)[:, :, None]
        return y - mean, scale * (y - mean) + shift

    def read(self, kind):
        """What a pass reads, as Images in float64."""
        _, scale, _, c1, c2 = self.coefficients.astype(np.float64)[:, :, None]
        pixels = self.x.astype(np.float64)
        if kind == ACTIVATION:
            pixels = np.maximum(self.distance_and_z(pixels)[1], 0)
        if kind == GRADIENT:
            pixels = scale * pixels - c1 - c2 * self.distance_and_z(self.raw)[0]
        return checks.cut_apart(pixels[None, :, None], self.sizes)

    def written(self, kind, pixels, columns):
        """What a pass writes that has worked out `pixels`, and its records for each tile."""
        distance, z = self.distance_and_z(self.raw)
        if kind == MASKED:
            pixels = np.where(z > 0, pixels, 0)
        records = []
        for first in range(0, pixels.shape[1], columns):
            tile = pixels[:, first : first + columns]
            if kind == MOMENTS:
                mean = tile.mean(axis=1)
                records.append([mean, ((tile - mean[:, None]) ** 2).sum(axis=1)])
            elif kind == MASKED:
                records.append([tile.sum(axis=1), (tile * distance[:, first : first + columns]).sum(axis=1)])
        return [pixels, *([np.transpose(records, (0, 2, 1))] if records else [])]


def in_tile(tile, work):
    """work() of kernels with this tile, in all orders."""

    def in_order(order):
        with host_device(order), mock.patch.object(passes, "tile_for", return_value=tile):
            return work()

    return in_all_orders(in_order)


def assert_all_close(results, expected, what):
    for result, wanted in zip(results, expected, strict=True):
        checks.assert_close(result, wanted, np.float32, what)


def side_by_side(sink):
    """The pixels (C, P) that have been written to a sink."""
    return checks.side_by_side(Images.of(sink.y.numpy(), sink.channels, sink.sizes))[0, :, 0]
