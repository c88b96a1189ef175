"""Dropout: in training, leave out a random part of the numbers."""

from typing import Any

import numpy as np

from minicnn.checks import as_count, as_int, as_number
from minicnn.images import Batch
from minicnn.layers.base import Layer
from minicnn.layers.initialisation import as_generator

MOST = 2**63 - 2  # the largest seed or step; one more is still an int64


class Dropout(Layer):
    """Dropout (Srivastava et al., 2014), "inverted" as `torch.nn.Dropout`'s: given the mask, the numbers are PyTorch's.

        y = x * mask         mask = 0 with probability p, else 1 / (1 - p), so that the mean of y is x
        dx = dy * mask       the same mask: of what was left out, nothing depends on x

    In evaluation y = x and dx = dy.

    A mask is not drawn from a stream but looked up: it is a function of (seed, step, image, element), by the
    counter-based generator Philox4x32-10 (`minicnn/backends/philox.py`). `step` counts the layer's forwards in
    training, and image is the place in the batch. So the mask is the same on every backend, for every number of
    threads, and for the images of a batch that is shared out among processes; a resumed run goes on with the masks that
    it would have had; and backward works the mask out again, so that no array is kept for it. A part of a batch that
    `Accumulate` adds up is a forward, and so a step, of its own.

    The seed tells one layer's masks from another's: those of a network need different ones, which Sequential checks.

    Shapes: any, the first axis that of images; y and dx like x; or `Images`.

    Args:
        p: the share of numbers that is left out, from 0 to below 1.
        seed: an integer from 0 to 2 ** 63 - 2, or a numpy Generator that gives one; by default one that is different
            each time.

    State:
        seed, step: () int64. They are in `state_dict` and in checkpoints. PyTorch's layer has none; where a file has
            none, they stay as they are.

    Raises:
        ValueError: p outside [0, 1), a seed or step out of range, an empty input.
        TypeError: input that is not float32 or float64.

    >>> dropout, x = Dropout(0.5, seed=0), np.ones((2, 4), np.float32)
    >>> dropout.forward(x)
    array([[0., 2., 2., 2.],
           [0., 2., 0., 0.]], dtype=float32)
    >>> dropout.backward(x)                                 # the gradient of what was left out is 0
    array([[0., 2., 2., 2.],
           [0., 2., 0., 0.]], dtype=float32)
    >>> dropout.eval().forward(x)
    array([[1., 1., 1., 1.],
           [1., 1., 1., 1.]], dtype=float32)

    The arithmetic, in `minicnn/backends/`:
        reference/dropout.py    to read
        cpu/dropout.py          to run
        cuda/dropout.py         to run on a GPU
    """

    operations = ("dropout",)
    takes_images = True
    # The place in its batch of the first image; not 0 where a batch is shared out (see `minicnn.distributed`).
    first_image = 0
    # False where a forward is to be done again with the mask that it had (see `minicnn.verify.gradcheck`).
    counts_steps = True

    def __init__(self, p: float = 0.5, *, seed: int | np.random.Generator | None = None) -> None:
        super().__init__()
        self.p = _as_share(p)
        if seed is None or isinstance(seed, np.random.Generator):
            seed = int(as_generator(seed).integers(MOST + 1))
        seed = as_int(seed, "Dropout: seed", 0)
        self.state["seed"] = np.array(as_count(seed, "Dropout: seed", MOST), np.int64)
        self.state["step"] = np.zeros((), np.int64)

    @property
    def seed(self) -> int:
        """What tells its masks from those of other layers; part of its `state`."""
        return int(self.state["seed"])

    def predict(self, x: Batch) -> Batch:
        return self.as_input(x)

    def forward(self, x: Batch) -> Batch:
        x = self.as_input(x)
        if not self.training:
            self.remember(x, mask=None)
            return x
        mask = _as_share(self.p), self._counter("seed"), self._counter("step"), self.first_image
        y = self.ops.dropout(x, *mask)
        if self.counts_steps:
            self.state["step"] = np.array(self._counter("step") + 1, np.int64)
        self.remember(y, mask=mask)  # what it is looked up by
        return y

    def backward(self, dy: Batch, need_dx: bool = True) -> Batch:
        dy, memory = self.recall(dy)
        return dy if memory.mask is None else self.ops.dropout(dy, *memory.mask)

    def _counter(self, key: str) -> int:
        """The integer that the state has, which users may set."""
        value: Any = self.state.get(key)
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value[()]
        return as_count(value, f"Dropout: {key}", MOST)

    def describe(self) -> str:
        return f"p={self.p}, seed={self.seed}"


def _as_share(p: Any) -> float:
    """p as a number from 0 to below 1."""
    share = as_number(p, "Dropout: p")
    if not 0 <= share < 1:
        raise ValueError(
            f"Dropout: expected p, the share of numbers that is left out, from 0 to below 1, got {p}; of what p = 1 "
            "leaves there is nothing to learn"
        )
    return share
