"""What `inspect` is given, checked: images and labels, a gradient in place of a loss, names of classes."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from minicnn.backends import reference
from minicnn.checks import as_floats, refuse_images, require_shape
from minicnn.inspect.finite import require_finite
from minicnn.inspect.passes import named_arrays
from minicnn.layers import Layer
from minicnn.plain import Array


def as_batch(x: Array, y: Any, layers: Sequence[tuple[str, Layer]]) -> tuple[Array, Any]:
    """x as a finite array (N, …) of the network's dtype, and y as labels of N images."""
    refuse_images(x, "inspect: x")
    x = np.array(as_floats(reference, x, "inspect: x"))
    if x.ndim not in (2, 3, 4):
        raise ValueError(
            f"inspect: expected x of shape (N, C, H, W), one image (C, H, W), or vectors (N, D), got shape {x.shape}"
        )
    if not x.size:
        raise ValueError(f"inspect: expected x with at least one element, got shape {x.shape}")
    for name, layer in layers:
        for key, param in named_arrays(layer, "params"):
            if not param.ndim:
                raise ValueError(
                    f"inspect: expected {name}.{key} with at least one axis, got a single number; make it an array of "
                    "shape (1,)"
                )
            if param.dtype != x.dtype:
                raise TypeError(
                    f"inspect: expected x of the dtype of {name}.{key}, {param.dtype}, got {x.dtype}; convert it with "
                    f"x.astype(np.{param.dtype})"
                )
    require_finite(x, "x")
    x = x[None] if x.ndim == 3 else x
    return x, [y] if len(x) == 1 and y is not None and np.ndim(y) == 0 else y  # one image may come with its one label


def as_dy(dy: Array, output: Array) -> Array:
    """dy as a finite array like the output."""
    dy = np.array(as_floats(reference, dy, "inspect: dy"))
    require_shape(dy, output.shape, "inspect: dy")
    if dy.dtype != output.dtype:
        raise TypeError(f"inspect: expected dy of the output's dtype {output.dtype}, got {dy.dtype}")
    require_finite(dy, "dy")
    return dy


def as_class_names(classes: Iterable[str] | None, output: Array) -> list[str] | None:
    """The names as a list, or None; checked against the classes of the output."""
    if classes is None:
        return None
    classes = list(classes)
    if output.ndim != 2 or len(classes) != output.shape[1] or not all(isinstance(name, str) for name in classes):
        raise ValueError(
            f"inspect: expected a class name (str) for each class of the output of shape {output.shape}, "
            f"got {len(classes)}: {', '.join(map(repr, classes[:20]))}"
        )
    return classes
