"""Which layer belongs to which: two traces side by side, cut into segments."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from minicnn.plain import Array, Pair
from minicnn.verify.compare.trace import LayerCall, MaybeArray, Trace

# What a pair is worth. Names weigh more than order; a name of digits alone ("3") is a place, and no name.
SAME_NAME, ONLY_NAME, SAME_KIND, MAYBE = 6, 3, 2, 1


@dataclass
class Segment:
    """Consecutive calls of one trace, and those of the other that do the same.

    Either a pair of layers, one on each side; or what lies between two pairs: any number of layers on each side, which
    are compared as a whole by what goes in and what comes out.

    here, there: the ranges of calls. is_pair: which of the two it is.
    arrays: of parameters and statistics the full name here -> there.
    """

    here: range
    there: range
    is_pair: bool
    arrays: dict[str, str]


def paired(here: list[LayerCall], there: list[LayerCall]) -> list[Pair]:
    """[(i, j)], call i here with call j there, in rising order on both sides, so that the sum of `worth` is largest."""
    best = np.zeros((len(here) + 1, len(there) + 1), int)
    for i in reversed(range(len(here))):
        for j in reversed(range(len(there))):
            worth_of_pair = worth(here[i], there[j])
            both = best[i + 1, j + 1] + worth_of_pair if worth_of_pair else 0
            best[i, j] = max(best[i + 1, j], best[i, j + 1], both)
    pairs: list[Pair] = []
    i, j = 0, 0
    while i < len(here) and j < len(there):
        worth_of_pair = worth(here[i], there[j])
        if worth_of_pair and best[i, j] == best[i + 1, j + 1] + worth_of_pair:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i, j] == best[i + 1, j]:
            i += 1
        else:
            j += 1
    return pairs


def worth(a: LayerCall, b: LayerCall) -> int:
    """How much speaks for two calls being the same layer; 0 where they cannot be paired."""
    alike = a.kind == b.kind or a.own or b.own
    if a.name == b.name and not a.name.rpartition(".")[2].isdecimal():
        return SAME_NAME if alike else ONLY_NAME
    if a.kind == b.kind:
        return SAME_KIND
    return MAYBE if alike else 0


def array_pairs(
    calls_here: list[LayerCall], calls_there: list[LayerCall], names_there: Iterable[str]
) -> dict[str, str]:
    """{full name here: full name there} of parameters and statistics: those of paired layers by their short names, and
    what belongs to no pair by its full name."""
    found: dict[str, str] = {}
    for i, j in paired(calls_here, calls_there):
        a, b = calls_here[i].owns, calls_there[j].owns
        found |= {a[key]: b[key] for key in a if key in b}
    left = set(names_there) - set(found.values())
    others = [name for call in calls_here for name in call.owns.values() if name not in found]
    return found | {name: name for name in others if name in left}


def segments(here: Trace, there: Trace) -> list[Segment]:
    """The two traces in segments, in forward order. Between pairs there is one wherever something is done there."""
    arrays = array_pairs(here.calls, there.calls, there.before)
    found: list[Segment] = []
    i, j = 0, 0
    for k, m in [*paired(here.calls, there.calls), (len(here.calls), len(there.calls))]:
        between = Segment(range(i, k), range(j, m), False, {})
        if between.here or between.there or does_something(there, between):
            found.append(between)
        if k < len(here.calls):
            found.append(Segment(range(k, k + 1), range(m, m + 1), True, {}))
        i, j = k + 1, m + 1
    for segment in found:
        owned = [name for i in segment.here for name in here.calls[i].owns.values()]
        segment.arrays = {name: arrays[name] for name in owned if name in arrays}
    return found


@dataclass
class Ends:
    """x goes into a segment and y comes out; dy goes in and dx comes out. None where a pass did not get so far."""

    x: MaybeArray
    y: MaybeArray
    dy: MaybeArray
    dx: MaybeArray


def ends(trace: Trace, calls: range, is_pair: bool) -> Ends:
    """The `Ends` of the calls of a segment in one trace."""
    first, last = calls.start, calls.stop
    if is_pair:
        call = trace.calls[first]
        return Ends(call.x, call.y, call.dy, call.dx)
    x, dx = (trace.calls[first - 1].y, trace.calls[first - 1].dy) if first else (trace.setup.x, trace.dx)
    after = trace.calls[last] if last < len(trace.calls) else None
    y, dy = (after.x, after.dx) if after else (trace.output, trace.d_output)
    return Ends(x, y, dy, dx)


def does_something(trace: Trace, segment: Segment) -> bool:
    """Whether anything happens between two pairs that stand next to each other in `trace`."""
    there = ends(trace, segment.there, False)
    return not (same(there.x, there.y) and same(there.dx, there.dy))


def same(a: Array | None, b: Array | None) -> bool:
    """Whether two arrays, or None, are equal bit by bit but for NaN."""
    if a is None or b is None:
        return a is b
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=True)
