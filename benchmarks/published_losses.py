"""The published program over many seeds, minicnn beside PyTorch: how its first and its tenth loss are distributed.

python benchmarks/published_losses.py minicnn torch          (PyTorch: pip install torch==2.13.0)
"""

import argparse

import numpy as np

import minicnn
from minicnn.data import published_batch


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("frameworks", nargs="+", choices=("minicnn", "torch"))
    parser.add_argument("--seeds", type=int, default=300, help="how many")
    options = parser.parse_args()
    run = {"minicnn": run_minicnn, "torch": run_torch}
    for framework in options.frameworks:
        losses = np.array([run[framework](seed) for seed in range(options.seeds)])
        for name, column in (("first", losses[:, 0]), ("tenth", losses[:, -1])):
            print(
                f"{framework}, {name} loss over {options.seeds} seeds: "
                f"{column.min():.2f} to {column.max():.2f}, median {np.median(column):.2f}",
                flush=True,
            )


def run_minicnn(seed):
    network = minicnn.SimpleNet(rng=seed)
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network, lr=0.001))
    x, y = published_batch(rng=10_000 + seed)
    return [trainer.step(x, y) for _ in range(10)]


def run_torch(seed):
    """The program as published, with PyTorch's own initialisation and random numbers."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    network = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.AdaptiveMaxPool2d((1, 1)), nn.Flatten(), nn.Linear(64, 10), nn.LogSoftmax(dim=1)),
    )
    loss, optimizer = nn.CrossEntropyLoss(), torch.optim.Adam(network.parameters(), lr=0.001)
    x, y = torch.randn(10, 3, 32, 32), torch.randint(0, 10, (10,))
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        value = loss(network(x), y)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


if __name__ == "__main__":
    main()
