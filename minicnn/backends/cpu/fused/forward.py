"""A block in training: y is stored, and the sums behind mean and var are taken."""

from contextlib import nullcontext
from typing import Any

import numpy as np

from minicnn.backends.contract import Activation, Norm, Stored
from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.batches import sizes_table
from minicnn.backends.cpu.convolution.patches import Image, Window, lanes_up
from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.convolution.vectors import fill, fma, load, store
from minicnn.backends.cpu.fused.block import is_mixed, planned
from minicnn.backends.cpu.fused.channels import (
    DISTANCE,
    MOMENTS,
    PIECE_MEAN,
    PIXELS,
    SQUARES,
    coefficients_of,
    join_moments,
)
from minicnn.backends.cpu.fused.places import place_of
from minicnn.backends.cpu.runtime import helper
from minicnn.backends.cpu.runtime.jit import by_pointer
from minicnn.backends.cpu.runtime.memory import empty
from minicnn.plain import Array, Pair


@guarded
def fused_conv_forward(
    below: Any, weight: Array, bias: Array | None, norm: Norm, stride: Pair, padding: Pair
) -> Activation:
    """One block forward. Where `norm.mean` is None, mean and var are taken from the batch."""
    from_batch = norm.mean is None
    begins = from_batch and not isinstance(below, Activation)
    with helper.begun(lambda: _training_step(below, weight)) if begins else nullcontext():
        convolution = planned(below, weight, stride, padding)
        pieces, padded = convolution.plan.pieces, convolution.padded
        raw = empty((convolution.plan.layout.pixels, padded), weight.dtype)
        if from_batch:
            moments = np.empty((pieces, MOMENTS, padded), weight.dtype)
            convolution.run(bias, moments_sink, raw, moments)
            mean, var = np.empty((2, len(weight)))
            join_moments(moments, mean, var)
            norm = norm._replace(mean=mean, var=var)
        else:
            convolution.run(bias, store_sink, raw)
        stored = Stored(raw, coefficients_of(norm, raw), len(weight), convolution.sizes, is_mixed(below))
        return Activation(stored, norm, from_batch)


@guarded
def fused_renormalised(activation: Activation, norm: Norm) -> Activation:
    """The activation with another norm: y stays, and its coefficients are made anew."""
    stored = activation.y
    return activation._replace(y=stored._replace(coefficients=coefficients_of(norm, stored.raw)), norm=norm)


def _training_step(x: Any, weight: Array) -> dict[str, Any]:
    """What tells the helper of the step that begins with this block: where its kernels are missing, others are."""
    height, width = sizes_table(x).max(axis=0, initial=0).tolist()
    # Larger batches need no other kernels.
    blocks = min(len(x), 32), x.shape[1], min(height, 64), min(width, 64), len(weight)
    return {"dtype": x.dtype.name, "blocks": blocks}


@by_pointer
def store_sink(arrays: tuple[Array, ...], image: Image, window: Window, pitch: int, record: int, patch: Array) -> None:
    """y = patch. arrays: y."""
    (y,) = arrays[:1]
    for p in range(window.rows):
        y_at = place_of(image, window.channel, window.row + p, window.column)
        for q in range(window.columns):
            store(y, y_at + q * LANES, load(patch, (p * pitch + q) * LANES))


@by_pointer
def moments_sink(
    arrays: tuple[Array, ...], image: Image, window: Window, pitch: int, record: int, patch: Array
) -> None:
    """y = patch, and the piece's moments about its own mean, see `join_moments`. arrays: y, records.

    Two passes over the patch, which is in the cache: a variance from sums about anything but the mean loses digits.
    """
    y, records = arrays[:2]
    padded = lanes_up(image.channels)
    first, total = load(patch, 0), fill(y, 0.0)
    for p in range(window.rows):
        y_at = place_of(image, window.channel, window.row + p, window.column)
        for q in range(window.columns):
            value = load(patch, (p * pitch + q) * LANES)
            store(y, y_at + q * LANES, value)
            total = total + (value - first)
    count = window.rows * window.columns
    mean = fma(total, fill(y, 1 / count), first)

    distances, squares = fill(y, 0.0), fill(y, 0.0)
    for p in range(window.rows):
        for q in range(window.columns):
            distance = load(patch, (p * pitch + q) * LANES) - mean
            distances = distances + distance
            squares = fma(distance, distance, squares)
    at = record * MOMENTS * padded + window.channel
    store(records, at + PIECE_MEAN * padded, mean)
    store(records, at + DISTANCE * padded, distances)
    store(records, at + SQUARES * padded, squares)
    store(records, at + PIXELS * padded, fill(y, count))
