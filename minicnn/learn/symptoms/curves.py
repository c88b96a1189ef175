"""What is recorded of a run: everything that its owner could have looked at.

    S = 120 steps    E = 10 epochs    L = 5 layers with parameters    R = 3 ReLUs    K = 10 classes

Of each training step:

    loss, accuracy                            (S,)       of its batch, before the step
    loss_gradient                             (S,)       sum of |d loss / d log p|, over the batch
    gradient_norm, weight_norm, update_norm   (S, L)     of all parameters of a layer; an update is after minus before
    alignment                                 (S,)       cosine of the update with minus the gradient

Of each epoch:

    pixel_mean, pixel_spread                  (E,)       of the training pictures as the network gets them
    label_means                               (E, K, 8, 8)  the mean picture that came with each label
    label_share                               (E,)       the share of the pictures' variance that the labels explain
    pixel_gradient                            (E, 8, 8)  mean |d loss / d pixel| of a batch

Of the validation pictures, before the first epoch and after each, so that row 0 is the untrained network:

    val_loss, val_accuracy                    (E + 1,)   the pictures class by class, as they lie in folders
    confusion                                 (E + 1, K, K)  the same; rows are true classes
    bn_offset                                 (E + 1,)   the same: how far each batch's mean is from the mean that bn2
                                                         takes away, in its standard deviations; mean over channels
    val_accuracy_mixed                        (E + 1,)   the same pictures once more, all mixed in one batch
    dead                                      (E + 1, R) the share of a ReLU's units that are 0 for all of them
    spread                                    (E + 1, 1 + L)  standard deviation of the pictures and of each layer

What is no longer a number is NaN in the curves, too. A picture whose output is NaN counts as class 0, since argmax
gives that.
"""

import functools
from typing import Any, TypeAlias

import numpy as np

from minicnn.backends.protocol import Report
from minicnn.data import Dataset, LabelledImages, load_digits
from minicnn.layers import BatchNorm2d
from minicnn.learn.symptoms.experiment import CLASSES, EPOCHS, Experiment
from minicnn.losses import NLLLoss
from minicnn.network import Sequential
from minicnn.optim import SGD
from minicnn.plain import Array

Curves: TypeAlias = dict[str, Array]

LAYERS = ("conv1", "conv2", "bn2", "fc1", "fc2")
RELUS = ("relu1", "relu2", "relu3")
EVALUATION_BATCH = 36


def record(experiment: Experiment, seed: int) -> Curves:
    """Train as `experiment` does and return the curves, a dict of float64 arrays.

    Raises ImportError where scikit-learn, which has the digits, is not installed.
    """
    from minicnn.backends.cpu.runtime.jit import one_thread  # here, so that importing the course need not import numba

    # Runs that explode are the point here; that they overflow is seen in their curves.
    with one_thread(), np.errstate(all="ignore"):
        return _recorded(experiment, seed)


def compile_kernels(report: Report | None = None) -> None:
    """Make the kernels ready that the runs need, which without Numba's cache takes longer than a run.

    `report` as for `minicnn.compile_kernels`.
    """
    network = Experiment().network(np.random.default_rng(0))
    network.ops.compile_kernels("float32", report, {*network.operations, "losses", "optim"})


def _recorded(experiment: Experiment, seed: int) -> Curves:
    weights, order = np.random.default_rng(seed).spawn(2)
    digits = experiment.prepared(_digits())
    network, loss = experiment.network(weights), experiment.loss()
    optimizer, batches = experiment.optimizer(network), experiment.batches(digits.train, order)
    notes: dict[str, list[Any]] = {}
    _note(notes, _validated(experiment, network, loss, digits.test))
    for _ in range(EPOCHS):
        seen = []
        for pictures, labels in batches:
            step, d_pictures = _step(network, loss, optimizer, pictures, labels)
            _note(notes, step)
            seen.append((pictures, labels, d_pictures))
        _note(notes, _looked_at(*map(np.concatenate, zip(*seen, strict=True))))
        _note(notes, _validated(experiment, network, loss, digits.test))
    return {name: np.array(values, np.float64) for name, values in notes.items()}


def _note(notes: dict[str, list[Any]], values: dict[str, Any]) -> None:
    for name, value in values.items():
        notes.setdefault(name, []).append(value)


