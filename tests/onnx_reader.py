"""A small reader of ONNX: one operator computed by the layer or the loss that is the same, or refused with the reason.

It serves to hold our layers against the ONNX project's own tests of its operators, and is no part of the package.
"""

import numpy as np

import minicnn
from minicnn.geometry import dilated_size

ONES, SAME = (1, 1), (b"SAME_UPPER", b"SAME_LOWER")


class Limit(Exception):
    """What our layers do not do, in the words of docs/onnx.md."""


def require(allowed, limit):
    if not allowed:
        raise Limit(limit)


def compute(operator, settings, inputs, outputs, backend):
    """The arrays that `operator` makes of `inputs`; `outputs` of them are wanted. Raises Limit."""
    return OPERATORS[operator](settings, outputs, backend, *inputs)


def require_images(x):
    require(x.ndim == 4, "images of two dimensions")
    require(x.dtype == np.float32, "float32 and float64")


def pads_of(settings, size, kernel, stride):
    """((top, bottom), (left, right)) for a kernel that spans `kernel` pixels of an image."""
    if settings.get("auto_pad") in SAME:  # as many outputs as strides fit into the image
        axes = zip(size, kernel, stride, strict=True)
        both = [max(0, (-(-n // s) - 1) * s + k - n) for n, k, s in axes]
        more = settings["auto_pad"] == b"SAME_UPPER"
        return tuple((n // 2, n - n // 2) if more else (n - n // 2, n // 2) for n in both)
    top, left, bottom, right = settings.get("pads", (0, 0, 0, 0))
    return (top, bottom), (left, right)


def conv(settings, outputs, backend, x, weight, bias=None):
    require_images(x)
    n_out, n_in, *kernel = weight.shape
    groups = settings.get("group", 1)
    stride, dilation = (tuple(settings.get(key, ONES)) for key in ("strides", "dilations"))
    layer = minicnn.Conv2d(n_in * groups, n_out, tuple(kernel), 1, "same", dilation, groups, bias is not None)
    pads = pads_of(settings, x.shape[2:], map(dilated_size, kernel, dilation), stride)
    if pads != layer.pads() or stride != ONES:
        (top, bottom), (left, right) = pads
        require((top, left) == (bottom, right), "as much padding on one side as on the other")
        layer.stride, layer.padding = stride, (top, left)
    layer.params["weight"] = weight
    if bias is not None:
        layer.params["bias"] = bias
    return [layer.to(backend).forward(x)]


def pooling(kind, settings, x, backend, **more):
    kernel, stride = tuple(settings["kernel_shape"]), tuple(settings.get("strides", ONES))
    (top, bottom), (left, right) = pads_of(settings, x.shape[2:], kernel, stride)
    require((top, left) == (bottom, right), "as much padding on one side as on the other")
    require(tuple(settings.get("dilations", ONES)) == ONES, "no dilation in pooling")
    require(2 * top <= kernel[0] and 2 * left <= kernel[1], "padding of at most half the kernel")
    layer = kind(kernel, stride, (top, left), ceil_mode=bool(settings.get("ceil_mode")), **more)
    return [layer.to(backend).forward(x)]


def max_pool(settings, outputs, backend, x):
    require_images(x)
    require(outputs == 1, "no positions of the maxima as a second output")
    return pooling(minicnn.MaxPool2d, settings, x, backend)


def average_pool(settings, outputs, backend, x):
    require_images(x)
    return pooling(minicnn.AvgPool2d, settings, x, backend, count_include_pad=bool(settings.get("count_include_pad")))


def global_pool(kind):
    def pool(settings, outputs, backend, x):
        require_images(x)
        return [kind(1).to(backend).forward(x)]

    return pool


def batchnorm(settings, outputs, backend, x, weight, bias, mean, var):
    require_images(x)
    # ONNX divides by n, PyTorch and we by n - 1.
    require(not settings.get("training_mode"), "the running variance of a batch is the unbiased one")
    layer = minicnn.BatchNorm2d(x.shape[1], eps=settings.get("epsilon", 1e-5)).eval()
    layer.params |= {"weight": weight, "bias": bias}
    layer.state |= {"running_mean": mean, "running_var": var}
    return [layer.to(backend).forward(x)]


def relu(settings, outputs, backend, x):
    return [minicnn.ReLU().to(backend).forward(x)]


def gemm(settings, outputs, backend, a, b, c=None):
    """alpha A B + beta C: a linear layer, whose weight is alpha Bᵀ and whose bias is beta C."""
    a, b = (a.T if settings.get("transA") else a), (b if settings.get("transB") else b.T)
    layer = minicnn.Linear(b.shape[1], b.shape[0], bias=c is not None)
    layer.params["weight"] = np.float32(settings.get("alpha", 1)) * b
    if c is not None:
        require(c.size in (1, b.shape[0]), "one bias for all rows")
        bias = np.float32(settings.get("beta", 1)) * c
        layer.params["bias"] = np.broadcast_to(bias.reshape(-1), len(b)).copy()
    return [layer.to(backend).forward(a)]


def flatten(settings, outputs, backend, x):
    axis = settings.get("axis", 1)
    require((axis if axis >= 0 else axis + x.ndim) == 1 < x.ndim, "all axes but the first become one")
    return [minicnn.Flatten().to(backend).forward(x)]


def log_softmax(settings, outputs, backend, x):
    axis = settings.get("axis", -1)
    require(x.ndim == 2 and axis in (1, -1), "scores of shape (N, K)")
    return [minicnn.LogSoftmax().to(backend).forward(x)]


def loss(kind):
    def compute_loss(settings, outputs, backend, scores, labels, weight=None):
        require(scores.ndim == 2, "scores of shape (N, K)")
        reduction = settings.get("reduction", b"mean").decode()
        require(reduction != "none", "one number for a batch")
        more = {"ignore_index": settings["ignore_index"]} if "ignore_index" in settings else {}
        value = kind(weight=weight, reduction=reduction, **more).to(backend).forward(scores, labels)
        log_prob = minicnn.LogSoftmax().to(backend).forward(scores)
        return [np.asarray(value, scores.dtype), log_prob][:outputs]

    return compute_loss


OPERATORS = {
    "AveragePool": average_pool,
    "BatchNormalization": batchnorm,
    "Conv": conv,
    "Flatten": flatten,
    "Gemm": gemm,
    "GlobalAveragePool": global_pool(minicnn.AdaptiveAvgPool2d),
    "GlobalMaxPool": global_pool(minicnn.AdaptiveMaxPool2d),
    "LogSoftmax": log_softmax,
    "MaxPool": max_pool,
    "NegativeLogLikelihoodLoss": loss(minicnn.NLLLoss),
    "Relu": relu,
    "SoftmaxCrossEntropyLoss": loss(minicnn.CrossEntropyLoss),
}
