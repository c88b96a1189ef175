"""Why an array differs, where that can be shown: by what one side's array is of the other's, or by an experiment.

The experiment: minicnn's own layer of that kind gives one side's result, and with one change, such as a flipped kernel,
it gives the other side's. What fits two reasons, or none, is given none.
"""

from collections.abc import Callable, Iterator
from copy import copy
from typing import Any

import numpy as np

from minicnn.layers import Layer
from minicnn.plain import Array
from minicnn.verify.compare.judgement import Row
from minicnn.verify.compare.layers import KINDS, Replay, as_array, load
from minicnn.verify.compare.pairing import Ends, Segment, ends
from minicnn.verify.compare.trace import MaybeArray, Trace
from minicnn.verify.isolate import own_copy

Changes = dict[str, Callable[[Any], None]]

FEWEST = 4  # numbers that an array needs, so that what it is of another says something
LOOSE = 10  # times the tolerance: what is left of a difference must be rounding, and what is explained is far larger
OF_A_STEP = 1e-3  # of a change of a parameter, which float32 keeps to a few digits

# What an array may be of the other side's, where shapes allow it.
TURNED: dict[str, Callable[[Array], Array]] = {
    "transposed": lambda a: a.T if a.ndim == 2 else a,
    "flipped along its last two axes": lambda a: a[..., ::-1, ::-1] if a.ndim == 4 else a,
    "with its last two axes exchanged": lambda a: a.swapaxes(-1, -2) if a.ndim == 4 else a,
    "with its channels in reverse order": lambda a: a[:, ::-1] if a.ndim == 4 else a,
}


def cause(row: Row, segments: list[Segment], here: Trace, there: Trace, replay: Replay, tolerance: float) -> str:
    """A sentence that says why the array of a row differs; "" where nothing is certain."""
    segment = segments[row.layer] if isinstance(row.layer, int) else None
    mine, theirs = _arrays(row, segment, here, there, replay)
    if mine is None or theirs is None or mine.dtype.kind != "f":
        return ""
    tolerance *= LOOSE
    if row.what == "step":
        return _of_step(row, mine, theirs, there.before[replay.arrays[row.name]])
    found: list[str] = []
    if segment is not None and segment.here:
        found = list(_experiments(row, segment, there, replay, mine, theirs, tolerance))
    if not found and row.what == "statistics" and segment is not None:
        found = list(_of_statistics(row, segment, there, mine, theirs, tolerance))
    if not found:
        found = list(_relations(mine, theirs, len(there.setup.x), tolerance))
    return found[0] if len(found) == 1 else ""


def _arrays(
    row: Row, segment: Segment | None, here: Trace, there: Trace, replay: Replay
) -> tuple[MaybeArray, MaybeArray]:
    """(this side's array, from the other side's numbers where it is computed; the other's)."""
    name, what = row.name, row.what
    if what == "start":
        return here.before.get(name), there.before.get(replay.arrays.get(name, ""))
    if what in ("loss", "loss gradient"):
        value, gradient = replay.loss()
        return (value, np.array(there.loss)) if what == "loss" else (gradient, there.d_output)
    if what == "step":
        after, other = replay.step(), replay.arrays.get(name, "")
        return (after or {}).get(name), there.after.get(other)
    if segment is None:
        return None, None
    at = ends(there, segment.there, segment.is_pair)
    alone = replay.segment(segment, at)
    if what in ("output", "dx"):
        return (alone.y, at.y) if what == "output" else (alone.dx, at.dx)
    mine, theirs = (alone.grads, there.grads) if what == "gradient" else (alone.statistics, there.statistics)
    return mine.get(name), theirs.get(segment.arrays.get(name, ""))


def _near(a: Array, b: Array, tolerance: float) -> bool:
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    return bool(b.any() and np.abs(a - b).max() <= tolerance * np.abs(b).max())


