"""What a comparison says: a table of the layers, and the first divergence in words; coloured on a terminal."""

import io
from collections.abc import Iterator

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from minicnn.io.html import preformatted
from minicnn.verify.compare.judgement import DIFFERS, FOLLOWS, SAME, Row, segment_name
from minicnn.verify.compare.pairing import Segment, ends, same
from minicnn.verify.compare.settings import differences
from minicnn.verify.compare.trace import Trace

FIRST = "first"
COLUMNS = ("start", "output", "statistics", "dx", "gradient", "step")
LOSS_COLUMNS = ("", "loss", "", "loss gradient", "", "")
MARKS = {FIRST: ">>", DIFFERS: "! ", FOLLOWS: "~ ", SAME: ""}
COLOURS = {FIRST: "bold white on red", DIFFERS: "red", FOLLOWS: "yellow", SAME: "green"}
WIDTH = 120  # of the plain text; its table takes what it needs


class Comparison:
    """Two networks, compared array by array. True where no array differs by a layer's own doing.

    `print` it for a table and, in words, the first divergence.

    Attributes:
        rows: every array that was compared, a `Row` each, in the order of computation.
        first: the first of `rows` that differs by its layer's own doing, or None.
        faults: all such rows. Where the first is mended the others remain, unlike those that only follow.
        here, there: the two traces. segments: which of their layers belong together.
        tolerance: relative to the largest number of an array.
        cause: why the first differs, a sentence; "" where no cause is certain.
    """

    def __init__(
        self, here: Trace, there: Trace, segments: list[Segment], rows: list[Row], tolerance: float, cause: str = ""
    ) -> None:
        self.here, self.there, self.segments, self.rows = here, there, segments, rows
        self.tolerance, self.cause = tolerance, cause
        self.faults = [row for row in rows if row.status == DIFFERS]
        self.first = self.faults[0] if self.faults else None

    def __bool__(self) -> bool:
        return self.first is None

    def __str__(self) -> str:
        text = io.StringIO()
        console = Console(file=text, width=10 * WIDTH, color_system=None, force_terminal=False)
        console.width = max(WIDTH, console.measure(_table(self)).maximum)
        console.print(self)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def __repr__(self) -> str:
        if self.first is None:
            return f"Comparison({len(self.rows)} arrays agree)"
        return f"Comparison(first divergence: {_array_in_words(self.first)})"

    def _repr_html_(self) -> str:
        return preformatted(str(self))

    def __rich__(self) -> Group:
        words: list[Text | Table] = [Text(_headline(self)), _table(self), Text(_legend(self), style="dim")]
        words += [Text(_verdict(self), style=COLOURS[SAME] if self else "bold red")]
        return Group(*words, *(Text(line) for line in _details(self)))


def _headline(comparison: Comparison) -> str:
    setup = comparison.here.setup
    given = {name: value for name, value in setup.optimizer.settings.items() if value or name == "decay_vectors"}
    settings = ", ".join(f"{name}={value}" for name, value in given.items())
    mode = "training" if setup.training else "evaluation"
    return (
        f"here: minicnn    there: {comparison.there.source}    x {setup.x.shape} {setup.x.dtype}, {mode} mode, "
        f"{setup.loss.name}, {setup.optimizer.name}({settings})"
    )


def _table(comparison: Comparison) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("layer")
    table.add_column("kind", overflow="fold")
    for heading in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for position, segment in enumerate(comparison.segments):
        name = segment_name(comparison.here, comparison.there, segment)
        cells = [_cell(comparison, position, what) for what in COLUMNS]
        table.add_row(Text(name), Text(_kinds(comparison, segment)), *cells)
    cells = [_cell(comparison, "loss", what) for what in LOSS_COLUMNS]
    table.add_row(Text("loss"), Text(comparison.here.setup.loss.name), *cells)
    for place in ("no layer", "optimizer"):
        if any(row.layer == place for row in comparison.rows):
            table.add_row(Text(place), "", *(_cell(comparison, place, what) for what in COLUMNS))
    return table


def _cell(comparison: Comparison, position: int | str, what: str) -> Text:
    """The worst row of a layer and a column."""
    rows = [row for row in comparison.rows if row.layer == position and row.what == what]
    if not rows:
        return Text("-" if what else "", style="dim")
    if comparison.first is not None and comparison.first in rows:
        row, status = comparison.first, FIRST
    else:
        worst = [[row for row in rows if row.status == status] for status in (DIFFERS, FOLLOWS, SAME)]
        row = max(next(filter(None, worst)), key=lambda row: row.difference.error)
        status = row.status
    difference = row.difference
    number = difference.problem[0] if difference.problem else f"{difference.error:.1e}" if difference.error else "0"
    return Text(MARKS[status] + number, style=COLOURS[status])


def _kinds(comparison: Comparison, segment: Segment) -> str:
    """ "Conv2d" where both are; else those of both sides, "code" standing for what is computed without a module."""
    here, there = (
        [trace.calls[i].kind for i in calls]
        for trace, calls in ((comparison.here, segment.here), (comparison.there, segment.there))
    )
    if here == there:
        return here[0] if here else "- / code"
    between = ends(comparison.there, segment.there, segment.is_pair)
    code = "-" if same(between.x, between.y) and same(between.dx, between.dy) else "code"
    return f"{_few(here) or '-'} / {_few(there) or code}"


def _few(kinds: list[str]) -> str:
    return " + ".join(kinds) if len(kinds) <= 3 else f"{kinds[0]} + ... + {kinds[-1]}"


