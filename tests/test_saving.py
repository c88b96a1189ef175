"""Saving: through links, with the modes that were there, whole or not at all, and nothing left behind."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn.io.files import PREFIX, require_writable, write_whole
from minicnn.io.safetensors import read_safetensors, write_safetensors
from minicnn.training.checkpoint import load_run, save_run

ROOT = Path(minicnn.__file__).parent.parent
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes, pipes and signals are those of Unix")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": "1"}
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def child(code, *arguments, **options):
    """A process that runs `code`."""
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=ENVIRONMENT, **options)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def weights(seed=0):
    return {"w": np.random.default_rng(seed).standard_normal((30, 40), np.float32)}


# Everything that writes a file, as a function of its path.
WRITERS = {
    "weights": lambda path: minicnn.save_weights(minicnn.SimpleNet(2, 1, rng=0), path),
    "a run": lambda path: trained(checkpoint=path),
    "a recording": lambda path: trained(record=path),
    "a classifier": lambda path: minicnn.Classifier(minicnn.SimpleNet(2, 1, rng=0), "ab", [0], [1]).save(path),
    "a page": lambda path: minicnn.inspect.inspect(
        minicnn.SimpleNet(2, 1, rng=0), np.ones((1, 4, 4), np.float32), 0, path=path
    ),
}


def trained(**options):
    network = minicnn.Sequential(flat=minicnn.Flatten(), fc=minicnn.Linear(4, 2, rng=0)).to("reference")
    optimizer = minicnn.SGD(network, lr=0.1)
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), optimizer, fuse=False, quiet=True, **options)
    trainer.fit([(np.ones((2, 1, 2, 2), np.float32), np.array([0, 1]))])
    return trainer


# Links, modes, devices, pipes


@pytest.mark.parametrize("name", WRITERS)
def test_a_link_stays_and_what_it_points_to_is_written(tmp_path, name):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "file").write_text("old")
    (tmp_path / "middle").symlink_to("disk/file")
    (tmp_path / "link").symlink_to(tmp_path / "middle")
    WRITERS[name](tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "middle").is_symlink()
    assert (tmp_path / "disk" / "file").read_bytes() == (tmp_path / "link").read_bytes() != b"old"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["disk", "file", "link", "middle"]


def test_a_link_to_nothing_yet_makes_what_it_points_to(tmp_path):
    (tmp_path / "link").symlink_to("file")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_links_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for write in (require_writable, lambda path: write_whole(path, b"new")):
        with pytest.raises(OSError, match=r"links.*/a"):
            write(tmp_path / "a")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("before", [0o600, 0o640, 0o666, 0o755])
def test_the_mode_of_a_file_is_kept(tmp_path, name, before):
    (tmp_path / "file").write_text("old")
    (tmp_path / "file").chmod(before)
    WRITERS[name](tmp_path / "file")
    assert mode(tmp_path / "file") == before


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_a_new_file_gets_the_usual_mode(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "file", b"new")
    finally:
        os.umask(before)
    assert mode(tmp_path / "file") == 0o666 & ~mask


@pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")
def test_the_owner_of_a_file_is_kept(tmp_path):
    (tmp_path / "file").write_text("old")
    os.chown(tmp_path / "file", 1234, 5678)
    write_whole(tmp_path / "file", b"new")
    status = os.stat(tmp_path / "file")
    assert (status.st_uid, status.st_gid) == (1234, 5678)


KILLED_WHILE_SAVING = """
import os, signal, sys
from minicnn.io.files import write_whole
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
write_whole(sys.argv[1], b"new")
"""


def test_a_private_file_is_private_while_it_is_written(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "file").chmod(0o600)
    assert child(KILLED_WHILE_SAVING, tmp_path / "file").wait() == -signal.SIGKILL
    assert [mode(path) for path in tmp_path.iterdir()] == [0o600, 0o600]  # the file, and the piece that was left


def device(folder):
    """A path that means a null device, of which only this test knows where it may be."""
    if not IS_ROOT:
        (folder / "null").symlink_to("/dev/null")
    else:
        try:
            os.mknod(folder / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        except OSError:
            pytest.skip("no devices can be made here")
    return folder / "null"


@pytest.mark.parametrize("name", WRITERS)
def test_a_device_stays_a_device(tmp_path, name):
    path = device(tmp_path)
    WRITERS[name](path)
    assert stat.S_ISCHR(path.stat().st_mode)
    assert os.listdir(tmp_path) == ["null"]


@pytest.mark.parametrize("name", ["weights", "a classifier", "a page"])
def test_a_pipe_gets_the_whole_file(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    WRITERS[name](tmp_path / "file")
    with open(tmp_path / "read", "wb") as read:
        reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=read)
    require_writable(tmp_path / "pipe")  # the reader does not take this for the end
    WRITERS[name](tmp_path / "pipe")
    assert reader.wait(timeout=60) == 0
    assert (tmp_path / "read").read_bytes() == (tmp_path / "file").read_bytes()
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="there is no /dev/stdout here")
def test_standard_output_is_added_to(tmp_path):
    code = "import minicnn.io.files; minicnn.io.files.write_whole('/dev/stdout', b'new')"
    (tmp_path / "log").write_text("old ")
    with open(tmp_path / "log", "ab") as log:
        assert child(code, stdout=log).wait() == 0
    assert (tmp_path / "log").read_text() == "old new"
    assert child(code, stdout=subprocess.PIPE).communicate()[0] == b"new"


# Places that cannot be written


def read_only_folder(folder):
    """A folder in which not even root makes files, or None."""
    if not IS_ROOT:
        folder.chmod(0o555)
        return folder
    return Path("/sys") if Path("/sys/kernel").is_dir() else None


PLACES = {
    "a folder": lambda folder: folder,
    "a missing folder": lambda folder: folder / "nowhere" / "file",
    "below a file": lambda folder: folder / "file" / "file",
    "a read-only folder": lambda folder: (read_only_folder(folder) or pytest.skip("there is none")) / "file",
    "a socket": lambda folder: folder / "socket",
}


@pytest.mark.parametrize("what", ["require_writable", *WRITERS])
@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_cannot_be_written_is_named(tmp_path, monkeypatch, place, what):
    (tmp_path / "file").write_text("old")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)  # a socket's path must be short
        listening.bind("socket")
    path = PLACES[place](tmp_path)
    with pytest.raises(OSError, match=re.escape(str(path))) as raised:
        (require_writable if what == "require_writable" else WRITERS[what])(path)
    assert raised.value.filename == str(path)
    assert sorted(os.listdir(tmp_path)) == ["file", "socket"]
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.skipif(IS_ROOT, reason="root may write to every file")
def test_a_write_protected_file_is_not_replaced(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "file").chmod(0o444)
    for write in (require_writable, lambda path: write_whole(path, b"new")):
        with pytest.raises(PermissionError, match="write-protected"):
            write(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("option", ["checkpoint", "record"])
def test_a_place_that_cannot_be_written_is_said_before_training(tmp_path, option):
    network = minicnn.Sequential(flat=minicnn.Flatten(), fc=minicnn.Linear(4, 2, rng=0)).to("reference")
    for path in (tmp_path, tmp_path / "nowhere" / "file", "/sys/file"):
        with pytest.raises(OSError, match=re.escape(str(path))):
            minicnn.Trainer(
                network, minicnn.CrossEntropyLoss(), minicnn.SGD(network, lr=0.1), quiet=True, **{option: path}
            )


def test_asking_leaves_no_trace(tmp_path):
    require_writable(tmp_path / "new")
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").write_text("old")
    before = os.stat(tmp_path / "file")
    require_writable(tmp_path / "file")
    assert os.stat(tmp_path / "file") == before
    assert os.listdir(tmp_path) == ["file"]


# Full disks


def test_a_file_larger_than_the_limit_is_named(tmp_path):
    write_safetensors(tmp_path / "file", weights(0))
    old = (tmp_path / "file").read_bytes()
    code = """
