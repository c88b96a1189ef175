"""ONNX: a network as a file that other programs run, at any batch size, height and width.

layers -> operators (`onnx_graph`) -> the model, held against ONNX's rules -> a file, written whole
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.classify.classifier import Classifier
from minicnn.interop.chain import require_chain, steps_of, steps_of_path
from minicnn.interop.onnx_graph import Graph, add_layer, add_sum, input_shape
from minicnn.io.files import write_whole
from minicnn.layers import BatchNorm2d, Conv2d, Layer
from minicnn.network import Sequential
from minicnn.plain import Array
from minicnn.residual import SHORTCUT, Residual

if TYPE_CHECKING:
    import onnx

OPSET = 18  # the operators' version; ReduceMax takes its axes as a tensor, and Split counts its outputs, since this one
IR_VERSION = 8  # of the file's form: the oldest that opset 18 is published with, which most programs read
MOST_BYTES = 2**31 - 2**20  # of weights: Protocol Buffers, the form of ONNX files, end at 2 GiB


def export_onnx(model: Sequential | Classifier, path: str | Path, fold_batchnorm: bool = False) -> None:
    """Write what `model` computes in evaluation mode to an ONNX file, opset 18.

        input (N, C, H, W) or (N, D), float32  ->  output, what `network.predict` gives

    N, H and W are free: one file takes batches and images of all sizes, adaptive pooling included. A fused network is
    written as its layers, a `Residual` as an Add, and a `Dropout` as nothing. Of a `Classifier`, the input is called
    `images` and takes numbers from 0 to 1, the graph normalises them itself, and the output, `probabilities`, is what
    `Classifier.predict` gives; the file's metadata say what images must be like (`description_of`).

    Args:
        model: a network, or a classifier with its network.
        path: the file; it is written whole or not at all, and is checked by `onnx.checker` before.
        fold_batchnorm: put batch normalisation that follows a convolution into its weights. The file then has other
            weights than the network, and is a little faster to run where the program that runs it does not fold.

    Raises:
        ImportError: the package onnx is missing.
        TypeError: a layer of your own, a layer given operations by `use`, or a network that is not float32.
        ValueError: NaN or infinity in the weights; layers that do not fit one another; more than 2 GiB.
        OSError: `path` cannot be written.
    """
    onnx = _import_onnx()
    if not isinstance(model, (Sequential, Classifier)):
        raise TypeError(f"export_onnx: expected a Sequential network or a Classifier, got {type(model).__name__}")
    network = model.network if isinstance(model, Classifier) else model
    require_chain(network, "export_onnx")
    layers = list(network.named_layers())
    _require_different([name for name, _ in layers])
    names = ("images", "probabilities") if isinstance(model, Classifier) else ("input", "output")
    graph = Graph(names[0], input_shape([layer for _, layer in layers]))
    if isinstance(model, Classifier):
        for key, operator in (("mean", "Sub"), ("std", "Div")):
            graph.apply(operator, key, graph.constant(key, getattr(model, key)[:, None, None]))
    _add(graph, steps_of(network), fold_batchnorm)
    if isinstance(model, Classifier):
        graph.apply("Exp", "exp")
    graph.end(names[1])
    _require_storable(graph)
    made = _as_model(graph, description_of(model) if isinstance(model, Classifier) else {})
    try:
        onnx.checker.check_model(made, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(f"export_onnx: the network breaks a rule of ONNX: {error}") from error
    write_whole(path, made.SerializeToString())


def description_of(classifier: Classifier) -> dict[str, str]:
    """The metadata of a classifier's file, each a text.

    class_names, mean, std, max_side: as JSON, those of the classifier.
    channels: "RGB" or "grey".
    preparation: in words, what an image must be like to become the input.
    """
    channels, most = classifier.channels, classifier.max_side
    colour, numbers = ("RGB", "RGB") if channels == 3 else ("grey", "0.299 R + 0.587 G + 0.114 B")
    shrunk = f"larger ones shrunk to {most} pixels on their longer side, by Pillow's resize with BILINEAR"
    size = "at their own size" if most is None else shrunk
    return {
        "class_names": json.dumps(classifier.class_names),
        "mean": json.dumps(classifier.mean.tolist()),
        "std": json.dumps(classifier.std.tolist()),
        "max_side": json.dumps(classifier.max_side),
        "channels": colour,
        "preparation": f"float32 (N, {channels}, H, W): {numbers} divided by 255, images upright, white where they are "
        f"transparent, {size}; (image - mean) / std is computed in this model",
    }


def _import_onnx() -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.shape_inference
    except ImportError as error:
        raise ImportError(
            "export_onnx: ONNX files are made with the package onnx, which is not installed; "
            "get it with: pip install 'minicnn-numba[onnx]'"
        ) from error
    return onnx


def _require_different(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:  # one in a fused block, whose name is no part of its layers' names
            raise ValueError(f"export_onnx: two layers are called {name}, and so are their weights; rename one of them")


def _add(graph: Graph, steps: Iterable[tuple[str, Layer]], fold_batchnorm: bool) -> None:
    """Add steps that follow each other."""
    layers = [(name, layer, {} if isinstance(layer, Residual) else _arrays(name, layer)) for name, layer in steps]
    for name, layer, arrays in _folded(layers) if fold_batchnorm else layers:
        if isinstance(layer, Residual):
            shortcut = {} if layer.shortcut is None else {SHORTCUT: layer.shortcut}
            ways = [
                functools.partial(_add, graph, steps_of_path(way, name), fold_batchnorm)
                for way in (layer.path, shortcut)
            ]
            add_sum(graph, name, *ways)
        else:
            add_layer(graph, name, layer, arrays)


def _arrays(name: str, layer: Layer) -> dict[str, Array]:
    """The layer's parameters and statistics on the host, checked as `predict` checks them."""
    for key, array in layer.params.items():
        if getattr(array, "dtype", None) == np.float64:
            raise TypeError(
                f"export_onnx: expected a network of float32, got float64 in {name}.{key}; programs that run ONNX have "
                "no convolution of float64; convert a copy: copy.deepcopy(network).to(dtype=np.float32)"
            )
    layer.require_params(layer.ops.asarray(np.zeros(1, np.float32)))
    return {key: layer.ops.to_numpy(array) for key, array in (layer.params | layer.state).items()}


