"""Pooling windows of floor(n_in / n_out) cells side by side: where that is not whole, the last cells are in none."""

from typing import Any

import numpy as np

from minicnn.layers import AdaptiveMaxPool2d
from minicnn.learn.symptoms import measures
from minicnn.learn.symptoms.cause import Cause, Sign
from minicnn.learn.symptoms.experiment import Experiment
from minicnn.plain import Array, Pair


class FloorMaxPool2d(AdaptiveMaxPool2d):
    def windows(self, input_size: Pair) -> tuple[Array, Array]:
        sizes = zip(input_size, self.output_size, strict=True)
        rows, columns = (_floor_windows(n_in, n_out or n_in) for n_in, n_out in sizes)
        return rows, columns


def _floor_windows(n_in: int, n_out: int) -> Array:
    """Rows (start, stop, cells); from p * n_in // n_out to the ceiling of (p + 1) * n_in / n_out was meant."""
    size = n_in // n_out
    return np.array([(p * size, (p + 1) * size, size) for p in range(n_out)])


class PartlyBlind(Experiment):
    def layers(self, rng: np.random.Generator) -> dict[str, Any]:
        layers = super().layers(rng)
        return layers | {"pool": FloorMaxPool2d(layers["pool"].output_size)}


CAUSE = Cause(
    name="pooling-windows",
    title="the pooling windows are rounded down, so that part of the picture is in none of them",
    experiment=PartlyBlind,
    place="layers",
    signature=(
        Sign(measures.BLIND_PIXELS, low=0.1, high=0.9),
        Sign(measures.LAST_LOSS, high=1),
    ),
    shown=(
        "The two last rows and columns of pixels get no gradient (but for rounding) in ten epochs: whatever is written "
        "there, the loss would be the same. 8 cells in 5 windows of floor(8 / 5) = 1 cell are the first five; the "
        "last three are in no window (one of them still shows through conv1's 3 × 3 kernel). What is left is enough "
        "for most digits, so that the run learns, a little more slowly and not quite as well."
    ),
    confused={
        "momentum-restarted": "learning is slower there, too, but every pixel gets its gradient",
        "dead-relu": "there no pixel gets a gradient",
    },
    fix=(
        "Let window p reach from floor(p * n_in / n_out) to ceil((p + 1) * n_in / n_out): then the first starts at 0, "
        "the last ends at n_in, and none leaves a gap. Or use AdaptiveMaxPool2d as it is."
    ),
)
