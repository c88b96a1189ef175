"""Objects that people hand over where an ordinary array is meant, each made of an ordinary array.

`TWISTS` maps a name to a function from a plain array to the object. `ordinary` goes the other way: the float64 array of
the same values, or `NoMeaning` where the object stands for no array of numbers.

An `__array_interface__` that speaks of more memory than it has is not among them: NumPy itself believes it.
"""

import array
import collections
import functools
import numbers
import tempfile
import types

import numpy as np

from minicnn import Images


class NoMeaning(Exception):
    """There is no ordinary array of these values."""


class OwnError(Exception):
    """Raised by an object that is asked for its array; it may come out as it is."""


class Subclass(np.ndarray):
    """A user's subclass that carries a note, and gives itself back from every view."""

    def __array_finalize__(self, other):
        self.note = getattr(other, "note", "mine")


class Lying(np.ndarray):
    """A subclass that says of itself what is not so."""

    @property
    def shape(self):
        return (3, 7)

    @property
    def flags(self):
        return types.SimpleNamespace(carray=True, c_contiguous=True, aligned=True, writeable=True)

    def reshape(self, *shape):
        return self


class Keeping(np.ndarray):
    """A subclass of two axes for ever, as np.matrix is, whose elements multiply as elements do."""

    def __array_finalize__(self, other):
        if self.ndim == 1:
            super().__setattr__("shape", (1, self.size))


class WithArray:
    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return self.values if dtype is None else self.values.astype(dtype)


class Changing(WithArray):
    """Gives another array each time it is asked; the first time the right one."""

    def __init__(self, values):
        super().__init__(values)
        self.asked = 0

    def __array__(self, dtype=None, copy=None):
        self.asked += 1
        return super().__array__(dtype) if self.asked == 1 else np.zeros(1, np.float32)


class LyingAbout(WithArray):
    """Says that it has another shape and dtype than the array it gives."""

    shape, ndim, size, dtype = (3, 7), 2, 21, np.dtype(np.float32)

    def __len__(self):
        return 3


class Raising:
    shape, ndim, size, dtype = (2, 3), 2, 6, np.dtype(np.float32)

    def __array__(self, dtype=None, copy=None):
        raise OwnError("asked for an array")


class NoArray:
    def __array__(self, dtype=None, copy=None):
        return "no array"


class Interface:
    def __init__(self, **interface):
        self.__array_interface__ = interface


class RaisingInterface:
    @property
    def __array_interface__(self):
        raise OwnError("asked for the interface")


def _interface(a, **changed):
    fields = {"shape": a.shape, "typestr": a.dtype.str, "data": a.tobytes(), "version": 3}
    return Interface(**(fields | changed))


def _misaligned(a):
    memory = np.empty(a.nbytes + 1, np.uint8)
    view = memory[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def _strided(a):
    wide = np.full((*a.shape, 2), 7, a.dtype)
    wide[..., 0] = a
    return wide[..., 0]


def _overlapping(a):
    """Each number stands in several places: axes a step of one number apart."""
    memory = np.resize(a.reshape(-1), sum(a.shape) + 1).copy()
    return np.lib.stride_tricks.as_strided(memory, a.shape, (a.itemsize,) * a.ndim)


def _read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def _matrix(a):
    return np.matrix(a) if a.ndim == 2 else np.matrix(a.reshape(len(a) if a.ndim else 1, -1))


def _memmap(a):
    file = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the array)
    mapped = np.memmap(file, a.dtype, "w+", shape=a.shape or (1,))
    mapped[...] = a
    return mapped


def _structured(a):
    made = np.zeros(a.shape, [("value", a.dtype), ("more", np.int8)])
    made["value"] = a
    return made


def _recursive(a):
    numbers_and_itself = a.tolist() if a.ndim else [a.item()]
    numbers_and_itself.append(numbers_and_itself)
    return numbers_and_itself


def _objects(a):
    made = np.empty(a.shape, object)
    made[...] = a.astype(np.float64)
    return made


