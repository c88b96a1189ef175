"""PyTorch, as it comes (eager) or compiled by TorchInductor, in either memory layout; on the CPU or on a GPU.

Compiled, a step is as fast as PyTorch can make it: the loss is compiled with the network, and Adam is the fused one
(together 3.2 ms for 4.2 on one image, 2-core Xeon, AVX-512). Freezing the weights of a prediction gained nothing.
"""

import os

import torch
from torch import nn

from engines import cases


def make(what, case, channels_last=False, compiled=False, device="cpu"):
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    if what in ("step", "predict"):
        return of_network(what, case, layout, compiled, device)
    return of_layer(what, case, layout)


def of_network(what, case, layout, compiled, device):
    width = cases.numbers_in(case)[2]
    network = cases.simple_net(nn, nn.LogSoftmax(dim=1), width)
    network.load_state_dict({name: torch.tensor(array) for name, array in cases.weights(width).items()})
    network = network.to(device, memory_format=layout)
    x, y = map(torch.from_numpy, cases.batch(case))
    x, y = x.to(device, memory_format=layout), y.to(device)
    optimizer = torch.optim.Adam(network.parameters(), fused=compiled or None)
    cross_entropy, compute = nn.CrossEntropyLoss(), torch.compile if compiled else lambda function: function
    loss, computed = compute(lambda x, y: cross_entropy(network(x), y)), compute(network)

    def step():
        optimizer.zero_grad()
        value = loss(x, y)
        value.backward()
        optimizer.step()
        return value.item()  # waits for a GPU

    def predict():
        with torch.no_grad():
            return computed(x).cpu().numpy()

    if what == "predict":
        network.eval()
    return step if what == "step" else predict


def of_layer(what, case, layout):
    layer, shape = cases.operation(case, nn)
    torch.manual_seed(0)
    x = torch.randn(shape)
    if x.dim() == 4:  # a linear layer's input has no layout to choose
        layer, x = layer.to(memory_format=layout), x.to(memory_format=layout)
    x.requires_grad_()
    if what == "forward":
        return lambda: layer(x)
    y = layer(x)
    dy, inputs = torch.randn_like(y), [x, *layer.parameters()]
    # Not y.backward(dy), which would add to the gradients of the call before.
    return lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)
