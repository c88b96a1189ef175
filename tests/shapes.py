"""Folders of pictures that can be learnt in seconds: light shapes of any colour on noise, of many sizes."""

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("bar", "disc")


def write_shapes(folder, per_class, seed, classes=CLASSES):
    """A folder for each class, with `per_class` PNG files of 12 × 12 to 40 × 40 pixels."""
    rng = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            draw_shape(name, rng).save(folder / name / f"{number}.png")
    return folder


def draw_shape(name, rng):
    height, width = rng.integers(12, 41, 2).tolist()
    picture = Image.fromarray(rng.integers(0, 80, (height, width, 3)).astype(np.uint8))
    pen, colour = ImageDraw.Draw(picture), tuple(rng.integers(150, 256, 3).tolist())
    if name == "bar":
        column = int(rng.integers(2, width - 5))
        pen.rectangle((column, 2, column + 2, height - 3), fill=colour)
    else:
        column, row = int(rng.integers(1, width - 10)), int(rng.integers(1, height - 10))
        pen.ellipse((column, row, column + 8, row + 8), fill=colour)
    return picture
