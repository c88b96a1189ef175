"""CNNClassifier: a network of ours as an estimator of scikit-learn. Importing this module imports scikit-learn.

scikit-learn hands on flat rows, so each row of X is an image (C, H, W) written out, as `images.reshape(N, -1)` does it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from minicnn.checks import as_int
from minicnn.data.batches import Batches
from minicnn.fusion import fuse
from minicnn.losses import CrossEntropyLoss
from minicnn.network import Sequential, SimpleNet
from minicnn.optim import Adam, Optimizer
from minicnn.plain import Array
from minicnn.training.trainer import Trainer

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.extmath import softmax
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        f"minicnn.interop.sklearn needs scikit-learn of at least 1.6, which cannot be imported ({error}); "
        "pip install 'scikit-learn>=1.6'"
    ) from error

if TYPE_CHECKING:
    from typing_extensions import Self

Shape3 = tuple[int, int, int]


class CNNClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # it has no types
    """A convolutional network that is trained and used as scikit-learn's classifiers are.

    Every X is (N, D), a row for each image (C, H, W), written out; D = C * H * W. Labels may be anything that
    scikit-learn takes as classes. With an integer `random_state` a fit can be repeated to the bit.

    Args:
        network: function (n_classes, image_shape, rng) -> Sequential, whose outputs (N, K) are scores or
            log-probabilities; `SimpleNet` unless given.
        image_shape: (C, H, W). Unless given it is the square of 1 channel or of 3 that has D pixels, if there is one,
            and otherwise the grey image of D pixels that is nearest to a square.
        epochs: passes over X in `fit`; `partial_fit` makes one.
        batch_size: images in a batch; one or a few more where the last batch would have a single image.
        lr: the learning rate.
        optimizer: class or function (network, lr=…) that makes the optimiser, such as
            `functools.partial(minicnn.SGD, momentum=0.9)`.
        random_state: an int, a `RandomState` or None: for the first weights and the order of images.
        verbose: whether the progress is shown.

    Attributes:
        classes_: the labels (K,), sorted.
        n_features_in_: D.
        image_shape_: (C, H, W).
        network_: the trained `Sequential`; `minicnn.save_weights` and the like take it.
        history_: of each epoch its losses and accuracies, see `Trainer`.

    Raises nothing when it is made, as scikit-learn asks; `fit` checks the settings.

    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> classifier = CNNClassifier(epochs=2, random_state=0).fit(X[:200] / 16, y[:200])
    >>> classifier.image_shape_, classifier.predict_proba(X[:2] / 16).shape
    ((1, 8, 8), (2, 10))
    """

    def __init__(
        self,
        network: Callable[[int, Shape3, np.random.Generator], Sequential] | None = None,
        *,
        image_shape: Shape3 | None = None,
        epochs: int = 20,
        batch_size: int = 32,
        lr: float = 0.004,
        optimizer: Callable[..., Optimizer] = Adam,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.network = network
        self.image_shape = image_shape
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train a new network for `epochs` passes. Returns the classifier.

        Raises ValueError for an X that is not (N, D), has NaN or infinity or numbers too large for float32, for labels
        that are no classes, an image_shape of other than D pixels, and settings out of range; RuntimeError where the
        loss is not finite.
        """
        epochs = as_int(self.epochs, "CNNClassifier: epochs", 1)
        rows, labels = self._validated(X, y)
        check_classification_targets(labels)
        self._begin(np.unique(labels))
        self._train(rows, labels, epochs)
        return self

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Self:
        """Go on for one pass over X, from where `fit` or `partial_fit` ended. Returns the classifier.

        Args:
            X, y: rows (N, D) and labels (N,), as for `fit`.
            classes: all labels there will be; needed in the first call only.

        Raises ValueError as `fit` does, and for labels, or `classes`, other than those of the first call.
        """
        is_first = not hasattr(self, "classes_")
        rows, labels = self._validated(X, y, reset=is_first)
        check_classification_targets(labels)
        if is_first:
            if classes is None:
                raise ValueError("CNNClassifier.partial_fit: expected classes, all labels, in the first call, got none")
            known = np.unique(classes)
        else:
            known = self.classes_
            if classes is not None and not np.array_equal(known, np.unique(classes)):
                raise ValueError(f"CNNClassifier.partial_fit: expected classes {known} as before, got {classes}")
        if unknown := sorted(set(np.unique(labels).tolist()) - set(known.tolist())):
            raise ValueError(f"CNNClassifier.partial_fit: expected labels among the classes {known}, got {unknown}")
        if is_first:
            self._begin(known)
        self._train(rows, labels, 1)
        return self

    def predict(self, X: ArrayLike) -> Array:
        """The label of each row of X, (N,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X: ArrayLike) -> Array:
        """The probability of each class for each row of X, (N, K) float64, in the order of `classes_`."""
        check_is_fitted(self)
        images = self._as_images(self._validated(X, reset=False))
        network = fuse(self.network_)
        scores = [
            network.predict(images[first : first + self.batch_size]) for first in range(0, len(images), self.batch_size)
        ]
        return softmax(np.concatenate(scores).astype(np.float64))  # of log-probabilities it gives the same

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    @property
    def history_(self) -> list[dict[str, Any]]:
        return self._trainer.history

    def _validated(self, *data: Any, reset: bool = True) -> Any:
        """X, or X and y, as scikit-learn checks them; X as float32. With `reset` its D becomes `n_features_in_`."""
        try:
            with np.errstate(over="ignore"):  # what is too large becomes infinity, which is refused
                return validate_data(self, *data, dtype=np.float32, reset=reset)
        except ValueError as error:
            raise ValueError(f"{error}{_remedy(*data)}") from error

    def _begin(self, classes: Array) -> None:
        """A new network for these classes and `n_features_in_`; nothing is set before all of it is made."""
        image_shape = _image_shape(self.image_shape, self.n_features_in_)
        random = check_random_state(self.random_state)
        seed, self._order = (np.random.default_rng(random.randint(2**31)) for _ in range(2))
        network = (self.network or _simple_net)(len(classes), image_shape, seed)
        if not isinstance(network, Sequential):
            raise TypeError(f"CNNClassifier: network: expected a Sequential, got {type(network).__name__}")
        optimizer = self.optimizer(network, lr=self.lr)
        self._trainer = Trainer(network, CrossEntropyLoss(), optimizer, quiet=not self.verbose)
        self.classes_, self.image_shape_, self.network_ = classes, image_shape, network

    def _train(self, rows: Array, labels: Array, epochs: int) -> None:
        images, classes = self._as_images(rows), np.searchsorted(self.classes_, labels)
        batch_size = self._without_single_image(len(images))
        batches = Batches(images, classes, batch_size, shuffle=True, rng=self._order)
        self._trainer.fit(batches, epochs=epochs)

    def _without_single_image(self, n_images: int) -> int:
        """The batch size, or the next with which no batch has one image, of which batchnorm may have no variance."""
        batch_size = as_int(self.batch_size, "CNNClassifier: batch_size", 1)
        return next(size for size in itertools.count(batch_size) if 1 in (size, n_images) or n_images % size != 1)

    def _as_images(self, rows: Array) -> Array:
        return rows.reshape(len(rows), *self.image_shape_)


def _remedy(X: Any, y: Any = None) -> str:
    """What to do with images or labels of the forms that other libraries take, for an error's message."""
    if getattr(X, "ndim", 2) in (3, 4):
        return (
            "\nImages (N, C, H, W) become rows by X.reshape(len(X), -1); say image_shape=(C, H, W). Those with their "
            "channels last are turned first, by X.transpose(0, 3, 1, 2)."
        )
    if getattr(y, "ndim", 1) == 2 and y.shape[1] > 1:
        return "\nOne-hot labels become classes by y.argmax(axis=1)."
    return ""


def _simple_net(n_classes: int, image_shape: Shape3, rng: np.random.Generator) -> Sequential:
    return SimpleNet(n_classes, image_shape[0], rng=rng)


def _image_shape(given: Any, n_features: int) -> Shape3:
    """(C, H, W) of D pixels: as given, or by the rule of the docstring."""
    if given is not None:
        if not isinstance(given, (tuple, list)) or len(given) != 3:
            raise ValueError(f"CNNClassifier: image_shape: expected (C, H, W), got {given!r}")
        channels, height, width = (as_int(size, "CNNClassifier: image_shape", 1) for size in given)
        if channels * height * width != n_features:
            raise ValueError(
                f"CNNClassifier: expected X with {channels * height * width} features, of images {given}, "
                f"got {n_features}"
            )
        return channels, height, width
    for channels in (1, 3):
        side = math.isqrt(n_features // channels)
        if channels * side**2 == n_features:
            return channels, side, side
    height = next(side for side in range(math.isqrt(n_features), 0, -1) if n_features % side == 0)
    return 1, height, n_features // height
