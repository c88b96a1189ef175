"""Data: labelled images in memory, the sets the examples use, and batches of them.

dataset.py        LabelledImages and Dataset, what every loader returns
batches.py        Batches: shuffled, resumable
published.py      the random batch of the published SimpleNet program
digits.py         scikit-learn's 8 × 8 digits, no download
fashion_mnist.py  from its four IDX files
cifar10.py        from the archive as downloaded
"""

from minicnn.data.batches import Batches
from minicnn.data.cifar10 import load_cifar10
from minicnn.data.dataset import Dataset, LabelledImages, standardised
from minicnn.data.digits import load_digits
from minicnn.data.fashion_mnist import load_fashion_mnist
from minicnn.data.published import published_batch

__all__ = [
    "Batches",
    "Dataset",
    "LabelledImages",
    "load_cifar10",
    "load_digits",
    "load_fashion_mnist",
    "published_batch",
    "standardised",
]
