"""The least time that a training step or a prediction of SimpleNet can take on a machine of given speed.

Arithmetic. The first layer has 3 channels and is summed plainly, forward and for its weight gradient; it has no input
gradient. The others are done by Winograd's F(4 × 4, 3 × 3), which makes 36 multiplications where the plain sum makes
144, in each of the three passes. Its transforms, for each tile of 4 × 4 pixels and each channel, in multiply-adds:

    6 × 6 numbers to 6 × 6     12 along each of 6 columns and 6 rows                     144
    6 × 6 to 4 × 4             10 along each of 6 columns and 4 rows                     100
    4 × 4 to 6 × 6             the transpose of that, counted alike                      100

    forward            x of C channels (144) to y of F channels (100)
    input gradient     dy of F (144) to dx of C (100)
    weight gradient    x of C (144) and dy of F (100); dweight itself is small

A step on 128 × 32² is 18.35 GFLOP summed plainly, 4.76 with Winograd's products, 5.60 with the transforms.

Memory. Every activation is written once and read by the next layer; batchnorm and relu are applied as it is read.
Backward, a layer reads its output (for batchnorm), its input, and the gradient that the layer above wrote, takes both
gradients in that one pass, and writes the gradient of its input. The last layer's gradient comes from the pooling and
is not stored. In evaluation the last activation is pooled as it is made. 221 MB for that step, without the weights.
"""

import itertools

from engines.cases import channels_of, numbers_in

TILE = 4 * 4  # pixels of the output
DATA, OUTPUT = 144, 100  # multiply-adds of a transform, see above
FLOAT = 4  # bytes


def seconds(what, case, flops_per_second, bytes_per_second):
    """Of "step" or "predict": the time of the arithmetic or of the memory, whichever is longer."""
    return max(flops(what, case) / flops_per_second, traffic(what, case) / bytes_per_second)


def plain_flops(what, case):
    """Of the convolutions as plain sums."""
    first, others = products(case)
    return 2 * first + 3 * others if what == "step" else first + others


def flops(what, case):
    n_images, side, width = numbers_in(case)
    first, others = products(case)
    tiles = n_images * side * side / TILE
    forward = input_gradient = 0
    for below, above in itertools.pairwise(channels_of(width)[1:]):
        forward += DATA * below + OUTPUT * above
        input_gradient += DATA * above + OUTPUT * below
    weight_gradient = forward  # x and dy are transformed as x and y are
    if what == "predict":
        return first + others / 4 + 2 * tiles * forward
    return 2 * first + 3 * others / 4 + 2 * tiles * (forward + input_gradient + weight_gradient)


def products(case):
    """Flops of one pass of the first convolution, and of the others, as plain sums."""
    n_images, side, width = numbers_in(case)
    first, *others = itertools.starmap(lambda c, f: 2 * 9 * n_images * side * side * c * f, pairs(width))
    return first, sum(others)


def pairs(width):
    return itertools.pairwise(channels_of(width))


def traffic(what, case):
    """Bytes."""
    n_images, side, width = numbers_in(case)
    image, *between, last = channels_of(width)
    if what == "predict":
        planes = image + 2 * sum(between)
    else:
        forward = image + 2 * sum(between) + last
        # Of each in between: it and its gradient, read by its own layer and (or written) by the one above.
        backward = image + 4 * sum(between) + last
        planes = forward + backward
    return FLOAT * n_images * side * side * planes
