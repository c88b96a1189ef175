"""ImageFolder: which files are images of which class, how they are split, and what is kept in memory."""

import subprocess
import sys

import numpy as np
import pytest

from minicnn.data import ImageFolder
from minicnn.data.cache import PixelCache
from tests.image_files import pixels, save

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


@pytest.mark.quick
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
def test_what_is_hidden_is_no_class_and_no_image(tmp_path, hidden):
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


@pytest.mark.quick
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
