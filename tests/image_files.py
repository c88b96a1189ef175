"""Image files for tests, written and read."""

import io

import numpy as np
from PIL import Image

from minicnn.data.decode import decode

WHITE = (255, 255, 255)
LOGGER = "minicnn.data.folder"


def save(path, image, **options):
    """Write an image, or an array (H, W) or (H, W, C), making the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
    image.save(path, **options)
    return path


def opened(path):
    """Pillow's image, its file read and closed."""
    return Image.open(io.BytesIO(path.read_bytes()))


def decoded(path, channels=3, background=WHITE):
    return decode(path, channels, background, max_pixels=10**6)


def pixels(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