def _legend(comparison: Comparison) -> str:
    legend = (
        "Each number is the largest difference, relative to the largest number of the array; allowed are "
        f"{comparison.tolerance:.0e}."
    )
    statuses = {row.status for row in comparison.rows}
    if DIFFERS in statuses:
        legend += "  >> the first divergence  ! differs by itself, also with the other's input"
    if FOLLOWS in statuses:
        legend += "  ~ only follows: with the other's input it agrees"
    if any("code" in _kinds(comparison, segment) for segment in comparison.segments):
        legend += "  code: computed there without a module; what goes in and comes out is compared"
    return legend


def _verdict(comparison: Comparison) -> str:
    if comparison.first is not None:
        return f"First divergence: {_array_in_words(comparison.first)}."
    follow = [row for row in comparison.rows if row.status == FOLLOWS]
    verdict = f"Agree: all {len(comparison.rows)} arrays."
    if follow:
        verdict = (
            f"Agree: {len(comparison.rows) - len(follow)} of {len(comparison.rows)} arrays. Off only because rounding "
            f"before them is magnified, and in agreement when given the same input: {_several(follow)}."
        )
    return verdict


def _details(comparison: Comparison) -> Iterator[str]:
    """The lines below the verdict."""
    first = comparison.first
    if first is not None:
        yield _numbers(first)
        yield _where_to_look(comparison, first)
        if comparison.cause:
            yield f"  {comparison.cause}"
        yield from _both_layers(comparison, first)
        others = [row for row in comparison.faults if row is not first]
        if others:
            yield f"Differ by themselves as well: {_several(others)}."
    yield from _settings(comparison)
    failure = comparison.here.failure
    if failure is not None:
        yield f"The {failure.phase} pass ended there, with {type(failure.error).__name__}: {failure.error}"
    for layer in comparison.there.left_out:
        yield f"Not compared by itself, {layer}."


def _settings(comparison: Comparison) -> Iterator[str]:
    """The settings, and kinds, that differ: of the layer of the first divergence, and elsewhere."""
    elsewhere = []
    for position, segment in enumerate(comparison.segments):
        if not segment.is_pair:
            continue
        here = comparison.here.calls[segment.here.start]
        differ = differences(here, comparison.there.calls[segment.there.start])
        if differ and comparison.first is not None and comparison.first.layer == position:
            yield f"  Settings that differ: {', '.join(differ)}."
        elif differ:
            elsewhere.append(f"{here.name}: {', '.join(differ)}")
    if elsewhere:
        where = "without effect on these numbers" if comparison.first is None else "elsewhere"
        yield f"Settings that differ {where}: {'; '.join(elsewhere)}."


def _array_in_words(row: Row) -> str:
    """ "conv1.weight's gradient"."""
    return {
        "start": f"{row.name} before the step",
        "output": f"the output of {row.name}",
        "statistics": f"{row.name} after the forward pass",
        "loss": "the loss",
        "loss gradient": "the gradient of the loss with respect to the output",
        "gradient": f"the gradient of {row.name}",
        "dx": f"dx of {row.name}",
        "step": f"{row.name} after the step",
    }[row.what]


def _several(rows: list[Row], shown: int = 5) -> str:
    """The first of the arrays by name, and how many more there are."""
    names = ", ".join(_array_in_words(row) for row in rows[:shown])
    return f"{names} and {len(rows) - shown} more" if len(rows) > shown else names


def _numbers(row: Row) -> str:
    difference = row.difference
    if difference.problem:
        return f"  {difference.problem[1]}"
    place = f"at {difference.index}: " if difference.index else ""
    return (
        f"  {place}{difference.here:.9g} here, {difference.there:.9g} there; off by {difference.error:.1e} of the "
        f"largest number, allowed {difference.allowed:.1e}"
    )


def _where_to_look(comparison: Comparison, row: Row) -> str:
    if row.difference.problem and row.difference.problem[0] in ("only here", "only there"):
        return "  The networks are not of the same layers: give both sides the same ones."
    if isinstance(row.layer, int) and not comparison.segments[row.layer].here:
        return "  Something is done there and nothing here."
    return {
        "start": "  They start from different numbers; copy_weights=True (--copy-weights) takes those there for both.",
        "output": "  On the same input, with the same parameters, its forward gives something else.",
        "statistics": "  On the same input, its forward moves the running statistics elsewhere.",
        "loss": "  Of the same output and labels, the loss's forward makes another number.",
        "loss gradient": "  Of the same output and labels, the loss's backward makes another gradient.",
        "gradient": "  From the same dy, input and parameters, its backward makes another gradient of this parameter.",
        "dx": "  From the same dy, input and parameters, its backward makes another dx.",
        "step": "  From the same parameter and gradient, the optimiser makes another step.",
    }[row.what]


def _both_layers(comparison: Comparison, row: Row) -> Iterator[str]:
    """The layers on both sides, where their descriptions may tell why."""
    if not isinstance(row.layer, int) or row.what == "step" or (row.what == "start" and not row.difference.problem):
        return
    segment = comparison.segments[row.layer]
    for side, trace, calls in (("here", comparison.here, segment.here), ("there", comparison.there, segment.there)):
        texts = [f"{trace.calls[i].name} = {trace.calls[i].text}" for i in calls]
        yield f"  {side + ':':<6} {'; '.join(texts) or 'no layer'}"
