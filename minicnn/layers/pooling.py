"""Pooling: one output cell for each window of the image, its largest cell or its mean.

Four layers, two questions. Where do the windows lie: at a fixed stride (MaxPool2d, AvgPool2d), or spread so that
a given number of them covers an image of any size (AdaptiveMaxPool2d, AdaptiveAvgPool2d)? And what is taken from
a window: the maximum or the mean? The first is answered by a table of windows from `minicnn.geometry`, the second by
a pair of operations; a layer below is one answer to each.
"""

from minicnn.checks import as_int, as_pair
from minicnn.geometry import adaptive_windows, fixed_windows, output_size
from minicnn.layers.base import SpatialLayer, batched


class _MaxPooling(SpatialLayer):
    """Forward takes the largest cell of each window, backward sends dy to the cell that won."""

    operations = ("pooling",)

    def predict(self, x):
        return self._pool(self.as_images(x))[0]

    def forward(self, x):
        x = self.as_images(x)
        y, argmax = self._pool(x)
        self.remember(y, argmax=argmax, x_shape=x.shape)  # who won; the cells themselves are not needed
        return y

    def backward(self, dy, need_dx=True):
        dy, memory = self.recall(dy)
        dx = self.ops.max_pool2d_backward(batched(dy), memory.argmax, memory.x_shape[-2:])
        return dx.reshape(memory.x_shape)

    def _pool(self, x):
        y, argmax = self.ops.max_pool2d_forward(batched(x), *self.windows(x.shape[-2:]))
        return y.reshape(x.shape[:-2] + y.shape[-2:]), argmax


class _AvgPooling(SpatialLayer):
    """Forward takes the mean of each window, backward gives each of its cells an equal share of dy."""

    operations = ("pooling",)

    def predict(self, x):
        x = self.as_images(x)
        y = self.ops.avg_pool2d_forward(batched(x), *self.windows(x.shape[-2:]))
        return y.reshape(x.shape[:-2] + y.shape[-2:])

    def forward(self, x):
        x = self.as_images(x)
        y = self.predict(x)
        self.remember(y, x_shape=x.shape)  # nothing of x but its size: a mean is linear
        return y

    def backward(self, dy, need_dx=True):
        dy, memory = self.recall(dy)
        input_size = memory.x_shape[-2:]
        dx = self.ops.avg_pool2d_backward(batched(dy), *self.windows(input_size), input_size)
        return dx.reshape(memory.x_shape)


class _AdaptiveWindows:
    """Windows spread over the image: floor(p * n_in / n_out) to ceil((p + 1) * n_in / n_out) on each axis."""

    def __init__(self, output_size):
        super().__init__()
        what = f"{type(self).__name__}: output_size"
        pair = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
        if len(pair) != 2:
            raise ValueError(f"{what}: expected an int, None or a pair of them, got {output_size!r}")
        self.output_size = tuple(None if n is None else as_int(n, what, 1) for n in pair)

    def windows(self, input_size):
        """The tables (rows, columns) for an image of `input_size`; None keeps the size of that axis."""
        sizes = zip(input_size, self.output_size, strict=True)
        return tuple(adaptive_windows(n_in, n_in if n_out is None else n_out) for n_in, n_out in sizes)

    def describe(self):
        return f"{self.output_size}"


