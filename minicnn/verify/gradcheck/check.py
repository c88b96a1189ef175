"""The numeric gradient check: is backward the derivative of forward?

Weighted with random numbers dy, the output of a layer becomes one number, a function of the input and every parameter:

    L = sum of dy * y          or, of a network with a loss,          L = loss(y, labels)

Backward claims to know dL/da for each element a of them. Forward can be asked: move a alone a little, and see what
becomes of L. The claim is held against the central difference quotient,

    dL/da ≈ (L(a + h) - L(a - h)) / 2h          which is off by h² L''' / 6, and by rounding, about 1e-16 * L / h

A quotient means nothing where L has a kink between a - h and a + h (an input of ReLU that passes 0, two cells of a max
pooling that change places). So every quotient comes with a measure of its own error. The five points a - 2h, …, a + 2h
have four slopes between them, and the slopes three differences, the bends. Where L is smooth the bends are alike,
h L''. A kink bends the line at one place only, and so the bends differ. Their spread, the largest less the smallest,
bounds what the quotient is off by:

    a kink by J at distance d < h        quotient off by J (1 - d/h) / 2, spread of J (1 - d/h) or more: 2 times
    L'''                                 quotient off by h² L''' / 6, spread 2 h² L''':                  12 times
    rounding in each L                   likewise, in the mean                                           8 times

Two quotients of different h, the usual remedy, agree at a kink exactly at a, such as ReLU at 0; the slopes to the left
and to the right of a disagree on every curve. The spread errs in neither.
"""

from contextlib import nullcontext
from itertools import pairwise
from types import SimpleNamespace

import numpy as np

from minicnn.backends import get_backend
from minicnn.checks import as_floats, as_int, require_shape
from minicnn.images import Images
from minicnn.layers import Layer
from minicnn.layers.initialisation import as_generator
from minicnn.network import Sequential
from minicnn.verify.gradcheck.report import KINKS, NEAR_ZERO, PASSED, WRONG, ArrayCheck, GradientReport
from minicnn.verify.isolate import own_copy

# The steps h, tried in turn until the spread of the bends is small: the first for its small rounding error, about
# 1e-16 / 3e-5 = 3e-12 of L, the later ones to get out of the reach of a kink near by; at the last, rounding comes to
# 2e-9. Powers of two, so that a ± h is exact. For |a| above 1 they grow with a.
STEPS = [2.0**-exponent for exponent in (15, 18, 21, 24)]

# The error that passes, relative to the largest quotient of the array. What float64 gives is mostly 1e-9; the finest
# mistakes, such as a forgotten eps of 1e-5 beside a variance of 1, are 5e-6. Relative to the array, since a small
# element is the difference of large ones and carries their rounding.
TOLERANCE = 2e-6

# The spread of bends with which a quotient is believed, relative likewise. A kink can then have moved it by an eighth
# of the tolerance. Rounding shows in the spread in the mean only, and by chance it may show less: hence the margin.
BELIEVED = TOLERANCE / 4

# How far backward's values may be from one multiple of the quotients for this to be called a factor.
FACTOR_TOLERANCE = 1e-4

# Gradients up to this part of |dy| * rms(y) are near zero; of numbers a above 1, up to this part of it divided by a,
# since y changes in proportion. Rounding makes some 1e-11 of it where the truth is 0.
NEARLY_ZERO = 1e-6

# And up to this part of a loss above 1. One near 0 is mostly the log of 1 and some, and moves in steps of 1e-16.
NEARLY_ZERO_OF_LOSS = 1e-9

# The share of elements that may be left out for kinks. Random numbers have next to none at the smallest step. More
# than a quarter means that the input lies on kinks by construction, as integers with ties do; what backward does there
# is then a good part of what it does, and nobody has looked at it.
MOST_KINKS = 1 / 4


