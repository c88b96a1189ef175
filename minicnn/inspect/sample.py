"""What of the large arrays goes into the page, and what is left out.

A page of more than some megabytes is no pleasure to open. Where the arrays of a record take more, they are cut: to
fewer images, the first ones; then to fewer channels, those with the largest gradient; then to a rectangle in the
middle of each map. An array is always cut to a product of index lists, one for each axis, and arrays that are read
together are cut together: an activation like its gradient, a weight like the channels of its input and output. So a
product of two numbers in the page belongs to a sum in the page, and what the other terms come to can be said: `Rest`.
"""

import base64
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minicnn.plain import Array

# How an axis of an array is cut: like axis a of activation k, written (k, a); or one of these.
Axis: TypeAlias = tuple[int, int] | str
WHOLE = "whole"  # never, such as the taps of a kernel
FIRST = "first"  # to its first indices, such as the weights of a layer of which nothing is known

MIDDLE = 8  # a map's sides are not cut below this before the channels are cut to one
STAGES = (("images", 1), ("channels", 8), ("side", 16), ("channels", 1), ("side", 1))


Kept: TypeAlias = dict[Axis, list[int]]  # the indices kept of the axes of activations that are cut
Chosen: TypeAlias = Sequence[Sequence[int] | None]  # of each axis of an array the indices kept, None for all


class Limits(NamedTuple):
    """The most that is kept: images, channels of an activation, and cells on a side of the largest map."""

    images: int
    channels: int
    side: int


@dataclass
class Shown:
    """What the choice of channels asks of an activation.

    channels: "own" where they are new in this activation, "like input" where channel c of the input became channel c,
    "flattened" where axis 1 is all axes but the first of the input.
    """

    shape: tuple[int, ...]
    strength: Array  # like the activation: its gradient
    channels: str


@dataclass
class Part:
    """An array of the record, and how each of its axes is cut."""

    array: Array
    axes: tuple[Axis, ...]

    def is_shown(self, cut: "Cut") -> bool:
        return True

    def numbers(self, cut: "Cut") -> Array:
        return self.array


@dataclass
class Rest:
    """The part of sums that is made by the terms left out of the page.

    like: the `Part` of the sums, of the same shape and cut alike.
    terms: the axes that the sums run over. Where none of them is cut there is no rest.
    compute: function of a `Cut`, the rests.
    """

    like: Part
    terms: tuple[Axis, ...]
    compute: Callable[["Cut"], Array]

    @property
    def array(self) -> Array:
        return self.like.array

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self.like.axes

    def is_shown(self, cut: "Cut") -> bool:
        return any(cut.of_axis(term) is not None for term in self.terms)

    def numbers(self, cut: "Cut") -> Array:
        return self.compute(cut)


class Cut:
    """Which indices are kept of each axis of each activation.

    kept: dict from (k, a) to a list of indices; an axis that is not in it is kept whole.
    """

    def __init__(self, kept: Kept, limits: Limits) -> None:
        self.kept, self.limits = kept, limits

    def of_axis(self, axis: Axis, length: int = 0) -> list[int] | None:
        """The indices kept of one axis of an array, or None where all are."""
        if axis == WHOLE:
            return None
        if axis == FIRST:
            return list(range(self.limits.channels)) if length > self.limits.channels else None
        return self.kept.get(axis)

    def of(self, part: Part | Rest) -> Chosen:
        """The indices kept of a `Part`, for each axis a list or None."""
        return [self.of_axis(axis, length) for axis, length in zip(part.axes, part.array.shape, strict=True)]

    def places(self, part: Part | Rest) -> list[Array]:
        """The same as arrays, one for each axis."""
        return _as_arrays(self.of(part), part.array.shape)

    def size(self, part: Part | Rest) -> int:
        """How many characters a `Part` takes in the page."""
        chosen = self.of(part)
        lengths = [n if kept is None else len(kept) for n, kept in zip(part.array.shape, chosen, strict=True)]
        indices = sum(len(kept) for kept in chosen if kept is not None)
        return 4 * math.ceil(math.prod(lengths) * part.array.itemsize / 3) + 7 * indices + 100

    def split(self, part: Part) -> tuple[Array, Array]:
        """(kept, left out), two arrays like the part's whose sum it is, with zeros in each other's place."""
        places = np.ix_(*self.places(part))
        kept, left_out = np.zeros_like(part.array), part.array.copy()
        kept[places] = part.array[places]
        left_out[places] = 0
        return kept, left_out


