"""What `gradcheck` is worth: planted faults, few of them missed, and networks drawn at random, none of them blamed.

The faults are mistakes that people make who write a layer: in its formula, in where it belongs, and in what a layer
has to keep to. Those of the framework's own operations are in `tests/test_mutants.py`.
"""

import numpy as np
import pytest

import minicnn
from minicnn.verify.gradcheck.arrays import flat, like
from tests.drawn_networks import drawn
from tests.gradients import draw

# Layers to plant faults in, of a few lines each, so that a fault is one line that differs.


class Dense(minicnn.Layer):
    """y = x weightᵀ + bias"""

    def __init__(self):
        super().__init__()
        self.params = {"weight": draw(3, 4, seed=1), "bias": draw(3, seed=2)}

    def forward(self, x):
        self.x = x
        return x @ self.params["weight"].T + self.params["bias"]

    def backward(self, dy):
        self.grads["weight"] = dy.T @ self.x
        self.grads["bias"] = dy.sum(axis=0)
        return dy @ self.params["weight"]


class Norm(minicnn.Layer):
    """Batch normalisation in training, y = weight * x_hat + bias, weight 1 and bias 0 when it is new."""

    eps = 1e-5

    def __init__(self, channels=2):
        super().__init__()
        self.params = {"weight": np.ones(channels), "bias": np.zeros(channels)}
        self.state = {"mean": np.zeros(channels), "var": np.ones(channels)}

    def forward(self, x):
        self.x = x
        if self.training:
            self.mean, self.std = x.mean(axis=(0, 2, 3)), np.sqrt(x.var(axis=(0, 2, 3)) + self.eps)
        else:
            self.mean, self.std = self.state["mean"], np.sqrt(self.state["var"] + self.eps)
        self.x_hat = (x - _channels(self.mean)) / _channels(self.std)
        return _channels(self.params["weight"]) * self.x_hat + _channels(self.params["bias"])

    def backward(self, dy):
        self.grads["weight"], self.grads["bias"] = (dy * self.x_hat).sum(axis=(0, 2, 3)), dy.sum(axis=(0, 2, 3))
        return self.dx(dy, _channels(self.params["weight"] / self.std))

    def dx(self, dy, scale):
        if not self.training:
            return scale * dy
        return scale * (dy - self.mean_of(dy) - self.x_hat * self.mean_of(dy * self.x_hat))

    def mean_of(self, array):
        return array.mean(axis=(0, 2, 3), keepdims=True)


def _channels(numbers):
    return numbers[:, None, None]


class Gate(minicnn.Layer):
    """y = x where it is open, else 0: ReLU, unless a subclass says otherwise."""

    def open(self, x):
        return x > 0

    def forward(self, x):
        self.x, self.y = x, np.where(self.open(x), x, 0)
        return self.y

    def backward(self, dy):
        return np.where(self.open(self.x), dy, 0)


class Clipped(Gate):
    """ReLU6: y = min(max(x, 0), 6)"""

    def forward(self, x):
        self.x = x
        return np.clip(x, 0, 6)

    def backward(self, dy):
        return np.where((self.x > 0) & (self.x < 6), dy, 0)


class ReLU6Backward(Gate):
    """The gate of ReLU6 behind the forward of ReLU: as `Gate`, but beyond 6."""

    def backward(self, dy):
        return dy * ((self.x > 0) & (self.x < 6))


class Leaky(minicnn.Layer):
    """y = x where x > 0, else slope * x, with a learned slope: one number."""

    def __init__(self, slope=0.25):
        super().__init__()
        self.params = {"slope": np.array([slope])}

    def forward(self, x):
        self.x = x
        return np.where(x > 0, x, self.params["slope"] * x)

    def backward(self, dy):
        self.grads["slope"] = np.where(self.x > 0, 0, self.x * dy).sum(keepdims=True).reshape(1)
        return np.where(self.x > 0, dy, self.params["slope"] * dy)


