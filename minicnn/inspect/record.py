"""One forward and one backward pass, and everything that was seen on the way.

The passes are made on a copy, so that the network's gradients, running statistics and memory stay as they are:

    x = a[0] -> layer 0 -> a[1] -> layer 1 -> …  -> a[L] = output -> loss
        da[0] <-           da[1] <-         …  <-  da[L]          <-

The record is a dict that JSON can hold, with large arrays cut and encoded as `minicnn.inspect.sample` says.
"""

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from minicnn.backends import get_backend
from minicnn.checks import DTYPES, as_floats, refuse_images, require_shape
from minicnn.inspect.layers import report_of
from minicnn.inspect.sample import WHOLE, Part, Rest, Shown, encoded, fitted
from minicnn.layers import BatchNorm2d, Layer, LogSoftmax
from minicnn.losses import CrossEntropyLoss, NLLLoss
from minicnn.network import Sequential
from minicnn.verify.isolate import flattened, own_copy

VERSION = 1
NOT_KEPT = ("y_shape", "y_dtype", "training")  # in a layer's memory, but only to check dy or to choose a formula


@dataclass
class Step:
    """What one layer did: x -> y forward, and dy -> dx backward.

    kept: what forward kept for backward, by name; None in place of what is not an array.
    memory: the layer's memory between the passes; state: its state before them.
    """

    index: int
    name: str
    layer: Layer
    x: np.ndarray
    y: np.ndarray
    kept: dict
    memory: Any
    state: dict
    dy: np.ndarray = None
    dx: np.ndarray = None


def recorded(network, x, y, *, loss, dy, training, backend, title, classes, lr, max_bytes):
    """The record of a forward and a backward pass; for the arguments, and what is raised, see `inspect`."""
    if not isinstance(network, Sequential):
        raise TypeError(
            f"inspect: expected a Sequential network, got {type(network).__name__}; put a layer into Sequential(layer)"
        )
    if dy is not None and (y is not None or loss is not None):
        raise TypeError("inspect: expected labels y and maybe a loss, or dy in their place; got both")
    if not (isinstance(lr, (int, float)) and math.isfinite(lr) and lr > 0):
        raise ValueError(f"inspect: expected a finite learning rate lr above 0, got {lr!r}")
    ops = get_backend(backend)
    network = own_copy(network, "inspect", "the network").to(backend)
    layers = list(flattened(network))

    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # what comes of it is said, with its place
        x, y = _as_batch(x, y, layers)
        batchnorms = [layer for _, layer in network.named_layers() if isinstance(layer, BatchNorm2d)]
        trained = any(_is_trained(layer, ops) for layer in batchnorms)
        if training is None:
            training = len(x) > 1 or not trained
        network.train(training)
        steps = _forward(layers, ops, x)
        output = steps[-1].y
        if dy is None:
            judged = _judged(backend, output, y, loss)
        else:
            judged = SimpleNamespace(loss=None, labels=None, predicted=False, value=None, dy=_as_dy(dy, output))
        _backward(steps, ops, judged.dy)
        names = _class_names(classes, output)
        view = _loss_view(steps, ops, judged)
    record = _told(steps, judged, view, names, title or type(network).__name__, training, float(lr), max_bytes)
    return record | {"mode_note": _about_the_mode(training, trained, len(x)) if batchnorms else None}


# The mode


def _is_trained(layer, ops):
    """Whether a batchnorm has statistics of images, or still those it was made with."""
    new = {"running_mean": 0, "running_var": 1}
    return any((ops.to_numpy(layer.state[key]) != value).any() for key, value in new.items() if key in layer.state)


def _about_the_mode(training, trained, n_images):
    """What the mode means for a network with batchnorm, in a sentence."""
    if not training:
        return (
            "As in predict, batchnorm takes the statistics that it kept from training; to the gradients they are "
            "constants."
        )
    of = "this image alone" if n_images == 1 else f"these {n_images} images"
    other = "those that it kept from training" if trained else "those that it was made with, for none are kept yet"
    return (
        f"As in a step of training, batchnorm takes the statistics of {of}, so what the network answers here is not "
        f"what predict answers: that takes {other}."
    )


# The passes


def _named_arrays(layer, which):
    """(name, array) of a layer's params or state; of a network in a layer's place those of all its layers."""
    inner = layer.named_layers() if isinstance(layer, Sequential) else [("", layer)]
    for name, part in inner:
        for key, array in getattr(part, which).items():
            yield f"{name}.{key}".lstrip("."), array


