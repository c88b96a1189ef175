"""Two traces held against each other, array by array, in the order of computation.

An array agrees where no number is off by more than the tolerance times a scale, the largest magnitude of the other
side's array. Where that would ask for more digits than there are, the scale is a larger one:

    gradient of a parameter   the largest gradient of its layer's parameters; and where a batchnorm follows, at once or
                              behind relus and poolings, what rounding makes of a sum over all pixels of its dx, which
                              is truly 0 for a bias
    running mean              the same: it is truly 0 behind another batchnorm
    output of batchnorm       what rounding of x becomes in it: the pixels of a channel may differ in their last digits
    output of avg pooling     what rounding of x makes of a mean, which is truly 0 over all pixels behind a batchnorm
    dx of batchnorm           the largest of dy * slope, slope = weight / sqrt(var + eps): it is a difference of such
    dx of log-softmax         the largest of dy, for the same reason
    gradient of the loss      1 / N
    loss                      1
    after the step            the largest change of the layer's parameters; and four times the number's own rounding
    a convolution in float32  three times the largest: Winograd's algorithm is off by 1e-5 on its own

Who is to blame for an array that does not agree? The layer is run once more, alone, with the *other side's* input,
parameters and dy. If it then gives the other side's result, the difference came in from outside and the array
"follows"; if not, it "differs" by the layer's own doing. That also settles where rounding is magnified: an input that
is 1e-9 here and -1e-9 there gives a relu another gradient, a gradient that is 0 but for rounding gives Adam another
step.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from minicnn.plain import Array
from minicnn.verify.compare.difference import Difference, measured
from minicnn.verify.compare.layers import Replay
from minicnn.verify.compare.pairing import Ends, Segment, ends
from minicnn.verify.compare.rounding import (
    PASSING,
    ROUNDINGS,
    floor_of_dx,
    floor_of_mean,
    floor_of_output,
    floor_of_sum,
    largest,
)
from minicnn.verify.compare.trace import MaybeArray, Trace

SAME, DIFFERS, FOLLOWS = "same", "differs", "follows"
WINOGRAD = 3  # times the tolerance; errors of 1.1e-5 of the largest were measured


@dataclass(frozen=True)
class Row:
    """One array, compared.

    layer: its segment, a position in `Comparison.segments`; or "loss", "optimizer", "no layer".
    name: of the layer, or in full of the array.
    what: "start", "output", "statistics", "loss", "loss gradient", "gradient", "dx" or "step".
    status: "same", "differs" (by its own doing) or "follows" (from what came before, or from rounding).
    """

    layer: int | str
    name: str
    what: str
    status: str
    difference: Difference


def judged(here: Trace, there: Trace, segments: list[Segment], replay: Replay, tolerance: float) -> list[Row]:
    """The `Row`s of two traces, in the order of computation; `replay` runs this side on the other's numbers."""
    rows = list(_Judge(here, there, segments, replay, tolerance).rows())
    if here.failure and not any(row.status == DIFFERS for row in rows):
        # It failed once and not again on the other's numbers: still not a network that agrees.
        rows = [replace(row, status=DIFFERS) if row.difference.problem else row for row in rows]
    return rows