class Scale(minicnn.Layer):
    """y = weight * x, a weight for each channel, 1 when it is new."""

    def __init__(self, channels=2):
        super().__init__()
        self.params = {"weight": np.ones(channels)}

    def forward(self, x):
        self.x = x
        return _channels(self.params["weight"]) * x

    def backward(self, dy):
        self.grads["weight"] = (dy * self.x).sum(axis=(0, 2, 3))
        return _channels(self.params["weight"]) * dy


class Softmax(minicnn.Layer):
    """y = exp(x) / sum of exp(x)"""

    def forward(self, x):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.y = e / e.sum(axis=1, keepdims=True)
        return self.y

    def backward(self, dy):
        return self.y * (dy - (dy * self.y).sum(axis=1, keepdims=True))


class Pool(minicnn.Layer):
    """The mean of each 2 × 2 cells at stride 1, so that windows overlap."""

    taps = ((0, 0), (0, 1), (1, 0), (1, 1))

    def forward(self, x):
        height, width = x.shape[2] - 1, x.shape[3] - 1
        self.shape = x.shape
        return sum(x[:, :, i : i + height, j : j + width] for i, j in self.taps) / 4

    def backward(self, dy):
        height, width = dy.shape[2:]
        dx = np.zeros(self.shape)
        for i, j in self.taps:
            dx[:, :, i : i + height, j : j + width] += dy / 4
        return dx


class Dropout(minicnn.Layer):
    """Half of the numbers, always the same ones."""

    def forward(self, x):
        self.mask = np.arange(x.size).reshape(x.shape) % 2
        return 2 * self.mask * x

    def backward(self, dy):
        return 2 * self.mask * dy


