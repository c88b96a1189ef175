"""The settings of a layer on either side in one form, so that those that differ can be named."""

from typing import Any

from minicnn.geometry import same_padding
from minicnn.verify.compare.trace import LayerCall

WINDOWS = ("kernel_size", "stride", "padding", "dilation")

# The settings that change what a layer of a kind computes, under the names that both sides have for them.
SETTINGS: dict[str, tuple[str, ...]] = {
    "Conv2d": ("in_channels", "out_channels", *WINDOWS, "groups", "padding_mode", "bias"),
    "Linear": ("in_features", "out_features", "bias"),
    "BatchNorm2d": ("num_features", "eps", "momentum", "affine", "track_running_stats", "mode"),
    "MaxPool2d": (*WINDOWS, "ceil_mode"),
    "AvgPool2d": (*WINDOWS, "ceil_mode", "count_include_pad", "divisor_override"),
    "AdaptiveMaxPool2d": ("output_size",),
    "AdaptiveAvgPool2d": ("output_size",),
    "LogSoftmax": ("dim",),
    "Flatten": ("start_dim", "end_dim"),
}
# What minicnn does where PyTorch has a setting for it and minicnn none; 1 is also the dim that None stands for.
ONLY = {
    "dilation": 1,
    "padding_mode": "zeros",
    "affine": True,
    "track_running_stats": True,
    "dim": 1,
    "start_dim": 1,
    "end_dim": -1,
}
PAIRS = ("kernel_size", "stride", "padding", "dilation", "output_size")


def settings_of(layer: Any, kind: str, has_bias: bool) -> dict[str, str]:
    """{name: value, as text} of a layer of minicnn, or of a module of PyTorch, of this kind."""
    found = {}
    for name in SETTINGS.get(kind, ()):
        if name == "bias":
            value: Any = has_bias
        elif name == "mode":
            value = "training" if layer.training else "evaluation"
        else:
            value = getattr(layer, name, ONLY.get(name))
        if name == "dim":
            value = {None: 1, -1: 1}.get(value, value)  # of the two axes that labels are for
        found[name] = str(_padding(layer, value) if name == "padding" else _pair(value) if name in PAIRS else value)
    return found


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _padding(layer: Any, value: Any) -> Any:
    """The padding (vertical, horizontal) in pixels; ((top, bottom), (left, right)) where it is uneven."""
    if not isinstance(value, str):
        return _pair(value)
    if value != "same":
        return (0, 0) if value == "valid" else value
    dilation = _pair(getattr(layer, "dilation", 1))
    pads = tuple(map(same_padding, _pair(layer.kernel_size), dilation))
    return tuple(before for before, _ in pads) if all(before == after for before, after in pads) else pads


def differences(here: LayerCall, there: LayerCall) -> list[str]:
    """What of two layers differs, in words: settings such as "eps (0.001 here, 1e-05 there)", or the kind."""
    if here.kind != there.kind:
        return [] if here.own or there.own else [f"kind ({here.kind} here, {there.kind} there)"]
    return [
        f"{name} ({value} here, {there.settings[name]} there)"
        for name, value in here.settings.items()
        if there.settings.get(name, value) != value
    ]
