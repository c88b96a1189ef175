"""The convolution of a block: what it reads, by which algorithm, and how what it makes is written."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from minicnn.backends.contract import MEAN, SCALE, SHIFT, Activation, Stored
from minicnn.backends.cpu.conv import choose_algorithm, output_sizes, planes_reading
from minicnn.backends.cpu.convolution import winograd
from minicnn.backends.cpu.convolution.patches import (
    Image,
    Window,
    clear_outside,
    four,
    lanes_up,
    nchw_source,
    plane_source,
)
from minicnn.backends.cpu.convolution.pieces import View
from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.convolution.vectors import fma, load, relu, store
from minicnn.backends.cpu.fused.places import place_of
from minicnn.backends.cpu.runtime.jit import by_pointer
from minicnn.images import Images
from minicnn.plain import Array, Pair


class Convolution(NamedTuple):
    """The convolution of a block, planned, so that the arrays that it writes can be made."""

    algorithm: ModuleType
    plan: Any  # of the algorithm
    x: View
    weight: Array
    sizes: Array  # (N, 2) of the output
    padded: int  # the filters up to whole vectors

    def run(self, bias: Array | None, sink: Callable[..., None], *arrays: Array) -> None:
        """Write the output through `sink` into its arrays."""
        y = View(sink, four(*arrays), len(self.weight), self.sizes, self.padded)
        self.algorithm.run(self.plan, as_read_by(self.algorithm, self.x), y, self.weight, bias)


def planned(below: Any, weight: Array, stride: Pair, padding: Pair) -> Convolution:
    x, kernel_size = reading(below), weight.shape[2:]
    sizes = output_sizes(x.sizes, kernel_size, stride, padding)
    algorithm = choose_algorithm(x.channels, kernel_size, stride, padding, weight)
    plan = algorithm.plan_forward(kernel_size, stride, padding, x.channels, x.sizes, sizes, weight.dtype.itemsize)
    return Convolution(algorithm, plan, x, weight, sizes, lanes_up(len(weight)))


def is_mixed(below: Any) -> bool:
    """Whether the images, which may have been those of a block further below, came as `Images`."""
    return bool(below.y.mixed) if isinstance(below, Activation) else isinstance(below, Images)


def reading(below: Any) -> View:
    """How to read `below`: images as they are, an activation through batchnorm and relu."""
    if not isinstance(below, Activation):
        return planes_reading(below)
    arrays = (below.y.raw, below.y.coefficients)
    return pixels_of(activation_source, arrays, below.y, bounded=below.from_batch)


def as_read_by(algorithm: ModuleType, batch: View) -> View:
    """Winograd's kernels read lanes of channels, never planes."""
    if algorithm is winograd and batch.access is plane_source:
        return batch._replace(access=nchw_source)
    return batch


def pixels_of(
    access: Callable[..., None], arrays: tuple[Array | None, ...], stored: Stored, bounded: bool = False
) -> View:
    """The pixels of `stored` through a source or a sink of this folder.

    What batchnorm made of a batch by its own statistics is bounded: of n pixels none is more than sqrt(n) standard
    deviations from the mean, a gradient spreads to all pixels, and so do NaN and infinity.
    """
    return View(access, four(*arrays), stored.filters, stored.sizes, stored.raw.shape[1], bounded)


@by_pointer
def activation_source(arrays: tuple[Array, ...], image: Image, window: Window, patch: Array) -> None:
    """patch = relu(scale * (y - mean) + shift). arrays: y, coefficients."""
    y, coefficients = arrays[:2]
    pitch = lanes_up(image.channels)
    c = window.channel
    mean, scale = load(coefficients, MEAN * pitch + c), load(coefficients, SCALE * pitch + c)
    shift = load(coefficients, SHIFT * pitch + c)
    top, bottom, low, high = clear_outside(image, window, LANES, patch)
    for r in range(top, bottom):
        patch_at = r * window.columns * LANES
        y_at = place_of(image, c, window.row + r, window.column)
        for s in range(low, high):
            z = fma(load(y, y_at + s * LANES) - mean, scale, shift)
            store(patch, patch_at + s * LANES, relu(z))
