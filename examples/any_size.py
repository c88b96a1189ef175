"""Train on images of every size: as they are, padded to one size, or resized to one size.

The three ways use the same network, first weights, order of images and number of epochs; they differ in what is done
to an image before the network sees it. Without options: Fashion-MNIST, each garment cut to its own rectangle.
All options: --help.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import minicnn
from minicnn.data import (
    Batches,
    ByCount,
    Dataset,
    ImageFolder,
    LabelledImages,
    Loader,
    load_fashion_mnist,
    pad_to,
    resize,
    standardised,
    trimmed,
)
from minicnn.images import Images
from minicnn.io.output import take_every_character

WAYS = ("mixed", "pad", "resize")


def main():
    take_every_character()
    options = parse_options()
    try:
        dataset = standardised(load(options))
        describe(dataset)
        rows = [run(way, dataset, options) for way in options.ways]
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        sys.exit(f"error: {error}")
    show(rows)


def parse_options():
    parser = argparse.ArgumentParser(
        description="Train on images of different sizes in three ways, and compare.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  %(prog)s\n"
        "  %(prog)s --folder /usr/share/openclipart/png --classes animals,food,people,transportation --max-side 64\n",
    )
    add = parser.add_argument
    add("--folder", type=Path, help="images, a folder for each class; trimmed Fashion-MNIST unless given")
    add("--classes", type=lambda names: names.split(","), help="of the folder, these classes only, with commas between")
    add(
        "--max-side",
        type=int,
        default=64,
        help="shrink images of the folder to sides of at most this; 64 unless given",
    )
    add("--ways", nargs="+", choices=WAYS, default=WAYS, help="all three unless given")
    add("--epochs", type=int, default=3, help="passes over the training images, 3 unless given")
    add("--batch-size", type=int, default=128, metavar="N", help="images in a batch, 128 unless given")
    add("--lr", type=float, default=0.004, help="learning rate, which falls to 0; 0.004 unless given")
    add("--seed", type=int, default=0, help="for the first weights, the split and the order; 0 unless given")
    return parser.parse_args()


# Images.


def load(options):
    """The images as they are, of different sizes."""
    if options.folder is None:
        fashion = load_fashion_mnist()
        train, test = (LabelledImages(trimmed(part.images), part.labels) for part in (fashion.train, fashion.test))
        return Dataset("fashion", train, test, fashion.class_names, f"{fashion.source}, each cut to its garment")
    folder = ImageFolder(options.folder, classes=options.classes, max_side=options.max_side)
    # Decoded once, in threads, and kept: the times below are those of training alone.
    batches = list(Loader(folder, ByCount(256)))
    images = Images([image for images, _ in batches for image in images])
    labelled = LabelledImages(images, np.concatenate([labels for _, labels in batches]))
    train, test = labelled.split(len(labelled) // 5, rng=options.seed)
    if folder.problems:
        print(folder.summary())
    return Dataset("folder", train, test, tuple(folder.class_names), f"{options.folder}")


def prepared(way, images, size):
    """What the network sees: the images as they are, or (N, C, H, W) of one size."""
    if way == "mixed":
        return images
    if way == "pad":  # with the mean of the training images, which is 0 after standardising
        return np.stack([pad_to(image, size) for image in images])
    return np.stack([resize(image, size) for image in images])


# Training.


def run(way, dataset, options):
    """Train in one way; a row of the table."""
    train, test = dataset.train, dataset.test
    largest = tuple(np.concatenate([train.sizes, test.sizes]).max(axis=0).tolist())
    parts = [LabelledImages(prepared(way, part.images, largest), part.labels) for part in (train, test)]
    batches = Batches(parts[0].images, parts[0].labels, options.batch_size, shuffle=True, rng=options.seed)
    test_batches = list(Batches(parts[1].images, parts[1].labels, options.batch_size))

    network = minicnn.SimpleNet(len(dataset.class_names), train.images.shape[1], rng=options.seed)
    optimizer = minicnn.Adam(network, lr=options.lr)
    schedule = minicnn.CosineAnnealingLR(optimizer, options.epochs * len(batches))
    loss = minicnn.CrossEntropyLoss()
    trainer = minicnn.Trainer(network, loss, optimizer, schedule=schedule, schedule_every="batch")
    print(f"\n{way}")
    history = trainer.fit(batches, epochs=options.epochs)
    started = time.perf_counter()
    accuracy = trainer.evaluate(test_batches)["accuracy"]
    return {
        "": way,
        "test accuracy": f"{accuracy:.4f}",
        "seconds an epoch": f"{np.median([row['seconds'] for row in history]):.1f}",
        "seconds to test": f"{time.perf_counter() - started:.1f}",
        "million pixels an epoch": f"{parts[0].sizes.prod(axis=1).sum() / 1e6:.1f}",
    }


# What is printed.


def describe(dataset):
    train = dataset.train
    areas = train.sizes.prod(axis=1)
    largest = train.sizes.max(axis=0)
    print(f"{dataset.source}: {len(train)} to train, {len(dataset.test)} to test, {len(dataset.class_names)} classes")
    print(f"{len(np.unique(train.sizes, axis=0))} sizes, {images_range(train.images)}; largest class", end=" ")
    print(f"{np.bincount(dataset.test.labels).max() / len(dataset.test):.2f} of the test images")
    print(f"padded to {largest[0]} × {largest[1]} there are {largest.prod() / areas.mean():.2f} times as many pixels")


def images_range(images):
    """'4 to 28 high and 6 to 28 wide'."""
    (low_h, low_w), (high_h, high_w) = images.sizes.min(axis=0), images.sizes.max(axis=0)
    return f"{low_h} to {high_h} high and {low_w} to {high_w} wide"


def show(rows):
    table = Table()
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*row.values())
    Console().print("\n", table)


if __name__ == "__main__":
    main()
