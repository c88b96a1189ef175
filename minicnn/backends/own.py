"""A backend with functions of one's own in place of some operations; what `Layer.use` makes."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from minicnn.backends import get_backend
from minicnn.backends.declared import RESULTS, Declared
from minicnn.backends.foreach import ONE_OF, one_by_one
from minicnn.backends.guard import POSITIONS, Axes, admitted, require_positions
from minicnn.backends.protocol import OPERATIONS, Operations
from minicnn.checks import DTYPES, kind_of
from minicnn.images import Images
from minicnn.plain import Array


class OwnOperations:
    """The operations of a backend, with others in place of those of the same name.

    What a function of one's own returns is checked against the contract and becomes a new array of its dtype:
    np.zeros makes float64, whatever the network is.

    Attributes:
        backend: the module whose operations the rest are.
        own: dict of the functions that were given, by the operation's name.
    """

    def __init__(self, backend: Operations, own: dict[str, Callable[..., Any]]) -> None:
        for name in OPERATIONS:
            setattr(self, name, getattr(backend, name))
        for name, function in own.items():
            setattr(self, name, _held_to_the_contract(name, function, backend))
        for name, one in ONE_OF.items():
            if one in own:
                setattr(self, name, one_by_one(name, getattr(self, one)))
        self.backend, self.own = backend, dict(own)
        self.__name__ = backend.__name__  # as of the module that it stands for

    def __deepcopy__(self, memo: dict[int, Any]) -> "OwnOperations":
        return self  # like a module, it belongs to no layer

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_again, (self.__name__, self.own)

    def __repr__(self) -> str:
        return f"{self.__name__} with own {', '.join(self.own)}"


def _made_again(backend_name: str, own: dict[str, Callable[..., Any]]) -> OwnOperations:
    return OwnOperations(get_backend(backend_name.rpartition(".")[2]), own)


def _held_to_the_contract(name: str, function: Callable[..., Any], backend: Operations) -> Callable[..., Any]:
    @functools.wraps(function)
    def operation(*arguments: Any) -> Any:
        return _returned(name, arguments, function(*arguments), backend)

    return operation


def _returned(name: str, arguments: tuple[Any, ...], result: Any, ops: Operations) -> Any:
    """What a function of one's own gave in place of the operation `name`, as new arrays of the contract's dtypes.

    Raises TypeError or ValueError where it is not what the contract says.
    """
    declared, what = RESULTS[name], f"own {name}"
    if declared[0].name == "None":
        if result is not None:
            raise TypeError(
                f"{what}: expected None, and the arguments changed in place as in `param -= lr * grad`, "
                f"got {kind_of(result)}"
            )
        return None
    if declared[0].axes is None:
        try:
            return float(result)
        except (TypeError, ValueError):
            raise TypeError(f"{what}: expected a number, got {kind_of(result)}") from None
    one = len(declared) == 1
    results = (result,) if one else result
    if (one and isinstance(result, tuple)) or not isinstance(results, (tuple, list)) or len(results) != len(declared):
        raise TypeError(f"{what}: expected ({', '.join(part.name for part in declared)}), got {kind_of(result)}")
    plain_arguments, axes = admitted(name, arguments, ops.asarray)
    results = [
        _of_own_memory(part, value, plain_arguments[0].dtype, axes, ops, what)
        for part, value in zip(declared, results, strict=True)
    ]
    for part, array in zip(declared, results, strict=True):
        if part.kind in POSITIONS:
            require_positions(part, array, axes, what)
    return results[0] if one else tuple(results)


def _of_own_memory(
    declared: Declared, value: Any, call_dtype: np.dtype[Any], axes: Axes, ops: Operations, what: str
) -> Array | Images:
    """The numbers of `value` in a new array, or `Images`, of the declared shape and dtype."""
    what = f"{what}: {declared.name}"
    letters = declared.axes or ()
    shape = axes["..."] if letters == ("...",) else tuple(axes[letter] for letter in letters)
    mixed = any(isinstance(length, tuple) for length in shape)
    if isinstance(value, Images) != mixed:
        raise TypeError(f"{what}: expected {'Images (see Images.like)' if mixed else 'an array'}, got {kind_of(value)}")
    array = ops.asarray(value.data if mixed else value)
    whole = declared.kind in POSITIONS
    dtype = np.dtype(declared.kind) if whole else call_dtype
    if array.dtype.kind not in ("iu" if whole else "iuf"):
        raise TypeError(f"{what}: expected an array of {dtype}, got {kind_of(value)}")
    if (value if mixed else array).shape != shape:
        raise ValueError(f"{what}: expected ({', '.join(letters)}) = {shape}, got {kind_of(value)}")
    if array.dtype != dtype and not (declared.kind == "float" and array.dtype in DTYPES):
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is noticed as that
            array = ops.asarray(ops.to_numpy(array).astype(dtype))
    array = ops.copy(array)
    return value.like(array) if mixed else array
