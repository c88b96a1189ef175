"""An array and `Images` alike, seen as all their numbers in a row."""

from typing import Any

import numpy as np

from minicnn.images import Images
from minicnn.plain import Array


def flat(array: Array | Images) -> Array:
    """All numbers of an array or of `Images` as they lie in memory, (n,): a view."""
    return array.data if isinstance(array, Images) else array.reshape(-1)


def like(array: Array | Images, numbers: Array) -> Array | Images:
    """`numbers` (n,) in the shape of `array`."""
    return array.like(numbers) if isinstance(array, Images) else numbers.reshape(array.shape)


def index_of(array: Array | Images, position: int) -> tuple[int, ...]:
    """The index in `array` (of `Images` the image's number first) of the number at `position` of `flat(array)`."""
    if not isinstance(array, Images):
        return tuple(map(int, np.unravel_index(position, array.shape)))
    n = int(np.searchsorted(array.channels * array.starts, position, side="right")) - 1
    within = np.unravel_index(position - array.channels * array.starts[n], array[n].shape)
    return (n, *map(int, within))


def require_finite(array: Array | Images, what: str) -> None:
    """Raise ValueError, which names the first number that is not finite."""
    numbers = flat(array)
    finite = np.isfinite(numbers)
    if not finite.all():
        first = int(np.argmin(finite))
        raise ValueError(
            f"gradcheck: {what}: expected finite numbers, got {np.sum(~finite)} of {finite.size} that are not, "
            f"the first of them {numbers[first]} at {index_of(array, first)}"
        )


def rms(numbers: Array) -> Any:
    """The root of the mean square, a float64."""
    return np.sqrt(np.mean(np.square(numbers)))


def power_of_two(number: float) -> Any:
    """The largest power of two up to `number`, a float64."""
    return 2.0 ** np.floor(np.log2(number))
