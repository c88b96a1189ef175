"""ImageFolder: what is read from files of every kind, and what happens to files that are none."""

import io
import logging
import os
import re
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import minicnn
from minicnn.data import ByCount, ImageFolder, Loader, shrink
from minicnn.data.cache import PixelCache
from minicnn.data.decode import decode, to_unit_range

WHITE = (255, 255, 255)
LOGGER = "minicnn.data.folder"


def save(path, image, **options):
    """Write an image, or an array (H, W) or (H, W, C), making the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
    image.save(path, **options)
    return path


def opened(path):
    """Pillow's image, its file read and closed."""
    return Image.open(io.BytesIO(path.read_bytes()))


def decoded(path, channels=3, background=WHITE):
    return decode(path, channels, background, max_pixels=10**6)


def pixels(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


# What is read.


@pytest.mark.parametrize("longest", [1, 7, 30])
def test_large_images_are_shrunk_and_the_sizes_say_so(tmp_path, longest):
    save(tmp_path / "a" / "tall.png", pixels(30, 11))
    save(tmp_path / "a" / "small.png", pixels(5, 6))
    save(tmp_path / "a" / "strip.png", pixels(1, 200))
    save(tmp_path / "b" / "deep.png", np.full((20, 9), 4660, np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6  # lying on its side
    save(tmp_path / "b" / "turned.jpg", Image.fromarray(pixels(16, 24)), exif=exif)
    folder = ImageFolder(tmp_path, longest=longest)
    for index, path in enumerate(folder.paths):
        image, _ = folder[index]
        assert image.shape == (3, *folder.sizes[index]), path
        assert max(image.shape) <= max(3, longest), path
        full, _ = ImageFolder(tmp_path)[index]
        np.testing.assert_allclose(image, shrink(full, longest), atol=0.51 / 255)
    turned = [path.name for path in folder.paths].index("turned.jpg")
    assert folder.sizes[turned].tolist() == [min(24, longest), min(16, max(1, round(16 * longest / 24)))]
    deep = [path.name for path in folder.paths].index("deep.png")
    assert (folder[deep][0] == np.float32(4660 / 65535)).all()


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm"])
def test_colours_without_loss(tmp_path, suffix):
    expected = pixels(3, 5)
    path = save(tmp_path / f"a.{suffix}", expected, **({"lossless": True} if suffix == "webp" else {}))
    result = decoded(path)
    assert (result.shape, result.dtype) == ((3, 3, 5), np.uint8)
    np.testing.assert_array_equal(result, expected.transpose(2, 0, 1))


def test_jpeg_as_pillow_decodes_it(tmp_path):
    path = save(tmp_path / "a.jpg", pixels(20, 30))
    np.testing.assert_array_equal(decoded(path), np.asarray(opened(path)).transpose(2, 0, 1))


def test_the_content_counts_and_not_the_suffix(tmp_path):
    path = save(tmp_path / "a.jpg", pixels(3, 5), format="PNG")
    np.testing.assert_array_equal(decoded(path), pixels(3, 5).transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path, suffix, channels):
    grey = np.uint16([[0, 1, 255, 256], [257, 32768, 65534, 65535]])
    result = decoded(save(tmp_path / f"a.{suffix}", grey), channels)
    np.testing.assert_array_equal(result, np.broadcast_to(grey, (channels, 2, 4)))
    floats = to_unit_range(result)
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(floats[0], grey.astype(np.float32) / 65535)


def test_sixteen_bits_the_other_way_round(tmp_path):
    grey = np.uint16([[1, 256]])
    image = Image.frombytes("I;16B", (2, 1), grey.astype(">u2").tobytes())
    assert decoded(save(tmp_path / "a.tif", image), 1).tolist() == [[[1, 256]]]


def test_floats_from_0_to_1_are_taken_as_they_are(tmp_path):
    result = decoded(save(tmp_path / "a.tif", np.float32([[0, 0.3], [1, 1e-7]])), 1)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(to_unit_range(result), np.float32([[[0, 0.3], [1, 1e-7]]]))


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        (np.float32([[0, 255]]), "floats from 0.0 to 255.0; expected 0 to 1"),
        (np.float32([[0, np.nan]]), "floats from nan to nan"),
        (np.int32([[0, 70000]]), "integers from 0 to 70000; expected 0 to 65535"),
        (np.int32([[-1, 5]]), "integers from -1 to 5"),
    ],
)
def test_32_bits_out_of_range_are_refused(tmp_path, numbers, reason):
    path = save(tmp_path / "a.tif", numbers)
    with pytest.raises(ValueError, match=reason):
        decoded(path)


def test_32_bit_integers_count_as_16(tmp_path):
    assert decoded(save(tmp_path / "a.tif", np.int32([[0, 65535]])), 1).tolist() == [[[0, 65535]]]


def test_one_bit(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(np.uint8([[0, 255, 0]])).convert("1"))
    assert opened(path).mode == "1"
    assert decoded(path).tolist() == [[[0, 255, 0]]] * 3
    assert decoded(path, 1).tolist() == [[[0, 255, 0]]]


def test_grey_from_colour_and_colour_from_grey(tmp_path):
    colour = save(tmp_path / "a.png", np.uint8([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]]))
    assert decoded(colour, 1).tolist() == [[[76, 150, 29, 9]]]  # 255 times 0.299, 0.587, 0.114
    every_grey = np.arange(256, dtype=np.uint8)[None]
    grey = save(tmp_path / "b.png", every_grey)
    np.testing.assert_array_equal(decoded(grey), np.broadcast_to(every_grey, (3, 1, 256)))
    np.testing.assert_array_equal(decoded(grey, 1)[0], every_grey)


