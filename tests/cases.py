"""The table of awkward configurations: one list for each operation, used by every oracle.

A case is a shape and the arguments of a layer or loss, which has the same name and takes the same arguments in
`minicnn` and in `torch.nn`; for images of different sizes, C and their sizes stand in place of the shape. What the
numbers are is drawn from the case's own text, so a case is the same problem wherever it is used. Three fields say what
is special about the numbers:

    values   "normal"     standard normal
             "distinct"   no two alike and none near 0, for layers with kinks
             "ties"       small integers, many alike
             "nan", "inf" distinct, with NaN (or -inf) strewn in
             "zeros"      0.0 and -0.0 among them
             "offset"     normal, with mean 5
             "far"        normal + 100, where a sum in float32 loses what a variance is made of
         "constant"   each channel one number
             "large"      normal * 1000, where exp without a shift overflows
         "high"       normal + 4000: in float32, digits are lost if the shift is not the first thing done
    layout   "plain", "read-only", "reversed" (negative strides), "transposed" (the last axis is the slow one),
             "strided" (every other cell of a larger array)
    numeric  False where a central difference says nothing: at kinks, at NaN, where the gradient is 0 by nature
"""

# ruff: noqa: C408  (keywords are written as they are in the call)

from typing import NamedTuple


class Case(NamedTuple):
    layer: str
    x: tuple
    args: tuple = ()
    kwargs: tuple = ()  # pairs, so that a case can be hashed
    values: str = "normal"
    layout: str = "plain"
    training: bool = True
    numeric: bool = True

    @property
    def is_mixed(self):
        """Whether x is (C, sizes) of `Images`, not the shape of an array."""
        return isinstance(self.x[-1], tuple)

    def __str__(self):
        settings = [str(arg) for arg in self.args] + [f"{key}={value}" for key, value in self.kwargs]
        notes = [note for note in (self.values, self.layout) if note not in ("normal", "plain")]
        notes += [] if self.training else ["eval"]
        shape = "x".join(map(str, self.x)) if not self.is_mixed else _sizes_in_words(*self.x)
        return " ".join([self.layer, shape, *settings, *notes]).replace(", ", ",")


def _sizes_in_words(channels, sizes):
    words = "+".join(f"{h}x{w}" for h, w in sizes) if len(sizes) < 10 else f"{len(sizes)} sizes"
    return f"{channels}x({words})"


FIELDS = ("values", "layout", "training", "numeric")


def _case(layer, x, *args, **kwargs):
    """A case from one mixed list of keywords: those of the table, and those of the layer."""
    fields = {key: kwargs.pop(key) for key in FIELDS if key in kwargs}
    return Case(layer, x, args, tuple(kwargs.items()), **fields)


def _conv(x, *args, **kwargs):
    return _case("Conv2d", x, x[-3], *args, **kwargs)


def _norm(x, **kwargs):
    return _case("BatchNorm2d", x, x[1], **kwargs)


def _linear(x, *args, **kwargs):
    return _case("Linear", x, x[1], *args, **kwargs)


