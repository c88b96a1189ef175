"""Functions for the start or stop of an adaptive window as someone may write them, nearly all of them wrong.

Whole numbers: floor, ceil or round of ((p + b) * (n_in + a) + c * n_out + d) / (n_out + e), for small b, a, c, d, e;
windows of one size at even steps. Floats: every order in which the quotient can be worked out, in three precisions,
with and without a small number added, rounded in every way.
"""

from itertools import product

import numpy as np

LARGEST = 256  # of the sizes on which a function that no case rejects must be right


def _rounded_quotient(rounding, top, bottom):
    if rounding == "floor":
        return top // bottom
    if rounding == "ceil":
        return -(-top // bottom)
    return (2 * top + bottom) // (2 * bottom)


def whole_functions():
    """(what it is, function of p, n_in, n_out as arrays of whole numbers) for each."""
    small = (-1, 0, 1)
    for rounding, b, a, c, d, e in product(("floor", "ceil", "round"), small, small, small, (-2, -1, 0, 1, 2), small):

        def function(p, n_in, n_out, rounding=rounding, b=b, a=a, c=c, d=d, e=e):
            return _rounded_quotient(rounding, (p + b) * (n_in + a) + c * n_out + d, np.maximum(n_out + e, 1))

        yield f"{rounding} of ((p + {b}) * (n_in + {a}) + {c} * n_out + {d}) / (n_out + {e})", function
    for step, size, after in product(("floor", "ceil", "round"), ("floor", "ceil", "round", "none"), (0, 1)):

        def of_equal_steps(p, n_in, n_out, step=step, size=size, after=after):
            start = (p + after) * _rounded_quotient(step, n_in, n_out)
            return start if size == "none" else start + _rounded_quotient(size, n_in, n_out)

        def of_one_size(p, n_in, n_out, step=step, size=size, after=after):
            start = _rounded_quotient(step, p * n_in, n_out)
            return start + after if size == "none" else start + _rounded_quotient(size, n_in, n_out) + after

        def cut(p, n_in, n_out, step=step, size=size, after=after, one_size=of_one_size):
            return np.minimum(one_size(p, n_in, n_out), n_in)

        yield f"steps of {step}, size {size}, p + {after}", of_equal_steps
        yield f"start {step}, and size {size}, + {after}", of_one_size
        yield f"start {step}, and size {size}, + {after}, at most n_in", cut
    for rounding, more in product(("floor", "ceil", "round"), ("n_in", "p", "always")):

        def more_where_there_is_a_rest(p, n_in, n_out, rounding=rounding, more=more):
            rest = {"n_in": n_in % n_out > 0, "p": (p + 1) % n_out > 0, "always": n_in > 0}[more]
            return _rounded_quotient(rounding, (p + 1) * n_in, n_out) + rest

        yield f"{rounding}, and one more where {more} leaves a rest", more_where_there_is_a_rest


def float_functions():
    """The same, worked out with floats."""
    orders = {
        "p * n_in / n_out": lambda p, n_in, n_out: p * n_in / n_out,
        "p * (n_in / n_out)": lambda p, n_in, n_out: p * (n_in / n_out),
        "(p / n_out) * n_in": lambda p, n_in, n_out: (p / n_out) * n_in,
        "p * n_in * (1 / n_out)": lambda p, n_in, n_out: p * n_in * (1 / n_out),
        "n_in / (n_out / p)": lambda p, n_in, n_out: n_in / (n_out / np.where(p == 0, np.inf, p).astype(n_out.dtype)),
    }
    roundings = {"floor": np.floor, "ceil": np.ceil, "round": np.rint, "floor(x + 0.5)": lambda x: np.floor(x + 0.5)}
    added = (0, 0.5, *(sign * 10.0**-k for k in (1, 2, 3, 4, 6, 7, 9, 12) for sign in (1, -1)))
    for (order, quotient), (rounding, rounded), dtype, after, extra in product(
        orders.items(), roundings.items(), (np.float64, np.float32, np.float16), (0, 1), added
    ):

        def function(p, n_in, n_out, quotient=quotient, rounded=rounded, dtype=dtype, after=after, extra=extra):
            with np.errstate(all="ignore"):
                numbers = (np.asarray(array).astype(dtype) for array in (p + after, n_in, n_out))
                return rounded(quotient(*numbers) + dtype(extra))

        yield f"{rounding} of {order} + {extra:g}, p + {after}, {dtype.__name__}", function


def all_windows(sizes):
    """(p, n_in, n_out) as arrays, for each window of each size."""
    return tuple(np.array(column) for column in zip(*((p, n, m) for n, m in sizes for p in range(m)), strict=True))
