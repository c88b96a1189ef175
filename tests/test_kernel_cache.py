"""The compiled kernels on disk: whatever becomes of the files, a run ends with the same numbers, and mends them."""

import ast
import importlib
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import minicnn
from minicnn.backends.cpu.runtime import cache

PACKAGE = Path(minicnn.__file__).parent

# Prints a digest of a prediction, and how many kernels were compiled for it. Between importing and the first kernel,
# what stands in the argument is done.
PROGRAM = """
    import hashlib, os, resource, shutil, sys
    import numpy as np, minicnn
    from numba.core import event

    class Counter(event.Listener):
        compiled = 0
        def on_start(self, event):
            Counter.compiled += 1
        def on_end(self, event):
            pass

    event.register("numba:compile", Counter())
    dtype = sys.argv[1]
    network = minicnn.Sequential(relu=minicnn.ReLU(), out=minicnn.LogSoftmax()).to(dtype=dtype)
    exec(sys.argv[2])
    y = network.predict(np.random.default_rng(0).standard_normal((2, 5)).astype(dtype))
    print(hashlib.sha256(y.tobytes()).hexdigest(), Counter.compiled)
"""


def command(dtype="float32", before="pass"):
    return [sys.executable, "-c", textwrap.dedent(PROGRAM), dtype, before]


def environment(cache, **others):
    return os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(PACKAGE.parent)} | others


def run(cache, *arguments, **others):
    """(digest of the prediction, kernels that were compiled), by a process of its own with its kernels in `cache`."""
    ended = subprocess.run(command(*arguments), env=environment(cache, **others), capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    digest, compiled = ended.stdout.split()
    return digest, int(compiled)


def files(cache):
    return [path for path in sorted(cache.rglob("*")) if path.is_file()]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder of kernels, what is predicted with them, and how many there are."""
    cache = tmp_path_factory.mktemp("cache")
    digest, compiled = run(cache)
    assert len(files(cache)) >= compiled >= 3
    return cache, digest, compiled


def test_the_next_process_compiles_nothing(filled):
    cache, digest, _ = filled
    assert run(cache) == (digest, 0)


def emptied(path):
    path.write_bytes(b"")


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_after_ten_bytes(path):
    path.write_bytes(path.read_bytes()[:10])


def without_its_last_byte(path):
    path.write_bytes(path.read_bytes()[:-1])


def flipped(path):
    """One bit in every kilobyte, in the code as well as around it."""
    content = bytearray(path.read_bytes())
    for position in range(0, len(content), 1024):
        content[position] ^= 4
    path.write_bytes(content)


def with_one_bit_flipped(path):
    """In the middle, where the machine code is."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def of_another_program(path):
    path.write_bytes(b"\x80\x05 neither this nor a pickle\n" * 100)


def unreadable(path):
    path.chmod(0)


def a_link_to_nowhere(path):
    path.unlink()
    path.symlink_to("nowhere")


DAMAGES = (
    (emptied, flipped, a_link_to_nowhere),
    (cut_in_half, with_one_bit_flipped, of_another_program),
    (cut_after_ten_bytes, without_its_last_byte, unreadable),
)


@pytest.mark.parametrize(
    "damages",
    [DAMAGES[0], *(pytest.param(damages, marks=pytest.mark.slow) for damages in DAMAGES[1:])],
    ids=lambda damages: "-".join(damage.__name__ for damage in damages),
)
def test_damaged_files_are_compiled_and_written_anew(damages, filled, tmp_path):
    cache, digest, _ = filled
    cache = shutil.copytree(cache, tmp_path / "cache")
    for number, path in enumerate(files(cache)):
        damages[number % len(damages)](path)
    assert run(cache)[0] == digest
    assert run(cache) == (digest, 0)


def test_folders_where_the_files_should_be(filled, tmp_path):
    cache, digest, compiled = filled
    cache = shutil.copytree(cache, tmp_path / "cache")
    for path in files(cache):
        path.unlink()
        path.mkdir()
    assert run(cache) == (digest, compiled)


def test_a_file_in_another_ones_place(filled, tmp_path):
    """As after two processes that compiled at once, in Numba's own cache: whole, but the code of something else."""
    cache, digest, _ = filled
    cache = shutil.copytree(cache, tmp_path / "cache")
    paths = [path for path in files(cache) if path.suffix == ".nbc"]
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)
    assert run(cache)[0] == digest


