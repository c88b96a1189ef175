"""Is `lr_find`'s suggestion as good as the best of a grid? SimpleNet on digits, Fashion-MNIST and pictures, with Adam.

Each learning rate trains from the same weights on the same batches, falling along half a cosine; what is compared is
the test accuracy. A plot of the grid with the suggestion in it is written beside. The pictures are a folder as
`minicnn sample` writes it, but of more pieces of each photograph, so that a point of accuracy is several images.

    python benchmarks/lr_find.py --plot lr_find.png          (needs Debian's package dataset-fashion-mnist)
"""

import argparse
import tempfile
from pathlib import Path

import matplotlib.figure
import numpy as np

import minicnn
from minicnn.classify.train import channel_statistics
from minicnn.data import Batches, ByCount, ImageFolder, Loader, load_digits, load_fashion_mnist, standardised
from minicnn.data.sample import write_pieces
from minicnn.io.figures import save_figure

GRID = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
PIECES = {"train": (100, 0.0, 0.625), "test": (100, 0.625, 1.0)}  # of each photograph, and from which part of it


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=6000, help="training images of Fashion-MNIST")
    parser.add_argument("--only", choices=["digits", "Fashion-MNIST", "pictures"], action="append")
    parser.add_argument("--plot", default="lr_find.png")
    options = parser.parse_args()
    data = {
        "digits": lambda: (*of_arrays(load_digits()), (10, 1), 4),
        "Fashion-MNIST": lambda: (*of_arrays(load_fashion_mnist(), options.images), (10, 1), 3),
        "pictures": lambda: (*of_pictures(Path(folder.name)), (6, 3), 6),
    }
    folder = tempfile.TemporaryDirectory()
    names = options.only or list(data)
    figure = matplotlib.figure.Figure(figsize=(5 * len(names), 4), layout="constrained")
    for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        make_batches, test, shape, epochs = data[name]()
        trainer, batches = run(make_batches, shape, lr=1e-3, epochs=epochs)
        suggestion = minicnn.lr_find(trainer, batches).suggestion
        found = {}
        for lr in (*GRID, suggestion):
            trainer, batches = run(make_batches, shape, lr, epochs)
            trainer.fit(batches, epochs=epochs)
            found[lr] = trainer.evaluate(test)["accuracy"]
            print(f"{name}: lr {lr:.2g}, test accuracy {found[lr]:.4f}", flush=True)
        best = max(GRID, key=found.get)
        found_best = f"best of the grid {best:.2g}, {found[best]:.4f}"
        print(f"{name}: suggestion {suggestion:.2g}, {found[suggestion]:.4f}; {found_best}", flush=True)
        ax.plot(GRID, [found[lr] for lr in GRID], "-o", label="grid")
        ax.plot(suggestion, found[suggestion], "D", color="tab:orange", label="suggestion of lr_find")
        ax.axhline(found[best] - 0.01, color="gray", linestyle=":", label="a point below the best")
        ax.set(
            xscale="log", xlabel="learning rate", ylabel="test accuracy", title=f"SimpleNet on {name}, {epochs} epochs"
        )
        ax.set_ylim(np.floor(20 * max(0.5, min(found.values()))) / 20, 1)
        ax.legend(loc="lower center")
    save_figure(figure, options.plot)
    folder.cleanup()


def of_arrays(dataset, n_images=None):
    """(what makes batches to learn from, batches to test)"""
    dataset = standardised(dataset)
    x, y = dataset.train.images[:n_images], dataset.train.labels[:n_images]
    return lambda: Batches(x, y, 32, shuffle=True, rng=0), Batches(dataset.test.images, dataset.test.labels, 500)


def of_pictures(folder):
    """The same of pictures of different sizes, in a folder."""
    write_pieces(folder, PIECES)
    train, test = (ImageFolder(folder / part) for part in PIECES)
    mean, std = (numbers.astype(np.float32)[:, None, None] for numbers in channel_statistics(train))

    def batches(part):
        order = ByCount(16, shuffle=part is train)
        return Loader(part, order, augment=lambda image, _: (image - mean) / std, rng=0)

    return lambda: batches(train), batches(test)


def run(make_batches, shape, lr, epochs):
    network = minicnn.SimpleNet(*shape, rng=0)
    batches = make_batches()
    optimizer = minicnn.Adam(network, lr=lr)
    schedule = minicnn.CosineAnnealingLR(optimizer, batches.batches_in(epochs))
    settings = {"schedule": schedule, "schedule_every": "batch", "quiet": True}
    return minicnn.Trainer(network, minicnn.CrossEntropyLoss(), optimizer, **settings), batches


if __name__ == "__main__":
    main()