def palette_image():
    """Pixels green, red, blue."""
    image = Image.fromarray(np.uint8([[1, 0, 2]])).convert("P")
    image.putdata([1, 0, 2])
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    return image


def test_palette(tmp_path):
    path = save(tmp_path / "a.png", palette_image())
    assert opened(path).mode == "P"
    assert decoded(path)[:, 0].T.tolist() == [[0, 255, 0], [255, 0, 0], [0, 0, 255]]


@pytest.mark.parametrize(
    ("transparency", "red"), [(0, WHITE), (bytes([128]), (255, 127, 127)), (bytes([255]), (255, 0, 0))]
)
def test_palette_with_transparency(tmp_path, transparency, red):
    path = save(tmp_path / "a.png", palette_image(), transparency=transparency)
    assert decoded(path)[:, 0].T.tolist() == [[0, 255, 0], list(red), [0, 0, 255]]


def test_alpha_is_laid_over_the_background(tmp_path):
    """Half of 100 over 255, over nothing, and over (0, 10, 20)."""
    path = save(tmp_path / "a.png", np.uint8([[[100, 100, 100, 255], [100, 100, 100, 51], [7, 7, 7, 0]]]))
    assert decoded(path)[:, 0].T.tolist() == [[100] * 3, [224] * 3, [255] * 3]
    assert decoded(path, background=(0, 10, 20))[:, 0].T.tolist() == [[100] * 3, [20, 28, 36], [0, 10, 20]]
    assert decoded(path, 1).tolist() == [[[100, 224, 255]]]


def test_grey_with_alpha(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(np.uint8([[[100, 51], [100, 0]]])))
    assert opened(path).mode == "LA"
    assert decoded(path).tolist() == [[[224, 255]]] * 3
    assert decoded(path, 1, background=(0, 0, 0)).tolist() == [[[20, 0]]]


@pytest.mark.parametrize(("image", "key"), [(np.uint8([[7, 8]]), 7), (np.uint8([[[7, 8, 9], [1, 8, 9]]]), (7, 8, 9))])
def test_one_colour_that_stands_for_transparent(tmp_path, image, key):
    path = save(tmp_path / "a.png", image, transparency=key)
    assert decoded(path)[:, 0, 0].tolist() == [255, 255, 255]
    assert decoded(path)[2, 0, 1] == (8 if image.ndim == 2 else 9)


def test_cmyk(tmp_path):
    path = save(tmp_path / "a.tif", Image.fromarray(np.uint8([[[255, 0, 0, 0], [0, 0, 0, 255], [0, 0, 0, 0]]]), "CMYK"))
    assert opened(path).mode == "CMYK"
    assert decoded(path)[:, 0].T.tolist() == [[0, 255, 255], [0, 0, 0], [255, 255, 255]]
    assert decoded(path, 1).tolist() == [[[179, 0, 255]]]


