"""A network taken layer by layer, on a copy: what the inspector, `compare` and `gradcheck` begin with."""

import copy
import sys
from collections.abc import Iterator, Mapping
from typing import TypeVar

from minicnn.layers import Layer
from minicnn.network import Sequential

T = TypeVar("T")


def own_copy(thing: T, who: str, what: str, instead: Mapping[int, object] | None = None) -> T:
    """A copy that shares nothing but modules, of which every layer has one, its backend.

    `instead` maps the id of a part that is not to be copied to what takes its place.
    Raises RuntimeError, which names `who` copies and `what`, where it cannot be copied.
    """
    shared: dict[int, object] = {id(module): module for module in list(sys.modules.values())}
    try:
        return copy.deepcopy(thing, {**shared, **(instead or {})})
    except Exception as error:
        raise RuntimeError(
            f"{who}: {what} is copied before it is run, so that it stays as it is, and the copy failed: "
            f"{type(error).__name__}: {error}"
        ) from error


def flattened(network: Sequential, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """(name, layer) in forward order. A network with a forward or backward of its own is one layer."""
    if any(getattr(type(network), name) is not getattr(Sequential, name) for name in ("forward", "backward")):
        yield prefix.rstrip(".") or type(network).__name__, network
        return
    yield from flattened_children(network.children, prefix)


def flattened_children(children: Mapping[str, Layer], prefix: str) -> Iterator[tuple[str, Layer]]:
    """The same of layers that follow each other, by name."""
    for name, child in children.items():
        if isinstance(child, Sequential):
            yield from flattened(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child