def _relations(mine: Array, theirs: Array, images: int, tolerance: float) -> Iterator[str]:
    """What the one array is of the other, in sentences."""
    mine, theirs = mine.astype(np.float64), theirs.astype(np.float64)
    if mine.size >= FEWEST:
        for how, turned in TURNED.items():
            if _near(mine, turned(theirs), tolerance) and not _near(mine, theirs, tolerance):
                yield f"It is here what it is there, {how}."
    if mine.shape != theirs.shape or not theirs.any() or not np.isfinite(mine).all():
        return
    factor = float(np.vdot(theirs, mine) / np.vdot(theirs, theirs))
    if abs(factor - 1) <= tolerance or not np.abs(mine - factor * theirs).max() <= tolerance * np.abs(mine).max():
        return
    as_many = next((n for n in (images, 1 / images) if n != 1 and abs(factor / n - 1) <= tolerance), None)
    if as_many is not None:
        sum_here = "here, and a mean there" if as_many > 1 else "there, and a mean here"
        yield f"It is here {factor:.6g} times what it is there, with {images} images: as if it were a sum {sum_here}."
    elif mine.size >= FEWEST:
        yield "It is 0 here." if factor == 0 else f"It is here {factor:.6g} times what it is there, in every number."


def _of_step(row: Row, mine: Array, theirs: Array, before: Array) -> str:
    """Of the changes of a parameter that two optimisers make."""
    here, there = (after.astype(np.float64) - before for after in (mine, theirs))
    if here.size < FEWEST or here.shape != there.shape or not there.any() or not np.isfinite(here).all():
        return ""
    for what, a, b in (
        ("The step is {} times as long here.", here, there),
        ("The steps differ by {} times the parameter, as with another weight decay.", here - there, before),
    ):
        factor = float(np.vdot(b, a) / max(np.vdot(b, b), 1e-300))
        if np.abs(a - factor * b).max() <= OF_A_STEP * np.abs(a).max():
            return what.format(f"{factor:.4g}")
    return ""


def _of_statistics(
    row: Row, segment: Segment, there: Trace, mine: Array, theirs: Array, tolerance: float
) -> Iterator[str]:
    """Of the running statistics of a batchnorm: the momentum, and by what the variance is divided."""
    x, before = ends(there, segment.there, segment.is_pair).x, there.before[segment.arrays[row.name]]
    if x.ndim != 4 or before.shape != (x.shape[1],) or not row.name.endswith(("running_mean", "running_var")):
        return
    x, count = x.astype(np.float64), x.size // x.shape[1]
    targets = {"": x.mean(axis=(0, 2, 3))}
    if row.name.endswith("running_var"):
        biased = x.var(axis=(0, 2, 3))
        targets = {"": biased * count / max(count - 1, 1), ", with a variance divided by n and not n - 1": biased}
    found: dict[str, str] = {}
    for side, after in (("here", mine), ("there", theirs)):
        for how, target in targets.items():
            way = target - before
            momentum = float(np.vdot(way, after - before) / max(np.vdot(way, way), 1e-300))
            if len(way) > 1 and np.abs(after - before - momentum * way).max() <= tolerance * np.abs(after).max():
                found.setdefault(side, f"{momentum:.4g}{how}")
    if len(found) == 2 and found["here"] != found["there"]:
        yield f"It moves as if momentum were {found['here']} here, and {found['there']} there."


# Experiments


def _experiments(
    row: Row, segment: Segment, there: Trace, replay: Replay, mine: Array, theirs: Array, tolerance: float
) -> Iterator[str]:
    """What the framework's own layer gives with one change, where that is one side's and without it the other's."""
    layer, at = replay.layers[segment.here.start], ends(there, segment.there, segment.is_pair)
    kind = next((kind for kind, cls in KINDS.items() if isinstance(layer, cls)), None)
    if kind is None or len(segment.here) > 1 or row.what not in ("output", "dx", "gradient"):
        return
    load(replay.network, segment.arrays, there.before)  # batchnorm's statistics have moved since
    key = row.name.rpartition(".")[2]
    plain = _result(layer, kind, at, row.what, key, None)
    if plain is None or mine.shape != theirs.shape:
        return
    for side, other, target in (("here", theirs, mine), ("there", mine, theirs)):
        if not _near(plain, other, tolerance) or _near(plain, target, tolerance):
            continue
        for what, change in _changes(kind, layer, at, target, row.what).items():
            changed = _result(layer, kind, at, row.what, key, change)
            if changed is not None and not _near(changed, plain, tolerance) and _near(changed, target, tolerance):
                yield f"It is {side} what {kind} gives if {what}."
        if kind == "ReLU" and row.what == "output":
            yield from (f"{what} {side}." for what in _of_relu(at.x, target, tolerance))


