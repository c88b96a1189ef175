"""One measurement for sizes.py, in this process: prints a line of JSON.

sizes_worker.py CONTESTANT CASE     CASE: fashion, large, or a folder of images
"""

import itertools
import os
import sys

import numpy as np
from engines.cases import simple_net
from speed_worker import measure, report

BATCHES = 8


def main():
    contestant, case = sys.argv[1:]
    batches = images(case)
    if contestant == "equal":
        batches = of_equal_size(batches)
    action = PASSES[contestant](batches)
    pixels = sum(batch.pixels for batch in batches)
    padded = sum(int(batch.sizes.max(axis=0).prod()) * len(batch) for batch in batches)
    report(seconds=measure(action), pixels=pixels, padded_pixels=padded)


def images(case):
    """BATCHES batches of `Images`."""
    from minicnn.data import ByCount, ImageFolder, Loader, load_fashion_mnist, trimmed
    from minicnn.images import Images

    if case == "fashion":
        images = trimmed(load_fashion_mnist().train.images[: 128 * BATCHES])
        return [images[first : first + 128] for first in range(0, len(images), 128)]
    if case == "large":
        rng = np.random.default_rng(0)
        sizes = rng.integers(40, 201, (BATCHES // 2, 16, 2))
        return [Images([rng.standard_normal((3, *size), np.float32) for size in batch]) for batch in sizes]

    loader = Loader(ImageFolder(case, max_side=64), ByCount(64, shuffle=True), rng=0)
    return [images for images, _ in itertools.islice(loader, BATCHES)]


def train_mixed(batches):
    import minicnn

    network = simple_net(minicnn, minicnn.LogSoftmax(), 1, batches[0].shape[1])
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network))
    labels = [np.arange(len(batch)) % 10 for batch in batches]
    return lambda: [trainer.step(batch, y) for batch, y in zip(batches, labels, strict=True)]


def of_equal_size(batches):
    """Random images, as many, nearly square, with about as many pixels in all."""
    from minicnn.images import Images

    rng = np.random.default_rng(0)
    mean_area = sum(batch.pixels for batch in batches) / sum(map(len, batches))
    height = round(mean_area**0.5)
    shape = (batches[0].channels, height, round(mean_area / height))
    return [Images.of_array(rng.standard_normal((len(batch), *shape), np.float32)) for batch in batches]


def train_equal(batches):
    """The same as plain arrays."""
    return train_mixed([batch.as_array() for batch in batches])


def train_torch(batches, channels_last=False):
    import torch
    from torch import nn

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = simple_net(nn, nn.LogSoftmax(dim=1), 1, batches[0].shape[1]).to(memory_format=layout)
    loss, optimizer = nn.CrossEntropyLoss(), torch.optim.Adam(network.parameters())
    padded = []
    for batch in batches:
        largest = batch.sizes.max(axis=0)
        x = np.zeros((len(batch), batch.channels, *largest), np.float32)
        for n, image in enumerate(batch):
            x[n, :, : image.shape[1], : image.shape[2]] = image
        padded.append((torch.from_numpy(x).to(memory_format=layout), torch.arange(len(batch)) % 10))

    def run():
        for x, y in padded:
            optimizer.zero_grad()
            loss(network(x), y).backward()
            optimizer.step()

    return run


PASSES = {
    "mixed": train_mixed,
    "equal": train_equal,
    "torch": train_torch,
    "torch-channels-last": lambda batches: train_torch(batches, channels_last=True),
}


if __name__ == "__main__":
    main()