import errno, resource, sys
import numpy as np
from minicnn.io.safetensors import write_safetensors
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    write_safetensors(sys.argv[1], {"w": np.zeros(5000)})
except OSError as error:
    assert (error.errno, error.filename) == (errno.EFBIG, sys.argv[1]), error
    assert "too large" in str(error) and sys.argv[1] in str(error), error
    print("said")
"""
    assert child(code, tmp_path / "file", stdout=subprocess.PIPE).communicate()[0] == b"said\n"
    assert (tmp_path / "file").read_bytes() == old
    assert os.listdir(tmp_path) == ["file"]


@pytest.fixture
def small_disk(tmp_path):
    """A folder that is a disk of 64 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if not IS_ROOT or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a disk can be mounted by root alone, and not everywhere")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_named_and_keeps_the_old_file(small_disk, name):
    (small_disk / "file").write_text("old")
    (small_disk / "filling").write_bytes(bytes(60_000))
    with pytest.raises(OSError, match=r"No space left on device: '.*/file'") as raised:
        WRITERS[name](small_disk / "file")
    assert raised.value.filename == str(small_disk / "file")
    assert (small_disk / "file").read_text() == "old"
    assert sorted(os.listdir(small_disk)) == ["file", "filling"]


def test_a_disk_that_is_full_already_is_said_before_the_work(small_disk):
    subprocess.run(["cp", "/dev/zero", small_disk / "filling"], capture_output=True)  # until there is no room
    with pytest.raises(OSError, match=r"No space left on device: '.*/file'"):
        require_writable(small_disk / "file")
    assert os.listdir(small_disk) == ["filling"]


# Killed runs

