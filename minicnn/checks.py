"""Checks of arguments: the value as what it should be, or an error that says class, what, expected and got."""

import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from minicnn.images import Batch, Images, Shape
from minicnn.plain import Array, Pair

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
USE_IMAGES = "for images of different sizes use minicnn.Images([...])"


@overload
def as_floats(ops: Any, array: Batch, what: str) -> Batch: ...
@overload
def as_floats(ops: Any, array: ArrayLike | Images, what: str) -> Array | Images: ...
def as_floats(ops: Any, array: Any, what: str) -> Any:
    """`array`, which may be `Images`, on the backend `ops`.

    Raises TypeError where it is not float32 or float64, or is a list of arrays; ValueError for a ragged list.
    """
    if isinstance(array, Images):
        data = as_floats(ops, array.data, what)
        if data.shape != (array.size,):
            raise ValueError(f"{what}: expected {array.size} numbers in {array}, got shape {data.shape}")
        return array if data is array.data else array.like(data)
    if isinstance(array, (list, tuple)) and any(isinstance(part, (np.ndarray, Images)) for part in array):
        raise TypeError(
            f"{what}: expected one array, got a {type(array).__name__} of {len(array)}; {USE_IMAGES}, "
            "for arrays of one shape np.stack"
        )
    try:
        array = ops.asarray(array)
    except ValueError as error:  # NumPy's, of an "inhomogeneous shape"
        raise ValueError(f"{what}: expected an array, got a {type(array).__name__}: {error}; {USE_IMAGES}") from None
    except TypeError as error:
        raise TypeError(f"{what}: {error}") from None
    if array.dtype not in DTYPES:
        raise TypeError(f"{what}: expected dtype float32 or float64, got {array.dtype}; {_remedy(array.dtype)}")
    return array


def _remedy(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "O":
        return USE_IMAGES
    scale = "; images of 0 to 255 become it by images.astype(np.float32) / 255" if dtype == np.uint8 else ""
    return f"convert with array.astype(np.float32){scale}"


def kind_of(value: object) -> str:
    """What `value` is, in a few words for a message: its type, and of an array dtype and shape.

    >>> kind_of(np.zeros((2, 3))), kind_of([1])
    ('ndarray of float64, shape (2, 3)', 'list')
    """
    if isinstance(value, Images):
        return str(value)
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{type(value).__name__} of {value.dtype}, shape {value.shape}"
    return type(value).__name__


def refuse_images(x: Array | Images, what: str) -> None:
    """Raise TypeError where x is `Images`: for those whose inputs must have one size."""
    if isinstance(x, Images):
        raise TypeError(
            f"{what}: expected an array, got {x}; images of different sizes become one with AdaptiveMaxPool2d or "
            "AdaptiveAvgPool2d before this"
        )


def require_shape(x: Array | Images, shape: Shape, what: str) -> None:
    """Raise ValueError where x has not this shape. Of `Images` the first image that differs is named, not all sizes."""
    if x.shape == shape:
        return
    if described(x.shape) == described(shape):
        (*_, heights, widths), (*_, got_heights, got_widths) = shape, x.shape
        sizes, got_sizes = list(zip(heights, widths, strict=True)), list(zip(got_heights, got_widths, strict=True))
        n = next(n for n in range(len(sizes)) if sizes[n] != got_sizes[n])
        raise ValueError(f"{what}: expected image {n} of size {sizes[n]}, got {got_sizes[n]}")
    raise ValueError(f"{what}: expected {described(shape)}, got {described(x.shape)}")


def described(shape: Shape) -> str:
    """The shape of an array or of `Images` in a few words.

    >>> described((2, 3)), described((2, 3, (5, 4), (1, 9)))
    ('shape (2, 3)', 'Images, 2 of 3 channels')
    """
    if any(isinstance(axis, tuple) for axis in shape):
        return f"Images, {shape[0]} of {shape[1]} channels"
    return f"shape {shape}"


def layout_remedy(shape: Shape, channels: int) -> str:
    """What to do with images of `shape` that are not N C H W of so many channels, for an error's message.

    >>> layout_remedy((8, 32, 32, 3), 3)
    '; images come as N C H W, and those of N H W C become it by x.transpose(0, 3, 1, 2)'
    """
    if len(shape) == 4 and shape[-1] == channels:
        return "; images come as N C H W, and those of N H W C become it by x.transpose(0, 3, 1, 2)"
    if len(shape) == 3 and channels == 1:
        return "; images come as N C H W, and grey ones of N H W become it by x[:, None]"
    return ""


def as_pair(value: int | Sequence[int], what: str, minimum: int) -> Pair:
    """An int or a pair of ints as a pair (h, w), each at least `minimum`.

    >>> as_pair(3, "Conv2d: kernel_size", 1), as_pair((3, 5), "Conv2d: kernel_size", 1)
    ((3, 3), (3, 5))
    """
    pair = value if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{what}: expected an int or a pair (h, w), got {value!r}")
    vertical, horizontal = pair
    return as_int(vertical, what, minimum), as_int(horizontal, what, minimum)


def as_int(value: Any, what: str, minimum: float) -> int:
    """`value` as an int, at least `minimum`; a bool or a float is refused."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{what}: expected an integer, got {value!r} of type {type(value).__name__}")
    if value < minimum:
        raise ValueError(f"{what}: expected at least {minimum}, got {value}")
    return int(value)


def as_bool(value: Any, what: str) -> bool:
    """`value`, of Python or NumPy, as a bool; an integer is refused, since it may have been meant for its neighbour."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{what}: expected True or False, got {value!r}")
    return bool(value)


def as_number(value: object, what: str, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite real number from `least` to `most` as a Python float, of NumPy's numbers and arrays () too."""
    number = value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if isinstance(number, (bool, np.bool_)) or not isinstance(number, numbers.Real):
        raise TypeError(f"{what}: expected a number, got {value!r}")
    try:
        number = float(number)
    except OverflowError:  # an integer of more than 308 digits
        number = math.inf
    if not (math.isfinite(number) and least <= number <= most):
        at_least = "" if least == -math.inf else f" of at least {least}"
        at_most = "" if most == math.inf else f"{' and' if at_least else ' of'} at most {most}"
        raise ValueError(f"{what}: expected a finite number{at_least}{at_most}, got {value}")
    return number


def as_plain(value: Any) -> Any:
    """`value` with what JSON can hold: Python's numbers for NumPy's, and lists for arrays and tuples."""
    if isinstance(value, dict):
        return {key: as_plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(entry) for entry in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


# What is read from a file may be anything that JSON can hold, so these raise ValueError for wrong types as well.


def require_entries(state: object, names: Iterable[str], what: str) -> None:
    """Raise ValueError where `state` is no dict with at least these entries."""
    if not isinstance(state, dict):
        raise ValueError(f"{what}: expected a dict with {', '.join(names)}, got {state!r:.200}")
    missing = [name for name in names if name not in state]
    if missing:
        raise ValueError(f"{what}: expected entries {', '.join(names)}, got none called {', '.join(missing)}")


def as_count(value: object, what: str, most: int = 2**63 - 1) -> int:
    """`value` as an int from 0 to `most`, or ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value <= most:
        raise ValueError(f"{what}: expected a whole number from 0 to {most}, got {value!r:.200}")
    return int(value)


def shortened(value: object, most: int = 300) -> str:
    """`value` as a text for a message, its end cut off where it is long.

    >>> shortened("ab" * 500, most=6)
    'ababab… (1000 characters)'
    """
    text = str(value)
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"
