"""The judge: plays a recipe twice on the cpu backend, and once on the reference with ordinary arrays."""

import numpy as np

from minicnn import Images
from tests.hostile.recipes import PLACES
from tests.hostile.world import HOSTILE_DTYPE, World
from tests.twists import NoMeaning, OwnError

# Where results go through the float64 of the judge: of the largest number, or of 0.1 where that is larger.
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
REASONS = ("forward", "the loss is", "finite", "no gradient", "operations of its own", "evaluation mode")


def play(recipe):
    """Raise AssertionError where the framework does not keep the rule."""
    place, choices, twist, dtype, number_seed = recipe
    HOSTILE_DTYPE[0] = np.dtype(dtype)
    function = PLACES[place][0]
    first, second = (_attempt(function, World("cpu", dtype, twist, number_seed, True), choices) for _ in range(2))
    expected = _attempt(function, World("reference", "float64", twist, number_seed, False), choices)
    if isinstance(first, BaseException):
        _require_allowed(first)
        assert type(first) is type(second), f"raised {first!r}, and the second time {second!r}"
        return
    assert not isinstance(second, BaseException), f"the second time, it raised {second!r}"
    _require_the_same(first, second)
    if isinstance(expected, BaseException):
        if place in ("resized", "aliased") and isinstance(expected, NoMeaning):
            return
        raise AssertionError(f"took what has no meaning, where the judge says {type(expected).__name__}: {expected}")
    require_close(first, expected, TOLERANCE["float32" if place == "moved" else dtype])


def _attempt(function, world, choices):
    try:
        found = function(world, **choices)
        return {name: _leaves(value) if name == "result" else [_numbers(value)] for name, value in found.items()}
    except AssertionError:
        raise
    except Exception as error:
        return error


def _require_allowed(error):
    if isinstance(error, ValueError | TypeError | OwnError):
        return
    if isinstance(error, RuntimeError) and any(reason in str(error) for reason in REASONS):
        return
    if isinstance(error, NoMeaning):
        return
    raise AssertionError(f"raised {type(error).__name__}: {error}") from error


def _leaves(value):
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in _leaves(part)]
    return [_numbers(value)]


def _numbers(value):
    return np.array(value.data if isinstance(value, Images) else value)


def _require_the_same(first, second):
    for name in first:
        for a, b in zip(first[name], second[name], strict=True):
            assert a.dtype == object or a.tobytes() == b.tobytes(), f"{name}: other numbers the second time"


def require_close(found, expected, tolerance):
    for name in expected:
        for a, b in zip(found[name], expected[name], strict=True):
            assert a.shape == b.shape, f"{name}: expected shape {b.shape}, got {a.shape}"
            try:
                a, b = a.astype(np.float64), b.astype(np.float64)
            except (TypeError, ValueError) as error:
                raise AssertionError(f"{name}: is no array of numbers: {error}") from error
            finite = np.isfinite(b)
            assert np.array_equal(np.isnan(a), np.isnan(b)), f"{name}: NaN in other places"
            scale = max(np.abs(b[finite]).max(initial=0), 0.1)
            off = np.abs(a[finite] - b[finite]).max(initial=0) / scale
            assert off <= tolerance, f"{name}: other numbers, off by {off:.1e} of the largest"
