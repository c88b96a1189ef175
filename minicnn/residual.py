"""Residual: layers with a way around them."""

from collections.abc import Iterable
from typing import Any

from minicnn.checks import as_floats, described, require_shape
from minicnn.images import Images, Shape
from minicnn.layers import Layer
from minicnn.layers.base import statistics_kept_on_error
from minicnn.network import Sequential
from minicnn.plain import Array

SHORTCUT = "shortcut"  # the name of the child that is the other way
MOST_STRIDE = 8  # of a shortcut that an error proposes


class Residual(Sequential):
    """Layers one after another, f, and a shortcut s around them (He et al., 2015, arXiv:1512.03385).

        y = f(x) + s(x)              s(x) = x, or what the layer `shortcut` makes of x
        dx = f'(dy) + s'(dy)         f', s': the vector-Jacobian product (VJP) of a path, which its `backward` computes

    Where paths meet in a sum, d(a + b) = da + db: each path is handed the whole dy.
    Where x goes two ways, a change of x comes out of both, so the gradients of the two ways are added up.
    Around the shortcut s'(dy) = dy: however many such blocks there are, the loss speaks to the first layer directly.

    The sum needs neither f(x) nor s(x) again, so nothing is kept for backward but what the layers inside keep.

    It is a Sequential: children have names, of which `shortcut` is the shortcut's. Those of f are numbered, or
    named as there: Residual(conv1=…, bn1=…, shortcut=…).

    Shapes: x as the first layer of f takes it; f(x), s(x) and y of one shape; dy like y, dx like x; or `Images`.

    Args:
        layers, named_layers: f, at least one layer.
        shortcut: a layer or Sequential in place of the identity, where f changes channels or size: a 1 × 1 convolution
            with f's stride, and maybe a batchnorm after it.

    Raises:
        ValueError: no layers; f(x) and s(x) of different shapes, and the message says which shortcut would do.
        TypeError: something that is not a layer; f(x) and s(x) of different dtypes.

    >>> import numpy as np
    >>> from minicnn.layers import Linear, ReLU
    >>> block = Residual(Linear(1, 1, bias=False), ReLU())
    >>> block["0"].params["weight"][:] = 3
    >>> block.forward(np.float32([[2], [-2]]))              # x + relu(3 x)
    array([[ 8.],
           [-2.]], dtype=float32)
    >>> block.backward(np.float32([[1], [1]]))              # 1 + 3 where relu is open, 1 where it is shut
    array([[4.],
           [1.]], dtype=float32)

    The arithmetic, in `minicnn/backends/`:
        reference/addition.py    to read
        cpu/addition.py          to run
        cuda/addition.py         to run on a GPU
    """

    takes_images = True

    def __init__(self, *layers: Layer, shortcut: Layer | None = None, **named_layers: Layer) -> None:
        if not layers and not named_layers:
            raise ValueError("Residual: expected at least one layer beside the shortcut, got none")
        super().__init__(*layers, **named_layers, **({} if shortcut is None else {SHORTCUT: shortcut}))

    @property
    def path(self) -> dict[str, Layer]:
        """The layers of f, by name."""
        return {name: child for name, child in self.children.items() if name != SHORTCUT}

    @property
    def shortcut(self) -> Layer | None:
        """The layer that s is; None for the identity."""
        return self.children.get(SHORTCUT)

    @property
    def operations(self) -> tuple[str, ...]:  # type: ignore[override]  # as of a Sequential
        return tuple(sorted({*super().operations, "addition"}))

    def predict(self, x: Any) -> Any:
        x = fx = self.as_input(x)
        for layer in self.path.values():
            fx = layer.predict(fx)
        return self._sum(x, fx, x if self.shortcut is None else self.shortcut.predict(x))

    def forward(self, x: Any) -> Any:
        x = fx = self.as_input(x)
        with statistics_kept_on_error(layer for _, layer in self.named_layers()):
            for layer in self.path.values():
                fx = layer.forward(fx)
            return self.joined(x, fx, x if self.shortcut is None else self.shortcut.forward(x))

    def joined(self, x: Any, fx: Any, sx: Any) -> Any:
        """The last step of forward: the sum of what both ways have made of x."""
        y = self._sum(x, fx, sx)
        self.remember(y)
        return y

    def backward(self, dy: Any, need_dx: bool = True) -> Any:
        dy, _ = self.recall(dy)
        from_f = _backward(self.path.values(), dy, need_dx)
        from_s = dy if self.shortcut is None else self.shortcut.backward(dy, need_dx=need_dx)
        return self.ops.add(from_f, from_s) if need_dx else None

    def _sum(self, x: Any, fx: Any, sx: Any) -> Any:
        """f(x) + s(x). Raises where they do not agree, and says which shortcut would."""
        fx = as_floats(self.ops, fx, "Residual: f(x)")
        sx = as_floats(self.ops, sx, "Residual: shortcut")
        if fx.shape != sx.shape:
            if self.shortcut is not None:
                require_shape(sx, fx.shape, "Residual: the shortcut's output, which is added to f(x)")
            raise ValueError(
                f"Residual: expected layers whose output has the shape of their input, {described(x.shape)}, to add "
                f"the two, got {described(fx.shape)}; {_remedy(x, fx)}"
            )
        if fx.dtype != sx.dtype:
            raise TypeError(
                f"Residual: expected f(x) and the shortcut's output of one dtype, got {fx.dtype} and {sx.dtype}"
            )
        return self.ops.add(fx, sx)


def _backward(layers: Iterable[Layer], dy: Any, need_dx: bool) -> Any:
    first, *later = layers
    for layer in reversed(later):
        dy = layer.backward(dy)
    return first.backward(dy, need_dx=need_dx)


def _remedy(x: Array | Images, fx: Array | Images) -> str:
    """What to do where f(x) and x cannot be added: the shortcut that fits, as far as it is known."""
    if x.ndim == fx.ndim == 2:
        return f"pass shortcut=Linear({x.shape[1]}, {fx.shape[1]})"
    if x.ndim == fx.ndim and x.ndim in (3, 4):
        pairs = [*zip(_sides(x.shape), _sides(fx.shape), strict=True)]
        for stride in range(1, MOST_STRIDE + 1):
            if all(output == -(-side // stride) for side, output in pairs):
                return f"pass shortcut=Conv2d({x.shape[-3]}, {fx.shape[-3]}, kernel_size=1, stride={stride})"
    return "pass a shortcut whose output has the shape of theirs, or give convolutions of kernel 3 padding=1"


def _sides(shape: Shape) -> list[int]:
    """Heights and widths of images of one size, (H, W), or of all of them."""
    return [side for axis in shape[-2:] for side in (axis if isinstance(axis, tuple) else (axis,))]