class Conv(minicnn.Conv2d):
    """The framework's convolution, whose gradients a fault changes."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings, rng=0)
        self.to("reference")

    def backward(self, dy, need_dx=True):
        return self.altered(super().backward(dy), dy)

    def altered(self, dx, dy):
        return dx


VECTORS, IMAGES, SQUARE, ONE = draw(5, 4), draw(3, 2, 3, 4), draw(3, 2, 4, 4), draw(1, 2, 3, 4)

SOUND = {
    "Dense": (Dense(), VECTORS),
    "Norm": (Norm(), IMAGES),
    "Norm of one channel": (Norm(1), IMAGES[:, :1].copy()),
    "Norm in evaluation": (Norm().eval(), IMAGES),
    "Gate": (Gate(), IMAGES),
    "Clipped": (Clipped(), IMAGES),
    "Leaky": (Leaky(), VECTORS),
    "Leaky that is new": (Leaky(0.0), VECTORS),
    "Scale": (Scale(), IMAGES),
    "Scale of one channel": (Scale(1), IMAGES[:, :1].copy()),
    "Softmax": (Softmax(), VECTORS),
    "Pool": (Pool(), IMAGES),
    "Dropout": (Dropout(), IMAGES),
    "Conv": (Conv(2, 3, 2, padding=1), IMAGES),
    "Conv of one channel": (Conv(1, 1, 2), SQUARE[:, :1].copy()),
    "Conv in groups": (Conv(2, 4, 2, groups=2, dilation=2), SQUARE),
    "Conv of one image": (Conv(2, 3, 2), ONE),
}


@pytest.mark.parametrize("name", SOUND)
def test_the_layers_are_right_without_a_fault(name):
    minicnn.gradcheck(*SOUND[name]).require()


def test_parameters_that_are_no_floats_are_refused_by_name():
    with pytest.raises(TypeError, match=r"the parameter 'slope' of Leaky as floats.*got int64"):
        minicnn.gradcheck(Leaky(0), VECTORS)


def test_one_image_of_images_becomes_two():
    class OfTheFirst(minicnn.ReLU):
        """Its dx is right of the first image alone."""

        def backward(self, dy, need_dx=True):
            dx = super().backward(dy)
            for image in list(dx)[1:]:
                image[:] = 0
            return dx

    images = minicnn.Images([IMAGES[0]])
    minicnn.gradcheck(minicnn.ReLU().to("reference"), images).require()
    report = minicnn.gradcheck(OfTheFirst().to("reference"), images)
    assert report.verdict == "WRONG"
    assert "Images(2 of" in str(report)


def test_numbers_beyond_6_are_tried_where_two_images_are_not_taken():
    class OneImage(ReLU6Backward):
        def forward(self, x):
            if len(x) != 1:
                raise ValueError("expected one image")
            return super().forward(x)

    assert minicnn.gradcheck(OneImage(), ONE).verdict == "WRONG"


def test_a_refusal_says_what_to_do_where_a_later_layer_takes_parameters_out():
    norms = minicnn.Sequential(bn1=minicnn.BatchNorm2d(2, eps=0), bn2=minicnn.BatchNorm2d(2, eps=0)).to("reference")
    report = minicnn.gradcheck(norms, IMAGES)
    assert report.verdict == "refused"
    assert "check the earlier layer without the later one." in report.sentence
    assert "or try an x of random numbers" in minicnn.gradcheck(norms, np.round(IMAGES)).sentence


FAULTS = {}


def fault(x, *arguments, mode="train", **settings):
    """Add the layer below to `FAULTS`, under what its docstring says, made of these arguments and checked on x."""

    def add(layer_type):
        assert layer_type.__doc__ not in FAULTS
        FAULTS[layer_type.__doc__] = (layer_type(*arguments, **settings).train(mode == "train"), x)
        return layer_type

    return add


def each(layer_type, method, faults, x, *arguments, **settings):
    """Faults that put another function in the place of one method."""
    for what, function in faults.items():
        fault(x, *arguments, **settings)(type(layer_type.__name__, (layer_type,), {method: function, "__doc__": what}))


# In a formula


def _gradients(**parts):
    """A backward of `Dense` that computes some of its gradients otherwise: part(layer, dy)."""

    def backward(self, dy):
        usual = {
            "weight": lambda layer, dy: dy.T @ layer.x,
            "bias": lambda layer, dy: dy.sum(axis=0),
            "x": lambda layer, dy: dy @ layer.params["weight"],
        }
        made = {name: part(self, dy) for name, part in (usual | parts).items()}
        dx = made.pop("x")
        self.grads.update(made)
        return dx

    return backward


each(
    Dense,
    "backward",
    {
        "dense: dbias a mean": _gradients(bias=lambda layer, dy: dy.mean(axis=0)),
        "dense: dbias of the last image": _gradients(bias=lambda layer, dy: dy[-1]),
        "dense: dbias counts images": _gradients(bias=lambda layer, dy: np.full(3, float(len(dy)))),
        "dense: dweight a mean": _gradients(weight=lambda layer, dy: dy.T @ layer.x / len(dy)),
        "dense: dweight of the first image": _gradients(weight=lambda layer, dy: np.outer(dy[0], layer.x[0])),
        "dense: images summed before they are multiplied": _gradients(
            weight=lambda layer, dy: np.outer(dy.sum(axis=0), layer.x.sum(axis=0))
        ),
        "dense: dweight without dy": _gradients(weight=lambda layer, dy: np.ones_like(dy).T @ layer.x),
        "dense: the sign of dweight": _gradients(weight=lambda layer, dy: -dy.T @ layer.x),
        "dense: weight decay in backward": _gradients(
            weight=lambda layer, dy: dy.T @ layer.x + 1e-4 * layer.params["weight"]
        ),
        "dense: dx summed over the images": _gradients(
            x=lambda layer, dy: np.broadcast_to(dy.sum(axis=0) @ layer.params["weight"], layer.x.shape).copy()
        ),
        "dense: dx with a row of weights left out": _gradients(
            x=lambda layer, dy: dy[:, 1:] @ layer.params["weight"][1:]
        ),
        "dense: dx of the weights' magnitudes": _gradients(x=lambda layer, dy: dy @ np.abs(layer.params["weight"])),
        "dense: dx a thousandth too large": _gradients(x=lambda layer, dy: 1.001 * dy @ layer.params["weight"]),
        "dense: dx rounded to float16": _gradients(
            x=lambda layer, dy: (dy @ layer.params["weight"]).astype(np.float16).astype(np.float64)
        ),
    },
    VECTORS,
)

each(
    Norm,
    "dx",
    {
        "batchnorm: statistics are constants": lambda self, dy, scale: scale * dy,
        "batchnorm: no path through the mean": lambda self, dy, scale: (
            scale * (dy - self.x_hat * self.mean_of(dy * self.x_hat))
        ),
        "batchnorm: no path through the variance": lambda self, dy, scale: scale * (dy - self.mean_of(dy)),
        "batchnorm: the weight forgotten, 1 when new": lambda self, dy, scale: (
            (dy - self.mean_of(dy) - self.x_hat * self.mean_of(dy * self.x_hat)) / _channels(self.std)
        ),
        "batchnorm: n - 1 for n": lambda self, dy, scale: (
            scale * (dy - self.mean_of(dy) - self.x_hat * self.mean_of(dy * self.x_hat) * 36 / 35)
        ),
        "batchnorm: the variance for the deviation": lambda self, dy, scale: Norm.dx(
            self, dy, scale / _channels(self.std)
        ),
        "batchnorm: eps forgotten in dx": lambda self, dy, scale: Norm.dx(
            self, dy, scale * _channels(self.std / np.sqrt(self.std**2 - self.eps))
        ),
    },
    IMAGES,
)
each(
    Norm,
    "mean_of",
    {"batchnorm: sums of each image, hidden by one image": lambda self, dy: dy.mean(axis=(2, 3), keepdims=True)},
    ONE,
)
each(
    Norm,
    "dx",
    {"batchnorm: one channel's weight forgotten, 1 when new": lambda self, dy, scale: Norm.dx(self, dy, 1 / self.std)},
    IMAGES[:, :1].copy(),
    1,
)
each(
    Norm,
    "dx",
    {
        "evaluation: the weight forgotten, 1 when new": lambda self, dy, scale: dy / _channels(self.std),
        "evaluation: the variance forgotten, 1 when new": lambda self, dy, scale: (
            dy * _channels(self.params["weight"]) / np.sqrt(1 + self.eps)
        ),
        "evaluation: the backward of training": lambda self, dy, scale: (
            scale * (dy - self.mean_of(dy) - self.x_hat * self.mean_of(dy * self.x_hat))
        ),
    },
    IMAGES,
    mode="eval",
)


@fault(IMAGES)
class _Magnitude(Norm):
    """batchnorm: the weight's magnitude, 1 when new"""

    def dx(self, dy, scale):
        return super().dx(dy, np.abs(scale))


