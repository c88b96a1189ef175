"""What the page has of a batchnorm."""

from typing import Any

import numpy as np

from minicnn.backends import reference
from minicnn.backends.reference.batchnorm import batchnorm2d_train_paths
from minicnn.inspect.reports.base import Cost, LayerReport
from minicnn.inspect.sample import Axis, Cut, Part, Rest
from minicnn.layers import BatchNorm2d
from minicnn.plain import Array


class BatchNorm2dReport(LayerReport):
    layer: BatchNorm2d
    costs_are_known = True
    channels = "like input"

    def param_axes(self, name: str, param: Array) -> tuple[Axis, ...]:
        return (self.y_axes[1],)

    def flops(self) -> Cost:
        """For each cell, in training: the mean 1, the variance 3, x_hat 2, its scale and shift 2.

        Backward: x_hat 2, the two sums 3; then 1 to scale dy, and in training 3 more for the other two paths.
        """
        forward, backward = (8, 9) if self.layer_pass.memory.training else (4, 6)
        return forward * self.x.size, backward * self.x.size

    def extra(self) -> dict[str, Any]:
        layer, memory, before = self.layer, self.layer_pass.memory, self.layer_pass.state
        weight = layer.params["weight"]
        by_channel = (self.y_axes[1],)
        given = self.dy, self.x, weight
        dx_of_evaluation, *_ = reference.batchnorm2d_eval_backward(
            *given, before["running_mean"], before["running_var"], layer.eps
        )
        if memory.training:
            paths = batchnorm2d_train_paths(*given, memory.mean, memory.var, layer.eps)
        else:  # the statistics are constants: nothing flows through them
            nothing = np.zeros_like(self.dx)
            paths = self.dx, nothing, nothing
        return {
            "eps": layer.eps,
            "mean": Part(memory.mean, by_channel),
            "var": Part(memory.var, by_channel),
            "running_mean": Part(before["running_mean"], by_channel),
            "running_var": Part(before["running_var"], by_channel),
            "x_hat_needed": False,
            "paths": {
                name: Part(path, self.x_axes) for name, path in zip(("direct", "mean", "variance"), paths, strict=True)
            },
            "eval_dx": Part(dx_of_evaluation, self.x_axes),
            "count": self.x.size // self.x.shape[1],
        }

    def rests(self) -> dict[str, Rest]:
        layer, memory, grads = self.layer, self.layer_pass.memory, self.param_grads()
        _, _, dy, _ = self.parts()

        def sums(cut: Cut) -> list[Array]:
            """(dweight, dbias) of the cells that are left out. Their formula is the same in both modes."""
            _, *both = reference.batchnorm2d_eval_backward(
                cut.split(dy)[1], self.x, layer.params["weight"], memory.mean, memory.var, layer.eps
            )
            return both

        n, _, *cells = self.x_axes
        return {
            "dweight": Rest(grads["weight"], (n, *cells), lambda cut: sums(cut)[0]),
            "dbias": Rest(grads["bias"], (n, *cells), lambda cut: sums(cut)[1]),
        }
