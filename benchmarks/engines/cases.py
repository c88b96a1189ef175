"""What is measured: SimpleNet with given weights on given images, and single layers.

Every contestant gets the arrays that are made here by NumPy, by the names of `state_dict`.
"""

import itertools
import math

import numpy as np

CONVOLUTIONS = (0, 3, 6)  # the places in the network; batchnorm is one after, the linear layer is
LINEAR = 11
N_IMAGES, SIDE = 32, 32  # of single operations


def numbers_in(case):
    """Images, side and how many times as many channels as SimpleNet has: "10 x 32" -> (10, 32, 1), "4 x 32 x 2"."""
    n_images, side, width = [*map(int, case.split(" x ")), 1][:3]
    return n_images, side, width


def named(what, case):
    """'step 4 × 32², 2 × the channels' of "4 x 32 x 2" and the like."""
    n_images, side, *times = case.split(" x ")
    name = f"{what} {n_images} × {side}²".replace("predict", "inference")
    return name + (f", {times[0]} × the channels" if times else "")


def channels_of(width, in_channels=3):
    return in_channels, 16 * width, 32 * width, 64 * width


def simple_net(framework, log_softmax, width, in_channels=3):
    """SimpleNet, of minicnn or torch.nn, with `width` times as many channels."""
    channels = channels_of(width, in_channels)
    layers = []
    for below, above in itertools.pairwise(channels):
        layers += [framework.Conv2d(below, above, 3, padding=1), framework.BatchNorm2d(above), framework.ReLU()]
    layers += [framework.AdaptiveMaxPool2d((1, 1)), framework.Flatten(), framework.Linear(channels[-1], 10)]
    return framework.Sequential(*layers, log_softmax)


def batch(case):
    """Images (N, 3, H, W) and labels (N,)."""
    n_images, side, _ = numbers_in(case)
    rng = np.random.default_rng(0)
    return rng.standard_normal((n_images, 3, side, side), np.float32), rng.integers(0, 10, n_images)


def weights(width):
    """{name in state_dict: array}. Batchnorm's are such that leaving one out would be seen."""
    rng = np.random.default_rng(1)
    channels = channels_of(width)
    state = {}

    def draw(name, low, high, *shape):
        state[name] = rng.uniform(low, high, shape).astype(np.float32)

    for place, (below, above) in zip(CONVOLUTIONS, itertools.pairwise(channels), strict=True):
        bound = (below * 9) ** -0.5
        draw(f"{place}.weight", -bound, bound, above, below, 3, 3)
        draw(f"{place}.bias", -bound, bound, above)
        draw(f"{place + 1}.weight", 0.5, 1.5, above)
        draw(f"{place + 1}.bias", -0.2, 0.2, above)
        draw(f"{place + 1}.running_mean", -0.2, 0.2, above)
        draw(f"{place + 1}.running_var", 0.5, 1.5, above)
        state[f"{place + 1}.num_batches_tracked"] = np.array(0)
    bound = channels[-1] ** -0.5
    draw(f"{LINEAR}.weight", -bound, bound, 10, channels[-1])
    draw(f"{LINEAR}.bias", -bound, bound, 10)
    return state


def operation(case, framework):
    """(layer, shape of its input) of "conv 3x3 stride 2 32-64" and the like, of minicnn or torch.nn."""
    words = case.split()
    image = (N_IMAGES, 64, SIDE, SIDE)
    if words[0] == "conv":
        kernel, settings, channels, filters = convolution(words)
        padding = settings.get("dilation", 1) * (kernel // 2)
        layer = framework.Conv2d(channels, filters, kernel, padding=padding, **settings)
        return layer, (N_IMAGES, channels, SIDE, SIDE)
    if words[0] == "linear":
        rows, inputs, outputs = linear(words)
        return framework.Linear(inputs, outputs), (rows, inputs)
    if words[0] == "batchnorm":
        return framework.BatchNorm2d(64), image
    if words[0] == "relu":
        return framework.ReLU(), image
    if words[3] == "to":  # "max pool 64 to 1"
        pool = framework.AdaptiveMaxPool2d if words[0] == "max" else framework.AdaptiveAvgPool2d
        return pool(int(words[-1])), image
    pool = framework.MaxPool2d if words[0] == "max" else framework.AvgPool2d  # "max pool 3x3 stride 2 64"
    return pool(int(words[2][0]), int(words[4])), image


def operation_flops(what, case):
    """Of "forward" or "backward", both gradients, as plain sums; 0 of what has no multiply-adds to speak of."""
    words = case.split()
    forward = 0
    if words[0] == "conv":
        kernel, settings, channels, filters = convolution(words)
        side = SIDE // settings.get("stride", 1)
        forward = 2 * N_IMAGES * side**2 * kernel**2 * channels // settings.get("groups", 1) * filters
    elif words[0] == "linear":
        forward = 2 * math.prod(linear(words))
    return forward if what == "forward" else 2 * forward


def convolution(words):
    """(kernel, a dict of stride, groups or dilation, channels, filters) of "conv 3x3 stride 2 32-64"."""
    settings = dict(zip(words[2:-1:2], map(int, words[3:-1:2]), strict=True))
    return int(words[1][0]), settings, *map(int, words[-1].split("-"))


def linear(words):
    """(rows, inputs, outputs) of "linear 64x4096-4096"."""
    rows, features = words[1].split("x")
    return int(rows), *map(int, features.split("-"))
