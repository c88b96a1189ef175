"""Data: labelled images in memory and in folders, the sets the examples use, and batches of them.

split.py          two parts of a set, with every class in both
dataset.py        LabelledImages and Dataset, what every load_… returns
batches.py        Batches: shuffled, resumable, from memory
folder.py         ImageFolder: a folder for each class; on walk.py, decode.py, cache.py, pillow.py
order.py          ByCount and ByPixels: which images stand in which batch
loader.py         Loader: batches of a folder in an order, read and augmented by threads; resumable
duplicates.py     images that are nearly the same in two folders
trim.py           images cut to what is on them
augment.py        flip, crop, resize, pad, colours: for Loader's `augment`
published.py      the random batch of the published SimpleNet program
sample.py         a small folder of real pictures, cut out of photos/
digits.py         scikit-learn's 8 × 8 digits, no download
fashion_mnist.py  from its four IDX files
cifar10.py        from the archive as downloaded
"""

from minicnn.data.augment import color_jitter, pad_to, random_crop, random_flip, random_resize, resize, shrink
from minicnn.data.batches import Batches
from minicnn.data.cifar10 import load_cifar10
from minicnn.data.dataset import Dataset, LabelledImages, standardised
from minicnn.data.digits import load_digits
from minicnn.data.duplicates import near_duplicates
from minicnn.data.fashion_mnist import load_fashion_mnist
from minicnn.data.folder import ImageFolder
from minicnn.data.loader import Loader
from minicnn.data.order import ByCount, ByPixels
from minicnn.data.published import published_batch
from minicnn.data.sample import write_sample
from minicnn.data.trim import trimmed

__all__ = [
    "Batches",
    "ByCount",
    "ByPixels",
    "Dataset",
    "ImageFolder",
    "LabelledImages",
    "Loader",
    "color_jitter",
    "load_cifar10",
    "load_digits",
    "load_fashion_mnist",
    "near_duplicates",
    "pad_to",
    "published_batch",
    "random_crop",
    "random_flip",
    "random_resize",
    "resize",
    "shrink",
    "standardised",
    "trimmed",
    "write_sample",
]
