"""The two types that fused operations hand to each other; see THE CONTRACT in `minicnn.backends`."""

from typing import Any, NamedTuple


class Norm(NamedTuple):
    """What batch normalisation does to a channel: all arrays (C,), mean and var None where the batch decides."""

    weight: Any
    bias: Any
    mean: Any
    var: Any
    eps: float


class Activation(NamedTuple):
    """A block's output before batchnorm and relu, and what they are to do to it: relu(norm(y)), or relu(y) alone.

    y is in the backend's own layout; only its operations look inside.
    """

    y: Any
    norm: Norm | None
    from_batch: bool  # mean and var were taken from this batch, and so depend on y