class _Judge:
    def __init__(self, here: Trace, there: Trace, segments: list[Segment], replay: Replay, tolerance: float) -> None:
        self.here, self.there, self.replay, self.tolerance = here, there, replay, tolerance
        self.segments = [
            (position, segment, ends(here, segment.here, segment.is_pair), ends(there, segment.there, segment.is_pair))
            for position, segment in enumerate(segments)
        ]
        self.with_winograd = {
            position
            for position, segment in enumerate(segments)
            if here.setup.x.dtype == np.float32 and any(there.calls[j].kind == "Conv2d" for j in segment.there)
        }

    def rows(self) -> Iterator[Row]:
        for segment in self.segments:
            yield from self._start(*segment)
        yield from self._only_there()
        for segment in self.segments:
            yield from self._forward(*segment)
        yield from self._loss()
        for segment in reversed(self.segments):
            yield from self._backward(*segment)
        yield from self._step()

    def _row(
        self,
        layer: int | str,
        name: str,
        what: str,
        here: Array,
        there: Array,
        alone: Callable[[], MaybeArray],
        floor: float = 0.0,
        limit: float | Array | None = None,
    ) -> Row:
        """One row. `alone` gives, if asked, what `here` is on the other's numbers: None where it failed, and `there`
        itself where there is no saying."""
        unit = max(largest(there), floor)
        if limit is None:
            winograd = layer in self.with_winograd and what in ("output", "dx", "gradient")
            limit = self.tolerance * unit * (WINOGRAD if winograd else 1)
        if there.dtype.kind != "f":
            limit = 0
        difference = measured(here, there, limit, unit)
        if difference.agrees:
            return Row(layer, name, what, SAME, difference)
        array = alone()
        follows = array is not None and measured(array, there, limit, unit).agrees
        return Row(layer, name, what, FOLLOWS if follows else DIFFERS, difference)

    def _start(self, position: int, segment: Segment, *_: Ends) -> Iterator[Row]:
        for i in segment.here:
            for name in self.here.calls[i].owns.values():
                if name in segment.arrays:
                    here, there = self.here.before[name], self.there.before[segment.arrays[name]]
                    yield self._row(position, name, "start", here, there, lambda: None)
                else:
                    yield Row(position, name, "start", DIFFERS, _problem("only here", "there is no such array there"))

    def _only_there(self) -> Iterator[Row]:
        matched = {name for _, segment, *_ in self.segments for name in segment.arrays.values()}
        owners = {
            name: position
            for position, segment, *_ in self.segments
            for j in segment.there
            for name in self.there.calls[j].owns.values()
        }
        for name in self.there.before:
            if name not in matched:
                problem = _problem("only there", "there is no such array here")
                yield Row(owners.get(name, "no layer"), name, "start", DIFFERS, problem)

    def _forward(self, position: int, segment: Segment, here: Ends, there: Ends) -> Iterator[Row]:
        if here.x is None:
            return
        name = self._name(segment)
        if here.y is None:
            yield self._failed(position, name, "output", lambda: self.replay.segment(segment, there).y)
            return
        alone = lambda: self._alone(segment, there, "y", there.y)  # noqa: E731
        floor = floor_of_output(self._kinds(segment), there, self.tolerance)
        yield self._row(position, name, "output", here.y, there.y, alone, floor=floor)
        for mine, other in segment.arrays.items():
            if mine in self.here.statistics and other in self.there.statistics:
                floor = floor_of_mean(there, self.tolerance) if mine.endswith("running_mean") else 0.0
                yield self._of_array(position, segment, there, mine, "statistics", floor)

    def _loss(self) -> Iterator[Row]:
        here, there = self.here, self.there
        if here.output is None:
            return
        if here.d_output is None:
            yield self._failed("loss", "loss", "loss", lambda: self.replay.loss()[1])
            return
        values = np.array(here.loss), np.array(there.loss)
        yield self._row("loss", "loss", "loss", *values, lambda: self.replay.loss()[0], floor=1.0)
        floor = 1 / len(there.output)
        gradients = here.d_output, there.d_output
        yield self._row("loss", "loss", "loss gradient", *gradients, lambda: self.replay.loss()[1], floor=floor)

    def _backward(self, position: int, segment: Segment, here: Ends, there: Ends) -> Iterator[Row]:
        if here.dy is None:
            return
        for mine in segment.arrays:
            if mine not in self.here.statistics and self.here.before[mine].dtype.kind == "f":
                yield from self._gradient(position, segment, here, there, mine)
        name, alone = self._name(segment), lambda: self._alone(segment, there, "dx", there.dx)
        if here.dx is None:
            yield self._failed(position, name, "dx", lambda: self.replay.segment(segment, there).dx)
        elif there.dx is not None:
            yield self._row(
                position,
                name,
                "dx",
                here.dx,
                there.dx,
                alone,
                floor=floor_of_dx(self._kind(segment), there, self.tolerance),
            )
        elif there.dy is not None:
            yield Row(position, name, "dx", DIFFERS, _problem("missing", "no gradient comes back from it there"))

    def _gradient(self, position: int, segment: Segment, here: Ends, there: Ends, mine: str) -> Iterator[Row]:
        other = segment.arrays[mine]
        if mine in self.here.grads and other in self.there.grads:
            gradients = [self.there.grads[name] for name in segment.arrays.values() if name in self.there.grads]
            floor = max(*map(largest, gradients), self._floor_of_sum(position, there, other))
            yield self._of_array(position, segment, there, mine, "grads", floor)
        elif mine in self.here.grads:
            problem = "it has no gradient there: it is not learned (requires_grad), or does not lead to the loss"
            yield Row(
                position, mine, "gradient", FOLLOWS if there.dy is None else DIFFERS, _problem("missing", problem)
            )
        elif here.dx is not None:
            yield Row(position, mine, "gradient", DIFFERS, _problem("missing", "backward assigned no gradient here"))

    def _step(self) -> Iterator[Row]:
        if self.here.failure and self.here.failure.phase == "optimizer":
            yield self._failed("optimizer", "optimizer", "step", lambda: None)
        rounding = ROUNDINGS * np.finfo(self.here.setup.x.dtype).eps
        for position, segment, *_ in self.segments:
            changes = {
                other: largest(self.there.after[other] - self.there.before[other])
                for other in segment.arrays.values()
                if other in self.there.after
            }
            for mine, other in segment.arrays.items():
                if mine in self.here.after and other in changes:
                    after = self.there.after[other]
                    limit = self.tolerance * max(changes.values()) + rounding * np.abs(after)
                    alone = partial(self._step_alone, mine, after)
                    yield self._row(position, mine, "step", self.here.after[mine], after, alone, limit=limit)

    def _step_alone(self, mine: str, expected: Array) -> MaybeArray:
        alone = self.replay.step()
        return None if alone is None else alone.get(mine, expected)

    def _of_array(self, position: int, segment: Segment, there: Ends, mine: str, which: str, floor: float = 0.0) -> Row:
        """The row of a statistic or gradient, `which` being the traces' and `Alone`'s name for them."""
        here, other = getattr(self.here, which)[mine], getattr(self.there, which)[segment.arrays[mine]]
        what = "gradient" if which == "grads" else which
        alone = self._alone
        return self._row(position, mine, what, here, other, lambda: alone(segment, there, which, other, mine), floor)

    def _alone(
        self, segment: Segment, there: Ends, which: str, expected: MaybeArray, name: str | None = None
    ) -> MaybeArray:
        """What this side's layers give on the other's numbers; `expected` where its parameters do not fit in there."""
        alone = self.replay.segment(segment, there)
        if not alone.fits:
            return expected
        found = getattr(alone, which)
        return found if name is None else found.get(name)

    def _failed(self, layer: int | str, name: str, what: str, alone: Callable[[], MaybeArray]) -> Row:
        """The row of what was not computed, because something raised."""
        failure = self.here.failure
        assert failure is not None  # or it would have been computed
        problem = _problem("fails", f"it fails here with {type(failure.error).__name__}: {failure.error}")
        return Row(layer, name, what, DIFFERS if alone() is None else FOLLOWS, problem)

    def _kind(self, segment: Segment) -> str | None:
        return self.there.calls[segment.there.start].kind if segment.is_pair else None

    def _kinds(self, segment: Segment) -> set[str]:
        return {self.here.calls[i].kind for i in segment.here} | {self.there.calls[j].kind for j in segment.there}

    def _floor_of_sum(self, position: int, there: Ends, name: str) -> float:
        _, segment, *_ = self.segments[position]
        after, after_ends = None, None
        for _, following, _, following_ends in self.segments[position + 1 :]:
            after, after_ends = self._kind(following), following_ends
            if not self._kinds(following) <= PASSING:
                break
        floor = floor_of_sum(self._kind(segment), there, after, after_ends, self.tolerance)
        return floor * (largest(there.x) if self.there.before[name].ndim > 1 else 1.0)

    def _name(self, segment: Segment) -> str:
        return segment_name(self.here, self.there, segment)


def segment_name(here: Trace, there: Trace, segment: Segment) -> str:
    """The names of this side's layers; where there are none, of the other's, or of the layers it lies between."""
    for trace, calls in ((here, segment.here), (there, segment.there)):
        if calls:
            first, last = trace.calls[calls.start].name, trace.calls[calls.stop - 1].name
            return first if len(calls) == 1 else f"{first} to {last}"
    before = here.calls[segment.here.start - 1].name if segment.here.start else "the input"
    after = here.calls[segment.here.stop].name if segment.here.stop < len(here.calls) else "the output"
    return f"{before} to {after}"


def _problem(word: str, sentence: str) -> Difference:
    return Difference(False, problem=(word, sentence))
