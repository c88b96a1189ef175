"""Write tests/data/comparison.safetensors: one training step of a small PyTorch module, for machines without PyTorch.

    python -m tests.make_comparison_recording

Beside it stands the same network in minicnn, which the tests break in many ways.
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np

import minicnn
from minicnn.verify.compare import record

PATH = Path(__file__).parent / "data" / "comparison.safetensors"


def layers():
    """The layers in minicnn, by name; their weights are not PyTorch's."""
    return {
        "conv1": minicnn.Conv2d(2, 4, 3, padding=1, rng=0),
        "bn1": minicnn.BatchNorm2d(4),
        "relu1": minicnn.ReLU(),
        "pool1": minicnn.MaxPool2d(2),
        "conv2": minicnn.Conv2d(4, 6, 3, padding=1, rng=1),
        "bn2": minicnn.BatchNorm2d(6),
        "relu2": minicnn.ReLU(),
        "pool2": minicnn.AdaptiveAvgPool2d((2, 2)),
        "flatten": minicnn.Flatten(),
        "fc": minicnn.Linear(24, 3, rng=2),
        "log_softmax": minicnn.LogSoftmax(),
    }


def network():
    return minicnn.Sequential(**layers()).to("reference", np.float64)


def module():
    """The same in PyTorch, with running statistics as they are after some training."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    made = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(2, 4, 3, padding=1),
            bn1=nn.BatchNorm2d(4),
            relu1=nn.ReLU(inplace=True),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(4, 6, 3, padding=1),
            bn2=nn.BatchNorm2d(6),
            relu2=nn.ReLU(),
            pool2=nn.AdaptiveAvgPool2d((2, 2)),
            flatten=nn.Flatten(),
            fc=nn.Linear(24, 3),
            log_softmax=nn.LogSoftmax(1),
        )
    ).double()
    for bn in (made.bn1, made.bn2):
        bn.running_mean.normal_()
        bn.running_var.uniform_(0.5, 2)
    return made


def batch():
    """x (4, 2, 8, 8) float64 and labels."""
    return np.random.default_rng(0).standard_normal((4, 2, 8, 8)), np.array([2, 0, 1, 2])


def main():
    record(module(), *batch(), PATH)
    print(f"{PATH}: {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()
