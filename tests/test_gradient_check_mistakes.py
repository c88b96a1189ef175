"""`minicnn.gradcheck` of layers that are wrong: it says so, and where to look first."""

import numpy as np
import pytest

import minicnn
from minicnn import gradcheck
from tests.gradients import draw, row_of, small_net, wrong, wrong_weight


def _flip_dweight(self, dx):
    self.grads["weight"] = self.grads["weight"][:, :, ::-1, ::-1].copy()
    return dx


def _mean_dbias(self, dx):
    self.grads["bias"] = self.grads["bias"] / len(dx)
    return dx


def _transpose_dweight(self, dx):
    self.grads["weight"] = self.grads["weight"].T.copy()
    return dx


def _without_batch_sum(self, dx):
    self.grads["weight"] = self.grads["weight"] / len(dx)
    return dx


CONV = (minicnn.Conv2d, (2, 3, 3), (3, 2, 5, 6))
LINEAR = (minicnn.Linear, (4, 4), (3, 4))
PLANTED = [
    ("dweight flipped", *CONV, _flip_dweight, {"weight"}),
    ("dbias a mean", *CONV, _mean_dbias, {"bias"}),
    ("dx flipped", *CONV, lambda self, dx: dx[:, :, ::-1, ::-1].copy(), {"x"}),
    ("dx of the wrong channel", *CONV, lambda self, dx: dx[:, ::-1].copy(), {"x"}),
    ("dx one pixel off", *CONV, lambda self, dx: np.roll(dx, 1, axis=3), {"x"}),
    ("dweight transposed", *LINEAR, _transpose_dweight, {"weight"}),
    ("dweight a mean", *LINEAR, _without_batch_sum, {"weight"}),
    ("sign of dx", *LINEAR, lambda self, dx: -dx, {"x"}),
    ("dx is 4 millionths off", *LINEAR, lambda self, dx: dx * (1 + 4e-6), {"x"}),
    ("a single dx is lost", *LINEAR, lambda self, dx: np.where(np.arange(4) == 2, 0, dx), {"x"}),
    ("dx is 0", *LINEAR, lambda self, dx: 0 * dx, {"x"}),
    ("dx not a number", *LINEAR, lambda self, dx: np.where(np.arange(4) == 2, np.nan, dx), {"x"}),
    ("dx infinite", *LINEAR, lambda self, dx: np.where(np.arange(4) == 2, np.inf, dx), {"x"}),
    ("dx huge", *LINEAR, lambda self, dx: np.where(np.arange(4) == 2, 1e200, dx), {"x"}),
]


@pytest.mark.quick
@pytest.mark.parametrize(
    ("layer_type", "arguments", "shape", "alter", "expected"),
    [row[1:] for row in PLANTED],
    ids=[row[0] for row in PLANTED],
)
def test_planted_mistakes(layer_type, arguments, shape, alter, expected):
    assert gradcheck(layer_type(*arguments, rng=0), draw(*shape))
    report = gradcheck(wrong(layer_type, alter)(*arguments, rng=0), draw(*shape))
    assert not report
    assert {row.name for row in report.arrays if row.verdict == "WRONG"} == expected
    with pytest.raises(AssertionError, match=r"WRONG: look first at"):
        report.require()


def test_eps_forgotten_in_backward():
    """The finest mistake that the tolerance is made for: 1e-5 beside a variance of 1."""

    class Forgetful(minicnn.BatchNorm2d):
        def backward(self, dy, need_dx=True):
            self.eps, eps = 0.0, self.eps
            dx = super().backward(dy)
            self.eps = eps
            return dx

    assert not gradcheck(Forgetful(3), draw(2, 3, 4, 5))


def test_one_wrong_element_of_a_large_array():
    """Not tried alone, mostly; but it is among those that are moved together."""

    def alter(self, dx):
        dx[1, 2, 7, 8] *= 1.01
        return dx

    layer, x = wrong(minicnn.Conv2d, alter)(3, 2, 3, rng=0), draw(2, 3, 20, 20)
    report = gradcheck(layer, x)
    row = row_of(report, "x")
    assert (row.verdict, row.index, row.tried, row.size) == ("WRONG", None, 40, 2400)
    assert "all at once" in str(report)
    assert "few elements are wrong" in report.sentence


