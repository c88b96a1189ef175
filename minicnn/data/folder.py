"""ImageFolder: images on disk, a folder for each class."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.checks import as_int
from minicnn.data.augment import shrunk_size
from minicnn.data.cache import PixelCache
from minicnn.data.decode import BadImageError, decode, read_size, to_unit_range
from minicnn.data.pillow import SUFFIXES, import_pillow
from minicnn.data.split import split_by_class
from minicnn.data.walk import class_folders, class_name, image_files, parts_of_a_set
from minicnn.plain import Array, Pair

log = logging.getLogger(__name__)
NAMED = 3  # bad files that the summary names; `problems` has all


class ImageFolder:
    """Labelled images (C, H, W) of different sizes in files, decoded when they are asked for.

    Each direct sub-folder of `path` is a class, and all images in it, at any depth, are of that class; classes are
    numbered in the order of their names. Images are the files whose suffix is .jpg, .jpeg, .png, .ppm, .bmp, .pgm,
    .tif, .tiff, .webp or .gif; others are skipped
    silently, and so are hidden ones (whose name begins with a dot) and those of operating systems, such as __MACOSX.
    Otherwise classes, their numbers and the order of files are those of torchvision's ImageFolder, except that a class
    without images is allowed. Folders such as "train" and "val" side by side are refused, since they are parts of a
    data set; if they are classes, name them in `classes`.

    The format is told by a file's content, not its suffix. Only the first frame of an animation is read; images are
    rotated as their EXIF data say; 16-bit integers are divided by 65535.

    **Bad files.** Every header is read when the folder is opened (about 0.1 ms each), and a file that is not an
    image is left out at once: it is in none of the attributes. Damaged pixels show only when they are decoded: the
    image then keeps its number and is left out of every batch. Either way the file and the reason are in `problems`,
    and are logged once as a warning of the logger "minicnn.data.folder", which shows on standard error unless logging
    is configured otherwise.

    Args:
        path: the folder of the class folders.
        classes: names of the class folders to take, numbered in this order; all of them unless given.
        channels: 3 for colour, 1 for grey.
        max_side: larger images are shrunk when they are decoded, so that their longer side has this many pixels; a
            photo of 12 million pixels would take 11 GB to train on. None leaves all as they are.
        background: (red, green, blue), each from 0 to 255, behind transparent pixels.
        max_pixels: images with more are bad files; a small file can claim to be a huge image. Decoding takes about 20
            bytes a pixel for the moment, in each thread.
        strict: raise ValueError for the first bad file.
        cache_bytes: memory for decoded images that are kept for the next epoch. They are kept as they are stored, in
            most files one byte a number.

    Attributes:
        class_names: list of str.
        paths: list of Path, one an image.
        labels: (N,) int64, positions in `class_names`.
        sizes: (N, 2) int64, rows (H, W) as the headers and `max_side` say; read-only.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no class folders, or parts of a data set in their place; no image that can be read; a setting out
            of range; with `strict` any bad file.
        ImportError: Pillow is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        classes: Sequence[str] | None = None,
        channels: int = 3,
        max_side: int | None = None,
        background: Sequence[int] = (255, 255, 255),
        max_pixels: int = 50_000_000,
        strict: bool = False,
        cache_bytes: int = 2**29,
    ) -> None:
        import_pillow("ImageFolder")
        if channels not in (1, 3):
            raise ValueError(f"ImageFolder: expected channels 1 or 3, got {channels!r}")
        background = tuple(as_int(part, "ImageFolder: background", 0) for part in background)
        if len(background) != 3 or max(background) > 255:
            raise ValueError(f"ImageFolder: expected background (red, green, blue) of 0 to 255, got {background}")
        self.path, self.channels, self.background = Path(path), channels, background
        self.max_side = None if max_side is None else as_int(max_side, "ImageFolder: max_side", 1)
        self.max_pixels = as_int(max_pixels, "ImageFolder: max_pixels", 1)
        self.strict = bool(strict)
        self._cache = PixelCache(as_int(cache_bytes, "ImageFolder: cache_bytes", 0))
        self._problems: dict[Path, str] = {}
        self._lock = threading.Lock()
        self._scan(classes)

    def _scan(self, classes: Sequence[str] | None) -> None:
        """Find the files and read the headers."""
        if not self.path.is_dir():
            raise FileNotFoundError(f"ImageFolder: no folder {self.path}")
        folders = class_folders(self.path)
        if not folders:
            raise ValueError(f"ImageFolder: expected a folder for each class in {self.path}, got none")
        if classes is None:
            _refuse_parts(self.path, [folder.name for folder in folders])
        else:
            by_name = {class_name(folder): folder for folder in folders}
            missing = [name for name in classes if name not in by_name]
            if missing or not len(classes):
                raise ValueError(
                    f"ImageFolder: expected names of folders in {self.path}, got {', '.join(missing) or 'none'}; "
                    f"there are {', '.join(by_name)}"
                )
            folders = [by_name[name] for name in classes]
        self.class_names = [class_name(folder) for folder in folders]
        self.paths: list[Path] = []
        labels: list[int] = []
        sizes: list[Pair] = []
        self._n_files = 0
        for label, folder in enumerate(folders):
            files, unreadable = image_files(folder)
            self._n_files += len(files) + len(unreadable)
            for path, reason in unreadable:
                self._leave_out(path, reason)
            for path in files:
                try:
                    size = read_size(path, self.max_pixels)
                except BadImageError as error:
                    self._leave_out(path, str(error))
                    continue
                self.paths.append(path)
                labels.append(label)
                sizes.append(size if self.max_side is None else shrunk_size(*size, self.max_side))
        if not self.paths:
            found = self.summary() if self._n_files else f"there is no file with a suffix of {', '.join(SUFFIXES)}"
            raise ValueError(f"ImageFolder: expected at least one image below {self.path}, got none; {found}")
        self.labels, self.sizes = np.array(labels, np.int64), np.array(sizes, np.int64)
        self.sizes.flags.writeable = False

    def __len__(self) -> int:
        """How many images, those included whose pixels turned out to be damaged."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Array, int]:
        """(image (C, H, W) float32 from 0 to 1, label). Raises ValueError where the pixels are damaged."""
        index = range(len(self))[index]
        image = self.image(index)
        if image is None:
            path = self.paths[index]
            raise ValueError(f"ImageFolder: {path} cannot be used: {self._problems[path]}")
        return image, int(self.labels[index])

    def image(self, index: int) -> Array | None:
        """Image number `index`, (C, H, W) float32 from 0 to 1, yours to write on; None where its pixels are damaged.

        Any thread may call it. Raises ValueError for damaged pixels with `strict`.
        """
        path = self.paths[index]
        if path in self._problems:
            return None
        pixels = self._cache.get(path)
        if pixels is None:
            try:
                pixels = decode(path, self.channels, self.background, self.max_pixels, self.max_side)
            except BadImageError as error:
                self._leave_out(path, str(error))
                return None
            self._cache.keep(path, pixels)
        return to_unit_range(pixels)

    def split(self, n_second: int, rng: np.random.Generator | int | None) -> tuple[ImageFolder, ImageFolder]:
        """Two disjoint random parts, (the rest, `n_second` images), drawn by `rng` (a Generator or a seed).

        Each class has its share of both, as `minicnn.data.split` says; they share the cache and the list of problems.
        Raises ValueError unless both parts get at least one image.
        """
        first, second = split_by_class(self.labels, n_second, rng, "ImageFolder.split", self.class_names)
        return self._part(np.sort(first)), self._part(np.sort(second))

    def _part(self, chosen: Array) -> ImageFolder:
        part = copy.copy(self)
        part.paths = [self.paths[index] for index in chosen]
        part.labels, part.sizes = self.labels[chosen], self.sizes[chosen]
        part.sizes.flags.writeable = False
        return part

    @property
    def problems(self) -> list[tuple[Path, str]]:
        """List of (path, reason), sorted by path: the files that were left out so far."""
        with self._lock:
            return sorted(self._problems.items())

    def add_problems(self, problems: Sequence[tuple[Path, str]]) -> None:
        """Leave these files out, too: pairs (path, reason), which another process has met."""
        with self._lock:
            self._problems.update(problems)

    def summary(self) -> str:
        """A sentence: how many files were left out so far, the first of them, and why."""
        problems = self.problems
        if not problems:
            return f"all of {self._n_files} image files could be read so far"
        named = [f"{path.relative_to(self.path)}: {reason}" for path, reason in problems[:NAMED]]
        more = [f"and {len(problems) - NAMED} more"] if len(problems) > NAMED else []
        return f"{len(problems)} of {self._n_files} image files could not be read ({'; '.join(named + more)})"

    def _leave_out(self, path: Path, reason: str) -> None:
        """Put the file on the list and name it, once; with `strict` raise instead."""
        if self.strict:
            raise ValueError(f"ImageFolder: {path} cannot be used: {reason}")
        with self._lock:
            is_new = path not in self._problems
            self._problems[path] = reason
        if is_new:
            log.warning("%s is left out: %s", path, reason)

    def __copy__(self) -> ImageFolder:
        """Shares cache, problems and lock with this one, in the same process."""
        other = type(self).__new__(type(self))
        vars(other).update(vars(self))
        return other

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs to read the same images. What this one has decoded stays here."""
        return vars(self) | {"_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"ImageFolder({str(self.path)!r}: {len(self)} images of {len(self.class_names)} classes)"


def _refuse_parts(path: Path, names: list[str]) -> None:
    """Raise ValueError where the class folders are, by their names, the parts of a data set."""
    parts = parts_of_a_set(names)
    if parts:
        first, second, *_ = (path / name for name in parts.values())
        raise ValueError(
            f"ImageFolder: expected a folder for each class in {path}, got {', '.join(parts.values())}, which by their "
            "names are parts of a data set; open each of them by itself, as in: "
            f"minicnn train {first} --validation {second}"
        )
