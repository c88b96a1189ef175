"""Worksheets about pooling: the maximum of a window, adaptive windows, the mean of a window."""

import numpy as np

import minicnn
from minicnn.geometry import adaptive_windows
from minicnn.learn.worksheets.sheet import (
    Grid,
    Problem,
    Question,
    Worksheet,
    added,
    equation,
    factor,
    grid,
    nonzero,
    text,
    worked,
)
from minicnn.plain import Array


def max_pooling(rng: np.random.Generator) -> Worksheet:
    """A 3 × 3 image under 2 × 2 windows, stride 1, drawn until one cell wins two windows or three."""
    layer = minicnn.MaxPool2d(2, stride=1).to("reference")
    while True:
        x = _different(rng, 3, 3)
        y = layer.forward(x[None, None])[0, 0]
        winners = _argmax(layer)
        if np.bincount(winners.ravel()).max() in (2, 3):
            break
    dy = nonzero(rng, 2, 2, most=5)
    dx = layer.backward(dy[None, None])[0, 0]

    return Worksheet(
        "Max pooling",
        ("pooling",),
        "Windows of 2 × 2 cells, stride 1: four windows, and they overlap.",
        (grid("x", x), grid("dy", dy)),
        (
            Problem(
                "Go forward, and write down who won: row and column of the largest cell.",
                (
                    "y[p, q] = max over i, j of x[p + i, q + j]",
                    "i, j = 0, 1",
                ),
                (
                    worked("y", y, lambda p, q: _maximum(x[p : p + 2, q : q + 2])),
                    _winners(winners, 3),
                ),
            ),
            Problem(
                "Go backward.",
                ("dx[r, s] = sum of dy[p, q] over the windows (p, q) that cell (r, s) won",),
                (worked("dx", dx, lambda r, s: _from_wins(winners, dy, 3 * r + s)),),
            ),
        ),
        (
            Question(
                "Some cells get 0. Why is that right?",
                "They won no window. If such a cell grew by a little, every maximum would stay as it is, and so "
                "would the loss.",
            ),
            Question(
                "A cell of 3 × 3 can be in up to four windows. What would be lost with dx[r, s] = … in place of "
                "dx[r, s] += … in a program?",
                "A cell that wins several windows would keep only what the last of them sends. What it adds to the "
                "loss by way of the others would be missing.",
            ),
        ),
    )


def adaptive_pooling(rng: np.random.Generator) -> Worksheet:
    """Five cells in three windows, averaged; and 3 × 5 cells in 2 × 3 windows, their maxima."""
    columns, rows = adaptive_windows(5, 3), adaptive_windows(3, 2)
    sizes = columns[:, 1] - columns[:, 0]
    line = rng.integers(-4, 9, 5).astype(np.float64)
    while any(line[start:stop].sum() % (stop - start) for start, stop, _ in columns):
        line = rng.integers(-4, 9, 5).astype(np.float64)
    d_means = nonzero(rng, 3) * sizes  # so that each cell's share is an integer
    average = minicnn.AdaptiveAvgPool2d((1, 3)).to("reference")
    means = average.forward(line[None, None, None])[0, 0, 0]
    d_line = average.backward(d_means[None, None, None])[0, 0, 0]

    x, dy = _different(rng, 3, 5), nonzero(rng, 2, 3, most=5)
    maximum = minicnn.AdaptiveMaxPool2d((2, 3)).to("reference")
    y = maximum.forward(x[None, None])[0, 0]
    winners = _argmax(maximum)
    dx = maximum.backward(dy[None, None])[0, 0]

    def mean(p: int) -> str:
        start, stop, _ = columns[p]
        return f"({added(*line[start:stop])})/{sizes[p]}"

    def shares(r: int) -> str:
        windows = [p for p, (start, stop, _) in enumerate(columns) if start <= r < stop]
        return " + ".join(f"{factor(d_means[p])}/{sizes[p]}" for p in windows)

    def cells(p: int, q: int) -> Array:
        return x[rows[p, 0] : rows[p, 1], columns[q, 0] : columns[q, 1]]

    return Worksheet(
        "Adaptive pooling",
        ("adaptive_pooling",),
        "The number of windows is fixed, whatever the size of the image, so windows may be of different sizes and "
        "overlap. a is one row of five cells, of which means are taken; x is an image, of which maxima are taken.",
        (grid("a", line), grid("d_mean", d_means), grid("x", x), grid("dy", dy)),
        (
            Problem(
                "Where do the windows lie? Three over five columns, two over three rows.",
                (
                    "start = floor(p · n_in / n_out)",
                    "stop = ceil((p + 1) · n_in / n_out)",
                ),
                (_bounds("columns", columns, 5), _bounds("rows", rows, 3)),
            ),
            Problem(
                "Means of the windows of a, and back: each cell of a window gets an equal share.",
                (
                    "mean[p] = sum of a[start … stop − 1] / size",
                    "da[r] = sum over its windows of d_mean[p] / size",
                ),
                (worked("mean", means, mean), worked("da", d_line, shares)),
            ),
            Problem(
                "Maxima of the 2 × 3 windows of x, who won (row, column), and back.",
                ("dx[r, s] = sum of dy[p, q] over the windows (p, q) that cell (r, s) won",),
                (
                    worked("y", y, lambda p, q: _maximum(cells(p, q))),
                    _winners(winners, 5),
                    worked("dx", dx, lambda r, s: _from_wins(winners, dy, 5 * r + s)),
                ),
            ),
        ),
        (
            Question(
                "Five cells, three windows: which cells are in two windows, and what does that mean for backward?",
                "Cells 1 and 3. Both windows send something back to them, and it adds up.",
            ),
            Question(
                "Why can a network with such a layer take images of any size?",
                "The number of windows is fixed, so what comes out has always the same size, and so has what the "
                "layers after it expect.",
            ),
        ),
    )


