"""The picture of a run: twelve panels, the run in colours and line styles, the healthy run beside it in grey."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from minicnn.classify.plots import import_matplotlib
from minicnn.learn.symptoms import measures
from minicnn.learn.symptoms.cases import Run
from minicnn.learn.symptoms.curves import LAYERS, RELUS, Curves
from minicnn.learn.symptoms.experiment import EPOCHS
from minicnn.plain import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Line: TypeAlias = Callable[[Curves], Any]  # values of all steps, or (steps, values)

# Okabe and Ito's colours, told apart by the colour-blind; the line styles tell the same, so that grey has them too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#000000")
STYLES = ("-", "--", ":", "-.")
GREY = "0.7"
SMALLEST, LARGEST = 1e-6, 1e6  # of a logarithmic axis; what lies beyond is drawn at the edge


def draw(run: Run, healthy: Run) -> Figure:
    """A matplotlib Figure of a `Run`, with the healthy one of the same seed beside it."""
    figure = import_matplotlib().figure.Figure(figsize=(17, 12), layout="constrained")
    name = f"Case {run.number}{', fixed' if run.fixed else ''}" if run.number else "The healthy run"
    figure.suptitle(
        f"{name}: {EPOCHS} epochs on handwritten digits, seed {run.seed}.   "
        "Coloured: this run. Grey, in the same line styles: the healthy run.",
        fontsize=13,
    )
    panels = {
        measures.LOSS: _loss,
        measures.ACCURACY: _accuracy,
        measures.CONFUSION: _confusion,
        measures.LABELS: _label_means,
        measures.GRADIENT: _gradient,
        measures.RATIO: _ratio,
        measures.STEP: _step,
        measures.ALIGNMENT: _alignment,
        measures.DEAD: _dead,
        measures.SPREAD: _spread,
        measures.OFFSET: _offset,
        measures.PIXEL_GRADIENT: _pixel_gradient,
    }
    for axes, (title, panel) in zip(figure.subplots(3, 4).flat, panels.items(), strict=True):
        axes.set_title(title, fontsize=12, fontweight="bold", pad=22)
        panel(axes, run.curves, healthy.curves)
    return figure


def _loss(axes: Axes, curves: Curves, healthy: Curves) -> None:
    axes.axhline(np.log(10), color="0.4", linewidth=0.8, label="guessing: log 10")
    lines = {"training": lambda c: c["loss"], "validation": lambda c: _by_epoch(c, "val_loss")}
    _lines(axes, curves, healthy, "loss", lines, logarithmic=True)
    bad = np.flatnonzero(~np.isfinite(curves["loss"]))
    if bad.size:
        axes.axvline(bad[0], color="black", linewidth=1)
        to_the_left = bad[0] > 60
        axes.text(
            bad[0] + (-2 if to_the_left else 2),
            0.6,
            f"not a number\nfrom step {bad[0] + 1} on",
            ha="right" if to_the_left else "left",
            transform=axes.get_xaxis_transform(),
        )


def _accuracy(axes: Axes, curves: Curves, healthy: Curves) -> None:
    lines = {
        "training": lambda c: c["accuracy"],
        "validation by class": lambda c: _by_epoch(c, "val_accuracy"),
        "mixed": lambda c: _by_epoch(c, "val_accuracy_mixed"),
    }
    _lines(axes, curves, healthy, "share of pictures recognised", lines)
    axes.set_ylim(-0.02, 1.02)


def _confusion(axes: Axes, curves: Curves, _: Curves) -> None:
    axes.imshow(curves["confusion"][-1], cmap="Blues", vmin=0, vmax=40)
    axes.set(xlabel="predicted class (dark: 40 pictures)", ylabel="true class", xticks=range(10), yticks=range(10))


def _label_means(axes: Axes, curves: Curves, _: Curves) -> None:
    """Two rows of five pictures, with the labels above and below."""
    means = curves["label_means"][0]
    sheet = np.full((17, 44), np.nan)
    for label, mean in enumerate(means):
        row, column = divmod(label, 5)
        sheet[9 * row : 9 * row + 8, 9 * column : 9 * column + 8] = mean
        axes.text(9 * column + 3.5, 18.5 if row else -2.5, str(label), ha="center", va="center")
    axes.imshow(sheet, cmap="gray")
    axes.set(xticks=[], yticks=[], ylim=(20, -4))
    axes.set_xlabel(f"training pictures of the first epoch\nblack: {np.min(means):.2g}, white: {np.max(means):.2g}")
    axes.set_frame_on(False)


def _gradient(axes: Axes, curves: Curves, healthy: Curves) -> None:
    lines = _of_layers(lambda c: c["gradient_norm"])
    _lines(axes, curves, healthy, "length of a layer's gradient", lines, logarithmic=True)


def _ratio(axes: Axes, curves: Curves, healthy: Curves) -> None:
    lines = _of_layers(measures.update_ratio)
    _lines(axes, curves, healthy, "length of a layer's update / its weights", lines, logarithmic=True)


def _step(axes: Axes, curves: Curves, healthy: Curves) -> None:
    lines = {"": measures.step_over_gradient}
    _lines(axes, curves, healthy, "length of the step / the gradient", lines, logarithmic=True)


def _alignment(axes: Axes, curves: Curves, healthy: Curves) -> None:
    _lines(axes, curves, healthy, "cosine of step and −gradient", {"": lambda c: c["alignment"]})
    axes.axhline(0, color="0.4", linewidth=0.8)
    axes.set_ylim(-1.2, 1.2)
    axes.text(118, 1.05, "1: straight downhill", ha="right", va="bottom")
    axes.text(118, -1.05, "−1: straight uphill", ha="right", va="top")


def _dead(axes: Axes, curves: Curves, healthy: Curves) -> None:
    lines = {name: lambda c, at=at: _by_epoch(c, "dead", at) for at, name in enumerate(RELUS)}
    _lines(axes, curves, healthy, "share of units that are 0 for all pictures", lines)
    axes.set_ylim(-0.02, 1.02)


def _spread(axes: Axes, curves: Curves, healthy: Curves) -> None:
    columns = {"pictures": 0} | {name: 1 + LAYERS.index(name) for name in ("conv1", "bn2", "fc2")}
    lines = {name: lambda c, at=at: _by_epoch(c, "spread", at) for name, at in columns.items()}
    _lines(axes, curves, healthy, "standard deviation, validation pictures", lines, logarithmic=True)


def _offset(axes: Axes, curves: Curves, healthy: Curves) -> None:
    what = "|batch mean − mean used| / deviation,\nbn2 in evaluation, class by class"
    _lines(axes, curves, healthy, what, {"": lambda c: _by_epoch(c, "bn_offset")})
    axes.set_ylim(bottom=-0.02)


def _pixel_gradient(axes: Axes, curves: Curves, healthy: Curves) -> None:
    """Both maps side by side, each as a share of its own largest."""
    sheet = np.full((8, 17), np.nan)
    for left, of in ((0, healthy), (9, curves)):
        gradient = of["pixel_gradient"][0]
        sheet[:, left : left + 8] = gradient / (gradient.max() or 1)
        rows, columns = np.nonzero(measures.blind(gradient))
        axes.plot(columns + left, rows, "x", color=COLOURS[1], markersize=8, markeredgewidth=2)
    axes.imshow(sheet, cmap="Blues", vmin=0, vmax=1)
    axes.set(yticks=[], xlabel="mean |d loss / d pixel|, first epoch\ndark: its largest, ×: none at all")
    axes.set_xticks([3.5, 12.5], ["healthy run", "this run"])
    axes.tick_params(length=0)
    axes.set_frame_on(False)


def _lines(
    axes: Axes, curves: Curves, healthy: Curves, what: str, lines: Mapping[str, Line], logarithmic: bool = False
) -> None:
    """The lines by their names, each a function curves -> values of all steps, or (steps, values)."""
    edges: set[str] = set()
    for of, grey in ((healthy, True), (curves, False)):
        for (name, values), colour, style in zip(lines.items(), COLOURS, STYLES, strict=False):
            found = values(of)
            x, y = found if isinstance(found, tuple) else (np.arange(len(found)), found)
            if logarithmic:
                edges |= {"\n(at the lower edge: 0)"} if np.any(y < SMALLEST) else set()
                edges |= {"\n(at the upper edge: more)"} if np.any(y > LARGEST) else set()
                y = np.clip(y, SMALLEST, LARGEST)
            if grey:
                axes.plot(x, y, style, color=GREY, linewidth=2.2)
            else:
                axes.plot(x, y, style, color=colour, label=name, linewidth=1.6)
    axes.set(xlabel="step (12 are an epoch)", xlim=(-2, 122), xticks=range(0, 121, 24))
    axes.set(ylabel="".join([what, *sorted(edges)]), yscale="log" if logarithmic else "linear")
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    if len(lines) > 1:
        axes.legend(  # between the title and the axes, where it hides nothing
            loc="lower center",
            bbox_to_anchor=(0.5, 1),
            ncols=len(lines) + 1,
            frameon=False,
            fontsize=9,
            borderaxespad=0.1,
            columnspacing=1,
            handletextpad=0.4,
        )


def _of_layers(values: Callable[[Curves], Array]) -> dict[str, Line]:
    """The lines of four layers, of a function curves -> (S, L)."""

    def of_layer(column: int) -> Line:
        return lambda curves: values(curves)[:, column]

    return {name: of_layer(LAYERS.index(name)) for name in ("conv1", "conv2", "fc1", "fc2")}


def _by_epoch(curves: Curves, name: str, column: int | None = None) -> tuple[Array, Array]:
    """(steps, values) of what is measured before the first epoch and after each."""
    values = curves[name] if column is None else curves[name][:, column]
    return np.arange(EPOCHS + 1) * len(curves["loss"]) / EPOCHS, values
