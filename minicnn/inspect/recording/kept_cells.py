"""Which cells of which arrays a recording keeps of a step, and what that takes in its file."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.inspect.recording.file import (
    FORM,
    NORMS,
    Cells,
    Recording,
    Shapes,
    columns,
    sampled,
    step_shapes,
)
from minicnn.io.safetensors import as_bytes
from minicnn.layers import Conv2d
from minicnn.network import Sequential
from minicnn.plain import Array

# Of an array at most so many indices are kept along each axis.
FILTERS = (16, 3, 11, 11)  # the first convolution's weight, to be looked at as pictures
WEIGHTS = {1: (16,), 2: (8, 8), 4: (4, 2, 11, 11)}  # the other parameters, by their number of axes
CHANNELS, VECTOR = 4, 64  # of an activation with maps, and of one without


class KeptCells:
    """Which cells of which arrays are kept, and what that takes in the file.

    Attributes:
        names, shapes, kept, filters: as in `Recording`.
        image: the whole image, of the network's dtype, or None.
        fixed_bytes, numbers_bytes, arrays_bytes: of a file without steps; a step's numbers; a step's arrays.
    """

    def __init__(self, network: Sequential, image: Array | None, outputs: dict[str, Array], side: int) -> None:
        params = {name: layer.params[key] for name, layer, key in network.named_params()}
        convolutions = (name for name, layer in network.named_layers() if isinstance(layer, Conv2d))
        self.names, self.image, self.dtype = list(params), image, dtype_of(network)
        self.filters = next((f"{name}.weight" for name in convolutions), None)

        self.shapes: Shapes = {}
        self.kept: Cells = {}
        for name, param in params.items():
            most = FILTERS if name == self.filters else WEIGHTS.get(param.ndim, (4,) * param.ndim)
            self._choose(f"parameter/{name}", param.shape, most)
        for name, array in outputs.items():
            most = (VECTOR,) if array.ndim == 1 else (CHANNELS, *[side] * (array.ndim - 1))
            self._choose(f"activation/{name}", array.shape, most)
        if image is not None:
            self._choose("image", image.shape, (CHANNELS, *[side] * (image.ndim - 1)))

        self.numbers_bytes = 8 * (4 + len(NORMS) * len(params))
        values = sum(math.prod(shape) for shape in step_shapes(self.names, self.shapes, self.kept).values())
        self.arrays_bytes = 8 + self.dtype.itemsize * values
        arrays, metadata = self.file({}, {}, 1, 1)
        # The header names each array's shape and place, which have more digits in a file with steps.
        n_bytes = sum(len(part) for part in as_bytes(arrays, metadata))
        self.fixed_bytes = n_bytes + 40 * len(arrays) + 40

    def of(self, key: str, array: Array) -> Array:
        """The cells of `array` that are kept, a new array."""
        axes = zip(array.shape, self.kept[key], strict=True)
        return array[np.ix_(*[range(length) if chosen is None else chosen for length, chosen in axes])]

    def fits(self, recording: Recording) -> bool:
        """Whether steps with these cells may follow those of `recording`."""
        # With the same shapes either both have an image or neither has.
        image = None if self.image is None else self.of("image", self.image)
        return (
            (recording.names, recording.shapes, recording.kept) == (self.names, self.shapes, self.kept)
            and (image is None or recording.image is None or np.array_equal(recording.image, image))
            and all(array.dtype == self.dtype for array in sampled(recording).values())
        )

    def file(
        self,
        numbers: dict[int, dict[str, Any]],
        arrays: dict[int, dict[str, Array]],
        interval: int,
        array_interval: int,
    ) -> tuple[dict[str, Array], dict[str, str]]:
        """(arrays, metadata) of the file, of the numbers and arrays by step."""
        content: dict[str, Array] = {
            "step": np.array(list(numbers), np.int64),
            "array_step": np.array(list(arrays), np.int64),
        }
        for name, width in columns(len(self.names)).items():
            dtype = np.int64 if name == "epoch" else np.float64
            content[name] = np.array([row[name] for row in numbers.values()], dtype).reshape(len(numbers), *width)
        for name, shape in step_shapes(self.names, self.shapes, self.kept).items():
            content[name] = np.array([kept[name] for kept in arrays.values()], self.dtype).reshape(len(arrays), *shape)
        if self.image is not None:
            content["image"] = self.of("image", self.image)
        description = {
            "names": self.names,
            "shapes": self.shapes,
            "kept": self.kept,
            "filters": self.filters,
            "interval": interval,
            "array_interval": array_interval,
        }
        return content, FORM.metadata(description)

    def _choose(self, key: str, shape: Sequence[int], most: Sequence[int]) -> None:
        """Keep of each axis every index, or every second, third, …, until there are no more than `most` of them."""
        self.shapes[key] = tuple(shape)
        self.kept[key] = [
            None if length <= limit else list(range(0, length, -(-length // limit)))
            for length, limit in zip(shape, most, strict=True)
        ]


def dtype_of(network: Sequential) -> np.dtype[Any]:
    """The dtype of the parameters; float32 where there are none."""
    return next((np.dtype(layer.params[key].dtype) for _, layer, key in network.named_params()), np.dtype(np.float32))
