"""Each layer as a function of C: its formula as a comment, the names of its weights, and one loop.

The numbers themselves are at the end of the file, so that its code can be read in one go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from minicnn.geometry import dilated_size
from minicnn.interop.c import templates
from minicnn.interop.c.chain import Link
from minicnn.interop.c.text import c_array, c_comment
from minicnn.layers import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Layer,
    Linear,
    LogSoftmax,
    MaxPool2d,
    ReLU,
)
from minicnn.plain import Array

IN_PLACE = (BatchNorm2d, ReLU, LogSoftmax)
INSIDE = "(bottom - top) * (right - left)"  # how many cells of the image a window has
NO_FIT = "return (Shape){0, 0, 0};"  # is in the functions of layers that do not take every image


class Function(NamedTuple):
    """A layer in C: the function `run_<name>`, and the constants `weight_<name>`, … that it reads."""

    code: str
    constants: dict[str, Array]


def function_of(link: Link, name: str, real: str) -> Function:
    """The layer as a function that computes with `real`, float or double. Flatten and Dropout have none."""
    constants = {f"{key}_{name}": values for key, values in link.arrays.items()}
    words = {"name": name, "real": real, "f": suffix_of(real), "arrays": declarations(constants, real)}
    head = f"/* {c_comment(link.name)}: {c_comment(repr(link.layer))}\n *\n"
    return Function(head + WRITERS[type(link.layer)](link, words), constants)


def sum_of(link: Link, name: str, real: str) -> Function:
    """The sum of the two ways of a residual."""
    return Function(templates.SUM.substitute(name=name, real=real, comment=f"{c_comment(link.name)}: Residual"), {})


def normalise(mean: Array, std: Array, name: str, real: str) -> Function:
    """The function that makes the network's input of an image."""
    constants = {f"mean_{name}": mean, f"std_{name}": std}
    arrays = declarations(constants, real)
    return Function(templates.NORMALISE.substitute(name=name, real=real, channels=len(mean), arrays=arrays), constants)


def suffix_of(real: str) -> str:
    """What numbers and functions of the type `real` end in."""
    return "f" if real == "float" else ""


def declarations(constants: dict[str, Array], real: str) -> str:
    """The names and shapes of constants, as they stand before the code that reads them."""
    axes = {name: "".join(f"[{n}]" for n in values.shape) for name, values in constants.items()}
    return "".join(f"static const {real} {name}{axes[name]};\n" for name in constants)


def definitions(constants: dict[str, Array], real: str) -> str:
    """The same with their numbers."""
    lines = declarations(constants, real).splitlines()
    numbers = [c_array(values, suffix_of(real)) for values in constants.values()]
    return "".join(f"{line[:-1]} = {value};\n" for line, value in zip(lines, numbers, strict=True))


def _conv2d(link: Link, words: dict[str, str]) -> str:
    layer = link.layer
    kernel_h, kernel_w = layer.kernel_size
    places, inside = [], []
    for place, out, tap, side, axis in zip("rs", "pq", "ij", "hw", _axes(layer), strict=True):
        places.append(_sum(_times(out, axis.stride), _times(tap, axis.dilation), -axis.before))
        inside += [f"{place} >= 0"] * (axis.before > 0) + [f"{place} < in.{side}"] * (axis.after > 0)
    return templates.CONV.substitute(
        words,
        **_bias_words(link, "f", words),
        **_fixed_size(layer),
        **_groups(layer),
        filters=layer.out_channels,
        channels=layer.in_channels,
        kernel_h=kernel_h,
        kernel_w=kernel_w,
        row=places[0],
        column=places[1],
        outside=" outside of x all is 0;" if inside else "",
        if_inside=f"if ({' && '.join(inside)})\n{' ' * 32}" if inside else "",
    )


def _groups(layer: Conv2d) -> dict[str, str | int]:
    """Of how many channels a filter sees, which these are, and what the comment says of that."""
    channels, filters = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    if layer.groups == 1:
        return {"channels_seen": channels, "channel": "c", "groups": ""}
    group = "f" if filters == 1 else f"f / {filters}"
    said = (
        f"G = {layer.groups} groups of C / G = {channels} channels and F / G = {filters} filters; c counts within one"
    )
    return {"channels_seen": channels, "channel": _sum(_times(group, channels), "c"), "groups": f";\n * {said}"}


def _fixed_pool(link: Link, words: dict[str, str]) -> str:
    layer = link.layer
    axes = zip("hw", "pq", layer.kernel_size, layer.stride, layer.padding, strict=True)
    insides, areas = {}, []
    for side, index, kernel, stride, pad in axes:
        start, stop = _sum(_times(index, stride), -pad), _sum(_times(index, stride), kernel - pad)
        insides[side] = (
            f"larger({start}, 0)" if pad else start,
            f"smaller({stop}, in.{side})" if pad or layer.ceil_mode else stop,
        )
        padded = f"(smaller({stop}, {_sum(f'in.{side}', pad)}) - ({start}))"
        areas.append(padded if layer.ceil_mode else str(kernel))
    area = " * ".join(areas)
    if isinstance(layer, AvgPool2d) and not layer.count_include_pad:
        area = INSIDE
    if isinstance(layer, AvgPool2d) and layer.divisor_override is not None:
        area = str(int(layer.divisor_override))
    return templates.POOL.substitute(
        words,
        **_fixed_size(layer),
        **_reduction(layer, words, area),
        top=insides["h"][0],
        bottom=insides["h"][1],
        left=insides["w"][0],
        right=insides["w"][1],
        windows="Windows end where the image ends."
        if layer.ceil_mode or any(layer.padding)
        else "All windows are of one size.",
    )