@fault(IMAGES)
class _BothCells(minicnn.Layer):
    """max: both cells of a tie"""

    def forward(self, x):
        self.pairs = x.reshape(*x.shape[:3], -1, 2)
        return self.pairs.max(axis=4)

    def backward(self, dy):
        won = self.pairs == self.pairs.max(axis=4, keepdims=True)
        return np.where(won, dy[..., None], 0).reshape(*dy.shape[:3], -1)


@fault(IMAGES, mode="eval")
class _WithoutMean(Norm):
    """evaluation: dweight without the running mean, 0 when new"""

    def backward(self, dy):
        dx = super().backward(dy)
        self.grads["weight"] = (dy * self.x / _channels(self.std)).sum(axis=(0, 2, 3))
        return dx


@fault(IMAGES)
class _OfX(Norm):
    """batchnorm: dweight sums dy * x"""

    def backward(self, dy):
        dx = super().backward(dy)
        self.grads["weight"] = (dy * self.x).sum(axis=(0, 2, 3))
        return dx


@fault(IMAGES)
class _WithBias(Norm):
    """batchnorm: dweight sums dy * y / weight, with a bias that is 0 when new"""

    def backward(self, dy):
        dx = super().backward(dy)
        weight, bias = _channels(self.params["weight"]), _channels(self.params["bias"])
        self.grads["weight"] = (dy * (weight * self.x_hat + bias) / weight).sum(axis=(0, 2, 3))
        return dx


