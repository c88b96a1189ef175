"""What the page tells of each kind of layer: what it keeps and why, what it costs, and the numbers its view needs.

There is a report for each layer of `minicnn.layers`. A layer of any other class, also one derived from those, may do
anything; of it the page tells what every layer has, and shows its maps.

How costs are counted, the same in every report:

    flops    operations on numbers that the formula asks for, a multiply-add being 2. A comparison, an exp and a log are
             1 each. Products with the zeros of padding are counted, as the backends do them. What is done once for a
             channel and not for each of its cells is not counted.
    bytes    what must at least be read and written: forward x, the parameters, y and what is kept beside them;
             backward dy, what was kept, the parameters it needs, dx and the parameters' gradients. Each array once.
"""

import numpy as np

from minicnn.backends import reference
from minicnn.backends.reference.batchnorm import batchnorm2d_train_paths
from minicnn.inspect.sample import FIRST, WHOLE, Part, Rest
from minicnn.layers import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Linear,
    LogSoftmax,
    MaxPool2d,
    ReLU,
)
from minicnn.network import Sequential

_FOR_DWEIGHT = "dweight multiplies dy with x"
_FOR_X_HAT = "x_hat is worked out again with it"
_FOR_WINDOWS = "the windows follow from it; of the cells themselves nothing is needed"

# What a layer remembers, and what backward needs it for.
WHY = {
    Conv2d: {"x": _FOR_DWEIGHT},
    Linear: {"x": _FOR_DWEIGHT},
    BatchNorm2d: {
        "x": "x_hat is worked out from it again, for dweight and in training for dx",
        "mean": _FOR_X_HAT,
        "var": _FOR_X_HAT,
    },
    ReLU: {"y": "dy passes where y is positive"},
    MaxPool2d: {"argmax": "dy goes to the cell that won", "input_size": _FOR_WINDOWS},
    AdaptiveMaxPool2d: {"argmax": "dy goes to the cell that won", "input_size": _FOR_WINDOWS},
    AvgPool2d: {"input_size": _FOR_WINDOWS},
    AdaptiveAvgPool2d: {"input_size": _FOR_WINDOWS},
    Flatten: {"x_shape": "dy gets it back"},
    LogSoftmax: {"y": "dx = dy − exp(y) * sum of dy"},
}
# Parameters that backward reads, and what for. They are there anyway.
READ = {
    Conv2d: {"weight": "dx multiplies dy with the weights"},
    Linear: {"weight": "dx multiplies dy with the weights"},
    BatchNorm2d: {"weight": "dx is scaled with it"},
}


class LayerReport:
    """What can be told of any layer.

    Args:
        step: the `Step` of `minicnn.inspect.record` that tells what the layer did.
    """

    costs_are_known = False

    def __init__(self, step):
        self.step = step
        self.layer, self.x, self.y, self.dy, self.dx = step.layer, step.x, step.y, step.dy, step.dx
        k = step.index
        self.x_axes = tuple((k, axis) for axis in range(self.x.ndim))  # as `sample` names them
        self.y_axes = tuple((k + 1, axis) for axis in range(self.y.ndim))

    @property
    def kind(self):
        """The name of its class; with its module where the page would take it for a layer that it has a view for."""
        name = type(self.layer).__name__
        taken = type(self) is LayerReport and name in {known.__name__ for known in REPORTS}
        return f"{type(self.layer).__module__}.{name}" if taken else name

    @property
    def channels(self):
        """How its output's channels come about, for `sample.Shown`."""
        return "like input" if self.x.ndim > 1 and self.x.shape[:2] == self.y.shape[:2] else "own"

    def params(self):
        """{name: (param, grad or None)}; of a network in a layer's place those of all its layers."""
        if not isinstance(self.layer, Sequential):
            return {key: (param, self.layer.grads.get(key)) for key, param in self.layer.params.items()}
        return {name: (layer.params[key], layer.grads.get(key)) for name, layer, key in self.layer.named_params()}

    def param_axes(self, name, param):
        """How a parameter is cut."""
        return (FIRST,) * param.ndim

    def keeps(self):
        """[(what, why, array or None)]; None for sizes, and for parameters, which are there anyway."""
        why, read = WHY.get(type(self.layer), {}), READ.get(type(self.layer), {})
        return [
            *(
                (what, why.get(what, "the layer's own backward asks for it"), kept)
                for what, kept in self.step.kept.items()
            ),
            *((what, f"{reason}; it is there anyway", None) for what, reason in read.items()),
        ]

    def flops(self):
        """(forward, backward), or None for each where the formulas are not known."""
        return None, None

    def bytes(self):
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

    def parts(self):
        """x, y, dy, dx as a `Part` each."""
        return (
            Part(self.x, self.x_axes),
            Part(self.y, self.y_axes),
            Part(self.dy, self.y_axes),
            Part(self.dx, self.x_axes),
        )

    def extra(self):
        """What its view needs beside x, y, their gradients, and the parameters."""
        return {}

    def rests(self):
        """{sum: `Rest`} of the sums that may have terms which are not in the page."""
        return {}


