"""The kernels that operations of the cuda backend launch, noted down instead of run.

All of the backend is as it is but for `minicnn.backends.cuda.runtime.device`, whose arrays are NumPy's here and whose
`run` only takes notes. Wrappers decide by shapes and types alone, so that what they launch here is what they launch on
a GPU: every variant of a kernel, with its grid and the types of its arguments. Nobody keeps a list.
"""

import functools
import inspect
import sys
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

import minicnn
from minicnn.backends import cuda as backend
from minicnn.backends.cuda.convolution import sides
from minicnn.backends.cuda.general_conv import Window
from minicnn.backends.cuda.runtime import device, device_array
from minicnn.backends.pool import Pool
from tests.cuda.host_device import host_device
from tests.cuda.operations import FromHost, called
from tests.test_contract import example_calls, examples_with_images

DTYPE = np.float32
SHAPES = ((10, 32, 32), (128, 32, 32))  # N, H, W of pictures that SimpleNet is trained on
KINDS = {getattr(sides, name): name for name in ("PLAIN", "ACTIVATION", "GRADIENT", "MOMENTS", "MASKED")}


class Launch(NamedTuple):
    """A kernel's Python function, its grid, and its arguments: flat arrays, with anything in them, and numbers."""

    body: Any
    blocks: tuple
    threads: int
    arguments: tuple

    @property
    def types(self):
        """The Numba types of the arguments."""
        from numba.cuda.typing.typeof import Purpose, typeof

        return tuple(typeof(argument, Purpose.argument) for argument in self.arguments)

    @property
    def kernel(self):
        """What tells kernels apart that are compiled: code, captured values, and types of the arguments."""
        captured = tuple((type(cell.cell_contents), cell.cell_contents) for cell in self.body.__closure__ or ())
        return self.body.__code__, captured, self.types

    @property
    def argument(self):
        """The arguments by their names."""
        return dict(zip(inspect.signature(self.body).parameters, self.arguments, strict=True))

    @property
    def factory(self):
        """The function that made the kernel, or the kernel where none did: "convolution"."""
        return self.body.__qualname__.partition(".")[0]

    @property
    def tile(self):
        """(rows, columns) of the tile that a block makes, of kernels that do; else None."""
        captured = inspect.getclosurevars(self.body).nonlocals
        return (captured["ROWS"], captured["COLUMNS"]) if "ROWS" in captured else None

    @property
    def name(self):
        """File, factory and what the kernel captured of the factory's arguments: "kernels.convolution 32×128 MASKED".

        Flags stand there by their names where they are true, the kinds of sources and sinks by theirs, the numbers of
        a window one by one, for they are captured so.
        """
        module = sys.modules[self.body.__module__]
        words = [f"{module.__name__.rpartition('.')[2]}.{self.factory}"]
        if self.tile:
            words.append("×".join(map(str, self.tile)))
        captured = inspect.getclosurevars(self.body).nonlocals
        for key in (*inspect.signature(getattr(module, self.factory)).parameters, *Window._fields):
            value = captured.get(key)
            if key in ("source", "sink", "x_source", "dy_source"):
                words.append(KINDS[value])
            elif isinstance(value, bool):
                words += [key] * value
            elif isinstance(value, int):
                words.append(f"{key} {value}")
        return " ".join(words)


@contextmanager
def recording():
    """Have operations of the cuda backend run no kernel; hands out the list that their launches are noted in.

    What they fetch from the device is all ones, so that means and losses are finite.
    """
    launches = []

    def note(body, blocks, threads, arguments):
        blocks = blocks if isinstance(blocks, tuple) else (blocks,)
        launches.append(Launch(body, blocks, threads, tuple(arguments)))

    with (
        host_device(),
        mock.patch.object(device, "allocate", np.empty),
        mock.patch.object(device, "download", np.ones_like),
        mock.patch.object(device, "run", note),
        mock.patch.object(device_array, "_pool", Pool(device_array._allocate)),
    ):
        yield launches


def launches_of_contract(size=1):
    """The launches of every operation, for arrays and for `Images`."""
    with recording() as launches:
        ops = FromHost(backend)
        for name, arguments in example_calls(ops, DTYPE, size).items():
            called(backend, name, arguments)
        for name, arguments in examples_with_images(ops, DTYPE, size).items():
            called(backend, name, arguments())
    return launches


def launches_of_step(n_images, height, width, fuse=True):
    """The launches of a training step of SimpleNet."""
    with recording() as launches:
        trainer, x, y = _training(n_images, height, width, fuse)
        launches.clear()
        trainer.step(x, y)
    return launches


def launches_of_prediction(n_images, height, width, fuse=True):
    """The launches of a prediction of SimpleNet."""
    with recording() as launches:
        trainer, x, _ = _training(n_images, height, width, fuse)
        launches.clear()
        (minicnn.fuse(trainer.network) if fuse else trainer.network).predict(x)
    return launches


def _training(n_images, height, width, fuse):
    network = minicnn.SimpleNet(rng=0).to("cuda")
    x = network.ops.asarray(np.zeros((n_images, 3, height, width), DTYPE))
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network), fuse=fuse)
    return trainer, x, np.zeros(n_images, np.int64)


def launches_of_compile_kernels():
    """The launches of the kernels that are made ready before a training."""
    with recording() as launches:
        backend.compile_kernels(DTYPE)
    return launches


def different(launches):
    """One launch of each kernel, variants and types of arguments told apart."""
    return list({launch.kernel: launch for launch in launches}.values())


@functools.cache
def every_kernel():
    """A launch of each kernel that all of the above launch, in an order that is the same in every process."""
    launches = launches_of_compile_kernels()
    for shape in SHAPES:
        for fuse in (True, False):
            launches += launches_of_step(*shape, fuse) + launches_of_prediction(*shape, fuse)
    return different(launches + launches_of_contract(1) + launches_of_contract(4))
