"""Programs of the cpu backend, and what is kept from one prediction to the next."""

import gc
import threading

import numpy as np
import pytest

import minicnn
from minicnn.backends import cpu
from minicnn.backends.contract import Block, Norm
from minicnn.backends.cpu.fused import prediction, prepared
from minicnn.backends.cpu.runtime.jit import by_pointer
from minicnn.backends.cpu.runtime.launch import Launch
from minicnn.backends.cpu.runtime.program import Given, Kept, Program, Room, addresses


@by_pointer
def add_kernel(arrays, numbers, table, scratch, worker):
    """sum[i] = a[i] + numbers[0] * b[i], by way of the scratch. Worker w owns i = w, w + numbers[1], …"""
    total, a, b = arrays[:3]
    for i in range(worker, total.size, numbers[1]):
        scratch[0] = numbers[0]
        total[i] = a[i] + scratch[0] * b[i]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_one_launch_leaves_the_next_finds(dtype, workers):
    constant, room = np.arange(5, dtype=dtype), Room(5)
    steps = [
        Launch(add_kernel, (room, Given(0), constant), (10, workers), workers, scratch_size=1),
        Launch(add_kernel, (Given(1), room, Kept(0)), (100, workers), workers, scratch_size=1),
    ]
    program = Program(steps, dtype, kept=1)
    a, kept, total = np.ones(5, dtype), np.full(5, 3, dtype), np.empty(5, dtype)
    program.run(a, total, kept=addresses([kept]))
    np.testing.assert_array_equal(total, a + 10 * constant + 100 * kept)
    program.run(2 * a, total, kept=addresses([2 * kept]))
    np.testing.assert_array_equal(total, 2 * a + 10 * constant + 200 * kept)


@pytest.fixture
def network():
    network = minicnn.SimpleNet(rng=0)
    for layer in network.children.values():
        if isinstance(layer, minicnn.BatchNorm2d):
            layer.state["running_mean"][:] = np.linspace(-0.3, 0.2, layer.num_features)
            layer.state["running_var"][:] = np.linspace(0.1, 0.4, layer.num_features)
    return network


def images(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


CHANGES = {
    "a weight in place": lambda network: network["conv2"].params["weight"].__imul__(1.5),
    "one number": lambda network: network["conv3"].params["weight"].__setitem__((5, 4, 1, 2), 7),
    "a bias": lambda network: network["conv1"].params["bias"].__iadd__(1),
    "a statistic": lambda network: network["bn3"].state["running_var"].__imul__(0.5),
    "another array": lambda network: network["conv2"].params.update(weight=-network["conv2"].params["weight"]),
    "eps": lambda network: setattr(network["bn1"], "eps", 0.1),
    "a step": lambda network: one_step(network),
}


def one_step(network):
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network, lr=0.01))
    trainer.step(images(4, 3, 8, 8), np.arange(4))


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen(network, change):
    fused, x = minicnn.fuse(network), images(2, 3, 16, 16)
    before = fused.predict(x)
    CHANGES[change](network)
    after = fused.predict(x)
    assert np.abs(after - before).max() > 1e-4
    np.testing.assert_allclose(after, network.predict(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mask", [False, [True] + [False] * 7])
def test_a_masked_array_is_refused_though_its_numbers_are_those_that_are_kept(mask):
    x, weight, number = images(1, 3, 8, 8), images(8, 3, 3, 3), np.ones(8, np.float32)
    block = Block(weight, number, Norm(number, number, number, number, 1e-5), (1, 1), (1, 1))
    cpu.fused_predict(x, [block], False)
    with pytest.raises(TypeError, match="without a mask"):
        cpu.fused_predict(x, [block._replace(bias=np.ma.masked_array(number, mask))], False)


def test_what_is_kept_ends_with_the_network(network):
    gc.collect()
    before = len(prepared._kept)
    minicnn.fuse(network).predict(images(1, 3, 8, 8))
    assert len(prepared._kept) == before + 1
    del network["conv1"].params["weight"]
    gc.collect()
    assert len(prepared._kept) == before


def test_of_many_sizes_few_programs_are_kept(network):
    fused = minicnn.fuse(network)
    for side in range(4, 204):
        fused.predict(images(1, 3, 4, side))
    kept = prediction._program.cache_info()
    assert kept.currsize <= kept.maxsize == 64


def test_an_output_stays_the_users(network):
    fused, x = minicnn.fuse(network), images(3, 3, 12, 12)
    first = fused.predict(x)
    kept = first.copy()
    fused.predict(images(3, 3, 12, 12, seed=1))
    np.testing.assert_array_equal(first, kept)


def test_threads_predict_at_once_with_the_same_bits(network):
    fused = minicnn.fuse(network)
    batches = [images(n, 3, 20, 20, seed=n) for n in (1, 2, 3, 4)]
    alone, wrong = [fused.predict(x) for x in batches], []

    def predict(k):
        for _ in range(30):
            if not np.array_equal(fused.predict(batches[k]), alone[k]):
                wrong.append(k)

    threads = [threading.Thread(target=predict, args=(k,)) for k in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("to_maximum", [True, False])
@pytest.mark.parametrize(
    "sizes", [[(20, 23)] * 7, [(9, 30), (33, 17), (4, 4), (20, 41), (12, 12)]], ids=["equal", "mixed"]
)
def test_a_batch_in_passes_has_the_same_bits(network, monkeypatch, to_maximum, sizes):
    """As have its images one by one."""
    layers = dict(list(network.children.items())[: None if to_maximum else 6])
    fused = minicnn.fuse(minicnn.Sequential(**layers).eval())
    x = minicnn.Images([images(3, *size, seed=k) for k, size in enumerate(sizes)])
    if len(set(sizes)) == 1:
        x = x.as_array()
    run, runs, found = Program.run, [], []

    def counted(program, *arrays, kept):
        runs.append(program)
        run(program, *arrays, kept=kept)

    monkeypatch.setattr(Program, "run", counted)
    for pass_bytes in (1 << 30, 200_000, 1):
        monkeypatch.setattr(prediction, "PASS_BYTES", pass_bytes)
        prediction._passes.cache_clear()
        runs.clear()
        found.append((fused.predict(x), len(runs)))
    prediction._passes.cache_clear()
    (whole, one), (in_some, some), (one_by_one, all_of_them) = found
    assert one == 1 < some < all_of_them == len(sizes)
    for other in (in_some, one_by_one):
        for image, expected in zip(other, whole, strict=True):
            np.testing.assert_array_equal(image, expected)