def gradcheck(layer, x, y=None, *, loss=None, elements=40, rng=0):
    """Hold backward against difference quotients of forward, in float64, for the input and every parameter.

        L = sum of dy * layer(x)     with random dy; with a loss, L = loss(layer(x), y)
        dL/da ≈ (L(a + h) - L(a - h)) / 2h     for single elements a; and for a step that moves all at once

    after "Gradient checks" in the notes of Stanford's CS231n, with their advice built in: float64, central differences,
    relative errors, no kinks in the way. An array passes if every quotient is met to two millionths of the largest one.
    A gradient that is near zero on both sides shows nothing, nor do many kinks, nor very few elements: such a check is
    refused, not passed. In a network a single parameter may be near zero if another of the same layer passes, as the
    bias of a convolution before batchnorm must be.

    The check is of this x and this mode. Best is a small x that no mistake can hide in: several images, H ≠ W, more
    than one channel, random numbers of about 1. What it cannot see is a forward and a backward that are wrong together.

    Layer, x and loss stay as they are: the passes are made on a copy, in the layer's present mode and on its backend;
    that of a layer on "cuda" on "cpu", since most graphics cards are slow in float64.

    Args:
        layer: any Layer, a network, or a layer of your own with a forward and a backward.
        x: an input as the layer takes it, array or `Images`, of either dtype.
        y, loss: the labels and a loss such as `CrossEntropyLoss()`, to check a network through its loss. A loss alone
            is checked behind `Flatten()`, which changes no (N, K).
        elements: of a larger array this many are tried, half of them those with the largest gradients, the others
            random; and once all are moved together. At least 8.
        rng: a numpy Generator or a seed for dy and for the choice of elements.

    Returns:
        `GradientReport`: true if all is shown to be right; printed, a table; `require()` raises where it is not true.

    Raises:
        TypeError: not a layer, y without loss or the reverse, x that is not of floats; a forward, or a backward, that
            gives no float64 arrays for a float64 input.
        ValueError: numbers in x, parameters or output that are not finite; gradients that backward left out or that
            have another shape; a forward that gives another output the second time, with random numbers of its own.
        RuntimeError: a layer that cannot be copied.
        And whatever the layer raises.

    >>> import minicnn
    >>> class Square(minicnn.Layer):
    ...     def forward(self, x):
    ...         self.x = x
    ...         return x * x
    ...
    ...     def backward(self, dy):
    ...         return dy * self.x
    >>> print(gradcheck(Square(), np.array([[0.5, 1.0], [-1.5, 2.0]])))
    gradcheck of Square(), x (2, 2), random dy, training mode, float64 on cpu
    <BLANKLINE>
    gradient of  worst at  backward  quotient  rel. error  tried   kinks
    x            (1, 0)    -1.10393  -2.20787     5.0e-01  4 of 4      0  WRONG
    <BLANKLINE>
    WRONG: look first at how backward computes dx. For x backward gives 0.5 times the quotient: a factor or a sign.
    >>> images = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    >>> bool(gradcheck(minicnn.Conv2d(3, 2, kernel_size=3, padding=1, rng=0), images))
    True
    """
    if not isinstance(layer, Layer):
        raise TypeError(f"gradcheck: expected a layer or a network, got {layer!r}")
    if (y is None) != (loss is None):
        raise TypeError("gradcheck: expected labels y and a loss, or neither; got one without the other")
    elements = as_int(elements, "gradcheck: elements", 8)
    rng = as_generator(rng).spawn(1)[0]  # or a dy from seed 0 might be the very numbers of an x from seed 0
    x = as_floats(get_backend("reference"), x, "gradcheck: x").astype(np.float64)
    layer = _copy_of(layer)
    loss = None if loss is None else own_copy(loss, "gradcheck", "the loss")
    if hasattr(loss, "to"):
        loss.to(_backend_of(layer))
    few_threads = nullcontext()
    if _backend_of(layer) == "cpu":
        from minicnn.backends.cpu.runtime.jit import one_thread  # here, so that importing minicnn need not import numba

        few_threads = one_thread()  # for thousands of small passes the others cost more than they do
    with few_threads, np.errstate(all="ignore"):  # what is not finite is found below, and is said with its place
        return _checked(layer, x, y, loss, elements, rng)