def _as_batch(x, y, layers):
    """x as a finite array (N, …) of the network's dtype, and y as labels of N images."""
    refuse_images(x, "inspect: x")
    x = np.array(as_floats(get_backend("reference"), x, "inspect: x"))
    if x.ndim not in (2, 3, 4):
        raise ValueError(
            f"inspect: expected x of shape (N, C, H, W), one image (C, H, W), or vectors (N, D), got shape {x.shape}"
        )
    if not x.size:
        raise ValueError(f"inspect: expected x with at least one element, got shape {x.shape}")
    for name, layer in layers:
        for key, param in _named_arrays(layer, "params"):
            if not param.ndim:
                raise ValueError(
                    f"inspect: expected {name}.{key} with at least one axis, got a single number; make it an array of "
                    "shape (1,)"
                )
            if param.dtype != x.dtype:
                raise TypeError(
                    f"inspect: expected x of the dtype of {name}.{key}, {param.dtype}, got {x.dtype}; convert it with "
                    f"x.astype(np.{param.dtype})"
                )
    _require_finite(x, "x")
    x = x[None] if x.ndim == 3 else x
    return x, [y] if len(x) == 1 and y is not None and np.ndim(y) == 0 else y  # one image may come with its one label


def _forward(layers, ops, x):
    """A `Step` for each layer, with all that is known after the forward pass."""
    steps, below = [], ops.asarray(x.copy())
    for index, (name, layer) in enumerate(layers):
        for which in ("params", "state"):
            for key, array in _named_arrays(layer, which):
                _require_finite(ops.to_numpy(array), f"{name}.{key}")
        state = {key: np.array(array) for key, array in _named_arrays(layer, "state")}
        before = _attributes(layer)
        shape = np.shape(below)
        try:
            above = layer.forward(below)
        except Exception as error:
            raise RuntimeError(_failed("forward", name, layer, f"an input of shape {shape}", error)) from error
        y = _as_array(ops, above, name, layer, "forward", "an output")
        _require_finite(y, f"the output of layer {name!r}, {_in_a_line(layer)}")
        kept = _kept(layer, before)
        steps.append(Step(index, name, layer, steps[-1].y if steps else x, y, kept, layer.memory, state))
        below = above
    return steps


def _backward(steps, ops, dy):
    """Complete the steps from the last to the first."""
    above = ops.asarray(dy.copy())
    for step in reversed(steps):
        step.dy = dy
        name, layer = step.name, step.layer
        try:
            below = layer.backward(above)
        except Exception as error:
            raise RuntimeError(_failed("backward", name, layer, f"dy of shape {dy.shape}", error)) from error
        step.dx = dy = _as_array(ops, below, name, layer, "backward", "dx", step.x.shape)
        _require_finite(dy, f"dx of layer {name!r}, {_in_a_line(layer)}")
        for key, (param, grad) in report_of(step).params().items():
            if grad is not None:
                grad = _as_array(ops, grad, name, layer, "backward", f"the gradient of {key}", param.shape)
                _require_finite(grad, f"the gradient of {name}.{key}")
        above = below


def _failed(which, name, layer, given, error):
    return (
        f"inspect: the {which} pass failed in layer {name!r}, {_in_a_line(layer)}, which got {given}: "
        f"{type(error).__name__}: {error}"
    )


def _in_a_line(layer):
    """A layer's repr; of a network, which takes many lines, its name."""
    return type(layer).__name__ if isinstance(layer, Sequential) else repr(layer)


def _as_array(ops, array, name, layer, which, what, shape=None):
    """What a layer gave, as a NumPy array of our own. An own layer may give anything."""
    place = f"inspect: layer {name!r}, {_in_a_line(layer)}"
    if not hasattr(array, "dtype") or not hasattr(array, "shape"):
        raise TypeError(f"{place}: expected an array as {what} of its {which}, got {type(array).__name__}")
    refuse_images(array, place)
    if array.dtype not in DTYPES:
        raise TypeError(f"{place}: expected {what} of float32 or float64 from its {which}, got {array.dtype}")
    array = np.array(ops.to_numpy(array))  # a copy: another layer may write to it
    if shape is not None and array.shape != shape:
        raise ValueError(f"{place}: expected {what} of shape {shape} from its {which}, got {array.shape}")
    if not array.size or not array.ndim:
        raise ValueError(
            f"{place}: expected {what} with an axis of images and at least one element, got shape {array.shape}"
        )
    return array