def _step(
    network: Sequential, loss: NLLLoss, optimizer: SGD, pictures: Array, labels: Array
) -> tuple[dict[str, Any], Array]:
    """One training step: what is noted of it, and the gradient of the pictures."""
    output = network.forward(pictures)
    value = loss.forward(output, labels)
    d_output = loss.backward()
    d_pictures = network.backward(d_output)
    before = {name: layer.params[key].copy() for name, layer, key in network.named_params()}
    optimizer.step()

    weights: dict[str, list[Array]] = {layer: [] for layer in LAYERS}
    gradients: dict[str, list[Array]] = {layer: [] for layer in LAYERS}
    updates: dict[str, list[Array]] = {layer: [] for layer in LAYERS}
    for name, layer, key in network.named_params():
        of = name.split(".")[0]
        weights[of].append(before[name].ravel())
        gradients[of].append(layer.grads[key].ravel())
        updates[of].append(layer.params[key].ravel() - before[name].ravel())
    return {
        "loss": value,
        "accuracy": np.mean(output.argmax(axis=1) == labels),
        "loss_gradient": np.abs(d_output).sum(),
        "gradient_norm": _norms(gradients),
        "weight_norm": _norms(weights),
        "update_norm": _norms(updates),
        "alignment": _cosine(_joined(updates), -_joined(gradients)),
    }, d_pictures


def _looked_at(pictures: Array, labels: Array, d_pictures: Array) -> dict[str, Any]:
    """What is noted of the pictures of one epoch, (N, 1, 8, 8), their labels and their gradients."""
    of_label = [pictures[labels == label, 0] for label in range(CLASSES)]
    means = np.array([of.mean(axis=0) for of in of_label], np.float64)
    counts = np.array([len(of) for of in of_label])
    between = (counts[:, None, None] * (means - pictures[:, 0].mean(axis=0)) ** 2).sum() / counts.sum()
    return {
        "pixel_mean": pictures.mean(),
        "pixel_spread": pictures.std(),
        "label_means": means,
        "label_share": between / pictures[:, 0].var(axis=0).sum(),
        "pixel_gradient": np.abs(d_pictures).mean(axis=(0, 1)),
    }


def _validated(
    experiment: Experiment, network: Sequential, loss: NLLLoss, validation: LabelledImages
) -> dict[str, Any]:
    """What is noted of the validation pictures."""
    images, order = np.asarray(validation.images), np.argsort(validation.labels, kind="stable")
    experiment.to_evaluation(network)
    outputs, offsets = [], []
    for start in range(0, len(order), EVALUATION_BATCH):
        of_layer = _outputs(network, images[order[start : start + EVALUATION_BATCH]])
        outputs.append(of_layer["log_softmax"])
        offsets.append(_bn_offset(network["bn2"], of_layer["bn2"]))
    mixed = _outputs(network, images)
    network.train()

    output, labels = np.concatenate(outputs), validation.labels[order]
    predicted = output.argmax(axis=1)
    confusion = np.zeros((CLASSES, CLASSES))
    np.add.at(confusion, (labels, predicted), 1)
    return {
        "val_loss": loss.forward(output, labels),
        "val_accuracy": np.mean(predicted == labels),
        "confusion": confusion,
        "bn_offset": np.mean(offsets),
        "val_accuracy_mixed": np.mean(mixed["log_softmax"].argmax(axis=1) == validation.labels),
        "dead": [_dead(mixed[name]) for name in RELUS],
        "spread": [np.std(array, dtype=np.float64) for array in (images, *(mixed[name] for name in LAYERS))],
    }


def _outputs(network: Sequential, x: Array) -> dict[str, Array]:
    """The output of each layer for x, by name, in the network's present mode."""
    outputs = {}
    for name, layer in network.named_layers():
        x = outputs[name] = layer.forward(x)
    return outputs


def _bn_offset(layer: BatchNorm2d, y: Array) -> float:
    """|mean of x_hat| of a batch, from the output y = weight * x_hat + bias; the mean over the channels.

    Where the layer takes away the batch's own mean, it is 0.
    """
    means = y.mean(axis=(0, 2, 3), dtype=np.float64)
    return float(np.mean(np.abs((means - layer.params["bias"]) / layer.params["weight"])))


def _dead(y: Array) -> float:
    """The share of a ReLU's units (channels, or features) that are 0 in the whole batch."""
    if not np.isfinite(y).all():
        return np.nan
    return float(np.mean(~(y > 0).any(axis=(0, *range(2, y.ndim)))))


def _joined(arrays: dict[str, list[Array]]) -> Array:
    return np.concatenate([array for of_layer in arrays.values() for array in of_layer])


def _norms(arrays: dict[str, list[Array]]) -> list[float]:
    return [_norm(np.concatenate(of_layer)) for of_layer in arrays.values()]


def _norm(array: Array) -> float:
    return float(np.sqrt(np.square(array, dtype=np.float64).sum()))


def _cosine(a: Array, b: Array) -> float:
    return float(np.multiply(a, b, dtype=np.float64).sum() / (_norm(a) * _norm(b)))


@functools.cache
def _digits() -> Dataset:
    return load_digits()
