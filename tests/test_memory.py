"""The pool: memory is used again when nobody sees it any more, and never before."""

import gc
import subprocess
import sys
import textwrap
import threading
import tracemalloc

import numpy as np
import pytest

from minicnn.backends.cpu.runtime import memory

LARGE = (300, 300)


def address(array):
    return array.__array_interface__["data"][0]


def test_a_buffer_comes_back_when_the_array_is_gone():
    first = memory.empty(LARGE, np.float32)
    place = address(first)
    del first
    assert address(memory.empty(LARGE, np.float32)) == place


def test_a_view_keeps_the_buffer():
    gc.collect()  # what other tests left would come back to the pool in between
    first = memory.empty(LARGE, np.float32)
    place = address(first)
    view = first.reshape(-1)[5:10].view(np.int32)
    view[:] = 7
    del first
    others = [memory.empty(LARGE, np.float32) for _ in range(3)]
    for other in others:
        other[:] = 0
    assert place not in map(address, others)
    assert view.tolist() == [7] * 5
    del view
    assert address(memory.empty(LARGE, np.float32)) == place


def test_arrays_are_as_asked_for():
    for shape in ((), (3,), (0, 5), (7, 11), LARGE, (2, 3, 500, 101)):
        for dtype in (np.float32, np.float64, np.int64):
            array = memory.empty(shape, dtype)
            assert (array.shape, array.dtype) == (shape, dtype)
            assert array.flags.c_contiguous
            assert array.flags.writeable
            assert array.flags.aligned


def test_two_arrays_never_share():
    arrays = [memory.empty(LARGE, np.float32) for _ in range(20)]
    for position, array in enumerate(arrays):
        array[:] = position
    assert [array.min() for array in arrays] == [array.max() for array in arrays] == list(range(20))


def test_several_threads_take_and_give():
    wrong = []

    def work(number):
        for _ in range(300):
            array = memory.empty(LARGE, np.float32)
            array[:] = number
            if array.min() != number or array.max() != number:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.fixture
def traced():
    """A function that says how many bytes NumPy's arrays take, those of the pool that are free included."""
    memory.release()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    yield lambda: tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    memory.release()


def test_release_gives_everything_back(traced):
    array = memory.empty(LARGE, np.float32)
    del array
    assert traced() >= 360_000
    memory.release()
    assert traced() < 10_000


def test_what_is_kept_is_in_proportion_to_what_was_in_use(traced):
    """Of 200 sizes, up to 10 MB, one after the other, what lies free would be 1 GB."""
    for kilobytes in (*range(100, 10_000, 50), *range(10_000, 100, -50)):
        memory.empty(kilobytes * 1000, np.uint8)
        assert traced() <= 2.5 * 10e6


def test_a_large_array_of_long_ago_is_forgotten(traced):
    memory.empty(200_000_000, np.uint8)
    for _ in range(10_000):
        memory.empty(1_000_000, np.uint8)
    assert traced() <= 2.5 * 1e6


def test_two_sizes_in_turn_are_both_kept():
    places = set()
    for _ in range(20):
        arrays = [memory.empty(size, np.uint8) for size in (400_000, 3_000_000)]
        places.add(tuple(map(address, arrays)))
        del arrays
    assert len(places) <= 2


def test_where_there_is_no_room_nothing_is_lost(traced):
    """Neither what is kept, beyond what was given back to make room, nor the measure of how much that may be."""
    for impossible in ((1 << 62,), (1 << 31, 1 << 30), 1 << 60):
        with pytest.raises((MemoryError, ValueError)):
            memory.empty(impossible, np.float32)
    refused = traced()  # tracemalloc counts arrays that could not be made
    for megabytes in (1, 8, 64, 1):
        memory.empty(megabytes * 1_000_000, np.uint8)
    for _ in range(10):
        memory.empty(200_000, np.uint8)
    assert traced() - refused <= 2.5 * 64e6


def test_arrays_that_end_in_the_midst_of_asking_for_others():
    """Garbage is collected whenever objects are made, `empty` included, and with it arrays in cycles of references."""
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for number in range(300):
            array = memory.empty(LARGE, np.float32)
            array[:] = number
            cycle = [array]
            cycle.append(cycle)
            other = memory.empty(LARGE, np.float32)
            other[:] = -1
            assert array.min() == array.max() == number
            del array, cycle, other
    finally:
        gc.set_threshold(*before)


TWENTY_SIZES = """
    import re, sys
    import numpy as np, minicnn

    def peak():
        # Not ru_maxrss, which a process takes over from the one that started it.
        return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])

    rng = np.random.default_rng(0)
    network = minicnn.SimpleNet(rng=0)
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network))
    trainer.compile_kernels()
    before = peak()
    for size in map(int, sys.argv[1:]):
        for _ in range(2):
            trainer.step(rng.standard_normal((1, 3, size, size), np.float32), [0])
    print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells how much memory a process took")
def test_training_on_many_sizes_takes_little_more_than_on_the_largest():
    def taken(*sizes):
        command = [sys.executable, "-c", textwrap.dedent(TWENTY_SIZES), *map(str, sizes)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert taken(*range(32, 640, 32), 640) < 2 * taken(640)


PAGE_FAULTS = """
    import resource
    import numpy as np, minicnn
    rng = np.random.default_rng(0)
    network = minicnn.SimpleNet(rng=0)
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network))
    x, y = rng.standard_normal((32, 3, 32, 32), np.float32), rng.integers(0, 10, 32)
    faults = []
    for _ in range(8):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        trainer.step(x, y)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    print(faults)
"""


def test_a_step_asks_the_system_for_no_memory_after_the_first_two():
    """Page faults: the activations of this step are about 20 MB, which would be some 5000 of them."""
    command = [sys.executable, "-c", textwrap.dedent(PAGE_FAULTS)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    faults = [int(number) for number in output.strip("[]\n").split(",")]
    assert faults[0] > 1000
    assert sum(faults[3:]) < 100, faults