def _attributes(layer):
    """The arrays that a layer has as attributes, {(name of an inner layer, attribute): array}."""
    inner = layer.named_layers() if isinstance(layer, Sequential) else [("", layer)]
    return {
        (name, key): value for name, part in inner for key, value in vars(part).items() if isinstance(value, np.ndarray)
    }


def _kept(layer, before):
    """What forward kept, by `remember` or, in an own layer, in attributes of its own; None for what is not an array."""
    kept = {}
    for name, part in layer.named_layers() if isinstance(layer, Sequential) else [("", layer)]:
        for key, value in vars(part.memory).items() if isinstance(part.memory, SimpleNamespace) else ():
            if key not in NOT_KEPT:
                kept[f"{name}: {key}".lstrip(": ")] = value if isinstance(value, np.ndarray) else None
    for (name, key), value in _attributes(layer).items():
        if before.get((name, key)) is not value:
            kept[f"{name}: {key}".lstrip(": ")] = value
    return kept


def _require_finite(array, what):
    """Raise ValueError where there is a NaN or an infinity, or numbers too large to be squared."""
    if not np.issubdtype(array.dtype, np.floating) or math.isfinite(_norm(array)):
        return
    nans, infinities = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    if nans or infinities:
        bad = np.argwhere(~np.isfinite(array))[0].tolist()
        got = f"{nans} NaN and {infinities} infinite of {array.size}, the first at {bad}"
    else:
        got = f"numbers up to {np.abs(array).max():.3g}, whose squares are too large"
    raise ValueError(f"inspect: {what}: expected finite numbers, got {got}")


def _norm(array):
    return float(np.sqrt(np.square(array, dtype=np.float64).sum()))


# The loss


def _judged(backend, output, labels, loss):
    """The loss of the output and its gradient; where there are no labels, those that the network itself predicts."""
    ops = get_backend(backend)
    if loss is None:
        loss = CrossEntropyLoss()
        if output.ndim != 2:
            raise ValueError(
                f"inspect: expected a network with an output of shape (N, K) for CrossEntropyLoss, got {output.shape}; "
                "give the gradient of a loss of your own as dy"
            )
    elif isinstance(loss, type) or not (hasattr(loss, "forward") and hasattr(loss, "backward")):
        raise TypeError(f"inspect: expected a loss such as CrossEntropyLoss(), got {loss!r}")
    else:
        loss = own_copy(loss, "inspect", "the loss")
    if isinstance(loss, (CrossEntropyLoss, NLLLoss)):
        loss.to(backend)
    predicted = labels is None
    if predicted:
        if output.ndim != 2:
            raise ValueError(f"inspect: expected labels y for an output of shape {output.shape}, which has no classes")
        labels = output.argmax(axis=1)
    name = type(loss).__name__
    value = float(loss.forward(ops.asarray(output.copy()), labels))
    if not math.isfinite(value):
        raise ValueError(f"inspect: expected a finite loss from {name}, got {value}; the output is too large for it")
    dy = loss.backward()
    if np.shape(dy) != output.shape or getattr(dy, "dtype", None) != output.dtype:
        raise ValueError(
            f"inspect: expected a gradient of shape {output.shape} and dtype {output.dtype} from {name}.backward, "
            f"got {type(dy).__name__} of shape {np.shape(dy)} and dtype {getattr(dy, 'dtype', None)}"
        )
    dy = np.array(ops.to_numpy(dy))
    _require_finite(dy, f"the gradient from {name}")
    return SimpleNamespace(loss=loss, labels=np.array(labels), predicted=predicted, value=value, dy=dy)


def _as_dy(dy, output):
    dy = np.array(as_floats(get_backend("reference"), dy, "inspect: dy"))
    require_shape(dy, output.shape, "inspect: dy")
    if dy.dtype != output.dtype:
        raise TypeError(f"inspect: expected dy of the output's dtype {output.dtype}, got {dy.dtype}")
    _require_finite(dy, "dy")
    return dy


def _class_names(classes, output):
    """The names as a list, or None; checked against the classes of the output."""
    if classes is None:
        return None
    classes = list(classes)
    if output.ndim != 2 or len(classes) != output.shape[1] or not all(isinstance(name, str) for name in classes):
        raise ValueError(
            f"inspect: expected a class name (str) for each class of the output of shape {output.shape}, "
            f"got {len(classes)}: {', '.join(map(repr, classes[:20]))}"
        )
    return classes


