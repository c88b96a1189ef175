"""The layers, one a file."""

from minicnn.layers.activation import ReLU
from minicnn.layers.base import Layer
from minicnn.layers.batchnorm import BatchNorm2d
from minicnn.layers.conv import Conv2d
from minicnn.layers.dropout import Dropout
from minicnn.layers.fixed_pooling import AvgPool2d, MaxPool2d
from minicnn.layers.flatten import Flatten
from minicnn.layers.linear import Linear
from minicnn.layers.log_softmax import LogSoftmax
from minicnn.layers.pooling import AdaptiveAvgPool2d, AdaptiveMaxPool2d

__all__ = [
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool2d",
    "BatchNorm2d",
    "Conv2d",
    "Dropout",
    "Flatten",
    "Layer",
    "Linear",
    "LogSoftmax",
    "MaxPool2d",
    "ReLU",
]

# Those that can be saved, exported and converted; a network may have others of its own.
LAYERS: tuple[type[Layer], ...] = (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Linear,
    LogSoftmax,
    MaxPool2d,
    ReLU,
)
