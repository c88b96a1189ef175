"""A trace in a safetensors file, so that it can be compared with where there is no PyTorch.

The arrays have names such as "before/conv1.weight" and "step/3/dx". An array that is equal to another, as the input of
a layer is to the output of the layer below, is kept once. What is not an array is JSON in the metadata: the mode, loss,
optimiser and layers, and of the arrays that are not kept which one they are equal to.
"""

import numpy as np

from minicnn.checks import DTYPES
from minicnn.io.recordings import RecordingForm
from minicnn.io.safetensors import write_safetensors
from minicnn.layers import Flatten
from minicnn.network import Sequential
from minicnn.verify.compare.task import Spec, Task, made_loss, made_optimizer
from minicnn.verify.compare.trace import Step, Trace

FORM = RecordingForm("minicnn comparison", 1, key="comparison", writer="minicnn.verify.compare.record")
OF_STEP = ("x", "y", "dy", "dx")
BY_NAME = ("before", "statistics", "grads", "after")


def save(trace, path):
    """Write a `Trace` to a file, whole or not at all."""
    kept, equal, seen = {}, {}, {}
    for name, array in _arrays(trace).items():
        content = array.dtype.str, array.shape, array.tobytes()
        if content in seen:
            equal[name] = seen[content]
        else:
            seen[content], kept[name] = name, array
    description = {
        "source": trace.source,
        "training": trace.task.training,
        "loss": trace.task.loss,
        "optimizer": trace.task.optimizer,
        "steps": [{key: getattr(step, key) for key in ("name", "kind", "own", "text", "owns")} for step in trace.steps],
        "left_out": trace.left_out,
        "equal": equal,
    }
    write_safetensors(path, kept, FORM.metadata(description))


def load(path):
    """The `Trace` that `save` wrote.

    Raises FileNotFoundError; ValueError where the file is damaged, is something else, or comes from a newer version.
    """
    return FORM.read(path, _as_trace)


def _arrays(trace):
    """All arrays of a trace by the names that they have in the file."""
    named = {"x": trace.task.x, "labels": trace.task.labels, "output": trace.output, "loss": np.array(trace.loss)}
    named |= {"d_output": trace.d_output, "dx": trace.dx}
    for which in BY_NAME:
        named |= {f"{which}/{name}": array for name, array in getattr(trace, which).items()}
    for number, step in enumerate(trace.steps):
        named |= {f"step/{number}/{which}": getattr(step, which) for which in OF_STEP}
    return {name: array for name, array in named.items() if array is not None}


def _as_trace(arrays, description):
    """The `Trace` of arrays by name and what was beside them. Raises KeyError and others where something is missing."""
    arrays = arrays | {name: arrays[equal] for name, equal in description["equal"].items()}
    task = Task(
        arrays["x"],
        arrays["labels"],
        bool(description["training"]),
        Spec(*description["loss"]),
        Spec(*description["optimizer"]),
    )
    steps = [
        Step(**described, **{which: arrays.get(f"step/{number}/{which}") for which in OF_STEP})
        for number, described in enumerate(description["steps"])
    ]
    by_name = {
        which: {name.removeprefix(f"{which}/"): array for name, array in arrays.items() if name.startswith(f"{which}/")}
        for which in BY_NAME
    }
    trace = Trace(
        description["source"],
        task,
        steps,
        **by_name,
        output=arrays["output"],
        loss=float(arrays["loss"]),
        d_output=arrays["d_output"],
        dx=arrays.get("dx"),
        left_out=description["left_out"],
    )
    _require_fitting(trace)
    return trace


def _require_fitting(trace):
    """Raise ValueError where the parts of a trace do not belong together."""
    x, labels = trace.task.x, trace.task.labels
    if x.dtype not in DTYPES or x.ndim < 2 or not x.size:
        raise ValueError(f"expected x of floats, got {x.dtype} of shape {x.shape}")
    texts = [trace.source, *trace.left_out]
    for step in trace.steps:
        texts += [step.name, step.kind, step.text, *step.owns.values()]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("expected texts as names and kinds of the steps")
    made_loss(trace.task.loss).to("reference").forward(trace.output, labels)
    made_optimizer(trace.task.optimizer, Sequential(Flatten()))
    pairs = [("d_output", trace.output, trace.d_output), ("dx", x, trace.dx)]
    for step in trace.steps:
        if step.x is None or step.y is None:
            raise ValueError(f"{step.name}: expected its input and output, got one of them or none")
        if not {step.x.dtype, step.y.dtype} <= set(DTYPES):
            raise ValueError(f"{step.name}: expected floats, got {step.x.dtype} and {step.y.dtype}")
        pairs += [(f"{step.name}: dx", step.x, step.dx), (f"{step.name}: dy", step.y, step.dy)]
        for name in step.owns.values():
            if name not in trace.before:
                raise ValueError(f"{step.name}: there is no {name}")
    for which in BY_NAME[1:]:
        pairs += [(f"{which} {name}", trace.before[name], array) for name, array in getattr(trace, which).items()]
    for what, expected, found in pairs:
        if found is not None and (found.shape, found.dtype) != (expected.shape, expected.dtype):
            raise ValueError(f"{what}: expected {expected.dtype} {expected.shape}, got {found.dtype} {found.shape}")
