"""The pool: memory is used again when nobody sees it any more, and never before."""

import gc
import subprocess
import sys
import textwrap
import threading

import numpy as np

from minicnn.backends.cpu import memory

LARGE = (300, 300)


def address(array):
    return array.__array_interface__["data"][0]


def test_a_buffer_comes_back_when_the_array_is_gone():
    first = memory.empty(LARGE, np.float32)
    place = address(first)
    del first
    assert address(memory.empty(LARGE, np.float32)) == place


def test_a_view_keeps_the_buffer():
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
    gc.collect()
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


def test_release_gives_everything_back():
    del_me = memory.empty(LARGE, np.float32)
    del del_me
    memory.release()
    assert not any(memory._free_buffers.values())


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