class _FixedWindows:
    """Windows of one size at a fixed stride: p * stride - padding to p * stride - padding + kernel on each axis."""

    def __init__(self, kernel_size, stride=None, padding=0):
        super().__init__()
        name = type(self).__name__
        self.kernel_size = as_pair(kernel_size, f"{name}: kernel_size", 1)
        self.stride = self.kernel_size if stride is None else as_pair(stride, f"{name}: stride", 1)
        self.padding = as_pair(padding, f"{name}: padding", 0)
        if any(2 * pad > kernel for pad, kernel in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(
                f"{name}: expected padding of at most half the kernel {self.kernel_size}, got {self.padding}; "
                "a window must not lie in the padding alone"
            )

    def windows(self, input_size):
        """The tables (rows, columns) for an image of `input_size`."""
        axes = list(zip(input_size, self.kernel_size, self.stride, self.padding, strict=True))
        if min(output_size(*axis) for axis in axes) < 1:
            raise ValueError(
                f"{type(self).__name__}: expected an image at least as large as the kernel {self.kernel_size}, "
                f"got {tuple(input_size)} with padding {self.padding}"
            )
        return tuple(fixed_windows(*axis) for axis in axes)

    def describe(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveMaxPool2d(_AdaptiveWindows, _MaxPooling):
    """The maximum of each of OH × OW windows spread over an image of any size; `torch.nn.AdaptiveMaxPool2d`.

        y[p, q] = max of x over rows floor(p * H / OH) to ceil((p + 1) * H / OH), columns likewise
        dx[r, s] = sum of dy over the windows that (r, s) won

    Windows overlap where the sizes do not divide, so one cell may win several and their gradients add up. The
    first maximum in reading order wins; NaN beats every number.

    Shapes: x (N, C, H, W) or (C, H, W) -> y (N, C, OH, OW) or (C, OH, OW).

    Args:
        output_size: OH = OW, or a pair (OH, OW); None in either place keeps the image's own size there.

    Raises ValueError for the wrong rank or an empty input, TypeError for input that is not float32 or float64.

    >>> import numpy as np
    >>> x = np.float32([[[1, 2, 9, 3, 4]]])                 # one channel, 1 × 5
    >>> pool = AdaptiveMaxPool2d((1, 3))                    # windows 0–1, 1–3, 3–4
    >>> pool.forward(x)
    array([[[2., 9., 4.]]], dtype=float32)
    >>> pool.backward(np.float32([[[1, 1, 1]]]))
    array([[[0., 1., 1., 0., 1.]]], dtype=float32)
    """


class AdaptiveAvgPool2d(_AdaptiveWindows, _AvgPooling):
    """The mean of each of OH × OW windows spread over an image of any size; `torch.nn.AdaptiveAvgPool2d`.

        y[p, q] = mean of x over rows floor(p * H / OH) to ceil((p + 1) * H / OH), columns likewise
        dx[r, s] = sum of dy / area over the windows that cover (r, s)

    Shapes: x (N, C, H, W) or (C, H, W) -> y (N, C, OH, OW) or (C, OH, OW).

    Args:
        output_size: OH = OW, or a pair (OH, OW); None in either place keeps the image's own size there.

    Raises ValueError for the wrong rank or an empty input, TypeError for input that is not float32 or float64.

    >>> import numpy as np
    >>> pool = AdaptiveAvgPool2d((1, 4))
    >>> pool.forward(np.arange(14, dtype=np.float32)[None, None])
    array([[[ 1.5,  4.5,  8.5, 11.5]]], dtype=float32)
    """


class MaxPool2d(_FixedWindows, _MaxPooling):
    """The maximum of each window of a fixed size; `torch.nn.MaxPool2d`.

    Shapes: x (N, C, H, W) or (C, H, W) -> y with OH = (H + 2 * ph - KH) // sh + 1, OW likewise. Padding never wins.

    Args:
        kernel_size, stride, padding: an int or a pair (vertical, horizontal), in pixels; the stride is the kernel
            size unless given, the padding at most half the kernel.

    Raises ValueError for the wrong rank, an empty input or an image smaller than the kernel, TypeError for
    input that is not float32 or float64.
    """


class AvgPool2d(_FixedWindows, _AvgPooling):
    """The mean of each window of a fixed size, padding counted as zeros; `torch.nn.AvgPool2d`.

    Shapes: x (N, C, H, W) or (C, H, W) -> y with OH = (H + 2 * ph - KH) // sh + 1, OW likewise.

    Args:
        kernel_size, stride, padding: an int or a pair (vertical, horizontal), in pixels; the stride is the kernel
            size unless given, the padding at most half the kernel.

    Raises ValueError for the wrong rank, an empty input or an image smaller than the kernel, TypeError for
    input that is not float32 or float64.
    """
