"""Threads and processes: the same bits for any number of threads, several callers at once, and forks."""

import hashlib
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import minicnn

TRAIN = """
    import hashlib, sys
    import numpy as np, minicnn
    minicnn.set_num_threads(int(sys.argv[1]))
    digest = hashlib.sha256()
    for n_images, size in ((10, 16), (1, 33), (3, 7)):
        rng = np.random.default_rng(0)
        network = minicnn.SimpleNet(rng=0)
        loss, optimizer = minicnn.CrossEntropyLoss(), minicnn.Adam(network)
        x, y = rng.standard_normal((n_images, 3, size, size), np.float32), rng.integers(0, 10, n_images)
        for _ in range(3):
            loss.forward(network.forward(x), y)
            network.backward(loss.backward())
            optimizer.step()
        digest.update(network.predict(x).tobytes())
        for array in network.state_dict().values():
            digest.update(array.tobytes())
    print(digest.hexdigest())
"""


def train_with(n_threads):
    """The digest of all weights after a few steps, from a process that has eight threads and uses `n_threads`."""
    command = [sys.executable, "-c", textwrap.dedent(TRAIN), str(n_threads)]
    environment = os.environ | {"NUMBA_NUM_THREADS": "8"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_bits_do_not_depend_on_the_number_of_threads():
    digests = {n_threads: train_with(n_threads) for n_threads in (1, 2, 3, 8)}
    assert len(set(digests.values())) == 1, digests
    assert train_with(2) == digests[2]  # nor on the run


def predictions(network, x, results, position):
    digest = hashlib.sha256()
    for _ in range(20):
        digest.update(network.predict(x).tobytes())
    results[position] = digest.hexdigest()


def test_several_python_threads_predict_at_once():
    network = minicnn.SimpleNet(rng=0)
    x = np.random.default_rng(0).standard_normal((4, 3, 16, 16), np.float32)
    results = [None] * 5
    predictions(network, x, results, 4)
    threads = [threading.Thread(target=predictions, args=(network, x, results, k)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1


def predict_in_child(network, x, queue):
    queue.put(network.predict(x))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_can_go_on():
    network = minicnn.SimpleNet(rng=0)
    x = np.random.default_rng(0).standard_normal((4, 3, 16, 16), np.float32)
    here = network.predict(x)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=predict_in_child, args=(network, x, queue))
    child.start()
    there = queue.get(timeout=60)
    child.join()
    np.testing.assert_array_equal(there, here)
    np.testing.assert_array_equal(network.predict(x), here)


@pytest.mark.parametrize("n", [0, -1, 1000])
def test_a_number_of_threads_that_cannot_be(n):
    with pytest.raises(ValueError, match=rf"expected 1 to \d+ threads, got {n}"):
        minicnn.set_num_threads(n)