def test_cmyk_jpeg(tmp_path):
    path = save(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=100)
    red, green, blue = decoded(path)[:, 4, 4].tolist()
    assert (red > 250, green < 5, blue < 5) == (True, True, True)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_picture(tmp_path, suffix):
    first, second = Image.new("RGB", (3, 2), (255, 0, 0)), Image.new("RGB", (3, 2), (0, 0, 255))
    path = save(tmp_path / f"a.{suffix}", first, save_all=True, append_images=[second])
    assert opened(path).n_frames == 2
    np.testing.assert_allclose(decoded(path)[:, 0, 0], [255, 0, 0], atol=2)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_images_are_turned_upright(tmp_path, suffix, orientation):
    """Orientation n says where the stored rows and columns lie in the upright image (EXIF 2.32, 4.6.4)."""
    upright = np.add.outer(np.arange(16) * 3, np.arange(24) * 7).astype(np.uint8)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: upright.T[::-1],
        7: upright[::-1, ::-1].T,
        8: upright.T[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"jpg": {"quality": 100}, "webp": {"lossless": True}}.get(suffix, {})
    save(tmp_path / "class" / f"a.{suffix}", np.ascontiguousarray(stored), exif=exif, **options)
    folder = ImageFolder(tmp_path, channels=1)
    assert folder.sizes.tolist() == [[16, 24]]
    np.testing.assert_allclose(folder[0][0][0] * 255, upright, atol=3 if suffix == "jpg" else 1e-4)


def test_sixteen_bits_are_turned_upright_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.png", np.uint16([[1000, 2000], [3000, 4000], [5000, 6000]]), exif=exif)
    assert decoded(path, 1).tolist() == [[[5000, 3000, 1000], [6000, 4000, 2000]]]


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_do_not_exist_do_not_matter(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "class" / "a.png", np.zeros((2, 5), np.uint8), exif=exif)
    folder = ImageFolder(tmp_path)
    assert (folder.sizes.tolist(), folder[0][0].shape) == ([[2, 5]], (3, 2, 5))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\x7f"])
def test_damaged_exif_data_do_not_matter(tmp_path, exif):
    save(tmp_path / "class" / "a.jpg", np.zeros((8, 16, 3), np.uint8), exif=exif)
    folder = ImageFolder(tmp_path)
    assert (folder.sizes.tolist(), folder[0][0].shape) == ([[8, 16]], (3, 8, 16))


def test_values_are_float32_from_0_to_1(tmp_path):
    save(tmp_path / "class" / "a.png", np.uint8([[[0, 51, 255]]]))
    image, label = ImageFolder(tmp_path)[0]
    assert (image.dtype, image.ravel().tolist(), label) == (np.float32, [0, float(np.float32(51) / 255), 1], 0)


# Which files.


def test_classes_are_the_sorted_folders_and_images_lie_at_any_depth(tmp_path):
    for name in (
        "zebra/b.png",
        "zebra/c/d.png",
        "zebra/a/deep/er/c.PNG",
        "ant/z.png",
        "ant/.hidden.png",
        "ant/photo.png/inside.png",
    ):
        save(tmp_path / name, pixels(2, 2))
    for name in ("zebra/README.txt", "zebra/Thumbs.db", "ant/.DS_Store", "lying about.png"):
        (tmp_path / name).write_text("no image")
    (tmp_path / "middle, empty").mkdir()
    folder = ImageFolder(tmp_path, strict=True)
    assert folder.class_names == ["ant", "middle, empty", "zebra"]
    assert [str(path.relative_to(tmp_path)) for path in folder.paths] == [
        "ant/z.png",
        "ant/photo.png/inside.png",
        "zebra/b.png",
        "zebra/a/deep/er/c.PNG",
        "zebra/c/d.png",
    ]
    assert (folder.labels.tolist(), folder.labels.dtype, len(folder)) == ([0, 0, 2, 2, 2], np.int64, 5)
    assert [label for _, label in (folder[n] for n in range(5))] == [0, 0, 2, 2, 2]
    assert folder[-1][1] == 2
    with pytest.raises(IndexError):
        folder[5]
    assert folder.summary() == "all of 5 image files could be read so far"


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ([], ValueError, "expected a folder for each class in .*, got none"),
        (["a.png"], ValueError, "expected a folder for each class in .*, got none"),
        (
            ["cat/readme.txt"],
            ValueError,
            "at least one image below .*, got none; there is no file with a suffix of .jpg",
        ),
        (["cat/a.png"], ValueError, r"got none; 1 of 1 image files could not be read \(cat/a.png: it is no image"),
    ],
)
def test_folders_without_images(tmp_path, files, error, message):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("text")
    with pytest.raises(error, match=message):
        ImageFolder(tmp_path)


