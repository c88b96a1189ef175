"""The replay: a recorded run as a part of the inspector's page, in the form that `page/replay.js` reads."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.inspect.recording.file import SAMPLES, Recording, columns, sampled
from minicnn.inspect.sample import Chosen, packed
from minicnn.plain import Array

NUMBERS_SHARE = 0.25  # of the letters, for the numbers of the steps; the rest is for their arrays


def replay_data(recording: Recording, max_characters: int = 4_000_000) -> dict[str, Any]:
    """`recording` as the part "replay" of the inspector's page: a dict that JSON can hold.

    Where that would be longer than `max_characters`, every second step is left out, as often as needed; the first and
    the last stay.
    """
    numbers = {name: getattr(recording, name) for name in ("step", *columns(0), "update_ratio")}
    rows, every = _with_room(list(numbers.values()), max_characters * NUMBERS_SHARE)
    frames, every_frame = _with_room(list(sampled(recording).values()), max_characters * (1 - NUMBERS_SHARE))

    def samples(arrays: dict[str, Array], kind: str) -> dict[str, Any]:
        return {
            name: _packed(array[frames], recording.shapes[f"{kind}/{name}"], recording.kept[f"{kind}/{name}"])
            for name, array in arrays.items()
        }

    image = recording.image
    return {
        **{name: _packed(column[rows], column.shape[1:]) for name, column in numbers.items()},
        "names": recording.names,
        "array_step": _packed(recording.array_step[frames]),
        **{kind: samples(getattr(recording, kind), "parameter") for kind in SAMPLES},
        # A list: in JavaScript an object puts the layers that are called "0", "1", … before all others.
        "activation": [
            {"name": name, "value": value} for name, value in samples(recording.activation, "activation").items()
        ],
        "image": None if image is None else _packed(image[None], recording.shapes["image"], recording.kept["image"]),
        "filters": recording.filters,
        "left_out": [
            f"The loss and the norms are those of {_these_steps(recording.interval * every)}.",
            "Weights, gradients, updates and activations are samples, the same cells each time, "
            f"of {_these_steps(recording.array_interval * every_frame)}.",
        ],
    }


def _with_room(arrays: Sequence[Array], max_characters: float) -> tuple[Array, int]:
    """(positions, every): which rows to take of all `arrays` so that they fit, and that it is one in `every`."""
    n, every = len(arrays[0]), 1
    positions = np.arange(n)
    characters_a_row = sum(array.nbytes for array in arrays) / n * 4 / 3  # base64 writes 3 bytes as 4 letters
    while len(positions) > 2 and characters_a_row * len(positions) > max_characters:
        every *= 2
        positions = np.unique([*range(0, n, every), n - 1])
    return positions, every


def _these_steps(interval: int) -> str:
    return "every step" if interval == 1 else f"one step in {interval}, and of the last"


def _packed(array: Array, shape: Sequence[int] = (), kept: Chosen = ()) -> dict[str, Any]:
    """An array (m, *shape) for the page, of which along each axis but the first the indices `kept` are at hand."""
    array = array.astype(np.int32) if array.dtype == np.int64 else array
    return packed(array, (len(array), *shape), [None, *kept] if kept else [None] * (1 + len(shape)))
