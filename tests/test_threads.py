"""Threads and processes: the same bits for any number of threads, several callers at once, and forks."""

import gc
import hashlib
import importlib.metadata
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import minicnn
from minicnn.learn.exercises import TASKS
from minicnn.learn.grader import check

try:
    HAS_TBB = bool(importlib.metadata.version("tbb"))
except importlib.metadata.PackageNotFoundError:
    HAS_TBB = False
WITH_TBB = pytest.mark.skipif(not HAS_TBB, reason="the package tbb is not installed; it is made for x86-64 only")

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


LAYER = """
    import numba, numpy as np, minicnn
    minicnn.ReLU().forward(np.ones((64, 1024), np.float32))
    print(numba.threading_layer())
"""


@WITH_TBB
def test_tbb_is_chosen_where_it_is_installed():
    """Its threads sleep when they have nothing to do; Numba does not find the library where pip puts it."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_THREADING_LAYER"}
    command = [sys.executable, "-c", textwrap.dedent(LAYER)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("tbb\n", "")


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


@pytest.fixture
def threads_change_often():
    """Collect garbage every few objects, and let other threads run meanwhile: also within C code that makes objects."""

    def let_others_run(*_):
        time.sleep(0)

    before = gc.get_threshold()
    gc.callbacks.append(let_others_run)
    gc.set_threshold(20)
    yield
    gc.set_threshold(*before)
    gc.callbacks.remove(let_others_run)


def test_files_are_graded_in_several_threads(threads_change_often, tmp_path):
    """Python 3.11 counts the depth of syntax trees for all threads together: of learners' files and of ours."""
    path = tmp_path / "mine.py"
    path.write_text("\n".join(task.stub() for _, task in TASKS.values()))

    def graded(name):
        _, task = TASKS[name]
        return task.arguments(), check(path, name).status

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(graded, TASKS))
    assert found == [(task.arguments(), "blank") for _, task in TASKS.values()]


FIRST_CALLS = """
    import hashlib, sys, threading
    from concurrent.futures import ThreadPoolExecutor
    import numpy as np, minicnn

    def trained(seed):
        rng = np.random.default_rng(seed)
        network = minicnn.Sequential(conv=minicnn.Conv2d(1, 4, 3, padding=1, rng=rng), bn=minicnn.BatchNorm2d(4),
                                     relu=minicnn.ReLU(), pool=minicnn.AdaptiveMaxPool2d(1), flatten=minicnn.Flatten(),
                                     fc=minicnn.Linear(4, 3, rng=rng))
        trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network))
        digest = hashlib.sha256()
        for step in range(6):
            x, y = rng.standard_normal((4, 1, 150 + step % 2, 150), np.float32), rng.integers(0, 3, 4)
            digest.update(np.float64(trainer.step(x, y)))
            digest.update(network.predict(x).tobytes())
        for array in network.state_dict().values():
            digest.update(array.tobytes())
        return digest.hexdigest()

    sys.setswitchinterval(1e-5)
    begin = threading.Barrier(4)
    def together(seed):
        begin.wait()
        return trained(seed)
    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(together, range(4)))
    print(at_once == [trained(seed) for seed in range(4)], len(set(at_once)))
"""


@pytest.mark.parametrize(
    "layer", [pytest.param("tbb", marks=WITH_TBB), "omp", pytest.param("workqueue", marks=pytest.mark.slow)]
)
def test_networks_are_trained_in_several_threads_from_the_first_call_on(layer, tmp_path):
    """Each in a thread of its own: the same bits as one after another, though all compile, and allocate, at once."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_THREADING_LAYER": layer}
    command = [sys.executable, "-c", textwrap.dedent(FIRST_CALLS)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert (ended.stdout, ended.stderr) == ("True 4\n", "")


FORK_WHILE_ANOTHER_COMPILES = """
    import os, sys, threading, time
    import numpy as np, minicnn
    from numba.core import event

    x = np.random.default_rng(0).standard_normal((2, 1, 8, 8), np.float32)
    network = minicnn.Sequential(conv=minicnn.Conv2d(1, 4, 3, rng=0), relu=minicnn.ReLU())
    compiling = threading.Event()

    class Listener(event.Listener):
        def on_start(self, event):
            compiling.set()
        def on_end(self, event):
            pass

    event.register("numba:compile", Listener())
    other = threading.Thread(target=network.predict, args=(x,))
    other.start()
    compiling.wait()
    child = os.fork()
    if not child:
        here = network.predict(x)
        os._exit(0 if np.isfinite(here).all() else 1)
    other.join()
    print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on Windows")
