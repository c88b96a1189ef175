"""Sequential: layers one after another; and SimpleNet, the network this package was written for."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from minicnn.backends.protocol import Operations
from minicnn.checks import DTYPES
from minicnn.layers import (
    AdaptiveMaxPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    LogSoftmax,
    ReLU,
)
from minicnn.layers.base import statistics_kept_on_error
from minicnn.layers.initialisation import as_generator
from minicnn.plain import Array, as_plain_array

if TYPE_CHECKING:
    from typing_extensions import Self


MAY_BE_MISSING = ("num_batches_tracked", "seed", "step")  # states that a file need not have


class Sequential(Layer):
    """Layers one after another: forward from the first to the last, backward from the last to the first.

    That is the chain rule. With x -> layer 1 -> a -> layer 2 -> y, layer 2 turns dy into da, and layer 1 turns
    da into dx; no layer knows more than its own step.

    Children have names, and the names make the keys of `state_dict`, as in PyTorch: `conv1.weight`. Children given
    without a name are called "0", "1", and so on. A child may itself be a Sequential.

    Shapes: x is what the first layer takes and y what the last one gives; dy is like y, dx like x.

    Raises:
        TypeError: a child that is not a layer.
        ValueError: no children, a layer used twice (it could remember only one of its two inputs), a name with a dot.

    >>> net = Sequential(conv1=Conv2d(3, 8, 3, rng=0), relu1=ReLU(), pool=AdaptiveMaxPool2d(1), flat=Flatten())
    >>> list(net.state_dict()), net["conv1"].params["weight"].shape
    (['conv1.weight', 'conv1.bias'], (8, 3, 3, 3))
    """

    names_its_layers = True  # whether its own name is part of its layers' names

    def __init__(self, *layers: Layer, **named_layers: Layer) -> None:
        super().__init__()
        self.children = {str(position): layer for position, layer in enumerate(layers)} | named_layers
        if not self.children:
            raise ValueError("Sequential: expected at least one layer, got none")
        for name, child in self.children.items():
            if not isinstance(child, Layer):
                raise TypeError(f"Sequential: expected a layer as {name!r}, got {type(child).__name__}")
            if "." in name:
                raise ValueError(f"Sequential: expected a name without a dot, got {name!r}")
        every_layer = [layer for _, layer in self.named_layers()]
        if len({id(layer) for layer in every_layer}) < len(every_layer):
            raise ValueError("Sequential: the same layer object stands in two places; make one for each place")
        seeds = [layer.seed for layer in every_layer if isinstance(layer, Dropout)]
        if len(set(seeds)) < len(seeds):
            raise ValueError("Sequential: two Dropout layers have the same seed, so the same masks; give each its own")

    @property
    def ops(self) -> Operations:
        """The backend of its layers. They may be shared with another network, and moved through that one."""
        return next(iter(self.children.values())).ops

    @property
    def operations(self) -> tuple[str, ...]:  # type: ignore[override]  # a layer's are the same for its whole class
        """The files of the backend whose operations its layers call."""
        return tuple(sorted({file for child in self.children.values() for file in child.operations}))

    def predict(self, x: Any) -> Array:
        """The output in evaluation mode; remembers nothing, so it takes little memory and is safe in threads."""
        for child in self.children.values():
            x = child.predict(x)
        return x

    def forward(self, x: Any) -> Array:
        with statistics_kept_on_error(layer for _, layer in self.named_layers()):
            for child in self.children.values():
                x = child.forward(x)
        return x

    def backward(self, dy: Array, need_dx: bool = True) -> Any:
        first, *later = self.children.values()
        for child in reversed(later):
            dy = child.backward(dy)
        return first.backward(dy, need_dx=need_dx)

    def train(self, mode: bool = True) -> "Self":
        for child in self.children.values():
            child.train(mode)
        return super().train(mode)

    def to(self, backend: str | None = None, dtype: DTypeLike | None = None) -> "Self":
        for child in self.children.values():
            child.to(backend, dtype)
        return super().to(backend, dtype)

    def use(self, **operations: Callable[..., Any] | None) -> "Self":
        for child in self.children.values():
            child.use(**operations)
        return super().use(**operations)

    def __getitem__(self, name: str | int) -> Any:
        """The child called `name`, or at a position; a dotted name reaches into nested networks."""
        if isinstance(name, int):
            return list(self.children.values())[name]
        first, _, rest = name.partition(".")
        if first not in self.children:
            raise KeyError(f"{type(self).__name__}: no layer {first!r}; there are {', '.join(self.children)}")
        child: Any = self.children[first]
        return child[rest] if rest else child

    def __len__(self) -> int:
        return len(self.children)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.children.values())

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """(name, layer) of every layer that is not itself a network, in forward order, names dotted."""
        for name, child in self.children.items():
            if isinstance(child, Sequential):
                yield from child.named_layers(f"{prefix}{name}." if child.names_its_layers else prefix)
            else:
                yield f"{prefix}{name}", child

    def named_params(self) -> Iterator[tuple[str, Layer, str]]:
        """(name, layer, key) of every parameter, in forward order: ("conv1.weight", the layer, "weight")."""
        for layer_name, layer in self.named_layers():
            for key in layer.params:
                yield f"{layer_name}.{key}", layer, key

    def state_dict(self) -> dict[str, Array]:
        """Copies of all parameters and states as NumPy arrays, with PyTorch's keys, shapes and dtypes."""
        return {
            f"{layer_name}.{key}": np.array(layer.ops.to_numpy(array))
            for layer_name, layer in self.named_layers()
            for arrays in (layer.params, layer.state)
            for key, array in arrays.items()
        }

    def load_state_dict(self, state_dict: Mapping[str, ArrayLike]) -> None:
        """Take over all parameters and states from `state_dict`, whose values may be anything NumPy can read.

        Everything is checked before anything is changed: where this raises, the network is as it was.
        The dtype of the network stays; float values are converted to it. Files from the time before PyTorch 0.4.1 have
        no `num_batches_tracked`, and PyTorch's have no seed and step of a `Dropout`; what is missing stays as it is.

        Raises:
            ValueError: keys missing or unexpected, an array of another shape, or numbers too large for the dtype;
                all of them are named.
            TypeError: an array that is not of numbers of the right kind (floats for weights, integers for counters).
        """
        targets = self._targets()
        for name, new in self.checked_state(state_dict).items():
            arrays, key, layer = targets[name]
            arrays[key] = layer.ops.asarray(new) if new.dtype in DTYPES else new  # counters are on the host

    def checked_state(self, state_dict: Mapping[str, ArrayLike]) -> dict[str, Array]:
        """Copies of the arrays of `state_dict` as `load_state_dict` takes them, shapes checked; raises as it does."""
        targets = self._targets()
        problems = [
            f"missing {name}"
            for name, (_, key, _) in targets.items()
            if name not in state_dict and key not in MAY_BE_MISSING
        ]
        problems += [f"unexpected {name}" for name in state_dict if name not in targets]
        loaded = {}
        for name in targets.keys() & state_dict.keys():
            arrays, key, layer = targets[name]
            present, new = layer.ops.to_numpy(arrays[key]), as_plain_array(state_dict[name], name)
            if new.shape != present.shape:
                problems.append(f"{name}: expected shape {present.shape}, got {new.shape}")
                continue
            if new.dtype.kind != present.dtype.kind:
                raise TypeError(
                    f"{type(self).__name__}.load_state_dict: {name}: expected {present.dtype}, got {new.dtype}"
                )
            with np.errstate(over="ignore"):  # said below
                loaded[name] = new.astype(present.dtype)  # a copy, never a view of the caller's array
            if not np.array_equal(np.isfinite(loaded[name]), np.isfinite(new)):
                problems.append(f"{name}: has numbers too large for {present.dtype}")
        if problems:
            raise ValueError(f"{type(self).__name__}.load_state_dict: " + "; ".join(sorted(problems)))
        return loaded

    def _targets(self) -> dict[str, tuple[dict[str, Array], str, Layer]]:
        """By name the place of each parameter and state: (the layer's dict, the key, the layer)."""
        return {
            f"{layer_name}.{key}": (arrays, key, layer)
            for layer_name, layer in self.named_layers()
            for arrays in (layer.params, layer.state)
            for key in arrays
        }

    def inspect(self, x: Any, y: ArrayLike | None = None, **options: Any) -> Any:
        """A page that shows one forward and one backward pass, number by number; the network stays as it is.

        >>> import numpy as np
        >>> Sequential(flat=Flatten(), fc=Linear(4, 3, rng=0)).inspect(np.ones((1, 2, 2), np.float32), 0)
        Inspection(Sequential, 2 layers, input (1, 1, 2, 2), CrossEntropyLoss 2.069, not saved)

        `options`, what is returned and what is raised: see `minicnn.inspect.inspect`. With path="page.html" the page
        is written there.
        """
        from minicnn.inspect import inspect  # here, since that module needs this one

        return inspect(self, x, y, **options)

    def summary(self, input_size: Any) -> Any:
        """A table of shapes, parameters, what backward keeps and why, memory and operations, for images (C, H, W).

        >>> print(str(Sequential(flat=Flatten(), fc=Linear(4, 3, rng=0)).summary((1, 2, 2))).splitlines()[0])
        Sequential on 1 × 1 × 2 × 2

        What is returned, sizes that are mixed, and what is raised: see `minicnn.inspect.summary.summarised`.
        """
        from minicnn.inspect.summary import summarised  # here, since that module needs this one

        return summarised(self, input_size)

    def _repr_html_(self) -> str:
        from minicnn.inspect.summary import network_table  # here, since that module needs this one

        return network_table(self)

    def export_onnx(self, path: str | Path, fold_batchnorm: bool = False) -> None:
        """Write the network, as it is in evaluation mode, to an ONNX file that takes images of any size.

        Needs the package onnx (`pip install 'minicnn-numba[onnx]'`). What is written and what is raised: see
        `minicnn.interop.onnx.export_onnx`.
        """
        from minicnn.interop.onnx import export_onnx  # here, since that module needs this one

        export_onnx(self, path, fold_batchnorm)

    def export_c(self, path: str | Path, max_height: int, max_width: int) -> None:
        """Write the network, as it is in evaluation mode, to a C file that takes images of any size up to the largest.

        What is written and what is raised: see `minicnn.interop.c.export_c`.
        """
        from minicnn.interop.c import export_c  # here, since that module needs this one

        export_c(self, path, max_height, max_width)

    def __repr__(self) -> str:
        lines = [f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.children.items()]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