# Conv2d: (N, C, H, W), then filters, kernel_size, stride, padding, bias.
CONV = [
    _conv((1, 1, 1, 1), 1, 1),
    _conv((1, 1, 3, 3), 1, 3),  # kernel = image
    _conv((2, 3, 4, 5), 2, (4, 5)),  # kernel = image, not square
    _conv((2, 2, 3, 4), 3, (5, 6), padding=1),  # kernel = padded image
    _conv((1, 1, 5, 5), 1, 3),
    _conv((1, 3, 5, 5), 1, 3),  # N = 1, F = 1
    _conv((3, 1, 5, 5), 4, 3),  # C = 1
    _conv((2, 3, 5, 5), 4, 1),
    _conv((2, 3, 5, 7), 4, 3),  # H ≠ W
    _conv((2, 3, 7, 5), 4, 3),
    _conv((2, 3, 6, 6), 5, 3, padding=1),
    _conv((2, 3, 6, 6), 5, 3, padding=1, bias=False),
    _conv((2, 3, 6, 6), 4, 3, bias=False),
    _conv((2, 2, 6, 6), 3, 2),  # even kernel
    _conv((2, 2, 6, 6), 3, 2, padding=1),
    _conv((2, 2, 7, 6), 3, 4, padding=2),
    _conv((2, 2, 6, 7), 3, (2, 3)),  # rectangular kernels
    _conv((2, 2, 6, 7), 3, (3, 2)),
    _conv((2, 2, 6, 7), 3, (1, 5)),
    _conv((2, 2, 6, 7), 3, (5, 1)),
    _conv((2, 2, 6, 7), 3, (1, 3), padding=(0, 1)),
    _conv((2, 2, 6, 7), 3, (3, 1), padding=(1, 0)),
    _conv((2, 3, 7, 7), 4, 3, stride=2),
    _conv((2, 3, 8, 8), 4, 3, stride=2),  # the last row and column are never seen
    _conv((2, 3, 8, 8), 4, 3, stride=2, padding=1),
    _conv((2, 3, 9, 6), 4, 3, stride=2, padding=1),
    _conv((2, 3, 7, 8), 2, 2, stride=2),
    _conv((2, 3, 7, 8), 2, 1, stride=2),  # stride > kernel: cells between the windows
    _conv((2, 3, 7, 9), 2, 1, stride=3),
    _conv((2, 2, 9, 10), 2, 2, stride=3),
    _conv((2, 2, 9, 10), 2, 3, stride=3),
    _conv((2, 2, 9, 10), 2, 3, stride=3, padding=1),
    _conv((2, 2, 9, 10), 2, 3, stride=4),
    _conv((1, 2, 5, 5), 3, 3, stride=5),  # one window, stride past the image
    _conv((2, 2, 7, 9), 3, 3, stride=(1, 2)),  # unequal pairs
    _conv((2, 2, 7, 9), 3, 3, stride=(2, 1)),
    _conv((2, 2, 7, 9), 3, 3, stride=(3, 2)),
    _conv((2, 2, 7, 9), 3, 3, padding=(0, 1)),
    _conv((2, 2, 7, 9), 3, 3, padding=(2, 0)),
    _conv((2, 2, 7, 9), 3, 3, padding=(1, 2)),
    _conv((2, 2, 7, 9), 3, (2, 3), stride=(2, 3), padding=(1, 2)),
    _conv((2, 2, 7, 9), 3, (3, 4), stride=(3, 1), padding=(2, 1)),
    _conv((2, 3, 7, 9), 3, (4, 3), stride=(2, 3), padding=(0, 2), bias=False),
    _conv((2, 2, 4, 4), 2, 3, padding=2),  # full correlation
    _conv((2, 2, 4, 4), 2, 3, padding=4),  # outputs that see only padding
    _conv((2, 2, 4, 5), 2, 3, stride=2, padding=3),
    _conv((1, 2, 2, 2), 3, 3, padding=1),  # image smaller than the kernel
    _conv((1, 2, 1, 7), 3, 3, padding=1),
    _conv((1, 2, 7, 1), 3, 3, padding=1),
    _conv((2, 1, 1, 6), 2, (1, 3)),
    _conv((1, 5, 4, 4), 7, 3, padding=1),  # odd numbers of channels and filters
    _conv((3, 8, 5, 5), 8, 3, padding=1),
    _conv((2, 4, 5, 6), 9, 3, padding=1),
    _conv((1, 17, 4, 5), 3, 3, padding=1),
    _conv((5, 2, 4, 4), 3, 3, padding=1),  # N odd
    _conv((1, 1, 20, 35), 2, 5, padding=2),
    _conv((1, 1, 34, 33), 5, 3, padding=1),  # more than one block of cells
    _conv((1, 1, 70, 40), 2, 3, stride=2, padding=1),
    _conv((1, 3, 32, 32), 5, 3, padding=1),  # the image of the published program
    _conv((3, 5, 5), 4, 3),  # unbatched
    _conv((2, 6, 7), 3, (2, 3), stride=2, padding=1),
    _conv((1, 4, 4), 1, 4),
    _conv((2, 3, 6, 7), 4, 3, padding=1, layout="read-only"),
    _conv((2, 3, 6, 7), 4, 3, padding=1, layout="reversed"),
    _conv((2, 3, 6, 7), 4, 3, stride=2, layout="transposed"),
    _conv((2, 3, 6, 7), 4, 3, padding=1, layout="strided"),
    _conv((3, 6, 7), 4, 3, stride=2, padding=1, layout="reversed"),
    _conv((2, 3, 5, 5), 4, 3, padding=1, values="offset"),
    _conv((2, 3, 5, 5), 4, 3, padding=1, training=False),
    _conv((2, 2, 9, 8), 3, 3, dilation=2),
    _conv((2, 2, 11, 13), 3, (3, 2), dilation=(2, 3), stride=(3, 2), padding=(1, 2)),
    _conv((1, 2, 9, 12), 2, 3, dilation=4, stride=2, padding=4),  # stride and dilation have a common divisor
    _conv((1, 2, 15, 9), 2, 3, dilation=3, stride=6, padding=4),
    _conv((1, 2, 4, 3), 2, 2, dilation=3, padding=2),  # more phases than outputs
    _conv((2, 9, 10, 7), 8, 3, dilation=2, padding=2, bias=False),
    _conv((2, 4, 6, 7), 6, 3, groups=2, padding=1),
    _conv((2, 4, 6, 7), 4, 3, groups=4, padding=1),  # depthwise
    _conv((3, 3, 9, 21), 3, (3, 2), groups=3, stride=(1, 2), padding=(0, 1), bias=False),
    _conv((2, 2, 9, 11), 2, 1, groups=2, stride=3),
    _conv((2, 2, 3, 4), 2, 5, groups=2, padding=(4, 3)),  # windows that are padding alone
    _conv((1, 2, 12, 13), 2, 3, groups=2, stride=5, padding=2),  # a stride without taps
    _conv((2, 2, 10, 9), 2, 9, groups=2, padding=4),  # a kernel without taps
    _conv((2, 3, 9, 8), 6, 3, groups=3, stride=2, dilation=2, padding=2, bias=False),  # two filters to a channel
    _conv((4, 5, 6), 2, 1, groups=2),
    _conv((2, 4, 5, 9), 8, (3, 2), groups=2, stride=(2, 1), dilation=(1, 2), padding=(2, 1)),  # four filters at once
    _conv((1, 10, 6, 8), 9, 3, dilation=2, padding=2),  # more channels than are done together
    _conv((1, 30, 4, 5), 2, 3, dilation=(1, 2), padding=(1, 2)),  # a sum of more terms than are added up in one go
    _conv((2, 2, 10, 9), 3, 9, dilation=2, padding=8),  # a kernel without taps, two channels
    _conv((2, 2, 5, 6), 3, 3, padding="same"),
    _conv((2, 2, 5, 6), 3, 2, padding="same"),  # uneven: the pixel more is after
    _conv((2, 2, 5, 6), 3, (4, 3), padding="same", dilation=(1, 2)),
    _conv((2, 2, 4, 3), 2, 4, padding="same", dilation=3, groups=2),  # the kernel spans more than the image
    _conv((2, 2, 5, 6), 3, 3, padding="valid"),
    _conv((2, 4, 6, 7), 4, 3, groups=2, dilation=2, padding="same", layout="reversed"),
]

