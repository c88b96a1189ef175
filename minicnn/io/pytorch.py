"""State dicts in the files of `torch.save`, .pt and .pth; PyTorch itself reads them.

Such a file is a pickle, which may run anything when it is read. So it is read with `weights_only=True` alone, by a
PyTorch in which that holds what it promises: before 2.6 it could be got round (CVE-2025-32434).
"""

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from minicnn.checks import kind_of, shortened
from minicnn.io.files import open_regular
from minicnn.plain import Array

# The first bytes of torch.save's zip file, and of the pickle of before 1.6, which begins with a number of its own. No
# safetensors file begins so: they would be the length of a header larger than any that is read.
BEGINNINGS = (b"PK\x03\x04", b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46")
OLDEST = (2, 6)


def import_torch(who: str) -> ModuleType:
    """PyTorch, or ImportError that begins with `who` needs it and says how to get it."""
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"{who} needs PyTorch, which cannot be imported ({error}); pip install torch") from error
    return torch


def is_pytorch_file(path: str | Path) -> bool:
    """Whether the file begins as those of `torch.save` do. Raises OSError, and ValueError for a pipe or a folder."""
    with open_regular(path) as file:
        return file.read(8).startswith(BEGINNINGS)


def read_state_dict(path: str | Path) -> dict[str, Array]:
    """The arrays, by name, of the state dict that `torch.save` wrote; bfloat16 becomes float32.

    Raises ImportError without PyTorch of at least 2.6; OSError; ValueError, which names the file and says what to do,
    where it is damaged or holds anything but a state dict: nothing of it is then run.
    """
    torch = import_torch(f"{path}: to read a file of torch.save")
    version = tuple(map(int, re.findall(r"\d+", torch.__version__)[:2]))
    if version < OLDEST:
        raise ImportError(
            f"{path}: expected PyTorch 2.6 or newer, whose weights_only=True runs nothing of a file "
            f"(CVE-2025-32434), got {torch.__version__}; pip install --upgrade torch"
        )
    with open_regular(path) as file:
        try:
            _require_sound_records(file)
            found = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            # PyTorch's own text goes on with how to run the file all the same.
            classes = sorted(set(re.findall(r"GLOBAL (\S+)", str(error))))
            what = f"objects of {', '.join(classes)}" if classes else "what is not weights, or is damaged"
            raise ValueError(
                f"{path}: expected a state dict, got a file of {shortened(what)}; to read it would be to run it. Save "
                "the weights alone, torch.save(model.state_dict(), path)"
            ) from None
        except Exception as error:
            reason = shortened(str(error).partition("\n")[0])
            raise ValueError(
                f"{path}: expected a file of torch.save, got one that cannot be read ({type(error).__name__}: {reason})"
            ) from error
    _require_state_dict(torch, found, path)
    return {name: _as_array(torch, tensor, f"{path}: {shortened(name)}") for name, tensor in found.items()}


def _require_sound_records(file: BinaryIO) -> None:
    """Raise ValueError or BadZipFile where a record of the zip file is changed, or takes more memory than the file.

    PyTorch asks for neither. Files of before 1.6 are no zip files and have no checksums.
    """
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if any(record.compress_type != zipfile.ZIP_STORED for record in archive.infolist()):
                raise ValueError("expected records that are stored as they are, got packed ones")
            if changed := archive.testzip():
                raise ValueError(f"{changed} has changed since it was written; use a copy, or save it again")
    file.seek(0)


def _require_state_dict(torch: Any, found: object, path: str | Path) -> None:
    """Raise ValueError, which says what was found, unless it is a dict of tensors by name."""
    if not isinstance(found, Mapping) or not found:
        what = "an empty dict" if isinstance(found, Mapping) else kind_of(found)
        raise ValueError(f"{path}: expected a state dict, got {what}; torch.save(model.state_dict(), path) writes one")
    others = [name for name, value in found.items() if not (isinstance(name, str) and torch.is_tensor(value))]
    if not others:
        return
    inner = [
        name for name in others if isinstance(found[name], Mapping) and any(map(torch.is_tensor, found[name].values()))
    ]
    remedy = f"checkpoint[{inner[0]!r}]" if inner else "model.state_dict()"
    raise ValueError(
        f"{path}: expected a state dict, tensors by name, got a dict with "
        + shortened(", ".join(f"{name!r} ({kind_of(found[name])})" for name in others))
        + f"; save the weights alone, torch.save({remedy}, path)"
    )


def _as_array(torch: Any, tensor: Any, what: str) -> Array:
    """The tensor's numbers as an array of its own. Raises ValueError for what NumPy has no array for."""
    try:
        if (
            tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
        ):  # any shape costs nothing to claim
            raise ValueError(
                f"{what}: expected a tensor that holds all its numbers, got an expanded one of shape "
                f"{tuple(tensor.shape)}; tensor.contiguous() has them"
            )
        if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
            tensor = tensor.float()
        return tensor.detach().numpy().copy()
    except (RuntimeError, TypeError) as error:  # it is sparse, say
        raise ValueError(f"{what}: expected a tensor that NumPy can hold, got {kind_of(tensor)} ({error})") from error
