"""CIFAR-10: 60 000 colour 32 × 32 pictures in ten classes (Krizhevsky, 2009), read from what its page offers."""

import io
import pickle
import tarfile
import zlib
from pathlib import Path

import numpy as np

from minicnn.data.dataset import Dataset, LabelledImages

PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
ARCHIVES = ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz")
TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILE = "test_batch"
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGE_BYTES = 3 * 32 * 32
# What reading a damaged archive, or a damaged pickle in it, may end in.
DAMAGED = (
    *(tarfile.TarError, zlib.error, EOFError, OSError, pickle.UnpicklingError),
    *(KeyError, IndexError, TypeError, AttributeError, ValueError),
)
HARMLESS = (("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"))  # what a pickled array names


def load_cifar10(folder="."):
    """50 000 training and 10 000 test images (N, 3, 32, 32), values from 0 to 1.

    Args:
        folder: where the archive is, `cifar-10-python.tar.gz` or `cifar-10-binary.tar.gz`, as downloaded.

    Raises:
        FileNotFoundError: neither archive is there; says where it was looked for, and how to get it.
        ValueError: the archive is damaged or holds something else.
    """
    folder = Path(folder)
    found = [folder / name for name in ARCHIVES if (folder / name).is_file()]
    if not found:
        raise FileNotFoundError(
            f"CIFAR-10: no {' or '.join(ARCHIVES)} in {folder.resolve()}. "
            f"Download one of them from {PAGE} and give the folder it is in (--data-dir)"
        )
    path = found[0]
    try:
        parts = _read_archive(path)
    except DAMAGED as error:
        raise ValueError(f"{path}: expected CIFAR-10's archive, got one that cannot be read ({error})") from error
    missing = [name for name in (*TRAIN_FILES, TEST_FILE) if name not in parts]
    if missing:
        raise ValueError(f"{path}: expected CIFAR-10's archive, got one without {', '.join(missing)}")
    train = [parts[name] for name in TRAIN_FILES]
    return Dataset("cifar10", _joined(train), _joined([parts[TEST_FILE]]), CLASS_NAMES, f"CIFAR-10 from {path}")


def _read_archive(path):
    """{"data_batch_1": (pixels (N, 3072) uint8, labels (N,)), …} from either form of the archive."""
    parts = {}
    with tarfile.open(path) as archive:
        for member in archive:
            name, _, ending = Path(member.name).name.partition(".")
            if not member.isfile() or name not in (*TRAIN_FILES, TEST_FILE):
                continue
            content = archive.extractfile(member).read()
            pixels, labels = _from_binary(content) if ending == "bin" else _from_pickle(content)
            if pixels.dtype != np.uint8 or pixels.shape != (len(labels), IMAGE_BYTES) or np.max(labels) >= 10:
                raise ValueError(f"{path}: {member.name} does not hold CIFAR-10 images")
            parts[name] = pixels, labels
    return parts


def _from_binary(content):
    """One byte of label and 3072 of pixels for each image."""
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + IMAGE_BYTES)
    return records[:, 1:], records[:, 0]


def _from_pickle(content):
    """A pickled dict with the keys b"data" and b"labels"."""
    batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    return batch[b"data"], np.asarray(batch[b"labels"])


class _ArrayUnpickler(pickle.Unpickler):
    """Loads plain values and NumPy arrays and refuses the rest, since a pickle can run any code it names."""

    def find_class(self, module, name):
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return np.ndarray.__reduce__(np.empty(0))[0]
        if (module, name) in HARMLESS:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _joined(parts):
    pixels = np.concatenate([pixels for pixels, _ in parts])
    labels = np.concatenate([labels for _, labels in parts])
    return LabelledImages(pixels.reshape(-1, 3, 32, 32).astype(np.float32) / 255, labels.astype(np.int64))