SAVE_ON_AND_ON = """
import os, random, signal, sys, time
import numpy as np
from minicnn.io.safetensors import read_safetensors, write_safetensors

path, kills, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
contents = [{"w": np.full(200_000, value, np.float32)} for value in (1, 2)]
write_safetensors(path, contents[0])
rng = random.Random(seed)
most = 0
for _ in range(kills):
    saver = os.fork()
    if not saver:
        while True:
            for content in contents:
                write_safetensors(path, content)
    time.sleep(rng.uniform(0, 0.02))
    os.kill(saver, signal.SIGKILL)
    os.waitpid(saver, 0)
    arrays, _ = read_safetensors(path)
    assert arrays["w"].min() == arrays["w"].max() and arrays["w"][0] in (1, 2)
    most = max(most, len(os.listdir(os.path.dirname(path))) - 1)
print(most, "pieces at most")
"""


def test_killed_runs_leave_a_whole_file_and_the_next_save_tidies_up(tmp_path):
    process = child(SAVE_ON_AND_ON, tmp_path / "file", 60, 0, stdout=subprocess.PIPE, text=True)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    assert said == "1 pieces at most\n"  # else none was killed in the middle, and this test has shown nothing
    write_safetensors(tmp_path / "file", weights())
    assert os.listdir(tmp_path) == ["file"]


SAVE_AFTER_A_LINE = """
import os, sys
from minicnn.io.files import write_whole
fsync = os.fsync
def delayed(descriptor):
    print("writing", flush=True)
    sys.stdin.readline()
    fsync(descriptor)
os.fsync = delayed
write_whole(sys.argv[1], b"slow")
"""


@pytest.mark.parametrize("other", ["slow", "quick"])
def test_what_a_running_process_is_writing_is_left_alone(tmp_path, other):
    process = child(SAVE_AFTER_A_LINE, tmp_path / "slow", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    write_whole(tmp_path / other, b"quick")
    assert len(os.listdir(tmp_path)) == 2
    process.communicate("go on\n", timeout=60)
    assert process.returncode == 0
    assert (tmp_path / "slow").read_bytes() == b"slow"
    assert sorted(os.listdir(tmp_path)) == sorted({"slow", other})


SAVE_TOGETHER = """
import os, sys
import numpy as np
from minicnn.io.safetensors import write_safetensors
for number in range(150):
    write_safetensors(sys.argv[1 + number % 2], {"w": np.full(1000, number, np.float32)})
"""


def test_many_runs_save_into_one_folder(tmp_path):
    processes = [child(SAVE_TOGETHER, tmp_path / "shared", tmp_path / f"own {n}") for n in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    assert sorted(os.listdir(tmp_path)) == ["own 0", "own 1", "own 2", "own 3", "shared"]
    for path in tmp_path.iterdir():
        assert len(read_safetensors(path)[0]["w"]) == 1000


def test_threads_save_into_one_file(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: write_safetensors(tmp_path / "file", weights(seed)), range(100)))
    assert os.listdir(tmp_path) == ["file"]
    read_safetensors(tmp_path / "file")


def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path):
    write_whole(tmp_path / ("n" * 255), b"new")
    assert os.listdir(tmp_path) == ["n" * 255]


def test_files_of_others_that_are_called_like_pieces_stay(tmp_path):
    (tmp_path / f"{PREFIX}folder").mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "mine")
    os.mkfifo(tmp_path / f"{PREFIX}pipe")
    (tmp_path / "mine").write_text("mine")
    before = sorted(os.listdir(tmp_path))
    write_whole(tmp_path / "mine", b"new")
    assert sorted(os.listdir(tmp_path)) == before


# The same content, the same bytes

SAVE_ALL = """
import sys
import numpy as np
from tests.test_saving import WRITERS
for name in ("weights", "a classifier", "a recording", "a page"):
    WRITERS[name](f"{sys.argv[1]}/{name}")
"""


def test_the_same_content_gives_the_same_bytes_in_every_process(tmp_path):
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
        process = subprocess.Popen([sys.executable, "-c", SAVE_ALL, folder], env=ENVIRONMENT, cwd=ROOT)
        assert process.wait(timeout=120) == 0
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes(), path.name


def test_the_order_of_names_does_not_matter(tmp_path):
    arrays = {"b": np.ones(3, np.float32), "a": np.zeros(2, np.int64), "c": np.ones((), np.float64)}
    metadata = dict.fromkeys("hgfedcba", "text")
    write_safetensors(tmp_path / "one", arrays, metadata)
    write_safetensors(tmp_path / "other", dict(reversed(list(arrays.items()))), dict(reversed(list(metadata.items()))))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_numbers_of_numpy_are_kept_in_a_run(tmp_path):
    run = {"lr": np.float32(0.5), "epoch": np.int64(3), "best": {"better": np.bool_(True)}, "history": [np.float64(2)]}
    save_run(tmp_path / "run", {}, run)
    assert load_run(tmp_path / "run")[1] == {"lr": 0.5, "epoch": 3, "best": {"better": True}, "history": [2.0]}
    with pytest.raises(TypeError, match="got ndarray"):
        save_run(tmp_path / "run", {}, {"lr": np.zeros(2)})