# BatchNorm2d: (N, C, H, W), eps, momentum. Training and evaluation are two functions with two gradients.
BATCHNORM = [
    *(
        _norm(x, training=training)
        for training in (True, False)
        for x in [
            (2, 3, 4, 5),
            (4, 1, 3, 3),  # C = 1
            (1, 3, 4, 4),  # N = 1
            (8, 3, 1, 1),  # statistics over images only
            (1, 2, 1, 9),
            (3, 2, 7, 1),
            (3, 5, 2, 3),
            (2, 17, 3, 3),
            (2, 2, 17, 17),  # planes of more than one stretch of a sum
        ]
    ),
    _norm((1, 3, 1, 1), training=False),  # one value per channel: an error in training, none here
    *(_norm((2, 3, 4, 5), eps=eps) for eps in (1e-3, 0.1, 1.0)),
    *(_norm((2, 3, 4, 5), eps=eps, training=False) for eps in (1e-3, 1.0)),
    *(_norm((3, 2, 4, 4), momentum=momentum) for momentum in (0.0, 0.01, 0.5, 1.0)),
    _norm((3, 2, 4, 4), eps=0.01, momentum=0.3),
    _norm((2, 3, 1, 1), eps=1.0),  # two values per channel: n - 1 is half of n
    _norm((1, 2, 1, 2), eps=0.5, momentum=0.5),
    _norm((2, 3, 4, 5), values="offset"),
    _norm((2, 3, 4, 5), values="offset", training=False),
    _norm((4, 3, 8, 8), values="far"),
    _norm((2, 3, 17, 17), values="far"),
    _norm((4, 3, 8, 8), values="far", training=False),
    # var = 0: only eps stands between it and a division by 0, and dx is 1 / sqrt(eps) steep
    _norm((2, 3, 4, 5), values="constant", eps=0.1, numeric=False),
    _norm((2, 3, 4, 5), values="constant", training=False),
    *(_norm((2, 3, 4, 5), layout=layout) for layout in ("read-only", "reversed", "transposed", "strided")),
    _norm((2, 3, 4, 5), layout="transposed", training=False),
]

