"""Weights and training runs on disk, in safetensors files.

Weights: the `state_dict` as it is, in the form that `safetensors.torch.save_file(model.state_dict(), path)` writes, so
that a file goes from PyTorch to minicnn and back with the same keys, shapes and dtypes.

Runs: the arrays of network and optimiser under the prefixes "network/" and "optimizer/", and the numbers (epoch,
schedule, random state, history) as JSON in the file's metadata.

A file is written beside its destination and moved there whole: whoever reads it, also after a crash in the
middle of writing, finds the old file or the new one.
"""

import json
import os
import threading
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

RUN_FORMAT = "minicnn run 1"


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


def write_whole(path, content):
    """Write the bytes `content` to `path` in one move."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with open(beside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read_safetensors(path):
    """(arrays by name, metadata) of a safetensors file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: expected a safetensors file, got one that cannot be read ({error})") from error