FULL = {
    "hardly anything may be written": "resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))",
    "files end in the middle": "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, resource.RLIM_INFINITY))",
    "the folder is gone": "shutil.rmtree(os.environ['NUMBA_CACHE_DIR'])",
    "a file is where the folder was": (
        "shutil.rmtree(os.environ['NUMBA_CACHE_DIR']); open(os.environ['NUMBA_CACHE_DIR'], 'w').close()"
    ),
}


# Files that end in the middle are the worst of it: these always run.
WORST = "files end in the middle"


@pytest.mark.parametrize(
    "before",
    [pytest.param(before, marks=() if name == WORST else pytest.mark.slow, id=name) for name, before in FULL.items()],
)
def test_where_kernels_cannot_be_kept_it_goes_on_without(before, filled, tmp_path):
    _, digest, compiled = filled
    cache = tmp_path / "cache"
    assert run(cache, "float32", before) == (digest, compiled)
    if cache.is_file():
        cache.unlink()
    assert run(cache)[0] == digest  # and what was left behind does no harm
    assert run(cache) == (digest, 0)


def test_a_disk_that_is_full_to_the_last_byte(filled, tmp_path):
    """A real one: a file system of 16 KiB, in memory."""
    _, digest, compiled = filled
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a file system is mounted, which only root may; the tests with RLIMIT_FSIZE stand in")
    try:
        assert run(disk) == (digest, compiled)
        assert run(disk)[0] == digest
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_processes_that_compile_at_once(times, filled, tmp_path):
    """For other types, too: whatever the order in which they write, the next one finds the code of all, its own."""
    dtypes = ("float32", "float64") * times
    started = [
        subprocess.Popen(command(dtype), env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for dtype in dtypes
    ]
    digests = {}
    for dtype, process in zip(dtypes, started, strict=True):
        output, errors = process.communicate()
        assert (process.returncode, errors) == (0, b"")
        digests.setdefault(dtype, set()).add(output.split()[0].decode())
    assert digests["float32"] == {filled[1]}
    for dtype, found in digests.items():
        assert run(tmp_path, dtype) == (*found, 0)


def test_kernels_that_check_indices_are_kept_apart(filled, tmp_path):
    """They are several times slower: the grader asks for them, and training must not be handed them."""
    cache, digest, compiled = filled
    cache = shutil.copytree(cache, tmp_path / "cache")
    assert run(cache, NUMBA_BOUNDSCHECK="1") == (digest, compiled)
    assert run(cache, NUMBA_BOUNDSCHECK="1") == run(cache) == (digest, 0)


def test_kernels_for_another_processor_are_kept_apart(filled, tmp_path):
    """Their vectors may be of another length: NUMBA_CPU_NAME=generic is the oldest that this one can stand in for."""
    cache, digest, compiled = filled
    cache = shutil.copytree(cache, tmp_path / "cache")
    assert run(cache, NUMBA_CPU_NAME="generic")[1] == compiled
    assert run(cache, NUMBA_CPU_NAME="generic")[1] == 0
    assert run(cache) == (digest, 0)


def test_the_digest_covers_constants_from_outside_the_backend():
    covered = set(cache.sources())
    for path in covered:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("minicnn"):
                constants = [alias.name for alias in node.names if alias.name.isupper()]
                assert not constants or Path(importlib.import_module(node.module).__file__) in covered, (
                    path,
                    constants,
                )
