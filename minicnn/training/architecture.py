"""What a network is made of, as data that JSON can hold, and the network made again from it.

    {"class": "Sequential", "children": {"conv1": {"class": "Conv2d", "settings": {"in_channels": 3, …}}, …}}

Settings are the arguments of a layer's constructor, which every layer of minicnn keeps as attributes of the same names.
Nothing in it is run: a class is one of those below. Layers of one's own are named by where they are imported from,
"module:Name", and only where that is asked for on both sides.
"""

import importlib
import inspect
import math
from collections.abc import Mapping
from typing import Any

from minicnn.checks import as_pair, as_plain, require_entries, shortened
from minicnn.layers import LAYERS, BatchNorm2d, Conv2d, Layer, Linear
from minicnn.network import Sequential, SimpleNet
from minicnn.plain import Array
from minicnn.residual import Residual

BY_NAME = {layer.__name__: layer for layer in LAYERS}
NETWORKS: dict[str, type[Sequential]] = {"Sequential": Sequential, "SimpleNet": SimpleNet, "Residual": Residual}
OWN_ROAD = ("predict", "forward", "backward")  # what a chain of layers does not override


def described(layer: Layer, own_layers: bool = False, place: str = "the network") -> dict[str, Any]:
    """A layer, or a network, as a dict that JSON can hold.

    A network of one's own class is a Sequential, or a Residual, where it computes as that does.

    Raises TypeError, which says where and what to do, for what the dict cannot say: a layer of one's own without
    `own_layers` or without the attributes, a network with a forward of its own, functions given to `use`.
    """
    if layer.own_operations:
        raise TypeError(
            f"{place} ({type(layer).__name__}) computes with functions of your own "
            f"({', '.join(layer.own_operations)}), which a file cannot hold; give them back with "
            f"use({', '.join(f'{name}=None' for name in layer.own_operations)})"
        )
    if isinstance(layer, Sequential):
        kind = type(layer)
        plain = Residual if isinstance(layer, Residual) else Sequential
        if any(getattr(kind, name) is not getattr(plain, name) for name in OWN_ROAD):
            raise TypeError(
                f"{place} is a {kind.__name__}, which computes in a way of its own; expected layers one after another. "
                "Of a network that minicnn.fuse made, take the one that it was made from"
            )
        name = kind.__name__ if kind in NETWORKS.values() else plain.__name__
        inner = "" if place == "the network" else f"{place}."
        children = {key: described(child, own_layers, f"{inner}{key}") for key, child in layer.children.items()}
        return {"class": name, "children": children}
    return {"class": _name_of(layer, own_layers, place), "settings": as_plain(_settings(layer, place))}


def built(description: Any, arrays: Mapping[str, Array], own_layers: bool = False, prefix: str = "") -> Any:
    """The network, or layer, of a description, with weights to be replaced by `arrays`, whose dtypes it gets.

    `prefix` stands before the names of its arrays. Raises ValueError or TypeError where the description is none, names
    unknown classes or claims other numbers of weights than there are, so that a small file makes no large network.
    """
    what = f"{prefix.rstrip('.') or 'the network'}"
    require_entries(description, ("class",), what)
    name = description["class"]
    if name in NETWORKS:
        require_entries(description, ("children",), what)
        children = dict(description["children"])
        network = NETWORKS[name].__new__(NETWORKS[name])
        plain = Residual if name == "Residual" else Sequential  # a SimpleNet takes no layers
        plain.__init__(
            network, **{key: built(child, arrays, own_layers, f"{prefix}{key}.") for key, child in children.items()}
        )
        return network
    require_entries(description, ("settings",), what)
    kind, settings = _class_of(name, own_layers, what), description["settings"]
    if not isinstance(settings, dict) or set(settings) != set(_arguments(kind)):
        raise ValueError(f"{what}: expected settings {', '.join(_arguments(kind))}, got {shortened(settings)}")
    _require_weights(kind, settings, arrays, prefix)
    random = {"rng": 0} if "rng" in inspect.signature(kind).parameters else {}
    layer = kind(**settings, **random)
    dtypes = [arrays[f"{prefix}{key}"].dtype for key in layer.params if f"{prefix}{key}" in arrays]
    return layer.to(dtype=dtypes[0]) if dtypes else layer


