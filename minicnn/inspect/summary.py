"""A network as a table: shapes, parameters, what backward keeps and why, memory, and operations on numbers."""

import html
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minicnn.checks import as_int
from minicnn.inspect.passes import LayerPass, run_forward
from minicnn.inspect.reports import REPORTS
from minicnn.inspect.reports.base import LayerReport
from minicnn.inspect.reports.residual import ResidualReport
from minicnn.io.html import table
from minicnn.layers import Layer
from minicnn.network import Sequential
from minicnn.plain import memory_of
from minicnn.verify.isolate import flattened, own_copy

Size: TypeAlias = Sequence[int]
HEADINGS = ("layer", "", "output", "parameters", "kept for backward", "", "flops", "backward")


class SummaryRow(NamedTuple):
    """What a layer does to the images of a summary.

    name, kind: "conv1", "Conv2d(3, 16, …)".
    output_shape: with N; an axis that differs from image to image is the pair (smallest, largest).
    parameters: how many numbers are learned.
    kept: {what: why} of all that backward needs.
    kept_bytes: of what this layer is the first to keep: the output of a ReLU is also the next layer's input.
    flops, backward_flops: operations of either pass, a multiply-add being 2; None for a layer of one's own.
    """

    name: str
    kind: str
    output_shape: tuple[Any, ...]
    parameters: int
    kept: dict[str, str]
    kept_bytes: int
    flops: int | None
    backward_flops: int | None