class SimpleNet(Sequential):
    """Three blocks of convolution, batch normalisation and ReLU, a global max, and a linear classifier.

    Input (N, in_channels, H, W) of any H and W; output (N, num_classes), log-probabilities. The adaptive pooling
    is what makes it independent of the size: each of the 64 channels answers with its largest value anywhere.

    Raises TypeError or ValueError for num_classes or in_channels below 1, and what its layers raise for inputs.

    >>> import numpy as np
    >>> net = SimpleNet(rng=0).to("reference")
    >>> [net.predict(np.zeros((2, 3, h, w), np.float32)).shape for h, w in [(32, 32), (17, 23)]]
    [(2, 10), (2, 10)]
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, rng: np.random.Generator | int | None = None
    ) -> None:
        rng = as_generator(rng)
        super().__init__(
            conv1=Conv2d(in_channels, 16, kernel_size=3, padding=1, rng=rng),
            bn1=BatchNorm2d(16),
            relu1=ReLU(),
            conv2=Conv2d(16, 32, kernel_size=3, padding=1, rng=rng),
            bn2=BatchNorm2d(32),
            relu2=ReLU(),
            conv3=Conv2d(32, 64, kernel_size=3, padding=1, rng=rng),
            bn3=BatchNorm2d(64),
            relu3=ReLU(),
            adaptive_pool=AdaptiveMaxPool2d((1, 1)),
            flatten=Flatten(),
            fc=Linear(64, num_classes, rng=rng),
            log_softmax=LogSoftmax(),
        )
