"""A trace in a safetensors file, so that it can be compared with where there is no PyTorch.

The arrays have names such as "before/conv1.weight" and "step/3/dx". An array that is equal to another, as the input of
a layer is to the output of the layer below, is kept once. What is not an array is JSON in the metadata: the mode, loss,
optimiser and layers, and of the arrays that are not kept which one they are equal to.
"""

from pathlib import Path
from typing import Any

import numpy as np

from minicnn.checks import DTYPES
from minicnn.io.recordings import RecordingForm
from minicnn.io.safetensors import write_safetensors
from minicnn.layers import Flatten
from minicnn.network import Sequential
from minicnn.plain import Array
from minicnn.verify.compare.setup import Setup, Spec, made_loss, made_optimizer
from minicnn.verify.compare.trace import LayerCall, Trace

FORM = RecordingForm("minicnn comparison", 1, key="comparison", writer="minicnn.verify.compare.record")
OF_CALL = ("x", "y", "dy", "dx")
BY_NAME = ("before", "statistics", "grads", "after")


def save(trace: Trace, path: str | Path) -> None:
    """Write a `Trace` to a file, whole or not at all."""
    kept: dict[str, Array] = {}
    equal: dict[str, str] = {}
    seen: dict[Any, str] = {}
    for name, array in _arrays(trace).items():
        content = array.dtype.str, array.shape, array.tobytes()
        if content in seen:
            equal[name] = seen[content]
        else:
            seen[content], kept[name] = name, array
    description = {
        "source": trace.source,
        "training": trace.setup.training,
        "loss": trace.setup.loss,
        "optimizer": trace.setup.optimizer,
        "steps": [{key: getattr(call, key) for key in ("name", "kind", "own", "text", "owns")} for call in trace.calls],
        "settings": [call.settings for call in trace.calls],
        "left_out": trace.left_out,
        "equal": equal,
    }
    write_safetensors(path, kept, FORM.metadata(description))


def load(path: str | Path) -> Trace:
    """The `Trace` that `save` wrote.

    Raises FileNotFoundError; ValueError where the file is damaged, is something else, or comes from a newer version.
    """
    return FORM.read(path, _as_trace)


def _arrays(trace: Trace) -> dict[str, Array]:
    """All arrays of a trace by the names that they have in the file."""
    named = {"x": trace.setup.x, "labels": trace.setup.labels, "output": trace.output, "loss": np.array(trace.loss)}
    named |= {"d_output": trace.d_output, "dx": trace.dx}
    for which in BY_NAME:
        named |= {f"{which}/{name}": array for name, array in getattr(trace, which).items()}
    for number, call in enumerate(trace.calls):
        named |= {f"step/{number}/{which}": getattr(call, which) for which in OF_CALL}
    return {name: array for name, array in named.items() if array is not None}


def _as_trace(arrays: dict[str, Array], description: Any) -> Trace:
    """The `Trace` of arrays by name and what was beside them. Raises KeyError and others where something is missing."""
    arrays = arrays | {name: arrays[equal] for name, equal in description["equal"].items()}
    setup = Setup(
        arrays["x"],
        arrays["labels"],
        bool(description["training"]),
        Spec(*description["loss"]),
        Spec(*description["optimizer"]),
    )
    calls = []
    settings = description.get("settings") or [{} for _ in description["steps"]]  # recordings of before 0.5 have none
    for number, told in enumerate(description["steps"]):
        found: dict[str, Any] = {which: arrays.get(f"step/{number}/{which}") for which in OF_CALL}
        calls.append(LayerCall(**told, settings=settings[number], **found))
    by_name: dict[str, Any] = {
        which: {name.removeprefix(f"{which}/"): array for name, array in arrays.items() if name.startswith(f"{which}/")}
        for which in BY_NAME
    }
    trace = Trace(
        description["source"],
        setup,
        calls,
        **by_name,
        output=arrays["output"],
        loss=float(arrays["loss"]),
        d_output=arrays["d_output"],
        dx=arrays.get("dx"),
        left_out=description["left_out"],
    )
    _require_fitting(trace)
    return trace


def _require_fitting(trace: Trace) -> None:
    """Raise ValueError where the parts of a trace do not belong together."""
    x, labels = trace.setup.x, trace.setup.labels
    if x.dtype not in DTYPES or x.ndim < 2 or not x.size:
        raise ValueError(f"expected x of floats, got {x.dtype} of shape {x.shape}")
    texts = [trace.source, *trace.left_out]
    for call in trace.calls:
        texts += [call.name, call.kind, call.text, *call.owns.values(), *call.settings, *call.settings.values()]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("expected texts as names and kinds of the calls")
    made_loss(trace.setup.loss).to("reference").forward(trace.output, labels)
    made_optimizer(trace.setup.optimizer, Sequential(Flatten()))
    pairs = [("d_output", trace.output, trace.d_output), ("dx", x, trace.dx)]
    for call in trace.calls:
        if call.x is None or call.y is None:
            raise ValueError(f"{call.name}: expected its input and output, got one of them or none")
        if not {call.x.dtype, call.y.dtype} <= set(DTYPES):
            raise ValueError(f"{call.name}: expected floats, got {call.x.dtype} and {call.y.dtype}")
        pairs += [(f"{call.name}: dx", call.x, call.dx), (f"{call.name}: dy", call.y, call.dy)]
        for name in call.owns.values():
            if name not in trace.before:
                raise ValueError(f"{call.name}: there is no {name}")
    for which in BY_NAME[1:]:
        pairs += [(f"{which} {name}", trace.before[name], array) for name, array in getattr(trace, which).items()]
    for what, expected, found in pairs:
        if found is not None and (found.shape, found.dtype) != (expected.shape, expected.dtype):
            raise ValueError(f"{what}: expected {expected.dtype} {expected.shape}, got {found.dtype} {found.shape}")
