"""A rank's part of a step on the device, in numba-cuda's simulator; messages go through the host's memory."""

import numpy as np
import pytest

import minicnn
from minicnn.distributed import DataParallel

pytestmark = pytest.mark.cuda_sim


class Alone:
    """The only rank, whose messages come back as they are."""

    rank, size, serve_threads = 0, 1, False

    def __init__(self):
        self.abandoned = []

    def gathered(self, numbers):
        return numbers[None]

    def joined(self, rows, counts):
        return rows

    def summed(self, numbers):
        return numbers

    def start_sum(self, numbers):
        assert type(numbers) is np.ndarray
        return self

    def call(self, operation):
        return operation()

    def Wait(self):
        pass

    def commit(self):
        pass


def network(backend):
    return minicnn.Sequential(
        conv=minicnn.Conv2d(1, 2, 3, padding=1, bias=False, rng=0),
        bn=minicnn.BatchNorm2d(2),
        relu=minicnn.ReLU(),
        pool=minicnn.AdaptiveMaxPool2d(1),
        flatten=minicnn.Flatten(),
        fc=minicnn.Linear(2, 3, rng=1),
    ).to(backend)


@pytest.mark.parametrize("fuse", [True, False])
def test_a_step_is_the_host_s(fuse):
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((3, 1, 4, 4), np.float32), rng.standard_normal((3, 3), np.float32)
    device, host = network("cuda"), network("cpu")
    shared = DataParallel(minicnn.fuse(device) if fuse else device, Alone(), True, bucket_bytes=16)
    np.testing.assert_allclose(device.ops.to_numpy(shared.forward(x)), host.forward(x), rtol=1e-4, atol=1e-6)
    shared.backward(device.ops.asarray(dy))
    host.backward(dy)
    for name, layer, key in host.named_params():
        own = device[name.rpartition(".")[0]].grads[key]
        np.testing.assert_allclose(device.ops.to_numpy(own), layer.grads[key], rtol=1e-4, atol=1e-5)