class Conv2dReport(LayerReport):
    costs_are_known = True
    channels = "own"

    def param_axes(self, name, param):
        return (self.y_axes[1], self.x_axes[1], WHOLE, WHOLE) if name == "weight" else (self.y_axes[1],)

    def flops(self):
        products = self.y.size * self.layer.params["weight"][0].size
        bias = self.y.size if "bias" in self.layer.params else 0
        return 2 * products + bias, 4 * products + bias

    def extra(self):
        layer = self.layer
        return {
            "kernel_size": list(layer.kernel_size),
            "stride": list(layer.stride),
            "padding": list(layer.padding),
        }

    def rests(self):
        layer, weight, grads = self.layer, self.layer.params["weight"], _grads(self)
        x, y, dy, dx = self.parts()
        geometry = layer.stride, layer.padding

        # Of the channels and images only those in the page are computed: these are passes over all cells.
        def y_rest(cut):
            images, filters, *_ = cut.places(y)
            left_out = cut.split(x)[1][images]
            return _placed(y, (images, filters), reference.conv2d_forward(left_out, weight[filters], None, *geometry))

        def dx_rest(cut):
            images, channels, *_ = cut.places(x)
            left_out = cut.split(dy)[1][images]
            found = reference.conv2d_input_gradient(left_out, weight[:, channels], self.x.shape[2:], *geometry)
            return _placed(dx, (images, channels), found)

        def dweight_rest(cut):
            filters, channels, *_ = cut.places(grads["weight"])

            def dweight(dy, x):
                return reference.conv2d_weight_gradient(dy, x, layer.kernel_size, *geometry)

            dy_parts = [part[:, filters] for part in cut.split(dy)]
            x_parts = [part[:, channels] for part in cut.split(x)]
            return _placed(grads["weight"], (filters, channels), _left_out_products(dweight, dy_parts, x_parts))

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


class LinearReport(LayerReport):
    costs_are_known = True
    channels = "own"

    def param_axes(self, name, param):
        return (self.y_axes[1], self.x_axes[1]) if name == "weight" else (self.y_axes[1],)

    def flops(self):
        products = self.y.size * self.x.shape[1]
        bias = self.y.size if "bias" in self.layer.params else 0
        return 2 * products + bias, 4 * products + bias

    def rests(self):
        weight, grads = self.layer.params["weight"], _grads(self)
        x, y, dy, dx = self.parts()
        (n, d), (_, k) = self.x_axes, self.y_axes

        def dweight_rest(cut):
            return _left_out_products(reference.linear_weight_gradient, cut.split(dy), cut.split(x))

        rests = {
            "y": Rest(y, (d,), lambda cut: reference.linear_forward(cut.split(x)[1], weight, None)),
            "dx": Rest(dx, (k,), lambda cut: reference.linear_input_gradient(cut.split(dy)[1], weight)),
            "dweight": Rest(grads["weight"], (n,), dweight_rest),
        }
        if "bias" in grads:
            rests["dbias"] = Rest(grads["bias"], (n,), lambda cut: reference.linear_bias_gradient(cut.split(dy)[1]))
        return rests


class BatchNorm2dReport(LayerReport):
    costs_are_known = True
    channels = "like input"

    def param_axes(self, name, param):
        return (self.y_axes[1],)

    def flops(self):
        """For each cell, in training: the mean 1, the variance 3, x_hat 2, its scale and shift 2.

        Backward: x_hat 2, the two sums 3; then 1 to scale dy, and in training 3 more for the other two paths.
        """
        forward, backward = (8, 9) if self.step.memory.training else (4, 6)
        return forward * self.x.size, backward * self.x.size

    def extra(self):
        layer, memory, before = self.layer, self.step.memory, self.step.state
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

    def rests(self):
        layer, memory, grads = self.layer, self.step.memory, _grads(self)
        _, _, dy, _ = self.parts()

        def sums(cut):
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


