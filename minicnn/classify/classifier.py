"""Classifier: a trained network with what is needed to use it on images.

image -> channels, size -> (image - mean) / std -> network -> probabilities -> names
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minicnn.checks import as_int, as_number, shortened
from minicnn.classify.temperature import scaled
from minicnn.data.decode import decode, to_unit_range
from minicnn.data.order import ByPixels
from minicnn.fusion import fuse
from minicnn.images import Images
from minicnn.io.safetensors import WRONG_CONTENT, description_in, read_safetensors, write_safetensors
from minicnn.layers import LogSoftmax
from minicnn.network import Sequential, SimpleNet
from minicnn.plain import Array
from minicnn.training.architecture import built, described, in_channels, num_classes
from minicnn.training.checkpoint import require_finite

FORMAT = "minicnn classifier"
VERSION = 3  # describes any network; a SimpleNet is still written as 2
READABLE = ("1", "2", "3")  # 1 called max_side "longest"
MAX_PIXELS = 2**18  # of a batch; a prediction takes about 300 bytes a pixel, so this is 80 MB
WHITE = (255, 255, 255)  # seen where an image is transparent, as in ImageFolder
LARGEST_IMAGE = 50_000_000  # pixels, as in ImageFolder


class Classifier:
    """A trained network, the names of its classes, and how images become its input.

        input = (image - mean) / std        channel by channel, of images from 0 to 1

    Args:
        network: a network of float32 with 1 or 3 input channels, layers one after another, for images of any size:
            with an adaptive pooling before what needs one size. It ends in its scores, or in LogSoftmax.
        class_names: K different names, in the order of the network's outputs.
        mean, std: one number for each channel, those of the images it was trained on.
        max_side: `read` shrinks larger images so that their longer side has this many pixels; None leaves all
            as they are.
        temperature: T, by which log-probabilities are divided (see `minicnn.classify.temperature`); 1 changes nothing.

    Attributes:
        network, class_names (a list), mean and std ((C,) float32), max_side, temperature.
        channels: C, 3 for colour and 1 for grey.

    Raises:
        TypeError: no network, one that is not float32, or that a file cannot hold (see `minicnn.save`).
        ValueError: names or numbers that do not fit the network.

    >>> network = SimpleNet(num_classes=2, in_channels=1, rng=0).to("reference")
    >>> classifier = Classifier(network, ["cat", "dog"], mean=[0.5], std=[0.25])
    >>> classifier
    Classifier(SimpleNet, 1 channel, classes cat, dog)
    >>> images = [np.zeros((1, 5, 7), np.float32), np.ones((1, 1, 1), np.float32)]   # of any sizes
    >>> classifier.predict(images).shape
    (2, 2)
    """

    def __init__(
        self,
        network: Sequential,
        class_names: Iterable[str],
        mean: ArrayLike,
        std: ArrayLike,
        max_side: int | None = None,
        temperature: float = 1.0,
    ) -> None:
        if not isinstance(network, Sequential):
            raise TypeError(f"Classifier: expected a network, got {type(network).__name__}")
        try:
            described(network)
        except TypeError as error:
            raise TypeError(f"Classifier: {error}") from error
        self.network, self.class_names = network, list(class_names)
        self.mean, self.std = np.array(mean, np.float32), np.array(std, np.float32)
        self.max_side = None if max_side is None else as_int(max_side, "Classifier: max_side", 1)
        self.temperature = as_number(temperature, "Classifier: temperature", np.finfo(np.float32).tiny)
        self._check()
        self._fused = fuse(network)
        *_, (_, last) = network.named_layers()
        self._ends_in_log_softmax = isinstance(last, LogSoftmax)

    def _check(self) -> None:
        for _, layer, key in self.network.named_params():
            dtype = layer.params[key].dtype
            if dtype != np.float32:
                raise TypeError(
                    f"Classifier: expected a network of float32, got {dtype}; convert it with .to(dtype=...)"
                )
        if self.channels not in (1, 3):
            raise ValueError(f"Classifier: expected a network of 1 or 3 input channels, got {self.channels}")
        n_classes = _asked("Classifier", num_classes, self.network)
        if not all(isinstance(name, str) for name in self.class_names) or not (
            n_classes == len(self.class_names) == len(set(self.class_names))
        ):
            raise ValueError(
                f"Classifier: expected {n_classes} different class names, as many as the network has outputs, "
                f"got {shortened(self.class_names)}"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values.shape != (self.channels,) or not np.isfinite(values).all():
                raise ValueError(
                    f"Classifier: expected {name} to be {self.channels} finite numbers, got {shortened(values)}"
                )
        if not (self.std > 0).all():
            raise ValueError(f"Classifier: expected std above 0, got {self.std}")

    @property
    def channels(self) -> int:
        """C, how many channels an image must have."""
        return _asked("Classifier", in_channels, self.network)

    def read(self, path: str | Path) -> Array:
        """The image in a file, (C, H, W) float32 from 0 to 1. Raises ValueError with the reason for a bad file."""
        return to_unit_range(decode(path, self.channels, WHITE, LARGEST_IMAGE, self.max_side))

    def as_input(self, image: Array) -> Array:
        """The network's input for one image (C, H, W) from 0 to 1, a new array."""
        return (image - self.mean[:, None, None]) / self.std[:, None, None]

    def predict(
        self, images: Images | Array | Sequence[Array], max_pixels: int = MAX_PIXELS, mirror: bool = False
    ) -> Array:
        """The probability of each class for each image, (N, K) float32; each row sums to 1 up to rounding.

        Args:
            images: `Images`, an array (N, C, H, W) or a list of arrays (C, H, W) of any sizes; float32, 0 to 1.
            max_pixels: how many pixels are computed at once, about 300 bytes each. A larger image is computed
                alone. The result depends on this only by rounding.
            mirror: look at each image mirrored, too, left for right, and give the mean of both probabilities
                (test-time augmentation). It takes twice as long, and is for classes that mirror images belong to.

        Raises ValueError for images of another number of channels or with NaN, TypeError for another dtype.
        """
        images = images if isinstance(images, (Images, np.ndarray)) else [np.asarray(p) for p in images]
        if len(images) == 0:
            return np.empty((0, len(self.class_names)), np.float32)
        for position, image in enumerate(images):
            if image.ndim != 3 or len(image) != self.channels:
                raise ValueError(
                    f"Classifier.predict: expected images of shape ({self.channels}, H, W), "
                    f"got shape {image.shape} at position {position}"
                )
            if image.dtype != np.float32:
                raise TypeError(
                    f"Classifier.predict: expected float32 from 0 to 1, got {image.dtype} at position {position}; "
                    "integers of 0 to 255 become it by image.astype(np.float32) / 255"
                )
            if not np.isfinite(image).all():
                raise ValueError(
                    f"Classifier.predict: expected finite numbers, got NaN or infinity at position {position}; "
                    "np.nan_to_num(image) puts numbers in their place"
                )
        if mirror:
            mirrored = [image[:, :, ::-1] for image in images]
            return (self.predict(images, max_pixels) + self.predict(mirrored, max_pixels)) / 2
        sizes = [image.shape[1:] for image in images]
        batches = ByPixels(max_pixels).batches(sizes, rng=None)
        return np.concatenate([self._probabilities([images[n] for n in chosen.tolist()]) for chosen in batches])

    def _probabilities(self, images: list[Array]) -> Array:
        output = self._fused.predict(Images([self.as_input(image) for image in images]))
        if not self._ends_in_log_softmax:
            output = self.network.ops.log_softmax_forward(output)
        probabilities = np.exp(self.network.ops.to_numpy(output))
        return probabilities if self.temperature == 1 else scaled(probabilities, self.temperature)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file: the weights under PyTorch's names, everything else as JSON in its metadata.

        The file is written whole or not at all; `safetensors.torch.load_file` gives the state_dict to PyTorch.

        Raises OSError where it cannot be written; ValueError for weights that are not finite.
        """
        arrays = self.network.state_dict()
        require_finite(arrays, f"Classifier.save: {path}")
        fitting = {"num_classes": len(self.class_names), "in_channels": self.channels}
        is_simple = type(self.network) is SimpleNet and repr(self.network) == repr(SimpleNet(**fitting, rng=0))
        description = {
            "network": {"name": "SimpleNet", **fitting} if is_simple else described(self.network),
            "class_names": self.class_names,
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "max_side": self.max_side,
        }
        version = VERSION
        if self.temperature != 1:
            description["temperature"] = self.temperature
        elif is_simple:
            version = 2  # so that versions of minicnn that know no others read it
        metadata = {"format": f"{FORMAT} {version}", "classifier": json.dumps(description)}
        write_safetensors(path, arrays, metadata)

    @classmethod
    def load(cls, path: str | Path) -> Classifier:
        """The classifier that `save` wrote.

        Raises FileNotFoundError; ValueError where the file is no safetensors file, holds something else, comes from a
        newer version of minicnn, or is damaged.
        """
        arrays, metadata = read_safetensors(path)
        _require_format(path, metadata)
        description = description_in(path, metadata, "classifier")
        require_finite(arrays, path)
        try:
            network = _network(description, arrays)
            network.load_state_dict(arrays)
            max_side = description["longest"] if "longest" in description else description["max_side"]
            numbers = description["mean"], description["std"], max_side, description.get("temperature", 1.0)
            return cls(network, description["class_names"], *numbers)
        except KeyError as error:
            raise ValueError(f"{path}: its description is damaged, there is no {error}") from error
        except WRONG_CONTENT as error:
            raise ValueError(
                f"{path}: its description is damaged, or not of these weights: {shortened(error, 2000)}"
            ) from error

    def __repr__(self) -> str:
        channels = "1 channel" if self.channels == 1 else f"{self.channels} channels"
        return f"Classifier({type(self.network).__name__}, {channels}, classes {', '.join(self.class_names)})"


def _asked(what: str, question: Callable[[Sequential], int], network: Sequential) -> int:
    try:
        return question(network)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


def _network(description: dict[str, Any], arrays: Mapping[str, Array]) -> Sequential:
    """The network of a classifier's description. Raises ValueError or KeyError where it does not fit the arrays."""
    arguments = dict(description["network"])
    if "class" in arguments:
        return built(arguments, arrays)
    name = arguments.pop("name")
    if name != "SimpleNet":
        raise ValueError(f"expected a SimpleNet, got the network {shortened(name)!r}, which this version does not know")
    fitting = {"num_classes": len(description["class_names"]), "in_channels": len(description["mean"])}
    if arguments != fitting:
        raise ValueError(f"expected the network's arguments {fitting}, got {arguments}")
    # Before memory is taken for a network of any size that the description claims.
    if arrays["fc.weight"].size < fitting["num_classes"] or fitting["in_channels"] > 3:
        raise ValueError(f"expected weights of {fitting}, got fewer")
    return SimpleNet(**arguments, rng=0)


def _require_format(path: str | Path, metadata: Mapping[str, str]) -> None:
    """Raise ValueError unless the metadata are those of a classifier of a version that is known here."""
    found = metadata.get("format", "")
    kind, _, version = found.rpartition(" ")
    if kind == FORMAT and version.isdecimal() and int(version) > VERSION:
        raise ValueError(
            f"{path}: written by a newer version of minicnn (format {version}, this one reads {VERSION}); "
            "install the newest minicnn"
        )
    if kind == FORMAT and version in READABLE:
        return
    if kind == "minicnn run":
        raise ValueError(
            f"{path}: expected a trained model, got a training run that was not finished; "
            "finish it with: minicnn train … --resume"
        )
    raise ValueError(
        f"{path}: expected a trained model that minicnn wrote, got a safetensors file without its class names; "
        "weights alone are read with minicnn.load_weights"
    )
