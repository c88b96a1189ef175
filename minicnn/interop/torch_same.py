"""Two networks run beside each other: what was made, and the PyTorch module that it was made from or became."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.checks import as_int, kind_of
from minicnn.io.pytorch import import_torch
from minicnn.layers import BatchNorm2d, Conv2d, Linear
from minicnn.network import Sequential
from minicnn.verify.isolate import own_copy

if TYPE_CHECKING:
    from torch import nn

N_IMAGES = 3  # on which the two are compared
SIDES = (32, 28, 64, *range(1, 257), 299, 384, 512)  # of the images; the first that both take
TOLERANCES = {"float32": 1e-4, "float64": 1e-10}  # of the largest output


def dtype_of(who: str, state: Mapping[str, Any]) -> str:
    """The dtype of all floats in a state dict of either side; float32 where there are none. Raises TypeError."""
    dtypes = {name: str(array.dtype).removeprefix("torch.") for name, array in state.items()}
    found = {dtype: name for name, dtype in dtypes.items() if "int" not in dtype}
    if len(found) > 1 or not found.keys() <= TOLERANCES.keys():
        raise TypeError(
            f"{who}: expected weights of float32 or of float64, got "
            + ", ".join(f"{dtype} ({name})" for dtype, name in found.items())
            + "; convert with module.float()"
        )
    return next(iter(found), "float32")


def require_same_output(who: str, network: Sequential, module: nn.Module, input_shape: Sequence[int] | None) -> None:
    """Raise ValueError unless both compute the same, in evaluation mode, of an input that the module takes."""
    torch = import_torch(who)
    dtype = dtype_of(who, module.state_dict())
    theirs = own_copy(module, who, "the module").cpu().eval()
    shape = _found_shape(who, network, theirs, dtype) if input_shape is None else _as_shape(who, input_shape)
    x = np.random.default_rng(0).standard_normal((N_IMAGES, *shape)).astype(dtype)
    try:
        with torch.no_grad():
            expected = theirs(torch.from_numpy(x)).numpy()
    except Exception as error:
        raise ValueError(
            f"{who}: the module takes no input of shape {x.shape} ({type(error).__name__}: {error}); "
            "give another input_shape"
        ) from error
    try:
        got = network.ops.to_numpy(network.predict(x))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{who}: the module takes an input of shape {x.shape}, the network does not: {error}"
        ) from error
    if (got.shape, got.dtype) != (expected.shape, expected.dtype):
        raise ValueError(f"{who}: expected the module's output, {kind_of(expected)}, got {kind_of(got)}")
    difference, largest = np.abs(got - expected).max(), np.abs(expected).max()
    if not difference <= TOLERANCES[dtype] * largest:
        raise ValueError(
            f"{who}: expected the module's output, of an input of shape {x.shape}, got one that differs by "
            f"{difference:.3g} where the largest number is {largest:.3g}; the forward does what the chain of layers "
            "does not show (a hook, say)"
        )


def _as_shape(who: str, input_shape: Sequence[int]) -> tuple[int, ...]:
    shape = tuple(as_int(size, f"{who}: input_shape", 1) for size in input_shape)
    if len(shape) not in (1, 3):
        raise ValueError(f"{who}: expected input_shape as (C, H, W) or (D,), got {input_shape}")
    return shape


def _found_shape(who: str, network: Sequential, module: nn.Module, dtype: str) -> tuple[int, ...]:
    """The first of the candidates that the module takes; on the device "meta", where only shapes are worked out."""
    torch = import_torch(who)
    shapes_only = own_copy(module, who, "the module").to("meta")
    for shape in _candidates(network):
        x = torch.empty(N_IMAGES, *shape, dtype=getattr(torch, dtype), device="meta")
        try:
            with torch.no_grad():
                y = shapes_only(x)
        except Exception:  # whatever it does not take
            continue
        if len(y) == N_IMAGES:
            return shape
    raise ValueError(
        f"{who}: found no square image that the module takes; say with input_shape=(C, H, W) of what size its input is"
    )


def _candidates(network: Sequential) -> Iterator[tuple[int, ...]]:
    first: Any = next((layer for _, layer in network.named_layers() if layer.params), None)
    if isinstance(first, Linear):
        yield (first.in_features,)
    channels = {Conv2d: "in_channels", BatchNorm2d: "num_features"}.get(type(first))
    for side in SIDES:
        for count in (1, 3) if channels is None else (getattr(first, channels),):
            yield count, side, side
