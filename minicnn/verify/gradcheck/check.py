"""The numeric gradient check: is backward the derivative of forward?"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minicnn.backends import get_backend
from minicnn.checks import as_floats, as_int
from minicnn.images import Batch, Images
from minicnn.layers import Layer
from minicnn.layers.initialisation import as_generator
from minicnn.losses import Loss
from minicnn.network import Sequential
from minicnn.plain import Array
from minicnn.verify.gradcheck.arrays import flat, like, require_finite, rms
from minicnn.verify.gradcheck.passes import backend_of, both_passes, float64_copy, memories, params_of, parts_of, redraw
from minicnn.verify.gradcheck.quotients import Function
from minicnn.verify.gradcheck.report import WRONG, GradientReport
from minicnn.verify.gradcheck.verdict import checked_array
from minicnn.verify.isolate import own_copy

# Gradients up to this part of |dy| * rms(y) are near zero; of numbers a above 1, up to this part of it divided by a,
# since y changes in proportion. Rounding makes some 1e-11 of it where the truth is 0.
NEARLY_ZERO = 1e-6

# What a second x has among its numbers: this share of them, of magnitudes that lie evenly between these.
SHARE_OF_LARGE, LARGE = 0.25, (2.0, 12.0)

# And up to this part of a loss above 1. One near 0 is mostly the log of 1 and some, and moves in steps of 1e-16.
NEARLY_ZERO_OF_LOSS = 1e-9


def gradcheck(
    layer: Layer,
    x: Batch,
    y: ArrayLike | None = None,
    *,
    loss: Loss | None = None,
    elements: int = 40,
    rng: np.random.Generator | int | None = 0,
) -> GradientReport:
    """Hold backward against difference quotients of forward, in float64, for the input and every parameter.

        L = sum of dy * layer(x)     with random dy; with a loss, L = loss(layer(x), y)
        dL/da ≈ (L(a + h) - L(a - h)) / 2h     for single elements a; and for a step that moves all at once

    after "Gradient checks" in the notes of Stanford's CS231n, with their advice built in: float64, central differences,
    relative errors, no kinks in the way. An array passes if every quotient is met to two millionths of the largest one.
    A gradient that is near zero on both sides shows nothing, nor do many kinks, nor very few elements: such a check is
    refused, not passed. In a network a single parameter may be near zero if another of the same layer passes, as the
    bias of a convolution before batchnorm must be.

    The contract of a layer is held as well: x, dy and parameters are not written to, gradients are assigned and not
    added to, they are the same with need_dx=False, and nothing is kept of an earlier pass, on another x and with other
    parameters. Buffers of its own a layer may write to. And what passes is tried once more with less for a mistake to
    hide in: parameters whose numbers are all alike, as the weights 1 of a new batchnorm, are drawn anew; one image
    becomes two; and among the numbers of x are some up to ±12. Where that finds a mistake, the report is of that check.

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
        TypeError: not a layer, y without loss or the reverse, x or a parameter that is not of floats; a forward, or a
            backward, that gives no float64 arrays for a float64 input.
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
    layer = float64_copy(layer)
    if loss is not None:
        loss = own_copy(loss, "gradcheck", "the loss")
        if hasattr(loss, "to"):
            loss.to(backend_of(layer))
    few_threads: AbstractContextManager[None] = nullcontext()
    if backend_of(layer) == "cpu":
        from minicnn.backends.cpu.runtime.jit import one_thread  # here, so that importing minicnn need not import numba

        few_threads = one_thread()  # for thousands of small passes the others cost more than they do
    with few_threads, np.errstate(all="ignore"):  # what is not finite is found below, and is said with its place
        report = _checked(layer, x, y, loss, elements, rng)
        found = _wider(layer, x, y, loss, elements, rng) if report else None
        return report if found is None else found


