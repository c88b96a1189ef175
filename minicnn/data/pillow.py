"""Pillow, imported when the first image file is read, so that minicnn works without it."""

from types import ModuleType


def import_pillow(who: str) -> ModuleType:
    """The module `PIL.Image` with its reader of each of FORMATS. Raises ImportError with the remedy."""
    try:
        from PIL import (  # noqa: F401, since importing a reader is what makes it known
            BmpImagePlugin,
            GifImagePlugin,
            Image,
            JpegImagePlugin,
            PngImagePlugin,
            PpmImagePlugin,
            TiffImagePlugin,
            WebPImagePlugin,
        )
    except ImportError as error:
        raise ImportError(
            f"{who}: image files are read with Pillow, which is not installed; "
            "get it with: pip install 'minicnn-numba[images]'"
        ) from error
    return Image


# Pillow reads more formats, some of them by starting other programs. A file's content decides which reader it gets, so
# only these are offered.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")

# The files of a folder that count as images; torchvision's, and .gif.
SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")
