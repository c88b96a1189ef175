"""What the page has of a relu."""

from minicnn.inspect.reports.base import Cost, LayerReport


class ReLUReport(LayerReport):
    costs_are_known = True

    def flops(self) -> Cost:
        return self.x.size, self.x.size

    def dead(self) -> float:
        """The share of channels (of vectors: units) that are 0 in every cell of every image."""
        others = tuple(axis for axis in range(self.y.ndim) if axis != 1)
        return float((self.y == 0).all(axis=others).mean()) if self.y.ndim > 1 else float((self.y == 0).mean())
