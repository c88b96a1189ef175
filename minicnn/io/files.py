"""Files are written whole or not at all.

A file is written as a temporary file beside its destination and moved there in one step: whoever reads it, also after
a crash in the middle of writing, finds the old file or the new one. A process locks its temporary file, and the system
releases the lock when the process ends in whatever way; so what killed runs left is told from what is being written.
"""

import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Any

try:
    import fcntl  # Linux and macOS have it
except ImportError:
    fcntl = None  # type: ignore[assignment]  # a module elsewhere

PREFIX = ".minicnn-piece-"  # of temporary files
ABANDONED_SECONDS = 24 * 3600


def open_regular(path: str | Path) -> BufferedReader:
    """The file `path`, open for reading bytes.

    Raises OSError; ValueError where it is a pipe, which might never end, a device or a folder.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))  # never waits
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path}: expected a file, got a pipe, a device or a folder")
    return open(descriptor, "rb")


def write_whole(path: str | Path, *parts: Any) -> None:
    """Write `parts`, bytes or arrays of bytes, to the file `path` in one move.

    A link is followed: what it points to is written, and it stays. A file that was there keeps its mode, and its owner
    where that is allowed; a new one gets the usual mode. A pipe or a device such as /dev/null stays what it is and is
    written to. Temporary files that killed runs left in the folder are removed.

    Raises OSError, which names `path`, where it cannot be written, such as on a full disk; what was there is then as it
    was.
    """
    target, status = _place(path)
    stream = _stream(target, status)
    try:
        if stream is not None:
            with open(stream, "wb", closefd=stream is target) as file:
                file.writelines(parts)
            return
        _remove_abandoned(os.path.dirname(target))
        with _temporary_beside(target, status) as temporary:
            temporary.writelines(parts)
            temporary.flush()
            os.fsync(temporary.fileno())
            if fcntl is None:
                temporary.close()  # Windows moves no open file
            os.replace(temporary.name, target)  # elsewhere it is held up to here, see _remove_abandoned
    except OSError as error:  # of the temporary file, whose name means nothing to the reader
        raise _not_written(error, path) from error


def require_writable(path: str | Path) -> None:
    """Raise OSError, which says what to do, unless a file can be written at `path`: rather now than after the work.

    For a moment there is a small file beside `path`, since no other question is answered reliably; nothing of it is
    left. A pipe or a device is not opened.
    """
    target, status = _place(path)
    if _stream(target, status) is not None:
        return
    try:
        with _temporary_beside(target, status) as temporary:
            temporary.write(b"x")  # a disk may be so full that a file can be made, but not filled
            temporary.flush()
    except OSError as error:
        raise _not_written(error, path) from error


def _place(path: str | Path) -> tuple[str, os.stat_result | None]:
    """(target, status): the file that `path` means, links followed, and what is there, or None. Raises OSError."""
    path = os.fspath(Path(path))
    status: os.stat_result | None = None
    with suppress(FileNotFoundError):
        status = os.stat(path)
    if status is not None:
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(
                errno.EISDIR, "expected the path of a file to write, got a folder; add a file's name", path
            )
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode) or stat.S_ISCHR(status.st_mode)):
            raise FileExistsError(
                errno.EEXIST, "expected the path of a file to write, got a disk or a socket; name another place", path
            )
        if not os.access(path, os.W_OK):
            raise PermissionError(
                errno.EACCES, "the file is write-protected; allow writing to it, or name another place", path
            )
        if not stat.S_ISREG(status.st_mode):
            return path, status
    target = os.path.realpath(path)
    if not os.path.isdir(os.path.dirname(target)):
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {os.path.dirname(target)}; make it first", path)
    return target, status


def _stream(target: str, status: os.stat_result | None) -> int | str | None:
    """What to open instead of `target` where that is no file of its own: a descriptor or a path; None for a file."""
    if status is None:
        return None
    for descriptor in (1, 2):  # /dev/stdout may be a file that this program has begun, or was told to add to
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), status):
                return descriptor
    return None if stat.S_ISREG(status.st_mode) else target


@contextmanager
def _temporary_beside(target: str, status: os.stat_result | None) -> Iterator[BufferedWriter]:
    """A new file in the folder of `target`, open and held; gone at the end unless it was moved.

    It gets mode and owner of the file whose `status` is given.
    """
    mode = 0o666 if status is None else 0o600  # the copy of a private file is private
    while True:
        path = os.path.join(os.path.dirname(target), f"{PREFIX}{secrets.token_hex(8)}")
        try:
            with open(path, "xb", opener=partial(os.open, mode=mode)) as temporary:
                if fcntl is not None:
                    with suppress(OSError):  # some network disks hold no files
                        fcntl.flock(temporary, fcntl.LOCK_EX)
                    if not os.fstat(temporary.fileno()).st_nlink:
                        continue  # taken for abandoned in the moment before it was held
                if status is not None:
                    _set_owner_and_mode(path, status)
                yield temporary
                return
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)


def _set_owner_and_mode(path: str, status: os.stat_result) -> None:
    """As far as that is allowed: only root gives files away, and some disks, such as USB sticks, know no modes."""
    with suppress(OSError):
        if hasattr(os, "chown"):
            os.chown(path, status.st_uid, status.st_gid)
    with suppress(OSError):
        os.chmod(path, stat.S_IMODE(status.st_mode))


def _remove_abandoned(folder: str) -> None:
    """Remove the temporary files in `folder` that no running process has locked: killed ones have lost their locks."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(PREFIX) or not entry.is_file(follow_symlinks=False):
                continue
            with suppress(OSError):  # held, or another's, or gone already
                if fcntl is None:  # on Windows, where nothing tells what is held, those that are old
                    if time.time() - entry.stat().st_mtime > ABANDONED_SECONDS:
                        os.unlink(entry.path)
                    continue
                with open(entry.path, "rb+") as temporary:
                    fcntl.flock(temporary, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry.path)


def _not_written(error: OSError, path: str | Path) -> OSError:
    return OSError(error.errno, f"cannot be written: {error.strerror or error}", os.fspath(path))
