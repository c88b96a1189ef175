"""Worksheets about layers that know nothing of rows and columns: linear, ReLU, log-softmax with its loss."""

import numpy as np

import minicnn
from minicnn.learn.worksheets.sheet import (
    MINUS,
    Grid,
    Problem,
    Question,
    Worksheet,
    added,
    fraction,
    grid,
    logarithm,
    nonzero,
    plus,
    products,
    text,
    worked,
)

LARGEST_LOGARITHM = 12  # of the table of logarithms that is given


def linear(rng: np.random.Generator) -> Worksheet:
    """Two images of three numbers, two outputs."""
    x, dy = nonzero(rng, 2, 3, most=4), nonzero(rng, 2, 2)
    weight, bias = nonzero(rng, 2, 3), nonzero(rng, 2)
    fc = minicnn.Linear(3, 2, rng=0).to("reference", np.float64)
    fc.params["weight"][:], fc.params["bias"][:] = weight, bias
    y, dx = fc.forward(x), fc.backward(dy)

    of_y = worked("y", y, lambda n, k: products(*zip(x[n], weight[k], strict=True)) + plus(bias[k]))
    of_bias = worked("dbias", fc.grads["bias"], lambda k: added(*dy[:, k]))
    of_weight = worked("dweight", fc.grads["weight"], lambda k, d: products(*zip(dy[:, k], x[:, d], strict=True)))
    of_x = worked("dx", dx, lambda n, d: products(*zip(dy[n], weight[:, d], strict=True)))
    return Worksheet(
        "A fully connected layer",
        ("linear",),
        "Two images, a row of x each, of three numbers; two outputs. dy is what comes back from the loss.",
        (grid("x", x), grid("weight", weight), grid("bias", bias), grid("dy", dy)),
        (
            Problem("Go forward.", ("y[n, k] = sum over d of x[n, d] · weight[k, d]  +  bias[k]",), (of_y,)),
            Problem("What does the bias get?", ("dbias[k] = sum over n of dy[n, k]",), (of_bias,)),
            Problem("And the weights?", ("dweight[k, d] = sum over n of dy[n, k] · x[n, d]",), (of_weight,)),
            Problem("And the input?", ("dx[n, d] = sum over k of dy[n, k] · weight[k, d]",), (of_x,)),
        ),
        (
            Question(
                "dbias and dweight add up over the images, and dx does not. Why?",
                "Both images met the same weights and the same bias, so each sends its share to them, and shares add "
                "up. x[0] belongs to image 0 alone: the output of no other image depends on it.",
            ),
        ),
    )


def relu(rng: np.random.Generator) -> Worksheet:
    """Nine numbers, a few of them negative and one or two 0."""
    x = nonzero(rng, 3, 3, most=5)
    x.flat[rng.integers(9)] = 0
    while (x > 0).sum() not in (4, 5):
        x.flat[rng.integers(9)] *= -1
    dy = nonzero(rng, 3, 3, most=5)
    layer = minicnn.ReLU().to("reference")
    y, dx = layer.forward(x), layer.backward(dy)
    slope = layer.ops.relu_backward(np.ones_like(y), y)

    return Worksheet(
        "ReLU",
        ("relu",),
        "Each number goes its own way here, so a grid of nine is nine small exercises.",
        (grid("x", x), grid("dy", dy)),
        (
            Problem("Go forward.", ("y = max(x, 0)",), (worked("y", y, lambda r, s: f"max({text(x[r, s])}, 0)"),)),
            Problem("Where is the gate open?", ("slope = 1 where y > 0, else 0",), (grid("slope", slope),)),
            Problem(
                "Go backward.",
                ("dx = slope · dy",),
                (worked("dx", dx, lambda r, s: products((slope[r, s], dy[r, s]))),),
            ),
        ),
        (
            Question(
                "For the slope you looked at y, not at x. Why is y enough?",
                "y is positive exactly where x is. Where x was negative or 0, y is 0, and there the slope is 0 in "
                "any case. So the layer need not keep x.",
            ),
            Question(
                "Suppose that one x is negative for every image there is. What does the layer before learn from it?",
                "Nothing: its gate is always shut, dx is 0 for every image, and so the weights that made this x get "
                "no gradient from it and never change because of it. That is a dead ReLU.",
            ),
        ),
    )


