"""Window and size arithmetic: every index formula of the package, in integers.

A window is the range of one image axis that one output cell looks at. Convolution, fixed pooling and
adaptive pooling differ in nothing but the rule that says where the windows lie:

    fixed      start = p * stride - padding              stop = start + kernel
    adaptive   start = floor(p * n_in / n_out)           stop = ceil((p + 1) * n_in / n_out)

Everything here is one axis at a time and integer only. Floating point would be wrong: for 7 cells in 25
windows, `ceil(25 * (7 / 25))` is 8 in IEEE doubles, one past the image.

The scalar functions use nothing but `+ - * //`, so a backend may compile them for its own device from this
source, as the cuda backend does `fixed_start`. The tables are what the pooling operations take, on every
device: row p is (start, stop, extent) of window p, cut to the image; `extent` is the number of cells an
average divides by on that axis, padding counted.
"""

from functools import lru_cache
from typing import TypeVar

import numpy as np

from minicnn.plain import Array, Pads, Pair, Sizes

MOST_PIXELS = 2**31 - 1  # of an image: max pooling, and kernels of the cuda backend, count them in 32 bits

Number = TypeVar("Number", int, Array)  # one integer, or many at once


def require_countable(size: Sizes, what: str) -> None:
    """Raise ValueError where an image has more than `MOST_PIXELS` pixels; size is (H, W), or (N, 2) for N images.

    >>> require_countable((50_000, 50_000), "MaxPool2d: input")
    Traceback (most recent call last):
    ValueError: MaxPool2d: input: expected images of at most 2147483647 pixels, got one of 2.5e+09; cut it into pieces
    """
    # In floats where NumPy multiplies: its integers would overflow.
    pixels = size[0] * size[1] if isinstance(size, tuple) else np.prod(size, axis=1, dtype=np.float64).max()
    if pixels > MOST_PIXELS:
        raise ValueError(
            f"{what}: expected images of at most {MOST_PIXELS} pixels, got one of {pixels:.5g}; cut it into pieces"
        )


def output_size(n_in: Number, kernel: Number, stride: Number, padding: Number) -> Number:
    """Number of windows of a convolution or fixed pooling along one axis.

    >>> output_size(32, 3, 1, 1), output_size(7, 3, 2, 0)
    (32, 3)
    """
    return (n_in + 2 * padding - kernel) // stride + 1


def ceil_output_size(n_in: Number, kernel: Number, stride: Number, padding: Number) -> Number:
    """The same for a pooling whose last window may reach past the padding, so that no cell is left over: `ceil_mode`.

        ceil((n_in + 2 * padding - kernel) / stride) + 1,  less one where the last window would then begin behind the
        image, in the padding or past it (PyTorch's rule)

    >>> output_size(6, 3, 2, 0), ceil_output_size(6, 3, 2, 0), ceil_output_size(3, 2, 2, 1)
    (2, 3, 2)
    """
    n_out = (n_in + 2 * padding - kernel + stride - 1) // stride + 1
    return n_out - ((n_out - 1) * stride >= n_in + padding)


def dilated_size(kernel: Number, dilation: Number) -> Number:
    """How many cells a kernel spans whose taps lie `dilation` cells apart.

    >>> dilated_size(3, 1), dilated_size(3, 2)
    (3, 5)
    """
    return dilation * (kernel - 1) + 1


def general_output_sizes(sizes: Array, kernel_size: Pair, stride: Pair, pads: Pads, dilation: Pair) -> Array:
    """(N, 2), the sizes of a convolution's outputs for images of sizes (N, 2); pads is ((top, bottom), (left, right)).

    >>> general_output_sizes(np.array([[7, 9]]), (3, 2), (1, 2), ((0, 1), (2, 2)), (2, 3))
    array([[4, 5]])
    """
    axes = zip(sizes.T, kernel_size, stride, pads, dilation, strict=True)
    return np.column_stack([output_size(n + sum(pad), dilated_size(k, d), s, 0) for n, k, s, pad, d in axes])


def same_padding(kernel: int, dilation: int) -> Pair:
    """Padding (before, after) with which stride 1 gives as many outputs as there are cells.

    Where it is odd, the cell more is after (PyTorch's rule).

    >>> same_padding(3, 1), same_padding(3, 2), same_padding(2, 1), same_padding(4, 3)
    ((1, 1), (2, 2), (0, 1), (4, 5))
    """
    both = dilation * (kernel - 1)
    return both // 2, both - both // 2


