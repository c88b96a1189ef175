"""The door to compiled code: what an operation is given is held against the contract before a kernel sees it.

Kernels are reached by address and get flat memory and sizes. They would read whatever lies behind an array that is
shorter than its companions say, and float64 as twice as many float32. So each operation of a compiled backend is
`guarded`: its arrays are C-contiguous memory that NumPy (or the device) owns, of one dtype, and their axes agree, or
there is a TypeError or ValueError before anything is computed. This costs the same for any size of array. (Two kinds of
array hold positions in others, winners of a pooling and labels; these are read once.)

CONTRACT is the list of `minicnn.backends.protocol` in a form that can be checked. An array is written as its name and
its axes, in the package's letters; "..." is any shape, the same in one call, and "any" that of an array that is no
`Images`. A mark after the name says more:

    real    float32 or float64, the same in one call; said of every array without a mark
    float   float32 or float64
    int32, int64
    ?       may be None
    !       changed in place, so it must be contiguous as it is

What has no axes is a setting: `stride`, `padding`, `kernel_size`, `input_size`, `rows` and `columns` say how axes
belong together, and others are numbers, or lists, which `foreach` checks. Behind the arrow is what comes back, "None"
where arguments are changed instead. No function of one's own can stand in for an operation without an arrow: it answers
in its backend's own layout, or is another one on lists."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np

from minicnn.backends.contract import Activation, Norm
from minicnn.checks import DTYPES, as_pair, kind_of
from minicnn.geometry import output_size
from minicnn.images import Images
from minicnn.plain import Array

Operation = TypeVar("Operation", bound=Callable[..., Any])
Axes: TypeAlias = dict[str, Any]  # the length of each axis by letter, a tuple of lengths where images differ
Form: TypeAlias = Any  # of an argument, whatever can be compared: (shape, dtype), a setting, None

CONTRACT = {
    "sum_of_squares": "array: any -> square_sum",
    "scale_": "array!: any, factor -> None",
    "conv2d_forward": "x: N C H W, weight: F C KH KW, bias?: F, stride, padding -> y: N F OH OW",
    "conv2d_input_gradient": "dy: N F OH OW, weight: F C KH KW, input_size, stride, padding -> dx: N C H W",
    "conv2d_weight_gradient": "dy: N F OH OW, x: N C H W, kernel_size, stride, padding -> dweight: F C KH KW",
    "conv2d_bias_gradient": "dy: N F OH OW -> dbias: F",
    "batchnorm2d_statistics": "x: N C H W -> mean float: C, var float: C",
    "batchnorm2d_forward": "x: N C H W, weight: C, bias: C, mean float: C, var float: C, eps -> y: N C H W",
    "batchnorm2d_train_backward": "dy: N C H W, x: N C H W, weight: C, mean float: C, var float: C, eps "
    "-> dx: N C H W, dweight: C, dbias: C",
    "batchnorm2d_eval_backward": "dy: N C H W, x: N C H W, weight: C, mean float: C, var float: C, eps "
    "-> dx: N C H W, dweight: C, dbias: C",
    "update_running_statistics_": "running_mean!: C, running_var!: C, mean float: C, var float: C, count, momentum "
    "-> None",
    "relu_forward": "x: ... -> y: ...",
    "relu_backward": "dy: ..., y: ... -> dx: ...",
    "max_pool2d_forward": "x: N C H W, rows, columns -> y: N C OH OW, argmax int32: N C OH OW",
    "max_pool2d_backward": "dy: N C OH OW, argmax int32: N C OH OW, rows, columns, input_size -> dx: N C H W",
    "avg_pool2d_forward": "x: N C H W, rows, columns -> y: N C OH OW",
    "avg_pool2d_backward": "dy: N C OH OW, rows, columns, input_size -> dx: N C H W",
    "linear_forward": "x: N D, weight: K D, bias?: K -> y: N K",
    "linear_input_gradient": "dy: N K, weight: K D -> dx: N D",
    "linear_weight_gradient": "dy: N K, x: N D -> dweight: K D",
    "linear_bias_gradient": "dy: N K -> dbias: K",
    "log_softmax_forward": "x: N K -> y: N K",
    "log_softmax_backward": "dy: N K, y: N K -> dx: N K",
    "nll_loss_forward": "log_p: N K, targets int64: N, class_weights: K, label_smoothing -> loss",
    "nll_loss_backward": "log_p: N K, targets int64: N, class_weights: K, label_smoothing -> d_log_p: N K",
    "sgd_step_": "param!: any, velocity!: any, grad: any, lr, momentum, nesterov, weight_decay -> None",
    "adam_step_": "param!: any, m!: any, v!: any, grad: any, lr, beta1, beta2, eps, weight_decay, decoupled, step "
    "-> None",
    "foreach_sgd_step_": "params, velocities, grads, lr, momentum, nesterov, weight_decay",
    "foreach_adam_step_": "params, ms, vs, grads, lr, beta1, beta2, eps, weight_decay, decoupled, step",
    "fused_conv_forward": "below: N C H W, weight: F C KH KW, bias?: F, norm: F, stride, padding",
    "fused_predict": "x: N C H W, blocks, to_maximum",
    "fused_output": "activation: N F OH OW",
    "fused_output_backward": "da: N F OH OW, activation: N F OH OW",
    "fused_max": "activation: N F OH OW",
    "fused_max_backward": "dy: N F, peaks, activation: N F OH OW",
    "fused_conv_backward": "gradient, activation: N F OH OW, below: N C H W, weight: F C KH KW, stride, padding, "
    "need_below",
}

SETTINGS = ("stride", "padding", "kernel_size", "input_size", "rows", "columns")


class Declared(NamedTuple):
    """An argument or a result as CONTRACT declares it; `axes` is None for what is no array."""

    name: str
    kind: str
    axes: tuple[str, ...] | None
    may_be_none: bool
    changed: bool


def _declared(text: str) -> Declared:
    name_and_kind, _, axes = text.partition(":")
    name, _, kind = name_and_kind.strip().partition(" ")
    return Declared(name.rstrip("?!"), kind or "real", tuple(axes.split()) or None, "?" in name, "!" in name)


def _side(text: str) -> tuple[Declared, ...]:
    return tuple(_declared(part) for part in text.split(",")) if text else ()


ARGUMENTS = {name: _side(text.partition("->")[0]) for name, text in CONTRACT.items()}
RESULTS = {name: _side(text.partition("-> ")[2]) for name, text in CONTRACT.items()}


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
            if argument.name in ("stride", "padding", "kernel_size"):
                as_pair(form, f"{name}: {argument.name}", 0 if argument.name == "padding" else 1)
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
    for axis, (side, table) in enumerate((("H", "rows"), ("W", "columns"))):
        if "stride" in settings:
            stride, padding = settings["stride"][axis], settings["padding"][axis]
            outputs = output_size(np.array(axes[side]), axes[f"K{side}"], stride, padding)
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
