"""Convolution, batchnorm and relu as one block: what a convolution does as it reads and as it writes.

An activation is stored as the convolution's raw output y, with five numbers for each channel, the *coefficients*. With
scale = weight / sqrt(var + eps) of batchnorm:

    forward     a = relu(z),  z = scale * (y - mean) + shift         by the next convolution, as it reads y
    backward    g = da where z > 0, else 0                           by the next one's input gradient, as it writes
                dy = scale * g - c1 - c2 * (y - mean)                by this one's two gradients, as they read g
                c1 = scale * mean(g),  c2 = scale * mean(g * (y - mean)) / (var + eps)

The sums behind mean, var, c1 and c2 are taken while a tile is still in registers (`convolution`, the sinks MOMENTS
and MASKED), and the tiles' sums are joined in the order of the tiles, by `moments`: the same bits in every run.

The kernels are those of `convolution`, and beside it of `coefficients` (for each channel) and `planes` (over pixels).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.backends.chain import chained
from minicnn.backends.contract import Activation, Block, Gradient, Norm, Stored
from minicnn.backends.cuda import planes
from minicnn.backends.cuda.arrays import asarray, guarded
from minicnn.backends.cuda.batches import flat
from minicnn.backends.cuda.coefficients import backward_coefficients, coefficients_of, folded, relu_alone
from minicnn.backends.cuda.conv import output_sizes, reading
from minicnn.backends.cuda.convolution import passes
from minicnn.backends.cuda.convolution.plan import count_pixels
from minicnn.backends.cuda.convolution.sides import ACTIVATION, GRADIENT, MASKED, MOMENTS, PLAIN, Sink, Source
from minicnn.backends.cuda.elementwise import real_of
from minicnn.backends.cuda.moments import Records, added, merged_moments
from minicnn.backends.cuda.runtime.device_array import empty, launch
from minicnn.backends.cuda.tiles import THREADS
from minicnn.images import Batch, Images
from minicnn.plain import Array, Pair

# The operations.


@guarded
def fused_conv_forward(
    below: Any, weight: Array, bias: Array | None, norm: Norm, stride: Pair, padding: Pair
) -> Activation:
    """One block forward. Where `norm.mean` is None, mean and var are taken from the batch."""
    from_batch = norm.mean is None
    written, records = _convolve(below, weight, bias, stride, padding, MOMENTS if from_batch else PLAIN)
    if records is not None:
        mean, var = merged_moments(records)
        norm = norm._replace(mean=mean, var=var)
    return Activation(_stored(written, coefficients_of(norm), below), norm, from_batch)


@guarded
def fused_renormalised(activation: Activation, norm: Norm) -> Activation:
    """The activation with another norm: y stays, and its coefficients are made anew."""
    return activation._replace(y=activation.y._replace(coefficients=coefficients_of(norm)), norm=norm)


@guarded
def fused_predict(x: Batch, blocks: Sequence[Block], to_maximum: bool) -> Any:
    """Blocks in evaluation: the last activation, or its global maximum, (N, F). Batchnorm is folded into the
    convolution, and only relu is left for the reader."""
    below: Any = x
    for weight, bias, norm, stride, padding in chained(x, blocks, asarray):
        written, _ = _convolve(below, *folded(weight, bias, norm), stride, padding, PLAIN)
        stored = _stored(written, relu_alone(len(weight), weight.dtype), below)
        below = Activation(stored, None, from_batch=False)
    return fused_max(below)[0] if to_maximum else fused_output(below)


@guarded
def fused_output(activation: Activation) -> Array | Images:
    """The activation as an ordinary batch, (N, F, OH, OW) or `Images`."""
    stored = activation.y
    y = empty(stored.raw.size, stored.raw.dtype)
    arguments = stored.raw, stored.coefficients, planes.table_of(stored), y, stored.filters
    launch(planes.activate(real_of(y)), planes.planes_of(stored), THREADS, *arguments)
    batch = Images.of(y, stored.filters, stored.sizes)
    return batch if stored.mixed else batch.as_array()


@guarded
def fused_output_backward(da: Array | Images, activation: Activation) -> Gradient:
    """g from the gradient of `fused_output`."""
    stored = activation.y
    blocks = planes.planes_of(stored)
    g = empty(stored.raw.size, stored.raw.dtype)
    records = empty((len(stored.sizes) * blocks[1], stored.filters, 2), g.dtype)
    arguments = flat(da), stored.raw, stored.coefficients, planes.table_of(stored), g, records, stored.filters
    launch(planes.mask(real_of(g)), blocks, THREADS, *arguments)
    return Gradient(g, *added(records))


@guarded
def fused_max(activation: Activation) -> tuple[Array, Array]:
    """The largest value of each channel, (N, F), and the pixel of each image where it is, (N, F) int32."""
    stored = activation.y
    y = empty((len(stored.sizes), stored.filters), stored.raw.dtype)
    peaks = empty(y.shape, np.int32)
    arguments = stored.raw, stored.coefficients, planes.table_of(stored), y, peaks, stored.filters
    launch(planes.peak(real_of(y)), y.size, THREADS, *arguments)
    return y, peaks


@guarded
def fused_max_backward(dy: Array, peaks: Array, activation: Activation) -> Gradient:
    """g from the gradient of `fused_max`: dy at the peaks, if relu let them through, and 0 elsewhere."""
    stored = activation.y
    g = empty(stored.raw.size, dy.dtype)
    records = empty((len(stored.sizes), stored.filters, 2), g.dtype)
    arguments = dy, peaks, stored.raw, stored.coefficients, planes.table_of(stored), g, records, stored.filters
    launch(planes.peak_gradient(real_of(g)), planes.planes_of(stored), THREADS, *arguments)
    return Gradient(g, *added(records))


@guarded
def fused_conv_backward(
    gradient: Gradient, activation: Activation, below: Any, weight: Array, stride: Pair, padding: Pair, need_below: bool
) -> tuple[tuple[Array, Array], tuple[Array, Array], Any]:
    """One block backward: (dweight, dbias) of the convolution, (dweight, dbias) of batchnorm, and what is below's.

    The last is the gradient for the next call where `below` is an activation, dx where it is the images, and
    None unless asked for.
    """
    stored, norm, from_batch = activation
    assert norm is not None  # only `fused_predict` leaves it out, and from there no way leads back
    coefficients, dbias, d_norm_weight = backward_coefficients(gradient, stored, norm, from_batch)
    dy, x = Source(gradient.g, stored.filters, stored.sizes, GRADIENT, stored.raw, coefficients), _reading(below)
    dweight = passes.weight_gradient(x, dy, weight.shape[2:], stride, padding, weight.dtype)
    gradient_below = _gradient_below(dy, weight, x, below, stride, padding) if need_below else None
    return (dweight, dbias), (d_norm_weight, gradient.sum_g), gradient_below


# What they are made of.


def _reading(below: Any) -> Source:
    """An activation, or images, as the source of a pass."""
    if not isinstance(below, Activation):
        return reading(below)
    stored = below.y
    return Source(stored.raw, stored.filters, stored.sizes, ACTIVATION, coefficients=stored.coefficients)


def _convolve(
    below: Any, weight: Array, bias: Array | None, stride: Pair, padding: Pair, kind: int
) -> tuple[Sink, Records | None]:
    """The sink with what a convolution made of `below`, and its records."""
    source = _reading(below)
    sizes = output_sizes(source.sizes, weight.shape[2:], stride, padding)
    sink = Sink(empty(len(weight) * count_pixels(sizes), weight.dtype), len(weight), sizes, kind)
    return sink, passes.forward(source, weight, bias, sink, stride, padding)


def _stored(written: Sink, coefficients: Array, below: Any) -> Stored:
    mixed = below.y.mixed if isinstance(below, Activation) else isinstance(below, Images)
    return Stored(written.y, coefficients, written.channels, written.sizes, mixed)


def _gradient_below(
    dy: Source, weight: Array, x: Source, below: Any, stride: Pair, padding: Pair
) -> Gradient | Images | Array:
    """The gradient where `below` is an activation, dx like it where it is the images; x is how it is read."""
    sink = Sink(empty(x.channels * count_pixels(x.sizes), weight.dtype), x.channels, x.sizes)
    if isinstance(below, Activation):
        sink = sink._replace(kind=MASKED, raw=x.x, coefficients=x.coefficients)
    records = passes.input_gradient(dy, weight, sink, stride, padding)
    if records is not None:
        return Gradient(sink.y, *added(records.pairs))
    images = Images.of(sink.y, x.channels, x.sizes)
    return images if isinstance(below, Images) else images.as_array()
