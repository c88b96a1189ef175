"""minicnn sample: a folder of real pictures, which a network can learn from, and whose authors are named."""

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import minicnn
from minicnn.cli.program import program
from minicnn.data import ImageFolder, write_sample
from minicnn.data.sample import CREDITS, PHOTOS

pytestmark = pytest.mark.quick


def test_the_command_says_what_it_wrote(tmp_path):
    result = CliRunner().invoke(program, ["sample", str(tmp_path / "photos")])
    assert result.exit_code == 0, result.output
    train, test = ImageFolder(tmp_path / "photos" / "train"), ImageFolder(tmp_path / "photos" / "test")
    assert f"{len(train)} pictures to train on, {len(test)} to be tested with" in result.output
    assert train.class_names == test.class_names == sorted(path.stem for path in PHOTOS.glob("*.jpg"))
    assert f"classes: {', '.join(train.class_names)}" in result.output
    assert np.bincount(train.labels).min() == np.bincount(train.labels).max() == 24
    assert np.bincount(test.labels).min() == np.bincount(test.labels).max() == 8
    assert len({tuple(size) for size in train.sizes}) > 50
    assert train.sizes.min() >= 32


def test_each_photograph_is_credited_with_author_source_and_licence(tmp_path):
    write_sample(tmp_path)  # an empty folder that is there will do
    credits = (tmp_path / CREDITS).read_text("utf-8")
    for photo in PHOTOS.glob("*.jpg"):
        (line,) = [line for line in credits.splitlines() if line.startswith(f"| {photo.stem} ")]
        what, author, source, licence = [cell.strip() for cell in line.strip("|").split("|")[1:]]
        assert what
        assert author
        assert source
        assert re.search("CC0|public domain", licence)


def test_training_and_test_pictures_share_no_pixel(tmp_path, monkeypatch):
    """Seen on photographs in which every pixel says its column."""
    image = pytest.importorskip("PIL.Image")
    columns = np.repeat(np.linspace(0, 255, 400, dtype=np.uint8)[None, :, None], 300, axis=0)
    (tmp_path / "from").mkdir()
    image.fromarray(np.repeat(columns, 3, axis=2)).save(tmp_path / "from" / "ramp.jpg", quality=100)
    (tmp_path / "from" / CREDITS).write_text("")
    monkeypatch.setattr("minicnn.data.sample.PHOTOS", tmp_path / "from")
    train, test = (ImageFolder(folder, channels=1) for folder in write_sample(tmp_path / "to"))
    rightmost = max(float(train.image(n).max()) for n in range(len(train)))
    leftmost = min(float(test.image(n).min()) for n in range(len(test)))
    assert rightmost <= leftmost + 0.02  # JPEG's own error


def test_the_same_pictures_for_everybody(tmp_path):
    first, second = (write_sample(tmp_path / name)[0] for name in ("a", "b"))
    for path in first.rglob("*.jpg"):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()


def test_what_is_there_stays(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(FileExistsError, match="expected a new or empty folder"):
            write_sample(tmp_path / name)
        result = CliRunner().invoke(program, ["sample", str(tmp_path / name)])
        assert result.exit_code == 1
        assert "give another name" in result.output
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


@pytest.mark.slow
def test_a_network_learns_them(tmp_path):
    """By the commands' own settings, on pictures of parts of the photographs that it was not trained on."""
    train, test = map(ImageFolder, write_sample(tmp_path / "photos"))
    training, validation = train.split(round(0.2 * len(train)), rng=0)
    classifier, _ = minicnn.train_classifier(training, validation)
    assert minicnn.evaluate(classifier, test).accuracy > 0.7


def test_a_save_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("minicnn.data.sample.CREDITS", "not there")
    with pytest.raises(FileNotFoundError):
        write_sample(tmp_path / "photos")
    assert list(Path(tmp_path).iterdir()) == []
