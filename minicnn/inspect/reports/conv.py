"""What the page has of a convolution."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.backends import reference
from minicnn.inspect.reports.base import Cost, LayerReport
from minicnn.inspect.reports.products import left_out_products
from minicnn.inspect.sample import WHOLE, Axis, Cut, Part, Rest
from minicnn.layers import Conv2d
from minicnn.plain import Array


class Conv2dReport(LayerReport):
    layer: Conv2d
    costs_are_known = True
    channels = "own"

    def param_axes(self, name: str, param: Array) -> tuple[Axis, ...]:
        return (self.y_axes[1], self.x_axes[1], WHOLE, WHOLE) if name == "weight" else (self.y_axes[1],)

    def flops(self) -> Cost:
        products = self.y.size * self.layer.params["weight"][0].size
        bias = self.y.size if "bias" in self.layer.params else 0
        return 2 * products + bias, 4 * products + bias

    def extra(self) -> dict[str, Any]:
        layer = self.layer
        return {
            "kernel_size": list(layer.kernel_size),
            "stride": list(layer.stride),
            "padding": list(layer.convolution()[1]),
        }

    def rests(self) -> dict[str, Rest]:
        layer, weight, grads = self.layer, self.layer.params["weight"], self.param_grads()
        x, y, dy, dx = self.parts()
        geometry = layer.stride, layer.convolution()[1]

        # Of the channels and images only those in the page are computed: these are passes over all cells.
        def y_rest(cut: Cut) -> Array:
            images, filters, *_ = cut.places(y)
            left_out = cut.split(x)[1][images]
            return _placed(y, (images, filters), reference.conv2d_forward(left_out, weight[filters], None, *geometry))

        def dx_rest(cut: Cut) -> Array:
            images, channels, *_ = cut.places(x)
            left_out = cut.split(dy)[1][images]
            found = reference.conv2d_input_gradient(left_out, weight[:, channels], self.x.shape[2:], *geometry)
            return _placed(dx, (images, channels), found)

        def dweight_rest(cut: Cut) -> Array:
            filters, channels, *_ = cut.places(grads["weight"])

            def dweight(dy: Array, x: Array) -> Array:
                return reference.conv2d_weight_gradient(dy, x, layer.kernel_size, *geometry)

            dy_parts = [part[:, filters] for part in cut.split(dy)]
            x_parts = [part[:, channels] for part in cut.split(x)]
            return _placed(grads["weight"], (filters, channels), left_out_products(dweight, dy_parts, x_parts))

        n, c, *cells = self.x_axes
        _, f, *out_cells = self.y_axes
        rests = {
            "y": Rest(y, (c, *cells), y_rest),
            "dx": Rest(dx, (f, *out_cells), dx_rest),
            "dweight": Rest(grads["weight"], (n, *cells, *out_cells), dweight_rest),
        }
        if "bias" in grads:
            rests["dbias"] = Rest(
                grads["bias"], (n, *out_cells), lambda cut: reference.conv2d_bias_gradient(cut.split(dy)[1])
            )
        return rests


def _placed(part: Part, indices: Sequence[Array], values: Array) -> Array:
    """`values` at the product of these indices of the first axes, and zeros elsewhere, in an array like the part's."""
    array = np.zeros_like(part.array)
    array[np.ix_(*indices)] = values
    return array
