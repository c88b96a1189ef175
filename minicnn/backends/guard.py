"""The door to compiled code: what an operation is given is held against the contract before a kernel sees it.

Kernels are reached by address and get flat memory and sizes. They would read whatever lies behind an array that is
shorter than its companions say, and float64 as twice as many float32. So each operation of a compiled backend is
`guarded`: its arrays are C-contiguous memory that NumPy (or the device) owns, of one dtype, and their axes agree, or
there is a TypeError or ValueError before anything is computed. This costs the same for any size of array. (Two kinds of
array hold positions in others, winners of a pooling and labels; these are read once.)

What an operation takes and gives is in `minicnn.backends.declared`.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

from minicnn.backends.contract import Activation, Norm
from minicnn.backends.declared import ARGUMENTS, SETTINGS, Declared
from minicnn.checks import DTYPES, as_int, as_pair, kind_of
from minicnn.geometry import dilated_size, output_size
from minicnn.images import Images
from minicnn.plain import Array

Operation = TypeVar("Operation", bound=Callable[..., Any])
Axes: TypeAlias = dict[str, Any]  # the length of each axis by letter, a tuple of lengths where images differ
Form: TypeAlias = Any  # of an argument, whatever can be compared: (shape, dtype), a setting, None


class Decorator(Protocol):
    def __call__(self, operation: Operation, name: str | None = None) -> Operation: ...


def guarded(asarray: Callable[[Any], Array]) -> Decorator:
    """A decorator for the operations of the backend with this `asarray`: check the arguments, then compute.

    `name` is the operation of the contract that a function stands for, if it is not its own.
    """

    def decorate(operation: Operation, name: str | None = None) -> Operation:
        name = name or operation.__name__

        @functools.wraps(operation)
        def checked(*arguments: Any, **keywords: Any) -> Any:
            return operation(*admitted(name, arguments, asarray)[0], **keywords)

        return checked  # type: ignore[return-value]  # of the operation's own signature, by functools.wraps

    return decorate


def admitted(name: str, arguments: Sequence[Any], asarray: Callable[[Any], Array]) -> tuple[list[Any], Axes]:
    """(the arguments of the operation `name`, each array as its kernels take it; the length of each axis by letter).

    Raises TypeError or ValueError that names the operation, the argument, what was expected and what came.
    """
    arguments, forms = looked_at(name, arguments, asarray)
    axes = agreeing_axes(name, forms)
    for position, argument in _WITH_POSITIONS[name]:
        require_positions(argument, arguments[position], axes, name)
    return arguments, axes


def looked_at(
    name: str, arguments: Sequence[Any], asarray: Callable[[Any], Array]
) -> tuple[list[Any], tuple[Form, ...]]:
    """(the arguments, each array as kernels take it; the form of each that has one)."""
    arguments = list(arguments)
    forms: list[Form] = []
    for position, expected, argument in _LOOKED_AT[name]:
        value = arguments[position]
        if type(value) is expected and (expected is tuple or value.flags.carray):  # nearly always
            forms.append(value if expected is tuple else (value.shape, value.dtype))
        elif value is None and argument.may_be_none:
            forms.append(None)
        else:
            form = _form_of_setting if argument.axes is None else _form_of_array
            arguments[position], form = form(value, argument, asarray, name)
            forms.append(form)
    return arguments, tuple(forms)


POSITIONS = ("int32", "int64")  # kinds of array whose numbers are places in another
_WITHOUT_SIGN = {"int32": np.uint32, "int64": np.uint64}
_LOOKED_AT: dict[str, list[tuple[int, Any, Declared]]] = {
    name: [
        (i, np.ndarray if part.axes else tuple, part)
        for i, part in enumerate(declared)
        if part.axes or part.name in SETTINGS
    ]
    for name, declared in ARGUMENTS.items()
}
_WITH_POSITIONS = {
    name: [(i, part) for i, _, part in declared if part.kind in POSITIONS] for name, declared in _LOOKED_AT.items()
}


def _form_of_array(value: Any, argument: Declared, asarray: Callable[[Any], Array], name: str) -> tuple[Any, Form]:
    """An array, `Images`, Norm or Activation as kernels take it, and its form: shape and dtype."""
    if type(value) is Activation:
        return value, (value.y.shape, value.y.dtype)
    if type(value) is Norm:
        *given, eps = value
        arrays: list[Any] = [None if array is None else asarray(array) for array in given]
        forms = tuple([array is not None and (array.shape, array.dtype) for array in arrays])
        return (value if all(map(operator.is_, arrays, given)) else Norm._make([*arrays, eps])), forms
    what = f"{name}: {argument.name}"
    if isinstance(value, Images):
        if argument.axes == ("any",):
            raise TypeError(f"{what}: expected an array, got {value}")
        data = asarray(value.data)
        if data.shape != (value.size,):
            raise ValueError(f"{what}: expected {value.size} numbers in {value}, got {data.shape}")
        return value if data is value.data else value.like(data), (value.shape, data.dtype)
    array = asarray(value)
    if argument.changed and array is not value:
        raise TypeError(f"{what}: expected a plain, contiguous, writeable array to change, got {kind_of(value)}")
    return array, (array.shape, array.dtype)


def _form_of_setting(value: Any, argument: Declared, asarray: Callable[[Any], Array], name: str) -> tuple[Any, Form]:
    """A setting, and its form: a pair as it is; of sizes (N, 2) the heights and the widths; of windows their number and
    where the last of them stops, or both for each image."""
    what = f"{name}: {argument.name}"
    if argument.name in ("rows", "columns"):
        return value, _form_of_windows(value, what)
    if argument.name == "groups":
        return (as_int(value, what, 1),) * 2
    if isinstance(value, np.ndarray) and value.ndim == 2:
        return value, tuple(map(tuple, value.T.tolist()))
    return (as_pair(value, what, 0),) * 2


def _form_of_windows(tables: Any, what: str) -> Form:
    if isinstance(tables, list):
        forms = {id(table): _form_of_windows(table, what) for table in tables}
        return tuple(zip(*(forms[id(table)] for table in tables), strict=True))
    if not isinstance(tables, np.ndarray) or tables.dtype != np.int64 or tables.ndim != 2 or tables.shape[1] != 3:
        raise TypeError(f"{what}: expected a table of `minicnn.geometry`, (windows, 3) int64, got {kind_of(tables)}")
    starts, stops, extents = tables.T
    if not (len(tables) and starts.min() >= 0 and (starts < stops).all() and extents.min() > 0):
        raise ValueError(f"{what}: expected 0 <= start < stop and a positive extent in every window, got {tables}")
    return len(tables), int(stops.max())


_LEAST = {"stride": 1, "padding": 0, "kernel_size": 1, "dilation": 1}  # settings that are pairs, and their least number


@functools.lru_cache(maxsize=1024)
def agreeing_axes(name: str, forms: tuple[Form, ...]) -> Axes:
    """The length of each axis by letter, a tuple of lengths where images differ. Kept, since calls are much alike.

    Raises TypeError for an array of another dtype, ValueError where axes do not belong together.
    """
    axes: Axes = {}
    settings: dict[str, Form] = {}
    real: np.dtype[Any] | None = None

    def bind(letters: tuple[str, ...], shape: tuple[Any, ...], what: str) -> None:
        lengths = (shape,) if letters in (("...",), ("any",)) else shape
        known = tuple(axes.get(letter, length) for letter, length in zip(letters, lengths, strict=False))
        if len(lengths) != len(letters) or known != tuple(lengths):
            sizes = ", ".join(f"{letter} = {axes[letter]}" for letter in letters if letter in axes)
            raise ValueError(
                f"{name}: {what}: expected ({', '.join(letters)}){' with ' + sizes if sizes else ''}, got {shape}"
            )
        axes.update(zip(letters, lengths, strict=True))

    for (*_, argument), form in zip(_LOOKED_AT[name], forms, strict=True):
        if argument.axes is None:
            settings[argument.name] = form
            if argument.name in _LEAST:
                as_pair(form, f"{name}: {argument.name}", _LEAST[argument.name])
            elif argument.name == "pads":
                if [type(of_axis) for of_axis in form] != [tuple, tuple]:
                    raise TypeError(f"{name}: pads: expected ((top, bottom), (left, right)), got {form}")
                for of_axis in form:
                    as_pair(of_axis, f"{name}: pads", 0)
            continue
        fields = form if argument.name == "norm" else (form,)
        for field, (shape, dtype) in enumerate(part or (None, None) for part in fields):
            if shape is None:
                continue
            real = _require_dtype(argument.kind if field < 2 else "float", dtype, real, f"{name}: {argument.name}")
            if 0 in shape:
                raise ValueError(f"{name}: {argument.name}: expected at least one number, got shape {shape}")
            bind(argument.axes, shape, argument.name)

    for letters, setting in ((("H", "W"), "input_size"), (("KH", "KW"), "kernel_size")):
        if setting in settings:
            bind(letters, settings[setting], setting)
    if "groups" in settings:
        _bind_groups(name, axes, settings["groups"])
    for axis, (side, table) in enumerate((("H", "rows"), ("W", "columns"))):
        if "stride" in settings:
            before, after = settings["pads"][axis] if "pads" in settings else (settings["padding"][axis],) * 2
            kernel = dilated_size(axes[f"K{side}"], settings["dilation"][axis] if "dilation" in settings else 1)
            outputs = output_size(np.array(axes[side]) + before + after, kernel, settings["stride"][axis], 0)
            if outputs.min() < 1:
                raise ValueError(f"{name}: expected images as large as the kernel, got {side} = {axes[side]}")
            lengths = outputs.tolist()
            bind((f"O{side}",), (tuple(lengths) if isinstance(lengths, list) else lengths,), f"the output's O{side}")
        elif table in settings:
            windows, stops = settings[table]
            bind((f"O{side}",), (windows,), table)
            if np.shape(stops) != np.shape(axes[side]) or (np.array(stops) > axes[side]).any():
                raise ValueError(f"{name}: {table}: expected windows inside of {side} = {axes[side]}, got stop {stops}")
    return axes


def _bind_groups(name: str, axes: Axes, groups: int) -> None:
    """C, the channels, and CG, those of a group, of which one is known; both and the filters must fit the groups."""
    channels = axes.get("C", axes.get("CG", 0) * groups)
    of_group = axes.get("CG", channels // groups)
    if of_group * groups != channels or axes["F"] % groups:
        raise ValueError(
            f"{name}: expected channels and filters in {groups} groups, got C = {channels} with weights for "
            f"{of_group} of a group, and F = {axes['F']}"
        )
    axes.update(C=channels, CG=of_group)


def _require_dtype(kind: str, dtype: Any, real: np.dtype[Any] | None, what: str) -> np.dtype[Any] | None:
    """The dtype of the call's real arrays, as far as it is known then."""
    if kind == "real":
        expected = DTYPES if real is None else (real,)
        real = dtype
    else:
        expected = DTYPES if kind == "float" else (np.dtype(kind),)
    if dtype not in expected:
        raise TypeError(f"{what}: expected dtype {' or '.join(map(str, expected))}, got {dtype}")
    return real


def require_positions(declared: Declared, array: Array | Images, axes: Axes, what: str) -> None:
    """Raise ValueError for a label that is no class, or a winner outside its image. Not for those on a device: there
    labels were checked on the host, and winners are compared and never used as addresses."""
    limit = axes["K"] if declared.name == "targets" else np.multiply(axes["H"], axes["W"])
    parts, limits = (list(array), limit.tolist()) if isinstance(array, Images) else ([array], [limit])
    for numbers, limit in zip(parts, limits, strict=True):
        # Seen as numbers without a sign, what is below 0 is large: one pass does.
        if isinstance(numbers, np.ndarray) and numbers.view(_WITHOUT_SIGN[declared.kind]).max() >= limit:
            raise ValueError(f"{what}: {declared.name}: expected from 0 to {limit - 1}, got {numbers}")
