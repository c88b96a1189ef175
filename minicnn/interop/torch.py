"""PyTorch both ways: a module as a Sequential of ours, and a network of ours as an `nn.Sequential`.

Weights, running statistics, dtype and the mode of each layer go along, and names stay, so that a state dict of the one
fits the other. Whatever is made is run beside what it was made from, on a small input in evaluation mode, before it is
handed out. PyTorch is imported when a function is called.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from minicnn.interop.chain import problems_of, steps_of
from minicnn.interop.torch_layers import NOT_OF_TORCH, NOTHING_IN_EVALUATION, as_layer, as_torch_layer, not_of_minicnn
from minicnn.interop.torch_same import dtype_of, require_same_output
from minicnn.io.pytorch import import_torch
from minicnn.layers import Layer
from minicnn.network import Sequential
from minicnn.residual import Residual
from minicnn.training.checkpoint import require_finite

if TYPE_CHECKING:
    from torch import nn


def from_torch(module: nn.Module, input_shape: Sequence[int] | None = None) -> Sequential:
    """The Sequential that computes what `module` computes, with its weights, names, dtype and modes; on the CPU.

    The forward of `module` must be a chain of layers that minicnn has: an `nn.Sequential`, nested or not, or any module
    that `torch.fx` can trace into one. `F.relu`, `torch.flatten`, `F.max_pool2d`, `F.log_softmax` and their like, and
    `x.relu()`, `x.flatten(1)`, `x.view(x.size(0), -1)` become layers, named as `torch.fx` names them. Identity is left
    out; so are `Dropout2d` and other kinds of dropout in evaluation mode, while in training mode they are refused,
    since minicnn has none. A `Dropout` gets its place among the layers as its seed. Sums are those of
    `minicnn.interop.torch_residual.Residual`. Whether parameters ask for gradients is not taken over.

    Args:
        module: stays as it is; its forward is traced, and a copy of it run.
        input_shape: (C, H, W), or (D,), of the input on which the two are compared in evaluation mode; a small square
            that `module` takes is looked for unless given.

    Raises:
        ImportError: PyTorch is not installed.
        TypeError: `module` is no module, or has weights of other dtypes than float32 or float64, or of both.
        ValueError: a submodule, argument or function that minicnn lacks, by its name, all of them in one message;
            a forward that is no chain; NaN or infinity in the weights; no input that it takes; another output.
    """
    torch = import_torch("from_torch")
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"from_torch: expected a torch.nn.Module, got {type(module).__name__}")
    from minicnn.interop.torch_chain import chain_of  # here, since that imports PyTorch

    dtype = dtype_of("from_torch", module.state_dict())
    try:
        chain = chain_of(module)
    except ValueError as error:
        raise ValueError(f"from_torch: {error}") from error
    pairs = _converted(chain)
    layers = [(path, layer) for path, (_, layer, _) in zip(_paths(pairs), pairs, strict=True)]
    network = _nested(layers).to(dtype=dtype).train(module.training)
    named = zip(steps_of(network), pairs, strict=True)
    state = {
        f"{name}.{key}": tensor.detach().cpu().numpy()
        for (name, _), (_, _, theirs) in named
        for key, tensor in theirs.state_dict().items()
    }
    require_finite(state, "from_torch")
    network.load_state_dict(state)
    for _, layer, theirs in pairs:
        _take_modes(layer, theirs)
    require_same_output("from_torch", network, module, input_shape)
    return network


def to_torch(network: Sequential, input_shape: Sequence[int] | None = None) -> nn.Sequential:
    """The `nn.Sequential` that computes what `network` computes, with its weights, names, dtype and modes; on the CPU.

    A `Residual` becomes a `minicnn.interop.torch_residual.Residual`. A `Dropout` draws its masks as PyTorch does, so in
    training the two drop different numbers.

    Args:
        network: stays as it is.
        input_shape: as in `from_torch`.

    Raises:
        ImportError: PyTorch is not installed.
        TypeError: `network` is no Sequential.
        ValueError: a layer that PyTorch has not (of a class of one's own, or with operations of its own), or a name
            that PyTorch cannot give, all of them in one message; NaN or infinity in the weights; no input that it
            takes; another output.
    """
    torch = import_torch("to_torch")
    if not isinstance(network, Sequential):
        raise TypeError(f"to_torch: expected a Sequential, got {type(network).__name__}")
    if problems := [*problems_of(network), *_names_not_of_torch(network, torch.nn.Sequential())]:
        raise ValueError("to_torch: " + "; ".join(problems))
    state = {name: array for name, array in network.state_dict().items() if name.split(".")[-1] not in NOT_OF_TORCH}
    require_finite(state, "to_torch")
    with torch.random.fork_rng(devices=[]):  # its layers draw weights of their own
        module = _as_module(torch.nn, network)
    module.to(getattr(torch, dtype_of("to_torch", state)))
    module.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    require_same_output("to_torch", network, module, input_shape)
    return module


# From PyTorch.


def _converted(chain: Iterable[tuple[str, nn.Module]]) -> list[tuple[str, Layer, nn.Module]]:
    """(name, layer, PyTorch's layer) of each that computes something. Raises ValueError with all that cannot be had."""
    pairs, problems, seeds = [], [], itertools.count()
    for name, theirs in chain:
        if found := list(_not_of_minicnn(name, theirs)):
            problems += found
        elif type(theirs).__name__ not in NOTHING_IN_EVALUATION:
            try:
                layer = _as_ours(theirs, seeds)
            except (TypeError, ValueError) as error:
                problems.append(f"{name}: {error}")
                continue
            pairs.append((name, layer, theirs))
            if others := theirs.state_dict().keys() ^ _arrays_of(layer):
                kind = type(theirs).__name__
                problems.append(f"{name}: expected the arrays of {kind}, got {', '.join(sorted(others))} besides")
    if problems:
        raise ValueError("from_torch: " + "; ".join(problems))
    if not pairs:
        raise ValueError("from_torch: expected at least one layer that computes something, got none")
    return pairs


def _not_of_minicnn(name: str, theirs: nn.Module) -> Iterator[str]:
    """What minicnn lacks of a step: a layer, or all that is in a residual."""
    if not (_is_residual(theirs) or type(theirs) is import_torch("from_torch").nn.Sequential):
        yield from not_of_minicnn(name, theirs)
        return
    for child_name, child in theirs.named_children():
        place = f"{name}.{child_name}"
        if type(child).__name__ in NOTHING_IN_EVALUATION:
            yield f"{place}: expected a layer of minicnn within a Residual, got {type(child).__name__}; leave it out"
        else:
            yield from _not_of_minicnn(place, child)


def _as_ours(theirs: Any, seeds: Iterator[int]) -> Layer:
    """Our layer for a step that `_not_of_minicnn` has nothing against. Raises what our layers raise."""
    children = dict(theirs.named_children())
    if not children and not _is_residual(theirs):
        return as_layer(theirs, next(seeds))
    kind = Residual if _is_residual(theirs) else Sequential
    return kind(**{name: _as_ours(child, seeds) for name, child in children.items()})


def _is_residual(theirs: nn.Module) -> bool:
    from minicnn.interop import torch_residual  # here, since that imports PyTorch

    return type(theirs) is torch_residual.Residual


def _arrays_of(layer: Layer) -> set[str]:
    """The names of what PyTorch's layer has, too."""
    if isinstance(layer, Sequential):
        return {f"{name}.{key}" for name, inner in layer.named_layers() for key in _arrays_of(inner)}
    return {*layer.params, *layer.state} - {*NOT_OF_TORCH}


def _take_modes(layer: Layer, theirs: nn.Module) -> None:
    if isinstance(layer, Sequential):
        for name, inner in layer.children.items():
            _take_modes(inner, theirs.get_submodule(name))
    else:
        layer.train(theirs.training)


def _paths(pairs: Sequence[tuple[str, Layer, Any]]) -> list[list[str]]:
    """The names, parted at their dots. What has no weights stands within the submodule that has what comes before and
    after it, wherever it is called: so that it does not cut that submodule in two."""
    paths = [name.split(".") for name, _, _ in pairs]
    weighted = [position for position, (_, layer, _) in enumerate(pairs) if _arrays_of(layer)]
    for before, after in itertools.pairwise(weighted):
        pairs_of_names = zip(paths[before][:-1], paths[after][:-1], strict=False)
        shared = [name for name, _ in itertools.takewhile(lambda names: names[0] == names[1], pairs_of_names)]
        for position in range(before + 1, after):
            if paths[position][: len(shared)] != shared:
                path = [*shared, paths[position][-1]]
                while any(other[: len(path)] == path for other in paths):
                    path[-1] += "_"
                paths[position] = path
    return paths


def _nested(layers: Sequence[tuple[list[str], Layer]]) -> Sequential:
    """A Sequential whose layers have these paths of names. Where a forward comes back to a submodule, its name gets a
    number: "block_1"."""
    children: dict[str, Layer] = {}
    for first, group in itertools.groupby(layers, key=lambda entry: entry[0][0]):
        name, count = first, 0
        while name in children:
            name, count = f"{first}_{count + 1}", count + 1
        within = [(path[1:], layer) for path, layer in group]
        children[name] = within[0][1] if within[0][0] == [] else _nested(within)
    return Sequential(**children)


# To PyTorch.


def _names_not_of_torch(network: Sequential, empty: nn.Sequential, prefix: str = "") -> Iterator[str]:
    """The names that PyTorch cannot give, a sentence each. One that `empty` has as an attribute is taken."""
    for name, child in network.children.items():
        if name == "" or hasattr(empty, name):
            yield f"{prefix}{name}: expected a name that PyTorch can give to a submodule, got {name!r}"
        if isinstance(child, Sequential):
            yield from _names_not_of_torch(child, empty, f"{prefix}{name}." if child.names_its_layers else prefix)


def _as_module(torch_nn: Any, layer: Any) -> Any:
    if isinstance(layer, Sequential):
        from minicnn.interop.torch_residual import Residual as TorchResidual  # here, since that imports PyTorch

        children = OrderedDict((name, _as_module(torch_nn, child)) for name, child in _children(layer))
        module = (TorchResidual if isinstance(layer, Residual) else torch_nn.Sequential)(children)
    else:
        module = as_torch_layer(layer)
    module.training = layer.training
    return module


def _children(network: Sequential) -> Iterator[tuple[str, Layer]]:
    """Its children by name; those of fused blocks, which are no part of names, in the blocks' place."""
    for name, child in network.children.items():
        if isinstance(child, Sequential) and not child.names_its_layers:
            yield from _children(child)
        else:
            yield name, child
