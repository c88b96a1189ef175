"""One measurement for speed.py, in this process: prints a line of JSON.

FRAMEWORK is minicnn, a rung of its ladder (plain, shifts, tile, winograd), torch or torch-channels-last; minicnn-cuda,
torch-cuda and torch-channels-last-cuda run steps and predictions on a GPU.

    speed_worker.py FRAMEWORK WHAT CASE
    speed_worker.py peak
"""

import time

STARTED = time.perf_counter()

import functools  # noqa: E402  (the clock starts before anything is imported)
import itertools  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402

MIN_SECONDS = 1.0  # measure for at least this long …
MIN_RUNS = 3  # … and at least this often


def main():
    if sys.argv[1] == "peak":
        report(flops_per_second=fma_peak())
        return
    framework, what, case = sys.argv[1:]
    if what == "start":
        action, _ = MAKERS[framework]("step", case)
        action()
        report(seconds=time.perf_counter() - STARTED + seconds_before_python())
        return
    action, flops = MAKERS[framework](what, case)
    report(seconds=measure(action), flops=flops)


def report(**numbers):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(numbers | {"peak_mb": peak}))


def seconds_before_python():
    """From the start of this process to STARTED, by the kernel's account (a hundredth of a second fine)."""
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    now_since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    age = now_since_boot - ticks / os.sysconf("SC_CLK_TCK")
    return age - (time.perf_counter() - STARTED)


def measure(action):
    """Median seconds of one call, after calls that warm up: two of them, or one that takes long."""
    started = time.perf_counter()
    action()
    if time.perf_counter() - started < MIN_SECONDS:
        action()
    times = []
    while len(times) < MIN_RUNS or sum(times) < MIN_SECONDS:
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def numbers_in(case):
    """Images, side and how many times as many channels as SimpleNet has: "10 x 32" -> (10, 32, 1), "4 x 32 x 2"."""
    n_images, side, width = [*map(int, case.split(" x ")), 1][:3]
    return n_images, side, width


def simple_net(framework, log_softmax, width, in_channels=3):
    """SimpleNet, of minicnn or torch.nn, with `width` times as many channels."""
    channels = (in_channels, 16 * width, 32 * width, 64 * width)
    layers = []
    for below, above in itertools.pairwise(channels):
        layers += [framework.Conv2d(below, above, 3, padding=1), framework.BatchNorm2d(above), framework.ReLU()]
    layers += [framework.AdaptiveMaxPool2d((1, 1)), framework.Flatten(), framework.Linear(channels[-1], 10)]
    return framework.Sequential(*layers, log_softmax)


def step_flops(what, n_images, side, width):
    """Of the convolutions as direct sums; training makes three passes, but no input gradient of the first layer."""
    pixels = n_images * side * side
    sums = [(3, 16 * width), (16 * width, 32 * width), (32 * width, 64 * width)]
    forward = [2 * pixels * 9 * channels * filters for channels, filters in sums]
    return sum(forward) if what == "predict" else 3 * sum(forward) - forward[0]


def make_minicnn(what, case, rung=None, backend="cpu"):
    """With a rung ("plain", "shifts", …), convolutions are done by that one, and nothing is fused."""
    import numpy as np

    import minicnn

    if rung is not None:
        convolve_by(rung)
    rng = np.random.default_rng(0)
    if what in ("step", "predict"):
        n_images, side, width = numbers_in(case)
        x, y = rng.standard_normal((n_images, 3, side, side), np.float32), rng.integers(0, 10, n_images)
        network = simple_net(minicnn, minicnn.LogSoftmax(), width).to(backend)
        x = network.ops.asarray(x)
        fuse = rung is None
        trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network), fuse=fuse)
        computed = minicnn.fuse(network) if fuse else network
        # to_numpy: on a GPU a prediction is done when it is on the host. A step ends with the loss there.
        predict = lambda: network.ops.to_numpy(computed.predict(x))  # noqa: E731
        action = (lambda: trainer.step(x, y)) if what == "step" else predict
        return action, step_flops(what, n_images, side, width)
    layer, shape, flops = operation(case, minicnn)
    x = rng.standard_normal(shape, np.float32)
    if what == "forward":
        return (lambda: layer.forward(x)), flops
    dy = rng.standard_normal(layer.forward(x).shape, np.float32)
    memory = layer.memory

    def backward():
        layer.memory = memory  # one forward for many backwards
        layer.backward(dy)

    return backward, flops and 2 * flops


def convolve_by(rung):
    """Let the CPU backend convolve by one rung of its ladder alone."""
    import importlib

    from minicnn.backends import cpu
    from minicnn.backends.cpu import conv

    module = importlib.import_module(f"minicnn.backends.cpu.convolution.{rung}")
    if rung in ("tile", "winograd"):
        conv.choose_algorithm, conv.matrix.supports = (lambda *_: module), (lambda *_: False)
    else:
        cpu.conv2d_forward, cpu.conv2d_input_gradient = module.forward, module.input_gradient
        cpu.conv2d_weight_gradient = module.weight_gradient


