"""Operations on lists: what each does for one member of every list, and the guard of their arguments."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minicnn.backends.declared import ARGUMENTS
from minicnn.backends.guard import Form, Operation, agreeing_axes, looked_at
from minicnn.plain import Array

ONE_OF = {"foreach_sgd_step_": "sgd_step_", "foreach_adam_step_": "adam_step_"}
# How many of their arguments are lists; they come first.
LISTS = {name: sum(argument.axes is not None for argument in ARGUMENTS[one]) for name, one in ONE_OF.items()}


def guarded_lists(asarray: Callable[[Any], Array]) -> Callable[[Operation], Operation]:
    """`guard.guarded` for operations on lists."""

    def decorate(operation: Operation) -> Operation:
        name = operation.__name__

        @functools.wraps(operation)
        def checked(*arguments: Any, **keywords: Any) -> Any:
            lists = admitted_lists(name, arguments[: LISTS[name]], asarray)
            return operation(*lists, *arguments[LISTS[name] :], **keywords)

        return checked  # type: ignore[return-value]  # of the operation's own signature, by functools.wraps

    return decorate


def admitted_lists(name: str, lists: Sequence[Any], asarray: Callable[[Any], Array]) -> list[list[Array]]:
    """The lists, each array as kernels take it.

    Raises ValueError where they are not of one length, TypeError where not all arrays are of one dtype, and what the
    operation on one member of each raises.
    """
    lists = [list(arrays) for arrays in lists]
    lengths = [len(arrays) for arrays in lists]
    if min(lengths) != max(lengths):
        raise ValueError(f"{name}: expected lists of one length, got {', '.join(map(str, lengths))}")
    every = [array for arrays in lists for array in arrays]
    if all(type(array) is np.ndarray and array.flags.carray for array in every):  # nearly always
        forms = [(array.shape, array.dtype) for array in every]
    else:
        members = [looked_at(ONE_OF[name], arrays, asarray) for arrays in zip(*lists, strict=True)]
        lists = [list(arrays) for arrays in zip(*(arrays for arrays, _ in members), strict=True)]
        forms = [form for of_list in zip(*(forms for _, forms in members), strict=True) for form in of_list]
    _require_agreement(name, tuple(forms))
    return lists


@functools.lru_cache(maxsize=256)
def _require_agreement(name: str, forms: tuple[Form, ...]) -> None:
    """forms: of all arrays of the first list, then of those of the second, and so on."""
    length = len(forms) // LISTS[name]
    for position in range(length):
        agreeing_axes(ONE_OF[name], forms[position::length])
    dtypes = sorted({str(dtype) for _, dtype in forms})
    if len(dtypes) > 1:
        raise TypeError(f"{name}: expected arrays of one dtype, got {' and '.join(dtypes)}")


def one_by_one(name: str, operation: Callable[..., Any]) -> Callable[..., None]:
    """The operation `name` on lists, by calls of this one for a member of each."""

    def on_lists(*arguments: Any) -> None:
        lists, settings = arguments[: LISTS[name]], arguments[LISTS[name] :]
        for arrays in zip(*lists, strict=True):
            operation(*arrays, *settings)

    return on_lists
