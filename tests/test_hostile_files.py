"""Files that were made to take all memory or all time, or to run code: each ends in a ValueError, soon.

Each is read by a process of its own that may take 1 GiB more than it had, and 30 seconds.
"""

import gzip
import io
import itertools
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import tarfile
import time
import traceback
import zlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import minicnn
from minicnn.data import ImageFolder, load_cifar10, load_fashion_mnist
from minicnn.inspect import load_recording
from minicnn.learn.practice.comparison import load as load_functions
from minicnn.training.checkpoint import load_run
from minicnn.verify.compare.recording import load as load_comparison
from tests.test_data import CIFAR_FILES

MEMORY, SECONDS = 1 << 30, 30
ROOT = Path(minicnn.__file__).parent.parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is that of Linux")


# safetensors


def write_header(path, text, data=b""):
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def of_2_to_the_40_bytes(path):
    """A sound file whose zeros take no place on the disk."""
    entry = {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}
    write_header(path, json.dumps({"w": entry}).encode())
    os.truncate(path, path.stat().st_size + 2**40)


def of_lists(path):
    """A header that takes 20 times its own memory."""
    write_header(path, b'{"a":[' + b"[]," * 5_000_000 + b"1]}")


def classifier(names, weights, format_="minicnn classifier 2"):
    """A function that writes a classifier's file without minicnn, with these names and weights."""

    def write(path):
        network = {"name": "SimpleNet", "num_classes": len(names), "in_channels": 1}
        description = {"network": network, "class_names": names, "mean": [0], "std": [1], "max_side": None}
        arrays = minicnn.SimpleNet(2, 1, rng=0).state_dict() | weights
        safetensors.numpy.save_file(arrays, path, {"format": format_, "classifier": json.dumps(description)})

    return write


def of_many_channels(path):
    network = {"name": "SimpleNet", "num_classes": 2, "in_channels": 4_000_000}
    description = {"network": network, "class_names": ["a", "b"], "mean": [0] * 4_000_000, "std": [1], "max_side": None}
    arrays = minicnn.SimpleNet(2, 1, rng=0).state_dict()
    safetensors.numpy.save_file(arrays, path, {"format": "minicnn classifier 2", "classifier": json.dumps(description)})


def with_text(metadata_key, format_, text):
    def write(path):
        safetensors.numpy.save_file({"a": np.zeros(1)}, path, {"format": format_, metadata_key: text()})

    return write


READERS = {
    "weights": lambda path: minicnn.load_weights(minicnn.SimpleNet(2, 1), path),
    "a run": load_run,
    "a classifier": minicnn.Classifier.load,
    "a recording": load_recording,
    "a comparison": load_comparison,
}
DESCRIPTIONS = {
    "a run": ("run", "minicnn run 1"),
    "a classifier": ("classifier", "minicnn classifier 2"),
    "a recording": ("recording", "minicnn recording 1"),
    "a comparison": ("comparison", "minicnn comparison 1"),
}
SAFETENSORS = {
    "2**40 bytes": of_2_to_the_40_bytes,
    "a header of lists": of_lists,
    "a header of 20 MB": lambda path: write_header(path, b" " * 20_000_000),
    "a header of 2**40 bytes": lambda path: path.write_bytes((2**40).to_bytes(8, "little") + b"{}"),
    "a name of 10 MB": lambda path: write_header(path, b'{"' + b"a" * 10_000_000 + b'":3}'),
}


# gzip and tar


SOME_ZEROS = gzip.compress(bytes(1 << 26), 1)


def zeros(n_bytes, start=b""):
    """`start` and then n_bytes of zeros, gzipped: 5 MB for each GB."""
    return gzip.compress(start) + SOME_ZEROS * (n_bytes >> 26)


def fashion_mnist(content):
    """Writes Fashion-MNIST's files with this content of the training images."""

    def write(folder):
        idx = {"images-idx3": struct.pack(">4B3I", 0, 0, 8, 3, 2, 28, 28) + bytes(2 * 784)}
        idx["labels-idx1"] = struct.pack(">4BI", 0, 0, 8, 1, 2) + bytes(2)
        folder.mkdir()
        for prefix, (name, part) in itertools.product(("train", "t10k"), idx.items()):
            (folder / f"{prefix}-{name}-ubyte.gz").write_bytes(gzip.compress(part))
        (folder / "train-images-idx3-ubyte.gz").write_bytes(content())

    return write


