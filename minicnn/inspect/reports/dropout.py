"""What the page has of a dropout."""

from minicnn.inspect.reports.base import Cost, LayerReport


class DropoutReport(LayerReport):
    costs_are_known = True

    def flops(self) -> Cost:
        """A product for each number in training, and nothing in evaluation; random words are no numbers."""
        return (0, 0) if self.layer_pass.memory.mask is None else (self.x.size, self.x.size)