def fitted(shown: Sequence[Shown], parts: Sequence[Part | Rest], max_bytes: int) -> Cut:
    """The `Cut` that keeps as much as fits.

    Args:
        shown: a `Shown` for each activation.
        parts: all that goes into the page.
        max_bytes: the most that it may take there.

    Raises ValueError where even one cell of everything takes more.
    """
    chosen = _Choice(shown)

    def size(limits: Limits) -> int:
        cut = Cut(chosen.kept(limits), limits)
        return sum(cut.size(part) for part in parts if part.is_shown(cut))

    limits = Limits(
        images=max(activation.shape[0] for activation in shown),
        channels=max(length for part in parts for length in part.array.shape),
        side=chosen.largest,
    )
    if size(limits) > max_bytes:
        for name, least in STAGES:
            most = getattr(limits, name)
            if most <= least:
                continue
            limits = limits._replace(**{name: least})
            if size(limits) > max_bytes:
                continue
            while most - least > 1:  # `least` fits, `most` does not
                middle = (least + most) // 2
                if size(limits._replace(**{name: middle})) <= max_bytes:
                    least = middle
                else:
                    most = middle
            limits = limits._replace(**{name: least})
            break
        else:
            raise ValueError(
                f"inspect: expected a record of at most max_bytes = {max_bytes}, got a network that takes "
                f"{size(limits)} with one cell of everything; allow more, or inspect a part of the network"
            )
    return Cut(chosen.kept(limits), limits)


class _Choice:
    """Which indices of the activations are kept within given limits."""

    def __init__(self, shown: Sequence[Shown]) -> None:
        self.shown = shown
        self.largest = max((length for activation in shown for length in activation.shape[2:]), default=1)
        self._orders: dict[tuple[int, int], Array] = {}

    def kept(self, limits: Limits) -> Kept:
        kept: Kept = {}
        for k, activation in enumerate(self.shown):
            for axis, length in enumerate(activation.shape):
                indices: Sequence[int] | None
                if axis == 0:
                    indices = range(limits.images)
                elif axis == 1:
                    indices = self._channels(k, kept, limits)
                else:
                    side = max(min(MIDDLE, limits.side), math.ceil(length * limits.side / self.largest))
                    start = (length - side) // 2
                    indices = range(start, start + side)
                if indices is not None and len(indices) < length:
                    kept[k, axis] = list(indices)
        return kept

    def _channels(self, k: int, kept: Kept, limits: Limits) -> list[int] | None:
        """Indices of axis 1 of activation k, or None for all."""
        activation = self.shown[k]
        if activation.channels == "like input":
            return kept.get((k - 1, 1))
        if activation.channels == "flattened":
            shape = self.shown[k - 1].shape
            chosen = [kept.get((k - 1, axis)) for axis in range(1, len(shape))]
            if all(indices is None for indices in chosen):
                return None
            return np.ravel_multi_index(np.ix_(*_as_arrays(chosen, shape[1:])), shape[1:]).reshape(-1).tolist()
        if activation.shape[1] <= limits.channels:
            return None
        return np.sort(self._order(k, limits.images)[: limits.channels]).tolist()

    def _order(self, k: int, images: int) -> Array:
        """The channels of activation k, those with the largest gradient in the kept images first."""
        if (k, images) not in self._orders:
            strength = np.moveaxis(self.shown[k].strength[:images], 1, 0)
            squares = np.square(strength.reshape(len(strength), -1), dtype=np.float64).sum(axis=1)
            self._orders[k, images] = np.argsort(-squares, kind="stable")
        return self._orders[k, images]


def encoded(array: Array, chosen: Chosen) -> dict[str, Any]:
    """An array as the page has it, a dict: of each axis the indices `chosen`, None for all; little-endian base64."""
    return packed(array[np.ix_(*_as_arrays(chosen, array.shape))], array.shape, chosen)


def packed(kept: Array, shape: Sequence[int], chosen: Chosen) -> dict[str, Any]:
    """An array of this shape as the page has it, of which nothing but what is `kept` is at hand."""
    data = np.ascontiguousarray(kept, kept.dtype.newbyteorder("<"))
    return {
        "shape": list(shape),
        "dtype": kept.dtype.name,
        "data": base64.b64encode(data.tobytes()).decode("ascii"),
        "kept": None if all(indices is None for indices in chosen) else {"axes": chosen},
    }


def decoded(array: dict[str, Any]) -> Array:
    """The numbers of an encoded array that are kept, so many along each axis as indices are kept of it.

    >>> decoded(encoded(np.arange(6.0).reshape(2, 3), [None, [0, 2]]))
    array([[0., 2.],
           [3., 5.]])
    """
    axes = [None] * len(array["shape"]) if array["kept"] is None else array["kept"]["axes"]
    lengths = [n if kept is None else len(kept) for n, kept in zip(array["shape"], axes, strict=True)]
    dtype = np.dtype(array["dtype"]).newbyteorder("<")
    return np.frombuffer(base64.b64decode(array["data"]), dtype).reshape(lengths).astype(array["dtype"])


def _as_arrays(chosen: Chosen, shape: Sequence[int]) -> list[Array]:
    return [np.arange(n) if indices is None else np.array(indices) for n, indices in zip(shape, chosen, strict=True)]