IMAGES_HEADER = struct.pack(">4B3I", 0, 0, 8, 3, 5, 28, 28)
FASHION_MNIST = {
    "zeros without end": lambda: zeros(1 << 34, IMAGES_HEADER),
    "a header without end": lambda: zeros(1 << 34),
    "2**32 images": lambda: gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 28, 28)),
    "2**32 images that are there": lambda: zeros(1 << 34, struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 28, 28)),
    "pictures of 2**32 lines": lambda: zeros(1 << 34, struct.pack(">4B3I", 0, 0, 8, 3, 1, 2**32 - 1, 2**32 - 1)),
}


def cifar(content):
    def write(folder):
        folder.mkdir()
        (folder / "cifar-10-python.tar.gz").write_bytes(content())

    return write


def tar(*members):
    """A tar file of (name, content) or `TarInfo` alone, without the zeros at its end."""
    archive = io.BytesIO()
    for member in members:
        if isinstance(member, tarfile.TarInfo):
            archive.write(member.tobuf(tarfile.GNU_FORMAT))
            continue
        name, content = member
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.write(info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512))
    return archive.getvalue()


def info(name, size, kind=tarfile.REGTYPE):
    made = tarfile.TarInfo(name)
    made.size, made.type = size, kind
    return made


def sparse():
    """A sparse member that claims 2**40 bytes, as GNU tar writes it."""
    header = bytearray(tar(info("x/data_batch_1", 0, tarfile.GNUTYPE_SPARSE)))
    header[386:398], header[398:410] = b"%011o\0" % 0, b"%011o\0" % 0
    header[483:495] = b"\x80" + (2**40).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def batch(**changes):
    """A pickled batch of two images, changed."""
    content = {b"labels": [0, 1], b"data": np.zeros((2, 3072), np.uint8)}
    for key, value in changes.items():
        if value is None:
            del content[key.encode()]
        else:
            content[key.encode()] = value
    return pickle.dumps(content, protocol=2)


def archive(first, *more):
    """CIFAR-10's archive, sound but for the first batch and what comes after all."""
    sound = [(f"x/{name}", batch()) for name in CIFAR_FILES[1:]]
    return gzip.compress(tar((f"x/{CIFAR_FILES[0]}", first), *sound, *more), 1)


class Calls:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


# Of pickles that no dumps would write. A dict is open, its key b"labels" is on the stack where `}` and `U` say so.
LABELS, DATA = b"U\x06labels", b"U\x04data"


def doubling():
    """Labels that are a list of twice the same list of twice the same list …, 2**60 numbers."""
    content = b"\x80\x02}" + LABELS + b"]K\x00a"
    for place in range(60):
        content += b"q" + bytes([place]) + b"0]" + (b"h" + bytes([place]) + b"a") * 2
    return content + b"s."


