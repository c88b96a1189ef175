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

from numpy.typing import DTypeLike

from minicnn.backends import get_backend
from minicnn.backends.protocol import Report
from minicnn.classify.classifier import Classifier
from minicnn.classify.evaluate import evaluate
from minicnn.classify.explain import winners
from minicnn.classify.grad_cam import grad_cam, saliency
from minicnn.classify.plots import plot_confusion
from minicnn.classify.train import train_classifier
from minicnn.fusion import fuse
from minicnn.images import Images
from minicnn.inspect import Inspection, Recorder
from minicnn.inspect.plots import (
    plot_feature_maps,
    plot_filters,
    plot_gradient_flow,
    plot_history,
    plot_lr_find,
    plot_pooling_windows,
)
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
from minicnn.losses import CrossEntropyLoss, NLLLoss
from minicnn.network import Sequential, SimpleNet
from minicnn.optim import SGD, Accumulate, Adam, AdamW
from minicnn.residual import Residual
from minicnn.schedules import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from minicnn.training.averaging import EMA
from minicnn.training.checkpoint import load_weights, save_weights
from minicnn.training.checkpoint_every import CheckpointEvery
from minicnn.training.clipping import clip_gradients
from minicnn.training.lr_find import lr_find
from minicnn.training.metrics import accuracy
from minicnn.training.network_file import load, save
from minicnn.training.train_on import freeze, load_matching, replace_head
from minicnn.training.trainer import Trainer
from minicnn.verify.compare import compare
from minicnn.verify.gradcheck.check import gradcheck

__version__ = "0.5.0.dev0"

__all__ = [
    "EMA",
    "SGD",
    "Accumulate",
    "Adam",
    "AdamW",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool2d",
    "BatchNorm2d",
    "CheckpointEvery",
    "Classifier",
    "Conv2d",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Images",
    "Inspection",
    "Layer",
    "Linear",
    "LinearLR",
    "LogSoftmax",
    "MaxPool2d",
    "NLLLoss",
    "OneCycleLR",
    "ReLU",
    "Recorder",
    "ReduceLROnPlateau",
    "Residual",
    "Sequential",
    "SequentialLR",
    "SimpleNet",
    "StepLR",
    "Trainer",
    "accuracy",
    "clip_gradients",
    "compare",
    "compile_kernels",
    "evaluate",
    "freeze",
    "fuse",
    "grad_cam",
    "gradcheck",
    "load",
    "load_matching",
    "load_weights",
    "lr_find",
    "plot_confusion",
    "plot_feature_maps",
    "plot_filters",
    "plot_gradient_flow",
    "plot_history",
    "plot_lr_find",
    "plot_pooling_windows",
    "release_memory",
    "replace_head",
    "saliency",
    "save",
    "save_weights",
    "set_num_threads",
    "train_classifier",
    "winners",
]


def compile_kernels(dtype: DTypeLike = "float32", report: Report | None = None) -> None:
    """Compile the CPU backend's kernels now, rather than each at its first call; or read them from Numba's cache.

    `report(name, done, total)` is called before each group of them. `Trainer.fit` does this by itself, for those that
    its network needs. Raises TypeError for a dtype that is not float32 or float64.
    """
    get_backend("cpu").compile_kernels(dtype, report)


def release_memory() -> None:
    """Give back to the system the memory that the CPU backend keeps to use it again.

    It keeps about as much as was in use at once: with what is in use, at most twice as much.
    """
    from minicnn.backends.cpu.runtime.memory import release  # here, so that importing minicnn need not import numba

    release()


def set_num_threads(n: int) -> None:
    """Let the CPU backend use `n` threads from now on, where this Python thread calls it; same bits for every n.

    Raises ValueError for an n below 1, or above the number of cores (or what the environment variable
    NUMBA_NUM_THREADS says).
    """
    from minicnn.backends.cpu.runtime.jit import (
        set_num_threads,  # here, so that importing minicnn need not import numba
    )

    set_num_threads(n)