class ReLUReport(LayerReport):
    costs_are_known = True

    def flops(self):
        return self.x.size, self.x.size

    def dead(self):
        """The share of channels (of vectors: units) that are 0 in every cell of every image."""
        others = tuple(axis for axis in range(self.y.ndim) if axis != 1)
        return float((self.y == 0).all(axis=others).mean()) if self.y.ndim > 1 else float((self.y == 0).mean())


class PoolingReport(LayerReport):
    costs_are_known = True
    channels = "like input"

    @property
    def is_max(self):
        return isinstance(self.layer, (MaxPool2d, AdaptiveMaxPool2d))

    def tables(self):
        return self.layer.windows(self.x.shape[2:])

    def flops(self):
        """The largest of a window takes one comparison less than it has cells; a mean takes its sum and a division."""
        cells = [sum(stop - start for start, stop, _ in table.tolist()) for table in self.tables()]
        in_windows, windows = self.x.shape[0] * self.x.shape[1] * cells[0] * cells[1], self.y.size
        return (in_windows - windows, windows) if self.is_max else (in_windows, windows + in_windows)

    def extra(self):
        rows, columns = self.tables()
        extra = {
            "rows": rows.tolist(),
            "columns": columns.tolist(),
            "kind": "max" if self.is_max else "avg",
            "adaptive": isinstance(self.layer, (AdaptiveMaxPool2d, AdaptiveAvgPool2d)),
        }
        return extra | ({"argmax": Part(self.step.memory.argmax, self.y_axes)} if self.is_max else {})

    def rests(self):
        x, y, dy, dx = self.parts()
        tables, size = self.tables(), self.x.shape[2:]

        def dx_rest(cut):
            left_out = cut.split(dy)[1]
            if self.is_max:
                return reference.max_pool2d_backward(left_out, self.step.memory.argmax, *tables, size)
            return reference.avg_pool2d_backward(left_out, *tables, size)

        def y_rest(cut):
            return reference.avg_pool2d_forward(cut.split(x)[1], *tables)

        rests = {"dx": Rest(dx, self.y_axes[2:], dx_rest)}
        return rests if self.is_max else rests | {"y": Rest(y, self.x_axes[2:], y_rest)}


class FlattenReport(LayerReport):
    channels = "flattened"

    def flops(self):
        return 0, 0

    def bytes(self):
        """No number is moved: the same memory is read with another shape."""
        return 0, 0


class LogSoftmaxReport(LayerReport):
    costs_are_known = True
    channels = "like input"

    def flops(self):
        """For K classes forward K − 1 comparisons, K − 1 additions, K exp, a log and 2 K subtractions."""
        n_images, n_classes = self.x.shape
        return n_images * (5 * n_classes - 1), n_images * (4 * n_classes - 1)

    def rests(self):
        n, k = self.y_axes
        rests = {}
        for name, array in (("sum_dy", self.dy), ("sum_p", np.exp(self.y))):
            part = Part(array, self.y_axes)
            rests[name] = Rest(Part(array.sum(axis=1), (n,)), (k,), lambda cut, part=part: _sum_of_others(cut, part))
        return rests


REPORTS = {
    Conv2d: Conv2dReport,
    Linear: LinearReport,
    BatchNorm2d: BatchNorm2dReport,
    ReLU: ReLUReport,
    MaxPool2d: PoolingReport,
    AvgPool2d: PoolingReport,
    AdaptiveMaxPool2d: PoolingReport,
    AdaptiveAvgPool2d: PoolingReport,
    Flatten: FlattenReport,
    LogSoftmax: LogSoftmaxReport,
}


def report_of(step):
    """The `LayerReport` of what a layer did. Of one unbatched image between the layers, (C, H, W), the general one."""
    known = REPORTS.get(type(step.layer), LayerReport)
    return LayerReport(step) if known in (Conv2dReport, PoolingReport) and step.x.ndim != 4 else known(step)


def _grads(report):
    """{name: `Part`} of the gradients of the parameters."""
    return {name: Part(grad, report.param_axes(name, grad)) for name, grad in report.layer.grads.items()}


def _placed(part, indices, values):
    """`values` at the product of these indices of the first axes, and zeros elsewhere, in an array like the part's."""
    array = np.zeros_like(part.array)
    array[np.ix_(*indices)] = values
    return array


def _left_out_products(product, dy, x):
    """The part of `product(dy, x)`, linear in both, without the products of two kept cells; dy, x: (kept, left out)."""
    dy_kept, dy_left_out = dy
    x_kept, x_left_out = x
    return product(dy_left_out, x_kept + x_left_out) + product(dy_kept, x_left_out)


def _sum_of_others(cut, part):
    """For each image the sum over the classes that are left out."""
    return cut.split(part)[1].sum(axis=1)
