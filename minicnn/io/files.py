"""Files are written whole or not at all.

A file is written as a piece beside its destination and moved there in one step: whoever reads it, also after a crash
in the middle of writing, finds the old file or the new one. A process holds its piece by a lock, which the system
releases when the process ends in whatever way; so the pieces of killed runs are told from those that are being written.
"""

import errno
import os
import secrets
import stat
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

try:
    import fcntl  # Linux and macOS have it
except ImportError:
    fcntl = None

PIECE = ".minicnn-piece-"  # how the name of a piece begins
ABANDONED_SECONDS = 24 * 3600


def open_regular(path):
    """The file `path`, open for reading bytes.

    Raises OSError; ValueError where it is a pipe, which might never end, a device or a folder.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))  # never waits
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path}: expected a file, got a pipe, a device or a folder")
    return open(descriptor, "rb")


def write_whole(path, *parts):
    """Write `parts`, bytes or arrays of bytes, to the file `path` in one move.

    A link is followed: what it points to is written, and it stays. A file that was there keeps its mode, and its owner
    where that is allowed; a new one gets the usual mode. A pipe or a device such as /dev/null stays what it is and is
    written to. Pieces that killed runs left in the folder are removed.

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
        with _piece_beside(target, status) as piece:
            piece.writelines(parts)
            piece.flush()
            os.fsync(piece.fileno())
            if fcntl is None:
                piece.close()  # Windows moves no open file
            os.replace(piece.name, target)  # elsewhere it is held up to here, see _remove_abandoned
    except OSError as error:  # of the piece, whose name means nothing to the reader
        raise _not_written(error, path) from error


def require_writable(path):
    """Raise OSError, which says what to do, unless a file can be written at `path`: rather now than after the work.

    For a moment there is a small file beside `path`, since no other question is answered reliably; nothing of it is
    left. A pipe or a device is not opened.
    """
    target, status = _place(path)
    if _stream(target, status) is not None:
        return
    try:
        with _piece_beside(target, status) as piece:
            piece.write(b"x")  # a disk may be so full that a file can be made, but not filled
            piece.flush()
    except OSError as error:
        raise _not_written(error, path) from error


def _place(path):
    """(target, status): the file that `path` means, links followed, and what is there, or None. Raises OSError."""
    path = os.fspath(Path(path))
    try:
        status = os.stat(path)
    except FileNotFoundError:
        status = None
    else:
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


def _stream(target, status):
    """What to open instead of `target` where that is no file of its own: a descriptor or a path; None for a file."""
    if status is None:
        return None
    for descriptor in (1, 2):  # /dev/stdout may be a file that this program has begun, or was told to add to
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), status):
                return descriptor
    return None if stat.S_ISREG(status.st_mode) else target


@contextmanager
def _piece_beside(target, status):
    """A new file in the folder of `target`, open and held; gone at the end unless it was moved.

    It gets mode and owner of the file whose `status` is given.
    """
    mode = 0o666 if status is None else 0o600  # of a private file nobody is to read the piece
    while True:
        path = os.path.join(os.path.dirname(target), f"{PIECE}{secrets.token_hex(8)}")
        try:
            with open(path, "xb", opener=partial(os.open, mode=mode)) as piece:
                if fcntl is not None:
                    with suppress(OSError):  # some network disks hold no files
                        fcntl.flock(piece, fcntl.LOCK_EX)
                    if not os.fstat(piece.fileno()).st_nlink:
                        continue  # taken for abandoned in the moment before it was held
                if status is not None:
                    _set_owner_and_mode(path, status)
                yield piece
                return
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)


def _set_owner_and_mode(path, status):
    """As far as that is allowed: only root gives files away, and some disks, such as USB sticks, know no modes."""
    with suppress(OSError):
        if hasattr(os, "chown"):
            os.chown(path, status.st_uid, status.st_gid)
    with suppress(OSError):
        os.chmod(path, stat.S_IMODE(status.st_mode))


def _remove_abandoned(folder):
    """Remove the pieces in `folder` that no running process holds: the system lets go of what a killed one held."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(PIECE) or not entry.is_file(follow_symlinks=False):
                continue
            with suppress(OSError):  # held, or another's, or gone already
                if fcntl is None:  # on Windows, where nothing tells what is held, those that are old
                    if time.time() - entry.stat().st_mtime > ABANDONED_SECONDS:
                        os.unlink(entry.path)
                    continue
                with open(entry.path, "rb+") as piece:
                    fcntl.flock(piece, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry.path)


def _not_written(error, path):
    return OSError(error.errno, f"cannot be written: {error.strerror or error}", os.fspath(path))