def test_no_such_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ImageFolder: no folder .*/nowhere"):
        ImageFolder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("setting", "error", "message"),
    [
        ({"channels": 4}, ValueError, "expected channels 1 or 3, got 4"),
        ({"background": (0, 0)}, ValueError, r"expected background \(red, green, blue\)"),
        ({"background": (0, 0, 256)}, ValueError, "of 0 to 255"),
        ({"background": (0, 0, 0.5)}, TypeError, "expected an integer, got 0.5"),
        ({"max_pixels": 0}, ValueError, "max_pixels: expected at least 1, got 0"),
        ({"cache_bytes": -1}, ValueError, "cache_bytes: expected at least 0, got -1"),
    ],
)
def test_bad_settings(tmp_path, setting, error, message):
    with pytest.raises(error, match=message):
        ImageFolder(tmp_path, **setting)


def test_without_pillow_it_says_what_to_do():
    code = "import sys; sys.modules['PIL'] = None; from minicnn.data import ImageFolder; ImageFolder('/')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stderr.splitlines()[-1] == (
        "ImportError: ImageFolder: image files are read with Pillow, which is not installed; "
        "get it with: pip install 'minicnn-numba[images]'"
    )


def test_the_walk_ends_where_links_go_round(tmp_path):
    save(tmp_path / "a" / "1.png", pixels(2, 2))
    save(tmp_path / "b" / "2.png", pixels(2, 2))
    save(tmp_path / "elsewhere" / "3.png", pixels(2, 2))
    (tmp_path / "a" / "self").symlink_to(".")
    (tmp_path / "a" / "root").symlink_to("..")  # must not make the images of b those of a
    (tmp_path / "a" / "x").mkdir()
    (tmp_path / "a" / "x" / "up").symlink_to("..")
    for name, other in (("p", "q"), ("q", "p")):
        save(tmp_path / "b" / name / "4.png", pixels(2, 2))
        (tmp_path / "b" / name / "other").symlink_to(f"../{other}")
    (tmp_path / "b" / "linked").symlink_to(tmp_path / "elsewhere")
    folder = ImageFolder(tmp_path, strict=True)
    names = [str(path.relative_to(tmp_path)) for path in folder.paths]
    assert names == ["a/1.png", "b/2.png", "b/linked/3.png", "b/p/4.png", "b/q/4.png", "elsewhere/3.png"]


def test_split(tmp_path):
    for n in range(6):
        save(tmp_path / "ab"[n % 2] / f"{n}.png", np.full((n + 1, 2), n, np.uint8))
    folder = ImageFolder(tmp_path)
    rest, part = folder.split(2, rng=0)
    assert (len(rest), len(part)) == (4, 2)
    assert sorted([*rest.paths, *part.paths]) == sorted(folder.paths)
    for half in (rest, part):
        for n in range(len(half)):
            image, label = half[n]
            number = int(half.paths[n].stem)
            assert (image.shape, label) == ((3, number + 1, 2), number % 2)
            assert half.sizes[n].tolist() == [number + 1, 2]
    with pytest.raises(ValueError, match="a part of 1 to 5 images, got 6"):
        folder.split(6, rng=0)


@pytest.mark.parametrize("seed", range(20))
def test_each_class_has_its_share_of_both_parts(tmp_path, seed):
    """A rare class, too, whichever images are drawn."""
    for name, number in (("common", 16), ("middling", 8), ("rare", 2)):
        for n in range(number):
            save(tmp_path / name / f"{n}.png", pixels(2, 2))
    folder = ImageFolder(tmp_path)
    parts = folder.split(7, rng=seed)
    assert [np.bincount(part.labels).tolist() for part in parts] == [[12, 6, 1], [4, 2, 1]]
    again = folder.split(7, rng=seed)
    assert [part.paths for part in again] == [part.paths for part in parts]
    assert folder.split(7, rng=seed + 1)[0].paths != parts[0].paths


