"""One image file as an array, or the reason why not.

header -> width and height, before anything large is allocated -> decoded -> upright -> opaque -> channels
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from minicnn.data.augment import shrink
from minicnn.data.pillow import FORMATS, import_pillow
from minicnn.plain import Array, Pair

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION = 0x0112  # the EXIF tag

# How an image with this orientation is made upright. Pillow's ImageOps.exif_transpose does the same, but also writes
# the EXIF data anew, and fails where other parts of them are damaged.
UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
LYING = (5, 6, 7, 8)  # those whose height and width change places


class BadImageError(ValueError):
    """A file that cannot be used as an image; the message is the reason."""


def read_size(path: Path, max_pixels: int) -> Pair:
    """(height, width) of the upright image in a file, from its header. Raises BadImageError."""
    with _opened(path, max_pixels) as image:
        width, height = image.size
        # A TIFF's size is the upright one already. PNG may have EXIF data behind the pixels, and looking for them
        # would decode the pixels; such a file's height and width are swapped here, and right in `decode`.
        has_tag = image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info)
        return (width, height) if has_tag and _orientation(image) in LYING else (height, width)


def decode(
    path: str | Path, channels: int, background: Sequence[int], max_pixels: int, max_side: int | None = None
) -> Array:
    """The upright image in a file: (channels, H, W), numbers as they are stored.

    Args:
        channels: 3, or 1 for the grey value 0.299 R + 0.587 G + 0.114 B.
        background: (red, green, blue), each 0 to 255, that is seen where the image is transparent.
        max_pixels: the most that H * W may be, as it is stored.
        max_side: shrink a larger image so that its longer side has this many pixels.

    Returns:
        uint8 of 0 to 255; of 16-bit and 32-bit integer grey images uint16 of 0 to 65535; of float images float32 of
        0 to 1. `to_unit_range` makes all of them one. (Colour of 16 bits a channel is read as 8 bits by Pillow.)

    Raises:
        BadImageError: not a regular file, not readable, empty, not an image, larger than max_pixels, damaged, of
            a colour space without a rule to RGB, or with 32-bit numbers out of range.
    """
    with _opened(path, max_pixels) as image:
        image.load()
        orientation = _orientation(image)
        if orientation in UPRIGHT:
            image = image.transpose(getattr(import_pillow("decode").Transpose, UPRIGHT[orientation]))
        if image.mode[0] in "IF":
            return np.repeat(_shrunk(_deep_grey(image)[None], max_side), channels, axis=0)
        if image.has_transparency_data:
            image = _over(background, image.convert("RGBA"))
        if channels == 1:
            return _shrunk(np.array(image.convert("L"))[None], max_side)
        # Channel by channel takes a fifth of the time of transposing (H, W, 3) in NumPy.
        return np.stack([_shrunk(np.asarray(channel)[None], max_side)[0] for channel in image.convert("RGB").split()])


def to_unit_range(pixels: Array) -> Array:
    """float32 of 0 to 1 from what `decode` returns: integers are divided by the largest value of their dtype.

    >>> to_unit_range(np.uint8([0, 255])), to_unit_range(np.uint16([0, 65535]))
    (array([0., 1.], dtype=float32), array([0., 1.], dtype=float32))
    """
    if pixels.dtype == np.float32:
        return pixels.copy()
    return np.divide(pixels, np.float32(np.iinfo(pixels.dtype).max), dtype=np.float32)


@contextmanager
def _opened(path: str | Path, max_pixels: int) -> Iterator[Image]:
    """Pillow's image of the file, header read; any error inside becomes a BadImageError."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # before opening: a pipe would wait for its writer for ever
            raise BadImageError("it is not a regular file")
        with open(path, "rb") as file:
            image = _read_header(file)
            width, height = image.size
            if width * height > max_pixels:
                raise BadImageError(f"it has {width} × {height} pixels, more than max_pixels = {max_pixels}")
            yield image
    except BadImageError:
        raise
    except OSError as error:
        # Errors of the system have a number; Pillow's own of damaged files have none.
        reason = f"it is damaged ({error})" if error.errno is None else f"it cannot be read ({error.strerror})"
        raise BadImageError(reason) from error
    except Exception as error:  # a damaged file can raise anything in Pillow's readers, and must not end a training
        raise BadImageError(f"it is damaged ({type(error).__name__}: {error})") from error


def _read_header(file: BinaryIO) -> Image:
    """What Pillow's Image.open does, without its limit on pixels, which warns before it raises.

    Python's warning filters are shared by all threads, so a worker cannot silence that warning for itself. Pillow's
    other warnings, such as of damaged EXIF data, are shown.
    """
    start = file.read(16)
    if not start:
        raise BadImageError("it is empty")
    for reader, accepts in (import_pillow("decode").OPEN[name] for name in FORMATS):
        if accepts(start) is True:
            file.seek(0)
            return reader(file, "")
    raise BadImageError(f"it is no image of a known format ({', '.join(FORMATS)})")


def _orientation(image: Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none, or where the EXIF data are damaged."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF data can raise anything, and the pixels may be sound
        return 1


def _shrunk(pixels: Array, max_side: int | None) -> Array:
    """Pixels (C, H, W) of any of the kinds above with the longer side at most `max_side`, and of the same kind."""
    if max_side is None or max(pixels.shape[1:]) <= max_side:
        return pixels
    small = shrink(pixels.astype(np.float32), max_side)
    return small if pixels.dtype == np.float32 else np.rint(small).astype(pixels.dtype)


def _over(background: Sequence[int], image: Image) -> Image:
    """An RGBA image laid over a colour."""
    pillow = import_pillow("decode")
    return pillow.alpha_composite(pillow.new("RGBA", image.size, (*background, 255)), image)


def _deep_grey(image: Image) -> Array:
    """(H, W) of an image with one channel of more than 8 bits, which Pillow would not scale but clip."""
    pixels = np.asarray(image)
    if pixels.dtype.itemsize == 2:
        return pixels.astype(np.uint16)  # also swaps the bytes of big-endian files
    low, high = pixels.min(), pixels.max()
    if image.mode == "F":
        if not (low >= 0 and high <= 1):  # written so that NaN is refused as well
            raise BadImageError(f"it has floats from {low} to {high}; expected 0 to 1")
        return pixels.astype(np.float32)
    if low < 0 or high > 65535:
        raise BadImageError(f"it has 32-bit integers from {low} to {high}; expected 0 to 65535, save it with 16 bits")
    return pixels.astype(np.uint16)
