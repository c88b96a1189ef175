"""What the page has of a flatten."""

from minicnn.inspect.reports.base import Cost, LayerReport


class FlattenReport(LayerReport):
    channels = "flattened"

    def flops(self) -> Cost:
        return 0, 0

    def bytes(self) -> Cost:
        """No number is moved: the same memory is read with another shape."""
        return 0, 0
