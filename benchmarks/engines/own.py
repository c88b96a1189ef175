"""minicnn: fused, unfused, or by one rung of its ladder; on the CPU or on a GPU."""

import importlib

import numpy as np

import minicnn
from engines import cases


def make(what, case, rung=None, fuse=True, backend="cpu"):
    """With a rung ("plain", "shifts", …), convolutions are done by that one, and nothing is fused."""
    if rung is not None:
        convolve_by(rung)
    if what in ("step", "predict"):
        return of_network(what, case, fuse and rung is None, backend)
    return of_layer(what, case)


def of_network(what, case, fuse, backend):
    x, y = cases.batch(case)
    width = cases.numbers_in(case)[2]
    network = cases.simple_net(minicnn, minicnn.LogSoftmax(), width)
    network.load_state_dict(cases.weights(width))
    network.to(backend)
    x = network.ops.asarray(x)
    if what == "step":
        trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network), fuse=fuse)
        return lambda: trainer.step(x, y)
    computed = minicnn.fuse(network) if fuse else network
    # to_numpy: on a GPU a prediction is done when it is on the host. A step ends with the loss there.
    return lambda: network.ops.to_numpy(computed.predict(x))


def of_layer(what, case):
    layer, shape = cases.operation(case, minicnn)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape, np.float32)
    if what == "forward":
        return lambda: layer.forward(x)
    dy = rng.standard_normal(layer.forward(x).shape, np.float32)
    memory = layer.memory

    def backward():
        layer.memory = memory  # one forward for many backwards
        return layer.backward(dy)

    return backward


def convolve_by(rung):
    """Let the CPU backend convolve by one rung of its ladder alone."""
    from minicnn.backends import cpu
    from minicnn.backends.cpu import conv

    module = importlib.import_module(f"minicnn.backends.cpu.convolution.{rung}")
    if rung in ("tile", "winograd"):
        conv.choose_algorithm, conv.matrix.supports = (lambda *_: module), (lambda *_: False)
    else:
        cpu.conv2d_forward, cpu.conv2d_input_gradient = module.forward, module.input_gradient
        cpu.conv2d_weight_gradient = module.weight_gradient