each(
    Gate,
    "backward",
    {
        "gate: always open": lambda self, dy: dy,
        "gate: the gate of dy": lambda self, dy: np.where(dy > 0, dy, 0),
        "gate: open where x is negative": lambda self, dy: np.where(self.x < 0, dy, 0),
        "gate: multiplied by y": lambda self, dy: dy * self.y,
        "gate: closed from 6 on, hidden in the middle": ReLU6Backward.backward,
        "gate: slope 0.01 below 0": lambda self, dy: np.where(self.x > 0, dy, 0.01 * dy),
        "gate: leaky below -6, hidden in the middle": lambda self, dy: np.where(self.x > 0, dy, (self.x < -6) * dy),
    },
    IMAGES,
)
each(
    Clipped,
    "backward",
    {
        "clipped: the gate of ReLU, hidden in the middle": lambda self, dy: dy * (self.x > 0),
        "clipped: closed from 5 on, hidden in the middle": lambda self, dy: dy * ((self.x > 0) & (self.x < 5)),
    },
    IMAGES,
)
fault(draw(1, 2, 6) / 2)(
    type("Clipped", (Clipped,), {"backward": lambda self, dy: dy * (self.x > 0), "__doc__": "clipped: an x of its own"})
)


@fault(VECTORS)
class _SlopeOfAll(Leaky):
    """leaky: the slope's gradient sums over positive numbers, too"""

    def backward(self, dy):
        dx = super().backward(dy)
        self.grads["slope"] = (self.x * dy).sum(keepdims=True).reshape(1)
        return dx


@fault(VECTORS, 0.0)
class _SlopeForgotten(Leaky):
    """leaky: the slope forgotten in dx, 0 when new"""

    def backward(self, dy):
        return super().backward(dy) * (self.x > 0)


@fault(IMAGES[:, :1].copy(), 1)
class _ScaleForgotten(Scale):
    """scale: the one weight forgotten in dx, 1 when new"""

    def backward(self, dy):
        super().backward(dy)
        return dy


@fault(IMAGES)
class _ScaleSquared(Scale):
    """scale: the weight squared, 1 when new"""

    def backward(self, dy):
        return super().backward(dy) * _channels(self.params["weight"])


each(
    Softmax,
    "backward",
    {
        "softmax: only its diagonal": lambda self, dy: dy * self.y * (1 - self.y),
        "softmax: y forgotten": lambda self, dy: dy - (dy * self.y).sum(axis=1, keepdims=True),
        "softmax: summed over the images": lambda self, dy: self.y * (dy - (dy * self.y).sum(axis=0)),
    },
    VECTORS,
)


def _assigned(self, dy):
    dx = np.zeros(self.shape)
    for i, j in self.taps:
        dx[:, :, i : i + dy.shape[2], j : j + dy.shape[3]] = dy / 4
    return dx


def _shifted(self, dy):
    return np.roll(Pool.backward(self, dy), 1, axis=2)


def _border_lost(self, dy):
    dx = Pool.backward(self, dy)
    dx[:, :, -1] = 0
    return dx


each(
    Pool,
    "backward",
    {
        "pool: = for +=": _assigned,
        "pool: one row off": _shifted,
        "pool: the last row lost": _border_lost,
        "pool: not divided": lambda self, dy: 4 * Pool.backward(self, dy),
    },
    IMAGES,
)
each(
    Dropout,
    "backward",
    {
        "dropout: the mask forgotten": lambda self, dy: 2 * dy,
        "dropout: the factor forgotten": lambda self, dy: self.mask * dy,
    },
    IMAGES,
)


def _grad(name, alter):
    """An `altered` of `Conv` that changes one of its gradients."""

    def altered(self, dx, dy):
        self.grads[name] = alter(self.grads[name])
        return dx

    return altered


