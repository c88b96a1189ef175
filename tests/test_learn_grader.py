"""The grader against files that are broken, hostile, or right by other means; and what it says of wrong numbers."""

import json
import os
import time

import numpy as np
import pytest

from minicnn.learn.diagnosis.agreement import differing
from minicnn.learn.exercises import EXERCISES, TASKS
from minicnn.learn.grader import check, grading, running
from minicnn.learn.grader.differences import around, worst_index

TASK = "linear_weight_gradient"
EXERCISE, ASKED = TASKS[TASK]
RIGHT = EXERCISE.solution()


def hand_in(folder, code, task=TASK, text=RIGHT, seconds=20):
    """The verdict on the exercise's solution with `code` in place of the body of the task's function."""
    path = folder / "mine.py"
    if code is not None:
        body = ASKED.solution()
        head, _, _ = body.partition("    # ")
        text = text.replace(body, head + "".join(f"    {line}\n" for line in code.splitlines()) + "\n\n")
    path.write_text(text)
    before = path.read_bytes(), sorted(folder.iterdir())
    verdict = check(path, task, seconds)
    assert (path.read_bytes(), sorted(folder.iterdir())) == before, "the grader changed the learner's folder"
    return verdict


def test_the_harness_itself_passes_what_is_right(tmp_path):
    verdict = hand_in(tmp_path, "return dy.T @ x")
    assert verdict.passed, str(verdict)


