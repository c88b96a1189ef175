"""What each layer keeps for its backward pass, and what for."""

from minicnn.layers import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    LogSoftmax,
    MaxPool2d,
    ReLU,
)

_FOR_DWEIGHT = "dweight multiplies dy with x"
_FOR_X_HAT = "x_hat is worked out again with it"
_FOR_WINDOWS = "the windows follow from it; of the cells themselves nothing is needed"

# What a layer remembers, and what backward needs it for.
WHY: dict[type[Layer], dict[str, str]] = {
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
    Dropout: {"mask": "what the mask is looked up by: p, seed, step, first image; the mask itself is not kept"},
    Flatten: {"x_shape": "dy gets it back"},
    LogSoftmax: {"y": "dx = dy − exp(y) * sum of dy"},
}
# Parameters that backward reads, and what for. They are there anyway.
READ: dict[type[Layer], dict[str, str]] = {
    Conv2d: {"weight": "dx multiplies dy with the weights"},
    Linear: {"weight": "dx multiplies dy with the weights"},
    BatchNorm2d: {"weight": "dx is scaled with it"},
}