each(
    Conv,
    "altered",
    {
        "conv: dweight flipped": _grad("weight", lambda grad: grad[:, :, ::-1, ::-1].copy()),
        "conv: rows and columns of dweight exchanged": _grad("weight", lambda grad: grad.swapaxes(2, 3).copy()),
        "conv: a tap of dweight lost": _grad("weight", lambda grad: grad * [[1, 1], [1, 0]]),
        "conv: dbias over the rows alone": _grad("bias", lambda grad: grad / 5),
        "conv: dx flipped": lambda self, dx, dy: dx[:, :, ::-1, ::-1].copy(),
        "conv: dx of the other channel": lambda self, dx, dy: dx[:, ::-1].copy(),
        "conv: dx loses its border": lambda self, dx, dy: np.pad(
            dx[:, :, 1:-1, 1:-1], ((0, 0), (0, 0), (1, 1), (1, 1))
        ),
        "conv: dx of the images in another order": lambda self, dx, dy: dx[::-1].copy(),
    },
    IMAGES,
    2,
    3,
    2,
    padding=1,
)
each(
    Conv,
    "altered",
    {
        "conv of one image: dweight a mean": lambda self, dx, dy: (
            self.grads.update(weight=self.grads["weight"] / len(dy)) or dx
        ),
        "conv of one image: dbias of the first image": lambda self, dx, dy: (
            self.grads.update(bias=dy[0].sum(axis=(1, 2))) or dx
        ),
        "conv of one image: dx of the first image": lambda self, dx, dy: np.broadcast_to(dx[:1], dx.shape).copy(),
    },
    ONE,
    2,
    3,
    2,
)
each(
    Conv,
    "altered",
    {
        "conv in groups: dweight of the other group": _grad("weight", lambda grad: np.roll(grad, 2, axis=0)),
        "conv in groups: dx of all groups": lambda self, dx, dy: dx + dx[:, ::-1],
    },
    SQUARE,
    2,
    4,
    2,
    groups=2,
    dilation=2,
)

# In what a layer has to keep to


@fault(VECTORS)
class _Adds(Dense):
    """contract: dweight is added to"""

    def backward(self, dy):
        before = self.grads.get("weight", 0)
        dx = super().backward(dy)
        self.grads["weight"] = self.grads["weight"] + before
        return dx


@fault(VECTORS)
class _AddsInPlace(Dense):
    """contract: dbias is added to in place"""

    def backward(self, dy):
        before = self.grads.get("bias")
        dx = super().backward(dy)
        if before is not None:
            before += self.grads["bias"]
            self.grads["bias"] = before
        return dx


@fault(VECTORS)
class _RunningMean(Dense):
    """contract: dweight is a running mean of all passes"""

    def backward(self, dy):
        before = self.grads.get("weight")
        dx = super().backward(dy)
        if before is not None:
            self.grads["weight"] = 0.9 * before + 0.1 * self.grads["weight"]
        return dx


@fault(VECTORS)
class _FirstX(Dense):
    """contract: the first x is kept for dweight"""

    first = None

    def backward(self, dy):
        self.first = self.x.copy() if self.first is None else self.first
        dx = super().backward(dy)
        self.grads["weight"] = dy.T @ self.first
        return dx


@fault(VECTORS)
class _PreviousX(Dense):
    """contract: the x of the pass before is used"""

    previous = None

    def forward(self, x):
        self.used = x if self.previous is None else self.previous
        self.previous = x
        return super().forward(x)

    def backward(self, dy):
        dx = super().backward(dy)
        self.grads["weight"] = dy.T @ self.used
        return dx


@fault(IMAGES)
class _FirstMask(Gate):
    """contract: the first mask is kept"""

    mask = None

    def forward(self, x):
        self.mask = x > 0 if self.mask is None else self.mask
        return super().forward(x)

    def backward(self, dy):
        return dy * self.mask


@fault(IMAGES)
class _FirstStatistics(Norm):
    """contract: the deviation of the first batch is kept for dx"""

    first = None

    def dx(self, dy, scale):
        self.first = self.std if self.first is None else self.first
        return super().dx(dy, _channels(self.params["weight"] / self.first))


@fault(VECTORS)
class _FirstDy(Dense):
    """contract: the first dy is kept for dbias"""

    first = None

    def backward(self, dy):
        self.first = dy.copy() if self.first is None else self.first
        dx = super().backward(dy)
        self.grads["bias"] = self.first.sum(axis=0)
        return dx


