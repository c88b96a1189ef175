"""The weights of blocks in evaluation, batchnorm folded in, as kernels read them: prepared once and kept.

They are kept with the numbers that they were made from, and used again while those are the same, bit for bit: what
changes in place is seen. They live as long as the first weight they were made from.
"""

import functools
import weakref
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from minicnn.backends.chain import taken
from minicnn.backends.contract import Block, Norm
from minicnn.backends.cpu.arrays import asarray
from minicnn.backends.cpu.conv import choose_algorithm
from minicnn.backends.cpu.convolution import tile, winograd
from minicnn.backends.cpu.convolution.patches import padded_bias
from minicnn.backends.cpu.runtime.program import addresses
from minicnn.plain import Array, Pair


class Kind(NamedTuple):
    """What a program depends on of a block."""

    algorithm: ModuleType
    filters: int
    kernel_size: Pair
    stride: Pair
    padding: Pair
    phases: tuple[int, ...]  # of the tile, see `Packed` there


class Weights:
    """The weights of blocks as kernels read them: for each block packed, its padded bias, and as they are."""

    def __init__(self, blocks: Sequence[Block], forms: tuple[Any, ...]) -> None:
        self.forms = forms
        self._made_from = [_settings(block) for block in blocks], [_contents(array) for array in _arrays(blocks)]
        self._arrays: list[Array] = []
        self.kinds = tuple(map(self._pack, blocks))
        self.addresses = addresses(self._arrays)

    def _pack(self, block: Block) -> Kind:
        (weight, bias), kernel_size = _folded(block.weight, block.bias, block.norm), block.weight.shape[2:]
        filters, channels = weight.shape[:2]
        algorithm = choose_algorithm(channels, kernel_size, block.stride, block.padding, weight)
        phases: Sequence[int] = ()
        if algorithm is winograd:
            packed, _ = winograd.packed_weight(weight, flip=False)
        else:
            packed, phases = tile.packed_weight(tile.forward_taps(kernel_size, block.padding), weight, flip=False)
        self._arrays += [packed, padded_bias(bias, filters, weight.dtype), weight]
        return Kind(algorithm, filters, kernel_size, block.stride, block.padding, tuple(phases))

    def are_of(self, blocks: Sequence[Block]) -> bool:
        """Whether the blocks still have the same numbers."""
        settings, contents = self._made_from
        arrays = _arrays(blocks)
        return [_settings(block) for block in blocks] == settings and all(
            _contents(array) == before for array, before in zip(arrays, contents, strict=True)
        )


_kept: dict[int, tuple[Weights, object]] = {}  # by the id of the first block's weight, which has a weak reference


def prepared(blocks: Sequence[Block]) -> Weights:
    """The blocks' weights, those that are kept where nothing has changed."""
    first = blocks[0].weight if blocks else None
    kept, _ = _kept.get(id(first), (None, None))
    if kept is not None and kept.are_of(blocks):
        return kept
    weights = Weights(*taken(blocks, asarray))
    if type(first) is np.ndarray:
        _kept[id(first)] = weights, weakref.ref(first, functools.partial(_forget, id(first)))
    return weights


def _forget(key: int, _: object, forget: Any = _kept.pop) -> None:
    forget(key, None)


def _arrays(blocks: Sequence[Block]) -> list[Any]:
    return [array for weight, bias, norm, *_ in blocks for array in (weight, bias, *norm[:4])]


def _settings(block: Block) -> tuple[float, Pair, Pair]:
    return block.norm.eps, block.stride, block.padding


def _contents(array: Any) -> Any:
    """What is compared of an array, or None. Anything else is equal to nothing, and so looked at anew each time."""
    if type(array) is np.ndarray:
        return array.shape, array.dtype, array.tobytes()
    return None if array is None else object()


def _folded(weight: Array, bias: Array | None, norm: Norm) -> tuple[Array, Array]:
    """Weight and bias of the one convolution that does what convolution and batchnorm do: W' = scale * W."""
    scale = (norm.weight / np.sqrt(norm.var + norm.eps)).astype(weight.dtype)
    shift = norm.bias - scale * norm.mean
    return weight * scale[:, None, None, None], shift if bias is None else scale * bias + shift