def fma_peak():
    """Multiply-adds on registers alone, on all threads: flops a second."""
    import numba
    import numpy as np

    from minicnn.backends.cpu.convolution.registers import LANES
    from minicnn.backends.cpu.convolution.vectors import fma, load, store

    @numba.njit
    def multiply_add(numbers, repeats):
        b, c = load(numbers, 0), load(numbers, LANES)
        v0, v1, v2, v3, v4, v5 = b, c, b + c, b + b, c + c, b - c
        v6, v7, v8, v9, v10, v11 = v0 + v2, v1 + v2, v3 + v2, v4 + v2, v5 + v2, v2 + v2
        for _ in range(repeats):
            v0, v1, v2 = fma(v0, b, c), fma(v1, b, c), fma(v2, b, c)
            v3, v4, v5 = fma(v3, b, c), fma(v4, b, c), fma(v5, b, c)
            v6, v7, v8 = fma(v6, b, c), fma(v7, b, c), fma(v8, b, c)
            v9, v10, v11 = fma(v9, b, c), fma(v10, b, c), fma(v11, b, c)
        store(numbers, 0, v0 + v1 + v2 + v3 + v4 + v5 + v6 + v7 + v8 + v9 + v10 + v11)

    @numba.njit(parallel=True)
    def on_all_threads(numbers, repeats):
        for thread in numba.prange(len(numbers)):
            multiply_add(numbers[thread], repeats)

    repeats = 5_000_000
    numbers = np.full((numba.get_num_threads(), 2 * LANES), 0.5, np.float32)
    return 2 * 12 * LANES * repeats * len(numbers) / measure(lambda: on_all_threads(numbers, repeats))


def operation(case, framework):
    """(layer, input shape, flops of one pass) of "conv 3x3 stride 2 32-64" and the like, of minicnn or torch.nn."""
    n_images, side = 32, 32
    words = case.split()
    if words[0] == "conv":
        kernel = int(words[1][0])
        stride = int(words[3]) if words[2] == "stride" else 1
        channels, filters = map(int, words[-1].split("-"))
        layer = framework.Conv2d(channels, filters, kernel, stride=stride, padding=kernel // 2)
        outputs = n_images * (side // stride) ** 2
        return layer, (n_images, channels, side, side), 2 * outputs * kernel * kernel * channels * filters
    if words[0] == "batchnorm":
        layer = framework.BatchNorm2d(int(words[1]))
    elif words[0] == "relu":
        layer = framework.ReLU()
    else:
        pool = framework.AdaptiveMaxPool2d if words[0] == "max" else framework.AdaptiveAvgPool2d
        layer = pool(int(words[-1]))
    return layer, (n_images, 64, side, side), None


def make_torch(what, case, channels_last=False, device="cpu"):
    import torch
    from torch import nn

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    torch.manual_seed(0)
    if what in ("step", "predict"):
        n_images, side, width = numbers_in(case)
        network = simple_net(nn, nn.LogSoftmax(dim=1), width).to(device, memory_format=layout)
        x = torch.randn(n_images, 3, side, side).to(device, memory_format=layout)
        y = torch.randint(0, 10, (n_images,), device=device)
        loss, optimizer = nn.CrossEntropyLoss(), torch.optim.Adam(network.parameters())

        def step():
            optimizer.zero_grad()
            value = loss(network(x), y)
            value.backward()
            optimizer.step()
            value.item()  # waits for a GPU

        def predict():
            with torch.no_grad():
                network(x).cpu()

        if what == "predict":
            network.eval()
        return (step if what == "step" else predict), step_flops(what, n_images, side, width)

    layer, shape, flops = operation(case, nn)
    layer = layer.to(memory_format=layout)
    x = torch.randn(shape).to(memory_format=layout).requires_grad_()
    if what == "forward":
        return (lambda: layer(x)), flops
    y = layer(x)
    dy, inputs = torch.randn_like(y), [x, *layer.parameters()]
    # Not y.backward(dy), which would add to the gradients of the call before.
    return (lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True)), flops and 2 * flops


MAKERS = {
    "minicnn": make_minicnn,
    **{rung: functools.partial(make_minicnn, rung=rung) for rung in ("plain", "shifts", "tile", "winograd")},
    "torch": make_torch,
    "torch-channels-last": functools.partial(make_torch, channels_last=True),
    "minicnn-cuda": functools.partial(make_minicnn, backend="cuda"),
    "torch-cuda": functools.partial(make_torch, device="cuda"),
    "torch-channels-last-cuda": functools.partial(make_torch, channels_last=True, device="cuda"),
}


if __name__ == "__main__":
    main()