@fault(VECTORS)
class _FirstWeight(Dense):
    """contract: the weight of the first pass is kept for dx"""

    first = None

    def backward(self, dy):
        self.first = self.params["weight"].copy() if self.first is None else self.first
        super().backward(dy)
        return dy @ self.first


@fault(VECTORS)
class _SumsDx(Dense):
    """contract: dx is added up in a buffer"""

    buffer = 0

    def backward(self, dy):
        self.buffer = self.buffer + super().backward(dy)
        return self.buffer


@fault(IMAGES)
class _WritesX(Gate):
    """contract: forward writes into x"""

    def forward(self, x):
        x[x < 0] = 0
        return super().forward(x)


@fault(IMAGES)
class _WritesXInBackward(Gate):
    """contract: backward writes into x, which it kept"""

    def backward(self, dy):
        dx = super().backward(dy)
        self.x *= 0.5
        return dx


@fault(IMAGES)
class _ScalesX(Norm):
    """contract: forward centres x in place"""

    def forward(self, x):
        x -= x.mean(axis=(0, 2, 3), keepdims=True)
        return super().forward(x)


@fault(IMAGES)
class _WritesDy(Gate):
    """contract: backward writes into dy"""

    def backward(self, dy):
        dy *= self.x > 0
        return dy


@fault(IMAGES)
class _WritesParams(Norm):
    """contract: backward writes into its parameter"""

    def backward(self, dy):
        dx = super().backward(dy)
        self.params["weight"] *= 0.9
        return dx


@fault(IMAGES)
class _WritesParamsInForward(Scale):
    """contract: forward clips its parameter"""

    def forward(self, x):
        np.minimum(self.params["weight"], 0.9, out=self.params["weight"])
        return super().forward(x)


@fault(VECTORS)
class _BufferSharedWithGrads(Dense):
    """contract: dbias is the buffer of dy"""

    def backward(self, dy):
        dx = super().backward(dy)
        self.grads["bias"] = self.grads["weight"][:, 0]
        self.grads["bias"][:] = dy.sum(axis=0)
        return dx


@fault(VECTORS)
class _NothingWithoutDx(Dense):
    """contract: with need_dx=False no gradients are assigned"""

    def backward(self, dy, need_dx=True):
        return super().backward(dy) if need_dx else None


@fault(VECTORS)
class _HalfWithoutDx(Dense):
    """contract: with need_dx=False dbias is of the pass before"""

    def backward(self, dy, need_dx=True):
        before = self.grads.get("bias")
        dx = super().backward(dy)
        if not need_dx:
            self.grads["bias"] = before
        return dx


@fault(IMAGES)
class _ModeOfBackward(Norm):
    """contract: backward asks for its own mode, and not for that of forward"""

    def forward(self, x):
        self.of_forward = self.training
        return super().forward(x)

    def dx(self, dy, scale):
        return super().dx(dy, scale) if self.training == self.of_forward else scale * dy


# What looks like a breach and is none


class Buffers(Dense):
    """Writes to arrays of its own, whose numbers change under what it gave before."""

    def forward(self, x):
        if getattr(self, "y", None) is None or self.y.shape != (len(x), 3):
            self.y, self.kept = np.empty((len(x), 3)), np.empty_like(x)
        np.copyto(self.kept, x)
        np.copyto(self.y, super().forward(self.kept))
        return self.y

    def backward(self, dy):
        dx = super().backward(dy)
        self.y[:] = 0
        np.multiply(dx, 1, out=self.kept)
        return self.kept


class Counts(Norm):
    """Counts its passes, and moves its statistics, as batchnorm does."""

    def forward(self, x):
        self.passes = getattr(self, "passes", 0) + 1
        self.state["mean"] = 0.9 * self.state["mean"] + 0.1 * x.mean(axis=(0, 2, 3))
        return super().forward(x)


class Reshapes(minicnn.Layer):
    """Gives out views of what it was given."""

    def forward(self, x):
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy):
        return dy.reshape(self.shape)


class WithoutDx(Dense):
    """Leaves dx out where nobody needs it."""

    def backward(self, dy, need_dx=True):
        dx = super().backward(dy)
        return dx if need_dx else None