def _checked(layer, x, labels, loss, elements, rng):
    """The report. The layer, x and the loss are the check's own."""
    params = _params(layer)
    for name, array in [("x", x), *params.items(), *_states(layer)]:
        _require_finite(array, name)
    output, dy, gradients = _both_passes(layer, x, labels, loss, params, rng)
    near_zero = NEARLY_ZERO * np.linalg.norm(_numbers(dy)) * _rms(_numbers(output))
    function = _Function(layer, x, labels, loss, dy)
    if loss is not None:
        near_zero = max(near_zero, NEARLY_ZERO_OF_LOSS * max(1, abs(function.here)))
    if not np.array_equal(_numbers(output), function.output()):
        raise ValueError(
            f"gradcheck: {type(layer).__name__}.forward gave another output the second time, for the same input; "
            "there is no derivative of a function that changes. Fix its random numbers, or whatever it alters"
        )
    arrays = [
        _check(function, name, array, gradients[name], near_zero, elements, rng)
        for name, array in [("x", x), *params.items()]
    ]
    names = tuple(name for name, _ in layer.named_layers()) if isinstance(layer, Sequential) else ()
    return GradientReport(_described(layer, x, loss), tuple(arrays), names)


# The copy and its passes


def _copy_of(layer):
    """A copy in float64 on the host, without what earlier passes left in the layer."""
    instead = {}
    for part in _parts(layer):
        for array in [*part.params.values(), *part.state.values()]:
            instead[id(array)] = np.array(part.ops.to_numpy(array))
        instead[id(part.grads)] = {}
        if isinstance(part.memory, SimpleNamespace):
            instead[id(part.memory)] = SimpleNamespace()
    copied = own_copy(layer, "gradcheck", type(layer).__name__, instead)
    return copied.to("cpu" if _backend_of(layer) == "cuda" else None, np.float64)


def _parts(layer):
    """The layer, and if it is a network all layers in it."""
    yield layer
    for child in layer.children.values() if isinstance(layer, Sequential) else ():
        yield from _parts(child)


def _backend_of(layer):
    return layer.ops.__name__.rpartition(".")[2]


def _params(layer):
    """{name: array} of all parameters, of a network with the layer's name before, "conv1.weight"."""
    if isinstance(layer, Sequential):
        return {name: part.params[key] for name, part, key in layer.named_params()}
    return dict(layer.params)


def _states(layer):
    return [(f"state {key!r}", array) for part in _parts(layer) for key, array in part.state.items()]


def _grads(layer):
    if isinstance(layer, Sequential):
        return {name: part.grads.get(key) for name, part, key in layer.named_params()}
    return layer.grads


def _both_passes(layer, x, labels, loss, params, rng):
    """(output, dy, gradients by name) of one forward and one backward."""
    name = type(layer).__name__
    output = _own(layer.forward(_own(x)), f"gradcheck: the output of {name}.forward")
    _require_finite(output, f"the output of {name}.forward")
    if loss is None:
        dy = _like(output, rng.standard_normal(_numbers(output).size))
    else:
        loss.forward(_own(output), labels)
        dy = _own(loss.backward(), f"gradcheck: the gradient of {type(loss).__name__}.backward", output)
    gradients = {"x": _own(layer.backward(_own(dy)), f"gradcheck: dx of {name}.backward", x)}
    grads = _grads(layer)
    for key, param in params.items():
        if grads.get(key) is None:
            raise ValueError(f"gradcheck: expected {name}.backward to assign a gradient of {key!r}, got none")
        gradients[key] = _own(grads[key], f"gradcheck: the gradient of {key!r} of {name}.backward", param)
    return output, dy, gradients


def _own(array, what="", like=None):
    """A copy of what a layer gave or is given, checked: float64, and of the shape of `like`."""
    if not isinstance(array, (np.ndarray, np.floating, Images)):
        raise TypeError(f"{what}: expected an array, got {type(array).__name__}")
    if array.dtype != np.float64:
        raise TypeError(f"{what}: expected float64 as the input is, got {array.dtype}; keep the dtype of the input")
    if like is not None:
        require_shape(array, like.shape, what)
    return array.astype(np.float64)


