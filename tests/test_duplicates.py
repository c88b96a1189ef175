"""Images that are nearly the same: found however they were saved, and no false alarm on images that differ."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import minicnn
from minicnn.cli.program import program
from minicnn.data import ImageFolder, load_digits, near_duplicates, write_sample
from tests.image_files import opened, save

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("sample") / "photos")


SAVED_AGAIN = {
    "the same bytes": lambda image, path: save(path, image, quality=90),
    "a worse JPEG": lambda image, path: save(path, image, quality=50),
    "a PNG": lambda image, path: save(path.with_suffix(".png"), image),
    "half as large": lambda image, path: save(path, image.resize((image.width // 2, image.height // 2))),
    "twice as large": lambda image, path: save(
        path, image.resize((image.width * 2, image.height * 2), Image.Resampling.LANCZOS), quality=80
    ),
    "other sides": lambda image, path: save(path, image.resize((image.width * 2, image.height))),
}


@pytest.mark.parametrize("how", SAVED_AGAIN)
def test_an_image_saved_again_is_found(sample, tmp_path, how):
    train, _ = sample
    folder = ImageFolder(train)
    chosen = list(range(0, len(folder), 7))
    for number in chosen:
        path = folder.paths[number]
        SAVED_AGAIN[how](opened(path), tmp_path / path.parent.name / f"copy-{path.name}")
    pairs = near_duplicates(folder, ImageFolder(tmp_path))
    assert sorted(first for first, _ in pairs) == sorted(folder.paths[number] for number in chosen)
    for first, second in pairs:
        assert second.stem == f"copy-{first.stem}"


def test_images_that_differ_are_no_duplicates(sample):
    train, test = map(ImageFolder, sample)
    assert near_duplicates(train, test) == []
    first, second = train.split(40, rng=0)
    assert near_duplicates(first, second) == []


def test_digits_are_no_duplicates(tmp_path):
    """Of all sets that are at hand the one whose images are most alike."""
    digits = load_digits()
    parts = []
    for name, part in (("train", digits.train), ("test", digits.test)):
        for number, (image, label) in enumerate(zip(part.images, part.labels, strict=True)):
            save(tmp_path / name / str(label) / f"{number}.png", np.round(image[0] * 255).astype(np.uint8))
        parts.append(ImageFolder(tmp_path / name, channels=1))
    assert near_duplicates(*parts) == []


def test_blank_images_are_duplicates_where_they_have_one_colour(tmp_path):
    for name, colour in (("a", 200), ("b", 200), ("c", 210)):
        save(tmp_path / name / "class" / "blank.png", np.full((9, 12, 3), colour, np.uint8))
    a, b, c = (ImageFolder(tmp_path / name) for name in "abc")
    assert len(near_duplicates(a, b)) == 1
    assert near_duplicates(a, c) == []


def test_bad_files_are_passed_over(tmp_path):
    for name in "ab":
        save(tmp_path / name / "class" / "1.png", np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8))
        whole = save(tmp_path / name / "class" / "0.png", np.zeros((50, 50, 3), np.uint8)).read_bytes()
        (tmp_path / name / "class" / "0.png").write_bytes(whole[: len(whole) // 2])
    a, b = ImageFolder(tmp_path / "a"), ImageFolder(tmp_path / "b")
    assert [first.name for first, _ in near_duplicates(a, b)] == ["1.png"]
    assert len(a.problems) == len(b.problems) == 1
    with pytest.raises(ValueError, match="of one number of channels, got 3 and 1"):
        near_duplicates(a, ImageFolder(tmp_path / "b", channels=1))


def test_the_program_names_them(sample, tmp_path):
    train, test = map(ImageFolder, sample)
    for folder, name in ((train, "train"), (test, "validation")):
        for path in folder.paths:
            if path.stem.endswith(("-01", "-02")):
                save(tmp_path / name / path.parent.name / path.name, opened(path))
    arguments = ["train", str(tmp_path / "train"), "--validation", str(tmp_path / "validation"), "--epochs", "1"]
    result = CliRunner().invoke(program, [*arguments, "-o", str(tmp_path / "model")])
    assert result.exit_code == 0, result.output
    assert "warning" not in result.stderr

    again = opened(train.paths[0]).resize((50, 60))
    save(tmp_path / "validation" / train.paths[0].parent.name / "again.jpg", again)
    result = CliRunner().invoke(program, [*arguments, "-o", str(tmp_path / "model"), "--overwrite"])
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("warning: images to validate that are nearly the same as images to train: 1 (")
    assert f"{train.paths[0].name} and " in result.stderr
    assert "again.jpg" in result.stderr
    assert minicnn.Classifier.load(tmp_path / "model").class_names == train.class_names