def log_softmax(rng: np.random.Generator) -> Worksheet:
    """Two images, three classes; scores are logarithms of small integers, so that probabilities are fractions."""
    counts = np.stack([rng.permutation(LARGEST_LOGARITHM // 2)[:3] + 1 for _ in range(2)])
    while (counts.sum(axis=1) > LARGEST_LOGARITHM).any():
        counts = np.stack([rng.permutation(LARGEST_LOGARITHM // 2)[:3] + 1 for _ in range(2)])
    targets = rng.integers(0, 3, 2)
    layer, loss = minicnn.LogSoftmax().to("reference"), minicnn.NLLLoss().to("reference")
    y = layer.forward(np.log(counts))
    value = loss.forward(y, targets)
    dy = loss.backward()
    dx, p, total = layer.backward(dy), np.exp(y), counts.sum(axis=1, keepdims=True)

    table = [f"ln {a} = {np.log(a):.2f}" for a in range(1, LARGEST_LOGARITHM + 1)]
    of_p = worked("p", p, lambda n, k: f"{counts[n, k]}/{total[n, 0]}")
    right = [p[n, targets[n]] for n in range(2)]
    of_loss = Grid(
        "loss",
        ((f"{value:.2f}",),),
        (
            "loss = " + f"{MINUS}1/2·({logarithm(right[0])} + {logarithm(right[1])})"
            f" ≈ {MINUS}1/2·({_in_table(right[0])} + {_in_table(right[1])}) ≈ {value:.2f}",
        ),
    )
    return Worksheet(
        "Log-softmax and the negative log-likelihood",
        ("log_softmax", "nll"),
        "Two images, three classes. The scores x are logarithms, so that exp(x) is an integer: exp(ln 5) = 5. "
        "ln(a/b) = ln a − ln b.",
        (
            grid("x", counts, write=logarithm),
            grid("target", targets),
            Grid("table of ln", tuple(tuple(table[k::4]) for k in range(4))),
        ),
        (
            Problem(
                "From scores to probabilities.",
                (
                    "total[n] = sum over k of exp(x[n, k])",
                    "p[n, k] = exp(x[n, k]) / total[n]",
                ),
                (worked("total", total[:, 0], lambda n: added(*counts[n])), of_p),
            ),
            Problem(
                "Their logarithms, written as ln of a fraction; and the loss, with the table.",
                (
                    "y[n, k] = ln p[n, k]",
                    "loss = −1/N · sum over n of y[n, target[n]]",
                ),
                (grid("y", p, write=logarithm), of_loss),
            ),
            Problem(
                "The gradient of the loss with respect to y.",
                ("dy[n, k] = −1/N where k = target[n], else 0",),
                (grid("dy", dy),),
            ),
            Problem(
                "The gradient with respect to the scores.",
                ("dx[n, k] = dy[n, k] − p[n, k] · sum over j of dy[n, j]",),
                (worked("dx", dx, lambda n, k: f"{text(dy[n, k])} {MINUS} {products((p[n, k], dy[n].sum()))}"),),
            ),
        ),
        (
            Question(
                "Add up each row of dx. Why does it have to come out like this?",
                "Each row adds up to 0. The same number added to all scores of an image changes none of its "
                "probabilities, so the loss does not change, and in this direction there is no slope.",
            ),
        ),
    )


def _in_table(p: float) -> str:
    """ln of a fraction as the two numbers of the table; of 1/b one of them is 0 and left out."""
    exact = fraction(p)
    below = f"{np.log(exact.denominator):.2f}"
    return f"(0 {MINUS} {below})" if exact.numerator == 1 else f"({np.log(exact.numerator):.2f} {MINUS} {below})"