def average_pooling(rng: np.random.Generator) -> Worksheet:
    """A 3 × 3 image under 2 × 2 windows, stride 1."""
    x, dy = rng.integers(-5, 10, (3, 3)).astype(np.float64), nonzero(rng, 2, 2, most=7)
    layer = minicnn.AvgPool2d(2, stride=1).to("reference")
    y = layer.forward(x[None, None])[0, 0]
    dx = layer.backward(dy[None, None])[0, 0]

    def windows_of(r: int, s: int) -> list[float]:
        return [dy[p, q] for p in range(2) for q in range(2) if 0 <= r - p < 2 and 0 <= s - q < 2]

    return Worksheet(
        "Average pooling",
        ("pooling",),
        "Windows of 2 × 2 cells, stride 1: four windows, and they overlap. Write fractions, not decimals.",
        (grid("x", x), grid("dy", dy)),
        (
            Problem(
                "Go forward.",
                (
                    "y[p, q] = (sum over i, j of x[p + i, q + j]) / 4",
                    "i, j = 0, 1",
                ),
                (worked("y", y, lambda p, q: f"({added(*x[p : p + 2, q : q + 2].ravel())})/4"),),
            ),
            Problem(
                "Go backward: each window gives a quarter of its dy to each of its cells.",
                ("dx[r, s] = (sum of dy[p, q] over the windows (p, q) that cell (r, s) lies in) / 4",),
                (worked("dx", dx, lambda r, s: f"({added(*windows_of(r, s))})/4"),),
            ),
        ),
        (
            Question(
                "For dx you did not look at x at all. Why not, and what does max pooling have to keep of it?",
                "A mean grows by a quarter of what any of its four cells grows by, whatever numbers they hold. A "
                "maximum follows one cell only, so max pooling has to know which one that was.",
            ),
            Question(
                "Add up all of dx, and all of dy. Why are they equal?",
                "Each dy is cut into four quarters, and each quarter goes to one cell. Nothing is lost or added.",
            ),
        ),
    )


def _different(rng: np.random.Generator, *shape: int) -> Array:
    """Different integers, some of them negative, so that a maximum is one cell's."""
    return rng.permutation(np.arange(-6, 13))[: np.prod(shape)].reshape(shape).astype(np.float64)


def _argmax(layer: minicnn.Layer) -> Array:
    """Who won each window in the layer's last forward, (OH, OW)."""
    assert layer.memory is not None
    return layer.memory.argmax[0, 0]


def _maximum(cells: Array) -> str:
    return f"max({', '.join(map(text, cells.ravel()))})"


def _winners(argmax: Array, width: int) -> Grid:
    return grid("winner", argmax, write=lambda cell: f"({cell // width}, {cell % width})")


def _from_wins(winners: Array, dy: Array, cell: int) -> str | None:
    """What a cell gets from the windows that it won, written out; None where it won none."""
    won = dy[winners == cell]
    return added(*won) if won.size else None


def _bounds(name: str, table: Array, n_in: int) -> Grid:
    """The windows along one axis, to be filled in."""
    n_out = len(table)
    sums = []
    for p, (start, stop, _) in enumerate(table.tolist()):
        sums.append(equation(f"{name} start", (p,), f"floor({p}·{n_in}/{n_out})", str(start)))
        sums.append(equation(f"{name} stop", (p,), f"ceil({p + 1}·{n_in}/{n_out})", str(stop)))
    down = tuple(f"p = {p}" for p in range(n_out))
    return Grid(name, grid(name, table[:, :2]).cells, tuple(sums), ("start", "stop"), down)
