"""A block in evaluation: batchnorm is folded into the convolution."""

from typing import Any

import numpy as np

from minicnn.backends.contract import Activation, Norm, Stored
from minicnn.backends.cpu.arrays import guarded
from minicnn.backends.cpu.convolution.patches import Image, Window, lanes_up
from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.convolution.vectors import load, store, where_greater
from minicnn.backends.cpu.fused.block import is_mixed, planned
from minicnn.backends.cpu.fused.channels import relu_coefficients
from minicnn.backends.cpu.fused.forward import store_sink
from minicnn.backends.cpu.runtime.jit import by_pointer
from minicnn.backends.cpu.runtime.memory import empty
from minicnn.plain import Array, Pair


@guarded
def fused_conv_predict(
    below: Any, weight: Array, bias: Array | None, norm: Norm, stride: Pair, padding: Pair
) -> Activation:
    """One block in evaluation: batchnorm is folded into the convolution, and only relu is left for the reader."""
    weight, bias = _folded(weight, bias, norm)
    convolution = planned(below, weight, stride, padding)
    raw = empty((convolution.plan.layout.pixels, convolution.padded), weight.dtype)
    convolution.run(bias, store_sink, raw)
    coefficients = relu_coefficients(convolution.padded, weight.dtype)
    stored = Stored(raw, coefficients, len(weight), convolution.sizes, is_mixed(below))
    return Activation(stored, None, from_batch=False)


@guarded
def fused_conv_predict_max(
    below: Any, weight: Array, bias: Array | None, norm: Norm, stride: Pair, padding: Pair
) -> Array:
    """One block in evaluation, and the global maximum of its output, (N, F). The output itself is never stored."""
    weight, bias = _folded(weight, bias, norm)
    convolution = planned(below, weight, stride, padding)
    maxima = np.empty((convolution.plan.pieces, convolution.padded), weight.dtype)
    convolution.run(bias, max_sink, maxima)
    first_of_image = convolution.plan.layout.first_of_image
    largest: Array = np.maximum.reduceat(maxima, first_of_image)[:, : len(weight)]
    return np.maximum(largest, 0)


def _folded(weight: Array, bias: Array | None, norm: Norm) -> tuple[Array, Array]:
    """Weight and bias of the one convolution that does what convolution and batchnorm do: W' = scale * W."""
    scale = (norm.weight / np.sqrt(norm.var + norm.eps)).astype(weight.dtype)
    shift = norm.bias - scale * norm.mean
    return weight * scale[:, None, None, None], shift if bias is None else scale * bias + shift


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
