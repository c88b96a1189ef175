"""The worksheet about batch normalisation, its numbers chosen so that mean and standard deviation are integers."""

import numpy as np

import minicnn
from minicnn.learn.worksheets.sheet import (
    MINUS,
    Grid,
    Problem,
    Question,
    Worksheet,
    added,
    equation,
    factor,
    grid,
    minus,
    nonzero,
    plus,
    products,
    text,
    worked,
)
from minicnn.plain import Array

COUNT = 6  # values of the one channel
NORMALISED = ((1, 1, 1, -1, -1, -1), (2, -1, -1, 0, 0, 0), (-2, 1, 1, 0, 0, 0))  # mean 0, variance 1
IMAGES = ("image 0", "image 1")


def batchnorm(rng: np.random.Generator) -> Worksheet:
    """Two images of 1 × 3 pixels, one channel, eps 0."""
    std, mean = int(rng.integers(2, 4)), int(rng.integers(-3, 6))
    x = mean + std * rng.permutation(NORMALISED[rng.integers(len(NORMALISED))]).reshape(2, 3).astype(np.float64)
    weight, bias = std * nonzero(rng, 1, most=2), nonzero(rng, 1)
    layer = minicnn.BatchNorm2d(1, eps=0, momentum=0.5).to("reference", np.float64)
    layer.params["weight"][:], layer.params["bias"][:] = weight, bias
    y = _pixels(layer.forward(_images(x)))
    x_hat = np.round(_pixels(layer.ops.batchnorm2d_forward(_images(x), *_one_and_zero(), *_statistics(layer, x), 0.0)))
    dy = _dy(rng, x_hat)
    dx = _pixels(layer.backward(_images(dy)))
    dweight, dbias = layer.grads["weight"][0], layer.grads["bias"][0]
    running = layer.state["running_mean"][0], layer.state["running_var"][0]

    var = std**2
    slope = weight[0] / std
    mean_of_dy, mean_of_both = dbias / COUNT, dweight / COUNT

    def of_x(n: int, s: int) -> str:
        by_variance = products((x_hat[n, s], mean_of_both))
        return f"{factor(slope)}·({text(dy[n, s])}{minus(mean_of_dy)} {MINUS} {by_variance})"

    statistics = Grid(
        "statistics",
        (tuple(text(value) for value in (mean, var, std)),),
        (
            equation("mean", (), f"({added(*x.ravel())})/{COUNT}", text(mean)),
            equation("var", (), f"({' + '.join(f'{factor(v)}²' for v in (x - mean).ravel())})/{COUNT}", text(var)),
            equation("std", (), f"sqrt({var})", text(std)),
        ),
        ("mean", "var", "std"),
    )
    means = Grid(
        "means",
        ((text(mean_of_dy), text(mean_of_both)),),
        (
            equation("A", (), f"{factor(dbias)}/{COUNT}", text(mean_of_dy)),
            equation("B", (), f"{factor(dweight)}/{COUNT}", text(mean_of_both)),
        ),
        ("A", "B"),
    )
    moved = Grid(
        "running",
        (tuple(map(text, running)),),
        (
            equation("running_mean", (), f"1/2·0 + 1/2·{factor(mean)}", text(running[0])),
            equation("running_var", (), f"1/2·1 + 1/2·{var}·{COUNT}/{COUNT - 1}", text(running[1])),
        ),
        ("mean", "var"),
    )
    return Worksheet(
        "Batch normalisation",
        ("batchnorm",),
        "Two images of one channel, three pixels each: a row of x for each image, and n = 6 values in all. eps = 0. "
        "The running statistics were 0 (mean) and 1 (var), and momentum is 1/2.",
        (grid("x", x, (), IMAGES), grid("weight", weight), grid("bias", bias), grid("dy", dy, (), IMAGES)),
        (
            Problem(
                "The statistics of the channel, over all pixels of both images.",
                (
                    "mean = sum of x / n",
                    "var = sum of (x − mean)² / n",
                    "std = sqrt(var)",
                ),
                (statistics,),
            ),
            Problem(
                "Go forward.",
                (
                    "x_hat = (x − mean) / std",
                    "y = weight · x_hat + bias",
                ),
                (
                    worked("x_hat", x_hat, lambda n, s: f"({text(x[n, s])}{minus(mean)})/{std}", (), IMAGES),
                    worked("y", y, lambda n, s: products((weight[0], x_hat[n, s])) + plus(bias[0]), (), IMAGES),
                ),
            ),
            Problem(
                "The parameters' gradients, and from them the two means that the input's needs.",
                (
                    "dbias = sum of dy",
                    "dweight = sum of dy · x_hat",
                    "A = dbias / n",
                    "B = dweight / n",
                ),
                (
                    worked("dbias", dbias, lambda: added(*dy.ravel())),
                    worked("dweight", dweight, lambda: products(*zip(dy.ravel(), x_hat.ravel(), strict=True))),
                    means,
                ),
            ),
            Problem(
                "The input's gradient.",
                ("dx = weight / std · (dy − A − x_hat · B)",),
                (worked("dx", dx, of_x, (), IMAGES),),
            ),
            Problem(
                "Move the running statistics.",
                (
                    "running_mean = 1/2 · running_mean + 1/2 · mean",
                    "running_var likewise, with var · n / (n − 1)",
                ),
                (moved,),
            ),
        ),
        (
            Question(
                "In evaluation mean and std do not depend on x. What is dx then, and which paths are gone?",
                "dx = weight / std · dy. A came back through the mean and x_hat · B through the variance; constants "
                "send nothing back.",
            ),
        ),
    )


def _images(pixels: Array) -> Array:
    return np.ascontiguousarray(pixels[:, None, None, :])


def _pixels(images: Array) -> Array:
    return images[:, 0, 0, :]


def _one_and_zero() -> tuple[Array, Array]:
    return np.ones(1), np.zeros(1)


def _statistics(layer: minicnn.BatchNorm2d, x: Array) -> tuple[Array, Array]:
    return layer.ops.batchnorm2d_statistics(_images(x))


def _dy(rng: np.random.Generator, x_hat: Array) -> Array:
    """Integers of which A and B are integers too, and not 0."""
    while True:
        dy = rng.integers(-4, 6, x_hat.shape).astype(np.float64)
        sums = dy.sum(), (dy * x_hat).sum()
        if all(sums) and not any(value % COUNT for value in sums):
            return dy
