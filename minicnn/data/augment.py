"""Images changed at random, and to size: plain functions on one image (C, H, W) of floats from 0 to 1.

Those that draw take a Generator `rng`. None writes on its input; a result may share the input's memory.

    def augment(image, rng):
        image = random_flip(random_resize(image, rng), rng)
        return random_crop(pad_to(image, 32), 32, rng)
"""

import math

import numpy as np

from minicnn.checks import as_pair
from minicnn.data.pillow import import_pillow
from minicnn.plain import Array, Pair

GREY = np.array([0.2989, 0.587, 0.114])  # of red, green and blue, as in torchvision
MAX_PIXELS = 50_000_000  # of a resized image


def random_flip(image: Array, rng: np.random.Generator) -> Array:
    """`image` (C, H, W), or with probability ½ its mirror image, left for right, a view."""
    return image[:, :, ::-1] if rng.random() < 0.5 else image


def random_crop(image: Array, size: int | Pair, rng: np.random.Generator) -> Array:
    """A part of `size`, an int or (h, w), each place as likely as the next: (C, h, w), a view.

    Raises ValueError where the image is smaller.
    """
    height, width = as_pair(size, "random_crop: size", 1)
    top, left = image.shape[1] - height, image.shape[2] - width
    if top < 0 or left < 0:
        raise ValueError(
            f"random_crop: expected an image of at least {height} × {width}, got shape {image.shape}; "
            "pad_to makes it larger"
        )
    top, left = rng.integers(top + 1), rng.integers(left + 1)
    return image[:, top : top + height, left : left + width]


def color_jitter(
    image: Array, rng: np.random.Generator, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0
) -> Array:
    """Brightness, contrast and saturation changed, in random order; torchvision's ColorJitter without hue.

        brightness    f · image                                          result always cut to 0 … 1
        contrast      f · image + (1 - f) · mean of the grey image
        saturation    f · image + (1 - f) · grey image                   nothing to do for C = 1

    Args:
        brightness, contrast, saturation: s, for f drawn evenly from max(0, 1 - s) to 1 + s.

    Raises ValueError where C is not 1 or 3, or an argument is negative.
    """
    if len(image) not in (1, 3):
        raise ValueError(f"color_jitter: expected an image (1, H, W) or (3, H, W), got shape {image.shape}")
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    for name, strength in strengths.items():
        if not strength >= 0:
            raise ValueError(f"color_jitter: expected {name} of at least 0, got {strength}")
    for place in rng.permutation(len(strengths)):
        name, strength = list(strengths.items())[place]
        factor = rng.uniform(max(0, 1 - strength), 1 + strength)
        image = _blend(image, _other(name, image), factor)
    return image


def _other(name: str, image: Array) -> Array | float:
    """What the image is blended with, (1, H, W) or a number."""
    if name == "brightness":
        return 0.0
    grey = np.tensordot(GREY.astype(image.dtype), image, 1)[None] if len(image) == 3 else image
    return grey if name == "saturation" else grey.mean(dtype=np.float64)


def _blend(image: Array, other: Array | float, factor: float) -> Array:
    mixed = np.asarray(factor * image + (1 - factor) * other, image.dtype)
    return mixed.clip(0, 1)


def random_resize(image: Array, rng: np.random.Generator, scale: tuple[float, float] = (0.8, 1.25)) -> Array:
    """The image (C, H, W) with H and W times a factor from scale[0] to scale[1], the same for both.

    The factor's logarithm is drawn evenly, so that twice is as likely as half.

    Raises ValueError unless 0 < scale[0] <= scale[1].
    """
    low, high = scale
    if not 0 < low <= high:
        raise ValueError(f"random_resize: expected scale (low, high) with 0 < low <= high, got {scale!r}")
    return _scaled(image, math.exp(rng.uniform(math.log(low), math.log(high))))


def resize(image: Array, size: int | Pair, max_side: int | None = None) -> Array:
    """The image in another size, averaged where it shrinks and interpolated linearly where it grows (C, h, w).

    Args:
        size: (h, w); or an int, the length of the shorter side, with the shape kept.
        max_side: with an int, the longer side is at most this, and the shorter one then less than `size`. A strip
            of 1 × 60000 resized to 64 would have 245 million pixels without it.

    Raises ValueError for a size below 1, or a result of more than 50 million pixels.
    """
    _, height, width = image.shape
    if isinstance(size, (tuple, list)):
        return _resized(image, *as_pair(size, "resize: size", 1))
    (shorter, _), factor = as_pair(size, "resize: size", 1), math.inf
    if max_side is not None:
        factor = as_pair(max_side, "resize: max_side", 1)[0] / max(height, width)
    return _scaled(image, min(factor, shorter / min(height, width)))


def shrink(image: Array, max_side: int) -> Array:
    """The image with its longer side at most `max_side`, the shape kept; a smaller one as it is (C, h, w).

    Raises ImportError where it is to be shrunk and Pillow is not installed.

    >>> shrink(np.ones((1, 100, 30)), 10).shape, shrink(np.ones((1, 10, 3)), 10).shape
    ((1, 10, 3), (1, 10, 3))
    """
    _, height, width = image.shape
    size = shrunk_size(height, width, max_side)
    return image if size == (height, width) else _resized(image, *size)


def shrunk_size(height: int, width: int, max_side: int) -> Pair:
    """(h, w) of what `shrink` returns."""
    if max(height, width) <= max_side:
        return height, width
    longer = max(height, width)
    return max(1, round(height * max_side / longer)), max(1, round(width * max_side / longer))


def pad_to(image: Array, size: int | Pair) -> Array:
    """The image in the middle of zeros, at least `size`, an int or (h, w); sides that are longer stay as they are.

    Raises TypeError or ValueError for a size that is not of positive integers.

    >>> pad_to(np.ones((1, 1, 3)), 2)
    array([[[1., 1., 1.],
            [0., 0., 0.]]])
    """
    missing = [
        max(0, side - have) for side, have in zip(as_pair(size, "pad_to: size", 1), image.shape[1:], strict=True)
    ]
    return np.pad(image, [(0, 0), *((lack // 2, lack - lack // 2) for lack in missing)])


def _scaled(image: Array, factor: float) -> Array:
    return _resized(image, *(max(1, round(side * factor)) for side in image.shape[1:]))


def _resized(image: Array, height: int, width: int) -> Array:
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"resize: expected a result of at most {MAX_PIXELS} pixels, got {height} × {width} from an image of shape "
            f"{image.shape}; give `max_side` or a smaller size"
        )
    pillow = import_pillow("resize")
    # Mode F is one channel of float32. Pillow widens the triangle of "bilinear" where it shrinks, so that no pixel
    # is passed over.
    channels = [
        pillow.fromarray(np.ascontiguousarray(channel, np.float32)).resize((width, height), pillow.Resampling.BILINEAR)
        for channel in image
    ]
    return np.stack([np.asarray(channel) for channel in channels]).astype(image.dtype, copy=False)
