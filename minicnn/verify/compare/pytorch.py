"""A live PyTorch module: one training step, with every call of a layer noted by hooks. Imported only for such a module.

A layer is a module without children. Each is handed a clone of its input, so that the gradient that comes back to the
clone is this layer's own dx, also where others read the same tensor. A layer that works in place (ReLU(inplace=True))
changes the clone; what it did is then copied to the tensor that it was given, since others may rely on it.

What is computed between the layers without a module (`torch.relu`, `flatten`, an addition) is not noted, but what goes
into it and comes out of it is: it is the output of one layer and the input of the next.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from minicnn.checks import DTYPES
from minicnn.plain import Array
from minicnn.verify.compare.layers import KINDS
from minicnn.verify.compare.settings import settings_of
from minicnn.verify.compare.setup import Setup, made_loss
from minicnn.verify.compare.trace import LayerCall, Trace
from minicnn.verify.isolate import own_copy

# Settings of layers of torch.nn that change the numbers and that a repr may leave out.
LEFT_OUT = ("groups", "dilation", "padding_mode", "ceil_mode", "count_include_pad", "divisor_override")


def traced(module: torch.nn.Module, setup: Setup, who: str) -> Trace:
    """The `Trace` of one training step of a copy of `module`; it stays as it is, and so do PyTorch's random numbers.

    Raises TypeError for parameters of another dtype than x, or an output that is not one tensor; ValueError for labels
    that do not fit the output; RuntimeError where the module cannot be copied or fails.
    """
    module = own_copy(module, who, "the module").train(setup.training)
    tensors = list(module.parameters())
    _require_dtype(module, setup, who)
    device = tensors[0].device if tensors else torch.device("cpu")
    watch = _Watch(module)
    x = torch.tensor(setup.x, device=device, requires_grad=True)
    trace = Trace(f"PyTorch {torch.__version__.partition('+')[0]}", setup, [], _arrays(module))
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.enable_grad():
        try:
            output = module(x.clone())
        except Exception as error:
            raise RuntimeError(f"{who}: the module's forward failed: {type(error).__name__}: {error}") from error
        _backward(trace, module, x, output, who)
    trace.calls, trace.left_out = watch.calls(), watch.left_out
    _optimizer_step(trace, module)
    return trace


def _require_dtype(module: torch.nn.Module, setup: Setup, who: str) -> None:
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point() and str(tensor.dtype) != f"torch.{setup.x.dtype}":
            raise TypeError(
                f"{who}: expected x of the dtype of the module's {name}, {tensor.dtype}, got {setup.x.dtype}; convert "
                f"the module with module.to(torch.{setup.x.dtype}) or x with x.astype"
            )


def _backward(trace: Trace, module: torch.nn.Module, x: torch.Tensor, output: object, who: str) -> None:
    """Loss and backward, and what they leave in the module, into the trace."""
    if not isinstance(output, torch.Tensor):
        raise TypeError(f"{who}: expected a module with one tensor as output, got {type(output).__name__}")
    setup, trace.output = trace.setup, _numpy(output)
    made_loss(setup.loss).to("reference").forward(trace.output, setup.labels)  # for its checks: they say what is wrong
    if not output.requires_grad:
        raise ValueError(f"{who}: no gradient reaches the module's output; it was detached or computed in no_grad()")
    settings = dict(setup.loss.settings)
    if settings["weight"] is not None:
        settings["weight"] = torch.tensor(settings["weight"], dtype=output.dtype, device=output.device)
    output.retain_grad()
    labels = torch.tensor(setup.labels, device=output.device)
    loss = getattr(torch.nn, setup.loss.name)(**settings)(output, labels)
    try:
        loss.backward()
    except Exception as error:
        raise RuntimeError(f"{who}: the module's backward failed: {type(error).__name__}: {error}") from error
    assert output.grad is not None  # it was to be retained
    trace.loss, trace.d_output = loss.item(), _numpy(output.grad)
    trace.dx = None if x.grad is None else _numpy(x.grad)
    params = dict(module.named_parameters(remove_duplicate=False))
    trace.statistics = {name: array for name, array in _arrays(module).items() if name not in params}
    trace.grads = {name: _numpy(param.grad) for name, param in params.items() if param.grad is not None}


def _optimizer_step(trace: Trace, module: torch.nn.Module) -> None:
    params = dict(module.named_parameters(remove_duplicate=False))
    if params:
        name, settings = trace.setup.optimizer
        settings = dict(settings)
        groups: Any = module.parameters()
        if not settings.pop("decay_vectors", True):
            vectors = [param for param in module.parameters() if param.ndim < 2]
            others = [param for param in module.parameters() if param.ndim >= 2]
            groups = [{"params": others}, {"params": vectors, "weight_decay": 0.0}]
        getattr(torch.optim, name)(groups, **settings).step()
    trace.after = {name: _numpy(param) for name, param in params.items()}


def _arrays(module: torch.nn.Module) -> dict[str, Array]:
    """Parameters and buffers by full name, as `state_dict` has them."""
    return {name: _numpy(value) for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}


def _numpy(tensor: torch.Tensor) -> Array:
    return np.array(tensor.detach().cpu().numpy())


@dataclass
class _Call:
    """A call of a layer that is under way or done: the tensor it was given, the clone it worked on."""

    name: str
    module: torch.nn.Module
    given: torch.Tensor
    clone: torch.Tensor
    version: int  # of the clone before; another one after says that the layer works in place
    text: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)

    def note_gradient(self, key: str, tensor: torch.Tensor) -> None:
        if tensor.requires_grad:
            hook = lambda gradient: self.arrays.__setitem__(key, _numpy(gradient))  # noqa: E731
            tensor.register_hook(hook)


class _Watch:
    """Hooks on all layers of a module; `calls` tells what they saw."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module
        self.under_way: list[_Call | None] = []
        self.done: list[_Call] = []
        self.left_out: list[str] = []
        for name, part in module.named_modules():
            if not list(part.children()):
                part.register_forward_pre_hook(self._before(name or type(module).__name__), with_kwargs=True)
                part.register_forward_hook(self._after)

    def _before(self, name: str) -> Callable[..., Any]:
        def before(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            call = None
            if len(args) == 1 and not kwargs and _is_plain(args[0]):
                clone = args[0].clone()
                settings = settings_of(module, _kind(module)[0], getattr(module, "bias", None) is not None)
                told, arrays = (_text(module), settings), {"x": _numpy(clone)}
                call = _Call(name, module, args[0], clone, clone._version, *told, arrays)
                call.note_gradient("dx", clone)
                args = (clone,)
            else:
                self._leave_out(name, module)
            self.under_way.append(call)
            return args, kwargs

        return before

    def _after(self, module: torch.nn.Module, args: object, output: Any) -> Any:
        call = self.under_way.pop()
        if call is None:
            return output
        if call.clone._version != call.version:
            call.given.copy_(call.clone)
            output = call.given if output is call.clone else output
        if not _is_plain(output):
            self._leave_out(call.name, module)
            return output
        call.arrays["y"] = _numpy(output)
        call.note_gradient("dy", output)
        self.done.append(call)
        return output

    def _leave_out(self, name: str, module: torch.nn.Module) -> None:
        text = f"{name} ({type(module).__name__}): not one tensor of floats in and one out"
        if text not in self.left_out:
            self.left_out.append(text)

    def calls(self) -> list[LayerCall]:
        """The calls as `LayerCall`s; of a layer called several times the first has its parameters."""
        found: list[LayerCall] = []
        times: dict[str, int] = {}
        kept = self.module.state_dict()
        for call in self.done:
            number = times[call.name] = times.get(call.name, 0) + 1
            prefix = "" if call.module is self.module else f"{call.name}."
            keys = [*call.module._parameters, *call.module._buffers] if number == 1 else []
            owns = {key: f"{prefix}{key}" for key in keys if f"{prefix}{key}" in kept}
            name = call.name if number == 1 else f"{call.name} (call {number})"
            kind, own = _kind(call.module)
            found.append(LayerCall(name, kind, own, call.text, owns, settings=call.settings, **call.arrays))
        return found


def _text(module: torch.nn.Module) -> str:
    """A module's repr, and with it the settings that PyTorch leaves out of it."""
    left_out = [f"{name}={getattr(module, name)}" for name in LEFT_OUT if hasattr(module, name)]
    if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
        left_out.append("training mode" if module.training else "evaluation mode")
    text = repr(module)
    shown = [setting for setting in left_out if setting not in text]
    return f"{text} [{', '.join(shown)}]" if shown else text


def _is_plain(value: object) -> bool:
    return isinstance(value, torch.Tensor) and str(value.dtype) in {f"torch.{dtype}" for dtype in DTYPES}


def _kind(module: torch.nn.Module) -> tuple[str, bool]:
    """(the class's name, or that of the class of torch.nn which it inherits from; whether there is no such class)."""
    for cls in type(module).__mro__:
        if cls.__module__.startswith("torch.nn.") and (cls is type(module) or cls.__name__ in KINDS):
            return cls.__name__, False
    return type(module).__name__, True