def _wider(
    layer: Layer, x: Array | Images, labels: Any, loss: Loss | None, elements: int, rng: np.random.Generator
) -> GradientReport | None:
    """The report of a check that finds a mistake which this x hides; None where it finds none.

    With parameters whose numbers are not all alike, with two images where x has one, and with numbers up to ±12 among
    those of x, where a clipped activation shows. Whatever cannot take such an x is not asked for more than it can.
    """
    redraw(layer, rng)
    wide = like(x, _with_large(flat(x), rng))
    for others in ([like(x, flat(x).copy())], [_twice(wide, rng), wide]):
        for another in others:
            of_another = labels if labels is None or len(another) == len(x) else np.concatenate([labels, labels])
            try:
                report = _checked(layer, another, of_another, loss, elements, rng)
            except Exception:  # this is more than was asked for: an x out of a layer's range, or of another size
                continue
            if report.verdict == WRONG:
                return report
            break
    return None


def _with_large(numbers: Array, rng: np.random.Generator) -> Array:
    """The numbers (n,), some of them of a magnitude as `LARGE` says, with the signs that they had."""
    wide, some = numbers.copy(), rng.random(numbers.size) < SHARE_OF_LARGE
    wide[some] = np.sign(wide[some]) * rng.permutation(np.linspace(*LARGE, int(some.sum())))
    return wide


def _twice(x: Array | Images, rng: np.random.Generator) -> Array | Images:
    """x, and if it is one image that with one of the same numbers in another order."""
    if len(x) != 1 or (isinstance(x, np.ndarray) and x.ndim < 2):
        return x
    other = rng.permutation(flat(x)).reshape(x[0].shape)
    return Images([x[0], other]) if isinstance(x, Images) else np.stack([x[0], other])


def _checked(
    layer: Layer, x: Array | Images, labels: Any, loss: Loss | None, elements: int, rng: np.random.Generator
) -> GradientReport:
    """The report. The layer, x and the loss are the check's own."""
    params = params_of(layer)
    states = [(f"state {key!r}", array) for part in parts_of(layer) for key, array in part.state.items()]
    for name, array in [("x", x), *params.items(), *states]:
        require_finite(array, name)
        if name in params and array.dtype != np.float64:
            raise TypeError(
                f"gradcheck: expected the parameter {name!r} of {type(layer).__name__} as floats, which can be moved a "
                f"little, got {array.dtype}; make it with dtype=np.float32"
            )
    fresh = float64_copy(layer)
    output, dy, gradients, breaches = both_passes(layer, x, labels, loss, params, rng)
    near_zero = NEARLY_ZERO * np.linalg.norm(flat(dy)) * rms(flat(output))
    function = Function(layer, x, labels, loss, dy)
    if loss is not None:
        near_zero = max(near_zero, NEARLY_ZERO_OF_LOSS * max(1, abs(function.here)))
    if not breaches and not np.array_equal(flat(output), function.output()):
        raise ValueError(
            f"gradcheck: {type(layer).__name__}.forward gave another output the second time, for the same input; "
            "there is no derivative of a function that changes. Fix its random numbers, or whatever it alters"
        )
    breaches = breaches or memories(layer, fresh, x, dy, gradients, rng)
    arrays = [
        checked_array(function, name, array, gradients[name], near_zero, elements, rng)
        for name, array in [("x", x), *params.items()]
    ]
    names = tuple(name for name, _ in layer.named_layers()) if isinstance(layer, Sequential) else ()
    return GradientReport(_described(layer, x, loss), tuple(arrays), names, tuple(breaches), _is_random(x))


def _is_random(x: Array | Images) -> bool:
    """Whether x is as it should be: numbers of about 1, no two alike."""
    numbers = flat(x)
    return bool(len(np.unique(numbers)) == numbers.size and 0.1 <= rms(numbers) <= 10)


def _described(layer: Layer, x: Array | Images, loss: Loss | None) -> str:
    what = type(layer).__name__ if isinstance(layer, Sequential) else repr(layer)
    modes = {part.training for part in parts_of(layer) if not isinstance(part, Sequential)}
    mode = "mixed" if len(modes) > 1 else "training" if modes.pop() else "evaluation"
    weighted = "random dy" if loss is None else type(loss).__name__
    size = x if isinstance(x, Images) else x.shape
    return f"{what}, x {size}, {weighted}, {mode} mode, float64 on {backend_of(layer)}"
