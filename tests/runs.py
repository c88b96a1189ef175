"""Small training runs, for the tests of the trainer and of what it writes."""

import os
import signal

import numpy as np

import minicnn
from minicnn.data import Batches, LabelledImages


def small_problem(n_images=24, seed=0):
    """Pictures 6 × 6 of three classes, told apart by which third of the picture is bright."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n_images)
    images = rng.normal(0, 0.3, (n_images, 1, 6, 6)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        image[0, :, 2 * label : 2 * label + 2] += 1
    return images, labels


def small_network(seed=0):
    return minicnn.Sequential(
        conv=minicnn.Conv2d(1, 4, 3, padding=1, rng=seed),
        bn=minicnn.BatchNorm2d(4),
        relu=minicnn.ReLU(),
        pool=minicnn.AdaptiveAvgPool2d((1, 3)),
        flatten=minicnn.Flatten(),
        fc=minicnn.Linear(12, 3, rng=seed),
        log_softmax=minicnn.LogSoftmax(),
    )


def small_run(optimizer=minicnn.Adam, schedule=None, batches_seed=1, lr=0.02, **settings):
    """(trainer, training batches, validation batches)"""
    images, labels = small_problem()
    network = small_network()
    optimizer = optimizer(network, lr=lr)
    if schedule is not None:
        settings["schedule"] = schedule(optimizer)
    trainer = minicnn.Trainer(network, minicnn.NLLLoss(), optimizer, quiet=True, **settings)
    return trainer, Batches(images, labels, 5, shuffle=True, rng=batches_seed), Batches(*small_problem(seed=1), 7)


def trained_simple_net(output_size):
    """SimpleNet with pooling to `output_size` before its classifier, after a few steps on noise of ten classes."""
    pool = minicnn.AdaptiveMaxPool2d(output_size)
    layers = dict(minicnn.SimpleNet(rng=0).children)
    layers |= {"adaptive_pool": pool, "fc": minicnn.Linear(64 * pool.output_size[0] * pool.output_size[1], 10, rng=0)}
    network = minicnn.Sequential(**layers)
    trainer = minicnn.Trainer(network, minicnn.NLLLoss(), minicnn.Adam(network), quiet=True)
    x = np.random.default_rng(0).standard_normal((10, 3, 16, 16)).astype(np.float32)
    losses = [trainer.step(x, np.arange(10)) for _ in range(8)]
    assert losses[-1] < losses[0] / 2
    return network


def batches_of_three_sizes():
    """Of one image and of four, for `trained_simple_net`; most windows are uneven."""
    rng = np.random.default_rng(5)
    shapes = [(n, 3, *size) for n in (1, 4) for size in [(32, 32), (17, 23), (5, 40)]]
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def bits(network):
    return {name: array.tobytes() for name, array in network.state_dict().items()}


def without_times(history):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in history]


def interrupt_after(trainer, n_steps, signal_number=signal.SIGINT):
    """Send this process a real SIGINT, or another signal, in the middle of the trainer's step number `n_steps`."""
    backward = trainer.loss.backward

    def interrupt_and_go_on():
        if trainer.optimizer.steps == n_steps - 1:
            os.kill(os.getpid(), signal_number)
        return backward()

    trainer.loss.backward = interrupt_and_go_on


def images_of_many_sizes(n_images=30):
    rng = np.random.default_rng(3)
    images = [rng.standard_normal((1, *rng.integers(3, 20, 2)), np.float32) for _ in range(n_images)]
    return LabelledImages(minicnn.Images(images), rng.integers(0, 3, n_images))
