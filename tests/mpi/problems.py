"""Small training runs, each the same program on one process and on several ranks."""

import hashlib
import itertools
from typing import NamedTuple

import numpy as np

import minicnn
from minicnn.data import Batches

N_IMAGES, BATCH_SIZE = 23, 10  # batches of 10, 10 and 3: with 4 ranks one of them has no image in the last


class Case(NamedTuple):
    dtype: str
    batchnorm: bool
    fuse: bool
    batch_size: int
    sizes: str
    optimizer: str
    max_grad_norm: float | None

    @property
    def name(self):
        return " ".join(map(str, self))


def cases():
    """Every combination, and batchnorm of very few values."""
    choices = (
        ("float32", "float64"),
        (True, False),
        (True, False),
        (BATCH_SIZE, N_IMAGES),
        ("equal sizes", "mixed sizes"),
        ("SGD", "Adam"),
        (None, 0.5),
    )
    return [*(Case(*chosen) for chosen in itertools.product(*choices)), *ONE_VALUE_A_RANK]


def network(case):
    def norm(channels):
        return {f"bn{channels}": minicnn.BatchNorm2d(channels)} if case.batchnorm else {}

    # Before batchnorm no bias: its gradient is 0 but for rounding, which Adam makes as large a step of as any.
    bias = not case.batchnorm
    layers = {"conv1": minicnn.Conv2d(2, 4, 3, padding=1, bias=bias, rng=0), **norm(4), "relu1": minicnn.ReLU()}
    block = {"conv2": minicnn.Conv2d(4, 5, 3, padding=1, bias=bias, rng=1), **norm(5), "relu2": minicnn.ReLU()}
    if case.batchnorm:
        block = {"block": minicnn.Residual(**block, shortcut=minicnn.Conv2d(4, 5, 1, rng=4))}
    layers |= {**block, "pool": minicnn.AdaptiveAvgPool2d(2), "flatten": minicnn.Flatten()}
    layers |= {"drop": minicnn.Dropout(0.2, seed=5), "fc": minicnn.Linear(20, 3, rng=2)}
    return minicnn.Sequential(**layers).to(dtype=case.dtype)


def data(case):
    rng = np.random.default_rng(0)
    sizes = {
        "equal sizes": [(7, 6)] * N_IMAGES,
        "mixed sizes": rng.integers(3, 9, (N_IMAGES, 2)),
        "one pixel": [(1, 1)] * N_IMAGES,
    }[case.sizes]
    images = [rng.standard_normal((2, *size)).astype(case.dtype) for size in sizes]
    labels = rng.integers(0, 3, N_IMAGES)
    return (images if case.sizes == "mixed sizes" else np.stack(images)), labels


def batches(case, shuffle=True):
    return Batches(*data(case), case.batch_size, shuffle=shuffle, rng=3)


def trainer(case, group=None, **settings):
    net = network(case)
    if case.optimizer == "SGD":
        optimizer = minicnn.SGD(net, lr=0.05, momentum=0.9, weight_decay=0.01)
    else:
        optimizer = minicnn.Adam(net, lr=0.01)
    loss = minicnn.CrossEntropyLoss(weight=np.array([1.0, 2.0, 0.5]), label_smoothing=0.1, ignore_index=-1)
    settings = {"quiet": True, "max_grad_norm": case.max_grad_norm, "fuse": case.fuse} | settings
    return minicnn.Trainer(net, loss, optimizer, group=group, **settings)


def watched(trainer):
    """(losses, digests): lists that each step of the trainer adds to, its loss and what its gradients are."""
    losses, digests = [], []
    step = trainer.step

    def watch(x, y):
        loss = step(x, y)
        losses.append(loss)
        digests.append(digest(trainer.network[name].grads[key] for name, key in names))
        return loss

    names = [name.rsplit(".", 1) for name, _, _ in trainer.network.named_params()]
    trainer.step = watch
    return losses, digests


def run(case, group=None, epochs=2):
    """(curves, digests of every step's gradients and of the last weights)."""
    a_trainer = trainer(case, group)
    losses, digests = watched(a_trainer)
    validation = Batches(*data(case._replace(dtype=case.dtype)), 9)
    history = a_trainer.fit(batches(case), validation, epochs=epochs)
    columns = [[row[name] for name in ("loss", "accuracy", "val_loss", "val_accuracy")] for row in history]
    state = a_trainer.network.state_dict()
    statistics = [float(array.sum()) for name, array in state.items() if "running" in name]
    return [losses, *columns, statistics], [*digests, digest(state.values())]


def digest(arrays):
    return hashlib.blake2b(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


# So that several sums are under way at once, and travel while backward computes.
BUCKET_BYTES = 200

# Batchnorm of which each rank has the statistics of its own share.
LOCAL = Case("float64", True, True, BATCH_SIZE, "equal sizes", "SGD", None)

# Of four images of one pixel a rank may have one, and of a channel one value.
ONE_VALUE_A_RANK = [Case("float64", True, fuse, 4, "one pixel", "SGD", None) for fuse in (True, False)]

# What is computed while a rank is killed: all that travels between ranks.
CASE_OF_FAULTS = Case("float32", True, True, 6, "equal sizes", "Adam", 0.5)


def slow_batches(shuffle=True):
    """Enough of them that a rank can be killed in any."""
    images, labels = data(CASE_OF_FAULTS)
    return Batches(np.tile(images, (3, 1, 1, 1)), np.tile(labels, 3), 6, shuffle=shuffle, rng=5)
