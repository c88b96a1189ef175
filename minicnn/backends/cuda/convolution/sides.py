"""What a pass of a convolution reads and writes, and what it does to numbers on the way; see `convolution`."""

from typing import NamedTuple

from minicnn.plain import Array

PLAIN, ACTIVATION, GRADIENT, MOMENTS, MASKED = range(5)  # kinds of sources and sinks


class Source(NamedTuple):
    """Pixels of `channels` channels: x, and for kinds that need them y and the coefficients (5, channels)."""

    x: Array
    channels: int
    sizes: Array  # (N, 2)
    kind: int = PLAIN
    raw: Array | None = None
    coefficients: Array | None = None


class Sink(NamedTuple):
    """Pixels that are written: y, and for kinds that need them the raw output and coefficients of what lies there."""

    y: Array
    channels: int
    sizes: Array  # (N, 2)
    kind: int = PLAIN
    raw: Array | None = None
    coefficients: Array | None = None