def _numbers(array):
    """All numbers of an array or of `Images` as they lie in memory, (n,): a view."""
    return array.data if isinstance(array, Images) else array.reshape(-1)


def _like(array, numbers):
    return array.like(numbers) if isinstance(array, Images) else numbers.reshape(array.shape)


def _require_finite(array, what):
    numbers = _numbers(array)
    finite = np.isfinite(numbers)
    if not finite.all():
        first = np.argmin(finite)
        raise ValueError(
            f"gradcheck: {what}: expected finite numbers, got {np.sum(~finite)} of {finite.size} that are not, "
            f"the first of them {numbers[first]} at {_index(array, first)}"
        )


def _described(layer, x, loss):
    what = type(layer).__name__ if isinstance(layer, Sequential) else repr(layer)
    modes = {part.training for part in _parts(layer) if not isinstance(part, Sequential)}
    mode = "mixed" if len(modes) > 1 else "training" if modes.pop() else "evaluation"
    weighted = "random dy" if loss is None else type(loss).__name__
    size = x if isinstance(x, Images) else x.shape
    return f"{what}, x {size}, {weighted}, {mode} mode, float64 on {_backend_of(layer)}"


# The quotients


class _Function:
    """L as a function of the arrays that it is made of, which are moved in place."""

    def __init__(self, layer, x, labels, loss, dy):
        self.layer, self.x, self.labels, self.loss = layer, x, labels, loss
        self.dy = _numbers(dy)
        self.here = self._terms()

    def output(self):
        return _numbers(self.layer.forward(_own(self.x))).copy()

    def quotient(self, numbers, where, direction, step):
        """(the quotient, the spread of the bends) as numbers[where] moves along `direction`."""
        before, terms = numbers[where].copy(), []
        for steps in (-2, -1, 0, 1, 2):
            numbers[where] = before + steps * step * direction
            terms.append(self._terms() if steps else self.here)
        numbers[where] = before
        # Differences first, then the sum: outputs that do not change add no rounding.
        slopes = [self._sum(after - before) / step for before, after in pairwise(terms)]
        return (slopes[1] + slopes[2]) / 2, np.ptp(np.diff(slopes))

    def _terms(self):
        """Numbers that L is a weighted sum of: the outputs, or the loss alone."""
        if self.loss is None:
            return self.output()
        return np.float64(self.loss.forward(self.layer.forward(_own(self.x)), self.labels))

    def _sum(self, terms):
        return self.dy @ terms if self.loss is None else terms


def _check(function, name, array, gradient, near_zero, elements, rng):
    """The `ArrayCheck` of one array."""
    numbers, claims = _numbers(array), _numbers(gradient)
    near_zero = near_zero / max(1, _rms(numbers))
    places = _chosen(claims, elements, rng)
    claimed, finite = claims[places], np.isfinite(claims).all()
    largest_claim = np.abs(claims).max() if finite else np.inf

    def measure(at, step):
        place = places[at]
        return function.quotient(numbers, place, 1.0, step * _power_of_two(max(1, abs(numbers[place]))))

    quotients, believed, scale = _measured(measure, len(places), largest_claim, near_zero)
    errors = np.where(believed, np.abs(claimed - quotients) / (scale or 1), -1)  # what is not believed is never worst
    errors[~np.isfinite(claimed)] = np.inf
    kinks = int(np.sum(~believed))

    def row(verdict, at, **more):
        fields = {
            "index": _index(array, places[at]),
            "backward": float(claimed[at]),
            "quotient": float(quotients[at]),
            "error": float(errors[at]),
        }
        counts = {"tried": len(places), "size": numbers.size, "kinks": kinks}
        return ArrayCheck(name, verdict, **fields | counts | more)

    worst, near = np.argmax(errors), max(largest_claim, np.abs(quotients).max()) <= near_zero
    if finite and not near and kinks > MOST_KINKS * len(places):
        return row(KINKS, np.argmin(believed), error=None)
    if not near and errors[worst] > TOLERANCE:
        return row(WRONG, worst, factor=_factor(claimed[believed], quotients[believed]))

    together = {}
    if len(places) < numbers.size:
        allowed = near_zero if near else TOLERANCE * scale
        enough = allowed * BELIEVED / TOLERANCE
        claim, quotient, spread = _all_at_once(function, numbers, claims, enough, rng)
        together = {"all_at_once": bool(spread <= enough)}
        if together["all_at_once"] and abs(claim - quotient) > allowed:
            error = abs(claim - quotient) / max(scale, abs(claim), abs(quotient))
            return row(WRONG, worst, **together, index=None, backward=claim, quotient=quotient, error=error)
    if near:
        return row(NEAR_ZERO, np.argmax(np.abs(quotients)), **together, error=None, kinks=0)
    return row(PASSED, worst, **together)


