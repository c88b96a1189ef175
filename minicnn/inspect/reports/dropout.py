"""What the page has of a dropout."""

from typing import Any

import numpy as np

from minicnn.backends.reference.dropout import dropout
from minicnn.inspect.reports.base import Cost, LayerReport
from minicnn.inspect.sample import Part


class DropoutReport(LayerReport):
    costs_are_known = True

    def flops(self) -> Cost:
        """A product for each number in training, and nothing in evaluation; random words are no numbers."""
        return (0, 0) if self.layer_pass.memory.mask is None else (self.x.size, self.x.size)

    def extra(self) -> dict[str, Any]:
        """The mask, worked out again."""
        ones, looked_up_by = np.ones_like(self.x), self.layer_pass.memory.mask
        return {"mask": Part(ones if looked_up_by is None else dropout(ones, *looked_up_by), self.y_axes)}
