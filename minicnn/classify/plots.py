"""Figures of what a classifier does, drawn with matplotlib: its confusion, its mistakes, what it looked at.

What is called draw_… returns a matplotlib Figure, to be shown or to be written by `save_figure`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minicnn.classify.evaluate import Evaluation
from minicnn.classify.explain import Winners
from minicnn.classify.reliability import Reliability
from minicnn.io.figures import axes_or_new, import_matplotlib, readable, save_figure
from minicnn.plain import Array

__all__ = [
    "draw_confusion",
    "draw_mistakes",
    "draw_reliability",
    "draw_winners",
    "import_matplotlib",
    "interpolation",
    "plot_confusion",
    "save_figure",
    "shortened",
    "show_image",
]

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NUMBERS = 25  # classes; with more, numbers in the cells could not be read
SMALL = 400  # pixels; an image of no more is enlarged without smoothing, so that its pixels can be seen


def draw_confusion(evaluation: Evaluation) -> Figure:
    """A figure of the confusion matrix of an `Evaluation`, of a size that suits the number of classes."""
    side = min(4 + 0.45 * len(evaluation.class_names), 20)
    figure = import_matplotlib().figure.Figure(figsize=(side + 1, side), layout="constrained")
    plot_confusion(evaluation, figure.subplots())
    return figure


def plot_confusion(evaluation: Evaluation, ax: Axes | None = None) -> Axes:
    """The confusion matrix of an `Evaluation`: rows are true classes, shades are shares of the row.

    Raises ImportError where matplotlib is not installed.
    """
    counts = evaluation.confusion
    names, style = readable([shortened(name) for name in evaluation.class_names])
    in_row = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax = axes_or_new(ax, (6, 5))
    shares = ax.imshow(counts / in_row, cmap="Blues", vmin=0, vmax=1)
    every = max(1, math.ceil(len(names) / 60))  # of very many classes not all can be named
    places = range(0, len(names), every)
    ax.set_xticks(places, names[::every], rotation=45, ha="right", rotation_mode="anchor", **style)
    ax.set_yticks(places, names[::every], **style)
    ax.set(xlabel="predicted class", ylabel="true class")
    ax.set_title(f"{len(evaluation.labels)} images, accuracy {evaluation.accuracy:.3f}")
    if len(names) <= MOST_NUMBERS:
        for row, column in np.ndindex(counts.shape):
            colour = "white" if counts[row, column] / in_row[row, 0] > 0.5 else "black"
            ax.text(column, row, counts[row, column], ha="center", va="center", color=colour)
    ax.figure.colorbar(shares, ax=ax, label="share of the true class", shrink=0.8)
    return ax


def draw_reliability(found: Reliability) -> Figure:
    """A reliability diagram: how often it is right, over how sure it is; on the diagonal it is as right as it is sure.

    Args:
        found: a `minicnn.classify.reliability.Reliability`.
    """
    figure = import_matplotlib().figure.Figure(figsize=(5, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    widths = np.diff(found.edges)
    above.bar(found.edges[:-1], np.nan_to_num(found.accuracy), widths, align="edge", edgecolor="white", label="right")
    above.plot([0, 1], [0, 1], "--", color="black", linewidth=1, label="as right as it is sure")
    above.plot(found.confidence, found.accuracy, "o", color="tab:orange", label="mean of each bin")
    above.set(ylim=(0, 1), ylabel="share that is right")
    above.set_title(f"{found.counts.sum()} images, calibration error {found.error:.3f}")
    above.legend(loc="upper left", frameon=False)
    below.bar(found.edges[:-1], found.counts, widths, align="edge", color="gray", edgecolor="white")
    below.set(xlim=(0, 1), xlabel="probability of the likeliest class", ylabel="images")
    return figure


def draw_mistakes(evaluation: Evaluation, read: Callable[[Path], Array], most: int = 25) -> Figure:
    """A contact sheet of the surest mistakes of an `Evaluation`.

    Args:
        read: function path -> image (C, H, W) from 0 to 1, such as `Classifier.read`.
        most: how many images at most.
    """
    mistakes = evaluation.mistakes()
    shown = mistakes[:most]
    columns = max(3, math.ceil(math.sqrt(len(shown))))
    rows = max(1, math.ceil(len(shown) / columns))
    figure = import_matplotlib().figure.Figure(figsize=(2.2 * columns, 2.6 * rows + 0.5), layout="constrained")
    first = ", the surest first" if len(shown) else ""
    figure.suptitle(f"{len(mistakes)} mistakes in {len(evaluation.labels)} images{first}")
    for axes in figure.subplots(rows, columns, squeeze=False).flat[len(shown) :]:
        axes.set_axis_off()
    for axes, position in zip(figure.axes, shown.tolist(), strict=False):
        show_image(axes, read(evaluation.paths[position]))
        truth, guess = evaluation.labels[position], evaluation.predicted[position]
        names = (evaluation.class_names[truth], evaluation.class_names[guess], evaluation.paths[position].name)
        (true, said, name), style = readable([shortened(text, 26) for text in names])
        axes.set_title(
            f"true: {true}\nsaid: {said} ({evaluation.probabilities[position, guess]:.0%})", fontsize=9, **style
        )
        axes.set_xlabel(name, fontsize=7, **style)
    return figure


def draw_winners(image: Array, found: Winners, title: str) -> Figure:
    """Two views of one prediction: the pixels that won the max pooling, and the way backward takes.

    Args:
        image: (C, H, W) from 0 to 1.
        found: its `minicnn.classify.explain.Winners`.
        title: a line above both.
    """
    matplotlib = import_matplotlib()
    _, height, width = image.shape
    shape = min(max(width / height, 0.4), 2.5)  # of a panel; a strip is shown with space around it
    # Everything has its place, in inches: no text meets another, whatever the image's shape.
    panel_width, panel_height, gap, head, foot = max(3.6, 4.4 * shape**0.5), 4.4 / shape**0.5, 0.3, 0.8, 0.8
    whole_width, whole_height = 2 * panel_width + 3 * gap, panel_height + head + foot
    figure = matplotlib.figure.Figure(figsize=(whole_width, whole_height))

    def place(left: float, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
        return left / whole_width, bottom / whole_height, width / whole_width, height / whole_height

    second = panel_width + 2 * gap  # where the right panel begins
    left = figure.add_axes(place(gap, foot, panel_width, panel_height))
    right = figure.add_axes(place(second, foot, panel_width, panel_height))
    bar = figure.add_axes(place(second + gap, 0.45, panel_width - 2 * gap, 0.12))
    texts = (
        (gap, 0.5, title, 12),
        (gap, 0.1, "the pixels that won the max pooling", 10),
        (second, 0.1, "the way backward takes: |d log p / d pixel|", 10),
    )
    for x, above, text, size in texts:
        (shown,), style = readable([text])
        figure.text(*place(x, foot + panel_height + above, 0, 0)[:2], shown, fontsize=size, **style)

    show_image(left, image)
    rows, columns = found.positions.T
    strength = np.abs(found.contributions)
    areas = 400 * strength / max(strength.max(), np.finfo(np.float32).tiny)  # in square points
    for sign, colour, words in ((1, "tab:orange", "for the class"), (-1, "tab:blue", "against it")):
        chosen = np.sign(found.contributions) == sign
        places = columns[chosen], rows[chosen]
        left.scatter(*places, areas[chosen], color=colour, alpha=0.5, edgecolor="black", linewidth=0.8)
        left.scatter(*places, 5, color=colour)  # so that a small one is seen, too
        label = f"{words}: {found.contributions[chosen].sum():+.2f}"
        left.scatter([], [], 60, color=colour, alpha=0.7, edgecolor="black", label=label)
    at = place(gap, 0.25, 0, 0)[:2]
    figure.legend(loc="lower left", bbox_to_anchor=at, ncols=2, frameon=False, fontsize=9, columnspacing=1)

    change = np.abs(found.gradient).sum(axis=0)
    top = change.max() or 1.0
    # With plain shades one strong pixel would hide that there are others.
    shades = matplotlib.colors.PowerNorm(0.5, vmin=0, vmax=top)
    heat = right.imshow(change, cmap="hot_r", norm=shades, interpolation=interpolation(image))
    right.set(xticks=[], yticks=[])
    figure.colorbar(heat, cax=bar, orientation="horizontal", ticks=[0, top / 4, top], format="%.2g")
    return figure


def shortened(text: str, most: int = 20) -> str:
    """`text`, with an ellipsis in its middle where it has more than `most` characters.

    Surrogates, as in file names that are not UTF-8, become question marks.

    >>> shortened("a_class_name_without_end", 12)
    'a_clas…t_end'
    """
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= most:
        return text
    head, tail = most // 2, (most - 1) // 2
    return f"{text[:head]}…{text[-tail:]}"


def show_image(axes: Axes, image: Array) -> None:
    """One image (C, H, W) from 0 to 1, grey if C is 1."""
    pixels = np.moveaxis(image, 0, 2) if len(image) == 3 else image[0]
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation=interpolation(image))
    axes.set(xticks=[], yticks=[])


def interpolation(image: Array) -> str:
    """matplotlib's, by which the pixels of a small image can be seen."""
    return "nearest" if max(image.shape[1:]) <= SMALL else "auto"
