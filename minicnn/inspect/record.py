"""The record of one forward and one backward pass: a dict that JSON can hold.

The passes are made on a copy, so that the network's gradients, running statistics and memory stay as they are. Large
arrays are cut and encoded as `minicnn.inspect.sample` says.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from minicnn.backends import get_backend
from minicnn.inspect.arguments import as_batch, as_class_names, as_dy
from minicnn.inspect.finite import norm
from minicnn.inspect.left_out import left_out
from minicnn.inspect.loss import LossPass, loss_view, run_loss
from minicnn.inspect.mode import is_trained, mode_note
from minicnn.inspect.passes import LayerPass, run_backward, run_forward
from minicnn.inspect.reports import report_of
from minicnn.inspect.reports.activation import ReLUReport
from minicnn.inspect.reports.base import LayerReport
from minicnn.inspect.sample import Cut, Part, Rest, Shown, encoded, fitted
from minicnn.layers import BatchNorm2d
from minicnn.network import Sequential
from minicnn.plain import Array
from minicnn.verify.isolate import flattened, own_copy

VERSION = 1


def recorded(
    network: Sequential,
    x: Array,
    y: Any,
    *,
    loss: Any,
    dy: Array | None,
    training: bool | None,
    backend: str,
    title: str | None,
    classes: Iterable[str] | None,
    lr: float,
    max_bytes: int,
) -> dict[str, Any]:
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
        x, y = as_batch(x, y, layers)
        batchnorms = [layer for _, layer in network.named_layers() if isinstance(layer, BatchNorm2d)]
        trained = any(is_trained(layer, ops) for layer in batchnorms)
        if training is None:
            training = len(x) > 1 or not trained
        network.train(training)
        passes = run_forward(layers, ops, x)
        output = passes[-1].y
        loss_pass = run_loss(backend, output, y, loss) if dy is None else LossPass(as_dy(dy, output))
        run_backward(passes, ops, loss_pass.dy)
        names = as_class_names(classes, output)
        view = loss_view(passes, ops, loss_pass)
    title = title or type(network).__name__
    record = _record(passes, loss_pass, view, names, title, training, float(lr), max_bytes)
    return record | {"mode_note": mode_note(training, trained, len(x)) if batchnorms else None}


def _record(
    passes: Sequence[LayerPass],
    loss_pass: LossPass,
    view: dict[str, Any] | None,
    classes: list[str] | None,
    title: str,
    training: bool,
    lr: float,
    max_bytes: int,
) -> dict[str, Any]:
    """The record of what was seen."""
    reports = [report_of(one) for one in passes]
    x, *_ = values = [passes[0].x, *(one.y for one in passes)]
    gradients = [passes[0].dx, *(one.dy for one in passes)]
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
        "labels": _as_label_list(loss_pass.labels),
        "labels_are_predicted": loss_pass.predicted,
        "loss": None if loss_pass.loss is None else {"name": type(loss_pass.loss).__name__, "value": loss_pass.value},
        "classes": classes,
        "activations": [
            _activation(k, value, gradient) for k, (value, gradient) in enumerate(zip(values, gradients, strict=True))
        ],
        "layers": _layers(reports, lr),
        "loss_view": view,
    }
    cut = fitted(shown, list(_parts(tree)), max_bytes)
    return _filled(tree, cut) | {"left_out": left_out(passes, shown, tree["layers"], cut)}


def _as_label_list(labels: Array | None) -> list[int] | None:
    """Class labels as a list; None where there are none, or those of an own loss are something else."""
    if labels is None or labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        return None
    return labels.tolist()


def _activation(k: int, value: Array, gradient: Array) -> dict[str, Any]:
    axes = tuple((k, axis) for axis in range(value.ndim))
    return {
        "id": k,
        "shape": list(value.shape),
        "value": Part(value, axes),
        "gradient": Part(gradient, axes),
        "stats": _stats(value),
        "gradient_stats": _stats(gradient),
    }


def _stats(array: Array) -> dict[str, float]:
    return {
        "min": float(array.min()),
        "max": float(array.max()),
        "mean": float(array.mean(dtype=np.float64)),
        "zeros": float((array == 0).mean()),
        "norm": norm(array),
    }


def _layers(reports: Sequence[LayerReport], lr: float) -> list[dict[str, Any]]:
    keepers: dict[tuple[int, int], str] = {}  # which layer keeps the array at an address
    return [_layer(report, lr, keepers) for report in reports]


def _layer(report: LayerReport, lr: float, keepers: dict[tuple[int, int], str]) -> dict[str, Any]:
    done = report.layer_pass
    params = done.params()
    record = {
        "index": done.index,
        "name": done.name,
        "kind": report.kind,
        "repr": repr(done.layer),
        "input": done.index,
        "output": done.index + 1,
        "parameters": sum(param.size for param, _ in params.values()),
        "params": {name: Part(param, report.param_axes(name, param)) for name, (param, _) in params.items()},
        "grads": {
            name: Part(grad, report.param_axes(name, grad)) for name, (_, grad) in params.items() if grad is not None
        },
        "param_stats": {name: _param_stats(param, grad, lr) for name, (param, grad) in params.items()},
        "keeps": [_kept_record(done.name, *kept, keepers) for kept in report.keeps()],
        "flops": dict(zip(("forward", "backward"), report.flops(), strict=True)),
        "bytes": dict(zip(("forward", "backward"), report.bytes(), strict=True)),
        "extra": report.extra() | {"rest": report.rests()},
    }
    return record | ({"dead": report.dead()} if isinstance(report, ReLUReport) else {})


def _param_stats(param: Array, grad: Array | None, lr: float) -> dict[str, float | None]:
    param_norm, grad_norm = norm(param), None if grad is None else norm(grad)
    ratio = lr * grad_norm / param_norm if param_norm and grad_norm is not None else None
    return {"norm": param_norm, "grad_norm": grad_norm, "update_ratio": ratio}


def _kept_record(
    name: str, what: str, why: str, array: Array | None, keepers: dict[tuple[int, int], str]
) -> dict[str, Any]:
    kept = {"what": what, "why": why, "bytes": 0 if array is None else array.nbytes}
    if array is None:
        return kept
    place = array.__array_interface__["data"][0], array.nbytes
    keeper = keepers.setdefault(place, name)
    return kept if keeper == name else kept | {"shared_with": keeper}


def _parts(tree: Any) -> Iterator[Part | Rest]:
    """Every `Part` and `Rest` of the record."""
    if isinstance(tree, (Part, Rest)):
        yield tree
    elif isinstance(tree, (dict, list)):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from _parts(value)


def _filled(tree: Any, cut: Cut) -> Any:
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
