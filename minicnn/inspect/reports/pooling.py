"""What the page has of a pooling, max or average, of fixed or of adaptive windows."""

from typing import Any

from minicnn.backends import reference
from minicnn.inspect.reports.base import Cost, LayerReport
from minicnn.inspect.sample import Cut, Part, Rest
from minicnn.layers import AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, MaxPool2d
from minicnn.plain import Array


class PoolingReport(LayerReport):
    layer: MaxPool2d | AvgPool2d | AdaptiveMaxPool2d | AdaptiveAvgPool2d
    costs_are_known = True
    channels = "like input"

    @property
    def is_max(self) -> bool:
        return isinstance(self.layer, (MaxPool2d, AdaptiveMaxPool2d))

    def tables(self) -> tuple[Array, Array]:
        return self.layer.windows(self.x.shape[2:])

    def flops(self) -> Cost:
        """The largest of a window takes one comparison less than it has cells; a mean takes its sum and a division."""
        cells = [sum(stop - start for start, stop, _ in table.tolist()) for table in self.tables()]
        in_windows, windows = self.x.shape[0] * self.x.shape[1] * cells[0] * cells[1], self.y.size
        return (in_windows - windows, windows) if self.is_max else (in_windows, windows + in_windows)

    def extra(self) -> dict[str, Any]:
        rows, columns = self.tables()
        extra = {
            "rows": rows.tolist(),
            "columns": columns.tolist(),
            "kind": "max" if self.is_max else "avg",
            "adaptive": isinstance(self.layer, (AdaptiveMaxPool2d, AdaptiveAvgPool2d)),
        }
        return extra | ({"argmax": Part(self.layer_pass.memory.argmax, self.y_axes)} if self.is_max else {})

    def rests(self) -> dict[str, Rest]:
        x, y, dy, dx = self.parts()
        tables, size = self.tables(), self.x.shape[2:]

        def dx_rest(cut: Cut) -> Array:
            left_out = cut.split(dy)[1]
            if self.is_max:
                return reference.max_pool2d_backward(left_out, self.layer_pass.memory.argmax, *tables, size)
            return reference.avg_pool2d_backward(left_out, *tables, size)

        def y_rest(cut: Cut) -> Array:
            return reference.avg_pool2d_forward(cut.split(x)[1], *tables)

        rests = {"dx": Rest(dx, self.y_axes[2:], dx_rest)}
        return rests if self.is_max else rests | {"y": Rest(y, self.x_axes[2:], y_rest)}
