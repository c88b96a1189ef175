"""A classifier trained from a folder of images: the default settings, around `Trainer`."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from minicnn.classify.balanced import BalancedLoss
from minicnn.classify.classifier import MAX_PIXELS, Classifier
from minicnn.classify.evaluate import relabelled
from minicnn.data.augment import color_jitter, random_flip, random_resize
from minicnn.data.folder import ImageFolder
from minicnn.data.loader import Augment, Loader
from minicnn.data.order import ByCount, ByPixels
from minicnn.images import Images
from minicnn.io.files import require_writable
from minicnn.losses import CrossEntropyLoss
from minicnn.network import Sequential, SimpleNet
from minicnn.optim import Adam
from minicnn.plain import Array
from minicnn.schedules import CosineAnnealingLR
from minicnn.training.architecture import described
from minicnn.training.group import Group
from minicnn.training.trainer import Trainer

HEAD = 2**16  # bytes of each file that are compared where a run is resumed
IMAGES_IN_A_BATCH = 32
PIXELS_IN_A_BATCH = 2**20  # at most; training takes about 900 bytes a pixel, so this is 900 MB


def train_classifier(
    train: ImageFolder,
    validation: ImageFolder,
    *,
    epochs: int = 20,
    order: ByCount | ByPixels | None = None,
    lr: float = 0.004,
    augment: Augment | None = None,
    balance: bool = False,
    seed: int = 0,
    network: Sequential | Callable[..., Sequential] = SimpleNet,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    group: Group | None = None,
) -> tuple[Classifier, Trainer]:
    """Train a network on an `ImageFolder`, and keep the weights of the epoch with the smallest validation loss.

    Each image is learnt at its own size, up to the `max_side` of the folder, which the classifier takes over. Adam's
    learning rate falls along half a cosine, epoch by epoch.

    Args:
        train, validation: `ImageFolder`s of the same number of channels. Those that `split` makes will do, or two
            folders; of the second the classes go by their names, and some may be missing.
        epochs: passes over `train`, those of a resumed run included.
        order: which images stand in which batch; `default_order(train)` unless given.
        lr: the learning rate of the first epoch.
        augment: function (image, rng) -> image, as in `Loader`; `default_augment` is one.
        balance: whether the loss is a `BalancedLoss`, so that rare classes are not passed over.
        seed: for the first weights, the order, and the augmentation.
        network: a network, or what makes one: a function (num_classes, in_channels, rng), as `SimpleNet` is. One that
            is given is trained on from its weights; it needs as many outputs as there are classes (`replace_head`).
        checkpoint: path of a file that is written after each epoch, and where Ctrl-C stops the run.
        resume: go on with the run in `checkpoint`, given the same arguments and images, to the same bits. They are
            compared with those that the run was begun with; of `augment` the name, of a file its name, size and
            beginning, of the images to train together also mean and standard deviation.
        overwrite: begin anew though there is a file `checkpoint`, which is replaced.
        group: the processes that train together, as in `Trainer`.

    Returns:
        (classifier, trainer); `trainer.history` and `trainer.interrupted` say how it went. Where Ctrl-C ended the
        run, the classifier has the weights of the last step.

    Raises:
        ValueError: fewer than two classes, a class without images to train on, images of an unknown class in
            `validation`; `resume` of a run that was begun otherwise, of which every difference is named.
        FileNotFoundError: nothing to resume.
        FileExistsError: a checkpoint that is there already, with neither `resume` nor `overwrite`.
        OSError: the checkpoint cannot be written.
        RuntimeError: the loss is not finite.
    """
    group = group or Group()
    group.first(lambda: _require_place(checkpoint, resume, overwrite))
    _require_images_of_each_class(train)
    validation = relabelled(validation, train.class_names)
    mean, std = channel_statistics(train, group)
    if not isinstance(network, Sequential):
        network = network(len(train.class_names), train.channels, rng=seed)
    classifier = Classifier(network, train.class_names, mean, std, train.max_side)

    def prepared(image: Array, rng: np.random.Generator) -> Array:
        return classifier.as_input(image if augment is None else augment(image, rng))

    def as_it_is(image: Array, rng: np.random.Generator) -> Array:
        return classifier.as_input(image)

    order = order or default_order(train)
    batches = Loader(train, order, augment=prepared, rng=seed)
    validation_batches = Loader(validation, ByPixels(MAX_PIXELS), augment=as_it_is)
    optimizer = Adam(network, lr=lr)
    settings = {
        "seed": str(seed),
        "epochs": int(epochs),
        "lr": float(lr),
        "order": repr(order),
        "augment": None if augment is None else getattr(augment, "__qualname__", type(augment).__name__),
        "channels": train.channels,
        "max_side": train.max_side,
        "background": train.background,
        "classes": train.class_names,
        "balance": bool(balance),
        "network": f"{type(network).__name__}, {_digest(json.dumps(described(network)))}",
        "images to train": group.first(lambda: _fingerprint(train, mean, std)),
        "images to validate": group.first(lambda: _fingerprint(validation)),
    }
    trainer = Trainer(
        network,
        BalancedLoss(train.labels, len(train.class_names)) if balance else CrossEntropyLoss(),
        optimizer,
        schedule=CosineAnnealingLR(optimizer, T_max=epochs),
        keep_best=True,
        checkpoint=checkpoint,
        settings=settings,
        group=group,
    )
    if resume and checkpoint is not None:
        trainer.load(checkpoint, batches)
    trainer.fit(batches, validation_batches, epochs=max(0, epochs - trainer.epoch))
    return classifier, trainer


def default_order(folder: ImageFolder) -> ByPixels:
    """Shuffled batches of about 32 images, fewer where they are so large that memory might not suffice."""
    average = folder.sizes.prod(axis=1).mean()
    return ByPixels(int(min(PIXELS_IN_A_BATCH, IMAGES_IN_A_BATCH * average)), shuffle=True)


def default_augment(image: Array, rng: np.random.Generator) -> Array:
    """An image (C, H, W) changed at random: mirrored, resized, of another brightness, contrast and saturation."""
    image = random_flip(random_resize(image, rng), rng)
    return color_jitter(image, rng, brightness=0.2, contrast=0.2, saturation=0.2)


def channel_statistics(folder: ImageFolder, group: Group | None = None) -> tuple[Array, Array]:
    """(mean, std) of each channel over all pixels of all images, (C,) float64 each; a std of 0 is given as 1.

    This decodes every image once, so that all bad files are known afterwards; a `group` shares the work.
    Raises ValueError where none is left.
    """
    group = group or Group()
    batches = Loader(folder, ByPixels(MAX_PIXELS)).share(group.rank, group.size)
    n_pixels, total, squares = group.summed(group.all(lambda: _pixel_sums(batches, folder.channels)))
    if not n_pixels.any():
        raise ValueError(f"no image in {folder.path} could be read; {folder.summary()}")
    mean = total / n_pixels
    std = np.sqrt(np.maximum(squares / n_pixels - mean**2, 0))
    return mean, np.where(std > 0, std, 1)


def _pixel_sums(batches: Iterable[tuple[Images | None, Array]], channels: int) -> Array:
    """(3, C): of each channel how many pixels there are, their sum, and that of their squares."""
    sums = np.zeros((3, channels))
    for images, _ in batches:
        for image in images or ():
            sums[0] += image[0].size
            sums[1] += image.sum(axis=(1, 2), dtype=np.float64)
            sums[2] += np.square(image, dtype=np.float64).sum(axis=(1, 2))
    return sums


def _require_place(checkpoint: str | Path | None, resume: bool, overwrite: bool) -> None:
    """Check, before the work, that the checkpoint can be written and that nothing is overwritten unasked."""
    if checkpoint is None:
        if resume:
            raise ValueError("train_classifier: expected the path of a checkpoint to resume, got none")
        return
    if resume and overwrite:
        raise ValueError("train_classifier: expected resume or overwrite, got both")
    if resume and not Path(checkpoint).is_file():
        raise FileNotFoundError(f"train_classifier: nothing to resume, there is no file {checkpoint}")
    if Path(checkpoint).is_file() and not (resume or overwrite):
        raise FileExistsError(
            f"train_classifier: the checkpoint {checkpoint} of another run is there already; go on with it by "
            "resume=True, replace it by overwrite=True, or name another"
        )
    require_writable(checkpoint)


def _fingerprint(folder: ImageFolder, *statistics: Iterable[float]) -> str:
    """How many images, and a digest of their names, classes and files, by which changed data are recognised.

    Only the beginning of a large file is read; the rest is in the `statistics` of all pixels, if given.
    """
    rounded = " ".join(f"{value:.6g}" for values in statistics for value in values)
    digest = hashlib.blake2b(rounded.encode(), digest_size=8)
    for path, label in zip(folder.paths, folder.labels.tolist(), strict=True):
        with open(path, "rb") as file:
            head, size = file.read(HEAD), os.fstat(file.fileno()).st_size
        name = os.fsencode(path.relative_to(folder.path).as_posix())
        for part in (name, str(label).encode(), str(size).encode(), head):
            digest.update(len(part).to_bytes(8, "little") + part)
    return f"{len(folder)}, with the digest {digest.hexdigest()}"


def _digest(text: str) -> str:
    return f"with the digest {hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def _require_images_of_each_class(folder: ImageFolder) -> None:
    counts = np.bincount(folder.labels, minlength=len(folder.class_names))
    if len(counts) < 2:
        raise ValueError(f"{folder.path}: expected a folder for each of two classes or more, got {len(counts)}")
    empty = [name for name, count in zip(folder.class_names, counts.tolist(), strict=True) if not count]
    if empty:
        raise ValueError(
            f"{folder.path}: expected images of every class to train on, got none of {', '.join(empty)}; "
            "add some, or remove the folder"
        )