ARCHIVES = {
    "zeros without end": lambda: zeros(1 << 34),
    "a member without end": lambda: zeros(1 << 34, tar(info("x/data_batch_1", 1 << 34))),
    "another member without end": lambda: zeros(1 << 34, tar(info("x/readme", 1 << 34))),
    "names without end": lambda: zeros(1 << 34, tar(info("x", 1 << 34, tarfile.GNUTYPE_LONGNAME))),
    "a pax header without end": lambda: zeros(1 << 34, tar(info("x", 1 << 34, tarfile.XHDTYPE))),
    "a member of 2**60 bytes": lambda: gzip.compress(tar(info("x/data_batch_1", 2**60))),
    "a member of -1 bytes": lambda: gzip.compress(tar(info("x/data_batch_1", -1024), info("x/data_batch_2", -1024))),
    "a sparse member": lambda: gzip.compress(sparse()),
    "100 000 members": lambda: gzip.compress(tar(("x", b"")) * 100_000),
    "long names of long names": lambda: gzip.compress(tar(info("x", 0, tarfile.GNUTYPE_LONGNAME)) * 100_000),
    "one batch twice": lambda: archive(batch(), ("y/data_batch_1", batch())),
    "200 members more": lambda: archive(batch(), *[("x/more", b"")] * 200),
}
PICKLES = {
    "2**40 bytes": lambda: b"\x80\x04}" + b"\x8e" + (2**40).to_bytes(8, "little") + b"a.",
    "a text of 2**40 bytes": lambda: b"\x80\x04}" + b"\x8d" + (2**40).to_bytes(8, "little") + b"a.",
    "a frame of 2**60 bytes": lambda: b"\x80\x04\x95" + (2**60).to_bytes(8, "little") + b"}.",
    "a bytearray of 2**40": lambda: b"\x80\x05}" + b"\x96" + (2**40).to_bytes(8, "little") + b"a.",
    "place 2**31": lambda: b"\x80\x02}r\xff\xff\xff\x7f.",
    "place 2**40": lambda: b"}p%d\n." % 2**40,
    "an array of 2**40": lambda: batch(data=Calls(np.ndarray, (2**40,))),
    "an array of 2**27": lambda: batch(data=Calls(np.ndarray, (2**27,))),
    "a reconstructed array of 2**40": lambda: batch(
        data=Calls(np.empty(0).__reduce__()[0], np.ndarray, (2**40,), b"b")
    ),
    "tuples in tuples": lambda: b"\x80\x02}" + b")" + b"\x85" * 3_000_000 + b"K\x00s.",
    "lists in lists": lambda: b"\x80\x02}" + LABELS + b"]" * 900_000 + b"a" * 899_999 + b"s.",
    "labels that double": doubling,
    "operations without end": lambda: b"\x80\x02" + b"]0" * 15_000_000 + b"}.",
    "a call": lambda: batch(data=Calls(os.system, "exit 1")),
    "a call of text": lambda: batch(data=Calls(eval, "1")),
    "a module of a megabyte": lambda: b"c" + b"a" * 1_000_000 + b"\nb\n.",
    "another encoding": lambda: b"\x80\x02c_codecs\nencode\nU\x01aU\x08punycode\x86R.",
    "a state of a class": lambda: b"cnumpy\nndarray\n}U\x01aK\x01sb.",
    "no dict": lambda: pickle.dumps([1, 2]),
    "nothing": lambda: b"",
    "no labels": lambda: batch(labels=None),
    "no data": lambda: batch(data=None),
    "labels of -1": lambda: batch(labels=[0, -1]),
    "labels of 10": lambda: batch(labels=[0, 10]),
    "labels of 2**100": lambda: batch(labels=[0, 2**100]),
    "labels of NaN": lambda: batch(labels=[0, float("nan")]),
    "labels of 0.5": lambda: batch(labels=[0, 0.5]),
    "labels of truths": lambda: batch(labels=[0, True]),
    "labels of texts": lambda: batch(labels=["0", "1"]),
    "labels as a text": lambda: batch(labels="01"),
    "labels as a number": lambda: batch(labels=3),
    "fewer labels": lambda: batch(labels=[0]),
    "three million labels": lambda: batch(labels=[0] * 3_000_000),
    "no images": lambda: batch(labels=[], data=np.zeros((0, 3072), np.uint8)),
    "data of floats": lambda: batch(data=np.zeros((2, 3072))),
    "data of objects": lambda: batch(data=np.full((2, 3072), None)),
    "data of another shape": lambda: batch(data=np.zeros((2, 3071), np.uint8)),
    "data as a list": lambda: batch(data=[[0] * 3072] * 2),
    "data as bytes": lambda: batch(data=bytes(6144)),
}


# Pictures


def png(width, height, *chunks):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(itertools.starmap(chunk, [(b"IHDR", header), *chunks, (b"IEND", b"")]))


PICTURES = {
    "2**31 pixels": lambda: png(65535, 32768, (b"IDAT", zlib.compress(b""))),
    "2**62 pixels": lambda: png(2**31 - 1, 2**31 - 1, (b"IDAT", zlib.compress(b""))),
    "a text without end": lambda: png(8, 8, (b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 28), 9))),
    "a profile without end": lambda: png(8, 8, (b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 28), 9))),
}


def pictures(content):
    def write(folder):
        (folder / "a").mkdir(parents=True)
        (folder / "a" / "picture.png").write_bytes(content())

    return write


def read_pictures(folder):
    found = ImageFolder(folder, strict=True)
    return [found[n] for n in range(len(found))]


def a_pipe(path):
    os.mkfifo(path)


def pipe_in(name):
    def write(folder):
        folder.mkdir()
        os.mkfifo(folder / name)

    return write


def a_device(path):
    path.symlink_to("/dev/zero")


