"""What `minicnn train --balance` is worth: Fashion-MNIST with two classes thinned out 20 : 1.

Each seed thins other images, and trains with and without balance by `train_classifier`, as the command does. Measured
on all test images: macro recall, the mean of the classes' recall.

    python benchmarks/balance.py                  (needs Debian's package dataset-fashion-mnist)
"""

import argparse
import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image

import minicnn
from minicnn.classify.train import train_classifier
from minicnn.data import ByCount, ImageFolder, load_fashion_mnist

THINNED = ("Coat", "Shirt")
RATIO = 20


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--per-class", type=int, default=2000, help="training images of each class that is not thinned")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    dataset = load_fashion_mnist()
    names = list(dataset.class_names)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        test = as_folder(dataset.test, names, Path(folder, "test"))
        for seed in range(options.seeds):
            chosen = thinned(dataset.train.labels, names, options.per_class, np.random.default_rng(seed))
            train = as_folder(dataset.train, names, Path(folder, f"train-{seed}"), chosen)
            rows.append([measured(train, test, seed, balance, options.epochs) for balance in (False, True)])
            (plain, plain_rare), (balanced, rare) = rows[-1]
            print(
                f"seed {seed}: macro recall {plain:.4f} plain, {balanced:.4f} balanced; "
                f"of the thinned classes {plain_rare:.4f} and {rare:.4f}",
                flush=True,
            )
    (plain, plain_rare), (balanced, rare) = np.mean(rows, axis=0)
    print(
        f"mean of {options.seeds}: macro recall {plain:.4f} plain, {balanced:.4f} balanced; "
        f"of the thinned classes {plain_rare:.4f} and {rare:.4f}"
    )


def thinned(labels, names, per_class, rng):
    """Positions of `per_class` images of each class, and of a twentieth of that of those that are thinned."""
    chosen = [
        rng.permutation(np.flatnonzero(labels == label))[: per_class // RATIO if name in THINNED else per_class]
        for label, name in enumerate(names)
    ]
    return np.concatenate(chosen)


def as_folder(part, names, path, chosen=None):
    """An ImageFolder of these images, each a file, as the command has it."""
    for number in range(len(part)) if chosen is None else chosen.tolist():
        folder = path / names[part.labels[number]].replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.round(part.images[number, 0] * 255).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"{number}.png", compress_level=1)
    return ImageFolder(path, channels=1)


def measured(folder, test, seed, balance, epochs):
    """(macro recall, mean recall of the thinned classes) on the test images."""
    train, validation = folder.split(len(folder) // 5, rng=seed)
    with contextlib.redirect_stdout(io.StringIO()):
        classifier, _ = train_classifier(
            train, validation, epochs=epochs, order=ByCount(64, shuffle=True), seed=seed, balance=balance
        )
    result = minicnn.evaluate(classifier, test)
    rare = [result.class_names.index(name) for name in THINNED]
    return result.macro_recall, result.recall[rare].mean()


if __name__ == "__main__":
    main()
