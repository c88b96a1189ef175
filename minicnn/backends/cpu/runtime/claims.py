"""Claims: of the processes that share a cache of compiled kernels, one compiles each, and the others wait for it.

Who compiles a kernel holds a lock on one byte of the file CLAIMS beside its code; which byte follows from the code's
name. Who wants the same kernel waits, and then finds the code. The lock is the system's, and ends with the process,
however that ends. It serves speed alone: where there are no such locks, or a process keeps one longer than PATIENCE
because it was stopped, a kernel is compiled twice.
"""

import contextlib
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows
    CAN_CLAIM = False
else:
    CAN_CLAIM = True

CLAIMS = "minicnn.claims"
PATIENCE = 60.0  # seconds; a kernel takes a few, and many times as long where ten processes share a core
PAUSE = 0.01  # between two looks

_descriptors: dict[Path, int] = {}  # of the file in each folder, never closed: that would end all claims in it


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Meanwhile no other process compiles what will be in the file `path`. Waits for one that does."""
    byte = zlib.crc32(path.name.encode())
    descriptor = _claim(path.parent, byte) if CAN_CLAIM else None
    try:
        yield
    finally:
        if descriptor is not None:
            fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, byte)


def _claim(folder: Path, byte: int) -> int | None:
    """The descriptor through which the byte is locked, or None where it cannot be."""
    wait_until = time.monotonic() + PATIENCE
    try:
        descriptor = _descriptors.get(folder)
        if descriptor is None:
            descriptor = _descriptors[folder] = os.open(folder / CLAIMS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        while time.monotonic() < wait_until:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
                return descriptor
            except (BlockingIOError, PermissionError):  # another process has it: either may be said
                time.sleep(PAUSE)
    except OSError:  # no file can be made, or its file system has no locks
        pass
    return None