# (the function's body, what status, a piece of what must be said)
HOSTILE = {
    "endless loop": ("while True: pass", "broken", "did not come to an end within"),
    "endless sleep": ("import time\ntime.sleep(1e6)", "broken", "did not come to an end within"),
    "os._exit(0)": ("import os\nos._exit(0)", "broken", "your code ended the process"),
    "os._exit(7)": ("import os\nos._exit(7)", "broken", "ended with status 7"),
    "sys.exit": ("import sys\nsys.exit(0)", "broken", "SystemExit"),
    "kills itself": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "broken", "killed by SIGKILL"),
    "segmentation fault": ("import ctypes\nctypes.string_at(0)", "broken", "killed by SIGSEGV"),
    "endless recursion": ("return linear_weight_gradient(dy, x)", "broken", "RecursionError"),
    "all memory": ("block = []\nwhile True: block.append(bytearray(1 << 28))", "broken", "MemoryError"),
    "a huge array": ("import numpy\nreturn numpy.ones((1 << 20, 1 << 20))", "broken", "MemoryError"),
    "floods the output": ("while True: print('x' * 10000)", "broken", "OSError"),
    "a file without end": (
        "with open('big', 'wb') as f:\n    while True: f.write(bytes(1 << 20))",
        "broken",
        "OSError",
    ),
    "raises": ("raise ValueError('no idea')", "broken", "ValueError: no idea"),
    "raises BaseException": ("raise KeyboardInterrupt", "broken", "KeyboardInterrupt"),
    "an undefined name": ("return dwieght", "broken", "NameError: name 'dwieght' is not defined"),
    "a division by zero": ("return dy.T @ x / (1 // 0)", "broken", "ZeroDivisionError"),
    "returns None": ("dweight = dy.T @ x", "broken", "is there a `return`?"),
    "returns a string": ("return 'right'", "broken", "expected dweight to be an array of numbers, got str"),
    "returns a ragged list": ("return [[1, 2], [3]]", "broken", "ragged list"),
    "returns an object that lies": (
        "class Liar(list):\n    def __eq__(self, other): return True\nreturn Liar()",
        "wrong",
        "Its shape should be (3, 4), and is (0,)",
    ),
    "an array that says it is equal": (
        "import numpy\nclass Yes(numpy.ndarray):\n    def __eq__(self, other): return True\n"
        "    def __sub__(self, other): return numpy.zeros(self.shape)\nreturn (2 * dy.T @ x).view(Yes)",
        "wrong",
        "Your dweight is the right one times 2.",
    ),
    "NaN": ("import numpy\nreturn numpy.full((dy.shape[1], x.shape[1]), numpy.nan)", "wrong", "NaN in your dweight"),
    "infinity": ("return (dy.T @ x) / 0.0", "wrong", "infinity"),
    "wrong shape": ("return (dy.T @ x)[:1]", "wrong", "Its shape should be (3, 4), and is (1, 4)."),
    "complex numbers": ("return (dy.T @ x) * (1 + 0j)", "broken", "expected dweight to be an array of numbers"),
    "zeros": ("return 0 * (dy.T @ x)", "wrong", "Your dweight is all 0."),
    "float32": ("return (dy.astype('f').T @ x.astype('f')) + 1e-7", "wrong", "a float32 array on the way"),
    "writes into dy": ("out = dy.T @ x\ndy *= 2\nreturn out", "wrong", "it changed its argument dy"),
    "the framework's own": (
        "from minicnn.backends import reference\nreturn reference.linear_weight_gradient(dy, x)",
        "broken",
        "The framework's own linear_weight_gradient",
    ),
    "the framework's layer": (
        "import numpy, minicnn\nlayer = minicnn.Linear(x.shape[1], dy.shape[1]).to('reference', numpy.float64)\n"
        "layer.forward(x)\nlayer.backward(dy)\nreturn layer.grads['weight']",
        "broken",
        "The framework's own linear_weight_gradient",
    ),
    "prints a verdict": ("print('passed')\nreturn dy.T @ x * 2", "wrong", "Your dweight is the right one times 2."),
    "writes the results itself": (
        "import os, json, numpy\nfrom safetensors.numpy import save_file\n"
        "report = {'cases': [], 'calls': {'calls': 12, 'first_line': 1, 'ours': None}}\n"
        "save_file({}, 'results.safetensors', {'report': json.dumps(report)})\nos._exit(0)",
        "broken",
        "it gave no result",
    ),
    "writes junk as results": (
        "import os\nopen('results.safetensors', 'w').write('passed')\nos._exit(0)",
        "broken",
        "your code ended the process",
    ),
    "right for one image only": ("return dy[:1].T @ x[:1]", "wrong", "numbers of dweight are wrong"),
    "the known cases by heart": (
        "import numpy\nif dy.tolist() == [[1, -1, 2], [2, 3, -2]]: return dy.T @ x\nreturn dy.T @ x * 1.001",
        "wrong",
        "Every number of dweight is the right one times 1.001",
    ),
    "random": (
        "import numpy\nreturn numpy.random.rand(dy.shape[1], x.shape[1])",
        "wrong",
        "numbers of dweight are wrong",
    ),
    "deletes its folder": ("import shutil\nshutil.rmtree(__import__('os').getcwd())", "broken", "FileNotFoundError"),
    "an empty note of what it does": ("import os\nopen('now', 'w')\nos._exit(0)", "broken", "ended the process"),
    "pipes in place of its results": (
        "import os\nos.remove('now')\nos.mkfifo('now')\nos.mkfifo('results.safetensors')\nos._exit(0)",
        "broken",
        "your code ended the process, while it was starting",
    ),
    "a device in place of its results": (
        "import os\nos.remove('now')\nos.symlink('/dev/zero', 'now')\nos.remove('printed')\n"
        "os.symlink('/dev/zero', 'printed')\nos._exit(0)",
        "broken",
        "your code ended the process",
    ),
    "a report of nonsense": (
        "import os, json, numpy\nfrom safetensors.numpy import save_file\n"
        "case = {'seed': 1, 'position': 0, 'error': [], 'kind': 3, 'changed': [99]}\n"
        "save_file({}, 'results.safetensors', {'report': json.dumps({'cases': [case], 'calls': 7})})\nos._exit(0)",
        "broken",
        "your code ended the process",
    ),
    "a report that is a list": (
        "import os\nfrom safetensors.numpy import save_file\n"
        "save_file({}, 'results.safetensors', {'report': '[1]'})\nos._exit(0)",
        "broken",
        "your code ended the process",
    ),
    "an error of ten megabytes": (
        "import os, json\nfrom safetensors.numpy import save_file\n"
        "save_file({}, 'results.safetensors', {'report': json.dumps({'error': 'long' * 2_500_000})})\nos._exit(0)",
        "broken",
        "longlonglong… (10000000 characters)",
    ),
    "a report of lists in lists": (
        "import os\nfrom safetensors.numpy import save_file\n"
        "save_file({}, 'results.safetensors', {'report': '[' * 1_000_000})\nos._exit(0)",
        "broken",
        "your code ended the process",
    ),
    "a real-time signal": ("import os\nos.kill(os.getpid(), 40)", "broken", "killed by signal 40"),
    "a thread without end": (
        "import threading, time\nthreading.Thread(target=lambda: time.sleep(1e6)).start()\nreturn dy.T @ x",
        "passed",
        "right",
    ),
    "copies of the process": ("import os\nos.fork()\nreturn dy.T @ x", "passed", "right"),
    "writes at its end": (
        "import atexit\natexit.register(lambda: open('results.safetensors', 'w').write('x'))\nreturn dy.T @ x",
        "passed",
        "right",
    ),
    "closes its output": (
        "import os, sys\nsys.stdout.close()\nos.closerange(1, 3)\nreturn dy.T @ x",
        "passed",
        "right",
    ),
    "takes back its limits": (
        "import resource\nhard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))\n"
        "with open('big', 'wb') as f:\n    while True: f.write(bytes(1 << 20))",
        "broken",
        "OSError",
    ),
    "the framework's own, unseen": (
        "import sys\nfrom minicnn.backends import reference\nsys.setprofile(None)\n"
        "return reference.linear_weight_gradient(dy, x)",
        "broken",
        "replaced the function of sys.setprofile",
    ),
    "the framework's own, in a thread": (
        "from concurrent.futures import ThreadPoolExecutor as Pool\nfrom minicnn.backends import reference\n"
        "with Pool(1) as pool: return pool.submit(reference.linear_weight_gradient, dy, x).result()",
        "broken",
        "The framework's own linear_weight_gradient",
    ),
    "tampers with NumPy": (
        "import numpy\nnumpy.isclose = numpy.allclose = numpy.array_equal = lambda *a, **k: True\nreturn dy.T @ x * 3",
        "wrong",
        "Your dweight is the right one times 3.",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_and_broken_submissions(name, tmp_path):
    code, status, said = HOSTILE[name]
    verdict = hand_in(tmp_path, code, seconds=3 if "endless" in name and "recursion" not in name else 20)
    assert verdict.status == status, str(verdict)
    assert said in str(verdict), str(verdict)
    json.dumps(verdict.as_dict())


FILES = {
    "a syntax error": ("def linear_weight_gradient(dy, x:\n", "Python cannot read the file"),
    "tabs and spaces": (
        "def linear_weight_gradient(dy, x):\n\tif 1:\n        return 1\n",
        "Python cannot read the file",
    ),
    "nested without end": ("x = " + "-" * 100_000 + "1", "nested too deeply"),
    "a sum without end": ("x = " + "1 + " * 100_000 + "1", "nested too deeply"),
    "a null byte": ("x = '\0'", "Python cannot read the file"),
    "an empty file": ("", "has no function linear_weight_gradient"),
    "another name": ("def linear_weights(dy, x): return 1", "has no function linear_weight_gradient"),
    "no function": ("linear_weight_gradient = 3", "has no function linear_weight_gradient"),
    "an error on import": ("import nonsense_that_is_not_there", "ModuleNotFoundError"),
    "ends on import": ("import os; os._exit(0)", "your code ended the process, while it was reading the file"),
    "loops on import": ("while True: pass", "did not come to an end"),
    "the framework's function under its name": (
        "from minicnn.backends.reference import linear_weight_gradient",
        "The framework's own linear_weight_gradient",
    ),
    "no parameters": ("def linear_weight_gradient(): return 1", "TypeError: linear_weight_gradient() takes 0"),
    "a class": (
        "class linear_weight_gradient:\n    def __init__(self, dy, x): pass",
        "got linear_weight_gradient of object",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_broken_files(name, tmp_path):
    text, said = FILES[name]
    verdict = hand_in(tmp_path, None, text=text, seconds=3 if "loops" in name else 20)
    assert verdict.status == "broken"
    assert said in str(verdict), str(verdict)


def test_files_that_are_no_text(tmp_path):
    assert "there is no file" in str(check(tmp_path / "none.py", TASK))
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as text" in str(check(tmp_path / "binary.py", TASK))
    (tmp_path / "folder.py").mkdir()
    assert "cannot be read as text" in str(check(tmp_path / "folder.py", TASK))
    (tmp_path / "large.py").write_text(RIGHT + "#" * grading.LARGEST_FILE)
    assert "is larger than 1048576 bytes" in str(check(tmp_path / "large.py", TASK))
    with pytest.raises(KeyError):
        check(tmp_path / "none.py", "no_such_task")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_what_never_ends_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "zeros.py").symlink_to("/dev/zero")
    for name in ("pipe.py", "zeros.py"):
        assert "cannot be read as text: it is no file" in str(check(tmp_path / name, TASK))


def test_the_code_runs_on_a_copy_of_its_file(tmp_path):
    verdict = hand_in(tmp_path, "open(__file__, 'w').close()\nreturn dy.T @ x")  # it looks whether the file is the same
    assert verdict.passed


def test_settings_of_the_shells_python_do_not_matter(tmp_path, monkeypatch):
    folder = tmp_path / "a folder’s “name” with 'quotes'"
    folder.mkdir()
    (folder / "numpy.py").write_text("raise RuntimeError('not the real one')")
    monkeypatch.chdir(folder)
    for name, value in (("PYTHONWARNINGS", "error"), ("PYTHONINSPECT", "1"), ("PYTHONUTF8", "0"), ("LC_ALL", "C")):
        monkeypatch.setenv(name, value)
    verdict = hand_in(folder, "import warnings\nwarnings.warn('old')\nprint('×')\nreturn dy.T @ x")
    assert verdict.passed, str(verdict)
    assert "×" in verdict.printed


def test_what_python_warns_of_is_no_error(tmp_path):
    code = "import re\nre.compile('\\d')\nreturn dy.T @ x"  # in pytest warnings are errors
    assert hand_in(tmp_path, code).passed


def test_lines_without_end_are_cut(tmp_path):
    long = "x" * 100_000
    for code in (f"return {long}", f"return {long} (", f"raise ValueError('{long}')"):
        assert len(str(hand_in(tmp_path, code))) < 4000


def test_a_file_as_editors_on_windows_write_it(tmp_path):
    (tmp_path / "mine.py").write_bytes(b"\xef\xbb\xbf" + RIGHT.replace("\n", "\r\n").encode())
    assert check(tmp_path / "mine.py", TASK).passed


@pytest.mark.parametrize(
    "daemon",
    [
        False,
        pytest.param(
            True,
            marks=pytest.mark.skipif(
                not os.path.exists("/proc/self/environ"), reason="what has left its session is found on Linux only"
            ),
        ),
    ],
)
def test_what_it_started_is_ended_with_it(daemon, tmp_path):
    mark = tmp_path / "alive"
    code = (
        "import subprocess, sys\n"
        f'loop = "import time, pathlib\\nwhile True: pathlib.Path({str(mark)!r}).touch(); time.sleep(0.02)"\n'
        f"subprocess.Popen([sys.executable, '-c', loop], start_new_session={daemon})\nreturn dy.T @ x"
    )
    folder = tmp_path / "work"
    folder.mkdir()
    assert hand_in(folder, code).passed
    time.sleep(0.2)
    mark.unlink(missing_ok=True)
    time.sleep(0.3)
    assert not mark.exists()


def test_the_learners_process_starts_in_a_folder_of_its_own_without_input(tmp_path):
    code = "import os, sys\nassert sys.stdin.read() == ''\nopen('scratch', 'w').write('x')\nreturn dy.T @ x"
    assert hand_in(tmp_path, code).passed
    assert not os.path.exists("scratch")


def test_what_the_code_prints_is_handed_on_and_cut(tmp_path):
    verdict = hand_in(tmp_path, "print('dy is', dy.shape)\nreturn dy.T @ x")
    assert verdict.passed
    assert verdict.printed.startswith("dy is (2, 3)\n")
    verdict = hand_in(tmp_path, "print('x' * 100000)\nreturn dy.T @ x")
    assert verdict.passed
    assert len(verdict.printed) == running.PRINTED


def test_other_ways_to_be_right(tmp_path):
    loops = (
        "import numpy\nout = numpy.zeros((dy.shape[1], x.shape[1]))\nfor n in range(len(x)):\n"
        "    for k in range(dy.shape[1]):\n        for d in range(x.shape[1]): out[k, d] += dy[n, k] * x[n, d]\n"
        "return out"
    )
    for code in (
        loops,
        "return (dy.T @ x).tolist()",
        "return -((-dy).T @ x)",
        "f = lambda a, b: a.T @ b\nreturn f(dy, x)",
    ):
        verdict = hand_in(tmp_path, code)
        assert verdict.passed, str(verdict)


def test_compiled_functions_are_seen_to_be_the_learners(tmp_path):
    exercise, _ = TASKS["to_weights"]
    path = tmp_path / "mine.py"
    path.write_text(exercise.solution())
    assert check(path, "to_weights").passed
    path.write_text(exercise.solution().replace("from numba import njit as serial", "serial = lambda f: f"))
    assert check(path, "to_weights").passed
    own = "from minicnn.backends.cpu.convolution.plain import _to_weights as own\n"
    path.write_text(own + "def to_weights(dy, x, s, p, dw): own(dy, x, s, p, dw)")
    assert "The framework's own _to_weights" in str(check(path, "to_weights"))
    path.write_text(path.read_text().replace("def to", "from numba import njit\n@njit\ndef to"))
    assert "The framework's own _to_weights" in str(check(path, "to_weights"))
    outside = exercise.solution().replace("r, s = p", "r, s = 99 + p").replace("if 0 <= r", "if r >= 0 or 0 <= r")
    path.write_text(outside)
    assert "IndexError" in str(check(path, "to_weights"))
    path.write_text("from minicnn.backends.cpu.convolution.plain import _to_weights as to_weights")
    assert "framework's own" in str(check(path, "to_weights"))


def test_blanks_are_no_mistakes(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(EXERCISES[6].stub())
    verdict = check(path, "conv2d_weight_gradient")
    assert verdict.status == "blank"
    assert "`...` in line" in verdict.headline
    text = EXERCISES[6].solution()
    path.write_text(text.replace("view += np.einsum", "view[...] += np.einsum"))  # this `...` is code
    assert check(path, "conv2d_input_gradient").passed


def test_the_worst_number_and_what_lies_around_it():
    expected = np.arange(30.0).reshape(1, 5, 6)
    got = expected.copy()
    got[0, 2, 3] = -7
    index = worst_index(expected, got)
    assert index == (0, 2, 3)
    text = around(expected, got, index)
    assert text.splitlines()[3].split() == ["13", "14", "[15]", "16", "17", "|", "13", "14", "[-7]", "16", "17"]
    assert len(text.splitlines()) == 6
    got[0, 0, 0] = np.nan
    assert worst_index(expected, got) == (0, 0, 0)
    assert around(np.array(1.0), np.array(2.0), worst_index(np.array(1.0), np.array(2.0))) == ""
    assert "[-7]" in around(np.arange(3.0), np.array([0, -7.0, 2]), (1,))


CALLABLES = {
    "a partial": "from functools import partial\n"
    "linear_weight_gradient = partial(lambda scale, dy, x: scale * dy.T @ x, 1)",
    "an object": "class Gradient:\n    def __call__(self, dy, x): return dy.T @ x\nlinear_weight_gradient = Gradient()",
    "a dataclass with postponed annotations": "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    "@dataclass\nclass Gradient:\n    scale: float = 1.0\n    def of(self, dy, x): return self.scale * dy.T @ x\n"
    "linear_weight_gradient = Gradient().of",
    "a function of a module beside it": "from beside import product\n"
    "def linear_weight_gradient(dy, x): return product(dy.T, x)",
}


@pytest.mark.parametrize("name", CALLABLES)
def test_what_can_be_called_is_an_answer(name, tmp_path):
    (tmp_path / "beside.py").write_text("def product(a, b): return a @ b")
    verdict = hand_in(tmp_path, None, text=CALLABLES[name])
    assert verdict.passed, str(verdict)


def test_modules_beside_the_exercise_stand_behind_pythons_own(tmp_path):
    (tmp_path / "numpy.py").write_text("raise RuntimeError('not the real one')")
    assert hand_in(tmp_path, "import numpy\nreturn numpy.dot(dy.T, x)").passed
    (tmp_path / "helper.py").write_text("def product(a, b):\n    return a @ b @ a")
    verdict = hand_in(tmp_path, "from helper import product\nreturn product(dy.T, x)")
    assert "line 2 of helper.py, in product" in str(verdict)


def test_numbers_that_differ_are_not_written_alike():
    expected, got = np.array([1.23456789, 2]), np.array([1.23456799, 2])
    table = around(expected, got, (0,))
    assert table.splitlines()[1].split() == ["[1.2345679]", "2", "|", "[1.234568]", "2"]
    assert differing(expected, got).tolist() == [True, False]
