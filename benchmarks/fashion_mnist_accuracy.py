"""SimpleNet on the whole of Fashion-MNIST, minicnn beside PyTorch: does the same training give the same accuracy?

Both start from the same weights and see the same batches in the same order, with Adam and half a cosine of
learning rate. Rounding differs, so the runs drift apart; what is compared is the mean test accuracy over the seeds.

    python benchmarks/fashion_mnist_accuracy.py minicnn torch          (PyTorch: pip install torch==2.13.0)
"""

import argparse
import time
from collections import OrderedDict

import numpy as np

import minicnn
from minicnn.data import Batches, load_fashion_mnist, standardised

BATCH_SIZE = 128


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("frameworks", nargs="+", choices=("minicnn", "torch"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=0.004)
    parser.add_argument("--threads", type=int, help="threads for PyTorch; its own choice unless given")
    options = parser.parse_args()

    dataset = standardised(load_fashion_mnist())
    train = {"minicnn": train_minicnn, "torch": train_torch}
    for framework in options.frameworks:
        accuracies = []
        for seed in options.seeds:
            started = time.perf_counter()
            accuracies.append(train[framework](dataset, seed, options))
            seconds = time.perf_counter() - started
            print(f"{framework} seed {seed}: test accuracy {accuracies[-1]:.4f}, {seconds:.0f} s", flush=True)
        print(
            f"{framework}: mean {np.mean(accuracies):.4f}, from {min(accuracies):.4f} to {max(accuracies):.4f}, "
            f"{options.epochs} epochs, batch {BATCH_SIZE}, Adam, lr {options.lr} falling to 0"
        )


def train_minicnn(dataset, seed, options):
    network = minicnn.SimpleNet(num_classes=10, in_channels=1, rng=seed)
    batches = Batches(dataset.train.images, dataset.train.labels, BATCH_SIZE, shuffle=True, rng=seed)
    optimizer = minicnn.Adam(network, lr=options.lr)
    schedule = minicnn.CosineAnnealingLR(optimizer, options.epochs * len(batches))
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), optimizer, schedule=schedule, schedule_every="batch")
    trainer.fit(batches, epochs=options.epochs)
    return trainer.evaluate(Batches(dataset.test.images, dataset.test.labels, 500))["accuracy"]


def train_torch(dataset, seed, options):
    import torch
    from torch import nn

    if options.threads:
        torch.set_num_threads(options.threads)
    network = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 16, 3, padding=1),
            bn1=nn.BatchNorm2d(16),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(16, 32, 3, padding=1),
            bn2=nn.BatchNorm2d(32),
            relu2=nn.ReLU(),
            conv3=nn.Conv2d(32, 64, 3, padding=1),
            bn3=nn.BatchNorm2d(64),
            relu3=nn.ReLU(),
            adaptive_pool=nn.AdaptiveMaxPool2d((1, 1)),
            flatten=nn.Flatten(),
            fc=nn.Linear(64, 10),
            log_softmax=nn.LogSoftmax(dim=1),
        )
    ).to(memory_format=torch.channels_last)
    start = minicnn.SimpleNet(num_classes=10, in_channels=1, rng=seed).state_dict()
    network.load_state_dict({name: torch.from_numpy(array) for name, array in start.items()})
    batches = Batches(dataset.train.images, dataset.train.labels, BATCH_SIZE, shuffle=True, rng=seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=options.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * len(batches))
    loss = nn.CrossEntropyLoss()
    for _ in range(options.epochs):
        for x, y in batches:
            optimizer.zero_grad()
            loss(network(torch.from_numpy(x)), torch.from_numpy(y)).backward()
            optimizer.step()
            schedule.step()
    network.eval()
    with torch.no_grad():
        right = [
            (network(torch.from_numpy(x)).argmax(dim=1) == torch.from_numpy(y)).sum().item()
            for x, y in Batches(dataset.test.images, dataset.test.labels, 500)
        ]
    return sum(right) / len(dataset.test)


if __name__ == "__main__":
    main()
