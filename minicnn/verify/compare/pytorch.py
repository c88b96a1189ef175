"""A live PyTorch module: one training step, with every call of a layer noted by hooks. Imported only for such a module.

A layer is a module without children. Each is handed a clone of its input, so that the gradient that comes back to the
clone is this layer's own dx, also where others read the same tensor. A layer that works in place (ReLU(inplace=True))
changes the clone; what it did is then copied to the tensor that it was given, since others may rely on it.

What is computed between the layers without a module (`torch.relu`, `flatten`, an addition) is not noted, but what goes
into it and comes out of it is: it is the output of one layer and the input of the next.
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from minicnn.checks import DTYPES
from minicnn.verify.compare.layers import KINDS
from minicnn.verify.compare.task import made_loss
from minicnn.verify.compare.trace import Step, Trace
from minicnn.verify.isolate import own_copy


def traced(module, task, who):
    """The `Trace` of one training step of a copy of `module`; it stays as it is, and so do PyTorch's random numbers.

    Raises TypeError for parameters of another dtype than x, or an output that is not one tensor; ValueError for labels
    that do not fit the output; RuntimeError where the module cannot be copied or fails.
    """
    module = own_copy(module, who, "the module").train(task.training)
    tensors = list(module.parameters())
    _require_dtype(module, task, who)
    device = tensors[0].device if tensors else torch.device("cpu")
    watch = _Watch(module)
    x = torch.tensor(task.x, device=device, requires_grad=True)
    trace = Trace(f"PyTorch {torch.__version__.partition('+')[0]}", task, [], _arrays(module))
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.enable_grad():
        try:
            output = module(x.clone())
        except Exception as error:
            raise RuntimeError(f"{who}: the module's forward failed: {type(error).__name__}: {error}") from error
        _backward(trace, module, x, output, who)
    trace.steps, trace.left_out = watch.steps(), watch.left_out
    _optimizer_step(trace, module)
    return trace


def _require_dtype(module, task, who):
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point() and str(tensor.dtype) != f"torch.{task.x.dtype}":
            raise TypeError(
                f"{who}: expected x of the dtype of the module's {name}, {tensor.dtype}, got {task.x.dtype}; convert "
                f"the module with module.to(torch.{task.x.dtype}) or x with x.astype"
            )


def _backward(trace, module, x, output, who):
    """Loss and backward, and what they leave in the module, into the trace."""
    if not isinstance(output, torch.Tensor):
        raise TypeError(f"{who}: expected a module with one tensor as output, got {type(output).__name__}")
    task, trace.output = trace.task, _numpy(output)
    made_loss(task.loss).to("reference").forward(trace.output, task.labels)  # for its checks: they say what is wrong
    if not output.requires_grad:
        raise ValueError(f"{who}: no gradient reaches the module's output; it was detached or computed in no_grad()")
    settings = dict(task.loss.settings)
    if settings["weight"] is not None:
        settings["weight"] = torch.tensor(settings["weight"], dtype=output.dtype, device=output.device)
    output.retain_grad()
    labels = torch.tensor(task.labels, device=output.device)
    loss = getattr(torch.nn, task.loss.name)(**settings)(output, labels)
    try:
        loss.backward()
    except Exception as error:
        raise RuntimeError(f"{who}: the module's backward failed: {type(error).__name__}: {error}") from error
    trace.loss, trace.d_output = loss.item(), _numpy(output.grad)
    trace.dx = None if x.grad is None else _numpy(x.grad)
    params = dict(module.named_parameters(remove_duplicate=False))
    trace.statistics = {name: array for name, array in _arrays(module).items() if name not in params}
    trace.grads = {name: _numpy(param.grad) for name, param in params.items() if param.grad is not None}


def _optimizer_step(trace, module):
    params = dict(module.named_parameters(remove_duplicate=False))
    if params:
        name, settings = trace.task.optimizer
        getattr(torch.optim, name)(module.parameters(), **settings).step()
    trace.after = {name: _numpy(param) for name, param in params.items()}


def _arrays(module):
    """Parameters and buffers by full name, as `state_dict` has them."""
    return {name: _numpy(value) for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}


def _numpy(tensor):
    return np.array(tensor.detach().cpu().numpy())


@dataclass
class _Call:
    """A call of a layer that is under way or done: the tensor it was given, the clone it worked on."""

    name: str
    module: torch.nn.Module
    given: torch.Tensor
    clone: torch.Tensor
    version: int  # of the clone before; another one after says that the layer works in place
    arrays: dict = field(default_factory=dict)

    def note_gradient(self, key, tensor):
        if tensor.requires_grad:
            tensor.register_hook(lambda gradient: self.arrays.__setitem__(key, _numpy(gradient)))


class _Watch:
    """Hooks on all layers of a module; `steps` tells what they saw."""

    def __init__(self, module):
        self.module, self.under_way, self.done, self.left_out = module, [], [], []
        for name, part in module.named_modules():
            if not list(part.children()):
                part.register_forward_pre_hook(self._before(name or type(module).__name__), with_kwargs=True)
                part.register_forward_hook(self._after)

    def _before(self, name):
        def before(module, args, kwargs):
            call = None
            if len(args) == 1 and not kwargs and _is_plain(args[0]):
                clone = args[0].clone()
                call = _Call(name, module, args[0], clone, clone._version, {"x": _numpy(clone)})
                call.note_gradient("dx", clone)
                args = (clone,)
            else:
                self._leave_out(name, module)
            self.under_way.append(call)
            return args, kwargs

        return before

    def _after(self, module, args, output):
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

    def _leave_out(self, name, module):
        text = f"{name} ({type(module).__name__}): not one tensor of floats in and one out"
        if text not in self.left_out:
            self.left_out.append(text)

    def steps(self):
        """The calls as `Step`s; of a layer called several times the first has its parameters."""
        steps, calls, kept = [], {}, self.module.state_dict()
        for call in self.done:
            number = calls[call.name] = calls.get(call.name, 0) + 1
            prefix = "" if call.module is self.module else f"{call.name}."
            keys = [*call.module._parameters, *call.module._buffers] if number == 1 else []
            owns = {key: f"{prefix}{key}" for key in keys if f"{prefix}{key}" in kept}
            name = call.name if number == 1 else f"{call.name} (call {number})"
            kind, own = _kind(call.module)
            steps.append(Step(name, kind, own, repr(call.module), owns, **call.arrays))
        return steps


def _is_plain(value):
    return isinstance(value, torch.Tensor) and str(value.dtype) in {f"torch.{dtype}" for dtype in DTYPES}


def _kind(module):
    """(the class's name, or that of the class of torch.nn which it inherits from; whether there is no such class)."""
    for cls in type(module).__mro__:
        if cls.__module__.startswith("torch.nn.") and (cls is type(module) or cls.__name__ in KINDS):
            return cls.__name__, False
    return type(module).__name__, True
