"""Compiled kernels on disk, each file with a digest before its code: a file may be damaged, but that never matters.

Numba takes what it reads for its own: a file that was cut short ends every run, and a flipped bit may do anything. Its
index, which says which file holds the code for which types, is written apart from the code, so that after two processes
that compiled at once it may name the wrong one. Here each signature has a file named after it, and code whose digest is
wrong is compiled and written anew. The digest covers what the code was made from, too; Numba itself looks whether the
function's own file has changed, but a kernel also contains what it calls in others.
"""

import contextlib
import functools
import hashlib
from pathlib import Path

from minicnn import geometry
from minicnn.backends import contract

DIGEST_BYTES = 32  # of SHA-256, before the code in each file


def read(path: Path, key: bytes) -> bytes | None:
    """The code in a file; None where there is none, or none that is whole and made from the present sources."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, code = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    return code if digest == _digest(key, code) else None


def write(path: Path, key: bytes, code: bytes) -> None:
    """Write it for the next process; where that fails, because the disk is full, say, that one compiles again."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)  # another process may be reading the old one, or it may be write-protected
        path.write_bytes(_digest(key, code) + code)


def _digest(key: bytes, code: bytes) -> bytes:
    return hashlib.sha256(key + _state_of_sources() + code).digest()


@functools.cache
def _state_of_sources() -> bytes:
    digest = hashlib.sha256()
    for path in sources():
        digest.update(path.read_bytes())
    return digest.digest()


def sources() -> list[Path]:
    """Every file that a kernel may contain code or constants of."""
    windows, rows_of_coefficients = Path(geometry.__file__), Path(contract.__file__)
    return [windows, rows_of_coefficients, *sorted((rows_of_coefficients.parent / "cpu").rglob("*.py"))]