def test_a_child_forked_while_another_thread_compiles_can_go_on(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", textwrap.dedent(FORK_WHILE_ANOTHER_COMPILES)]
    assert _output_of_a_process_that_may_hang(command, timeout=120, env=environment) == "0\n"


def _output_of_a_process_that_may_hang(command, timeout, env=None):
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        return process.communicate(timeout=timeout)[0]
    finally:
        if process.returncode is None:  # it hangs, and so does its child
            os.killpg(process.pid, signal.SIGKILL)


FORK_WHILE_ANOTHER_HOLDS = """
    import os, sys, threading, time
    import llvmlite.binding, minicnn.backends.cpu, numba
    from numba.np.ufunc import parallel

    lock = {"llvm": llvmlite.binding.ffi.lib._lock, "threads": parallel._backend_init_thread_lock}[sys.argv[1]]
    held = threading.Event()

    def hold():
        with lock:
            held.set()
            time.sleep(0.5)

    threading.Thread(target=hold).start()
    held.wait()
    child = os.fork()
    if not child:
        numba.get_num_threads()  # takes both locks
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on Windows")
@pytest.mark.parametrize("lock", ["llvm", "threads"])
def test_a_child_is_forked_when_no_thread_is_in_llvm_or_starts_numbas_threads(lock):
    command = [sys.executable, "-c", textwrap.dedent(FORK_WHILE_ANOTHER_HOLDS), lock]
    assert _output_of_a_process_that_may_hang(command, timeout=30) == "0\n"


FORK_WHILE_ANOTHER_HOLDS_WHAT_PROCESSES_SHARE = """
    import os, threading
    import minicnn.backends.cpu, numba
    from numba.np.ufunc import parallel

    parallel._set_init_process_lock()
    held, forked = threading.Event(), threading.Event()

    def hold():
        with parallel._backend_init_process_lock:
            held.set()
            forked.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if not child:
        numba.get_num_threads()  # takes it, and gives it back
        os._exit(0)
    forked.set()
    thread.join()
    print(os.waitpid(child, 0)[1])
    numba.get_num_threads()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on Windows")
def test_a_forked_child_gives_back_the_lock_that_processes_share():
    command = [sys.executable, "-c", textwrap.dedent(FORK_WHILE_ANOTHER_HOLDS_WHAT_PROCESSES_SHARE)]
    assert _output_of_a_process_that_may_hang(command, timeout=30) == "0\n"


HANDLER = """
    import signal
    import numpy as np, minicnn

    x = np.random.default_rng(0).standard_normal((4, 3, 64, 64), np.float32)
    network = minicnn.SimpleNet(rng=0)
    there = network.predict(x)
    done = []
    signal.signal(signal.SIGALRM, lambda *_: done.append(np.array_equal(network.predict(x), there)))
    for milliseconds in range(60):
        signal.setitimer(signal.ITIMER_REAL, milliseconds % 12 / 1000 + 1e-4)
        assert np.array_equal(network.predict(x), there)
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(all(done), len(done) > 3)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no such timers on Windows")
def test_the_handler_of_a_signal_may_predict():
    """It runs in the midst of whatever the main thread is doing, a prediction as well."""
    command = [sys.executable, "-c", textwrap.dedent(HANDLER)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ended.stdout, ended.stderr) == ("True True\n", "")
