"""Worksheets about convolution: every gradient of a small one, and what padding and stride do."""

import numpy as np

import minicnn
from minicnn.learn.worksheets.sheet import Problem, Question, Worksheet, added, grid, nonzero, plus, products, worked
from minicnn.plain import Array


def convolution(rng: np.random.Generator) -> Worksheet:
    """A 3 × 3 image, a 2 × 2 kernel."""
    x, dy = rng.integers(-3, 5, (3, 3)).astype(np.float64), nonzero(rng, 2, 2)
    conv = _conv(nonzero(rng, 2, 2), nonzero(rng, 1))
    weight, bias = conv.params["weight"][0, 0], conv.params["bias"]
    y = conv.forward(x[None, None])[0, 0]
    dx = conv.backward(dy[None, None])[0, 0]
    dweight, dbias = conv.grads["weight"][0, 0], conv.grads["bias"][0]

    def met_by(r: int, s: int) -> list[tuple[float, float]]:
        """The products that pixel (r, s) was in, with dy in place of the pixel."""
        return [(weight[r - p, s - q], dy[p, q]) for p, q in np.ndindex(2, 2) if 0 <= r - p < 2 and 0 <= s - q < 2]

    return Worksheet(
        "Convolution, 3 × 3 image and 2 × 2 kernel",
        ("conv",),
        "One image of one channel, one filter, stride 1, no padding.",
        (grid("x", x), grid("weight", weight), grid("bias", bias), grid("dy", dy)),
        (
            Problem(
                "Go forward: lay the kernel on the image, multiply, add up.",
                ("y[p, q] = sum over i, j of weight[i, j] · x[p + i, q + j]  +  bias",),
                (worked("y", y, lambda p, q: products(*_pairs(weight, x[p : p + 2, q : q + 2])) + plus(bias[0])),),
            ),
            Problem(
                "What do bias and kernel get?",
                (
                    "dbias = sum of all dy",
                    "dweight[i, j] = sum over p, q of dy[p, q] · x[p + i, q + j]",
                ),
                (
                    worked("dbias", dbias, lambda: added(*dy.ravel())),
                    worked("dweight", dweight, lambda i, j: products(*_pairs(dy, x[i : i + 2, j : j + 2]))),
                ),
            ),
            Problem(
                "And the image?",
                ("dx[r, s] = sum over i, j of weight[i, j] · dy[r − i, s − j], where that index exists",),
                (worked("dx", dx, lambda r, s: products(*met_by(r, s))),),
            ),
        ),
        (
            Question(
                "Which pixel has the longest sum in dx, which have the shortest, and why?",
                "The one in the middle: all four outputs saw it, each through another weight. A corner was seen by one "
                "output only.",
            ),
            Question(
                "Put a frame of zeros round dy and turn the kernel by half a turn. What is the convolution of the two?",
                "It is dx. Where forward moved on from a pixel, backward moves back to it, so the weights are met in "
                "the opposite order.",
            ),
        ),
    )


def convolution_stride(rng: np.random.Generator) -> Worksheet:
    """A 3 × 3 image, a 3 × 3 kernel, padding 1, stride 2."""
    x, dy = rng.integers(-3, 5, (3, 3)).astype(np.float64), nonzero(rng, 2, 2)
    conv = _conv(nonzero(rng, 3, 3, most=2), stride=2, padding=1)
    weight = conv.params["weight"][0, 0]
    x_padded = np.pad(x, 1)
    y = conv.forward(x[None, None])[0, 0]
    dx = conv.backward(dy[None, None])[0, 0]
    dweight = conv.grads["weight"][0, 0]
    dx_padded = conv.ops.conv2d_input_gradient(dy[None, None], weight[None, None], (5, 5), (2, 2), (0, 0))[0, 0]

    def output(p: int, q: int) -> str:
        return products(*_inside(_pairs(weight, x_padded[2 * p : 2 * p + 3, 2 * q : 2 * q + 3])))

    def tap(i: int, j: int) -> str:
        return products(*_inside(_pairs(dy, x_padded[i : i + 3 : 2, j : j + 3 : 2])))

    def met_by(r: int, s: int) -> str:
        reached = [(p, q) for p, q in np.ndindex(2, 2) if 0 <= r - 2 * p < 3 and 0 <= s - 2 * q < 3]
        return products(*((weight[r - 2 * p, s - 2 * q], dy[p, q]) for p, q in reached))

    return Worksheet(
        "Convolution with padding 1 and stride 2",
        ("conv",),
        "One image of one channel, a 3 × 3 kernel without a bias. Steps of 2 in both directions: four outputs.",
        (grid("x", x), grid("weight", weight), grid("dy", dy)),
        (
            Problem(
                "Put the frame of zeros round the image, and go forward.",
                ("y[p, q] = sum over i, j of weight[i, j] · x_padded[2p + i, 2q + j]",),
                (grid("x_padded", x_padded), worked("y", y, output)),
            ),
            Problem(
                "What does the kernel get?",
                ("dweight[i, j] = sum over p, q of dy[p, q] · x_padded[2p + i, 2q + j]",),
                (worked("dweight", dweight, tap),),
            ),
            Problem(
                "And the image? Add dy[p, q] · weight into the cells from (2p, 2q) on; cut off the frame.",
                (
                    "dx_padded[2p + i, 2q + j] += weight[i, j] · dy[p, q]",
                    "dx[r, s] = dx_padded[r + 1, s + 1]",
                ),
                (grid("dx_padded", dx_padded), worked("dx", dx, lambda r, s: met_by(r + 1, s + 1))),
            ),
        ),
        (
            Question(
                "What stands in the frame of dx_padded is thrown away. Why is that no loss?",
                "It says what the zeros of the padding would have to do. Nothing made these zeros that could change, "
                "so there is nobody to tell.",
            ),
        ),
    )


def _conv(weight: Array, bias: Array | None = None, stride: int = 1, padding: int = 0) -> minicnn.Conv2d:
    conv = minicnn.Conv2d(1, 1, weight.shape, stride, padding, bias=bias is not None, rng=0).to("reference", np.float64)
    conv.params["weight"][0, 0] = weight
    if bias is not None:
        conv.params["bias"][:] = bias
    return conv


def _pairs(a: Array, b: Array) -> list[tuple[float, float]]:
    return list(zip(a.ravel(), b.ravel(), strict=True))


def _inside(pairs: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The pairs without a 0, of which the padding has many; the first pair where all have one."""
    return [(a, b) for a, b in pairs if b] or pairs[:1]
