"""Convolution: which rung of the ladder does it. The work is in `minicnn.backends.cpu.convolution`, read that first.

    y[n, f, p, q] = bias[f] + sum over c, i, j of  weight[f, c, i, j] * x[n, c, p * sh - ph + i, q * sw - pw + j]

Winograd's kernels for stride 1, a kernel of at least about 3 × 3 and enough channels to sum over; a matrix product for
1 × 1 kernels, but for their weight gradient and, with a stride, their input gradient; the register tile for all else.

Cost: see the rungs. Outputs come from the pool of `memory`.
"""

from functools import lru_cache
from types import ModuleType

import numpy as np

from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.batches import empty_batch, flat, sizes_table
from minicnn.backends.cpu.convolution import matrix, plain, tile, winograd
from minicnn.backends.cpu.convolution.patches import four, nchw_sink, nchw_source, plane_source
from minicnn.backends.cpu.convolution.pieces import View, sizes_from
from minicnn.geometry import output_size
from minicnn.images import Batch, Images
from minicnn.plain import Array, Pair, Sizes


@guarded
def conv2d_forward(x: Batch, weight: Array, bias: Array | None, stride: Pair, padding: Pair) -> Batch:
    if matrix.supports(weight.shape[2:], padding):
        y = empty_batch(x, len(weight), output_sizes(sizes_table(x), (1, 1), stride, padding), x.dtype)
        matrix.run(planes_reading(x), _writing(y), weight[:, :, 0, 0], bias, stride)
        return y
    algorithm = choose_algorithm(x.shape[1], weight.shape[2:], stride, padding, weight)
    return convolve(algorithm, x, weight, bias, stride, padding)


@guarded
def conv2d_input_gradient(dy: Batch, weight: Array, input_size: Sizes, stride: Pair, padding: Pair) -> Batch:
    dx = empty_batch(dy, weight.shape[1], input_size, dy.dtype)
    if matrix.supports(weight.shape[2:], padding) and stride == (1, 1):
        matrix.run(planes_reading(dy), _writing(dx), np.ascontiguousarray(weight[:, :, 0, 0].T), None, stride)
        return dx
    algorithm = choose_algorithm(dy.shape[1], weight.shape[2:], stride, padding, weight)
    if algorithm is tile and not np.isfinite(weight).all():
        return _input_gradient_by_definition(dy, weight, stride, padding, dx)
    return convolve_back(algorithm, reading(dy, algorithm), weight, dx, stride, padding)


def _input_gradient_by_definition(dy: Batch, weight: Array, stride: Pair, padding: Pair, dx: Batch) -> Batch:
    """Fill dx by the first rung: the tile surrounds dy with zeros, and infinity times such a zero would be NaN."""
    for dy_image, dx_image in zip(dy, dx, strict=True):
        dx_image[:] = plain.input_gradient(dy_image[None], weight, dx_image.shape[1:], stride, padding)[0]
    return dx


@guarded
def conv2d_weight_gradient(dy: Batch, x: Batch, kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
    algorithm = choose_algorithm(x.shape[1], kernel_size, stride, padding)
    return algorithm.run_weight_gradient(
        reading(x, algorithm), lanes_reading(dy), kernel_size, stride, padding, dtype=x.dtype
    )


@guarded
def conv2d_bias_gradient(dy: Array | Images) -> Array:
    """The bias is added to every output of its filter, so its gradient is their sum.

    NumPy adds up the pixels of an image in pairs, and what one image after the other gives in a row: that in float64.
    """
    if isinstance(dy, Images):
        return sum(image.sum(axis=(1, 2)).astype(np.float64) for image in dy).astype(dy.dtype)
    return dy.sum(axis=(2, 3)).sum(axis=0, dtype=np.float64).astype(dy.dtype)


def choose_algorithm(
    inputs: int, kernel_size: Pair, stride: Pair, padding: Pair, weight: Array | None = None
) -> ModuleType:
    """The module that does this convolution; `inputs` is the number of channels summed over. A weight gradient has
    no weight."""
    return winograd if winograd.supports(inputs, kernel_size, stride, padding, weight) else tile


def convolve(algorithm: ModuleType, x: Batch, weight: Array, bias: Array | None, stride: Pair, padding: Pair) -> Batch:
    """conv2d_forward by the kernels of `algorithm`."""
    batch, kernel_size = reading(x, algorithm), weight.shape[2:]
    y = empty_batch(x, len(weight), output_sizes(batch.sizes, kernel_size, stride, padding), x.dtype)
    target = _writing(y)
    plan = algorithm.plan_forward(
        kernel_size, stride, padding, batch.channels, batch.sizes, target.sizes, x.dtype.itemsize
    )
    algorithm.run(plan, batch, target, weight, bias)
    return y


def convolve_back(algorithm: ModuleType, dy: View, weight: Array, dx: Batch, stride: Pair, padding: Pair) -> Batch:
    """Fill dx, an array or `Images`, from the gradient that the `View` dy reads. Returns dx."""
    target = _writing(dx)
    arguments = (dy.channels, dy.sizes, target.sizes, weight.itemsize)
    plan = algorithm.plan_input_gradient(weight.shape[2:], stride, padding, *arguments)
    algorithm.run(plan, dy, target, weight, None)
    return dx


def output_sizes(sizes: Array, kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
    """(N, 2) of the output for images of `sizes` (N, 2), not to be written to: it is kept, since batches are alike."""
    return _output_sizes(sizes.tobytes(), kernel_size, stride, padding)


@lru_cache(maxsize=256)
def _output_sizes(sizes: bytes, kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
    return output_size(sizes_from(sizes), np.array(kernel_size), np.array(stride), np.array(padding))


def reading(x: Array | Images, algorithm: ModuleType) -> View:
    """How an algorithm's kernels read (N, C, H, W) or `Images`: the tile by planes, Winograd's by lanes of channels."""
    return planes_reading(x) if algorithm is tile else lanes_reading(x)


def planes_reading(x: Array | Images) -> View:
    return View(plane_source, four(flat(x)), x.shape[1], sizes_table(x), x.shape[1])


def lanes_reading(x: Array | Images) -> View:
    return View(nchw_source, four(flat(x)), x.shape[1], sizes_table(x), x.shape[1])


def _writing(y: Array | Images) -> View:
    return View(nchw_sink, four(flat(y)), y.shape[1], sizes_table(y), y.shape[1])