def in_channels(network: Sequential) -> int:
    """C, of the first layer that has channels. Raises ValueError where there is none."""
    for _, layer in network.named_layers():
        if isinstance(layer, Conv2d):
            return layer.in_channels
        if isinstance(layer, BatchNorm2d):
            return layer.num_features
    raise ValueError("expected a network for images, with a Conv2d, got one without")


def num_classes(network: Sequential) -> int:
    """K, of the last layer that says so. Raises ValueError where there is none."""
    for _, layer in reversed(list(network.named_layers())):
        if isinstance(layer, Linear):
            return layer.out_features
        if isinstance(layer, Conv2d):
            return layer.out_channels
    raise ValueError("expected a network that ends in a Linear or a Conv2d, whose outputs are the classes, got none")


def _arguments(kind: type[Layer]) -> list[str]:
    return [name for name in inspect.signature(kind).parameters if name != "rng"]


def _settings(layer: Layer, place: str) -> dict[str, Any]:
    names = _arguments(type(layer))
    missing = [name for name in names if name != "bias" and not hasattr(layer, name)]
    if missing:
        raise TypeError(
            f"{place} is a {type(layer).__name__} without attributes {', '.join(missing)}; keep the constructor's "
            "arguments as attributes of the same names, so that it can be made again"
        )
    return {name: "bias" in layer.params if name == "bias" else getattr(layer, name) for name in names}


def _name_of(layer: Layer, own_layers: bool, place: str) -> str:
    kind = type(layer)
    if BY_NAME.get(kind.__name__) is kind:
        return kind.__name__
    path = f"{kind.__module__}:{kind.__qualname__}"
    if not own_layers:
        raise TypeError(
            f"{place} is a {kind.__name__}, a layer of your own; with own_layers=True it is named in the file as "
            f"{path}, from where loading, which needs own_layers=True as well, imports it"
        )
    if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__:
        raise TypeError(f"{place}: expected {kind.__name__} in a module that can be imported, got {path}")
    return path


def _class_of(name: Any, own_layers: bool, what: str) -> type[Layer]:
    if isinstance(name, str) and name in BY_NAME:
        return BY_NAME[name]
    module, colon, qualname = name.partition(":") if isinstance(name, str) else ("", "", "")
    if not colon:
        raise ValueError(f"{what}: expected a layer of minicnn, got {shortened(name)!r}, which this version has not")
    if not own_layers:
        raise ValueError(
            f"{what} is {shortened(name)}, a layer of somebody's own; own_layers=True imports it, which runs that "
            "module's code"
        )
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    if not (isinstance(found, type) and issubclass(found, Layer)):
        raise ValueError(f"{what}: expected {shortened(name)} to be a layer, got {found!r:.200}")
    return found


def _require_weights(kind: type[Layer], settings: dict[str, Any], arrays: Mapping[str, Array], prefix: str) -> None:
    """Raise ValueError where the settings claim other weights than there are."""
    if kind is Conv2d:
        kernel = math.prod(as_pair(settings["kernel_size"], f"{prefix}kernel_size", 1))
        claimed = settings["out_channels"] * settings["in_channels"] * kernel / settings["groups"]
    elif kind is Linear:
        claimed = settings["in_features"] * settings["out_features"]
    elif kind is BatchNorm2d:
        claimed = settings["num_features"]
    else:
        return
    name = f"{prefix}weight"
    if name not in arrays or not math.isclose(claimed, arrays[name].size, rel_tol=0, abs_tol=0.5):
        raise ValueError(f"{name}: expected {claimed:.0f} weights, as the settings say, got others or none")
