"""Sizes beyond what can be counted, or beyond what there is memory for: refused, and nothing has changed."""

import math
import mmap
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import minicnn

BACKENDS = ("reference", "cpu")


@pytest.fixture
def plane_beyond_32_bits(tmp_path):
    """(1, 1, H, W) of more than 2**31 - 1 pixels: a file with nothing in it, which nobody reads."""
    if sys.platform == "win32":
        pytest.skip("a file of 8 GiB takes them on Windows")
    shape = (1, 1, 1 << 16, 1 << 15)
    with open(tmp_path / "plane", "w+b") as file:
        file.truncate(4 * math.prod(shape))
        memory = mmap.mmap(file.fileno(), 0)
    return np.frombuffer(memory, np.float32).reshape(shape)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "layer",
    [
        minicnn.MaxPool2d(1 << 10),
        minicnn.AvgPool2d(1 << 10),
        minicnn.AdaptiveMaxPool2d(1),
        minicnn.AdaptiveAvgPool2d((2, 3)),
    ],
    ids=repr,
)
def test_images_with_more_pixels_than_are_counted(layer, backend, plane_beyond_32_bits):
    layer = layer.to(backend)
    for call in (layer.predict, layer.forward):
        with pytest.raises(ValueError, match="input: expected images of at most 2147483647 pixels, got one of"):
            call(plane_beyond_32_bits)
    assert layer.memory is None


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("as_images", [False, True])
def test_outputs_with_more_pixels_than_are_counted(as_images, backend):
    """(2**32) ** 2 is 0 in 64 bits."""
    x = np.ones((2, 1, 8, 8), np.float32)
    x = minicnn.Images(list(x)) if as_images else x
    for layer in (
        minicnn.Conv2d(1, 1, 3, padding=2**31 - 3),
        minicnn.Conv2d(1, 1, 1, padding=(2**15, 2**16)),
        minicnn.AdaptiveMaxPool2d((2**16, 2**15)),
        minicnn.AdaptiveAvgPool2d(2**32),
    ):
        with pytest.raises(ValueError, match="output: expected images of at most 2147483647 pixels"):
            layer.to(backend).forward(x)
        assert layer.memory is None


def test_a_side_that_a_fused_block_cannot_count():
    """It notes in float32 where the maximum is, and 2**24 + 1 is none."""
    x = np.zeros((1, 1, 1, (1 << 24) + 2), np.float32)
    layers = {"conv": minicnn.Conv2d(1, 1, 1), "bn": minicnn.BatchNorm2d(1), "relu": minicnn.ReLU()}
    fused = minicnn.fuse(minicnn.Sequential(**layers, pool=minicnn.AdaptiveMaxPool2d(1)))
    with pytest.raises(ValueError, match="at most 16777216 rows and columns"):
        fused.forward(x)
    assert fused.state_dict()["bn.num_batches_tracked"] == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [3, 4])
def test_a_fused_block_smaller_than_a_later_kernel(size, backend):
    layers = {}
    for k in (1, 2):
        channels = 1 if k == 1 else 4
        layers |= {f"conv{k}": minicnn.Conv2d(channels, 4, 3), f"bn{k}": minicnn.BatchNorm2d(4)}
        layers |= {f"relu{k}": minicnn.ReLU()}
    fused = minicnn.fuse(minicnn.Sequential(**layers)).to(backend)
    for call in (fused.predict, fused.forward):
        with pytest.raises(ValueError, match="at least as large as the kernel"):
            call(np.ones((2, 1, size, size), np.float32))


NO_MEMORY = """
    import resource, sys
    import numpy as np, minicnn

    def network(size):
        layers = {"conv": minicnn.Conv2d(1, 8, 1, rng=0), "bn": minicnn.BatchNorm2d(8), "relu": minicnn.ReLU()}
        return minicnn.Sequential(**layers)

    def limit(megabytes):
        now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + (megabytes << 20), resource.RLIM_INFINITY))

    small = np.random.default_rng(0).standard_normal((2, 1, 40, 40), np.float32)
    large = np.ones((1, 8, 2000, 2000), np.float32)         # 128 MB, and so is what comes out
    bn, fused = minicnn.BatchNorm2d(8), minicnn.fuse(network(8))
    for layer, x in ((bn, np.ones((1, 8, 4, 4), np.float32)), (fused, small)):
        layer.forward(x)                                     # compiles, and starts the threads
    expected = fused.predict(small)
    minicnn.release_memory()
    for layer, x in ((bn, large), (fused, large[:, :1])):
        before = {name: array.copy() for name, array in layer.state_dict().items()} if layer is fused else {
            name: array.copy() for name, array in layer.state.items()}
        limit(100)
        try:
            layer.forward(x)
        except MemoryError as error:
            print(error)
        else:
            raise AssertionError("there was memory")
        limit(4000)
        after = layer.state_dict() if layer is fused else layer.state
        for name in before:
            np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    np.testing.assert_array_equal(fused.predict(small), expected)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited with RLIMIT_AS, and measured in /proc")
def test_where_there_is_no_memory_for_the_output_statistics_are_as_before():
    command = [sys.executable, "-c", textwrap.dedent(NO_MEMORY)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("Unable to allocate") == 2
