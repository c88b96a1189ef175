"""Plots of a training run and of a network: each draws into `ax`, or a new figure, and returns matplotlib's axes.

ax = minicnn.plot_history(trainer.history)
ax.figure.savefig("history.png")
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.io.figures import axes_or_new, import_matplotlib, readable
from minicnn.layers import Conv2d, Layer
from minicnn.layers.pooling import Pooling
from minicnn.network import Sequential
from minicnn.plain import Array, Pair
from minicnn.verify.isolate import flattened, own_copy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_TILES = 256  # filters or maps in one plot
DIVERGING = "RdBu_r"  # of colours; white is 0


def plot_history(history: Sequence[dict[str, Any]], column: str = "loss", ax: Axes | None = None) -> Axes:
    """A column of the history over the epochs, and the same of the validation, where it has that.

    Raises ValueError where no epoch has the column.
    """
    ax = axes_or_new(ax, (6, 4))
    columns = [name for name in (column, f"val_{column}") if any(name in row for row in history)]
    if not columns:
        names = dict.fromkeys(name for row in history for name in row)
        raise ValueError(f"plot_history: expected one of the columns {', '.join(names) or '(none)'}, got {column!r}")
    for name, style in zip(columns, ("-o", "--o"), strict=False):
        rows = [row for row in history if name in row]
        label = "validation" if name.startswith("val_") and len(columns) == 2 else "training"
        ax.plot([row["epoch"] for row in rows], [row[name] for row in rows], style, markersize=3, label=label)
    (shown,), fonts = readable([column])
    ax.set_xlabel("epoch")
    ax.set_ylabel(shown, **fonts)
    ax.locator_params(axis="x", integer=True)
    ax.grid(alpha=0.3)
    ax.legend()
    return ax


def draw_curves(history: Sequence[dict[str, Any]]) -> Figure:
    """A figure of loss and accuracy side by side."""
    figure = import_matplotlib().figure.Figure(figsize=(10, 4), layout="constrained")
    for ax, column in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        plot_history(history, column, ax)
    return figure


def plot_lr_find(found: Any, ax: Axes | None = None) -> Axes:
    """The losses of a `lr_find` over the learning rate, the running mean, and the suggestion.

    Raises ImportError where matplotlib is not installed.
    """
    ax = axes_or_new(ax, (6, 4))
    ax.plot(found.lrs, found.losses, color="lightgray", label="loss of each step")
    ax.plot(found.lrs, found.smoothed, color="tab:blue", label="running mean")
    ax.axvline(found.suggestion, color="tab:orange", linestyle="--", label=f"suggestion: {found.suggestion:.2g}")
    ax.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=_limits(found.smoothed))
    ax.legend()
    return ax


def plot_filters(layer: Conv2d, ax: Axes | None = None) -> Axes:
    """The weights of a convolution (F, C, KH, KW): filters of 3 channels in colour, grey being 0.

    Other filters have a row each, in which a tile is what the filter does to one channel; white is 0.

    Raises TypeError for another layer.
    """
    if not isinstance(layer, Conv2d):
        raise TypeError(f"plot_filters: expected a Conv2d, got {type(layer).__name__}")
    ax = axes_or_new(ax, (6, 5))
    weight = layer.ops.to_numpy(layer.params["weight"])
    largest = float(np.abs(weight).max()) or 1.0
    if weight.shape[1] == 3:
        colours = weight.transpose(0, 2, 3, 1)[:MOST_TILES] / (2 * largest) + 0.5
        ax.imshow(_mosaic(colours, math.ceil(math.sqrt(len(colours)))), interpolation="nearest")
        what = f"{len(colours)} filters; grey is 0, the full range ±{largest:.2g}"
    else:
        side = min(weight.shape[1], 16)
        tiles = weight[: MOST_TILES // side, :side]
        mosaic = _mosaic(tiles.reshape(-1, *weight.shape[2:]), side)
        image = ax.imshow(mosaic, cmap=DIVERGING, vmin=-largest, vmax=largest, interpolation="nearest")
        ax.figure.colorbar(image, ax=ax, label="weight")
        what = f"filters (rows) by channels (columns): {len(tiles)} × {side} of {weight.shape[0]} × {weight.shape[1]}"
    ax.set(xticks=[], yticks=[], title=what)
    return ax


def plot_feature_maps(network: Sequential, image: Array, layer: str, ax: Axes | None = None) -> Axes:
    """The channels of a layer's output for one image (C, H, W), in evaluation mode; the network stays as it is.

    Raises KeyError for an unknown layer, ValueError where its output is no image, and what the network raises.
    """
    layers = list(flattened(own_copy(network, "plot_feature_maps", "the network").eval()))
    names = [name for name, _ in layers]
    if layer not in names:
        raise KeyError(f"plot_feature_maps: no layer {layer!r}; there are {', '.join(names)}")
    y: Any = np.asarray(image)[None]
    for name, each in layers:
        y = each.predict(y)
        if name == layer:
            break
    if y.ndim != 4:
        raise ValueError(f"plot_feature_maps: expected a layer whose output is (N, C, H, W), got {y.shape} of {layer}")
    maps = network.ops.to_numpy(y)[0][:MOST_TILES]
    ax = axes_or_new(ax, (6, 5))
    least, most = float(maps.min()), float(maps.max())
    signed = {"cmap": DIVERGING, "vmin": -max(-least, most), "vmax": max(-least, most)}
    scale: dict[str, Any] = signed if least < 0 else {"cmap": "viridis", "vmin": 0}
    drawn = ax.imshow(_mosaic(maps, math.ceil(math.sqrt(len(maps)))), interpolation="nearest", **scale)
    ax.figure.colorbar(drawn, ax=ax, label="activation")
    (shown,), style = readable([f"{layer}: {len(maps)} of {y.shape[1]} channels, {y.shape[2]} × {y.shape[3]} each"])
    ax.set(xticks=[], yticks=[])
    ax.set_title(shown, **style)
    return ax


def plot_gradient_flow(network: Sequential, ax: Axes | None = None) -> Axes:
    """How large the gradients of the last backward are along the network: of each parameter `|gradient| / |parameter|`.

    Where the bars shrink from the last layer to the first by orders of magnitude, gradients vanish on their way. A
    parameter or a gradient that is 0 everywhere has no bar. Raises RuntimeError where there was no backward.
    """
    params = [(name, layer, key) for name, layer, key in network.named_params() if key in layer.grads]
    if not params:
        raise RuntimeError("plot_gradient_flow: expected gradients, got none; call backward first, or train a step")
    ax = axes_or_new(ax, (7, 4))
    ratios = []
    for _, layer, key in params:
        grad, param = (np.linalg.norm(layer.ops.to_numpy(array)) for array in (layer.grads[key], layer.params[key]))
        ratios.append(grad / param if param > 0 and grad > 0 else np.nan)
    names, style = readable([name for name, _, _ in params])
    ax.bar(range(len(ratios)), ratios, color=["tab:gray" if key == "bias" else "tab:blue" for _, _, key in params])
    ax.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", **style)
    ax.set(yscale="log", ylabel="|gradient| / |parameter|", title="first layer to last")
    ax.grid(axis="y", alpha=0.3)
    return ax


def plot_pooling_windows(layer: Layer, input_size: Pair, ax: Axes | None = None) -> Axes:
    """The windows of a pooling layer over an image of `input_size` (H, W); the shade counts the windows on each pixel.

    Raises TypeError for another layer.
    """
    if not isinstance(layer, Pooling):
        raise TypeError(f"plot_pooling_windows: expected a pooling layer, got {type(layer).__name__}")
    rows, columns = (table[:, :2].tolist() for table in layer.windows(input_size))
    ax = axes_or_new(ax, (5, 5))
    counts = np.zeros(input_size, np.int64)
    for top, bottom in rows:
        for left, right in columns:
            counts[top:bottom, left:right] += 1
    most = int(counts.max())
    shades = ax.imshow(counts, cmap="Blues", vmin=0, vmax=max(most, 1) * 1.5, interpolation="nearest")
    from matplotlib.patches import Rectangle

    for p, (top, bottom) in enumerate(rows):
        for q, (left, right) in enumerate(columns):
            inset = 0.08 + 0.07 * ((p + q) % 3)  # so that edges that coincide can be told apart
            corner, size = (left - 0.5 + inset, top - 0.5 + inset), (right - left - 2 * inset, bottom - top - 2 * inset)
            ax.add_patch(
                Rectangle(corner, *size, fill=False, edgecolor=f"C{(p * len(columns) + q) % 10}", linewidth=1.5)
            )
    ax.figure.colorbar(shades, ax=ax, label="windows on the pixel", ticks=range(most + 1))
    ax.set_title(f"{layer!r}: {len(rows)} × {len(columns)} windows", fontsize=10)
    return ax


def _mosaic(tiles: Array, columns: int) -> Array:
    """Tiles (N, H, W) or (N, H, W, 3) side by side, `columns` in a row, with white lines between: of NaN, or of 1."""
    n, height, width, *rest = tiles.shape
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, *rest), 1.0 if rest else np.nan)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        sheet[row * (height + 1) :, column * (width + 1) :][:height, :width] = tile
    return sheet


def _limits(losses: Array) -> tuple[float, float]:
    least, first = float(losses.min()), float(losses[0])
    room = max(first - least, 1e-3)
    return least - 0.3 * room, first + 1.0 * room
