"""Files that are no images, or damaged ones: left out, and named."""

import io
import logging
import os
import re
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import minicnn
from minicnn.data import ByCount, ImageFolder, Loader
from minicnn.data.decode import decode
from tests.image_files import LOGGER, pixels, save


def png_header(width, height):
    """A PNG that claims a size and has no pixels."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def encoded(image, kind):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def small_folder(tmp_path, name, content):
    """Three good images, and a file."""
    for n in range(3):
        save(tmp_path / "a" / f"good{n}.png", pixels(4, 4, n))
    (tmp_path / "a" / name).write_bytes(content)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.png", b"", "it is empty"),
        ("x.png", b"text", "it is no image of a known format (PNG, JPEG, GIF, BMP, WEBP, TIFF, PPM)"),
        ("x.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is no image of a known format"),
        ("x.png", png_header(100_000, 100_000), "it has 100000 × 100000 pixels, more than max_pixels = 50000000"),
        ("x.png", png_header(12_000, 10_000), "it has 12000 × 10000 pixels"),  # here Pillow only warns
        ("x.gif", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b";", "it "),
        ("x.png", png_header(0, 5), "it is damaged"),
        ("x.png", b"\x89PNG\r\n\x1a\n", "it is damaged"),
        ("x.jpg", b"\xff\xd8\xff", "it is damaged"),
        ("x.tif", b"II*\0\xff\xff\xff\xff", "it is damaged"),
        ("x.webp", b"RIFF\xff\xff\xff\xffWEBPVP8 ", "it is damaged"),
        ("x.bmp", b"BM" + bytes(60), "it is damaged"),
    ],
)
def test_a_bad_header_is_left_out_at_once(tmp_path, caplog, name, content, reason):
    small_folder(tmp_path, name, content)
    folder = ImageFolder(tmp_path)
    assert len(folder) == 3
    [(path, said)] = folder.problems
    assert (path, said.startswith(reason)) == (tmp_path / "a" / name, True), said
    assert [record.getMessage() for record in caplog.records] == [f"{path} is left out: {said}"]
    assert folder.summary() == f"1 of 4 image files could not be read (a/{name}: {said})"
    with pytest.raises(ValueError, match=f"^{re.escape(f'ImageFolder: {path} cannot be used: {said}')}$"):
        ImageFolder(tmp_path, strict=True)


@pytest.mark.quick
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_damaged_pixels_are_left_out_when_they_are_met(tmp_path, caplog, kind):
    small_folder(tmp_path, "cut.png", encoded(pixels(40, 40), kind)[:-700])
    folder = ImageFolder(tmp_path)
    assert (len(folder), folder.problems) == (4, [])
    for _ in range(3):
        batches = list(Loader(folder, ByCount(1)))
        assert [len(images) for images, _ in batches] == [1, 1, 1]
    [(path, reason)] = folder.problems
    assert path.name == "cut.png"
    assert "truncated" in reason
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    with pytest.raises(ValueError, match=r"cut\.png cannot be used: it is damaged"):
        folder[0]
    with pytest.raises(ValueError, match=r"cut\.png cannot be used: it is damaged"):
        list(Loader(ImageFolder(tmp_path, strict=True), ByCount(2)))


def test_a_file_that_was_damaged_once_stays_out(tmp_path):
    """Otherwise it would depend on when a thread meets it which images a batch has."""
    small_folder(tmp_path, "cut.png", encoded(pixels(40, 40), "PNG")[:-700])
    folder = ImageFolder(tmp_path)
    assert folder.image(0) is None
    save(tmp_path / "a" / "cut.png", pixels(40, 40))
    assert folder.image(0) is None
    assert len(folder.problems) == 1


def test_two_threads_that_meet_a_damaged_file_at_once_name_it_once(tmp_path, caplog, monkeypatch):
    small_folder(tmp_path, "cut.png", encoded(pixels(40, 40), "PNG")[:-700])
    folder, both = ImageFolder(tmp_path), threading.Barrier(2, timeout=30)

    def decode_together(*arguments):
        both.wait()
        return decode(*arguments)

    monkeypatch.setattr("minicnn.data.folder.decode", decode_together)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(folder.image, [0, 0])) == [None, None]
    assert len(caplog.records) == 1


def test_an_image_may_have_as_many_pixels_as_allowed(tmp_path):
    save(tmp_path / "a" / "a.png", pixels(10, 10))
    assert len(ImageFolder(tmp_path, max_pixels=100, strict=True)) == 1
    with pytest.raises(ValueError, match="it has 10 × 10 pixels, more than max_pixels = 99"):
        ImageFolder(tmp_path, max_pixels=99)


def test_files_that_are_no_regular_files(tmp_path):
    """A pipe without a writer would hang whoever opens it."""
    small_folder(tmp_path, "x.png", b"")
    (tmp_path / "a" / "x.png").unlink()
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "a" / "null.png").symlink_to("/dev/zero")
    (tmp_path / "a" / "loop.png").symlink_to("loop.png")
    (tmp_path / "a" / "nowhere.png").symlink_to("nothing")
    folder = ImageFolder(tmp_path)
    assert {path.name: reason for path, reason in folder.problems} == {
        "pipe.png": "it is not a regular file",
        "null.png": "it is not a regular file",
        "loop.png": "it cannot be read (Too many levels of symbolic links)",
        "nowhere.png": "it cannot be read (No such file or directory)",
    }


def test_files_and_folders_without_permission(tmp_path):
    small_folder(tmp_path, "x.png", encoded(pixels(2, 2), "PNG"))
    (tmp_path / "a" / "x.png").chmod(0)
    if os.access(tmp_path / "a" / "x.png", os.R_OK):
        pytest.skip("this user, probably root, reads every file, whatever its permissions")
    (tmp_path / "a" / "locked").mkdir(mode=0)
    folder = ImageFolder(tmp_path)
    assert {path.name: reason for path, reason in folder.problems} == {
        "x.png": "it cannot be read (Permission denied)",
        "locked": "the folder cannot be read (Permission denied)",
    }


def test_a_tall_strip_is_an_image_like_any_other(tmp_path):
    save(tmp_path / "a" / "a.png", np.zeros((60000, 1), np.uint8))
    folder = ImageFolder(tmp_path, strict=True)
    assert folder.sizes.tolist() == [[60000, 1]]
    assert folder[0][0].shape == (3, 60000, 1)


N_BAD = 300


def write_hostile_folder(root):
    """30 good images of two classes among 300 bad files of ten kinds. Returns the names of the bad ones."""
    rng = np.random.default_rng(0)
    for name in ("dark", "light"):
        (root / name).mkdir()
        (root / name / "loop").symlink_to(root)
        (root / name / "notes.txt").write_text("not counted")
    for n in range(28):
        height, width = rng.integers(8, 40, 2)
        image = rng.integers(0, 100, (height, width, 3)) + 155 * (n % 2)
        save(root / ("dark", "light")[n % 2] / f"good{n}.{('png', 'jpg', 'webp')[n % 3]}", image.astype(np.uint8))
    save(root / "dark" / "good28.png", np.zeros((60000, 1), np.uint8))
    frames = [Image.new("L", (9, 9), level) for level in (255, 0)]
    save(root / "light" / "good29.gif", frames[0], save_all=True, append_images=frames[1:])

    jpeg, png = (encoded(rng.integers(0, 256, (30, 30, 3), np.uint8), kind) for kind in ("JPEG", "PNG"))
    kinds = [
        lambda: jpeg[: rng.integers(4, len(jpeg) - 200)],
        lambda: png[: rng.integers(10, len(png) - 200)],
        lambda: b"",
        lambda: b"just a text\n" * rng.integers(1, 100),
        lambda: png_header(100_000, 100_000),
        lambda: png_header(12_000, 10_000),
        lambda: rng.bytes(rng.integers(1, 3000)),
        lambda: jpeg[:2] + rng.bytes(500),
    ]
    bad = set()
    for n in range(N_BAD):
        path = root / ("dark", "light")[n % 2] / f"bad{n}.{('png', 'jpg', 'gif', 'tif')[n % 4]}"
        if n % 10 == 8:
            os.mkfifo(path)
        elif n % 10 == 9:
            path.symlink_to(path.name)
        else:
            path.write_bytes(kinds[n % 10]())
        bad.add(path)
    return bad


def trained(root, caplog):
    """(folder, history) of a real training on mixed sizes, with the messages of the log in `caplog`."""
    folder = ImageFolder(root, cache_bytes=50_000)
    network = minicnn.Sequential(
        conv=minicnn.Conv2d(3, 4, kernel_size=3, padding=1, rng=0),
        relu=minicnn.ReLU(),
        pool=minicnn.AdaptiveMaxPool2d((1, 1)),
        flatten=minicnn.Flatten(),
        fc=minicnn.Linear(4, 2, rng=0),
    )
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network, lr=0.05), quiet=True)
    trainer.fit(Loader(folder, ByCount(8, shuffle=True), rng=0, workers=4), epochs=6)
    return folder, trainer.history


def test_training_goes_on_through_300_hostile_files(tmp_path, caplog):
    bad = write_hostile_folder(tmp_path)
    folder, history = trained(tmp_path, caplog)
    assert len(history) == 6
    assert history[-1]["loss"] < history[0]["loss"] / 2
    assert {path for path, _ in folder.problems} == bad
    assert folder.problems == sorted(folder.problems)
    messages = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert sorted(messages) == sorted(f"{path} is left out: {reason}" for path, reason in folder.problems)
    assert len(messages) == N_BAD
    assert folder.summary().startswith("300 of 330 image files could not be read (dark/bad0.png: it is ")
    assert folder.summary().endswith("and 297 more)")

    kept = folder._cache._arrays
    assert sum(array.nbytes for array in kept.values()) == folder._cache.bytes <= 50_000
    assert all(array.base is None and array.dtype == np.uint8 for array in kept.values())
    assert folder._cache.bytes > 40_000

    first = sorted(bad, key=lambda path: (str(path.parent), path.name))[0]
    with pytest.raises(ValueError, match=f"{re.escape(str(first))} cannot be used"):
        list(Loader(ImageFolder(tmp_path, strict=True), ByCount(1)))
