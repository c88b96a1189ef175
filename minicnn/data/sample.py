"""A small folder of real pictures to begin with, cut out of photographs that come with the package."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from minicnn.data.pillow import import_pillow

PHOTOS = Path(__file__).parent / "photos"  # one a class, named as the class; their credits beside them
CREDITS = "CREDITS.md"
# By part of the set: how many pictures of each class, and the part of the photograph, of its width, that they are from.
PARTS = {"train": (24, 0.0, 0.625), "test": (8, 0.625, 1.0)}
SIDES = 32, 80  # pixels, from the smallest height and width to the largest
SEED = 0  # the same pictures for everybody, so that accuracies can be compared


def write_sample(folder: str | Path) -> tuple[Path, Path]:
    """Write a set of pictures to train on and to be tested with, as `ImageFolder` and `minicnn train` take them.

    There are 24 pictures of each class in `folder`/train and 8 in `folder`/test, in a sub-folder for each class: pieces
    of 32 to 80 pixels a side of one photograph a class. Training pieces are from its left part and those of the test
    from the rest, so no pixel is in both. `folder`/CREDITS.md says whose photographs they are and what may be done with
    them.

    Returns:
        (train, test), the paths of the two folders.

    Raises:
        FileExistsError: there is something at `folder` already, which stays as it is; an empty folder is none.
        OSError: the folder cannot be written; then there is no part of it.
        ImportError: Pillow is not installed.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"write_sample: expected a new or empty folder, and {folder} is there; give another name")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".minicnn-sample-") as temporary:
        made = Path(temporary, "sample")
        made.mkdir()  # with the usual mode, which a temporary folder does not have
        write_pieces(made, PARTS)
        (made / CREDITS).write_bytes((PHOTOS / CREDITS).read_bytes())
        if folder.exists():
            folder.rmdir()  # it is empty; Windows would not replace it
        os.replace(made, folder)
    return folder / "train", folder / "test"


def write_pieces(folder: Path, parts: Mapping[str, tuple[int, float, float]]) -> None:
    """Cut pieces out of the photographs into `folder`/part/class, for parts as `PARTS` has them."""
    image = import_pillow("write_sample")
    rng = np.random.default_rng(SEED)
    for path in sorted(PHOTOS.glob("*.jpg")):
        with image.open(path) as photo:
            for part, (count, left, right) in parts.items():
                place = folder / part / path.stem
                place.mkdir(parents=True)
                first, stop = round(left * photo.width), round(right * photo.width)
                for number in range(1, count + 1):
                    height, width = rng.integers(SIDES[0], SIDES[1], size=2, endpoint=True).tolist()
                    top = int(rng.integers(photo.height - height, endpoint=True))
                    side = int(rng.integers(first, stop - width, endpoint=True))
                    piece = photo.crop((side, top, side + width, top + height))
                    piece.save(place / f"{path.stem}-{number:02}.jpg", quality=90)
