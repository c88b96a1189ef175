"""CIFAR-10: 60 000 colour 32 × 32 images in ten classes (Krizhevsky, 2009), read from the archives of its page."""

import gzip
import io
import pickle
import pickletools
import tarfile
import zlib
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from minicnn.checks import shortened
from minicnn.data.dataset import Dataset, LabelledImages
from minicnn.io.files import open_regular
from minicnn.io.safetensors import WRONG_CONTENT
from minicnn.plain import Array

Part: TypeAlias = tuple[Array, list[int]]  # pixels (N, 3072) uint8 and labels, of one file of the archive

PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
ARCHIVES = ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz")
TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILE = "test_batch"
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGE_BYTES = 3 * 32 * 32
# What reading a damaged archive, or a damaged pickle in it, may end in.
DAMAGED = (*WRONG_CONTENT, tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile, pickle.UnpicklingError)
# What a pickled array names.
OF_AN_ARRAY = (
    *((module, "_reconstruct") for module in ("numpy.core.multiarray", "numpy._core.multiarray")),
    *(("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")),
)
MOST_BYTES, MOST_MEMBERS = 2**28, 100  # of the archive, which has 190 MB and 9 files
MOST_OPERATIONS, MOST_TUPLES = 10**6, 100  # of a pickle, which has 60 000 and 4


def load_cifar10(folder: str | Path = ".") -> Dataset:
    """50 000 training and 10 000 test images (N, 3, 32, 32), values from 0 to 1.

    Args:
        folder: where the archive is, `cifar-10-python.tar.gz` or `cifar-10-binary.tar.gz`, as downloaded.

    Raises:
        FileNotFoundError: neither archive is there; says where it was looked for, and how to get it.
        ValueError: the archive is damaged or holds something else.
    """
    folder = Path(folder)
    found = [folder / name for name in ARCHIVES if (folder / name).exists()]
    if not found:
        raise FileNotFoundError(
            f"CIFAR-10: no {' or '.join(ARCHIVES)} in {folder.resolve()}. "
            f"Download one of them from {PAGE} and give the folder it is in (--data-dir)"
        )
    path = found[0]
    try:
        parts = _read_archive(path)
    except DAMAGED as error:
        raise ValueError(
            f"{path}: expected CIFAR-10's archive, got one that cannot be read ({shortened(error)})"
        ) from error
    missing = [name for name in (*TRAIN_FILES, TEST_FILE) if name not in parts]
    if missing:
        raise ValueError(f"{path}: expected CIFAR-10's archive, got one without {', '.join(missing)}")
    train = [parts[name] for name in TRAIN_FILES]
    return Dataset("cifar10", _joined(train), _joined([parts[TEST_FILE]]), CLASS_NAMES, f"CIFAR-10 from {path}")


def _read_archive(path: Path) -> dict[str, Part]:
    """{"data_batch_1": (pixels (N, 3072) uint8, labels (N,)), …} from either form of the archive."""
    parts: dict[str, Part] = {}
    with tarfile.open(fileobj=io.BytesIO(_unpacked(path)), mode="r:") as archive:
        for number, member in enumerate(archive):
            if number == MOST_MEMBERS:
                raise ValueError(f"it has more than {MOST_MEMBERS} files")
            name, _, ending = Path(member.name).name.partition(".")
            if not member.isreg() or member.sparse is not None or name not in (*TRAIN_FILES, TEST_FILE):
                continue
            if name in parts:
                raise ValueError(f"it has {name} twice")
            content = archive.extractfile(member).read()  # type: ignore[union-attr]  # a regular file has content
            pixels, labels = _from_binary(content) if ending == "bin" else _from_pickle(content)
            if not labels or pixels.shape != (len(labels), IMAGE_BYTES) or not all(0 <= label < 10 for label in labels):
                raise ValueError(f"{shortened(member.name)} does not hold CIFAR-10 images with labels from 0 to 9")
            parts[name] = pixels, labels
    return parts


def _unpacked(path: Path) -> bytes:
    """The bytes of the archive, which some browsers have unpacked. Raises ValueError for more than CIFAR-10 has."""
    with open_regular(path) as file:
        is_packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        with gzip.open(file) if is_packed else file as unpacked:
            content = unpacked.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it unpacks to more than {MOST_BYTES} bytes")
    return content


def _from_binary(content: bytes) -> Part:
    """One byte of label and 3072 of pixels for each image."""
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + IMAGE_BYTES)
    return records[:, 1:], records[:, 0].tolist()


def _from_pickle(content: bytes) -> Part:
    """A pickled dict with the keys b"data" and b"labels"."""
    _require_modest(content)
    batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    labels = batch[b"labels"]
    if type(labels) is not list or not all(type(label) is int for label in labels):
        raise ValueError("expected a list of whole numbers as labels")
    return batch[b"data"].as_array(), labels


def _require_modest(content: bytes) -> None:
    """Raise ValueError where a pickle asks for more than a batch of CIFAR-10 does, before it is loaded.

    A pickle chooses the numbers of its memo entries, and memory is allocated for all lower numbers. Hashing nested
    tuples recurses in C, until the stack overflows.
    """
    n_tuples = 0
    for number, (operation, argument, _) in enumerate(pickletools.genops(content)):
        n_tuples += "TUPLE" in operation.name
        largest = argument if "PUT" in operation.name and argument is not None else 0
        if max(number, largest) > MOST_OPERATIONS or n_tuples > MOST_TUPLES:
            raise ValueError("its pickle asks for more than a batch of CIFAR-10 needs")


class _Unpickler(pickle.Unpickler):
    """Loads plain values. What the pickle asks to be called is only noted, since it could be any code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in OF_AN_ARRAY:
            raise pickle.UnpicklingError(f"it asks for {shortened(module)}.{shortened(name)}")
        return _Asked(name)


class _Asked:
    """An object that a pickle asks for: the name of what makes it, its arguments and its state."""

    def __init__(self, name: str, arguments: tuple[Any, ...] = ()) -> None:
        self.name, self.arguments = name, arguments
        self.state: Any = None

    def __call__(self, *arguments: Any) -> Any:
        if self.name != "encode":
            return _Asked(self.name, arguments)
        text, encoding = arguments  # how Python 3 writes bytes for Python 2
        if encoding != "latin1":
            raise ValueError(f"expected bytes as latin1, got {shortened(encoding)}")
        return text.encode("latin1")

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def as_array(self) -> Array:
        """The array of bytes that is meant, as NumPy pickles it: of its state the shape, the dtype, and the bytes."""
        _, shape, dtype, in_columns, content = self.state
        if self.name != "_reconstruct" or dtype.name != "dtype" or dtype.arguments[0] not in ("u1", b"u1"):
            raise ValueError("expected an array of bytes")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if in_columns else "C")


def _joined(parts: list[Part]) -> LabelledImages:
    pixels = np.concatenate([pixels for pixels, _ in parts])
    labels = np.concatenate([labels for _, labels in parts])
    return LabelledImages(pixels.reshape(-1, 3, 32, 32).astype(np.float32) / 255, labels.astype(np.int64))
