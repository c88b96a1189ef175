"""The numbers that are read off the curves: the rows of the table, and what signatures have thresholds on.

Each has one definition, here. The table shows it, the signatures test it, and the answer to a wrong diagnosis quotes
it, so that the three cannot drift apart.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minicnn.learn.symptoms.curves import LAYERS, Curves
from minicnn.plain import Array

# The panels of the picture, in its order.
LOSS, ACCURACY, CONFUSION, PIXEL_GRADIENT = "Loss", "Accuracy", "Confusion", "Gradient at each pixel"
GRADIENT, RATIO, STEP, ALIGNMENT = "Gradient", "Update / weight", "Step / gradient", "Direction of the step"
DEAD, SPREAD, OFFSET, LABELS = "Dead units", "Spread of the values", "Batch normalisation", "Mean picture of a label"
TABLE = "the table"

EARLY = 3  # steps
ROUNDING = 1e-4  # of the largest; float32, and the parts of a sum may be larger than the sum


@dataclass(frozen=True)
class Measure:
    """One number of a run.

    Attributes:
        what: its name, a noun phrase.
        panel: where it is seen: a panel of the picture, or TABLE.
        of: function curves -> float; NaN where there is none.
        digits: format of the number.
        out_of: function curves -> what it is a part of, which is then shown with it; or None.
    """

    what: str
    panel: str
    of: Callable[[Curves], float]
    digits: str = ".3f"
    out_of: Callable[[Curves], int] | None = None

    def text(self, curves: Curves) -> str:
        """The number as it is shown."""
        value = self.of(curves)
        if np.isnan(value):
            return "not a number"
        return format(value, self.digits) + (f" of {self.out_of(curves)}" if self.out_of else "")


def _numbers(values: Array) -> Array:
    """The values before the first that is not finite; an infinite loss may be finite again, but means nothing then."""
    bad = np.flatnonzero(~np.isfinite(values))
    return values[: bad[0]] if bad.size else values


def _highest(values: Array) -> float:
    numbers = _numbers(values)
    return numbers.max() if numbers.size else np.nan


def _lowest(values: Array) -> float:
    return -_highest(-values)


def blind(pixel_gradient: Array) -> Array:
    """Where the gradient is 0 but for rounding, which fast convolutions have where the parts of a sum cancel."""
    return pixel_gradient <= ROUNDING * pixel_gradient.max()


def _last_epoch(curves: Curves, name: str) -> float:
    return curves[name][-len(curves["loss"]) // len(curves["pixel_mean"]) :].mean()


def step_over_gradient(curves: Curves) -> Array:
    """(S,): the length of the step over that of the gradient, all layers together."""
    length = {name: np.sqrt((curves[name] ** 2).sum(axis=1)) for name in ("update_norm", "gradient_norm")}
    return length["update_norm"] / length["gradient_norm"]


def update_ratio(curves: Curves) -> Array:
    """(S, L): the length of each layer's update over that of its weights."""
    return curves["update_norm"] / curves["weight_norm"]


STEPS = Measure(
    "steps before the loss is no longer a number",
    LOSS,
    lambda c: len(_numbers(c["loss"])),
    ".0f",
    out_of=lambda c: len(c["loss"]),
)
FIRST_LOSS = Measure("training loss, first step", LOSS, lambda c: c["loss"][0])
HIGHEST_LOSS = Measure("training loss, highest", LOSS, lambda c: _highest(c["loss"]), ".4g")
LOWEST_LOSS = Measure("training loss, lowest", LOSS, lambda c: _lowest(c["loss"]))
LAST_LOSS = Measure("training loss, last epoch", LOSS, lambda c: _last_epoch(c, "loss"))
TRAIN_ACCURACY = Measure("training accuracy, last epoch", ACCURACY, lambda c: _last_epoch(c, "accuracy"))
VAL_ACCURACY = Measure("validation accuracy, pictures class by class", ACCURACY, lambda c: c["val_accuracy"][-1])
MIXED_ACCURACY = Measure(
    "validation accuracy, the same pictures mixed", ACCURACY, lambda c: c["val_accuracy_mixed"][-1]
)
OFFSET_OF_MEAN = Measure(
    "batch mean − bn2's mean in evaluation, in deviations", OFFSET, lambda c: _highest(c["bn_offset"]), ".2g"
)
LOSS_GRADIENT = Measure("sum of |d loss / d log p| of a batch, first step", TABLE, lambda c: c["loss_gradient"][0])
FIRST_LAYER = Measure(
    "gradient of conv1, largest of the first steps",
    GRADIENT,
    lambda c: c["gradient_norm"][:EARLY, LAYERS.index("conv1")].max(),
    ".2g",
)
FIRST_RATIO = Measure(
    "update / weight, first step, largest of the layers", RATIO, lambda c: update_ratio(c)[0].max(), ".2g"
)
FIRST_STEP = Measure("step / gradient, first step", STEP, lambda c: step_over_gradient(c)[0], ".2g")
GROWTH_OF_STEP = Measure(
    "step / gradient, largest over smallest",
    STEP,
    lambda c: _highest(step_over_gradient(c)) / _lowest(step_over_gradient(c)),
    ".3g",
)
FIRST_ALIGNMENT = Measure("cosine of step and −gradient, first step", ALIGNMENT, lambda c: c["alignment"][0], "+.2f")
LOWEST_ALIGNMENT = Measure("cosine of step and −gradient, lowest", ALIGNMENT, lambda c: _lowest(c["alignment"]), "+.2f")
DEAD_UNITS = Measure("share of dead units before training, worst ReLU", DEAD, lambda c: c["dead"][0].max(), ".2f")
PIXEL_SPREAD = Measure(
    "spread (standard deviation) of the training pictures", SPREAD, lambda c: c["pixel_spread"][0], ".2g"
)
PIXEL_FACTOR = Measure(
    "spread of the training pictures, by which factor off 1",
    SPREAD,
    lambda c: max(c["pixel_spread"][0], 1 / c["pixel_spread"][0]),
    ".3g",
)
LABEL_SHARE = Measure(
    "share of the pictures' variance that the labels explain", LABELS, lambda c: c["label_share"].max()
)
BLIND_PIXELS = Measure(
    "share of pixels that get no gradient, first epoch",
    PIXEL_GRADIENT,
    lambda c: float(np.mean(blind(c["pixel_gradient"][0]))),
    ".2f",
)

MEASURES = (
    STEPS,
    FIRST_LOSS,
    HIGHEST_LOSS,
    LOWEST_LOSS,
    LAST_LOSS,
    TRAIN_ACCURACY,
    VAL_ACCURACY,
    MIXED_ACCURACY,
    LOSS_GRADIENT,
    FIRST_LAYER,
    FIRST_RATIO,
    FIRST_STEP,
    GROWTH_OF_STEP,
    FIRST_ALIGNMENT,
    LOWEST_ALIGNMENT,
    DEAD_UNITS,
    PIXEL_SPREAD,
    PIXEL_FACTOR,
    LABEL_SHARE,
    BLIND_PIXELS,
    OFFSET_OF_MEAN,
)
