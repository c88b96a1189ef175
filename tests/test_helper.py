"""The process that helps to compile: what it does, that it is never missed, and that it is never left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from minicnn.backends.cpu.runtime import claims
from tests.test_kernel_cache import PACKAGE, command, environment, run

pytestmark = pytest.mark.skipif(not claims.CAN_CLAIM, reason="there are no such locks on Windows, and so no helper")

# `found_missing()` compiles one kernel while the steps `files` are said to have begun; returns the helper's process.
PROGRAM = """
    import os, sys
    import numpy as np, minicnn
    from minicnn.backends import cpu
    from minicnn.backends.cpu.runtime import helper
    from numba.core import event

    compiled = []
    class Listener(event.Listener):
        def on_start(self, event):
            compiled.append(event.data["dispatcher"].py_func.__module__.rpartition(".")[2])
        def on_end(self, event):
            pass
    event.register("numba:compile", Listener())

    def found_missing(*files):
        with helper.begun(lambda: {"dtype": "float32", "files": files or None}):
            minicnn.NLLLoss().forward(np.zeros((1, 2), np.float32), [0])
        return helper._helper
"""


@pytest.fixture
def python(tmp_path):
    """Starts PROGRAM with more code, its kernels in an empty folder and the helper allowed, in a session of its own."""

    def start(code, *flags, **variables):
        code = textwrap.dedent(PROGRAM) + textwrap.dedent(code)
        here = environment(tmp_path) | {"NUMBA_NUM_THREADS": "2", "MINICNN_HELPER": "1"} | variables
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, *flags, "-c", code], env=here, start_new_session=True, **pipes)

    return start


def said(process):
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    return output.split()


def ends(pid):
    """Whether the process is gone within seconds, and not a zombie."""
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.1)
    return False


several_cores = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="on one core there is no helper"
)

WAIT_AND_GO_ON = """
    process = found_missing("log_softmax", "losses")
    process.wait()
    compiled.clear()
    cpu.compile_kernels("float32", files=["log_softmax"])
    print(process.returncode, len(compiled))
