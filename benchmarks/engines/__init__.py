"""The contestants of speed.py: what each is called, how it is made, and what it needs to be installed.

One file an engine. Each has `make(what, case, **options)`, which gives an action to be timed: `step` trains on one
batch and returns the loss, `predict` returns the log-probabilities as a NumPy array. All compute the network of
`cases.py` from the same weights on the same images, and what they return is compared with minicnn's.
"""

import functools
import importlib
import importlib.util
import os
import shutil
from dataclasses import dataclass, field

EXTRA = "pip install 'minicnn-numba[engines]'"


@dataclass(frozen=True)
class Engine:
    column: str  # of the tables; of several with the same one, the fastest is shown
    module: str  # the file in this folder
    options: dict = field(default_factory=dict)  # of its `make`
    needs: tuple = ()  # packages
    trains: bool = True
    obeys_isa: bool = True  # can be told to keep all of it to AVX2


OURS = {"minicnn": Engine("minicnn", "own"), "unfused": Engine("unfused", "own", {"fuse": False})}
LAST, COMPILED = {"channels_last": True}, {"compiled": True}
OTHERS = {
    "torch": Engine("PyTorch NCHW", "pytorch", {}, ("torch",)),
    "torch-channels-last": Engine("PyTorch channels_last", "pytorch", LAST, ("torch",)),
    "torch-compiled": Engine("PyTorch compiled", "pytorch", COMPILED, ("torch",)),
    "torch-compiled-channels-last": Engine("PyTorch compiled", "pytorch", COMPILED | LAST, ("torch",)),
    "jax": Engine("JAX", "with_jax", {}, ("jax",)),
    "onnxruntime": Engine("onnxruntime", "onnx_runtime", {}, ("onnx", "onnxruntime"), trains=False, obeys_isa=False),
    "openvino": Engine("OpenVINO", "with_openvino", {}, ("onnx", "openvino"), trains=False, obeys_isa=False),
}
ENGINES = OURS | OTHERS
RUNGS = ("plain", "shifts", "tile", "winograd")
MADE_BY_NAME = {
    **ENGINES,
    **{rung: Engine(rung, "own", {"rung": rung}) for rung in RUNGS},
    "minicnn-cuda": Engine("minicnn", "own", {"backend": "cuda"}),
    "torch-cuda": Engine("PyTorch NCHW", "pytorch", {"device": "cuda"}, ("torch",)),
    "torch-channels-last-cuda": Engine("PyTorch channels_last", "pytorch", LAST | {"device": "cuda"}, ("torch",)),
}


def maker(name):
    """make(what, case) of the contestant `name`; imports what it is made with."""
    engine = MADE_BY_NAME[name]
    return functools.partial(importlib.import_module(f"engines.{engine.module}").make, **engine.options)


def present(names, isa=None):
    """Those of `names` that can run here; and for each that cannot, a line that says what to do."""
    reasons = {name: reason_to_leave_out(name, isa) for name in names}
    left_out = {f"{ENGINES[name].column} is left out: {reason}" for name, reason in reasons.items() if reason}
    return [name for name in names if not reasons[name]], sorted(left_out)


def reason_to_leave_out(name, isa=None):
    """None, or what `name` lacks."""
    engine = ENGINES[name]
    missing = [package for package in engine.needs if importlib.util.find_spec(package) is None]
    if missing:
        return f"{' and '.join(missing)} not installed ({EXTRA})"
    if isa and not engine.obeys_isa:
        return f"it has no setting that keeps all of it to {isa.upper()}"
    compiler = os.environ.get("CXX", "g++")
    if engine.options.get("compiled") and shutil.which(compiler) is None:
        return f"it needs a C++ compiler, and there is no {compiler}"
    return None
