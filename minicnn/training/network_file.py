"""Whole networks on disk: weights as `save_weights` writes them, and beside them what the network is made of.

    minicnn.save(network, "net.safetensors")
    network = minicnn.load("net.safetensors")        # in a new process, without the class

Nothing in a file is unpickled or run. It has a version and a digest (`minicnn.io.safetensors`), as checkpoints have,
and PyTorch reads the weights in it.
"""

import json
from pathlib import Path
from typing import Any

from minicnn.checks import shortened
from minicnn.io.safetensors import WRONG_CONTENT, description_in, read_safetensors, write_safetensors
from minicnn.network import Sequential
from minicnn.training.architecture import built, described
from minicnn.training.checkpoint import require_finite

FORMAT, VERSION = "minicnn network", 1
# What other files of minicnn are, and what reads them.
OTHERS = {"minicnn classifier": "minicnn.Classifier.load(path).network", "minicnn run": "Trainer.load"}


def save(network: Sequential, path: str | Path, own_layers: bool = False) -> None:
    """Write a network, its layers and their weights, to a safetensors file.

    A network of a class of one's own is loaded as a Sequential of the same layers, which computes the same. Layers in
    evaluation mode within a network in training mode, as `freeze` leaves them, are so again when it is loaded. The mode
    of the whole, backends and gradients are not part of the file.

    Args:
        network: layers one after another.
        path: of the file.
        own_layers: whether layers that are not minicnn's may be in it, by where they are imported from. They need the
            constructor's arguments as attributes of the same names.

    Raises:
        TypeError: not a network, or one that a file cannot hold; the message says what to do.
        ValueError: weights that are not finite.
        OSError: it cannot be written.
    """
    if not isinstance(network, Sequential):
        raise TypeError(f"save: expected a network, got {type(network).__name__}; put a layer into Sequential(layer)")
    arrays = network.state_dict()
    require_finite(arrays, f"save: {path}")
    try:
        description = json.dumps(described(network, own_layers) | {"frozen": _frozen(network)})
    except TypeError as error:
        raise TypeError(f"save: {error}") from error
    write_safetensors(path, arrays, {"format": f"{FORMAT} {VERSION}", "network": description})


def load(path: str | Path, own_layers: bool = False) -> Sequential:
    """The network that `save` wrote, on the backend "cpu" and in training mode as a new one; `predict` minds no mode.

    Layers that were frozen are in evaluation mode; an optimiser that leaves them alone is made of what `freeze`
    returns, as before.

    Args:
        path: of the file.
        own_layers: whether layers that are not minicnn's may be imported. That runs the code of the modules that the
            file names: say so only for files of your own.

    Raises FileNotFoundError; ValueError, which names the file, where it is damaged, holds something else, comes from a
    newer version, or needs `own_layers`; ImportError where a layer of one's own is not found.

    >>> import tempfile, numpy as np
    >>> from minicnn.layers import Flatten, Linear
    >>> network, x = Sequential(flat=Flatten(), fc=Linear(4, 3, rng=0)), np.ones((1, 1, 2, 2), np.float32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(network, f"{folder}/net.safetensors")
    ...     again = load(f"{folder}/net.safetensors")
    >>> bool((again.predict(x) == network.predict(x)).all()), again
    (True, Sequential(
      (flat): Flatten()
      (fc): Linear(4, 3)
    ))
    """
    arrays, metadata = read_safetensors(path)
    _require_format(path, metadata.get("format", ""))
    description = description_in(path, metadata, "network")
    require_finite(arrays, path)
    try:
        network = built(description, arrays, own_layers)
        if not isinstance(network, Sequential):
            raise ValueError(f"expected a network, got {type(network).__name__}")
        network.load_state_dict(arrays)
        _freeze_again(network, description.get("frozen", []))
    except ImportError:
        raise
    except WRONG_CONTENT as error:
        raise ValueError(f"{path}: cannot be loaded: {shortened(error, 2000)}") from error
    return network


def _frozen(network: Sequential) -> list[str]:
    """Names of the layers in evaluation mode, where the network is in training mode."""
    return [name for name, layer in network.named_layers() if network.training and not layer.training]


def _freeze_again(network: Sequential, names: Any) -> None:
    layers = dict(network.named_layers())
    if not isinstance(names, list) or not all(isinstance(name, str) and name in layers for name in names):
        raise ValueError(f"expected names of layers that are frozen, got {shortened(names)}")
    for name in names:
        layers[name].eval()


def _require_format(path: str | Path, found: str) -> None:
    kind, _, version = found.rpartition(" ")
    if kind == FORMAT and version.isdecimal() and int(version) > VERSION:
        raise ValueError(
            f"{path}: written by a newer version of minicnn (format {version}, this one reads {VERSION}); "
            "install the newest minicnn"
        )
    if found == f"{FORMAT} {VERSION}":
        return
    remedy = OTHERS.get(kind, "load_weights, into a network of the same layers")
    raise ValueError(
        f"{path}: expected a network that minicnn.save wrote, got {shortened(kind) or 'weights alone'}; it is read by "
        f"{remedy}"
    )
