"""What `Trainer.fit` may be given: arrays become batches, and what cannot be learnt from is refused at the start."""

import math
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np

from minicnn.checks import kind_of
from minicnn.data import Batches, LabelledImages
from minicnn.images import Images
from minicnn.losses import CrossEntropyLoss, Loss, NLLLoss
from minicnn.network import Sequential

BATCH_SIZE = 32  # unless given, of arrays
FORMS = "fit(images, labels, validation=(images, labels)), or fit(batches, validation_batches)"

Given: TypeAlias = Any  # images, or batches


def as_batches(
    train: Given, second: Given, validation: Given, batch_size: int | None, rng: Any
) -> tuple[Iterable[Any], Iterable[Any] | None]:
    """(training batches, validation batches or None) of what `fit` was given.

    Args:
        train: images, an array or `Images` or a list of arrays (C, H, W); `LabelledImages`; or batches.
        second: with images their labels; else the validation, as today's callers give it.
        validation: a pair (images, labels), `LabelledImages` or batches.
        batch_size: of what is not in batches yet, 32 unless given.
        rng: for the order of the training images.

    Raises TypeError, with the remedy, for anything else; what `Batches` raises.
    """
    if _is_images(train):
        if second is None:
            raise TypeError(f"Trainer.fit: expected labels beside the images, got {kind_of(train)} alone; use {FORMS}")
        pair: Any = train, second
    elif isinstance(train, LabelledImages):
        pair, validation = (train.images, train.labels), _one_of(second, validation)
    else:
        pair, validation = None, _one_of(second, validation)
        if isinstance(train, (str, bytes, dict)) or not isinstance(train, Iterable):
            raise TypeError(f"Trainer.fit: expected images or batches, got {kind_of(train)}; use {FORMS}")
    if isinstance(validation, LabelledImages):
        validation = validation.images, validation.labels
    validation_pair = validation if _is_pair(validation) else None
    if batch_size is not None and pair is None and validation_pair is None:
        raise TypeError("Trainer.fit: batch_size is for images that are not in batches yet; these batches have theirs")
    if _is_images(validation):
        raise TypeError(
            f"Trainer.fit: expected validation=(images, labels) or batches, got {kind_of(validation)} alone"
        )
    batch_size = BATCH_SIZE if batch_size is None else batch_size
    if pair is not None:
        images, labels = pair
        train = Batches(images, labels, batch_size, shuffle=True, rng=rng)
    if validation_pair is not None:
        images, labels = validation_pair
        validation = Batches(images, labels, batch_size)
    return train, validation


def require_learnable(network: Sequential, loss: Loss, train: Iterable[Any], validation: Iterable[Any] | None) -> None:
    """Raise ValueError or TypeError where a step would fail on images or labels of `train`, or an evaluation on others.

    Of `Batches` all images and labels are looked at, and of a list of batches to validate on the first; others cannot
    be looked into without using them up, and those to learn from are asked by the first step. One image is predicted,
    which changes nothing in the network.
    """
    if isinstance(train, Batches):
        _require_usable(network, loss, train, "Trainer.fit")
    if validation is not None:
        _require_usable(network, loss, validation, "Trainer.fit: validation")


def require_finite_input(loss: float, images: Any, what: str) -> None:
    """Raise ValueError where a loss is not finite and one of the images is not, either."""
    if not math.isfinite(loss) and isinstance(images, (np.ndarray, Images)):
        try:
            _require_finite_images(images)
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None


def _require_usable(network: Sequential, loss: Loss, batches: Iterable[Any], what: str) -> None:
    if isinstance(batches, Batches):
        images, labels = batches.images, batches.labels
    elif isinstance(batches, (list, tuple)) and batches:
        if not (isinstance(batches[0], (list, tuple)) and len(batches[0]) == 2):
            raise TypeError(f"{what}: expected batches (images, labels), got {kind_of(batches[0])} as the first")
        images, labels = batches[0]
    else:
        return
    if not isinstance(images, (np.ndarray, Images)) or not len(images):
        return  # of a library that minicnn does not know: the first step tells
    try:
        _require_finite_images(images)
        output = network.ops.to_numpy(network.predict(images[:1]))
        if isinstance(loss, (NLLLoss, CrossEntropyLoss)):
            loss.require_readable(output, labels[:1])
            _require_labels(np.asarray(labels), output.shape[1], loss.ignore_index)
    except NotImplementedError:
        return  # a custom layer may know no prediction
    except (TypeError, ValueError) as error:
        raise type(error)(f"{what}: {error}") from error


def _is_images(given: Any) -> bool:
    """Whether these are images rather than batches of them."""
    if isinstance(given, list) and given:
        return isinstance(given[0], np.ndarray)
    return isinstance(given, Images) or hasattr(given, "__array__")


def _is_pair(given: Any) -> bool:
    """Whether this is (images, labels) rather than batches of them."""
    return isinstance(given, (tuple, list)) and len(given) == 2 and _is_images(given[0])


def _one_of(second: Given, validation: Given) -> Given:
    if second is not None and validation is not None:
        raise TypeError(
            f"Trainer.fit: expected one validation, got {kind_of(second)} and {kind_of(validation)}; use {FORMS}"
        )
    return validation if second is None else second


def _require_finite_images(images: Any) -> None:
    for position, image in enumerate(images):
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise ValueError(
                f"expected finite numbers, got NaN or infinity in image {position}; leave it out, or "
                "np.nan_to_num(images) puts numbers in their place"
            )


def _require_labels(labels: Any, n_classes: int, ignore_index: int) -> None:
    wrong = np.flatnonzero((labels != ignore_index) & ((labels < 0) | (labels >= n_classes)))
    if len(wrong):
        raise ValueError(
            f"expected labels from 0 to {n_classes - 1}, got {labels[wrong[0]]} at position {wrong[0]}; "
            f"the network has {n_classes} outputs"
        )