# Adaptive pooling: one list of shapes for maximum and average, input then output_size.
_ADAPTIVE = [
    ((1, 1, 1, 14), (1, 4)),  # the windows known by hand
    ((1, 3, 10, 10), (3, 3)),  # overlapping: 10 → 3
    ((2, 2, 14, 5), (4, 8)),  # 14 → 4, and 5 → 8: out > in
    ((1, 2, 5, 14), (8, 4)),
    ((1, 1, 13, 13), 13),  # the identity, which float arithmetic misses
    ((1, 1, 7, 7), 25),  # 7 → 25, where float arithmetic leaves the image
    ((1, 2, 3, 7), (7, 25)),
    ((2, 3, 8, 8), 1),
    ((2, 3, 9, 5), (1, 1)),
    ((2, 3, 8, 8), 4),  # sizes that divide
    ((2, 3, 6, 9), (2, 3)),
    ((2, 3, 7, 5), 2),
    ((2, 3, 7, 5), (3, 2)),
    ((1, 1, 1, 1), 1),
    ((1, 1, 1, 1), (3, 2)),  # one cell, many windows
    ((1, 2, 1, 6), (1, 4)),
    ((1, 2, 6, 1), (4, 1)),
    ((2, 2, 6, 7), (None, 3)),
    ((2, 2, 6, 7), (3, None)),
    ((2, 2, 6, 7), (None, None)),
    ((2, 2, 6, 7), None),
    ((1, 1, 11, 12), (10, 11)),  # one less than the image
    ((1, 1, 11, 12), (12, 13)),  # one more
    ((3, 10, 10), 3),  # unbatched
    ((1, 4, 6), (3, None)),
    ((5, 4, 6), (2, 5)),
]
_FIXED = [  # input, then the arguments of MaxPool2d and AvgPool2d
    ((2, 3, 6, 6), dict(kernel_size=2)),
    ((2, 3, 7, 7), dict(kernel_size=2)),  # the last row and column are never seen
    ((2, 3, 7, 5), dict(kernel_size=3)),
    ((2, 2, 7, 7), dict(kernel_size=3, stride=1)),  # overlapping
    ((2, 2, 7, 7), dict(kernel_size=3, stride=2)),
    ((2, 2, 8, 7), dict(kernel_size=3, stride=2, padding=1)),
    ((2, 2, 8, 7), dict(kernel_size=2, stride=3)),  # gaps
    ((2, 2, 8, 7), dict(kernel_size=2, stride=1, padding=1)),
    ((2, 2, 8, 7), dict(kernel_size=(2, 3))),
    ((2, 2, 8, 7), dict(kernel_size=(3, 2), stride=(1, 2))),
    ((2, 2, 8, 7), dict(kernel_size=(3, 4), stride=(2, 3), padding=(1, 2))),
    ((2, 2, 8, 7), dict(kernel_size=(1, 4), stride=(3, 1), padding=(0, 2))),
    ((1, 1, 5, 4), dict(kernel_size=(5, 4))),  # kernel = image
    ((1, 1, 1, 1), dict(kernel_size=1)),
    ((1, 1, 2, 2), dict(kernel_size=3, padding=1)),  # kernel > image
    ((2, 2, 5, 5), dict(kernel_size=1, stride=2)),
    ((3, 1, 1, 9), dict(kernel_size=(1, 3), stride=(1, 2))),
    ((3, 6, 8), dict(kernel_size=2)),  # unbatched
    ((3, 6, 8), dict(kernel_size=3, stride=2, padding=1)),
    ((2, 2, 7, 8), dict(kernel_size=2, ceil_mode=True)),
    ((2, 2, 8, 7), dict(kernel_size=3, stride=2, padding=1, ceil_mode=True)),
    ((2, 2, 7, 6), dict(kernel_size=3, stride=(2, 3), ceil_mode=True)),
    ((1, 2, 3, 5), dict(kernel_size=2, padding=1, ceil_mode=True)),  # the last window would begin in the padding
    ((1, 2, 5, 6), dict(kernel_size=1, stride=3, ceil_mode=True)),  # and here behind the image
    ((1, 2, 6, 7), dict(kernel_size=2, stride=4, padding=(0, 1), ceil_mode=True)),
    ((1, 1, 2, 9), dict(kernel_size=(5, 4), stride=(4, 3), ceil_mode=True)),  # kernel > image, but for ceil_mode
    ((3, 7, 4), dict(kernel_size=3, stride=2, ceil_mode=True)),
]
_AVERAGES = [  # the same, of AvgPool2d alone
    ((2, 2, 8, 7), dict(kernel_size=3, stride=2, padding=1, count_include_pad=False)),
    ((2, 2, 8, 7), dict(kernel_size=(2, 4), stride=(1, 3), padding=(1, 2), ceil_mode=True, count_include_pad=False)),
    ((1, 1, 1, 1), dict(kernel_size=3, padding=1, count_include_pad=False)),
    ((2, 2, 7, 6), dict(kernel_size=3, stride=2, padding=1, divisor_override=4)),
    ((2, 2, 7, 6), dict(kernel_size=2, ceil_mode=True, count_include_pad=False, divisor_override=1)),
]
_LAYOUTS = ("read-only", "reversed", "transposed", "strided")

