"""The batch of the published SimpleNet program: random images with random labels."""

import numpy as np

from minicnn.plain import Array


def published_batch(rng: np.random.Generator | int | None = None) -> tuple[Array, Array]:
    """Images (10, 3, 32, 32) from a normal distribution and labels (10,) from 0 to 9, as (images, labels).

    There is nothing to learn in them but the ten labels by heart, which is what the published program does.

    Raises what `numpy.random.default_rng` raises of an `rng` that is neither a Generator nor a seed.
    """
    generator = np.random.default_rng(rng)
    return generator.standard_normal((10, 3, 32, 32), np.float32), generator.integers(0, 10, 10)
