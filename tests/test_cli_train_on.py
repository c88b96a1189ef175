"""minicnn train with other networks, from other models, balanced and calibrated."""

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import minicnn
from minicnn.cli.program import program
from tests.shapes import write_shapes

MINE = """
import minicnn
import beside


class Wide(minicnn.Sequential):
    def __init__(self, num_classes, in_channels, rng):
        super().__init__(
            conv=minicnn.Conv2d(in_channels, beside.WIDTH, 3, padding=1, rng=rng),
            bn=minicnn.BatchNorm2d(beside.WIDTH),
            relu=minicnn.ReLU(),
            pool=minicnn.AdaptiveMaxPool2d(1),
            flat=minicnn.Flatten(),
            fc=minicnn.Linear(beside.WIDTH, num_classes, rng=rng),
        )


ready = Wide(2, 3, 0)
number = 3


def fails(num_classes, in_channels, rng):
    return 1 / 0
"""


def call(*arguments):
    return CliRunner().invoke(program, list(map(str, arguments)))


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    here = tmp_path_factory.mktemp("train_on")
    write_shapes(here / "shapes", 40, seed=0)
    (here / "mine.py").write_text(MINE)
    (here / "beside.py").write_text("WIDTH = 12\n")
    return here


@pytest.mark.quick
@pytest.mark.parametrize("name", ["Wide", "ready"])
def test_a_network_of_ones_own(here, tmp_path, name):
    model = tmp_path / "m"
    result = call("train", here / "shapes", "-o", model, "--epochs", 4, "--network", f"{here / 'mine.py'}:{name}")
    assert result.exit_code == 0, result.output
    classifier = minicnn.Classifier.load(model)
    assert type(classifier.network) is minicnn.Sequential  # the class is not needed
    assert classifier.network["conv"].out_channels == 12
    assert float(re.search(r"validation accuracy: (\S+)", result.output)[1]) > 0.7
    result = call("predict", model, here / "shapes" / "bar" / "0.png", "--explain", tmp_path / "why", "--json")
    assert result.exit_code == 0, result.output
    figure = json.loads(result.output)["explain"]
    assert figure == str(tmp_path / "why" / "0-explain.png")
    with Image.open(figure) as drawn:
        assert np.ptp(np.asarray(drawn.convert("L"))) > 200  # something is drawn
    assert call("evaluate", model, here / "shapes").exit_code == 0


def test_winners_of_a_network_without_a_global_maximum_are_refused_with_the_way_out(here, tmp_path):
    layers = dict(minicnn.SimpleNet(2, 3, rng=0).children) | {"adaptive_pool": minicnn.AdaptiveAvgPool2d(1)}
    minicnn.Classifier(minicnn.Sequential(**layers), ["a", "b"], [0] * 3, [1] * 3).save(tmp_path / "m")
    result = call("predict", tmp_path / "m", here / "shapes" / "disc" / "0.png", "--winners", tmp_path / "why")
    assert result.exit_code == 1
    assert "--explain draws any network" in result.output


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("mine.py:number", 1, "TypeError: 'int' object is not callable"),
        ("mine.py:fails", 1, "mine.py, line 23: ZeroDivisionError"),
        ("mine.py:ghost", 1, "there is no ghost"),
        ("mine.py", 2, "expected FILE.py:NAME"),
    ],
)
def test_what_makes_no_network_is_said(here, tmp_path, monkeypatch, name, code, message):
    monkeypatch.chdir(here)
    result = call("train", "shapes", "-o", tmp_path / "m", "--network", name)
    assert result.exit_code == code
    assert message in result.output
    assert not (tmp_path / "m").exists()


def test_training_on_from_a_model(here, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    fresh = call("train", here / "shapes", "-o", first, "--epochs", 3)
    result = call("train", here / "shapes", "-o", second, "--epochs", 1, "--from", first)
    assert "training on from " in result.output
    assert "new last layer" not in result.output
    losses = [float(re.search(r"^epoch 1 .* loss (\S+)", each.output, re.MULTILINE)[1]) for each in (fresh, result)]
    assert losses[1] < 0.8 * losses[0]


def test_training_on_with_other_classes_gets_a_new_last_layer(here, tmp_path):
    assert call("train", here / "shapes", "-o", tmp_path / "first", "--epochs", 1).exit_code == 0
    three = tmp_path / "three"
    write_shapes(three, 8, seed=3)
    write_shapes(tmp_path / "more", 8, seed=4)
    (tmp_path / "more" / "bar").rename(three / "another")
    result = call("train", three, "-o", tmp_path / "m", "--epochs", 1, "--from", tmp_path / "first")
    assert result.exit_code == 0, result.output
    assert "with a new last layer: its classes are bar, disc" in result.output
    assert minicnn.Classifier.load(tmp_path / "m").class_names == ["another", "bar", "disc"]


def test_from_and_network_exclude_each_other(here, tmp_path):
    result = call("train", here / "shapes", "-o", tmp_path / "m", "--from", "a", "--network", "b.py:c")
    assert result.exit_code == 2
    assert "exclude each other" in result.output


def test_balance_calibrate_and_curves(here, tmp_path):
    plain, balanced = tmp_path / "plain", tmp_path / "balanced"
    for path in (here / "shapes" / "bar").glob("*[1-9].png"):
        path.unlink()  # a rare class
    assert call("train", here / "shapes", "-o", plain, "--epochs", 2).exit_code == 0
    figure = tmp_path / "curves.png"
    options = ("--balance", "--calibrate", "--curves", figure)
    result = call("train", here / "shapes", "-o", balanced, "--epochs", 2, *options)
    assert result.exit_code == 0, result.output
    with Image.open(figure) as drawn:
        assert np.ptp(np.asarray(drawn.convert("L"))) > 200  # something is drawn
    found = [minicnn.Classifier.load(path) for path in (plain, balanced)]
    assert found[0].temperature == 1
    assert f"temperature {found[1].temperature:.3f}" in result.output
    assert found[1].temperature != 1
    weights = [classifier.network["fc"].params["weight"] for classifier in found]
    assert not np.array_equal(*weights)


def test_a_balanced_run_is_not_resumed_as_a_plain_one(here, tmp_path):
    from minicnn.classify.train import train_classifier
    from minicnn.data import ImageFolder

    train, validation = ImageFolder(here / "shapes").split(10, rng=0)
    train_classifier(train, validation, epochs=1, checkpoint=tmp_path / "run", balance=True)
    with pytest.raises(ValueError, match="balance: expected True, got False"):
        train_classifier(train, validation, epochs=1, checkpoint=tmp_path / "run", resume=True)