def _adaptive_pool(link: Link, words: dict[str, str]) -> str:
    out_h, out_w = link.layer.output_size
    return templates.POOL.substitute(
        words,
        **_reduction(link.layer, words, INSIDE),
        out_h="in.h" if out_h is None else out_h,
        out_w="in.w" if out_w is None else out_w,
        require_fit="",
        top="p * in.h / out.h",
        bottom="((p + 1) * in.h + out.h - 1) / out.h",
        left="q * in.w / out.w",
        right="((q + 1) * in.w + out.w - 1) / out.w",
        formula_h="H" if out_h is None else out_h,
        formula_w="W" if out_w is None else out_w,
        windows="Windows go from floor(p * H / OH) to ceil((p + 1) * H / OH): where OH does not divide H they overlap.",
    )


def _batchnorm(link: Link, words: dict[str, str]) -> str:
    return templates.BATCHNORM.substitute(words, channels=link.layer.num_features, eps=link.layer.eps)


def _linear(link: Link, words: dict[str, str]) -> str:
    outputs, features = link.arrays["weight"].shape
    return templates.LINEAR.substitute(words, **_bias_words(link, "k", words), outputs=outputs, features=features)


def _relu(link: Link, words: dict[str, str]) -> str:
    return templates.RELU.substitute(words)


def _log_softmax(link: Link, words: dict[str, str]) -> str:
    return templates.LOG_SOFTMAX.substitute(words)


WRITERS: dict[type[Layer], Callable[[Link, dict[str, str]], str]] = {
    Conv2d: _conv2d,
    MaxPool2d: _fixed_pool,
    AvgPool2d: _fixed_pool,
    AdaptiveMaxPool2d: _adaptive_pool,
    AdaptiveAvgPool2d: _adaptive_pool,
    BatchNorm2d: _batchnorm,
    ReLU: _relu,
    Linear: _linear,
    LogSoftmax: _log_softmax,
}


def _bias_words(link: Link, index: str, words: dict[str, str]) -> dict[str, str]:
    if "bias" in link.arrays:
        return {"plus_bias": f"bias[{index}] + ", "first": f"bias_{words['name']}[{index}]"}
    return {"plus_bias": "", "first": "0"}


def _fixed_size(layer: Any) -> dict[str, str]:
    """Height and width of the output, as formulas and as C; and the return for an image smaller than the kernel."""
    ceil_mode = not isinstance(layer, Conv2d) and layer.ceil_mode
    sizes, missing = {}, []
    for side, axis in zip("hw", _axes(layer), strict=True):
        n, span, stride = f"in.{side}", dilated_size(axis.kernel, axis.dilation), axis.stride
        smallest = span - axis.before - axis.after
        padding = f"2 * {axis.before}" if axis.before == axis.after else f"{axis.before} + {axis.after}"
        spanned = str(span) if axis.dilation == 1 else f"({axis.dilation} * ({axis.kernel} - 1) + 1)"
        sizes[f"formula_{side}"] = f"({side.upper()} + {padding} - {spanned}) / {stride} + 1"
        sizes[f"out_{side}"] = _sum(n, 1 - smallest) if stride == 1 else f"({_sum(n, -smallest)}) / {stride} + 1"
        if ceil_mode:
            sizes[f"formula_{side}"] += " rounded up"
            sizes[f"out_{side}"] = f"ceil_size({n}, {axis.kernel}, {stride}, {axis.before})"
            smallest -= stride - 1
        if smallest > 1:
            missing.append(f"{n} < {smallest}")
    require_fit = templates.REQUIRE_FIT.substitute(missing=" || ".join(missing)) if missing else ""
    return {**sizes, "require_fit": require_fit}


class Axis(NamedTuple):
    """What a window is on one axis: `before` and `after` are the padding there."""

    kernel: int
    stride: int
    dilation: int
    before: int
    after: int


def _axes(layer: Any) -> list[Axis]:
    """The windows of a convolution or fixed pooling, vertical and horizontal."""
    pads = layer.pads() if isinstance(layer, Conv2d) else tuple(zip(layer.padding, layer.padding, strict=True))
    dilation = layer.dilation if isinstance(layer, Conv2d) else (1, 1)
    return [
        Axis(kernel, stride, step, *pad)
        for kernel, stride, step, pad in zip(layer.kernel_size, layer.stride, dilation, pads, strict=True)
    ]


def _reduction(layer: Layer, words: dict[str, str], area: str) -> dict[str, str]:
    if isinstance(layer, (MaxPool2d, AdaptiveMaxPool2d)):
        return {"what": "largest", "reduce": templates.LARGEST.substitute(words)}
    return {"what": "mean", "reduce": templates.MEAN.substitute(words, area=area)}


def _times(index: str, factor: int) -> str:
    return index if factor == 1 else f"{index} * {factor}"


def _sum(*terms: str | int) -> str:
    """A sum as one writes it, without zeros: _sum("p", "i", -1) is p + i - 1."""
    text = str(terms[0])
    for term in terms[1:]:
        if term != 0:
            text += f" - {-term}" if isinstance(term, int) and term < 0 else f" + {term}"
    return text
