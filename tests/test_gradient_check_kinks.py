"""`minicnn.gradcheck` near kinks and rounding, where a difference quotient means nothing."""

import numpy as np
import pytest

import minicnn
from minicnn import gradcheck
from minicnn.verify.gradcheck.quotients import TOLERANCE
from tests.gradients import Own, draw, row_of, wrong


@pytest.mark.parametrize("distance", [0.0, 1e-300, 1e-12, 1e-9, 1e-8, 5e-8, 1e-7, 1e-6, 1e-5, 3e-5, 1e-4, 1e-2])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_kink_near_by_is_left_out_or_does_no_harm(side, distance):
    """|x| with a curvature, at a distance from its kink. Backward is right on its side, so must not be called wrong."""
    x = draw(20)
    x[3] = side * distance
    report = gradcheck(Own(lambda x: np.abs(x) + x**3, lambda x: np.where(x > 0, 1, -1) + 3 * x**2), x)
    assert report
    assert row_of(report, "x").kinks == (distance <= 1e-7)


@pytest.mark.parametrize("bend", [1e-3, 1.0, 1e3])
def test_a_believed_quotient_is_right(bend):
    """Kinks of any strength at any distance among smooth numbers: where the check says a number, it is the slope."""
    for distance in 2.0 ** np.arange(-30, 0, 0.37):
        x = np.where(np.arange(16) == 5, 1 - distance, np.linspace(1.5, 3, 16))
        kinked = Own(lambda x: x**2 + bend * np.maximum(x - 1, 0) * (x < 1.2), lambda x: 2 * x)
        row = row_of(gradcheck(kinked, x), "x")
        assert row.verdict == "passed"
        assert row.error <= TOLERANCE


@pytest.mark.quick
def test_kinks_are_counted_and_many_are_refused():
    relu = minicnn.ReLU()
    x = draw(4, 5)
    x.flat[[3, 8, 11, 14, 17]] = 0
    report = gradcheck(relu, x).require()
    assert (row_of(report, "x").kinks, row_of(report, "x").tried) == (5, 20)
    x.flat[[0]] = 0
    report = gradcheck(relu, x)
    assert report.verdict == "refused"
    assert "at 6 of 20 elements of x the slope jumps" in report.sentence
    assert row_of(report, "x").index == (0, 0)


def test_kinks_do_not_hide_what_is_wrong():
    x = draw(4, 5)
    x.flat[[3, 8, 11, 14, 17]] = 0
    for slope in (lambda x: (x > 0) * 2.0, np.ones_like, np.zeros_like, lambda x: np.where(x == 0, 1e12, (x > 0) * 2)):
        assert gradcheck(Own(lambda x: np.maximum(x, 0), slope), x).verdict == "WRONG"


def test_a_kink_without_bounds_excuses_nothing():
    """The cube root at 0 has quotients of 1e5. They are not the measure of the others, where 1 % is too much."""
    x = draw(20)
    x[[3, 8, 11, 14, 17]] = 0
    with np.errstate(divide="ignore"):
        for factor, verdict in ((1, "passed"), (1.01, "WRONG")):
            slope = lambda x, factor=factor: np.where(x == 0, 0, factor / 3 * np.abs(x) ** (-2 / 3))  # noqa: E731
            assert gradcheck(Own(np.cbrt, slope), x).verdict == verdict


@pytest.mark.parametrize("kind", ["max", "adaptive"])
def test_ties_in_max_pooling(kind):
    pool = minicnn.MaxPool2d(2) if kind == "max" else minicnn.AdaptiveMaxPool2d(3)
    x = draw(2, 2, 6, 6)
    x[0, 0, :2, :2] = 3.0  # an exact tie of four
    x[1, 1, 2, 2:4] = 3.0, 3.0 + 1e-9  # a near one
    report = gradcheck(pool, x, elements=200).require()
    assert row_of(report, "x").kinks == 6
    assert not gradcheck(pool, np.ones((2, 2, 6, 6)))
    assert not gradcheck(wrong(type(pool), lambda self, dx: dx * 2)(2 if kind == "max" else 3), x, elements=200)


def test_a_forward_that_loses_digits_is_not_blamed_on_backward():
    """Rounded to float32 on the way, L moves in steps: the quotients say so themselves."""
    report = gradcheck(Own(lambda x: np.sin(x.astype(np.float32)).astype(np.float64), np.cos), draw(3, 4))
    assert report.verdict == "refused"
    assert "rounding" in report.sentence


def test_where_forward_ends():
    """A root at 1e-12: forward is nan to the left."""
    x = np.abs(draw(12)) + 1
    x[4] = 1e-12
    report = gradcheck(Own(np.sqrt, lambda x: 0.5 / np.sqrt(x)), x).require()
    assert row_of(report, "x").kinks == 1