def test_a_single_image_stays_in_the_first_part_and_is_named(tmp_path, caplog):
    for name, number in (("common", 6), ("one of a kind", 1)):
        for n in range(number):
            save(tmp_path / name / f"{n}.png", pixels(2, 2))
    for seed in range(10):
        caplog.clear()
        rest, _ = ImageFolder(tmp_path).split(5, rng=seed)
        assert sorted(rest.labels.tolist()) == [0, 1]
        [record] = caplog.records
        assert "a single image, which cannot be in both parts: one of a kind" in record.getMessage()


# What is no class.


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", ".Trash", ".git", "__MACOSX", "@eaDir", "$RECYCLE.BIN"])
def test_what_is_hidden_is_no_class_and_no_picture(tmp_path, hidden):
    for folder in ("cat", "dog"):
        save(tmp_path / folder / "1.png", pixels(2, 2))
        save(tmp_path / folder / hidden / "1-checkpoint.png", pixels(2, 2))
        (tmp_path / folder / "._1.png").write_bytes(b"what macOS keeps beside a file")
    save(tmp_path / hidden / "1.png", pixels(2, 2))
    save(tmp_path / hidden / "cat" / "2.png", pixels(2, 2))
    folder = ImageFolder(tmp_path, strict=True)
    assert folder.class_names == ["cat", "dog"]
    assert [str(path.relative_to(tmp_path)) for path in folder.paths] == ["cat/1.png", "dog/1.png"]


def test_a_hidden_root_is_a_folder_like_any_other(tmp_path):
    save(tmp_path / ".cache" / "cat" / "1.png", pixels(2, 2))
    assert ImageFolder(tmp_path / ".cache").class_names == ["cat"]


@pytest.mark.parametrize(
    "parts",
    [
        ("train", "val"),
        ("Train", "Test"),
        ("test", "valid"),
        ("training_set", "test_set"),
        ("train", "validation", "test"),
        ("TRAINING", "annotations", "eval"),
        ("train2017", "val2017"),
    ],
)
def test_the_parts_of_a_data_set_are_no_classes(tmp_path, parts):
    for part in parts:
        for name in ("cat", "dog"):
            save(tmp_path / part / name / "1.png", pixels(2, 2))
    with pytest.raises(
        ValueError, match="by their names are parts of a data set; open each of them by itself"
    ) as caught:
        ImageFolder(tmp_path)
    assert "minicnn train" in str(caught.value)
    assert ImageFolder(tmp_path / parts[0]).class_names == ["cat", "dog"]
    assert ImageFolder(tmp_path, classes=parts).class_names == list(parts)  # whoever says so means it


@pytest.mark.parametrize("names", [("bus", "train"), ("test1", "test2", "test3"), ("Latin", "English"), ("train",)])
def test_classes_may_be_called_almost_anything(tmp_path, names):
    for name in names:
        save(tmp_path / name / "1.png", pixels(2, 2))
    assert ImageFolder(tmp_path).class_names == sorted(names)


# Memory.


def test_what_fits_is_kept_and_not_decoded_again(tmp_path):
    for n in range(4):
        save(tmp_path / "a" / f"{n}.png", pixels(10, 10, n))
    folder = ImageFolder(tmp_path, cache_bytes=700)  # an image takes 300
    before = [folder[n][0] for n in range(4)]
    for path in folder.paths:
        path.unlink()
    assert folder._cache.bytes == 600
    for n in (0, 1):
        np.testing.assert_array_equal(folder[n][0], before[n])
        folder[n][0][:] = 9  # the reader's own copy
        np.testing.assert_array_equal(folder[n][0], before[n])
    for n in (2, 3):
        with pytest.raises(ValueError, match="cannot be read"):
            folder[n]


def test_a_kept_float_image_is_not_what_the_reader_writes_on(tmp_path):
    save(tmp_path / "a" / "a.tif", np.float32([[0.5]]))
    folder = ImageFolder(tmp_path)
    for _ in range(3):
        image, _ = folder[0]
        assert image.ravel().tolist() == [0.5] * 3
        image[:] = 0


def test_an_image_that_two_threads_decoded_is_counted_once():
    cache = PixelCache(budget=100)
    for _ in range(3):
        cache.keep("a", np.zeros(40, np.uint8))
    cache.keep("b", np.zeros(60, np.uint8))
    assert (cache.bytes, len(cache.get("b"))) == (100, 60)


# Bad files.


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
