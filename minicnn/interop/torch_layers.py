"""The layers that minicnn and PyTorch both have, and one layer made from the other."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from minicnn.io.pytorch import import_torch
from minicnn.layers import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    LogSoftmax,
    MaxPool2d,
    ReLU,
)

if TYPE_CHECKING:
    from torch import nn


NOT_OF_TORCH = ("seed", "step")  # argument and state of our Dropout, whose masks PyTorch draws from its one generator


@dataclass(frozen=True)
class Kind:
    """A layer that both have, and of PyTorch's arguments that ours lacks the values that do what ours does."""

    ours: Callable[..., Layer]
    others: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def arguments(self) -> list[str]:
        """The arguments of ours that go over; on both sides they are attributes of the same name."""
        return [name for name in inspect.signature(self.ours).parameters if name not in ("bias", "rng", *NOT_OF_TORCH)]


# By the name of PyTorch's class.
KINDS = {
    "AdaptiveAvgPool2d": Kind(AdaptiveAvgPool2d),
    "AdaptiveMaxPool2d": Kind(AdaptiveMaxPool2d, {"return_indices": (False,)}),
    "AvgPool2d": Kind(AvgPool2d),
    "BatchNorm2d": Kind(BatchNorm2d, {"affine": (True,), "track_running_stats": (True,)}),
    "Conv2d": Kind(Conv2d, {"padding_mode": ("zeros",)}),
    "Dropout": Kind(Dropout),
    "Flatten": Kind(Flatten, {"start_dim": (1,), "end_dim": (-1,)}),
    "Linear": Kind(Linear),
    "LogSoftmax": Kind(LogSoftmax, {"dim": (1, -1)}),
    "MaxPool2d": Kind(MaxPool2d, {"dilation": (1, (1, 1)), "return_indices": (False,)}),
    "ReLU": Kind(ReLU),
}
WITH_BIAS = ("Conv2d", "Linear")  # the argument `bias` says whether there is one, and the attribute is the bias
NOTHING_IN_EVALUATION = ("Identity", "Dropout2d", "AlphaDropout", "FeatureAlphaDropout")


def not_of_minicnn(name: str, theirs: nn.Module) -> Iterator[str]:
    """What minicnn lacks of one of PyTorch's layers, a sentence each."""
    torch, kind = import_torch("from_torch"), type(theirs).__name__
    if type(theirs) is not getattr(torch.nn, kind, None) or kind not in {*NOTHING_IN_EVALUATION, *KINDS}:
        yield f"{name}: {kind} is no layer of minicnn; there are {', '.join(KINDS)}"
    elif kind in NOTHING_IN_EVALUATION and theirs.training and kind != "Identity" and theirs.p:
        yield (
            f"{name}: {kind}(p={theirs.p}) in training mode, and minicnn has no dropout but Dropout; take it out, or "
            "convert module.eval(), which computes without it"
        )
    elif kind in KINDS:
        for argument, values in KINDS[kind].others.items():
            if (value := getattr(theirs, argument)) not in values:
                yield f"{name}: {kind}({argument}={value!r}) is not in minicnn, which has {argument}={values[0]!r}"


def as_layer(theirs: Any, seed: int) -> Layer:
    """Our layer with the arguments of one of PyTorch's, a Dropout with this seed. Raises what our layer raises."""
    kind = KINDS[type(theirs).__name__]
    arguments = {argument: getattr(theirs, argument) for argument in kind.arguments}
    if type(theirs).__name__ in WITH_BIAS:
        arguments |= {"bias": theirs.bias is not None, "rng": 0}
    if kind.ours is Dropout:
        arguments["seed"] = seed
    return kind.ours(**arguments)


def as_torch_layer(layer: Any) -> nn.Module:
    """PyTorch's layer with the arguments of one of ours, but weights of its own."""
    name = type(layer).__name__
    kind = KINDS[name]
    arguments = {argument: getattr(layer, argument) for argument in kind.arguments}
    if name in WITH_BIAS:
        arguments["bias"] = "bias" in layer.params
    others = {argument: values[0] for argument, values in kind.others.items()}
    return getattr(import_torch("to_torch").nn, name)(**arguments, **others)
