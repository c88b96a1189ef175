"""Weights and training runs on disk, in safetensors files.

Weights: the `state_dict` as it is, in the form that `safetensors.torch.save_file(model.state_dict(), path)` writes, so
that a file goes from PyTorch to minicnn and back with the same keys, shapes and dtypes.

Runs: the arrays of network and optimiser under the prefixes "network/" and "optimizer/", and the numbers (epoch,
schedule, random state, history) as JSON in the file's metadata.

A file is written beside its destination and moved there whole: whoever reads it, also after a crash in the
middle of writing, finds the old file or the new one.
"""

import errno
import json
import os
import secrets
import stat
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

try:
    import fcntl  # Linux and macOS have it
except ImportError:
    fcntl = None

RUN_FORMAT = "minicnn run 1"
PIECE = ".minicnn-piece-"  # how the name of a file begins that is being written
ABANDONED_SECONDS = 24 * 3600


def save_weights(network, path):
    """Write all parameters and states of `network` to a safetensors file that PyTorch can load."""
    write_safetensors(path, network.state_dict())


def load_weights(network, path):
    """Take over all parameters and states from a safetensors file, of minicnn or of PyTorch.

    Raises FileNotFoundError; ValueError where the file is damaged or has missing, unexpected or misshapen
    arrays. The network is then as it was.
    """
    network.load_state_dict(read_safetensors(path)[0])


def save_run(path, arrays, run):
    """Write a training run: `arrays` by name, and `run`, a dict that JSON can hold."""
    write_safetensors(path, arrays, {"format": RUN_FORMAT, "run": json.dumps(run)})


def load_run(path):
    """(arrays, run) of a file that `save_run` wrote. Raises FileNotFoundError, or ValueError for any other file."""
    arrays, metadata = read_safetensors(path)
    if metadata.get("format") != RUN_FORMAT:
        raise ValueError(
            f"load_run: expected a checkpoint of a training run, got {path}, which is none; "
            "a file of weights alone is read with load_weights"
        )
    return arrays, json.loads(metadata["run"])


def write_safetensors(path, arrays, metadata=None):
    """Write `arrays` to `path` in one move."""
    # In C order first: a transposed view would be stored with its cells in the wrong places.
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    write_whole(path, safetensors.numpy.save(arrays, metadata))


def write_whole(path, *parts):
    """Write `parts`, bytes or arrays of bytes, to the file `path` in one move.

    A link is followed: what it points to is written, and it stays. A file that was there keeps its mode, and its owner
    where that is allowed; a new one gets the usual mode. A pipe or a device such as /dev/null stays what it is and is
    written to. Pieces that killed runs left in the folder are removed.

    Raises OSError, which names `path`, where it cannot be written, such as on a full disk; what was there is then as it
    was.
    """
    target, status = _place(path)
    try:
        if status is not None and not stat.S_ISREG(status.st_mode):
            with open(target, "wb") as file:
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
    if status is not None and not stat.S_ISREG(status.st_mode):
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


def read_safetensors(path):
    """(arrays by name, metadata) of a safetensors file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: expected a safetensors file, got one that cannot be read ({error})") from error
