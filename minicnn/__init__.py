"""minicnn: small convolutional networks whose backward passes can be read.

>>> import numpy as np, minicnn
>>> network = minicnn.SimpleNet(num_classes=10, in_channels=3, rng=0)
>>> loss, optimizer = minicnn.CrossEntropyLoss(), minicnn.Adam(network, lr=0.001)
>>> x, y = np.random.default_rng(0).standard_normal((4, 3, 8, 8), np.float32), [0, 1, 2, 3]
>>> before = loss.forward(network.forward(x), y)      # forward
>>> _ = network.backward(loss.backward())             # backward: every layer now has its grads
>>> optimizer.step()                                  # update
>>> loss.forward(network.forward(x), y) < before
True
"""

from minicnn.layers import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    LogSoftmax,
    MaxPool2d,
    ReLU,
)
from minicnn.losses import CrossEntropyLoss, NLLLoss
from minicnn.network import Sequential, SimpleNet
from minicnn.optim import SGD, Adam, AdamW
from minicnn.schedules import CosineAnnealingLR, LinearLR, OneCycleLR, StepLR

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool2d",
    "BatchNorm2d",
    "Conv2d",
    "CosineAnnealingLR",
    "CrossEntropyLoss",
    "Flatten",
    "Layer",
    "Linear",
    "LinearLR",
    "LogSoftmax",
    "MaxPool2d",
    "NLLLoss",
    "OneCycleLR",
    "ReLU",
    "Sequential",
    "SimpleNet",
    "StepLR",
]
