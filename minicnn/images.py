"""Images of different sizes in one batch, without padding and without resizing."""

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any, Literal, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from minicnn.plain import Array, Sizes, as_plain_array

Shape: TypeAlias = tuple[Any, ...]  # of an array; of `Images` with tuples as its last two axes


class Images:
    """N images of C channels, each of its own height and width, one after another in one flat array.

    Image n is the block (C, H_n, W_n) of `data` that begins at C * starts[n]. There are P = sum of H_n * W_n pixels.
    A batch of equal sizes, (N, C, H, W), has the same numbers in the same order, so that `as_array` costs nothing.

    Args:
        images: arrays (C, H_n, W_n) of one dtype; they are copied.

    Attributes:
        data: (C * P,), the array of some backend.
        channels: C.
        sizes: (N, 2) int64, rows (H_n, W_n); read-only.
        starts: (N,) int64, the number of pixels before image n; read-only.

    Raises:
        ValueError: no images, an image that is not (C, H, W) or is empty, or different numbers of channels.
        TypeError: images of different dtypes.

    >>> images = Images([np.zeros((3, 2, 5)), np.ones((3, 4, 1))])
    >>> images
    Images(2 of 3 channels, 4×1 to 2×5 pixels, float64)
    >>> images.shape, images[1].shape, images.data.shape
    ((2, 3, (2, 4), (5, 1)), (3, 4, 1), (42,))
    """

    ndim: Literal[4] = 4

    def __init__(self, images: Iterable[ArrayLike]) -> None:
        arrays = [as_plain_array(image, "Images") for image in images]
        if not arrays:
            raise ValueError("Images: expected at least one image, got none")
        for position, image in enumerate(arrays):
            if image.ndim != 3 or not image.size:
                raise ValueError(
                    f"Images: expected images of shape (C, H, W) with at least one pixel, "
                    f"got shape {image.shape} at position {position}"
                )
            if image.shape[0] != arrays[0].shape[0]:
                raise ValueError(
                    f"Images: expected every image to have as many channels as the first, {arrays[0].shape[0]}, "
                    f"got {image.shape[0]} at position {position}"
                )
            if image.dtype != arrays[0].dtype:
                raise TypeError(
                    f"Images: expected every image to be {arrays[0].dtype} as the first, "
                    f"got {image.dtype} at position {position}"
                )
        sizes = np.array([image.shape[1:] for image in arrays], np.int64)
        self._set(np.concatenate([image.reshape(-1) for image in arrays]), arrays[0].shape[0], sizes)

    @classmethod
    def of(cls, data: Array, channels: int, sizes: ArrayLike) -> "Images":
        """Images of the numbers `data` (C * P,) as they lie, sizes (N, 2), without a copy and without checks."""
        images = cls.__new__(cls)
        images._set(data, channels, np.array(sizes, np.int64))
        return images

    @classmethod
    def of_array(cls, array: Array) -> "Images":
        """(N, C, H, W) as images of equal size, without a copy."""
        n_images, channels, *size = array.shape
        return cls.of(array.reshape(-1), channels, np.tile(np.array(size, np.int64), (n_images, 1)))

    def _set(self, data: Array, channels: int, sizes: Array) -> None:
        ends = sizes.prod(axis=1).cumsum()
        self._data, self._channels = data, int(channels)
        self._sizes, self._starts = sizes, ends - sizes.prod(axis=1)
        self._sizes.flags.writeable = self._starts.flags.writeable = False
        heights, widths = sizes.T.tolist()
        self._shape = len(sizes), self._channels, tuple(heights), tuple(widths)

    # Read-only: kernels find the images by these four, which must stay consistent.
    data = property(attrgetter("_data"))
    channels = property(attrgetter("_channels"))
    sizes = property(attrgetter("_sizes"))
    starts = property(attrgetter("_starts"))

    @property
    def pixels(self) -> int:
        """P, of all images together."""
        return int(self.starts[-1] + self.sizes[-1].prod())

    @property
    def shape(self) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
        """(N, C, heights, widths), the last two tuples of N numbers."""
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the numbers."""
        return self.data.dtype

    @property
    def size(self) -> int:
        """How many numbers: C * P."""
        return self.channels * self.pixels

    def like(self, data: Array) -> "Images":
        """Images of these sizes made of other numbers, `data` (C' * P,)."""
        return Images.of(data, len(data) // self.pixels, self.sizes)

    def astype(self, dtype: DTypeLike) -> "Images":
        """A copy of another dtype."""
        return self.like(self.data.astype(dtype))

    def as_array(self) -> Array:
        """(N, C, H, W), without a copy. Raises ValueError where the sizes differ."""
        if (self.sizes != self.sizes[0]).any():
            raise ValueError(f"Images.as_array: expected images of one size, got {self}")
        return self.data.reshape(len(self), self.channels, *self.sizes[0].tolist())

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, chosen: int | np.integer[Any]) -> Array: ...
    @overload
    def __getitem__(self, chosen: slice | Array) -> "Images": ...
    def __getitem__(self, chosen: int | np.integer[Any] | slice | Array) -> "Array | Images":
        """One image (C, H_n, W_n), a view; or for a slice or an array of positions, `Images` of copies."""
        if isinstance(chosen, (int, np.integer)):
            if not -len(self) <= chosen < len(self):
                raise IndexError(f"Images: no image {chosen}, there are {len(self)}")
            height, width = self.sizes[chosen].tolist()
            start = self.channels * int(self.starts[chosen])
            return self.data[start : start + self.channels * height * width].reshape(self.channels, height, width)
        return Images([self[n] for n in np.arange(len(self))[chosen].tolist()])

    def __iter__(self) -> Iterator[Array]:
        return (self[n] for n in range(len(self)))

    def __repr__(self) -> str:
        areas = self.sizes.prod(axis=1)
        small, large = (f"{h}×{w}" for h, w in self.sizes[[areas.argmin(), areas.argmax()]].tolist())
        return f"Images({len(self)} of {self.channels} channels, {small} to {large} pixels, {self.dtype})"


# An array or `Images`, or either where the kind is not known; for functions that return what they are given.
Batch = TypeVar("Batch", Array, Images, Array | Images)


def sizes_of(x: Array | Images) -> Sizes:
    """(H, W) of an array (N, C, H, W); of `Images` their sizes, (N, 2)."""
    return x.sizes if isinstance(x, Images) else tuple(x.shape[-2:])
