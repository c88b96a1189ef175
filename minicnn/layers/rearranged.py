"""Convolutions with dilation, groups or uneven padding, by the plain operations on rearranged images.

A kernel with dilation d looks at every d-th row and column, so what it sees lies in one of d * d smaller images, the
*phases*: rows a, a + d, a + 2 * d, … and columns likewise. Each phase is convolved plainly, and the outputs are put
back between one another (à trous; `geometry.dilated_phases`). Groups are as many convolutions beside one another, each
of its own channels and filters, and uneven padding is written around the image before. So the arithmetic is that of the
operations that exist, on every backend; what is added are copies, made on the host. For a dilated convolution of 16 and
more channels they cost little; a depthwise one, a group to each channel, is many small calls.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from minicnn.backends.protocol import Operations
from minicnn.geometry import Phase, dilated_phases, dilated_size, output_size
from minicnn.images import Images
from minicnn.plain import Array, Pair, Sizes


class Part(NamedTuple):
    """One plain convolution among those that make up another: where it reads, where it writes, and its stride."""

    reads: tuple[slice, ...]  # of the padded images
    writes: tuple[slice, ...]  # of the output
    filters: slice  # of weight and bias
    stride: Pair


class Rearranged(NamedTuple):
    """A backend's convolution, but for the gradient of the bias, with these settings in addition.

    pads: ((top, bottom), (left, right)), which stand in place of the argument `padding`.
    """

    ops: Operations
    dilation: Pair
    groups: int
    pads: tuple[Pair, Pair]

    def conv2d_forward(self, x: Any, weight: Array, bias: Array | None, stride: Pair, padding: Pair) -> Any:
        """y (N, F, OH, OW) for x (N, C, H, W), weight (F, C / groups, KH, KW), bias (F,) or None."""
        if isinstance(x, Images):
            return self._each(lambda image: self.conv2d_forward(image, weight, bias, stride, padding), x)
        padded, host_weight = self._padded(x), self.ops.to_numpy(weight)
        host_bias = None if bias is None else self.ops.to_numpy(bias)
        size = self._output_size(padded.shape[2:], host_weight, stride)
        y = np.empty((len(padded), len(host_weight), *size), padded.dtype)
        for part in self._parts(host_weight, size, stride):
            of_part = None if host_bias is None else self._on_backend(host_bias[part.filters])
            arguments = self._on_backend(padded[part.reads]), self._on_backend(host_weight[part.filters]), of_part
            y[part.writes] = self.ops.to_numpy(self.ops.conv2d_forward(*arguments, part.stride, (0, 0)))
        return self._on_backend(y)

    def conv2d_input_gradient(self, dy: Any, weight: Array, input_size: Sizes, stride: Pair, padding: Pair) -> Any:
        """dx (N, C, H, W) for dy (N, F, OH, OW). No pixel is in two parts, so each part is assigned."""
        if isinstance(dy, Images):
            sizes = iter(np.asarray(input_size).tolist())
            return self._each(lambda d: self.conv2d_input_gradient(d, weight, tuple(next(sizes)), stride, padding), dy)
        host_dy, host_weight = self.ops.to_numpy(dy), self.ops.to_numpy(weight)
        (top, bottom), (left, right) = self.pads
        (height, width), channels = input_size, host_weight.shape[1] * self.groups
        dx = np.zeros((len(host_dy), channels, top + height + bottom, left + width + right), host_dy.dtype)
        for part in self._parts(host_weight, host_dy.shape[2:], stride):
            d, of_part = self._on_backend(host_dy[part.writes]), self._on_backend(host_weight[part.filters])
            seen = dx[part.reads].shape[2:]
            found = self.ops.conv2d_input_gradient(d, of_part, seen, part.stride, (0, 0))
            dx[part.reads] = self.ops.to_numpy(found)
        return self._on_backend(dx[:, :, top : top + height, left : left + width])

    def conv2d_weight_gradient(self, dy: Any, x: Any, kernel_size: Pair, stride: Pair, padding: Pair) -> Array:
        """dweight (F, C / groups, KH, KW): the sum over the phases, and over images where they differ in size."""
        images = (
            [(dy, x)] if not isinstance(x, Images) else [(d[None], image[None]) for d, image in self._on_host(dy, x)]
        )
        dweight: Any = 0
        for dy_images, x_images in images:
            host_dy, padded = self.ops.to_numpy(dy_images), self._padded(x_images)
            shape = host_dy.shape[1], padded.shape[1] // self.groups, *kernel_size
            total = np.zeros(shape, host_dy.dtype)
            for part in self._parts(total, host_dy.shape[2:], stride):
                arguments = self._on_backend(host_dy[part.writes]), self._on_backend(padded[part.reads])
                found = self.ops.conv2d_weight_gradient(*arguments, kernel_size, part.stride, (0, 0))
                total[part.filters] += self.ops.to_numpy(found)
            dweight = dweight + total
        return self._on_backend(dweight)

    def _parts(self, weight: Array, size: Pair, stride: Pair) -> Iterator[Part]:
        n_filters, n_channels, *kernel = weight.shape
        filters = n_filters // self.groups
        phases = [dilated_phases(*axis) for axis in zip(size, kernel, stride, self.dilation, strict=True)]
        for g in range(self.groups):
            channels = slice(g * n_channels, (g + 1) * n_channels)
            of_group = slice(g * filters, (g + 1) * filters)
            for rows in phases[0]:
                for columns in phases[1]:
                    yield _part(channels, of_group, rows, columns)

    def _padded(self, x: Array) -> Array:
        return np.pad(self.ops.to_numpy(x), ((0, 0), (0, 0), *self.pads))

    def _output_size(self, padded_size: Pair, weight: Array, stride: Pair) -> Pair:
        kernel = map(dilated_size, weight.shape[2:], self.dilation)
        height, width = map(output_size, padded_size, kernel, stride, (0, 0))
        return height, width

    def _each(self, function: Any, images: Images) -> Images:
        """`function` of each image as a batch of one."""
        (host,) = zip(*self._on_host(images), strict=True)
        found = Images([self.ops.to_numpy(function(self._on_backend(image[None])))[0] for image in host])
        return found.like(self._on_backend(found.data))

    def _on_host(self, *batches: Images) -> Any:
        return zip(*(batch.like(self.ops.to_numpy(batch.data)) for batch in batches), strict=True)

    def _on_backend(self, array: Array) -> Array:
        return self.ops.asarray(np.ascontiguousarray(array))


def _part(channels: slice, filters: slice, rows: Phase, columns: Phase) -> Part:
    everything = slice(None)
    return Part(
        (everything, channels, rows.reads, columns.reads),
        (everything, filters, rows.writes, columns.writes),
        filters,
        (rows.stride, columns.stride),
    )