def _chosen(claims, elements, rng):
    """The places that are tried: all, or half of them those of the largest gradients and half random others."""
    if claims.size <= elements:
        return np.arange(claims.size)
    largest = np.argsort(np.abs(claims))[-(elements // 2) :]  # what is not a number is sorted to the end, too
    others = np.setdiff1d(np.arange(claims.size), largest)
    return np.sort(np.concatenate([largest, rng.choice(others, elements - len(largest), replace=False)]))


def _measured(measure, count, largest_claim, near_zero):
    """Quotients (n,), which of them are believed (n,), and the scale that both their spreads and errors refer to.

    The scale is the largest quotient that is sound even beside itself. What backward claims has no part in it, or a
    huge wrong claim would excuse all others; unless the true gradient is 0, which has no scale of its own.
    """
    quotients, spreads, believed = np.zeros(count), np.zeros(count), np.zeros(count, bool)
    for step in STEPS:
        for at in np.flatnonzero(~believed):
            quotients[at], spreads[at] = measure(at, step)
        if step == STEPS[0]:
            first, leeway = quotients.copy(), spreads.copy()
        # A forward that rounds to float32 is a flight of stairs, which a small step finds flat.
        consistent = np.abs(quotients - first) <= leeway
        clean = consistent & (spreads <= BELIEVED * np.abs(quotients))
        largest = np.abs(quotients[clean]).max(initial=0)
        scale = float(largest if largest > near_zero else largest_claim)
        believed = consistent & (spreads <= BELIEVED * scale)
        if believed.all() or max(largest_claim, np.abs(quotients).max()) <= near_zero:
            break
    return quotients, believed, scale


def _all_at_once(function, numbers, claims, enough, rng):
    """(backward's claim, the quotient, the spread) where all elements are moved together, each up or down at random.

    L must then change by the sum of all gradients with these signs: a single wrong one shows, wherever it is. The step
    is as long as that of one alone, so that the many cross no more kinks than it; it is shortened until the spread is
    small enough.
    """
    signs = rng.choice([-1.0, 1.0], numbers.size) / _power_of_two(np.sqrt(numbers.size))
    for step in STEPS:
        step *= _power_of_two(max(1, _rms(numbers)))
        quotient, spread = function.quotient(numbers, slice(None), signs, step)
        if spread <= enough:
            break
    return float(claims @ signs), float(quotient), spread


def _factor(claimed, quotients):
    """backward / quotient where that is one number for all, else None."""
    if len(quotients) < 2 or not np.isfinite(claimed).all() or not quotients.any():
        return None
    factor = (claimed @ quotients) / (quotients @ quotients)
    same = np.abs(claimed - factor * quotients).max() <= FACTOR_TOLERANCE * np.abs(quotients).max()
    return float(factor) if same else None


def _rms(numbers):
    return np.sqrt(np.mean(np.square(numbers)))


def _power_of_two(number):
    """The largest power of two up to `number`."""
    return 2.0 ** np.floor(np.log2(number))


def _index(array, place):
    """The place as an index (of `Images` the image's number first), as Python integers."""
    if not isinstance(array, Images):
        return tuple(map(int, np.unravel_index(place, array.shape)))
    n = int(np.searchsorted(array.channels * array.starts, place, side="right")) - 1
    within = np.unravel_index(place - array.channels * array.starts[n], array[n].shape)
    return (n, *map(int, within))