MAX_POOL = [
    *(_case("AdaptiveMaxPool2d", x, size, values="distinct") for x, size in _ADAPTIVE),
    *(_case("MaxPool2d", x, values="distinct", **kwargs) for x, kwargs in _FIXED),
    *(_case("AdaptiveMaxPool2d", (2, 3, 7, 5), 3, values="distinct", layout=layout) for layout in _LAYOUTS),
    *(_case("MaxPool2d", (2, 3, 7, 5), 2, values="distinct", layout=layout) for layout in _LAYOUTS[1:]),
    *(
        case
        for values in ("ties", "constant", "nan", "inf")
        for case in [
            _case("AdaptiveMaxPool2d", (3, 2, 10, 7), (3, 4), values=values, numeric=False),
            _case("MaxPool2d", (3, 2, 9, 7), 3, stride=2, padding=1, values=values, numeric=False),
        ]
    ),
    _case("AdaptiveMaxPool2d", (2, 2, 5, 4), (1, 1), values="nan", numeric=False),
    _case("AdaptiveMaxPool2d", (2, 2, 5, 4), (7, 9), values="ties", numeric=False),
]
AVG_POOL = [
    *(_case("AdaptiveAvgPool2d", x, size) for x, size in _ADAPTIVE),
    *(_case("AvgPool2d", x, **kwargs) for x, kwargs in _FIXED + _AVERAGES),
    *(_case("AdaptiveAvgPool2d", (2, 3, 7, 5), 3, layout=layout) for layout in _LAYOUTS),
    *(_case("AvgPool2d", (2, 3, 7, 5), 2, layout=layout) for layout in _LAYOUTS[1:]),
    _case("AdaptiveAvgPool2d", (2, 2, 7, 5), 3, values="nan", numeric=False),
    _case("AvgPool2d", (2, 2, 7, 5), 2, values="nan", numeric=False),
    _case("AdaptiveAvgPool2d", (1, 2, 40, 40), 1, values="offset"),
]

ACTIVATION = [
    *(_case("ReLU", x, values="distinct") for x in [(1,), (5,), (3, 4), (2, 3, 4), (2, 3, 4, 5), (1, 1, 1, 1)]),
    _case("ReLU", (2, 3, 60, 60), values="distinct"),  # more than one chunk
    *(_case("ReLU", (2, 3, 4, 5), values="distinct", layout=layout) for layout in _LAYOUTS),
    *(_case("ReLU", (2, 3, 4, 5), values=values, numeric=False) for values in ("zeros", "nan", "inf")),
]

FLATTEN = [
    *(_case("Flatten", x) for x in [(2, 3, 4, 5), (1, 1, 1, 1), (3, 2, 5), (4, 3), (2, 1, 2, 1, 3)]),
    *(_case("Flatten", (2, 3, 4, 5), layout=layout) for layout in _LAYOUTS),
]

LINEAR = [
    *(_linear(x, k) for x, k in [((1, 1), 1), ((1, 5), 3), ((4, 1), 3), ((4, 5), 1), ((4, 5), 3), ((3, 64), 10)]),
    _linear((4, 5), 5),  # a square weight, which can be transposed by mistake
    _linear((4, 5), 3, bias=False),
    _linear((1, 1), 1, bias=False),
    _linear((17, 33), 9),
    _linear((2, 300), 5),
    _linear((70, 3), 4),
    _linear((4, 5), 3, training=False),
    _linear((4, 5), 3, values="offset"),
    *(_linear((4, 5), 3, layout=layout) for layout in _LAYOUTS),
]

