"""How new weights are drawn: PyTorch's default for Conv2d and Linear.

Kaiming-uniform (He et al., 2015) with a = sqrt(5), which comes to one short rule: weight and bias are uniform in
[-bound, bound] with bound = 1 / sqrt(fan_in), fan_in being the number of inputs that one output sums over.
"""

import math

import numpy as np

from minicnn.plain import Array


def uniform_by_fan_in(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> Array:
    """float32 array of `shape`, uniform in ±1 / sqrt(fan_in), drawn from the generator `rng`."""
    bound = 1 / math.sqrt(fan_in)
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def as_generator(rng: np.random.Generator | int | None) -> np.random.Generator:
    """A numpy Generator from a Generator, a seed, or None for one that is different each time.

    A Generator is used as it is and moves on; so several layers can draw from one.
    """
    return np.random.default_rng(rng)
