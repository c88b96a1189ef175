"""Weights and training runs on disk, in safetensors files.

Weights: the `state_dict` as it is, in the form that `safetensors.torch.save_file(model.state_dict(), path)` writes, so
that a file goes from PyTorch to minicnn and back with the same keys, shapes and dtypes.

Runs: the arrays of network and optimiser under the prefixes "network/" and "optimizer/", and the numbers (epoch,
schedule, random state, history) as JSON in the file's metadata.

A file is written whole or not at all (`minicnn.io.files`), and has a digest, so that a changed bit is noticed
(`minicnn.io.safetensors`). Files without one, of PyTorch or of earlier versions, are read as well.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.checks import shortened
from minicnn.io.pytorch import is_pytorch_file, read_state_dict
from minicnn.io.safetensors import description_in, read_safetensors, write_safetensors
from minicnn.network import Sequential
from minicnn.plain import Array

RUN_FORMAT = "minicnn run 1"


def save_weights(network: Sequential, path: str | Path) -> None:
    """Write all parameters and states of `network` to a safetensors file that PyTorch can load.

    Raises OSError where it cannot be written; ValueError for NaN or infinity, which would not be loaded.
    """
    arrays = network.state_dict()
    require_finite(arrays, f"save_weights: {path}")
    write_safetensors(path, arrays)


def load_weights(network: Sequential, path: str | Path) -> None:
    """Take over all parameters and states from a file of weights, of minicnn or of PyTorch.

    That is a safetensors file, or a .pt or .pth file; its first bytes say which.

    Floats of 16 bits, bfloat16 too, become the network's, exactly. A .pt or .pth file must hold a state dict,
    `torch.save(model.state_dict(), path)`; PyTorch reads it, with `weights_only=True`, so that nothing in it is run.

    Raises FileNotFoundError; ValueError, which names the file, where it is damaged, has NaN or infinity, has missing,
    unexpected or misshapen arrays or arrays of another kind, or holds other things than weights; ImportError where a
    .pt or .pth file needs PyTorch. The network is then as it was.
    """
    arrays = read_weights(path)
    require_finite(arrays, path)
    try:
        network.load_state_dict(arrays)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {shortened(error, 2000)}") from error


def read_weights(path: str | Path) -> dict[str, Array]:
    """The arrays in a file of weights, of minicnn or of PyTorch. Raises FileNotFoundError, ValueError, ImportError."""
    try:
        of_pytorch = is_pytorch_file(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"no file {path}") from None
    return read_state_dict(path) if of_pytorch else read_safetensors(path)[0]


def require_finite(arrays: Mapping[str, Array], what: str | Path) -> None:
    """Raise ValueError where one of the arrays, by name, has NaN or infinity."""
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{what}: expected finite numbers, got NaN or infinity in {shortened(name)}")


def require_state(network: Sequential, arrays: Mapping[str, Array], what: str) -> None:
    """Raise ValueError where `arrays` are not a whole state of the network, of finite numbers."""
    try:
        checked = network.checked_state(arrays)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: {error}") from error
    missing = [name for name in network.state_dict() if name not in checked]
    if missing:
        raise ValueError(f"{what}: expected {', '.join(missing)}, got none")
    for name, array in checked.items():
        if not np.isfinite(array).all() or (array.dtype.kind == "i" and array.min() < 0):
            raise ValueError(f"{what}: {name}: expected finite numbers, and counters of at least 0, got others")


def save_run(path: str | Path, arrays: Mapping[str, Array], run: dict[str, Any]) -> None:
    """Write a training run: `arrays` by name, and `run`, a dict that JSON can hold; NumPy's numbers become Python's."""
    write_safetensors(path, arrays, {"format": RUN_FORMAT, "run": json.dumps(run, default=_as_python)})


def load_run(path: str | Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """(arrays, run) of a file that `save_run` wrote. Raises FileNotFoundError, or ValueError for any other file."""
    arrays, metadata = read_safetensors(path)
    if metadata.get("format") != RUN_FORMAT:
        raise ValueError(
            f"load_run: expected a checkpoint of a training run, got {path}, which is none; "
            "a file of weights alone is read with load_weights"
        )
    return arrays, description_in(path, metadata, "run")


def _as_python(number: object) -> Any:
    if isinstance(number, np.generic):
        return number.item()
    raise TypeError(f"save_run: expected numbers, texts, lists and dicts, got {type(number).__name__}")