def _result(layer: Layer, kind: str, at: Ends, what: str, key: str, change: Callable[[Any], None] | None) -> MaybeArray:
    """The output, dx or gradient of the framework's own layer with the settings and arrays of `layer`, changed before
    forward where the output is asked for, else before backward. None where it fails."""
    own: Any = KINDS[kind].__new__(KINDS[kind])
    try:
        own.__dict__.update(own_copy(layer, "compare", kind).__dict__)
        if change is not None and what == "output":
            change(own)
        y = own.forward(own.ops.asarray(at.x.copy()))
        if what == "output":
            return as_array(own.ops, y).astype(np.float64)
        if change is not None:
            change(own)
        dx = own.backward(own.ops.asarray(at.dy.copy()))
        return as_array(own.ops, dx if what == "dx" else own.grads[key]).astype(np.float64)
    except Exception:
        return None  # a change that this layer does not allow, such as a transposed weight that is no square


def _changes(kind: str, layer: Layer, at: Ends, target: Array, what: str) -> Changes:
    """The changes that are tried, by their names."""
    found: Changes = {}
    if kind in ("Conv2d", "Linear", "BatchNorm2d") and what == "output":
        found["its bias is left out"] = lambda own: own.params.update(bias=np.zeros_like(own.params["bias"]))
    if kind == "Linear":
        found["its weight is transposed"] = lambda own: own.params.update(weight=own.params["weight"].T.copy())
    if kind == "Conv2d":
        found["its kernel is flipped"] = _turning("flipped along its last two axes")
        found["rows and columns of its kernel are exchanged"] = _turning("with its last two axes exchanged")
        found["its input channels are taken in reverse order"] = _turning("with its channels in reverse order")
    if kind == "BatchNorm2d":
        found |= _of_batchnorm(layer, at, target, what)
    return found


def _turning(how: str) -> Callable[[Any], None]:
    def turn(own: Any) -> None:
        own.params["weight"] = np.ascontiguousarray(TURNED[how](own.params["weight"]))

    return turn


def _of_batchnorm(layer: Any, at: Ends, target: Array, what: str) -> Changes:
    def without_weight(own: Any) -> None:
        own.params["weight"] = np.ones_like(own.params["weight"])

    if what != "output":

        def as_constants(own: Any) -> None:
            own.memory = copy(own.memory)
            own.memory.training = False

        return {"its weight is left out": without_weight, "its statistics are taken for constants": as_constants}
    statistics = "the running statistics" if layer.training else "the statistics of the batch"

    def unbiased(own: Any) -> None:
        count = at.x.size // at.x.shape[1]
        mean, var = own.ops.batchnorm2d_statistics(own.ops.asarray(at.x.copy()))
        own.use(batchnorm2d_statistics=lambda x: (mean, var * var.dtype.type(count / (count - 1))))

    found: Changes = {
        "its weight is left out": without_weight,
        f"{statistics} are used": lambda own: own.train(not own.training),
        "the variance is divided by n - 1": unbiased,
    }
    eps = _eps(layer, at.x.astype(np.float64), target)
    if eps is not None:
        found[f"eps is {eps:.3g}"] = lambda own: setattr(own, "eps", eps)
    return found


def _eps(layer: Any, x: Array, y: Array) -> float | None:
    """The eps with which a batchnorm makes y of x, to three digits; None where there is none, or where variances are
    so much alike that a factor would look like one."""
    std, stretched = x.std(axis=(0, 2, 3)), y.std(axis=(0, 2, 3))
    var = std**2 if layer.training else layer.ops.to_numpy(layer.state["running_var"]).astype(np.float64)
    usable = (std > 0) & (stretched > 0)
    if not usable.any() or var[usable].max() < 1.1 * var[usable].min():
        return None
    weight = layer.ops.to_numpy(layer.params["weight"]).astype(np.float64)
    found = np.median(((weight * std)[usable] / stretched[usable]) ** 2 - var[usable])
    return float(f"{found:.3g}") if found > 0 else None


def _of_relu(x: Array, y: Array, tolerance: float) -> Iterator[str]:
    """What somebody has in place of a relu."""
    x, below = x.astype(np.float64), x < 0
    if not below.any() or below.all():
        return
    slope, largest = float(np.median(y[below] / x[below])), float(y.max())
    if abs(slope) > tolerance and _near(np.where(below, slope * x, x), y, tolerance):
        yield f"Numbers below 0 are multiplied by {slope:.3g}"
    if (x > largest).sum() > 1 and _near(np.clip(x, 0, largest), y, tolerance):
        yield f"Numbers are cut off at {largest:.3g}"
