"""Loader: batches of images of any sizes, read and augmented by threads while the network trains."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from minicnn.checks import as_count, as_int, require_entries
from minicnn.data.dataset import LabelledImages
from minicnn.data.folder import ImageFolder
from minicnn.data.order import ByCount, ByPixels, share_of
from minicnn.images import Images
from minicnn.plain import Array

Augment: TypeAlias = Callable[[Array, np.random.Generator], Array]


class Loader:
    """Iterate over (images, labels) of a source in an order; each `for` loop is one epoch.

    images is an `Images`, whether or not the sizes happen to be equal (`images.as_array()` is then the plain array),
    labels (N,) int64. Bad files are missing from their batch; a batch without any image left is passed over.

    Args:
        source: an `ImageFolder` or a `LabelledImages`.
        order: a `ByCount` or a `ByPixels`.
        augment: function (image (C, H, W), rng) -> image (C, H', W'), applied to every image each time; the result is
            made the image's dtype. It is called in threads, and gets a Generator of its own for each
            image of each epoch, so that it draws the same numbers whichever thread it is in.
        rng: a Generator or a seed for order and augmentation; needed to repeat a run.
        workers: how many threads decode. They are at most workers + 1 batches ahead of the loop, and end with it.

    Raises ValueError or TypeError for workers that are not an integer of at least 1.

    While NumPy and Pillow work in these threads, OpenMP's threads should not wait by spinning: with the environment
    variable OMP_WAIT_POLICY=passive an epoch on two cores took half the time.

    `state_dict()` says where in which epoch the iteration stands; after `load_state_dict` the next `for` loop goes on
    from there, through the same batches, to the last bit and for any number of workers, as the run that was saved.
    With `ByPixels` and `shuffle` epochs differ in their number of batches; `batches_in(epochs)` says how many come.

    >>> from minicnn.data import ByCount, LabelledImages
    >>> labelled = LabelledImages(Images([np.zeros((1, 2, 2)), np.zeros((1, 3, 1)), np.ones((1, 1, 1))]), np.arange(3))
    >>> for images, labels in Loader(labelled, ByCount(2)):
    ...     print(images.sizes.tolist(), labels)
    [[2, 2], [3, 1]] [0 1]
    [[1, 1]] [2]
    """

    def __init__(
        self,
        source: ImageFolder | LabelledImages,
        order: ByCount | ByPixels,
        *,
        augment: Augment | None = None,
        rng: np.random.Generator | int | None = None,
        workers: int = 2,
    ) -> None:
        self.source, self.order, self.augment = source, order, augment
        self.workers = as_int(workers, "Loader: workers", 1)
        self._seed = int(np.random.default_rng(rng).integers(2**63))
        self._epoch = 0
        self._position = 0  # batches of this epoch that were handed out or passed over
        self._resume_at = 0

    def __len__(self) -> int:
        """Batches in this epoch, those counted that turn out to have no image left."""
        return len(self._batches(self._epoch))

    def batches_in(self, epochs: int) -> int:
        """How many batches the next `epochs` loops give; the first may be the rest of an epoch that was begun.

        Exactly, but for batches that turn out to have no image left. Each epoch's order is drawn for it.

        Raises TypeError or ValueError for a number of epochs that is no integer of at least 0.
        """
        epochs = as_int(epochs, "Loader.batches_in: epochs", 0)
        first, begun = self._next_loop()
        return sum(len(self._batches(first + n)) for n in range(epochs)) - (begun if epochs else 0)

    def _next_loop(self) -> tuple[int, int]:
        """(epoch, position) that the next loop begins with."""
        left_early = self._position != self._resume_at  # the loop before, which ended its epoch
        return (self._epoch + 1, 0) if left_early else (self._epoch, self._position)

    def __iter__(self) -> Iterator[tuple[Images, Array]]:
        for images, labels in self.share(0, 1):
            if images is not None:
                yield images, labels

    def share(self, rank: int, size: int) -> Iterator[tuple[Images | None, Array]]:
        """An epoch, but of each batch only the share of process `rank` of `size`, no other image being read.

        It is (None, no labels) where there is none, or all of it is bad files.
        """
        self._epoch, self._position = self._next_loop()
        epoch, self._resume_at = self._epoch, 0
        pool = ThreadPoolExecutor(self.workers, "minicnn-loader")
        try:
            batches = self._batches(epoch)[self._position :]
            coming = (pool.submit(self._load, epoch, share_of(chosen, rank, size)) for chosen in batches)
            ahead = deque(islice(coming, self.workers + 1))
            while ahead:
                batch = ahead.popleft().result()
                ahead.extend(islice(coming, 1))
                self._position += 1
                yield batch
        finally:  # also where the loop is left early: its end closes this generator
            pool.shutdown(cancel_futures=True)
        self._epoch, self._position = epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """The seed, the number of this epoch, and how many of its batches were handed out."""
        return {
            "images": len(self.source),
            "order": repr(self.order),
            "seed": self._seed,
            "epoch": self._epoch,
            "position": self._position,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state` at the next `for` loop.

        Raises ValueError, and changes nothing, where `state` belongs to another number of images or another order, or
        is damaged. The augmentation is not part of the state: give the same.
        """
        mine, what = self.state_dict(), "Loader.load_state_dict"
        require_entries(state, mine, what)
        for key in ("images", "order"):
            if state[key] != mine[key]:
                raise ValueError(f"{what}: expected {key} {state[key]} as in the run saved, got {mine[key]}")
        seed, epoch = as_count(state["seed"], f"{what}: seed"), as_count(state["epoch"], f"{what}: epoch")
        position = as_count(state["position"], f"{what}: position", len(self._batches(epoch, seed)))
        self._seed, self._epoch, self._position, self._resume_at = seed, epoch, position, position

    def _batches(self, epoch: int, seed: int | None = None) -> list[Array]:
        rng = _generator(self._seed if seed is None else seed, epoch, 0)
        return self.order.batches(self.source.sizes, rng)

    def _load(self, epoch: int, chosen: Array) -> tuple[Images | None, Array]:
        """The batch of the images `chosen`, without those that are bad files. This is what the threads do."""
        images, labels = [], []
        for index in chosen.tolist():
            image = self.source.image(index)
            if image is None:
                continue
            if self.augment is not None:
                image = np.asarray(self.augment(image, _generator(self._seed, epoch, 1 + index)), image.dtype)
            images.append(image)
            labels.append(self.source.labels[index])
        return Images(images) if images else None, np.array(labels, np.int64)


def _generator(seed: int, epoch: int, number: int) -> np.random.Generator:
    """The random numbers of the order (number 0), or of image number - 1, in this epoch."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch, number)))