NO_BREACH = {"buffers": (Buffers(), VECTORS), "counts": (Counts(), IMAGES), "views": (Reshapes(), IMAGES)}
NO_BREACH |= {"no dx": (WithoutDx(), VECTORS), "new": (Counts(), ONE)}


@pytest.mark.parametrize("name", NO_BREACH)
def test_what_a_layer_may_do(name):
    minicnn.gradcheck(*NO_BREACH[name]).require()


# Behind and before others


def _behind(layer, **others):
    return minicnn.Sequential(fc=minicnn.Linear(4, 4, rng=0), layer=layer, **others).to("reference")


for what, (name, last) in {
    "network: a layer that adds": ("contract: dweight is added to", {}),
    "network: a gate that writes into dy": ("contract: backward writes into dy", {}),
    "network: softmax's diagonal under a layer": (
        "softmax: only its diagonal",
        {"last": minicnn.Linear(4, 2, rng=1)},
    ),
    "network: dbias a mean within": ("dense: dbias a mean", {"log_softmax": minicnn.LogSoftmax()}),
}.items():
    FAULTS[what] = (_behind(FAULTS[name][0], **last), VECTORS)

# Those that are missed, and why.
MISSED = {
    "batchnorm: the weight's magnitude, 1 when new": "drawn anew a weight keeps its sign, since one that must be "
    "positive, such as a deviation, would make numbers that are no numbers; a layer with weights below 0 shows it",
    "max: both cells of a tie": "at a tie is a kink, where quotients mean nothing; no two cells of this x are alike",
    "contract: backward asks for its own mode, and not for that of forward": "the check is of one mode, that of the "
    "layer, and does not switch it between the two passes",
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults(name):
    """A fault is found: WRONG, or for one that is missed "passed", so that whoever mends that hears of it."""
    report = minicnn.gradcheck(*FAULTS[name])
    assert report.verdict == ("passed" if name in MISSED else "WRONG"), str(report)


def test_how_many_are_missed():
    assert len(FAULTS) >= 60
    assert MISSED.keys() <= FAULTS.keys()
    assert len(MISSED) <= 3


# Networks drawn at random

SEEDS, FEW = range(300), range(20)


def _is_constant(network, x):
    """Whether the output of the network stays as it is wherever a little x moves: nothing can be shown of it."""
    network, x, rng = network.to(dtype=np.float64), x.astype(np.float64), np.random.default_rng(0)
    here, *outputs = (
        flat(network.forward(like(x, flat(x) + step * rng.standard_normal(flat(x).size)))).copy()
        for step in (0, 1e-7, 1e-7, 1e-7)
    )
    return all(np.abs(output - here).max() <= 1e-12 * np.abs(here).max() for output in outputs)


def _verdicts(seeds):
    """{seed: (verdict, whether the network is constant)}; what is WRONG is raised with its report."""
    verdicts = {}
    for seed in seeds:
        network, x, labels, loss = drawn(seed)
        report = minicnn.gradcheck(network, x, labels, loss=loss, elements=8)
        assert report.verdict != "WRONG", f"{seed}: {network!r}\n{report}"
        verdicts[seed] = report.verdict, _is_constant(network, x)
    return verdicts


def _refused(verdicts):
    """The seeds of the refused that have something to show. Of those that have nothing, none may have passed."""
    assert all(verdict == "refused" for verdict, constant in verdicts.values() if constant)
    return [seed for seed, (verdict, constant) in verdicts.items() if verdict == "refused" and not constant]


def test_a_few_networks_drawn_at_random():
    assert _refused(_verdicts(FEW)) == []


@pytest.mark.long
def test_networks_drawn_at_random():
    """None of 300 is WRONG. Refused are those whose output does not depend on x, 14, and of the others 8: in seven a
    batchnorm takes out what an earlier one has learnt, in one the loss is 0 but for rounding."""
    verdicts = _verdicts(SEEDS)
    constant = sum(constant for _, constant in verdicts.values())
    assert len(_refused(verdicts)) <= 0.03 * (len(SEEDS) - constant), _refused(verdicts)
    assert constant <= 0.06 * len(SEEDS)