# Every case: how the file is made at a path, and how it is read.
CASES = {
    **{f"{reader}, {what}": (make, READERS[reader]) for reader in READERS for what, make in SAFETENSORS.items()},
    **{f"{reader}, a pipe": (a_pipe, READERS[reader]) for reader in READERS},
    **{f"{reader}, a device": (a_device, READERS[reader]) for reader in READERS},
    **{
        f"{name}, {what}": (with_text(*of, text), READERS[name])
        for name, of in DESCRIPTIONS.items()
        for what, text in {
            "deep lists": lambda: "[" * 1_000_000,
            "deep dicts": lambda: '{"a":' * 1_000_000,
            "a text of 5 MB": lambda: json.dumps("a" * 5_000_000),
            "three million lists": lambda: json.dumps([[]] * 3_000_000),
            "digits": lambda: "1" * 5_000_000,
        }.items()
    },
    "a classifier, three million names": (
        classifier([str(n) for n in range(3_000_000)], {}),
        minicnn.Classifier.load,
    ),
    "a classifier, a million names without weights": (
        classifier([f"{n:x}" for n in range(1_000_000)], {"fc.weight": np.zeros((1_000_000, 0), np.float32)}),
        minicnn.Classifier.load,
    ),
    "a classifier, a name of 5 MB": (classifier(["a" * 5_000_000] * 2, {}), minicnn.Classifier.load),
    "a classifier, four million channels": (of_many_channels, minicnn.Classifier.load),
    **{f"Fashion-MNIST, {what}": (fashion_mnist(make), load_fashion_mnist) for what, make in FASHION_MNIST.items()},
    "Fashion-MNIST, a pipe": (pipe_in("train-images-idx3-ubyte.gz"), load_fashion_mnist),
    **{f"CIFAR-10, {what}": (cifar(make), load_cifar10) for what, make in ARCHIVES.items()},
    **{
        f"CIFAR-10, {what}": (
            cifar(lambda make=make: archive(make())),
            load_cifar10,
        )
        for what, make in PICKLES.items()
    },
    "CIFAR-10, a pipe": (pipe_in("cifar-10-python.tar.gz"), load_cifar10),
    **{f"pictures, {what}": (pictures(make), read_pictures) for what, make in PICTURES.items()},
    "a learner's file, a pipe": (
        pipe_in("01_linear.py"),
        lambda folder: load_functions(folder, ["linear_weight_gradient"]),
    ),
}


def read_all(folder):
    """Print what came of reading each case in a process of its own."""
    import resource  # of Unix alone

    for number, (name, (_, read)) in enumerate(CASES.items()):
        started = time.monotonic()
        receiving, sending = os.pipe()
        reader = os.fork()
        if not reader:
            os.close(receiving)
            used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
            signal.alarm(SECONDS)
            try:
                result = f"read: {read(folder / str(number))!r:.100}"
            except ValueError as error:
                result = f"ValueError, {len(str(error))} characters: {str(error)[:600]}"
            except BaseException:
                result = traceback.format_exc()[-2000:]
            os.write(sending, result.encode("utf-8", "backslashreplace"))
            os._exit(0)
        os.close(sending)
        with open(receiving, "rb") as received:
            said = received.read().decode()
        status = os.waitpid(reader, 0)[1]
        if os.WIFSIGNALED(status):
            said = f"ended by {signal.Signals(os.WTERMSIG(status)).name} after {time.monotonic() - started:.0f} s"
        print(json.dumps([name, said]), flush=True)


def test_the_archive_that_is_made_hostile_is_sound_otherwise(tmp_path):
    cifar(lambda: archive(batch()))(tmp_path / "sound")
    assert load_cifar10(tmp_path / "sound").train.labels.tolist() == [0, 1] * 5
    pixels = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072)
    cifar(lambda: archive(batch(data=np.asfortranarray(pixels))))(tmp_path / "in columns")
    found = load_cifar10(tmp_path / "in columns").train.images[:2]
    np.testing.assert_array_equal(found.reshape(2, 3072), pixels / np.float32(255))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    for number, (make, _) in enumerate(CASES.values()):
        make(folder / str(number))
    code = f"from pathlib import Path; from tests.test_hostile_files import read_all; read_all(Path({str(folder)!r}))"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    lines = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    return dict(map(json.loads, lines.stdout.splitlines()))


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_is_refused_soon(outcomes, name):
    assert outcomes[name].startswith("ValueError"), outcomes[name]
    n_characters = int(outcomes[name].split()[1])
    assert n_characters < 3000, outcomes[name]