def _loss_view(steps, ops, judged):
    """What the view of log-softmax and loss needs, as `Part`s; None for other losses, and where dy was given.

    With q = -d loss / d log_p, which for plain labels is onehot / N, log-softmax backward is

        dlogits = p * sum(q) - q = scale * (p - target)        scale = sum(q),  target = q / scale
    """
    last, loss = steps[-1], judged.loss
    ends_in_log_softmax = type(last.layer) is LogSoftmax
    if type(loss) not in (CrossEntropyLoss, NLLLoss) or (type(loss) is NLLLoss and not ends_in_log_softmax):
        return None
    output, again = last.y, ops.to_numpy(ops.log_softmax_forward(ops.asarray(last.y.copy())))
    log_p = output if ends_in_log_softmax else again
    _require_finite(log_p, "log_p")
    weights = np.ones(output.shape[1]) if loss.weight is None else loss.weight
    smoothing = loss.label_smoothing if type(loss) is CrossEntropyLoss else 0.0
    q = -ops.to_numpy(
        ops.nll_loss_backward(
            ops.asarray(log_p.copy()),
            ops.asarray(judged.labels.astype(np.int64)),
            ops.asarray(weights.astype(output.dtype)),
            smoothing,
        )
    )
    scale = q.sum(axis=1)
    onehot = np.eye(output.shape[1], dtype=output.dtype)[judged.labels]
    target = np.where(scale[:, None] > 0, q / scale[:, None], onehot)  # of an image with weight 0 nothing is asked
    n, k = axes = (len(steps), 0), (len(steps), 1)
    value = Part(np.array([judged.value]), (WHOLE,))
    terms = Part(-q * log_p, axes)
    return {
        "log_p": Part(log_p, axes),
        "p": Part(np.exp(log_p), axes),
        "onehot": Part(target, axes),
        "scale": Part(scale, (n,)),
        "dlogits": Part(last.dx if ends_in_log_softmax else last.dy, axes),
        "second_log_softmax": Part(again, axes) if ends_in_log_softmax else None,
        "rest": {"loss": Rest(value, (n, k), lambda cut: cut.split(terms)[1].sum(keepdims=True)[0])},
    }


# The record


def _told(steps, judged, view, classes, title, training, lr, max_bytes):
    """The record of what was seen."""
    reports = [report_of(step) for step in steps]
    x, *_ = values = [steps[0].x, *(step.y for step in steps)]
    gradients = [steps[0].dx, *(step.dy for step in steps)]
    shown = [
        Shown(value.shape, gradient, channels)
        for value, gradient, channels in zip(
            values, gradients, ["own", *(report.channels for report in reports)], strict=True
        )
    ]
    tree = {
        "version": VERSION,
        "title": title,
        "mode": "train" if training else "eval",
        "dtype": x.dtype.name,
        "lr": lr,
        "input_shape": list(x.shape),
        "labels": _as_label_list(judged.labels),
        "labels_are_predicted": judged.predicted,
        "loss": None if judged.loss is None else {"name": type(judged.loss).__name__, "value": judged.value},
        "classes": classes,
        "activations": [
            _activation(k, value, gradient) for k, (value, gradient) in enumerate(zip(values, gradients, strict=True))
        ],
        "layers": _layers(reports, lr),
        "loss_view": view,
    }
    cut = fitted(shown, list(_parts(tree)), max_bytes)
    return _filled(tree, cut) | {"left_out": _left_out(reports, shown, tree, cut)}


def _as_label_list(labels):
    """Class labels as a list; None where there are none, or those of an own loss are something else."""
    is_list = labels is not None and labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer)
    return labels.tolist() if is_list else None


def _activation(k, value, gradient):
    axes = tuple((k, axis) for axis in range(value.ndim))
    return {
        "id": k,
        "shape": list(value.shape),
        "value": Part(value, axes),
        "gradient": Part(gradient, axes),
        "stats": _stats(value),
        "gradient_stats": _stats(gradient),
    }


def _stats(array):
    return {
        "min": float(array.min()),
        "max": float(array.max()),
        "mean": float(array.mean(dtype=np.float64)),
        "zeros": float((array == 0).mean()),
        "norm": _norm(array),
    }


