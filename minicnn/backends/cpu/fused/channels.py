"""The numbers of the channels: coefficients, and what the sinks summed for each piece, joined in float64."""

from functools import lru_cache
from typing import Any

import numpy as np

from minicnn.backends.contract import C2, MEAN, SCALE, SHIFT, Activation, Norm
from minicnn.backends.cpu.runtime.jit import serial
from minicnn.plain import Array

# Of a piece's values about their own mean m: m itself, sum of (y - m), which is its rounding error, sum of (y - m)²,
# and how many there are.
PIECE_MEAN, DISTANCE, SQUARES, PIXELS = range(4)
MOMENTS = 4
# Of a piece's gradient: sum of g, and of g * (y - mean).
SUM_G, SUM_G_DISTANCE = range(2)
GRADIENT_SUMS = 2


@serial
def join_moments(records: Array, mean: Array, var: Array) -> None:
    """Fill mean and var (F,), float64, from the pieces' moments (Chan et al., 1979).

    records (pieces, MOMENTS, F up to whole vectors).
    """
    pieces = len(records)
    for f in range(mean.size):
        count, total = 0.0, 0.0
        for piece in range(pieces):
            m, distance = records[piece, PIECE_MEAN, f], records[piece, DISTANCE, f]
            n = np.float64(records[piece, PIXELS, f])
            count += n
            total += distance + n * m
        mean[f] = total / count
        squares = 0.0
        for piece in range(pieces):
            m, distance = records[piece, PIECE_MEAN, f], np.float64(records[piece, DISTANCE, f])
            n = np.float64(records[piece, PIXELS, f])
            offset = m + distance / n - mean[f]
            squares += records[piece, SQUARES, f] - distance * distance / n + n * offset * offset
        var[f] = squares / count


def joined_sums(sums: Array, activation: Activation) -> tuple[Array, Array]:
    """Sums of g and g * (y - mean), (F,), from those of the pieces (pieces, 2, F up to whole vectors)."""
    stored, norm, _ = activation
    assert norm is not None  # but in evaluation, which has no backward pass
    of_g, of_g_distance = joined = np.empty((2, stored.filters))
    _add_up(sums, joined)
    rounded_off = norm.mean - stored.coefficients[MEAN, : stored.filters]
    return of_g, of_g_distance - rounded_off * of_g


@serial
def _add_up(sums: Array, joined: Array) -> None:
    """joined (2, F), float64, = sums (pieces, 2, F up to whole vectors) added up over the pieces."""
    for row in range(2):
        for f in range(joined.shape[1]):
            joined[row, f] = 0
    for piece in range(len(sums)):
        for row in range(2):
            for f in range(joined.shape[1]):
                joined[row, f] += sums[piece, row, f]


def coefficients_of(norm: Norm, raw: Array) -> Array:
    """(5, F up to whole vectors): mean, scale and shift, and 0 for c1 and c2, which the backward pass fills in."""
    filters = len(norm.weight)
    coefficients = np.zeros((C2 + 1, raw.shape[1]), raw.dtype)
    scale = norm.weight / np.sqrt(np.asarray(norm.var, np.float64) + norm.eps)
    coefficients[MEAN, :filters] = norm.mean
    rounded_off = norm.mean - coefficients[MEAN, :filters].astype(np.float64)
    coefficients[SCALE, :filters] = scale
    coefficients[SHIFT, :filters] = norm.bias - scale * rounded_off
    return coefficients


@lru_cache(maxsize=64)
def relu_coefficients(padded: int, dtype: np.dtype[Any]) -> Array:
    """The coefficients of an activation that needs no more than relu; kept, so not to be written to."""
    coefficients = np.zeros((C2 + 1, padded), dtype)
    coefficients[SCALE] = 1
    return coefficients