LOG_SOFTMAX = [
    *(_case("LogSoftmax", x) for x in [(1, 2), (1, 10), (4, 3), (10, 10), (3, 100), (70, 5)]),
    _case("LogSoftmax", (3, 1), numeric=False),  # one class is certain: y = 0 and dx = 0
    _case("LogSoftmax", (4, 5), values="large", numeric=False),  # nearly one-hot
    _case("LogSoftmax", (4, 5), values="offset"),
    _case("LogSoftmax", (4, 5), values="high"),
    _case("LogSoftmax", (3, 4), values="constant"),
    _case("LogSoftmax", (4, 5), values="inf", numeric=False),
    _case("LogSoftmax", (4, 5), values="nan", numeric=False),
    *(_case("LogSoftmax", (4, 5), layout=layout) for layout in _LAYOUTS),
]

# Losses: (N, K), class weights, label smoothing; labels that are left out, and sums.
_WEIGHT = (0.5, 2.0, 1.0, 0.0, 3.0)  # the fourth class counts for nothing
LOSSES = [
    *(_case(loss, x) for loss in ("NLLLoss", "CrossEntropyLoss") for x in [(1, 2), (1, 5), (4, 3), (10, 10), (33, 7)]),
    _case("NLLLoss", (3, 1)),
    _case("CrossEntropyLoss", (3, 1), numeric=False),  # one class is certain
    *(_case(loss, (6, 5), weight=_WEIGHT) for loss in ("NLLLoss", "CrossEntropyLoss")),
    *(_case(loss, (2, 3), weight=(1e-3, 1.0, 50.0)) for loss in ("NLLLoss", "CrossEntropyLoss")),
    *(_case("CrossEntropyLoss", (6, 5), label_smoothing=e) for e in (0.0, 0.1, 0.5)),
    _case("CrossEntropyLoss", (6, 5), label_smoothing=1.0),  # the label is not looked at
    *(_case("CrossEntropyLoss", (6, 5), weight=_WEIGHT, label_smoothing=e) for e in (0.1, 1.0)),
    _case("CrossEntropyLoss", (3, 1), label_smoothing=0.1, numeric=False),
    *(_case(loss, (6, 5), values="large", numeric=False) for loss in ("NLLLoss", "CrossEntropyLoss")),
    _case("CrossEntropyLoss", (6, 5), values="high"),
    *(_case(loss, (6, 5), values="inf", numeric=False) for loss in ("NLLLoss", "CrossEntropyLoss")),
    *(_case(loss, (4, 5), layout=layout) for loss in ("NLLLoss", "CrossEntropyLoss") for layout in _LAYOUTS),
    *(
        _case(loss, (9, 4), **settings)
        for loss in ("NLLLoss", "CrossEntropyLoss")
        for settings in (
            dict(reduction="sum"),
            dict(ignore_index=1),
            dict(ignore_index=3, reduction="sum"),
            dict(ignore_index=0, weight=(2.0, 0.5, 0.0, 1.0)),
            dict(reduction="sum", weight=(2.0, 0.5, 0.0, 1.0)),
        )
    ),
    _case("CrossEntropyLoss", (9, 4), label_smoothing=0.3, ignore_index=2),
    _case(
        "CrossEntropyLoss", (9, 4), label_smoothing=0.3, ignore_index=2, weight=(2.0, 0.5, 0.0, 1.0), reduction="sum"
    ),
]

ALL = CONV + BATCHNORM + MAX_POOL + AVG_POOL + ACTIVATION + FLATTEN + LINEAR + LOG_SOFTMAX + LOSSES

