"""The road from a training step to the arithmetic: short, through the layers, and where they say that it leads."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import minicnn

PACKAGE = Path(minicnn.__file__).parent
LAYERS = [
    minicnn.Conv2d,
    minicnn.BatchNorm2d,
    minicnn.ReLU,
    minicnn.MaxPool2d,
    minicnn.AvgPool2d,
    minicnn.AdaptiveMaxPool2d,
    minicnn.AdaptiveAvgPool2d,
    minicnn.Linear,
    minicnn.LogSoftmax,
]


def plain_trainer():
    network = minicnn.SimpleNet(rng=0)
    return minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network), fuse=False, quiet=True)


def batch():
    return np.random.default_rng(0).standard_normal((4, 3, 8, 8), np.float32), [0, 1, 2, 3]


def chains_of_calls(function, reached):
    """The stacks of the package's own functions, outermost first, whenever `reached(frame)` is called under `function`.

    Each function is written "file:name"; what a decorator, a generator expression or a context manager adds is a call
    of our own like any other.
    """
    chains = []

    def note(frame, event, argument):
        if event != "call" or not reached(frame):
            return
        chain = []
        while frame is not None:
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(PACKAGE):
                chain.append(f"{path.relative_to(PACKAGE)}:{frame.f_code.co_name}")
            frame = frame.f_back
        chains.append(chain[::-1])

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return chains


def test_a_breakpoint_in_a_layers_backward_is_reached_once_a_step():
    trainer, (x, y) = plain_trainer(), batch()
    trainer.step(x, y)
    convolutions = [layer for layer in trainer.network if isinstance(layer, minicnn.Conv2d)]
    entered = chains_of_calls(
        lambda: trainer.step(x, y), lambda frame: frame.f_code is minicnn.Conv2d.backward.__code__
    )
    assert len(entered) == len(convolutions) == 3
    assert all(chain[0] == "training/trainer.py:step" for chain in entered)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_from_a_step_to_a_convolution_there_are_at_most_seven_calls(backend):
    trainer, (x, y) = plain_trainer(), batch()
    trainer.network.to(backend)
    optimizer = minicnn.Adam(trainer.network)
    trainer = minicnn.Trainer(trainer.network, minicnn.CrossEntropyLoss(), optimizer, fuse=False, quiet=True)
    trainer.step(x, y)

    def arithmetic_begins(frame):
        """On cpu where a convolution's program is run; in the reference, in the plain operation itself."""
        path, name = Path(frame.f_code.co_filename), frame.f_code.co_name
        if backend == "cpu" and (path.name, name) == ("program.py", "run"):
            return True
        return (path.parent.name, path.name, name) == ("reference", "conv.py", "conv2d_forward")

    forward = chains_of_calls(lambda: trainer.step(x, y), arithmetic_begins)
    forward = [chain for chain in forward if "layers/conv.py:forward" in chain]
    assert len(forward) == 3
    for chain in forward:
        assert chain[0] == "training/trainer.py:step"
        assert len(chain) - 1 <= 7, " > ".join(chain)  # the calls between the step and the arithmetic


def test_what_is_computed_is_public():
    network = minicnn.SimpleNet(rng=0)
    loss, optimizer = minicnn.CrossEntropyLoss(), minicnn.Adam(network)
    assert minicnn.Trainer(network, loss, optimizer, fuse=False).computed is network
    computed = minicnn.Trainer(network, loss, optimizer).computed
    assert list(computed.children) == ["conv1_to_adaptive_pool", "flatten", "fc", "log_softmax"]
    assert dict(computed.named_layers()) == dict(network.named_layers())


def test_fit_says_once_what_is_fused(capsys):
    network = minicnn.SimpleNet(rng=0)
    for fuse in (True, False):
        trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network), fuse=fuse)
        trainer.fit([batch()], epochs=1)
        trainer.fit([batch()], epochs=1)
        said = [line for line in capsys.readouterr().out.splitlines() if "fuse" in line]
        assert said == (
            [
                "fused: conv1 to adaptive_pool (minicnn.fuse); with Trainer(fuse=False) every layer is on its own",
            ]
            if fuse
            else []
        )


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
def test_a_layer_says_where_its_arithmetic_stands(layer):
    last = layer.__doc__.rstrip().rpartition("The arithmetic, in `minicnn/backends/`:")[2]
    said = re.findall(r"^ +(\w+)/(\w+)\.py ", last, re.MULTILINE)
    assert said == [(backend, file) for backend in ("reference", "cpu", "cuda") for file in layer.operations]
    assert {backend for backend, _ in said} == {"reference", "cpu", "cuda"}
    source = Path(sys.modules[layer.__module__].__file__).read_text("utf-8")
    called = set(re.findall(r"ops\.(\w+2d\w*|relu\w*|linear\w*|log_softmax\w*)\(", source))
    for backend, file in said:
        text = (PACKAGE / "backends" / backend / f"{file}.py").read_text("utf-8")
        missing = [name for name in called if not re.search(rf"^def {name}\(|^{name} = ", text, re.MULTILINE)]
        assert not missing, f"{backend}/{file}.py"
    for file in re.findall(r"`(\w+(?:/|\.py))`", last):
        folder = PACKAGE / "backends" / "cpu"
        assert (folder / file).exists() or (folder / "convolution" / file).exists()


def test_input_is_checked_once_a_call(monkeypatch):
    x = np.ones((2, 3, 8, 8), np.float32)
    for layer, shape in [
        (minicnn.Conv2d(3, 4, 3, rng=0), x),
        (minicnn.AvgPool2d(2), x),
        (minicnn.MaxPool2d(2), x),
        (minicnn.AdaptiveAvgPool2d(2), x),
        (minicnn.BatchNorm2d(3), x),
        (minicnn.ReLU(), x),
        (minicnn.Linear(8, 2, rng=0), x[0, 0]),
        (minicnn.LogSoftmax(), x[0, 0]),
    ]:
        seen = chains_of_calls(
            lambda layer=layer, shape=shape: layer.forward(shape),
            lambda frame: frame.f_code is minicnn.Layer.as_input.__code__,
        )
        assert len(seen) == 1, type(layer).__name__
