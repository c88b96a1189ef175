"""Images that are nearly the same in two folders: what one was learnt from, the other does not measure."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np

from minicnn.data.augment import resize
from minicnn.data.folder import ImageFolder
from minicnn.data.loader import Loader
from minicnn.data.order import ByPixels
from minicnn.plain import Array

SIDE = 16  # pixels of a thumbnail, in which what a file's format or size does to an image averages out
MAX_PIXELS = 2**18  # decoded at once
# How far apart the thumbnails of a pair may be, the root of their mean squared difference: by their contrast (their
# standard deviation), since two pieces of one lawn are near each other, and within limits for numbers from 0 to 1. The
# nearest of 5000 and 1500 images of clothes are 0.03 apart, an image saved at half its size seldom over 0.02.
OF_CONTRAST, AT_LEAST, AT_MOST = 0.25, 0.002, 0.02
ROWS = 1024  # thumbnails that are compared with all others at once


def near_duplicates(first: ImageFolder, second: ImageFolder) -> list[tuple[Path, Path]]:
    """Pairs (file of `first`, file of `second`) whose images are the same but for their size or how they were saved.

    Each image becomes a thumbnail of 16 × 16 pixels; two thumbnails a and b are near where

        sqrt(mean((a - b)²)) <= 0.25 * min(std(a), std(b)),  at least 0.002 and at most 0.02

    This decodes every image once, and compares all pairs by a matrix product, which takes a second or so for 10 000
    images and 2000. Mirrored, rotated and cropped images are not found. Bad files are passed over, and in the folders'
    `problems`.

    Args:
        first, second: folders of the same number of channels.

    Returns the pairs in the order of the files of `second`. Raises ValueError where they differ in channels.
    """
    if first.channels != second.channels:
        raise ValueError(
            f"near_duplicates: expected folders of one number of channels, got {first.channels} and {second.channels}"
        )
    (paths, these), (other_paths, those) = _thumbnails(first), _thumbnails(second)
    contrasts = these.std(axis=1)
    squares = np.square(these).sum(axis=1)
    pairs: list[tuple[Path, Path]] = []
    for start in range(0, len(those), ROWS):
        rows = those[start : start + ROWS]
        # |a - b|² = |a|² + |b|² - 2 a · b
        distances = np.square(rows).sum(axis=1)[:, None] + squares - 2 * (rows @ these.T)
        contrast = np.minimum(rows.std(axis=1)[:, None], contrasts)
        allowed = np.clip(OF_CONTRAST * contrast, AT_LEAST, AT_MOST)
        near = np.argwhere(distances <= these.shape[1] * np.square(allowed))
        pairs += [(paths[column], other_paths[start + row]) for row, column in near.tolist()]
    return pairs


def _thumbnails(folder: ImageFolder) -> tuple[list[Path], Array]:
    """(files, (M, C * 16 * 16) float32) of the images that can be read; the numbers of all of them less one half."""
    numbered = copy.copy(folder)
    numbered.labels = np.arange(len(folder))  # with positions as labels we see which images the loader gave
    chosen: list[int] = []
    rows: list[Array] = []
    for images, numbers in Loader(numbered, ByPixels(MAX_PIXELS), augment=lambda image, _: resize(image, (SIDE, SIDE))):
        chosen += numbers.tolist()
        rows += [image.ravel() - np.float32(0.5) for image in images]
    order = np.argsort(chosen)
    thumbnails = np.array(rows, np.float32).reshape(len(rows), folder.channels * SIDE * SIDE)
    return [folder.paths[chosen[position]] for position in order.tolist()], thumbnails[order]
