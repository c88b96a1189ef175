"""What the page has of any layer, and what the reports of single kinds of layers share.

How costs are counted, the same in every report:

    flops    operations on numbers that the formula asks for, a multiply-add being 2. A comparison, an exp and a log are
             1 each. Products with the zeros of padding are counted, as the backends do them. What is done once for a
             channel and not for each of its cells is not counted.
    bytes    what must at least be read and written: forward x, the parameters, y and what is kept beside them;
             backward dy, what was kept, the parameters it needs, dx and the parameters' gradients. Each array once.
"""

from typing import Any, TypeAlias

from minicnn.inspect.passes import LayerPass
from minicnn.inspect.reports.reasons import READ, WHY
from minicnn.inspect.sample import FIRST, Axis, Part, Rest
from minicnn.layers import Layer
from minicnn.plain import Array

Cost: TypeAlias = tuple[int | None, int | None]  # of the forward and of the backward pass


class LayerReport:
    """What the page has of any layer.

    Args:
        layer_pass: what the layer did.
    """

    costs_are_known = False
    layer: Layer

    def __init__(self, layer_pass: LayerPass) -> None:
        self.layer_pass = layer_pass
        self.layer = layer_pass.layer
        self.x, self.y, self.dy, self.dx = layer_pass.x, layer_pass.y, layer_pass.dy, layer_pass.dx
        k = layer_pass.index
        self.x_axes = tuple((k, axis) for axis in range(self.x.ndim))  # as `sample` names them
        self.y_axes = tuple((k + 1, axis) for axis in range(self.y.ndim))

    @property
    def kind(self) -> str:
        """The name of its class; with its module where the page would take it for a layer that it has a view for."""
        name = type(self.layer).__name__
        taken = type(self) is LayerReport and name in {known.__name__ for known in WHY}
        return f"{type(self.layer).__module__}.{name}" if taken else name

    @property
    def channels(self) -> str:
        """How its output's channels come about, for `sample.Shown`."""
        return "like input" if self.x.ndim > 1 and self.x.shape[:2] == self.y.shape[:2] else "own"

    def param_axes(self, name: str, param: Array) -> tuple[Axis, ...]:
        """How a parameter is cut."""
        return (FIRST,) * param.ndim

    def keeps(self) -> list[tuple[str, str, Array | None]]:
        """[(what, why, array or None)]; None for sizes, and for parameters, which are there anyway."""
        why, read = WHY.get(type(self.layer), {}), READ.get(type(self.layer), {})
        return [
            *(
                (what, why.get(what, "the layer's own backward asks for it"), kept)
                for what, kept in self.layer_pass.kept.items()
            ),
            *((what, f"{reason}; it is there anyway", None) for what, reason in read.items()),
        ]

    def flops(self) -> Cost:
        """(forward, backward), or None for each where the formulas are not known."""
        return None, None

    def bytes(self) -> Cost:
        """(forward, backward), or None for each where the formulas are not known."""
        if not self.costs_are_known:
            return None, None
        params = self.layer.params
        all_params = sum(param.nbytes for param in params.values())
        kept = sum(array.nbytes for _, _, array in self.keeps() if array is not None)
        beside = sum(array.nbytes for what, _, array in self.keeps() if what not in ("x", "y") and array is not None)
        read = sum(params[name].nbytes for name in READ.get(type(self.layer), ()))
        forward = self.x.nbytes + all_params + self.y.nbytes + beside
        return forward, self.dy.nbytes + kept + read + self.dx.nbytes + all_params  # the last are the gradients

    def parts(self) -> tuple[Part, Part, Part, Part]:
        """x, y, dy, dx as a `Part` each."""
        return (
            Part(self.x, self.x_axes),
            Part(self.y, self.y_axes),
            Part(self.dy, self.y_axes),
            Part(self.dx, self.x_axes),
        )

    def extra(self) -> dict[str, Any]:
        """What its view needs beside x, y, their gradients, and the parameters."""
        return {}

    def param_grads(self) -> dict[str, Part]:
        """The gradients of the parameters, by name."""
        return {name: Part(grad, self.param_axes(name, grad)) for name, grad in self.layer.grads.items()}

    def rests(self) -> dict[str, Rest]:
        """{sum: `Rest`} of the sums that may have terms which are not in the page."""
        return {}
