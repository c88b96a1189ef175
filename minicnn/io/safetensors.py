"""Safetensors files, read and written: arrays by name, and beside them texts by name, the metadata.

    8 bytes    n, how long the header is, little-endian
    n bytes    the header, JSON: {"__metadata__": {…}, "conv1.weight": {"dtype": "F32", "shape": […],
               "data_offsets": [begin, end]}, …}, padded with spaces
    the rest   the numbers, one array after another without gaps

The format is that of https://github.com/huggingface/safetensors, whose library and PyTorch read these files, and write
files that are read here. The code is our own for four things that the library's NumPy part does not do: a digest is
kept and checked; the same content gives the same bytes; bfloat16 is read; and the file is read and not mapped into
memory, where one that another program shortens meanwhile would end the process.

THE DIGEST. A disk or a transfer may change a bit, and a changed number looks like any other. So the metadata hold a
digest, the SHA-256 of all bytes of the file with zeros in the digest's own place. Files of others have none and are
read without.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minicnn.checks import shortened
from minicnn.io.files import open_regular, write_whole
from minicnn.plain import Array

DIGEST = "minicnn digest"
NO_DIGEST = "0" * 64  # as long as a SHA-256 in hexadecimal digits
LARGEST_HEADER = 16 << 20  # bytes; of JSON Python makes up to 40 times as much in memory
DTYPES = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "BF16": "<u2",  # the upper half of a float32's bits
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
}
NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items() if name != "BF16"}
# What reading damaged or foreign content may raise.
WRONG_CONTENT = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)


def write_safetensors(
    path: str | Path, arrays: Mapping[str, ArrayLike], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a dict of arrays and a dict of texts to `path` in one move. Raises OSError, and what `as_bytes` raises."""
    write_whole(path, *as_bytes(arrays, metadata))


def as_bytes(arrays: Mapping[str, ArrayLike], metadata: Mapping[str, str] | None = None) -> list[Any]:
    """The content of the file, a list of bytes and arrays of bytes; the same for the same arrays and metadata.

    Raises TypeError for arrays that are not of numbers, ValueError for a header too large to be read again.
    """
    # In C order: a transposed view would be stored with its cells in the wrong places.
    in_order = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    little = {name: array.astype(array.dtype.newbyteorder("<"), copy=False) for name, array in in_order.items()}
    described = {DIGEST: NO_DIGEST} | dict(sorted((metadata or {}).items()))  # the digest is found first
    header: dict[str, Any] = {"__metadata__": described}
    position = 0
    parts: list[Any] = []
    # Larger dtypes come first, so that each array is aligned.
    for name, array in sorted(little.items(), key=lambda item: (-item[1].itemsize, item[0])):
        if array.dtype not in NAMES:
            raise TypeError(f"write_safetensors: {name}: expected an array of numbers, got dtype {array.dtype}")
        offsets = [position, position + array.nbytes]
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
        position += array.nbytes
        parts.append(array.reshape(-1).view(np.uint8))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LARGEST_HEADER:
        raise ValueError(
            f"write_safetensors: expected names and metadata of at most {LARGEST_HEADER} bytes, got {len(text)}"
        )
    start = len(text).to_bytes(8, "little")
    return [start, text.replace(NO_DIGEST.encode(), _digest([start, text, *parts]).encode(), 1), *parts]


def read_safetensors(path: str | Path) -> tuple[dict[str, Array], dict[str, str]]:
    """(arrays by name, metadata) of a safetensors file; bfloat16 becomes float32, which holds the same numbers.

    Raises FileNotFoundError; ValueError, which names the file, where it is none, is damaged, or holds numbers of less
    than 16 bits.
    """
    try:
        file = open_regular(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"no file {path}") from None
    with file:
        try:
            return _read(file, os.fstat(file.fileno()).st_size)
        except WRONG_CONTENT as error:
            reason = shortened(f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")
            raise ValueError(f"{path}: expected a safetensors file, got one that cannot be read ({reason})") from error


def description_in(path: str | Path, metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    """The dict that is kept in the metadata under `key`, as JSON. Raises ValueError, which names the file."""
    try:
        description = json.loads(metadata[key])
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: its description is damaged, {key} ({type(error).__name__}: {shortened(error)})"
        ) from error
    if not isinstance(description, dict):
        raise ValueError(f"{path}: its description is damaged, {key}: expected a dict, got {shortened(description)}")
    return description


def _read(file: BufferedReader, size: int) -> tuple[dict[str, Array], dict[str, str]]:
    """(arrays, metadata) of an open file of `size` bytes. Raises one of WRONG_CONTENT."""
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > size - 8:
        raise ValueError(f"of its {size} bytes the header would take {length}")
    if length > LARGEST_HEADER:
        raise ValueError(f"expected a header of at most {LARGEST_HEADER} bytes, got {length}")
    text = file.read(length)
    header = json.loads(text.decode(), object_pairs_hook=_without_repetition)
    metadata = header.pop("__metadata__", {})
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("expected metadata that are texts")
    entries = _in_order(header, size - 8 - length)

    digest = metadata.pop(DIGEST, None)
    found: list[Any] = []
    if digest is not None:
        found += [start, text.replace(digest.encode(), NO_DIGEST.encode(), 1)]
    arrays: dict[str, Array] = {}
    for name, dtype, shape in entries:
        array = np.empty(math.prod(shape), DTYPES[dtype])
        if file.readinto(array.view(np.uint8).data) != array.nbytes:
            raise ValueError("it became shorter while it was read")
        if digest is not None:
            found.append(array.view(np.uint8))
        arrays[name] = _as_numbers(array, dtype, name).reshape(shape)
    if digest is not None and _digest(found) != digest:
        raise ValueError(
            "its digest does not fit, so some of its bytes have changed since it was written; use a copy, or make it "
            "again"
        )
    return arrays, metadata


def _in_order(header: dict[str, Any], size: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """[(name, dtype, shape)] as the arrays lie in the `size` bytes after the header. Raises one of WRONG_CONTENT."""
    entries = []
    for name, entry in header.items():
        dtype, shape, offsets = (entry[key] for key in ("dtype", "shape", "data_offsets"))
        if dtype not in DTYPES:
            raise ValueError(
                f"{name!r} has dtype {dtype!r}, expected one of {', '.join(DTYPES)}; convert it before it is saved, in "
                "PyTorch with tensor.float()"
            )
        if len(shape) > 32 or not all(type(number) is int and 0 <= number < 2**63 for number in (*shape, *offsets)):
            raise ValueError(f"{name!r}: expected a shape and offsets, got {shape} and {offsets}")
        begin, end = offsets
        if end - begin != math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize:
            raise ValueError(f"{name!r}: expected the bytes of {dtype} of shape {shape}, got {end - begin}")
        entries.append((begin, end, name, dtype, tuple(shape)))
    entries.sort()
    position = 0
    for begin, end, name, _, _ in entries:
        if begin != position:
            raise ValueError(f"{name!r}: expected its numbers to begin at {position}, got {begin}")
        position = end
    if position != size:
        raise ValueError(f"expected {position} bytes of numbers, got {size}")
    return [entry[2:] for entry in entries]


def _as_numbers(array: Array, dtype: str, name: str) -> Array:
    """The numbers of a flat array as it is stored, in this computer's order of bytes."""
    if dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    if dtype == "BOOL" and (array.view(np.uint8) > 1).any():
        raise ValueError(f"{name!r}: expected bytes of 0 and 1")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dict of the pairs of a JSON object. Raises ValueError where a name comes twice."""
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("expected each name once, got one of them twice")
    return found


def _digest(parts: list[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