def fixed_start(p: int, stride: int, padding: int) -> int:
    """First cell of fixed window p, below 0 where that is padding: p * stride - padding.

    >>> [fixed_start(p, 2, 1) for p in range(3)]
    [-1, 1, 3]
    """
    return p * stride - padding


def adaptive_start(p: int, n_in: int, n_out: int) -> int:
    """First cell of adaptive window p: floor(p * n_in / n_out).

    >>> [adaptive_start(p, 14, 4) for p in range(4)]
    [0, 3, 7, 10]
    """
    # learn: floor(p * n_in / n_out), in integers
    return p * n_in // n_out


def adaptive_stop(p: int, n_in: int, n_out: int) -> int:
    """One past the last cell of adaptive window p: ceil((p + 1) * n_in / n_out).

    With 14 cells in 4 windows, neighbours share a cell wherever 14 / 4 is not whole:

    >>> [adaptive_stop(p, 14, 4) for p in range(4)]
    [4, 7, 11, 14]
    """
    # learn: ceil((p + 1) * n_in / n_out), in integers
    return ((p + 1) * n_in + n_out - 1) // n_out


def adaptive_windows(n_in: int, n_out: int) -> Array:
    """The (n_out, 3) table of adaptive windows; PyTorch's rule, `n_out > n_in` included.

    >>> adaptive_windows(5, 3).tolist()
    [[0, 2, 2], [1, 4, 3], [3, 5, 2]]
    """
    return _adaptive_windows(n_in, n_out).copy()


@lru_cache(maxsize=4096)
def _adaptive_windows(n_in: int, n_out: int) -> Array:
    table = np.empty((n_out, 3), np.int64)
    for p in range(n_out):
        start, stop = adaptive_start(p, n_in, n_out), adaptive_stop(p, n_in, n_out)
        table[p] = start, stop, stop - start
    return table


def fixed_windows(
    n_in: int, kernel: int, stride: int, padding: int, ceil_mode: bool = False, count_include_pad: bool = True
) -> Array:
    """The (n_out, 3) table of fixed windows. Padding is cut off the window but stays in its extent.

    In `ceil_mode` the last window may reach past the padding; what lies there is in no extent. Without
    `count_include_pad` the padding is in none either.

    >>> fixed_windows(4, 2, 2, 1).tolist()
    [[0, 1, 2], [1, 3, 2], [3, 4, 2]]
    >>> fixed_windows(4, 3, 2, 1, ceil_mode=True).tolist()
    [[0, 2, 3], [1, 4, 3], [3, 4, 2]]
    >>> fixed_windows(4, 2, 2, 1, count_include_pad=False).tolist()
    [[0, 1, 1], [1, 3, 2], [3, 4, 1]]
    """
    return _fixed_windows(n_in, kernel, stride, padding, ceil_mode, count_include_pad).copy()


@lru_cache(maxsize=4096)
def _fixed_windows(
    n_in: int, kernel: int, stride: int, padding: int, ceil_mode: bool, count_include_pad: bool
) -> Array:
    n_out = (ceil_output_size if ceil_mode else output_size)(n_in, kernel, stride, padding)
    table = np.empty((n_out, 3), np.int64)
    for p in range(n_out):
        start = fixed_start(p, stride, padding)
        padded_stop = min(start + kernel, n_in + padding)
        start_inside, stop = max(start, 0), min(padded_stop, n_in)
        table[p] = start_inside, stop, padded_stop - start if count_include_pad else stop - start_inside
    return table


def windows_over(table: Array, n_in: int) -> Array:
    """Which windows of a table lie over each cell of its axis: (n_in, 2), the first of them and one past the last.

        first = how many windows stop at or before the cell          stop = how many start at or before it

    Starts and stops never decrease from window to window, so the windows over a cell follow one another. Over a cell
    between two windows there is none, and first = stop. This is `table` the other way round, for a backward pass that
    goes cell by cell.

    >>> fixed_windows(5, 3, 2, 1).tolist()
    [[0, 2, 3], [1, 4, 3], [3, 5, 3]]
    >>> windows_over(fixed_windows(5, 3, 2, 1), 5).tolist()
    [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]
    """
    starts, stops, _ = table.T
    cells = np.arange(n_in)
    return np.stack([np.searchsorted(stops, cells, "right"), np.searchsorted(starts, cells, "right")], axis=1)
