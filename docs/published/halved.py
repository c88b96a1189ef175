"""A network in which a mistake has been made. Run as a program, this records a step of the network without it."""

import numpy as np

import minicnn
from minicnn.verify.compare import record


class Halved(minicnn.ReLU):
    """A ReLU whose backward pass is half of what it should be."""

    def backward(self, dy, need_dx=True):
        return super().backward(dy) / 2


def network(relu=Halved):
    return minicnn.Sequential(
        conv=minicnn.Conv2d(1, 4, kernel_size=3, rng=0),
        relu=relu(),
        pool=minicnn.AdaptiveMaxPool2d(2),
        flatten=minicnn.Flatten(),
        fc=minicnn.Linear(16, 3, rng=1),
    )


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 1, 9, 7), np.float32), rng.integers(3, size=8)
    record(network(minicnn.ReLU), x, y, "recording.safetensors")  # or a torch.nn.Module, where PyTorch is
