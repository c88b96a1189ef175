"""What every way out asks of a network: minicnn's layers one after another, which compute as they came, and sums."""

from collections.abc import Iterator, Mapping

from minicnn.fusion import ConvBlocks
from minicnn.layers import LAYERS, Layer
from minicnn.network import Sequential
from minicnn.residual import Residual

ROAD = ("predict", "forward")  # the methods by which a network calls its layers


def require_chain(network: Sequential, who: str) -> None:
    """Raise TypeError, with all that is in the way, unless `steps_of` says everything that the network computes."""
    if problems := list(problems_of(network)):
        raise TypeError(f"{who}: " + "; ".join(problems))


def problems_of(network: Sequential, prefix: str = "") -> Iterator[str]:
    """Why a network is no chain of minicnn's layers, a sentence for each place."""
    kind = type(network)
    known_roads = (Residual,) if isinstance(network, Residual) else (Sequential, ConvBlocks)
    if any(getattr(kind, name) not in [getattr(known, name) for known in known_roads] for name in ROAD):
        yield (
            f"{prefix.rstrip('.') or 'the network'} is a {kind.__name__} that computes in a way of its own; put its "
            "layers into a Sequential"
        )
    for name, child in network.children.items():
        place, kind_of_child = f"{prefix}{name}", type(child).__name__
        if isinstance(child, Sequential):
            yield from problems_of(child, f"{place}." if child.names_its_layers else prefix)
        elif type(child) not in LAYERS:
            known = ", ".join(layer.__name__ for layer in LAYERS)
            yield f"{place} is a {kind_of_child}, a layer of your own; expected one of {known}"
        elif child.own_operations:
            yield (
                f"{place} ({kind_of_child}) computes with functions of your own ({', '.join(child.own_operations)}); "
                f"give them back with use({', '.join(f'{operation}=None' for operation in child.own_operations)})"
            )


def steps_of(network: Sequential) -> Iterator[tuple[str, Layer]]:
    """(name, layer) one after another, those of networks within it too. A `Residual` is one step, and `steps_of_path`
    its inner ones."""
    yield from [("sum", network)] if isinstance(network, Residual) else _steps(network.children, "")


def steps_of_path(children: Mapping[str, Layer], name: str) -> Iterator[tuple[str, Layer]]:
    """The steps of one way through the residual `name`, which has these children."""
    yield from _steps(children, f"{name}.")


def _steps(children: Mapping[str, Layer], prefix: str) -> Iterator[tuple[str, Layer]]:
    for name, child in children.items():
        if isinstance(child, Sequential) and not isinstance(child, Residual):
            yield from _steps(child.children, f"{prefix}{name}." if child.names_its_layers else prefix)
        else:
            yield f"{prefix}{name}", child