def _folded(layers: list[tuple[str, Layer, dict[str, Array]]]) -> Iterator[tuple[str, Layer, dict[str, Array]]]:
    """The layers with each batch normalisation that follows a convolution put into its weights:

    scale = bn.weight / sqrt(var + eps)        weight' = scale * weight        bias' = scale * (bias - mean) + bn.bias
    """
    position = 0
    while position < len(layers):
        (name, layer, arrays), following = layers[position], layers[position + 1 : position + 2]
        position += 1
        if following and _is_foldable(layer, following[0][1]):
            _, bn, of_bn = following[0]
            arrays = _with_batchnorm(arrays, bn, of_bn)
            position += 1
        yield name, layer, arrays


def _with_batchnorm(arrays: dict[str, Array], bn: Any, of_bn: dict[str, Array]) -> dict[str, Array]:
    """Weight and bias of a convolution with batch normalisation in them, computed in float64."""
    wide = {key: array.astype(np.float64) for key, array in of_bn.items()}
    with np.errstate(all="ignore"):  # what is not finite is said later
        scale = wide["weight"] / np.sqrt(wide["running_var"] + bn.eps)
        bias = scale * (arrays.get("bias", 0.0) - wide["running_mean"]) + wide["bias"]
        weight = scale[:, None, None, None] * arrays["weight"]
        return {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}


def _is_foldable(conv: Any, bn: Any) -> bool:
    return isinstance(conv, Conv2d) and isinstance(bn, BatchNorm2d) and conv.out_channels == bn.num_features


def _require_storable(graph: Graph) -> None:
    """Raise ValueError for NaN or infinity among the graph's constants, or more of them than a file can hold."""
    for name, array in graph.constants.items():
        if not np.isfinite(array).all():
            raise ValueError(
                f"export_onnx: expected finite numbers, got NaN or infinity in {name}; load weights that are finite, "
                "or train again with a smaller learning rate"
            )
    n_bytes = sum(array.nbytes for array in graph.constants.values())
    if n_bytes > MOST_BYTES:
        raise ValueError(f"export_onnx: expected weights of at most {MOST_BYTES} bytes, got {n_bytes}; ONNX ends there")


def _as_model(graph: Graph, metadata: dict[str, str]) -> onnx.ModelProto:
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node(node.operator, node.inputs, node.outputs, name=node.outputs[0], **node.settings)
        for node in graph.nodes
    ]
    name, shape = graph.input
    letters = "CHW" if len(shape) == 3 else "D"
    free = ["N", *(letter if n is None else n for n, letter in zip(shape, letters, strict=True))]
    made = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, free)],
        [helper.make_tensor_value_info(graph.value, TensorProto.FLOAT, ["N", *graph.shape])],
        [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, producer_name="minicnn", opset_imports=opset, ir_version=IR_VERSION)
    helper.set_model_props(model, metadata)
    return model
