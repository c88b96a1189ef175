"""The guard against infinity and NaN: a step that would leave one is refused before anything has changed."""

import copy
import math
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from minicnn.checks import DTYPES
from minicnn.network import Sequential
from minicnn.optim import Optimizer


def finite_update(network: Sequential, optimizer: Optimizer, epoch: int) -> AbstractContextManager[object]:
    """A context for an update that leaves finite numbers; raises RuntimeError where it would not.

    Nearly always the sizes of the gradients are enough to tell. Where they are not, the update is tried on copies.
    """
    if optimizer.stays_finite(magnitude(network)):
        return nullcontext()
    require_finite_update(network, optimizer, epoch)
    return np.errstate(all="ignore")  # what may overflow, as a square in Adam, was seen to do no harm


def magnitude(network: Sequential) -> float:
    """The norm of all gradients and running statistics together; infinite where they are not floats.

    Of arrays on a device it is 0, without a look at them: to fetch them would make every step wait for the device.
    There the next loss tells, and nothing infinite is saved.
    """
    square = 0.0
    for _, layer in network.named_layers():
        for arrays in (layer.grads, layer.state):
            for array in arrays.values():
                array = layer.ops.asarray(array)
                if not isinstance(array, np.ndarray):
                    return 0.0
                if array.dtype in DTYPES:
                    # In the array's dtype: what overflows is infinite, and then looked at more closely.
                    square += float(np.vdot(array, array))
                elif arrays is layer.grads:
                    return math.inf
    return math.sqrt(square)


def require_finite_update(network: Sequential, optimizer: Optimizer, epoch: int) -> None:
    """Raise RuntimeError where a number of the network would be infinite or NaN after the optimiser's step.

    The step is made on copies, and their numbers are looked at.
    """
    trial, params = copy.copy(optimizer), list(optimizer.network.named_params())
    ops = {name: layer.ops for name, layer, _ in params}
    trial.state = {
        slot: {name: ops[name].copy(array) for name, array in of_params.items()}
        for slot, of_params in optimizer.state.items()
    }
    before = [layer.params[key] for _, layer, key in params]
    try:
        for (_, layer, key), param in zip(params, before, strict=True):
            layer.params[key] = layer.ops.copy(param)
        with np.errstate(all="ignore"):
            trial.step()
        wrong = not_finite(network)
    finally:
        for (_, layer, key), param in zip(params, before, strict=True):
            layer.params[key] = param
    if wrong:
        grads = {name: layer.ops.to_numpy(layer.grads[key]) for name, layer, key in params}
        infinite = [name for name, grad in grads.items() if not np.isfinite(grad).all()]
        cause = f"so are the gradients of {', '.join(infinite)}" if infinite else "the gradients are finite"
        raise RuntimeError(
            f"Trainer: expected finite numbers after the update, got infinity or NaN in {', '.join(wrong)} "
            f"{place(optimizer, epoch)}; {cause}. Everything is as before this step; look for huge values in the "
            "batch, or try a smaller learning rate or max_grad_norm"
        )


def require_finite_loss(loss: float, network: Sequential, optimizer: Optimizer, epoch: int) -> None:
    """Raise RuntimeError where the loss is infinite or NaN."""
    if math.isfinite(loss):
        return
    params = {name for name, _, _ in network.named_params()}
    lost = [name for name in not_finite(network) if name in params]  # statistics have seen this batch
    already = f", but {', '.join(lost)} had been infinite or NaN already" if lost else ""
    raise RuntimeError(
        f"Trainer: the loss is {loss} {place(optimizer, epoch)}; expected a finite number. Parameters are as before "
        f"this step{already}; look for NaN or huge values in the batch, or try a smaller learning rate or "
        "max_grad_norm"
    )


def require_finite_norm(norm: float, optimizer: Optimizer, epoch: int) -> None:
    """Raise RuntimeError where the norm of the gradients is infinite or NaN."""
    if not math.isfinite(norm):
        raise RuntimeError(f"Trainer: expected gradients of a finite norm, got {norm} {place(optimizer, epoch)}")


def not_finite(network: Sequential) -> list[str]:
    """Names of the parameters and running statistics that have a number that is not finite."""
    return [name for name, array in network.state_dict().items() if not np.isfinite(array).all()]


def place(optimizer: Optimizer, epoch: int) -> str:
    """Where a run is, for messages; `epoch` is the one under way."""
    return f"at step {optimizer.steps + 1} (epoch {epoch})"