"""


@several_cores
def test_what_the_helper_compiled_is_found(python):
    assert said(python(WAIT_AND_GO_ON)) == ["0", "0"]


@several_cores
def test_it_imports_what_the_program_imported(python, tmp_path):
    """Here the package is found by the program's own change of `sys.path`; and a module in the way is not imported."""
    (tmp_path / "json.py").write_text("raise SystemExit('not this one')")
    path = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r})"
    code = "\n".join([path, textwrap.dedent(PROGRAM), textwrap.dedent(WAIT_AND_GO_ON)])
    variables = {name: value for name, value in environment(tmp_path).items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        [sys.executable, "-I", "-c", code],
        env=variables | {"NUMBA_NUM_THREADS": "2", "MINICNN_HELPER": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (ended.stdout, ended.stderr) == ("0 0\n", "")


@several_cores
def test_a_helper_that_is_killed_is_not_missed(python):
    code = """
        process = found_missing("log_softmax", "losses")
        process.kill()
        process.wait()
        y = minicnn.LogSoftmax().forward(np.zeros((1, 2), np.float32))
        print(process.returncode, np.allclose(y, np.log(0.5)), os.path.exists(f"/proc/{process.pid}"))
    """
    assert said(python(code)) == [str(-signal.SIGKILL), "True", "False"]


@several_cores
def test_a_helper_that_fails_is_not_missed_and_says_nothing(python):
    code = """
        helper.PROGRAM = "import nothing_of_this_name"
        process = found_missing("log_softmax", "losses")
        process.wait()
        print(process.returncode, float(minicnn.LogSoftmax().forward(np.zeros((1, 1), np.float32))[0, 0]))
    """
    assert said(python(code)) == ["1", "0.0"]


def killed(process):
    process.kill()


def interrupted(process):
    """By Ctrl-C, which goes to all processes of a terminal."""
    os.killpg(process.pid, signal.SIGINT)


@several_cores
@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("how", [killed, interrupted])
def test_it_ends_with_the_process_that_started_it(how, python):
    process = python("print(found_missing().pid, flush=True); import time; time.sleep(60)")
    helper = int(process.stdout.readline())
    assert Path(f"/proc/{helper}").exists()
    how(process)
    process.communicate()
    assert process.returncode != 0
    assert ends(helper)


@several_cores
@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are looked up in /proc")
def test_it_ends_with_a_program_that_ends(python):
    (helper,) = said(python("print(found_missing().pid, flush=True)"))
    assert ends(helper)


ALONE = {
    "switched off": ("", {"MINICNN_HELPER": "0"}),
    "one thread": ("", {"NUMBA_NUM_THREADS": "1"}),
    "one core": ("os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})", {}),
    "frozen": ("sys.frozen = True", {}),
    "no interpreter": ("sys.executable = ''", {}),
    "another program": ("sys.executable = '/usr/bin/blender'", {}),
    "no processes": ("helper.subprocess.Popen = lambda *_, **__: (_ for _ in ()).throw(OSError)", {}),
    "forked": ("os.fork() and (os.wait(), os._exit(0))", {}),
}


@pytest.mark.parametrize("name", ALONE)
def test_where_there_is_no_helper_it_goes_on_alone(name, python):
    before, variables = ALONE[name]
    assert said(python(f"{before}\nprint(found_missing())", **variables)) == ["None"]


FORESEEN = """
    from minicnn.backends.cpu.runtime import dry_run, launch

    if sys.argv[1] == "launched":
        network = minicnn.SimpleNet(rng=0)
        trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network))
        trainer.step(np.random.default_rng(0).standard_normal((10, 3, 32, 32), np.float32), np.arange(10))
        kernels = launch._addresses
    else:
        from minicnn.backends.cpu.compile import _training_step
        with dry_run.launches_noted() as kernels:
            _training_step((10, 3, 32, 32, 16), np.dtype("float32"))
    print(*sorted(f"{kernel.__module__}.{kernel.__name__}" for kernel, _ in kernels))
"""


def test_it_foresees_the_kernels_of_a_training_step():
    """All that are launched, and no other."""

    def kernels(which):
        code = textwrap.dedent(PROGRAM) + textwrap.dedent(FORESEEN)
        return subprocess.run([sys.executable, "-c", code, which], capture_output=True, text=True, check=True).stdout

    foreseen = kernels("foreseen")
    assert len(foreseen.split()) > 10
    assert foreseen == kernels("launched")


# Claims.


def test_of_processes_that_start_at_once_one_compiles_each_kernel(tmp_path):
    digest, compiled = run(tmp_path / "alone", MINICNN_HELPER="0")
    here = environment(tmp_path / "together", MINICNN_HELPER="0")
    started = [subprocess.Popen(command(), env=here, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [process.communicate()[0].split() for process in started]
    assert {answer[0] for answer in answers} == {digest}
    assert sum(int(answer[1]) for answer in answers) == compiled


CLAIM = """
    import sys, time
    from pathlib import Path
    from minicnn.backends.cpu.runtime.claims import claimed
    with claimed(Path(sys.argv[1])):
        print("claimed", flush=True)
        time.sleep(60)
"""


@pytest.fixture
def other_process(tmp_path):
    """One that has claimed the file of a kernel."""
    code = textwrap.dedent(CLAIM)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "kernel.nbc")], env=environment(tmp_path), stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"claimed\n"
    yield process
    process.kill()
    process.communicate()


def seconds_to_claim(path):
    started = time.monotonic()
    with claims.claimed(path):
        return time.monotonic() - started


@pytest.mark.quick
def test_a_claim_ends_with_its_process(other_process, monkeypatch, tmp_path):
    monkeypatch.setattr(claims, "PATIENCE", 0.3)
    assert seconds_to_claim(tmp_path / "another.nbc") < 0.3
    assert seconds_to_claim(tmp_path / "kernel.nbc") >= 0.3  # then it goes on without
    monkeypatch.setattr(claims, "PATIENCE", 60)
    other_process.kill()
    other_process.wait()
    assert seconds_to_claim(tmp_path / "kernel.nbc") < 30


def test_where_no_file_can_be_made_nothing_is_claimed(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    assert seconds_to_claim(tmp_path / "file" / "kernel.nbc") < 30