def _layers(reports, lr):
    keepers = {}  # which layer keeps the array at an address
    return [_layer(report, lr, keepers) for report in reports]


def _layer(report, lr, keepers):
    step, params = report.step, report.params()
    told = {
        "index": step.index,
        "name": step.name,
        "kind": report.kind,
        "repr": repr(step.layer),
        "input": step.index,
        "output": step.index + 1,
        "parameters": sum(param.size for param, _ in params.values()),
        "params": {name: Part(param, report.param_axes(name, param)) for name, (param, _) in params.items()},
        "grads": {
            name: Part(grad, report.param_axes(name, grad)) for name, (_, grad) in params.items() if grad is not None
        },
        "param_stats": {name: _param_stats(param, grad, lr) for name, (param, grad) in params.items()},
        "keeps": [_kept_thing(step.name, *kept, keepers) for kept in report.keeps()],
        "flops": dict(zip(("forward", "backward"), report.flops(), strict=True)),
        "bytes": dict(zip(("forward", "backward"), report.bytes(), strict=True)),
        "extra": report.extra() | {"rest": report.rests()},
    }
    return told | ({"dead": report.dead()} if report.kind == "ReLU" else {})


def _param_stats(param, grad, lr):
    norm, grad_norm = _norm(param), None if grad is None else _norm(grad)
    ratio = lr * grad_norm / norm if norm and grad_norm is not None else None
    return {"norm": norm, "grad_norm": grad_norm, "update_ratio": ratio}


def _kept_thing(name, what, why, array, keepers):
    kept = {"what": what, "why": why, "bytes": 0 if array is None else array.nbytes}
    if array is None:
        return kept
    place = array.__array_interface__["data"][0], array.nbytes
    keeper = keepers.setdefault(place, name)
    return kept if keeper == name else kept | {"shared_with": keeper}


def _parts(tree):
    """Every `Part` and `Rest` of the record."""
    if isinstance(tree, (Part, Rest)):
        yield tree
    elif isinstance(tree, (dict, list)):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from _parts(value)


def _filled(tree, cut):
    """The record with its arrays cut and encoded, without the rests of sums of which every term is in the page."""
    if isinstance(tree, (Part, Rest)):
        return encoded(tree.numbers(cut), cut.of(tree))
    if isinstance(tree, list):
        return [_filled(value, cut) for value in tree]
    if not isinstance(tree, dict):
        return tree
    filled = {
        key: _filled(value, cut) for key, value in tree.items() if not isinstance(value, Rest) or value.is_shown(cut)
    }
    return {key: value for key, value in filled.items() if key != "rest" or value}


def _left_out(reports, shown, tree, cut):
    """What was cut, in sentences."""
    sentences, steps = [], [report.step for report in reports]
    for k, activation in enumerate(shown):
        name = f"{steps[k - 1].name}'s output" if k else "the input"
        words = [
            _cut_in_words(axis, length, cut.kept[k, axis], activation)
            for axis, length in enumerate(activation.shape)
            if (k, axis) in cut.kept
        ]
        if words:
            sentences.append(f"{name}: {'; '.join(words)}")
    for step, told in zip(steps, tree["layers"], strict=True):
        for key, part in told["params"].items():
            chosen = cut.of(part)
            if any(indices is not None for indices in chosen):
                lengths = [n if kept is None else len(kept) for n, kept in zip(part.array.shape, chosen, strict=True)]
                sentences.append(
                    f"{step.name}'s {key} and its gradient: {_times(lengths)} of {_times(part.array.shape)} numbers"
                )
    return sentences


def _times(lengths):
    return " × ".join(map(str, lengths))


def _cut_in_words(axis, length, kept, activation):
    """How one axis is cut: "16 of 64 channels, those with the largest gradient"."""
    rank = len(activation.shape)
    first, last = kept[0], kept[-1]
    if axis == 0:
        return f"{len(kept)} of {length} images, the first"
    if axis > 1:
        unit = ("rows", "columns")[axis - 2] if rank == 4 else f"places along axis {axis}"
        return f"{len(kept)} of {length} {unit}, {first} to {last}"
    why = {
        "own": "those with the largest gradient",
        "like input": "those of its input",
        "flattened": "those that come from what is kept of its input",
    }
    return f"{len(kept)} of {length} {'features' if rank == 2 else 'channels'}, {why[activation.channels]}"
