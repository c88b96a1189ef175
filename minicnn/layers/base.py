"""What every layer has in common: parameters, memory between forward and backward, and checks of the input.

A layer is one step of the network. It owns its parameters, calls operations of a backend, and keeps between
`forward` and `backward` what the backward formula needs:

    predict(x)    the layer as a plain function, as it acts in evaluation; keeps nothing
    forward(x)    the same in the layer's present mode, and remembers what backward will ask for
    backward(dy)  from the gradient of the loss with respect to the output, dy, to that with respect to the
                  input, dx; on the way it *assigns* `grads`, so that there is nothing to zero

`forward` remembers in evaluation mode too, so that a gradient can be taken through frozen batch statistics (for a
saliency map, say). What it remembers are arrays that were handed in or out, not copies: do not write to them before
`backward`. Where no gradient is wanted, `predict` is the call: it changes nothing in the layer, and
several threads may call it at once.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from minicnn.backends import get_backend, module_of
from minicnn.backends.copying import Copyable
from minicnn.backends.declared import RESULTS
from minicnn.backends.own import OwnOperations
from minicnn.backends.protocol import Operations
from minicnn.checks import DTYPES, as_floats, kind_of, refuse_images, require_shape
from minicnn.images import Batch, Images
from minicnn.io.html import arrays_table, preformatted
from minicnn.plain import Array

if TYPE_CHECKING:
    from typing_extensions import Self


class Layer(Copyable):
    """Base of all layers.

    Shapes: each layer's own; dy is like y, and dx like x. What a layer raises it says as well: TypeError for input of a
    wrong kind or dtype, ValueError for one of a wrong shape.

    Attributes:
        params: dict of arrays that are learned, by name ("weight", "bias").
        grads: dict with the same keys, filled by `backward`.
        state: dict of arrays that are kept but not learned (running statistics).
        training: True in training mode, the mode of a new layer.
        ops: the backend module whose operations it calls, "cpu" for a new layer; `to` changes it, and `use` single
            operations of it.
        memory: what the last `forward` kept for `backward`; None when there is nothing.
        operations: the files of the backend whose operations it calls.
        takes_images: whether its input may be `Images`, each then treated at its own size.
    """

    operations: tuple[str, ...] = ()
    takes_images = False

    def __init__(self) -> None:
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.state: dict[str, Array] = {}
        self.training = True
        self.memory: SimpleNamespace | None = None
        self._ops: Operations = module_of("cpu")

    @property
    def ops(self) -> Operations:
        """The backend module whose operations this layer calls."""
        return self._ops

    def predict(self, x: Any) -> Any:
        """The output in evaluation mode. Nothing is remembered and nothing in the layer changes."""
        raise NotImplementedError

    def forward(self, x: Any) -> Any:
        """The output in the present mode; keeps what `backward` needs."""
        raise NotImplementedError

    def backward(self, dy: Any, need_dx: bool = True) -> Any:
        """dx for dy, once for each `forward`; assigns `grads`.

        With `need_dx=False` a layer may skip the input gradient and return None: the first layer of a
        network in training does, since no gradient of the images is needed.

        Raises RuntimeError where no forward came first, ValueError or TypeError where dy is not like the output.
        """
        raise NotImplementedError

    def __call__(self, x: Any) -> Any:
        return self.forward(x)

    def train(self, mode: bool = True) -> "Self":
        """Switch to training mode (or with False to evaluation mode). Returns the layer."""
        self.training = bool(mode)
        return self

    def eval(self) -> "Self":
        """Switch to evaluation mode. Returns the layer."""
        return self.train(False)

    def to(self, backend: str | None = None, dtype: DTypeLike | None = None) -> "Self":
        """Move parameters and state to a backend ("cpu", "reference", "cuda") and/or a dtype. Returns the layer.

        What an earlier `forward` remembered is dropped, and so are gradients. An optimiser made before holds
        state of the old kind: make it after moving.

        Raises ValueError for an unknown backend, RuntimeError for one that cannot run, TypeError for another dtype.

        >>> from minicnn import Linear
        >>> Linear(2, 1).to("reference", np.float64).params["weight"].dtype
        dtype('float64')
        """
        ops = self._ops if backend is None else _with_own(get_backend(backend), self.own_operations)
        if dtype is not None and np.dtype(dtype) not in DTYPES:
            raise TypeError(f"{type(self).__name__}.to: expected dtype float32 or float64, got {np.dtype(dtype)}")
        for arrays in (self.params, self.state):
            for name, array in arrays.items():
                if getattr(array, "dtype", None) in DTYPES:  # counters stay integers, on the host
                    host = self.ops.to_numpy(array)
                    arrays[name] = ops.asarray(host if dtype is None else host.astype(dtype))
        self._ops, self.grads, self.memory = ops, {}, None
        return self

    def use(self, **operations: Callable[..., Any] | None) -> "Self":
        """Compute with these functions in place of the backend's operations of the same names. Returns the layer.

        They must keep the contract of `minicnn.backends`, and stay when `to` moves the layer; `fuse` leaves such a
        layer as it is. With None the backend's operation is used again. What they return becomes a new array of the
        input's dtype; where it has another shape, or is no array of numbers, the layer raises ValueError or TypeError.

        Raises ValueError for a name that is no operation, TypeError for anything but a function.

        >>> from minicnn import ReLU
        >>> upside_down = ReLU().use(relu_backward=lambda dy, y: dy * (y <= 0))
        >>> y = upside_down.forward(np.float32([-1, 2]))
        >>> upside_down.backward(np.float32([5, 5]))
        array([5., 0.], dtype=float32)
        """
        backend = getattr(self._ops, "backend", self._ops)
        for name, function in operations.items():
            if not RESULTS.get(name):
                raise ValueError(
                    f"{type(self).__name__}.use: expected the name of an operation, got {name!r}; "
                    f"there are {', '.join(sorted(name for name in RESULTS if RESULTS[name]))}"
                )
            if function is not None and not callable(function):
                raise TypeError(f"{type(self).__name__}.use: expected a function as {name}, got {function!r}")
        own = {name: function for name, function in (self.own_operations | operations).items() if function is not None}
        self._ops, self.memory = _with_own(backend, own), None
        return self

    @property
    def own_operations(self) -> dict[str, Callable[..., Any]]:
        """The functions that `use` was given, by the operation's name."""
        return getattr(self._ops, "own", {})

    def remember(self, y: Array | Images, /, **values: Any) -> None:
        """Keep `values` for backward, and the form of the output y, which dy must have."""
        self.memory = SimpleNamespace(**values, y_shape=y.shape, y_dtype=y.dtype)

    def recall(self, dy: Batch) -> tuple[Batch, SimpleNamespace]:
        """Check dy against the output of the last forward, and hand out what that forward kept: (dy, memory).

        The memory is released, so that the arrays in it can be freed as backward goes.

        Raises RuntimeError where no forward came first, ValueError or TypeError where dy is not like the output.
        """
        name = type(self).__name__
        if self.memory is None:
            raise RuntimeError(
                f"{name}: backward needs a forward first, and each forward serves one backward; call forward(x) again"
            )
        dy = as_floats(self.ops, dy, f"{name}.backward: dy")
        require_shape(dy, self.memory.y_shape, f"{name}.backward: dy")
        if dy.dtype != self.memory.y_dtype:
            raise TypeError(f"{name}.backward: expected dy of dtype {self.memory.y_dtype}, got {dy.dtype}")
        self.require_params(dy)
        memory, self.memory = self.memory, None
        return dy, memory

    def as_input(self, x: Batch) -> Batch:
        """x as an array (or `Images`) the operations take: this backend's, contiguous, of the weights' dtype.

        Raises TypeError for another dtype or `Images` that it cannot take, ValueError where x is empty.
        """
        name = type(self).__name__
        x = as_floats(self.ops, x, f"{name}: input")
        if not self.takes_images:
            refuse_images(x, name)
        if 0 in x.shape:
            raise ValueError(f"{name}: expected an input with at least one element, got shape {x.shape}")
        self.require_params(x)
        return x

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters and statistics that this layer computes with, by name.

        A custom layer need not declare them; then its operations check what they are given.
        """
        return {}

    def require_params(self, x: Array | Images) -> None:
        """Check that parameters and statistics, which users may set, are arrays of x's dtype and of their `shapes`.

        What is not contiguous, or is a list, is replaced by an array of its numbers. Raises TypeError or ValueError
        for what cannot be computed with.
        """
        shapes = self.shapes()
        for key in shapes | self.params:
            arrays = self.params if key in self.params else self.state
            array, shape = arrays.get(key), shapes.get(key)
            usable = (
                type(array) is np.ndarray
                and array.dtype == x.dtype
                and (array.shape == shape or shape is None)
                and array.flags.carray
            )
            if usable:
                continue
            if key not in arrays:
                raise ValueError(
                    f"{type(self).__name__}: expected parameters {', '.join(shapes)}, got none called {key}"
                )
            arrays[key] = self._as_param(key, array, shape, x)

    def _as_param(self, key: str, given: Any, shape: tuple[int, ...] | None, x: Array | Images) -> Array:
        """What was found under `key` as an array of `shape` and of x's dtype."""
        name = type(self).__name__
        try:
            array = self.ops.asarray(given)
        except (TypeError, ValueError) as error:  # a mask, or rows of different lengths
            raise type(error)(f"{name}: {key}: {error}") from None
        if shape is not None and array.shape != shape:
            raise ValueError(f"{name}: expected {key} of shape {shape}, got {kind_of(given)}")
        if array.dtype == x.dtype:
            return array
        if key in self.params and array is given and array.dtype in DTYPES:
            raise TypeError(
                f"{name}: expected input of the dtype of {key}, {array.dtype}, got {x.dtype}; "
                f"convert the input with x.astype(np.{array.dtype}) or the network with .to(dtype=np.{x.dtype})"
            )
        raise TypeError(f"{name}: expected {key} as an array of {x.dtype}, got {kind_of(given)}")

    def describe(self) -> str:
        """The arguments that made this layer, for its repr: '3, 16, kernel_size=(3, 3)'."""
        return ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"

    def _repr_html_(self) -> str:
        """What a notebook shows: parameters, statistics and gradients, and how large their numbers are."""
        gradients = {f"gradient of {key}": array for key, array in self.grads.items()}
        arrays = {key: self.ops.to_numpy(array) for key, array in (self.params | self.state | gradients).items()}
        title = f"{self!r}{'' if self.training else ' in evaluation mode'}"
        return arrays_table(title, arrays) if arrays else preformatted(title)


def _with_own(backend: Operations, own: dict[str, Callable[..., Any]]) -> Any:
    return OwnOperations(backend, own) if own else backend


@contextlib.contextmanager
def statistics_kept_on_error(layers: Iterable[Layer]) -> Iterator[None]:
    """Restore the layers' statistics where the block raises: a batch that failed must not count."""
    layers = [layer for layer in layers if layer.state]
    before = [
        {key: layer.ops.copy(array) for key, array in layer.state.items() if hasattr(array, "copy")} for layer in layers
    ]
    try:
        yield
    except Exception:
        for layer, state in zip(layers, before, strict=True):
            layer.state.update(state)
        raise
