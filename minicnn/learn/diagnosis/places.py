"""Where it is wrong: in which cases, and at which of their numbers.

A property of cases or of numbers is named where it divides what is wrong from what is right, in everything that was
tried. What holds of the wrong ones alone is said as that.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from minicnn.learn.diagnosis.agreement import differing
from minicnn.learn.diagnosis.axes import WORDS, axis, sizes
from minicnn.learn.diagnosis.evidence import Evidence, Observed
from minicnn.plain import Array

Named: TypeAlias = Mapping[str, Any]


def which_cases(evidence: Evidence) -> str | None:
    """The sentence that divides the cases that are wrong from those that are right; None where there is none."""
    properties = [dict(_properties(evidence.task, evidence.named(case))) for case in evidence.cases]
    wrong = [not all(case.is_right(name) for name in case.expected) for case in evidence.cases]
    if all(wrong) or not any(wrong):
        return None
    best = None
    for words in properties[0]:
        having = [each.get(words, False) for each in properties]
        if not any(having) or not all(has for has, bad in zip(having, wrong, strict=True) if bad):
            continue
        right_without = sum(not has for has in having)
        exact = all(has == bad for has, bad in zip(having, wrong, strict=True))
        if right_without and (best is None or (exact, right_without) > best[:2]):
            best = exact, right_without, words
    if best is None:
        return None
    exact, _, words = best
    if exact:
        return f"Of the cases tried, all with {words} are wrong, and all others right."
    return f"All wrong cases have {words}; without that, every case tried is right."


def _properties(task: str, named: Named) -> Iterator[tuple[str, bool]]:
    """What may be said of a case: words to follow "with", and whether it is so."""
    lengths = sizes(task, named)
    for letter, words in WORDS.items():
        if letter in lengths:
            singular = words[:-2] if words.endswith("sses") else words.removesuffix("s")
            yield f"more than one {singular} ({letter} > 1)", lengths[letter] > 1
            yield f"one {singular} ({letter} = 1)", lengths[letter] == 1
    for one, other in (("H", "W"), ("OH", "OW"), ("K", "D"), ("N", "K")):
        if one in lengths and other in lengths:
            yield f"{one} and {other} of different sizes", lengths[one] != lengths[other]
    for name, value in named.items():
        if isinstance(value, tuple) and len(value) == 2:
            yield f"a {name} above 1", max(value) > 1
            yield f"a {name} above 0", max(value) > 0
            yield f"a {name} of 0", min(value) == 0
            yield f"{name} of two different numbers", value[0] != value[1]
            yield f"a vertical {name} above 1", value[0] > 1
            yield f"a horizontal {name} above 1", value[1] > 1
            yield f"a vertical {name} above 0", value[0] > 0
            yield f"a horizontal {name} above 0", value[1] > 0
        elif isinstance(value, (bool, np.bool_)):
            yield f"{name} = True", bool(value)
            yield f"{name} = False", not value
        elif isinstance(value, (int, float)):
            yield f"{name} above 1", value > 1
            yield f"{name} above 0", value > 0
            yield f"{name} = 1", value == 1
            yield f"{name} = 0", value == 0
        elif isinstance(value, np.ndarray) and value.dtype.kind == "f":
            yield f"numbers of {name} that are not 0", bool(value.any())
            yield f"zeros in {name}", not value.all()
            if name == "x":
                yield "numbers of x beyond ±700", bool(np.abs(value).max(initial=0) > 700)
            if value.ndim == 1:
                yield f"numbers of {name} that are not all equal", len(set(value.tolist())) > 1
    yield from _of_windows(named)
    yield from _of_objects(named)


def _of_windows(named: Named) -> Iterator[tuple[str, bool]]:
    if "rows" in named:
        tables = named["rows"], named["columns"]
        yield "windows that overlap", any((table[:-1, 1] > table[1:, 0]).any() for table in tables)
        yield "windows of different extents", any(len(set(table[:, 2].tolist())) > 1 for table in tables)
        yield (
            "windows that reach into the padding",
            any((table[:, 2] > table[:, 1] - table[:, 0]).any() for table in tables),
        )
        yield "windows in more than one row", len(tables[0]) > 1
        yield "extents of rows and columns that differ", tables[0][0, 2] != tables[1][0, 2]
    if "argmax" in named:
        flat = named["argmax"].reshape(-1, named["argmax"].shape[-2] * named["argmax"].shape[-1])
        yield "a cell that wins twice", any(len(set(plane.tolist())) < len(plane) for plane in flat)
    if "n_out" in named:
        yield "n_in / n_out not whole", named["n_in"] % named["n_out"] > 0
        yield "more windows than cells", named["n_out"] > named["n_in"]
        yield "more cells than windows", named["n_in"] > named["n_out"]


def _of_objects(named: Named) -> Iterator[tuple[str, bool]]:
    """Of a loss or a network among the arguments."""
    itself: Any = named.get("self")
    if hasattr(itself, "label_smoothing"):
        yield "label smoothing", itself.label_smoothing > 0
        yield "class weights", itself.weight is not None
    if "need_dx" in named or hasattr(itself, "children"):
        yield "need_dx = False", named.get("need_dx") is False
    if hasattr(itself, "children"):
        yield "more than one layer", len(itself.children) > 1
        yield "one layer", len(itself.children) == 1


def which_numbers(evidence: Evidence, name: str) -> str | None:
    """The sentence that divides the wrong numbers of a result from the right ones; None where there is none."""
    cases = [case for case in evidence.cases if name in case.expected and case.got is not None and name in case.got]
    if any(case.expected[name].shape != case.got[name].shape for case in cases if case.got):
        return None
    wrong = [differing(case.expected[name], case.got[name]) for case in cases if case.got]
    whole = [bool(mask.all()) for mask in wrong if mask.any()]
    if not whole or all(whole):
        return None
    by_size = _threshold(evidence, name, cases, wrong)
    if by_size is not None:
        return by_size
    best = None
    for words in dict.fromkeys(word for case in cases for word in _places(evidence, case, name)):
        places = [_places(evidence, case, name).get(words, lambda: None)() for case in cases]
        if any(place is None and mask.any() for place, mask in zip(places, wrong, strict=True)):
            continue
        marked = [np.zeros_like(mask) if place is None else place for place, mask in zip(places, wrong, strict=True)]
        if any((mask & ~place).any() for mask, place in zip(wrong, marked, strict=True)):
            continue
        of_wrong = [(mask, place) for mask, place in zip(wrong, marked, strict=True) if mask.any()]
        right_outside = sum(int((~place & ~mask).sum()) for mask, place in of_wrong)
        exact = all((mask == place).all() for mask, place in zip(wrong, marked, strict=True))
        n_numbers = sum(mask.size for mask, _ in of_wrong)
        # A place that has nearly all numbers, as the border of a 3 × 3 kernel, says nothing if some in it are right.
        if (
            right_outside
            and (exact or 4 * right_outside >= n_numbers)
            and (best is None or (exact, right_outside) > best[:2])
        ):
            best = exact, right_outside, words
    if best is None:
        return None
    exact, _, words = best
    if exact:
        return f"In the cases tried, of {name} the numbers {words} are wrong, and no others."
    return f"In the cases tried, of {name} only numbers {words} are wrong, and not all of them."


Place: TypeAlias = Callable[..., Array]


def _places(evidence: Evidence, case: Observed, name: str) -> dict[str, Place]:
    """Words for parts of a result, and the mask of each."""
    expected, named = case.expected[name], evidence.named(case)
    found: dict[str, Place] = {}

    def along(position: int, index: slice) -> Array:
        mask = np.zeros(expected.shape, bool)
        mask[(slice(None),) * position + (index,)] = True
        return mask

    for position in range(expected.ndim):
        what = axis(evidence.task, name, position)
        if what.startswith("axis"):
            continue
        for words, index in (
            (f"in the first of the {what}", slice(0, 1)),
            (f"in the last of the {what}", slice(-1, None)),
            (f"after the first of the {what}", slice(1, None)),
            (f"before the last of the {what}", slice(0, -1)),
        ):
            found[words] = lambda p=position, i=index: along(p, i)
    if expected.ndim >= 3:
        found["at the border"] = lambda: (
            along(expected.ndim - 2, slice(0, 1))
            | along(expected.ndim - 2, slice(-1, None))
            | along(expected.ndim - 1, slice(0, 1))
            | along(expected.ndim - 1, slice(-1, None))
        )
    for other, value in named.items():
        if isinstance(value, np.ndarray) and value.shape == expected.shape and value.dtype.kind == "f":
            found[f"where {other} is 0"] = lambda v=value: v == 0
            found[f"where {other} is negative"] = lambda v=value: v < 0
            found[f"where {other} is positive"] = lambda v=value: v > 0
    found["that should be 0"] = lambda: expected == 0
    return found | _of_labels(named, expected) | _of_cells(named, expected)


def _of_labels(named: Named, expected: Array) -> dict[str, Place]:
    if "targets" not in named:
        return {}
    hit = named["targets"][:, None] == np.arange(expected.shape[1])
    present = np.broadcast_to(hit.any(axis=0), expected.shape)
    return {
        "of each image's own class": lambda: hit,
        "of the classes that are not the image's own": lambda: ~hit,
        "of classes that some image of the batch has": lambda: present,
    }


def _of_cells(named: Named, expected: Array) -> dict[str, Place]:
    """Of images under windows: cells in several windows, one, or none; and windows that reach into the padding."""
    if "rows" not in named or expected.ndim != 4:
        return {}
    rows, columns = named["rows"], named["columns"]
    if "input_size" not in named:
        cut_h, cut_w = (table[:, 2] > table[:, 1] - table[:, 0] for table in (rows, columns))
        cut = np.broadcast_to(cut_h[:, None] | cut_w[None, :], expected.shape)
        return {"of windows that reach into the padding": lambda: cut}
    many_h, many_w = (
        ((cells >= table[:, :1]) & (cells < table[:, 1:2])).sum(axis=0)
        for table, cells in zip((rows, columns), map(np.arange, named["input_size"]), strict=True)
    )
    over = np.broadcast_to(np.outer(many_h, many_w), expected.shape)
    found: dict[str, Place] = {
        "of cells in more than one window": lambda: over > 1,
        "of cells in exactly one window": lambda: over == 1,
    }
    if "argmax" in named:
        wins = _wins(named["argmax"], expected)
        found["of cells that win more than one window"] = lambda: wins > 1
        found["of cells that win a window"] = lambda: wins > 0
        found["of cells that win no window"] = lambda: wins == 0
    return found


def _wins(argmax: Array, expected: Array) -> Array:
    wins = np.zeros((*expected.shape[:2], expected[0, 0].size), int)
    n, c = np.ogrid[: len(expected), : expected.shape[1]]
    np.add.at(wins, (n[:, :, None], c[:, :, None], argmax.reshape(*argmax.shape[:2], -1)), 1)
    return wins.reshape(expected.shape)


def _threshold(evidence: Evidence, name: str, cases: list[Observed], wrong: list[Array]) -> str | None:
    """An argument whose numbers are larger, or smaller, wherever the result is wrong."""
    for other, value in evidence.named(cases[0]).items():
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            continue
        values = [evidence.named(case)[other] for case in cases]
        if any(array.shape != mask.shape for array, mask in zip(values, wrong, strict=True)):
            continue
        where = [case.expected[name] != 0 for case in cases]  # elsewhere it may be right by chance
        bad = np.concatenate([array[mask & here] for array, mask, here in zip(values, wrong, where, strict=True)])
        good = np.concatenate([array[~mask & here] for array, mask, here in zip(values, wrong, where, strict=True)])
        if not bad.size or not good.size or any((mask & ~here).any() for mask, here in zip(wrong, where, strict=True)):
            continue
        head = f"Of the numbers of {name} that should not be 0, those where {other} is"
        if bad.min() > good.max():
            return f"{head} {bad.min():.4g} or more are wrong; where it is {good.max():.4g} or less, none is."
        if bad.max() < good.min():
            return f"{head} {bad.max():.4g} or less are wrong; where it is {good.min():.4g} or more, none is."
    return None