# Images of different sizes: C and the sizes in place of a shape.
_FEW = ((5, 4), (1, 7), (1, 1), (9, 6))
_WIDE = ((7, 9), (3, 3), (8, 4), (12, 5))  # none smaller than a kernel of 3 without padding
_ONE = ((6, 5),)
_LOPSIDED = ((2, 2), (40, 33), (3, 1))  # one is larger than all others together
_MANY = tuple((1 + n % 3, 1 + n // 3 % 4) for n in range(200))
_SPOTS = ((1, 1),) * 5

MIXED_CONV = [
    _case("Conv2d", (2, _FEW), 2, 3, 3, padding=1),
    _case("Conv2d", (2, _FEW), 2, 3, 3, padding=1, bias=False),
    _case("Conv2d", (2, _FEW), 2, 3, 3, padding=1, training=False),
    _case("Conv2d", (3, _FEW), 3, 4, 1),
    _case("Conv2d", (2, _FEW), 2, 3, (1, 3), padding=(0, 1)),
    _case("Conv2d", (2, _WIDE), 2, 3, 3),
    _case("Conv2d", (2, _WIDE), 2, 3, 3, stride=2),
    _case("Conv2d", (2, _WIDE), 2, 3, (2, 3), stride=(2, 3), padding=(1, 2)),
    _case("Conv2d", (2, _WIDE), 2, 3, 1, stride=3),  # cells that nobody looks at
    _case("Conv2d", (2, _ONE), 2, 3, 3, padding=1),
    _case("Conv2d", (2, _ONE * 3), 2, 3, 3, padding=1),
    _case("Conv2d", (1, _LOPSIDED), 1, 2, 3, padding=1),
    _case("Conv2d", (2, _SPOTS), 2, 3, 3, padding=1),
    _case("Conv2d", (2, _MANY), 2, 3, (1, 2), padding=(0, 1)),
    _case("Conv2d", (8, _FEW), 8, 9, 3, padding=1),
    _case("Conv2d", (17, _WIDE), 17, 8, 3),
    _case("Conv2d", (2, _FEW), 2, 4, 2, padding="same", groups=2),
    _case("Conv2d", (2, _WIDE), 2, 3, 3, padding=2, dilation=2, stride=2),
    _case("Conv2d", (4, _FEW), 4, 4, 3, padding="same", groups=4, dilation=2),
    _case("Conv2d", (3, _FEW), 3, 3, 3, padding=1, stride=(1, 2), groups=3),
    *(_case("Conv2d", (2, _FEW), 2, 3, 3, padding=1, layout=layout) for layout in ("read-only", "reversed", "strided")),
]
MIXED_BATCHNORM = [
    *(
        _case("BatchNorm2d", (channels, sizes), channels, training=training)
        for training in (True, False)
        for channels, sizes in [(2, _FEW), (3, _WIDE), (2, _ONE), (1, _ONE * 3), (2, _SPOTS), (2, _MANY)]
    ),
    _case("BatchNorm2d", (2, ((20, 17), (1, 1))), 2),
    _case("BatchNorm2d", (2, ((1, 1), (1, 2))), 2, eps=0.5, momentum=0.5),
    _case("BatchNorm2d", (2, _FEW), 2, values="offset"),
    _case("BatchNorm2d", (2, _WIDE), 2, values="far"),
    _case("BatchNorm2d", (2, _WIDE), 2, values="far", training=False),
    *(_case("BatchNorm2d", (2, _FEW), 2, layout=layout) for layout in ("read-only", "reversed", "strided")),
]
_MIXED_ADAPTIVE = [
    (_FEW, 1),
    (_FEW, (2, 3)),  # overlapping, and more windows than cells
    (_FEW, (10, 9)),
    (_FEW, (None, 3)),
    (_FEW, (3, None)),
    (_FEW, None),
    (_ONE, (2, 2)),
    (_SPOTS, (2, 1)),
    (_LOPSIDED, 3),
    (_MANY, (1, 1)),
    (_MANY, (2, None)),
]
_MIXED_FIXED = [
    (_WIDE, dict(kernel_size=2)),
    (_WIDE, dict(kernel_size=3, stride=1)),  # overlapping
    (_WIDE, dict(kernel_size=3, stride=2, padding=1)),
    (_WIDE, dict(kernel_size=(1, 2), stride=(2, 1))),
    (_FEW, dict(kernel_size=2, stride=1, padding=1)),
    (_LOPSIDED, dict(kernel_size=1, stride=2)),
    (_MANY, dict(kernel_size=3, stride=2, padding=1)),
    (_WIDE, dict(kernel_size=3, stride=2, ceil_mode=True)),
    (_FEW, dict(kernel_size=2, stride=2, padding=1, ceil_mode=True)),
]
_MIXED_AVERAGES = [
    (_FEW, dict(kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False)),
    (_WIDE, dict(kernel_size=(2, 3), padding=1, divisor_override=3)),
]
MIXED_POOL = [
    *(_case("AdaptiveMaxPool2d", (2, sizes), size, values="distinct") for sizes, size in _MIXED_ADAPTIVE),
    *(_case("AdaptiveAvgPool2d", (2, sizes), size) for sizes, size in _MIXED_ADAPTIVE),
    *(_case("MaxPool2d", (2, sizes), values="distinct", **kwargs) for sizes, kwargs in _MIXED_FIXED),
    *(_case("AvgPool2d", (2, sizes), **kwargs) for sizes, kwargs in _MIXED_FIXED + _MIXED_AVERAGES),
    *(_case("AdaptiveMaxPool2d", (2, _FEW), 2, values=values, numeric=False) for values in ("ties", "nan", "inf")),
    *(_case("AdaptiveMaxPool2d", (2, _LOPSIDED), 1, values=values, numeric=False) for values in ("ties", "nan", "inf")),
    _case("AdaptiveAvgPool2d", (2, _FEW), 2, layout="strided"),
    _case("AdaptiveMaxPool2d", (2, _FEW), 2, values="distinct", layout="reversed"),
]
MIXED_RELU = [
    *(_case("ReLU", (2, sizes), values="distinct") for sizes in (_FEW, _ONE, _MANY)),
    _case("ReLU", (2, _FEW), values="zeros", numeric=False),
    _case("ReLU", (2, _FEW), values="distinct", layout="strided"),
]
MIXED = MIXED_CONV + MIXED_BATCHNORM + MIXED_POOL + MIXED_RELU

# Optimisers: a name and keywords, alike in minicnn and torch.optim.
OPTIMIZERS = [
    ("SGD", dict(lr=0.1)),
    ("SGD", dict(lr=0.05, weight_decay=0.1)),
    ("SGD", dict(lr=0.05, momentum=0.9)),
    ("SGD", dict(lr=0.05, momentum=0.9, weight_decay=0.01)),
    ("SGD", dict(lr=0.05, momentum=0.9, nesterov=True)),
    ("SGD", dict(lr=0.05, momentum=0.5, nesterov=True, weight_decay=0.1)),
    ("Adam", dict()),
    ("Adam", dict(lr=0.05)),
    ("Adam", dict(lr=0.05, betas=(0.5, 0.9))),
    ("Adam", dict(lr=0.05, betas=(0.0, 0.999))),
    ("Adam", dict(lr=0.05, eps=0.1)),
    ("Adam", dict(lr=0.05, weight_decay=0.1)),
    ("AdamW", dict()),
    ("AdamW", dict(lr=0.05)),
    ("AdamW", dict(lr=0.05, weight_decay=0.5, betas=(0.8, 0.99))),
    ("AdamW", dict(lr=0.05, weight_decay=0.0)),
]

# With parameter groups in PyTorch, of which the one of the bias does not decay.
VECTORS_STAY = [
    ("SGD", dict(lr=0.05, momentum=0.5, nesterov=True, weight_decay=0.1, decay_vectors=False)),
    ("Adam", dict(lr=0.05, weight_decay=0.1, decay_vectors=False)),
    ("AdamW", dict(lr=0.05, weight_decay=0.5, decay_vectors=False)),
]

# Schedules: a name and keywords, alike in minicnn and torch.optim.lr_scheduler; each runs for 100 steps.
SCHEDULES = [
    ("StepLR", dict(step_size=30)),
    ("StepLR", dict(step_size=1, gamma=0.97)),
    ("StepLR", dict(step_size=7, gamma=0.5)),
    ("CosineAnnealingLR", dict(T_max=100)),
    ("CosineAnnealingLR", dict(T_max=30, eta_min=0.001)),  # up again after T_max, and down
    ("CosineAnnealingLR", dict(T_max=1)),
    ("LinearLR", dict()),
    ("LinearLR", dict(start_factor=0.01, total_iters=50)),
    ("LinearLR", dict(start_factor=1.0, end_factor=0.1, total_iters=100)),
    ("OneCycleLR", dict(max_lr=0.1, total_steps=101)),
    ("OneCycleLR", dict(max_lr=0.1, total_steps=150, pct_start=0.25, cycle_momentum=False)),
    ("OneCycleLR", dict(max_lr=0.1, total_steps=101, pct_start=0.1, div_factor=10.0, final_div_factor=100.0)),
    ("OneCycleLR", dict(max_lr=0.1, total_steps=103, base_momentum=0.5, max_momentum=0.9)),
]


def name_of(case):
    """The pytest id of a case, of any of the lists above."""
    return str(case) if isinstance(case, Case) else f"{case[0]} {case[1]}".replace("'", "")
