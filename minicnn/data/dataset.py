"""What every loader returns: images with labels, and a training and a test set of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from minicnn.data.split import split_by_class
from minicnn.images import Images
from minicnn.plain import Array


@dataclass(frozen=True)
class LabelledImages:
    """Images (N, C, H, W) or `Images`, float32 with values from 0 to 1 as loaded, and labels (N,), int64."""

    images: Array | Images
    labels: Array

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sizes(self) -> Array:
        """(N, 2), rows (H, W)."""
        if isinstance(self.images, Images):
            return self.images.sizes
        return np.tile(self.images.shape[2:], (len(self.images), 1))

    def image(self, index: int) -> Array:
        """A copy of one image, (C, H, W)."""
        return self.images[index].copy()

    def split(self, n_second: int, rng: np.random.Generator | int | None) -> tuple[LabelledImages, LabelledImages]:
        """Two disjoint random parts, (the rest, `n_second` images), drawn by `rng` (a Generator or a seed).

        Each class has its share of both, as `minicnn.data.split` says. Raises ValueError unless both parts get at least
        one image.
        """
        first, second = split_by_class(self.labels, n_second, rng, "LabelledImages.split")
        return self._part(first), self._part(second)

    def _part(self, chosen: Array) -> LabelledImages:
        return LabelledImages(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Dataset:
    """A training and a test set, the names of the classes, and a line that says where the data came from."""

    name: str
    train: LabelledImages
    test: LabelledImages
    class_names: tuple[str, ...]
    source: str


def standardised(dataset: Dataset) -> Dataset:
    """The dataset with each channel shifted and scaled to mean 0 and variance 1 *over the training images*.

    The test images get the same shift and scale: their own statistics are not known at the time of training. A channel
    that is one number everywhere is shifted only.
    """
    images = dataset.train.images
    mean, std = _pixel_statistics(images)
    mean, std = mean.astype(images.dtype), np.where(std > 0, std, 1).astype(images.dtype)

    def standardise(part: LabelledImages) -> LabelledImages:
        if isinstance(part.images, Images):
            return replace(part, images=Images([(image - mean) / std for image in part.images]))
        return replace(part, images=(part.images - mean) / std)

    return replace(dataset, train=standardise(dataset.train), test=standardise(dataset.test))


def _pixel_statistics(images: Array | Images) -> tuple[Array, Array]:
    """Mean and standard deviation of each channel over all pixels of all images, (C, 1, 1) float64."""
    if isinstance(images, Images):
        side_by_side = np.concatenate([image.reshape(images.channels, -1) for image in images], axis=1)
        images = side_by_side[None, :, None]
    mean = images.mean(axis=(0, 2, 3), dtype=np.float64, keepdims=True)[0]
    return mean, images.std(axis=(0, 2, 3), dtype=np.float64, keepdims=True)[0]
