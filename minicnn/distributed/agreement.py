"""Whether all ranks have the same arguments, data and weights.

Where not, each rank says what differs, before anything is computed that would be neither one thing nor the other.
"""

import hashlib
import platform
from collections.abc import Iterable, Mapping, Sized
from importlib.metadata import version
from typing import Any

import numpy as np

from minicnn.distributed.ranks import Ranks
from minicnn.images import Images
from minicnn.network import Sequential

NAMED = 3  # differences that a message names


def require_equal(ranks: Ranks, what: str, own: Mapping[str, Any]) -> None:
    """Raise ValueError on every rank unless the values of `own`, by name, are those of the first rank."""
    first, *others = ranks.exchanged({name: f"{value!s:.300}" for name, value in own.items()})
    different = [
        f"{name}: rank 0 has {first.get(name, 'none')}, rank {rank} has {other.get(name, 'none')}"
        for rank, other in enumerate(others, 1)
        for name in dict.fromkeys([*first, *other])
        if first.get(name) != other.get(name)
    ]
    if different:
        more = f"; and {len(different) - NAMED} more" if len(different) > NAMED else ""
        raise ValueError(f"{what}: expected the same on every rank, got " + "; ".join(different[:NAMED]) + more)


def require_equal_arguments(ranks: Ranks, trainer: Any, settings: Mapping[str, Any]) -> None:
    """Raise ValueError unless every rank has the same versions, network, loss, optimiser and settings."""
    from minicnn import __version__  # here, since it stands above this module

    network, loss, optimizer = trainer.network, trainer.loss, trainer.optimizer
    arguments = {
        "minicnn": __version__,
        "Python": platform.python_version(),
        **{package: version(package) for package in ("numpy", "numba", "mpi4py")},
        "backend": network.ops.__name__,
        "network": repr(network),
        "computed": repr(trainer.computed.network),
        **{name: f"{layer.params[key].shape} {layer.params[key].dtype}" for name, layer, key in network.named_params()},
        "loss": type(loss).__qualname__,
        **{f"loss: {name.strip('_')}": value for name, value in vars(loss).items() if _is_plain(value)},
        "optimizer": type(optimizer).__qualname__,
        **{f"optimizer: {name}": getattr(optimizer, name) for name in optimizer.settings},
        "schedule": None if trainer.schedule is None else trainer.schedule.state_dict(),
        "metrics": list(trainer.metrics),
        "checkpoint": "given" if trainer.checkpoint is not None else "none",
    }
    names = ("schedule_every", "max_grad_norm", "patience", "keep_best", "monitor", "settings")
    arguments |= {name: getattr(trainer, name) for name in names}
    require_equal(ranks, "Trainer", {**arguments, **settings})


def send_weights(ranks: Ranks, trainer: Any) -> None:
    """Give every rank the parameters, statistics and optimiser's arrays of the first."""
    network, optimizer = trainer.network, trainer.optimizer
    weights, (arrays, numbers) = ranks.sent((network.state_dict(), optimizer.state_dict()))
    network.load_state_dict(weights)
    optimizer.load_state_dict(arrays, numbers)


def require_equal_weights(ranks: Ranks, network: Sequential) -> None:
    """Raise ValueError unless every rank has the same parameters and statistics, to the bit."""
    require_equal(ranks, "weights", {name: _digest(array) for name, array in network.state_dict().items()})


def require_equal_data(ranks: Ranks, train: Any, validation: Any, epochs: int) -> None:
    """Raise ValueError unless `fit` was given the same on every rank, as far as a quick look shows.

    Batches that are drawn by random numbers are from here on those that the first rank draws.
    """
    arguments = {"epochs": epochs}
    for name, batches in (("train", train), ("validation", validation)):
        arguments |= {f"{name}: {key}": value for key, value in _described(batches).items()}
    require_equal(ranks, "Trainer.fit", arguments)
    for batches in (train, validation):
        if hasattr(batches, "state_dict") and hasattr(batches, "load_state_dict"):
            state = batches.state_dict()
            first = ranks.sent(state)
            if first != state:
                batches.load_state_dict(first)


def require_equal_batches(drawn: Iterable[Any]) -> None:
    """Raise RuntimeError where a rank has no share of a batch, or could not read it; ValueError for other images."""
    drawn = list(drawn)
    for rank, each in enumerate(drawn):
        if each.problem is not None and each.problem != drawn[0].problem:
            raise RuntimeError(f"rank {rank} of {len(drawn)} could not give its share of a batch: {each.problem}")
        if each.problem is not None:
            raise RuntimeError(f"no rank could give its share of a batch; rank 0: {each.problem}")
    kinds = {each.kind: rank for rank, each in reversed(list(enumerate(drawn))) if each.kind is not None}
    if len(kinds) > 1:
        (one, rank), (other, another) = list(kinds.items())[:2]
        raise ValueError(
            f"expected images of one dtype and number of channels on every rank, got {one} on rank {rank} "
            f"and {other} on rank {another}"
        )


def _described(batches: Any) -> dict[str, Any]:
    """What tells other data, or another order of it, apart."""
    described: dict[str, Any] = {"kind": type(batches).__qualname__}
    if isinstance(batches, Sized):
        described["batches"] = len(batches)
    if hasattr(batches, "state_dict"):
        state = dict(batches.state_dict())
        # At its beginning an order may be any, and becomes the first rank's.
        random = ("rng", "seed") if state.get("position") == 0 else ()
        described["order"] = {name: value for name, value in state.items() if name not in random}
    source = getattr(batches, "source", batches)
    for name in ("labels", "sizes"):
        if isinstance(getattr(source, name, None), np.ndarray):
            described[name] = _digest(getattr(source, name))
    images = getattr(source, "images", None)
    if isinstance(images, (np.ndarray, Images)):
        described["first and last image"] = _digest(images[0]) + _digest(images[len(images) - 1])
    if hasattr(source, "paths"):
        described["files"] = hashlib.blake2b(
            repr([path.name for path in source.paths]).encode(), digest_size=8
        ).hexdigest()
    return described


def _digest(array: Any) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=8).hexdigest()


def _is_plain(value: object) -> bool:
    """Whether its text is the same in every process."""
    return value is None or isinstance(value, (bool, int, float, str, np.ndarray))