class Summary:
    """What `network.summary` returns. `print` shows the table, a notebook shows it by itself, `rows` are the data.

    Attributes:
        rows: a `SummaryRow` for each layer, in forward order.
        input_shape: (N, C, H, W), sizes that differ as pairs (smallest, largest).
        parameters, parameter_bytes: all that is learned.
        kept_bytes: what a training step keeps between forward and backward, where each layer is computed on its own;
            `minicnn.fuse` keeps less.
        flops, backward_flops: of all layers that are known.
    """

    def __init__(self, title: str, rows: list[SummaryRow], input_shape: tuple[Any, ...], parameter_bytes: int) -> None:
        self.title, self.rows, self.input_shape, self.parameter_bytes = title, rows, input_shape, parameter_bytes

    @property
    def parameters(self) -> int:
        return sum(row.parameters for row in self.rows)

    @property
    def kept_bytes(self) -> int:
        return sum(row.kept_bytes for row in self.rows)

    @property
    def flops(self) -> int:
        return sum(row.flops or 0 for row in self.rows)

    @property
    def backward_flops(self) -> int:
        return sum(row.backward_flops or 0 for row in self.rows)

    def _lines(self) -> list[tuple[str, ...]]:
        return [
            (
                row.name,
                row.kind,
                _shape(row.output_shape),
                f"{row.parameters:,}" if row.parameters else "",
                ", ".join(row.kept),
                _bytes(row.kept_bytes) if row.kept_bytes else "",
                _count(row.flops),
                _count(row.backward_flops),
            )
            for row in self.rows
        ]

    def _totals(self) -> list[str]:
        reasons: dict[str, dict[str, None]] = {}
        for row in self.rows:
            for what, why in row.kept.items():
                reasons.setdefault(why, {})[f"{what} of {row.kind.split('(')[0]}"] = None
        return [
            f"parameters: {self.parameters:,}, {_bytes(self.parameter_bytes)}",
            f"kept for backward: {_bytes(self.kept_bytes)}, each array once, layer by layer (minicnn.fuse keeps less)",
            f"forward {_count(self.flops)}flops, backward {_count(self.backward_flops)}flops; a multiply-add is 2",
            *(f"{', '.join(whats)}: {why}" for why, whats in reasons.items()),
        ]

    def __str__(self) -> str:
        lines = [HEADINGS, *self._lines()]
        widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
        is_number = [column in (3, 5, 6, 7) for column in range(len(HEADINGS))]
        table = [
            "  ".join(
                text.rjust(width) if right else text.ljust(width)
                for text, width, right in zip(line, widths, is_number, strict=True)
            ).rstrip()
            for line in lines
        ]
        return "\n".join([f"{self.title} on {_shape(self.input_shape)}", *table, *self._totals()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        totals = "<br>".join(html.escape(text) for text in self._totals())
        return table(f"{self.title} on {_shape(self.input_shape)}", HEADINGS, self._lines()) + f"<p>{totals}</p>"


def network_table(network: Sequential) -> str:
    """A network as a notebook shows it: its layers, their parameters, and which are in evaluation mode."""
    rows = []
    for name, layer in network.named_layers():
        shapes = ", ".join(f"{key} {tuple(array.shape)}" for key, array in layer.params.items())
        numbers = sum(array.size for array in layer.params.values())
        rows.append((name, repr(layer), shapes, f"{numbers:,}" if numbers else "", "" if layer.training else "eval"))
    total = sum(layer.params[key].size for _, layer, key in network.named_params())
    return table(
        f"{type(network).__name__}, {total:,} parameters", ("layer", "", "parameters", "numbers", "mode"), rows
    )


def summarised(network: Sequential, input_size: Size | Sequence[Size]) -> Summary:
    """The `Summary` of a network on images of `input_size`; a forward pass of zeros on a copy tells.

    Args:
        network: a `Sequential` of layers one after another.
        input_size: (C, H, W) of one image, (N, C, H, W), or a list of sizes (C, H, W) for a batch of mixed sizes. What
            a network without images takes: (N, D) or (D,).

    Raises:
        TypeError: not a Sequential; sizes that are not integers.
        ValueError: sizes below 1; none.
        RuntimeError: a layer cannot take what it gets; it is named.
    """
    sizes = _as_sizes(input_size)
    copy = own_copy(network, "summary", "the network").to("cpu").eval()
    dtypes = [layer.params[key].dtype for _, layer, key in copy.named_params()]
    dtype = dtypes[0] if dtypes else np.dtype(np.float32)
    layers = list(flattened(copy))
    try:
        per_image = [_rows(run_forward(layers, copy.ops, np.zeros((1, *size), dtype))) for _, size in sizes]
    except RuntimeError as error:
        raise RuntimeError(str(error).replace("inspect:", "summary:", 1)) from error
    counts = [count for count, _ in sizes]
    rows = [_together(of_layer, counts) for of_layer in zip(*per_image, strict=True)]
    shapes = [(1, *size) for _, size in sizes]
    parameter_bytes = sum(layer.params[key].nbytes for _, layer, key in copy.named_params())
    return Summary(type(network).__name__, rows, _joined(shapes, sum(counts)), parameter_bytes)


def _as_sizes(input_size: Any) -> list[tuple[int, tuple[int, ...]]]:
    """[(how many, size of one)]"""
    what = "summary: input_size"
    if not isinstance(input_size, (tuple, list)) or not input_size:
        raise TypeError(f"{what}: expected (C, H, W), (N, C, H, W) or a list of (C, H, W), got {input_size!r}")
    if all(isinstance(size, (tuple, list)) for size in input_size):
        return [(1, tuple(as_int(n, what, 1) for n in size)) for size in input_size]
    size = tuple(as_int(n, what, 1) for n in input_size)
    return [(1, size)] if len(size) in (1, 3) else [(size[0], size[1:])]


def _rows(passes: Sequence[LayerPass]) -> list[SummaryRow]:
    rows: list[SummaryRow] = []
    seen: set[Any] = set()
    for one in _every(passes):
        one.dy, one.dx = one.y, one.x  # of their shapes, which is all that is asked for
        if one.ways:  # whose layers have rows of their own
            sums = ResidualReport(one).sums()
            rows.append(SummaryRow(one.name, type(one.layer).__name__, one.y.shape, 0, {}, 0, *sums))
            continue
        report = REPORTS.get(type(one.layer), LayerReport)(one)
        kept = {what: array for what, array in one.kept.items() if array is not None}
        first = {memory_of(array): array.nbytes for array in kept.values() if memory_of(array) not in seen}
        seen |= first.keys()
        reasons = {what: why for what, why, _ in report.keeps() if what in one.kept}
        flops, backward_flops = report.flops()
        n_params = sum(param.size for param, _ in one.params().values())
        kind = type(one.layer).__name__ if isinstance(one.layer, Sequential) else _kind(one.layer)
        rows.append(
            SummaryRow(one.name, kind, one.y.shape, n_params, reasons, sum(first.values()), flops, backward_flops)
        )
    return rows


def _every(passes: Iterable[LayerPass]) -> Iterator[LayerPass]:
    """All passes, those of the ways of a residual before it, which is their sum."""
    for one in passes:
        for way in one.ways:
            yield from _every(way)
        yield one


def _kind(layer: Layer) -> str:
    return repr(layer).replace("kernel_size=", "").removesuffix("()")


def _together(rows: Sequence[SummaryRow], counts: Sequence[int]) -> SummaryRow:
    """One row of the same layer's rows for images of different sizes, so many of each."""

    def total(name: str) -> Any:
        values = [getattr(row, name) for row in rows]
        return None if None in values else sum(n * value for n, value in zip(counts, values, strict=True))

    sums = {name: total(name) for name in ("kept_bytes", "flops", "backward_flops")}
    return rows[0]._replace(output_shape=_joined([row.output_shape for row in rows], sum(counts)), **sums)


def _joined(shapes: Sequence[tuple[int, ...]], n: int) -> tuple[Any, ...]:
    axes = [sorted(set(axis)) for axis in zip(*(shape[1:] for shape in shapes), strict=True)]
    return (n, *(axis[0] if len(axis) == 1 else (axis[0], axis[-1]) for axis in axes))


def _shape(shape: tuple[Any, ...]) -> str:
    return " × ".join(f"{axis[0]}–{axis[1]}" if isinstance(axis, tuple) else str(axis) for axis in shape)


def _bytes(n: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n} B"


def _count(n: int | None) -> str:
    if n is None:
        return "?"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n} "
