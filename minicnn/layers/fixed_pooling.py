"""Pooling over windows of a fixed size; see `minicnn.layers.pooling`."""

from minicnn.checks import as_bool, as_int, as_pair
from minicnn.geometry import fixed_windows
from minicnn.images import Batch, sizes_of
from minicnn.layers.pooling import AvgPooling, MaxPooling, Pooling
from minicnn.layers.spatial import checked_settings, fixed_output_size
from minicnn.plain import Array, Pair


class _FixedWindows(Pooling):
    """Windows of one size at a fixed stride: p * stride - padding to p * stride - padding + kernel on each axis."""

    def __init__(
        self, kernel_size: int | Pair, stride: int | Pair | None, padding: int | Pair, ceil_mode: bool
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size = as_pair(kernel_size, f"{name}: kernel_size", 1)
        self.stride = self.kernel_size if stride is None else as_pair(stride, f"{name}: stride", 1)
        self.padding = as_pair(padding, f"{name}: padding", 0)
        self.ceil_mode = as_bool(ceil_mode, f"{name}: ceil_mode")
        if any(2 * pad > kernel for pad, kernel in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(
                f"{name}: expected padding of at most half the kernel {self.kernel_size}, got {self.padding}; "
                "a window must not lie in the padding alone"
            )

    def as_images(self, x: Batch) -> Batch:
        """x checked against the kernel, (N, C, H, W), `Images` or (C, H, W)."""
        x = super().as_images(x)
        name = type(self).__name__
        fixed_output_size(name, sizes_of(x), *checked_settings(self), as_bool(self.ceil_mode, f"{name}: ceil_mode"))
        return x

    def windows(self, input_size: Pair) -> tuple[Array, Array]:
        """The tables (rows, columns) for an image of `input_size`."""
        return self._tables(input_size)

    def _tables(self, input_size: Pair, count_include_pad: bool = True) -> tuple[Array, Array]:
        kernel, stride, padding = checked_settings(self)
        rows, columns = (
            fixed_windows(*axis, self.ceil_mode, count_include_pad)
            for axis in zip(input_size, kernel, stride, padding, strict=True)
        )
        return rows, columns

    def describe(self) -> str:
        ceil_mode = ", ceil_mode=True" if self.ceil_mode else ""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}{ceil_mode}"


class MaxPool2d(_FixedWindows, MaxPooling):
    """The maximum of each window of a fixed size; `torch.nn.MaxPool2d`.

        y[n, c, p, q] = max of x[n, c, r, s] over the window (p, q)
        dx[n, c, r, s] = sum of dy[n, c, p, q] over the windows in which (r, s) is the maximum, the first if several are

    Shapes: x (N, C, H, W) or (C, H, W) -> y with OH = (H + 2 * ph - KH) // sh + 1, OW likewise. Padding never wins.
    For `Images` x, y is `Images`, each of its own OH_n × OW_n.

    Args:
        kernel_size, stride, padding: an int or a pair (vertical, horizontal), in pixels; the stride is the kernel
            size unless given, the padding at most half the kernel.
        ceil_mode: whether the quotient in OH is rounded up: a last window may then reach past the padding, if it
            begins in the image or in the padding before it.

    Raises ValueError for the wrong rank, an empty input or an image smaller than the kernel, TypeError for
    input that is not float32 or float64.

    >>> import numpy as np
    >>> row = np.float32([[[1, 2, 3, 4, 5]]])
    >>> MaxPool2d((1, 2)).predict(row), MaxPool2d((1, 2), ceil_mode=True).predict(row)
    (array([[[2., 4.]]], dtype=float32), array([[[2., 4., 5.]]], dtype=float32))

    The arithmetic, in `minicnn/backends/`:
        reference/pooling.py    to read
        cpu/pooling.py          to run
        cuda/pooling.py         to run on a GPU
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        *,  # where PyTorch has dilation and return_indices
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)


class AvgPool2d(_FixedWindows, AvgPooling):
    """The mean of each window of a fixed size, padding counted as zeros; `torch.nn.AvgPool2d`.

        y[n, c, p, q] = sum of x[n, c, r, s] over the window (p, q), divided by its KH * KW cells
        dx[n, c, r, s] = sum of dy[n, c, p, q] / (KH * KW) over the windows that (r, s) is in

    Shapes: x (N, C, H, W) or (C, H, W) -> y with OH = (H + 2 * ph - KH) // sh + 1, OW likewise.
    For `Images` x, y is `Images`, each of its own OH_n × OW_n.

    Args:
        kernel_size, stride, padding: an int or a pair (vertical, horizontal), in pixels; the stride is the kernel
            size unless given, the padding at most half the kernel.
        ceil_mode: whether the quotient in OH is rounded up: a last window may then reach past the padding, if it
            begins in the image or in the padding before it. What lies past the padding is not counted.
        count_include_pad: False for a mean over the cells of the image alone.
        divisor_override: what the sum of each window is divided by, an integer, in place of how many cells it has.

    Raises ValueError for the wrong rank, an empty input or an image smaller than the kernel, TypeError for
    input that is not float32 or float64.

    >>> import numpy as np
    >>> row = np.float32([[[2, 4, 6]]])                      # windows of a 0 and 2, of 4 and 6
    >>> AvgPool2d((1, 2), padding=(0, 1)).predict(row)
    array([[[1., 5.]]], dtype=float32)
    >>> AvgPool2d((1, 2), padding=(0, 1), count_include_pad=False).predict(row)
    array([[[2., 5.]]], dtype=float32)

    The arithmetic, in `minicnn/backends/`:
        reference/pooling.py    to read
        cpu/pooling.py          to run
        cuda/pooling.py         to run on a GPU
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = as_bool(count_include_pad, "AvgPool2d: count_include_pad")
        if divisor_override is not None:
            divisor_override = as_int(divisor_override, "AvgPool2d: divisor_override", 1)
        self.divisor_override = divisor_override

    def windows(self, input_size: Pair) -> tuple[Array, Array]:
        """The tables (rows, columns) for an image of `input_size`; extents say what a sum is divided by."""
        rows, columns = self._tables(input_size, as_bool(self.count_include_pad, "AvgPool2d: count_include_pad"))
        if self.divisor_override is not None:  # an area is the product of both extents
            rows[:, 2], columns[:, 2] = as_int(self.divisor_override, "AvgPool2d: divisor_override", 1), 1
        return rows, columns

    def describe(self) -> str:
        counting = "" if self.count_include_pad else ", count_include_pad=False"
        divisor = "" if self.divisor_override is None else f", divisor_override={self.divisor_override}"
        return f"{super().describe()}{counting}{divisor}"
