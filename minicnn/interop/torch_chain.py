"""A PyTorch module as the chain of layers that its forward is. Imported only where PyTorch is.

`torch.fx` runs the forward once, with a stand-in for the tensor that notes what is done to it. PyTorch's own layers are
noted as they are, everything else is gone through. What is no module (`F.relu(x)`, `x.flatten(1)`) becomes the layer
that does the same.
"""

import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from minicnn.interop.torch_residual import Residual


def chain_of(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """(name, layer) in the order of the forward; a layer without a module of its own is named as `torch.fx` does.

    Raises ValueError, which names submodule and call, where the forward cannot be traced, or is no chain.
    """
    tracer = _Tracer()
    if tracer.is_leaf_module(module, ""):
        module = nn.Sequential(module)
    try:
        graph = tracer.trace(module)
    except Exception as error:  # it runs the module's own code
        raise ValueError(
            f"{type(module).__name__}.forward: expected a chain of layers, got what torch.fx cannot trace "
            f"({type(error).__name__}: {error})"
        ) from error
    return list(_Names(module).named(_layers(module, graph)))


class _Tracer(fx.Tracer):
    """Notes with each step in which submodule's forward it stands. Our residual is one step."""

    within = ""  # the submodule's name

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Residual) or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        around, self.within = self.within, self.path_of_module(m)
        try:
            return super().call_module(m, forward, args, kwargs)
        finally:
            self.within = around

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["within"] = self.within
        return node


def _layers(module: nn.Module, graph: fx.Graph) -> Iterator[tuple[fx.Node, nn.Module]]:
    """(node, layer) of each step. Raises ValueError where a step takes anything but what the step before it made."""
    last: fx.Node | None = None
    for node in graph.nodes:
        if _is_size(node):
            continue
        if node.op == "placeholder":
            if last is not None:
                raise ValueError(f"forward: expected one input, got {last.name} and {node.name}")
            last = node
            continue
        inputs = [given for given in node.all_input_nodes if not _is_size(given)]
        if node.op == "get_attr" or inputs != [last]:
            raise ValueError(f"{_place(module, node)}: expected a chain of layers, got {_off_the_chain(node, last)}")
        if node.op == "output":
            if node.args[0] is not last:
                raise ValueError(f"{_place(module, node)}: expected one tensor as output, got {node.args[0]}")
            return
        if node.op == "call_module":
            yield node, module.get_submodule(str(node.target))
        else:
            layer, caller = _layer_of(module, node), module.get_submodule(node.meta["within"])
            yield node, layer if isinstance(layer, nn.Dropout) else layer.train(caller.training)
        last = node


def _off_the_chain(node: fx.Node, last: fx.Node | None) -> str:
    if node.op == "get_attr":
        return f"the tensor {node.target} beside the layers"
    names = ", ".join(given.name for given in node.all_input_nodes)
    return (
        f"{node.name}({names}) where {last} was the last step; a Sequential has no branches or sums but those of a "
        "minicnn.interop.torch_residual.Residual"
    )


# What a function does, as the layer that does it; the arguments are the function's, but for the first.


def _max_pool2d(
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> nn.Module:
    return nn.MaxPool2d(kernel_size, stride, padding, dilation, return_indices, ceil_mode)


def _flatten(start_dim: int = 0, end_dim: int = -1) -> nn.Module:
    return nn.Flatten(start_dim, end_dim)


def _log_softmax(dim: int | None = None, _stacklevel: int = 3, dtype: None = None) -> nn.Module:
    return nn.LogSoftmax(dim)


def _relu(inplace: bool = False) -> nn.Module:
    return nn.ReLU()


def _dropout(p: float = 0.5, training: bool = True, inplace: bool = False) -> nn.Module:
    return nn.Dropout(p).train(training)


LAYERS: dict[Any, Callable[..., nn.Module]] = {
    **dict.fromkeys((F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"), _relu),
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d), _max_pool2d),
    **dict.fromkeys((F.log_softmax, torch.log_softmax, "log_softmax"), _log_softmax),
    **dict.fromkeys((torch.flatten, "flatten"), _flatten),
    **dict.fromkeys((F.dropout, F.dropout2d), _dropout),
    F.avg_pool2d: nn.AvgPool2d,
    F.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    F.adaptive_max_pool2d: nn.AdaptiveMaxPool2d,
    "contiguous": nn.Identity,
}
VIEWS = (torch.reshape, "view", "reshape")


def _layer_of(module: nn.Module, node: fx.Node) -> nn.Module:
    """The layer that does what a call of a function or method does. Raises ValueError where there is none."""
    arguments = node.args[1:]
    settings = {name: value for name, value in node.kwargs.items() if name != "input"}
    if node.target in VIEWS and _is_flatten(arguments):
        return nn.Flatten()
    call = f"{node.name}({', '.join([*map(str, arguments), *(f'{key}={value}' for key, value in settings.items())])})"
    if node.target not in LAYERS:
        raise ValueError(f"{_place(module, node)}: {call} is no layer of minicnn")
    try:
        return LAYERS[node.target](*arguments, **settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{_place(module, node)}: {call} is no layer of minicnn ({error})") from error


def _is_flatten(sizes: tuple[Any, ...]) -> bool:
    """Whether a view of these sizes is (N, the rest): x.view(x.size(0), -1), x.view(-1, 400), as one or as a tuple.

    That 400 are the features of one image is not known here; it shows where the two networks are run.
    """
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = tuple(sizes[0])
    if len(sizes) != 2:
        return False
    batch, rest = sizes
    return (_is_batch_size(batch) and isinstance(rest, int)) or (batch == -1 and isinstance(rest, int) and rest > 0)


def _is_size(node: fx.Node) -> bool:
    """x.size(…), x.shape, or a number of it: no step of the chain."""
    if node.op == "call_function" and node.target is operator.getitem:
        return isinstance(node.args[0], fx.Node) and _is_size(node.args[0])
    is_shape = node.op == "call_function" and node.target is getattr and node.args[1] == "shape"
    return is_shape or (node.op == "call_method" and node.target == "size")


def _is_batch_size(size: Any) -> bool:
    """x.size(0), x.shape[0] or x.size()[0]; all tensors of a chain have the same."""
    if not isinstance(size, fx.Node):
        return False
    if size.target is operator.getitem:
        return bool(size.args[1] == 0)
    return size.target == "size" and size.args[1:] == (0,)


def _place(module: nn.Module, node: fx.Node) -> str:
    """Whose forward it is, for a message."""
    within = node.meta["within"]
    return f"{within or type(module).__name__}.forward"


class _Names:
    """Names for steps: the submodule's where it is called once, otherwise one that is free."""

    def __init__(self, module: nn.Module) -> None:
        self.taken = {name for name, _ in module.named_modules()}
        self.called: set[str] = set()

    def named(self, steps: Iterator[tuple[fx.Node, nn.Module]]) -> Iterator[tuple[str, nn.Module]]:
        for node, layer in steps:
            within = node.meta["within"]
            name = str(node.target) if node.op == "call_module" else f"{within}.{node.name}".lstrip(".")
            if node.op == "call_module" and name not in self.called:
                self.called.add(name)
                yield name, layer
                continue
            if layer.state_dict():
                raise ValueError(f"{name}: expected one call of a layer with weights, got two; give each its own")
            yield self._free(name), layer

    def _free(self, name: str) -> str:
        free, count = name, 1
        while free in self.taken:
            free, count = f"{name}_{count}", count + 1
        self.taken.add(free)
        return free
