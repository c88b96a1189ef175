"""What of a record's arrays is not in the page, in sentences."""

from collections.abc import Sequence
from typing import Any

from minicnn.inspect.passes import LayerPass
from minicnn.inspect.sample import Cut, Shown


def left_out(
    passes: Sequence[LayerPass], shown: Sequence[Shown], layers: Sequence[dict[str, Any]], cut: Cut
) -> list[str]:
    """What was cut of the activations and of the parameters, whose `Part`s are in the records of the `layers`."""
    sentences = []
    for k, activation in enumerate(shown):
        name = f"{passes[k - 1].name}'s output" if k else "the input"
        words = [
            _cut_in_words(axis, length, cut.kept[k, axis], activation)
            for axis, length in enumerate(activation.shape)
            if (k, axis) in cut.kept
        ]
        if words:
            sentences.append(f"{name}: {'; '.join(words)}")
    for layer in layers:
        for key, part in layer["params"].items():
            chosen = cut.of(part)
            if any(indices is not None for indices in chosen):
                lengths = [n if kept is None else len(kept) for n, kept in zip(part.array.shape, chosen, strict=True)]
                sentences.append(
                    f"{layer['name']}'s {key} and its gradient: {_times(lengths)} of {_times(part.array.shape)} numbers"
                )
    return sentences


def _times(lengths: Sequence[int]) -> str:
    return " × ".join(map(str, lengths))


def _cut_in_words(axis: int, length: int, kept: Sequence[int], activation: Shown) -> str:
    """How one axis is cut: "16 of 64 channels, those with the largest gradient"."""
    rank = len(activation.shape)
    first, last = kept[0], kept[-1]
    if axis == 0:
        return f"{len(kept)} of {length} images, the first"
    if axis > 1:
        unit = ("rows", "columns")[axis - 2] if rank == 4 else f"places along axis {axis}"
        return f"{len(kept)} of {length} {unit}, {first} to {last}"
    why = {
        "own": "those with the largest gradient",
        "like input": "those of its input",
        "flattened": "those that come from what is kept of its input",
    }
    return f"{len(kept)} of {length} {'features' if rank == 2 else 'channels'}, {why[activation.channels]}"
