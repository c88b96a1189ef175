"""What the page has of a log-softmax."""

import numpy as np

from minicnn.inspect.reports.base import Cost, LayerReport
from minicnn.inspect.sample import Part, Rest
from minicnn.plain import Array


class LogSoftmaxReport(LayerReport):
    costs_are_known = True
    channels = "like input"

    def flops(self) -> Cost:
        """For K classes forward K − 1 comparisons, K − 1 additions, K exp, a log and 2 K subtractions."""
        n_images, n_classes = self.x.shape
        return n_images * (5 * n_classes - 1), n_images * (4 * n_classes - 1)

    def rests(self) -> dict[str, Rest]:
        return {"sum_dy": self._rest_of_sums(self.dy), "sum_p": self._rest_of_sums(np.exp(self.y))}

    def _rest_of_sums(self, array: Array) -> Rest:
        """The rest of each image's sum over the classes."""
        n, k = self.y_axes
        part = Part(array, self.y_axes)
        return Rest(Part(array.sum(axis=1), (n,)), (k,), lambda cut: cut.split(part)[1].sum(axis=1))