def _first_half(a):
    return a[: max(1, len(a) // 2)] if a.ndim else a


def _grouped(a):
    """As a kernel for groups has it: half of the inputs."""
    return np.ascontiguousarray(a[:, : max(1, a.shape[1] // 2)]) if a.ndim > 1 else a


_DTYPES = {
    "float16": np.float16,
    "float32": np.float32,
    "float64": np.float64,
    "longdouble": np.longdouble,
    "complex64": np.complex64,
    "text": str,
}
INTEGERS = {"bool": bool, "int8": np.int8, "int32": np.int32, "int64": np.int64, "uint64": np.uint64}

OF_ANOTHER_DTYPE = {
    **{name: functools.partial(lambda dtype, a: a.astype(dtype), dtype) for name, dtype in _DTYPES.items()},
    **{
        name: functools.partial(lambda dtype, a: np.abs(np.rint(3 * a)).astype(dtype), dtype)
        for name, dtype in INTEGERS.items()
    },
    "complex": lambda a: a + 1j,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "objects": _objects,
    "words": lambda a: np.full(a.shape, "word"),
    "dates": lambda a: np.zeros(a.shape, "M8[s]"),
    "void": lambda a: np.zeros(a.shape, "V4"),
    "structured": _structured,
}
OF_ANOTHER_SHAPE = {
    "transposed": lambda a: a.T,
    "transposed copy": lambda a: np.ascontiguousarray(a.T),
    "first two axes exchanged": lambda a: np.ascontiguousarray(a.swapaxes(0, 1)) if a.ndim > 1 else a,
    "channels last": lambda a: np.ascontiguousarray(np.moveaxis(a, 1, -1)) if a.ndim > 1 else a,
    "0-d": lambda a: np.array(a.reshape(-1)[0]),
    "empty": lambda a: a[:0] if a.ndim else a,
    "empty last axis": lambda a: a[..., :0] if a.ndim else a,
    "one axis more": lambda a: a[None],
    "one axis more behind": lambda a: a[..., None],
    "flat": lambda a: a.reshape(-1),
    "one number": lambda a: a.reshape(-1)[:1].copy(),
    "row": lambda a: a.reshape(1, -1),
    "column": lambda a: a.reshape(-1, 1),
    "column of C": lambda a: np.ascontiguousarray(a.reshape(-1)[: len(a) if a.ndim else 1]).reshape(-1, 1),
    "shorter": lambda a: a[:-1] if a.ndim else a,
    "shorter behind": lambda a: a[..., :-1] if a.ndim else a,
    "longer": lambda a: np.concatenate([a, a]) if a.ndim else a,
    "longer behind": lambda a: np.concatenate([a, a], axis=-1) if a.ndim else a,
    "first": lambda a: a[:1] if a.ndim else a,
    "first half": _first_half,
    "kernel for groups": _grouped,
}
# Whose values repeat, so that maxima of what is computed from them are ties that rounding decides.
OF_FEW_NUMBERS = {
    "zero strides": lambda a: np.broadcast_to(a[:1], a.shape) if a.ndim else a,
    "all strides zero": lambda a: np.broadcast_to(a.reshape(-1)[0], a.shape),
    "overlapping": _overlapping,
}
OF_ANOTHER_LAYOUT = {
    "Fortran order": np.asfortranarray,
    "negative strides": lambda a: np.ascontiguousarray(a[::-1])[::-1] if a.ndim else a,
    "negative last stride": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1] if a.ndim else a,
    "every other": _strided,
    "misaligned": _misaligned,
    "read-only": _read_only,
    "part of a larger one": lambda a: np.concatenate([a, a])[: len(a)] if a.ndim else a,
    **OF_FEW_NUMBERS,
}
SUBCLASSES = {
    "matrix": _matrix,
    "masked, nothing masked": lambda a: np.ma.masked_array(a),
    "masked": lambda a: np.ma.masked_array(a, mask=np.arange(a.size).reshape(a.shape) % 2 == 0),
    "memmap": _memmap,
    "recarray": lambda a: a.view(np.recarray),
    "a user's": lambda a: a.view(Subclass),
    "a user's that lies": lambda a: a.copy().view(Lying),
    "a user's of two axes": lambda a: a.copy().view(Keeping),
}
NO_ARRAYS = {
    "list": lambda a: a.tolist(),
    "tuple": lambda a: tuple(a.tolist()) if a.ndim else a.item(),
    "list of arrays": list,
    "ragged list": lambda a: [[1.0], [1.0, 2.0]],
    "list that holds itself": _recursive,
    "number": lambda a: float(a.reshape(-1)[0]),
    "integer": lambda a: 1,
    "NumPy number": lambda a: a.reshape(-1)[0],
    "None": lambda a: None,
    "Ellipsis": lambda a: ...,
    "word": lambda a: "weight",
    "number in a word": lambda a: "1.5",
    "bytes": lambda a: a.tobytes(),
    "dict": lambda a: {"weight": a},
    "set": lambda a: {1.0, 2.0},
    "generator": lambda a: (number for number in a.reshape(-1)),
    "memoryview": lambda a: memoryview(np.ascontiguousarray(a)),
    "array.array": lambda a: array.array(a.dtype.char, a.reshape(-1).tolist()),
    "deque": lambda a: collections.deque(a.reshape(-1).tolist()),
    "with __array__": WithArray,
    "with __array__ that changes": Changing,
    "with a shape that is not so": LyingAbout,
    "with __array__ that raises": lambda a: Raising(),
    "with __array__ that gives none": lambda a: NoArray(),
    "with an interface": _interface,
    "with an interface of another type": lambda a: _interface(a, typestr="<i2"),
    "with an interface that is none": lambda a: _interface(a, typestr="nonsense"),
    "with an interface that raises": lambda a: RaisingInterface(),
    "looks like one": lambda a: types.SimpleNamespace(shape=a.shape, dtype=a.dtype, ndim=a.ndim, size=a.size, T=a.T),
    "class": lambda a: np.ndarray,
    "Images": lambda a: Images([np.zeros((1, 2, 3), a.dtype)]),
}
OF_NO_FINITE_NUMBERS = {
    "NaN": lambda a: np.full_like(a, np.nan),
    "infinity": lambda a: np.full_like(a, np.inf),
}
TWISTS = (
    {"plain": lambda a: a}
    | OF_ANOTHER_DTYPE
    | OF_ANOTHER_SHAPE
    | OF_ANOTHER_LAYOUT
    | SUBCLASSES
    | NO_ARRAYS
    | OF_NO_FINITE_NUMBERS
)


def ordinary(value, integers=False):
    """The plain float64 array (for labels: integers stay) of the same values. Raises NoMeaning where there is none."""
    refused = (type(None), str, bytes, dict, set, type, type(...), types.GeneratorType, types.SimpleNamespace, Images)
    if isinstance(value, refused) or (isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value)):
        raise NoMeaning
    try:
        values = np.asarray(value)
    except Exception as error:
        raise NoMeaning from error
    if values.dtype == object and all(isinstance(each, numbers.Real) for each in values.reshape(-1)):
        values = values.astype(np.float64)
    if values.dtype.kind not in "biuf":
        raise NoMeaning
    if integers and values.dtype.kind in "iu":
        return np.array(values, np.int64)
    return np.array(values, np.float64)
