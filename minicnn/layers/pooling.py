"""Pooling: one output cell for each window of the image, its largest cell or its mean.

Four layers, two questions. Where do the windows lie: at a fixed stride (MaxPool2d, AvgPool2d), or spread so that
a given number of them covers an image of any size (AdaptiveMaxPool2d, AdaptiveAvgPool2d)? And what is taken from
a window: the maximum or the mean? The first is answered by a table of windows from `minicnn.geometry`, the second by
a pair of operations; a layer is one answer to each. The adaptive ones are below, the others in `fixed_pooling`.
"""

from typing import Any

from minicnn.checks import as_int
from minicnn.geometry import adaptive_windows, require_countable
from minicnn.images import Images, sizes_of
from minicnn.layers.spatial import SpatialLayer, batched, like_input
from minicnn.plain import Array, Pair, Sizes


class Pooling(SpatialLayer):
    """What the four have in common: a table of windows for each image, and the form of what comes out."""

    operations = ("pooling",)
    makes_one_size = False  # whether images of any sizes come out in one size

    def windows(self, input_size: Pair) -> tuple[Array, Array]:
        """The tables (rows, columns) for an image of `input_size`."""
        raise NotImplementedError

    def tables(self, input_size: Sizes) -> tuple[Any, Any]:
        """The tables (rows, columns) for images of `input_size`; for sizes (N, 2) two lists, a table for each image."""
        if isinstance(input_size, tuple):
            return self.windows(input_size)
        sizes = [tuple(size) for size in input_size.tolist()]
        tables = {size: self.windows(size) for size in set(sizes)}
        return [tables[size][0] for size in sizes], [tables[size][1] for size in sizes]

    def _as_output(self, y: Array | Images, x: Array | Images) -> Array | Images:
        """y in the form of x; but of `Images` that now have one size, an ordinary array."""
        y = like_input(y, x)
        return y.as_array() if self.makes_one_size and isinstance(y, Images) else y

    def _as_batch(self, dy: Array | Images, input_size: Sizes) -> Array | Images:
        """dy in the form of the batch that the operation made: `_as_output` undone."""
        came_as_images = not isinstance(input_size, tuple)
        return Images.of_array(dy) if came_as_images and not isinstance(dy, Images) else batched(dy)


class MaxPooling(Pooling):
    """Forward takes the largest cell of each window, backward sends dy to the cell that won."""

    def predict(self, x: Array | Images) -> Any:
        return self._pool(self.as_images(x))[0]

    def forward(self, x: Array | Images) -> Any:
        x = self.as_images(x)
        y, argmax = self._pool(x)
        self.remember(y, argmax=argmax, input_size=sizes_of(x))  # who won; the cells themselves are not needed
        return y

    def backward(self, dy: Array | Images, need_dx: bool = True) -> Any:
        dy, memory = self.recall(dy)
        input_size = memory.input_size
        dx = self.ops.max_pool2d_backward(
            self._as_batch(dy, input_size), memory.argmax, *self.tables(input_size), input_size
        )
        return like_input(dx, dy)

    def _pool(self, x: Array | Images) -> tuple[Array | Images, Array | Images]:
        y, argmax = self.ops.max_pool2d_forward(batched(x), *self.tables(sizes_of(x)))
        return self._as_output(y, x), argmax


class AvgPooling(Pooling):
    """Forward takes the mean of each window, backward gives each of its cells an equal share of dy."""

    def predict(self, x: Array | Images) -> Any:
        return self._pool(self.as_images(x))

    def forward(self, x: Array | Images) -> Any:
        x = self.as_images(x)
        y = self._pool(x)
        self.remember(y, input_size=sizes_of(x))  # nothing of x but its size: a mean is linear
        return y

    def backward(self, dy: Array | Images, need_dx: bool = True) -> Any:
        dy, memory = self.recall(dy)
        input_size = memory.input_size
        dx = self.ops.avg_pool2d_backward(self._as_batch(dy, input_size), *self.tables(input_size), input_size)
        return like_input(dx, dy)

    def _pool(self, x: Array | Images) -> Array | Images:
        y = self.ops.avg_pool2d_forward(batched(x), *self.tables(sizes_of(x)))
        return self._as_output(y, x)


class _AdaptiveWindows(Pooling):
    """Windows spread over the image: floor(p * n_in / n_out) to ceil((p + 1) * n_in / n_out) on each axis."""

    def __init__(self, output_size: int | tuple[int | None, int | None] | None) -> None:
        super().__init__()
        what = f"{type(self).__name__}: output_size"
        pair = output_size if isinstance(output_size, (tuple, list)) else (output_size, output_size)
        if len(pair) != 2:
            raise ValueError(f"{what}: expected an int, None or a pair of them, got {output_size!r}")
        self.output_size = tuple(None if n is None else as_int(n, what, 1) for n in pair)
        self.makes_one_size = None not in self.output_size

    def windows(self, input_size: Pair) -> tuple[Array, Array]:
        """The tables (rows, columns) for an image of `input_size`; None keeps the size of that axis."""
        sizes = zip(input_size, self.output_size, strict=True)
        height, width = (n_in if n_out is None else n_out for n_in, n_out in sizes)
        require_countable((height, width), f"{type(self).__name__}: output")
        rows, columns = map(adaptive_windows, input_size, (height, width))
        return rows, columns

    def describe(self) -> str:
        return f"{self.output_size}"


class AdaptiveMaxPool2d(_AdaptiveWindows, MaxPooling):
    """The maximum of each of OH × OW windows spread over an image of any size; `torch.nn.AdaptiveMaxPool2d`.

        y[p, q] = max of x over rows floor(p * H / OH) to ceil((p + 1) * H / OH), columns likewise
        dx[r, s] = sum of dy over the windows that (r, s) won

    Windows overlap where the sizes do not divide, so one cell may win several and their gradients add up. The
    first maximum in reading order wins; NaN beats every number.

    Shapes: x (N, C, H, W) or (C, H, W) -> y (N, C, OH, OW) or (C, OH, OW).
    For `Images` x, y is an array (N, C, OH, OW), or `Images` again where output_size has a None.

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

    The arithmetic, in `minicnn/backends/`:
        reference/pooling.py    to read
        cpu/pooling.py          to run
        cuda/pooling.py         to run on a GPU
    """


class AdaptiveAvgPool2d(_AdaptiveWindows, AvgPooling):
    """The mean of each of OH × OW windows spread over an image of any size; `torch.nn.AdaptiveAvgPool2d`.

        y[p, q] = mean of x over rows floor(p * H / OH) to ceil((p + 1) * H / OH), columns likewise
        dx[r, s] = sum of dy / area over the windows that cover (r, s)

    Shapes: x (N, C, H, W) or (C, H, W) -> y (N, C, OH, OW) or (C, OH, OW).
    For `Images` x, y is an array (N, C, OH, OW), or `Images` again where output_size has a None.

    Args:
        output_size: OH = OW, or a pair (OH, OW); None in either place keeps the image's own size there.

    Raises ValueError for the wrong rank or an empty input, TypeError for input that is not float32 or float64.

    >>> import numpy as np
    >>> pool = AdaptiveAvgPool2d((1, 4))
    >>> pool.forward(np.arange(14, dtype=np.float32)[None, None])
    array([[[ 1.5,  4.5,  8.5, 11.5]]], dtype=float32)

    The arithmetic, in `minicnn/backends/`:
        reference/pooling.py    to read
        cpu/pooling.py          to run
        cuda/pooling.py         to run on a GPU
    """
