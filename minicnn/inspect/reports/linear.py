"""What the page has of a linear layer."""

from minicnn.backends import reference
from minicnn.inspect.reports.base import Cost, LayerReport
from minicnn.inspect.reports.products import left_out_products
from minicnn.inspect.sample import Axis, Cut, Rest
from minicnn.plain import Array


class LinearReport(LayerReport):
    costs_are_known = True
    channels = "own"

    def param_axes(self, name: str, param: Array) -> tuple[Axis, ...]:
        return (self.y_axes[1], self.x_axes[1]) if name == "weight" else (self.y_axes[1],)

    def flops(self) -> Cost:
        products = self.y.size * self.x.shape[1]
        bias = self.y.size if "bias" in self.layer.params else 0
        return 2 * products + bias, 4 * products + bias

    def rests(self) -> dict[str, Rest]:
        weight, grads = self.layer.params["weight"], self.param_grads()
        x, y, dy, dx = self.parts()
        (n, d), (_, k) = self.x_axes, self.y_axes

        def dweight_rest(cut: Cut) -> Array:
            return left_out_products(reference.linear_weight_gradient, cut.split(dy), cut.split(x))

        rests = {
            "y": Rest(y, (d,), lambda cut: reference.linear_forward(cut.split(x)[1], weight, None)),
            "dx": Rest(dx, (k,), lambda cut: reference.linear_input_gradient(cut.split(dy)[1], weight)),
            "dweight": Rest(grads["weight"], (n,), dweight_rest),
        }
        if "bias" in grads:
            rests["dbias"] = Rest(grads["bias"], (n,), lambda cut: reference.linear_bias_gradient(cut.split(dy)[1]))
        return rests