def test_of_a_large_array_the_largest_gradients_are_tried():
    class Steep(minicnn.Layer):
        """Of 1000 numbers only one has a gradient worth the name; its own is wrong."""

        weights = np.where(np.arange(1000) == 777, 100, 1e-3)

        def forward(self, x):
            return self.weights * x

        def backward(self, dy):
            return np.where(np.arange(1000) == 777, 1.5, 1) * self.weights * dy

    report = gradcheck(Steep(), draw(1000))
    assert row_of(report, "x").index == (777,)
    assert row_of(report, "x").error == pytest.approx(0.5)


def test_backward_wrong_where_it_gives_nothing():
    """Gradients that backward lost are not the largest it claims; random elements and the sum of all find them."""

    class Patchy(minicnn.ReLU):
        def backward(self, dy, need_dx=True):
            dx = super().backward(dy)
            dx[:2] = 0
            return dx

    assert not gradcheck(Patchy(), draw(100, 100))


def test_a_gradient_that_is_small_beside_others_is_not_near_zero():
    class Faint(minicnn.Layer):
        factor = 1

        def __init__(self):
            super().__init__()
            self.params["weight"] = np.ones((3, 4), np.float32)

        def forward(self, x):
            return x + 1e-4 * self.params["weight"]

        def backward(self, dy):
            self.grads["weight"] = 1e-4 * self.factor * dy
            return dy

    layer = Faint()
    assert gradcheck(layer, draw(3, 4))
    layer.factor = 1.01
    assert gradcheck(layer, draw(3, 4)).verdict == "WRONG"


def test_a_lost_gradient_among_many_that_are_zero():
    """Backward gives 0 throughout, and so do the quotients of all elements tried; not that of all together."""

    class Sparse(minicnn.Layer):
        chosen = np.arange(4000) == 3210

        def forward(self, x):
            return self.chosen * x

        def backward(self, dy):
            return 0 * dy

    report = gradcheck(Sparse(), draw(4000))
    assert report.verdict == "WRONG"
    assert (row_of(report, "x").index, row_of(report, "x").backward) == (None, 0)
    assert row_of(report, "x").error == pytest.approx(1)


# Where to look first


def _negative(self, dx):
    return -dx


LOOK = [
    ({"log_softmax": wrong(minicnn.LogSoftmax, _negative)()}, "the backward of log_softmax or fc. For fc.weight"),
    ({"fc": wrong(minicnn.Linear, _negative)(16, 3, rng=0)}, "the backward of fc, flatten, pool, relu2 or conv2."),
    ({"pool": wrong(minicnn.AdaptiveMaxPool2d, _negative)(2)}, "the backward of fc, flatten, pool, relu2 or conv2."),
    ({"conv2": wrong(minicnn.Conv2d, _negative)(3, 4, 3, padding=1, rng=0)}, "the backward of conv2, relu1 or bn1."),
    ({"bn1": wrong(minicnn.BatchNorm2d, _negative)(3)}, "the backward of bn1 or conv1."),
    ({"conv1": wrong(minicnn.Conv2d, _negative)(2, 3, 3, padding=1, rng=0)}, "the backward of conv1."),
    (
        {"conv2": wrong(minicnn.Conv2d, wrong_weight)(3, 4, 3, padding=1, rng=0)},
        'how the backward of conv2 computes grads["weight"]; grads["bias"] is right, so what comes down to conv2 is. '
        "For conv2.weight backward gives 3 times",
    ),
]


@pytest.mark.parametrize(("layers", "words"), LOOK, ids=[words[:40] for _, words in LOOK])
def test_the_layer_to_look_at_first(layers, words):
    report = gradcheck(small_net(**layers), draw(3, 2, 6, 5))
    assert report.sentence.startswith(f"WRONG: look first at {words}")


def test_what_to_look_at_in_a_single_layer():
    def sentence(alter):
        return gradcheck(wrong(minicnn.Linear, alter)(4, 4, rng=0), draw(3, 4)).sentence

    assert sentence(_negative) == (
        'WRONG: look first at how backward computes dx; grads["weight"] and grads["bias"] are right. '
        "For x backward gives -1 times the quotient: a factor or a sign."
    )
    assert "backward gives 0 throughout" in sentence(lambda self, dx: 0 * dx)
    assert "x is furthest off at (" in sentence(lambda self, dx: dx[::-1].copy())
    assert 'what dx and grads["weight"] share, in backward or in forward; grads["bias"] is right' in sentence(
        lambda self, dx: -wrong_weight(self, dx)
    )
