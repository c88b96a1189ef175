"""A classifier measured on a folder of labelled images: how often it is right, where not, and how sure it was."""

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minicnn.classify.classifier import MAX_PIXELS, Classifier
from minicnn.data.folder import ImageFolder
from minicnn.data.loader import Loader
from minicnn.data.order import ByPixels
from minicnn.plain import Array


@dataclass(frozen=True)
class Evaluation:
    """What a classifier said of N images.

    Attributes:
        class_names: the classifier's K.
        paths: the N files.
        labels: (N,) int64, the true classes as positions in `class_names`.
        probabilities: (N, K) float32.
    """

    class_names: list[str]
    paths: list[Path]
    labels: Array
    probabilities: Array

    @property
    def predicted(self) -> Array:
        """(N,) int64, the most probable class of each image."""
        return self.probabilities.argmax(axis=1)

    @property
    def accuracy(self) -> float:
        """The share of images whose most probable class is the true one."""
        return float(np.mean(self.predicted == self.labels))

    @property
    def largest_share(self) -> float:
        """The share of the most frequent class: the accuracy of always saying that."""
        return float(np.bincount(self.labels).max() / len(self.labels))

    @property
    def confusion(self) -> Array:
        """(K, K) int64: how many images of the class of the row were taken for the class of the column."""
        counts = np.zeros((len(self.class_names), len(self.class_names)), np.int64)
        np.add.at(counts, (self.labels, self.predicted), 1)
        return counts

    @property
    def precision(self) -> Array:
        """(K,): of the images taken for a class, the share that are of it; NaN where there are none."""
        return _share(self.confusion.diagonal(), self.confusion.sum(axis=0))

    @property
    def recall(self) -> Array:
        """(K,): of the images of a class, the share taken for it; NaN where there are none."""
        return _share(self.confusion.diagonal(), self.confusion.sum(axis=1))

    @property
    def f1(self) -> Array:
        """(K,): 2 * right / (taken for the class + of the class), the harmonic mean of precision and recall.

        NaN where there is neither.
        """
        return _share(2 * self.confusion.diagonal(), self.confusion.sum(axis=0) + self.confusion.sum(axis=1))

    @property
    def macro_recall(self) -> float:
        """The mean of the classes' recall, each class counting for as much; of those that have images."""
        return float(np.nanmean(self.recall))

    @property
    def macro_f1(self) -> float:
        """The mean of the classes' F1; of those that have images."""
        return float(self.f1[self.confusion.sum(axis=1) > 0].mean())

    def mistakes(self) -> Array:
        """Positions of the images taken for a wrong class, the surest first."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        return wrong[np.argsort(-self.probabilities[wrong].max(axis=1), kind="stable")]


def evaluate(classifier: Classifier, folder: ImageFolder, mirror: bool = False) -> Evaluation:
    """The `Evaluation` of a `Classifier` on an `ImageFolder` of its number of channels; `mirror` as for its `predict`.

    Classes go by their names; the folder may lack some. Bad files are left out and in `folder.problems`.

    Raises ValueError for images of a class that the classifier does not know, or where no image can be read.
    """
    folder = relabelled(folder, classifier.class_names)
    # The loader leaves bad files out of its batches; with positions as labels we see which images it gave.
    numbered = copy.copy(folder)
    numbered.labels = np.arange(len(folder))
    chosen: list[int] = []
    probabilities: list[Array] = []
    for images, numbers in Loader(numbered, ByPixels(MAX_PIXELS)):
        chosen.extend(numbers.tolist())
        probabilities.append(classifier.predict(images, mirror=mirror))
    if not chosen:
        raise ValueError(f"evaluate: no image in {folder.path} could be read; {folder.summary()}")
    paths = [folder.paths[number] for number in chosen]
    return Evaluation(classifier.class_names, paths, folder.labels[chosen], np.concatenate(probabilities))


def relabelled(folder: ImageFolder, class_names: list[str]) -> ImageFolder:
    """The folder with its labels as positions in `class_names`; the images are shared.

    Raises ValueError where there are images of a class that is not among them.
    """
    present = {folder.class_names[label] for label in folder.labels.tolist()}
    unknown = sorted(present - set(class_names))
    if unknown:
        raise ValueError(
            f"{folder.path}: expected folders named after the classes {', '.join(class_names)}, "
            f"got images in {', '.join(unknown)}"
        )
    positions = [class_names.index(name) if name in present else -1 for name in folder.class_names]
    folder = copy.copy(folder)
    folder.labels, folder.class_names = np.array(positions)[folder.labels], list(class_names)
    return folder


def _share(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
