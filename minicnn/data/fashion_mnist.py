"""Fashion-MNIST: 70 000 grey 28 × 28 images of clothes in ten classes (Xiao et al., 2017, arXiv:1708.07747)."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from minicnn.data.dataset import Dataset, LabelledImages
from minicnn.io.files import open_regular
from minicnn.plain import Array

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
MOST = 70_000  # images in a file: the whole set
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def load_fashion_mnist(folder: str | Path | None = None) -> Dataset:
    """60 000 training and 10 000 test images (N, 1, 28, 28), values from 0 to 1.

    Args:
        folder: where the four files `{train,t10k}-{images-idx3,labels-idx1}-ubyte.gz` are; unless given, where
            Debian's package dataset-fashion-mnist puts them.

    Raises:
        FileNotFoundError: a file is missing; says which, where it was looked for, and how to get it.
        ValueError: a file is damaged or is not what its name says.
    """
    folder = DEBIAN_FOLDER if folder is None else Path(folder)
    train, test = (_load_part(folder, prefix) for prefix in ("train", "t10k"))
    return Dataset("fashion-mnist", train, test, CLASS_NAMES, f"Fashion-MNIST from {folder}")


def _load_part(folder: Path, prefix: str) -> LabelledImages:
    images_path, labels_path = folder / f"{prefix}-images-idx3-ubyte.gz", folder / f"{prefix}-labels-idx1-ubyte.gz"
    images, labels = read_idx(images_path, (MOST, 28, 28)), read_idx(labels_path, (MOST,))
    if len(images) != len(labels):
        raise ValueError(f"{labels_path}: expected {len(images)} labels, one an image, got {len(labels)}")
    if labels.max(initial=0) >= len(CLASS_NAMES):
        raise ValueError(f"{labels_path}: expected labels from 0 to {len(CLASS_NAMES) - 1}, got {labels.max()}")
    return LabelledImages(images[:, None].astype(np.float32) / 255, labels.astype(np.int64))


def read_idx(path: Path, axes: tuple[int, ...]) -> Array:
    """The uint8 array of a gzipped IDX file: two zero bytes, type 8, the number of axes, each axis's length, the data.

    `axes` are the lengths that it should have, the first of them at most. No more is unpacked than that.

    Raises FileNotFoundError where there is no such file, ValueError where its content is not that.
    """
    header_size = 4 + 4 * len(axes)
    try:
        with open_regular(path) as packed, gzip.open(packed) as file:
            header = file.read(header_size)
            shape = struct.unpack(f">{len(axes)}I", header[4:]) if len(header) == header_size else ()
            if header[:4] != bytes([0, 0, 8, len(axes)]) or not shape:
                raise ValueError(
                    f"{path}: expected an IDX file of bytes with {len(axes)} axes, got a header of {header[:4]!r}"
                )
            if shape[0] > axes[0] or shape[1:] != axes[1:]:
                raise ValueError(f"{path}: expected axes of {axes}, the first of them at most, got {shape}")
            content = file.read(math.prod(shape) + 1)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Fashion-MNIST: no file {path.name} in {path.parent}. On Debian or Ubuntu, get it with "
            "`apt install dataset-fashion-mnist`; or download the four .gz files from "
            "https://github.com/zalandoresearch/fashion-mnist and give their folder (--data-dir)"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: expected a gzipped IDX file, got one that cannot be unpacked ({error})") from error
    if len(content) != math.prod(shape):
        got = "more" if len(content) > math.prod(shape) else len(content)
        raise ValueError(f"{path}: expected {math.prod(shape)} bytes of data for {shape}, got {got}")
    return np.frombuffer(content, np.uint8).reshape(shape)
