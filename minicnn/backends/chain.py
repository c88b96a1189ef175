"""Blocks one above the other, as `fused_predict` takes them, held against the contract."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from minicnn.backends.contract import Block
from minicnn.backends.guard import Form, agreeing_axes, looked_at
from minicnn.plain import Array

OF_A_BLOCK = "fused_conv_forward"  # the operation as which each is declared


def chained(x: Any, blocks: Sequence[Block], asarray: Callable[[Any], Array]) -> list[Block]:
    """The blocks, each array as kernels take it. Raises TypeError or ValueError where they do not fit each other and x.

    x is one that `guarded` let in.
    """
    given, forms = taken(blocks, asarray)
    require_chain((x.shape, x.dtype), forms)
    return given


def taken(blocks: Sequence[Block], asarray: Callable[[Any], Array]) -> tuple[list[Block], tuple[Form, ...]]:
    """The blocks, each array as kernels take it, and the forms of each."""
    if not blocks:
        raise ValueError("fused_predict: expected at least one block, got none")
    given, forms = [], []
    for block in blocks:
        if block.norm.mean is None or block.norm.var is None:
            raise TypeError("fused_predict: expected norm with mean and var, got None: evaluation has no batch")
        (_, *arguments), (_, *of_arguments) = looked_at(OF_A_BLOCK, (block.weight, *block), asarray)
        given.append(Block(*arguments))
        forms.append(tuple(of_arguments))
    return given, tuple(forms)


@lru_cache(maxsize=1024)
def require_chain(x_form: Form, forms: tuple[Form, ...]) -> None:
    """Raise TypeError or ValueError where blocks of these forms cannot follow each other on images of the form."""
    _, dtype = below = x_form
    for form in forms:
        axes = agreeing_axes(OF_A_BLOCK, (below, *form))
        below = tuple(axes[letter] for letter in ("N", "F", "OH", "OW")), dtype
