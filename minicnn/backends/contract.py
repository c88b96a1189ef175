"""The types that fused operations hand to each other; see THE CONTRACT in `minicnn.backends`."""

from typing import Any, NamedTuple

import numpy as np

from minicnn.plain import Array, Pair

MEAN, SCALE, SHIFT, C1, C2 = range(5)  # rows of `Stored.coefficients`


class Norm(NamedTuple):
    """What batch normalisation does to a channel: all arrays (C,), mean and var None where the batch decides."""

    weight: Any
    bias: Any
    mean: Any
    var: Any
    eps: float


class Block(NamedTuple):
    """What a block of convolution, batchnorm and relu computes with: weight (F, C, KH, KW), bias (F,) or None."""

    weight: Any
    bias: Any
    norm: Norm
    stride: Pair
    padding: Pair


class Activation(NamedTuple):
    """A block's output before batchnorm and relu, and what they are to do to it: relu(norm(y)), or relu(y) alone.

    y is in the backend's own layout; only its operations look inside.
    """

    y: Any
    norm: Norm | None
    from_batch: bool  # mean and var were taken from this batch, and so depend on y


class Stored(NamedTuple):
    """The y of an activation on a compiled backend: the raw output, the coefficients (5, F) of its channels, F, and
    whose pixels they are. With z = scale * (y - mean) + shift, the activation is relu(z), and its backward pass

        dy = scale * g - c1 - c2 * (y - mean)          g the gradient at z
    """

    raw: Array
    coefficients: Array
    filters: int
    sizes: Array  # (N, 2)
    mixed: bool  # whether they came as `Images`

    @property
    def shape(self) -> tuple[int | tuple[int, ...], ...]:
        """(N, F, OH, OW), as of the array or `Images` that it stands for."""
        heights, widths = self.sizes.T.tolist()
        size = (tuple(heights), tuple(widths)) if self.mixed else (heights[0], widths[0])
        return len(self.sizes), self.filters, *size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.raw.dtype


class Gradient(NamedTuple):
    """The gradient g at z on a compiled backend, and the sums of g and of g * (y - mean) of each channel, (F,).

    g is like `Stored.raw`. On `cpu` it is None where g comes from a global maximum, and peaks is what is not 0 of it.
    """

    g: Any
    sum_g: Array
    sum_g_distance: Array
    peaks: Array | None = None
