"""`minicnn inspect`."""

import webbrowser

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import minicnn
from minicnn.cli.program import program
from minicnn.inspect.sample import decoded
from tests.records import (
    layer_of,
    record_in,
    recorded,
    trained_simple_net,
    value,
)

pytestmark = pytest.mark.quick


def call(*arguments):
    return CliRunner().invoke(program, ["inspect", *map(str, arguments)])


@pytest.fixture
def model(tmp_path):
    """A model of three classes, and a picture that is larger than it takes."""
    network = minicnn.SimpleNet(num_classes=3, rng=0)
    path = tmp_path / "model.safetensors"
    minicnn.Classifier(network, ["cat", "dog", "9"], [0.5, 0.4, 0.3], [0.2, 0.3, 0.4], max_side=20).save(path)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return path


def test_the_program_on_a_model_and_a_picture(model, tmp_path):
    output = tmp_path / "page.html"
    result = call(tmp_path / "picture.png", "--model", model, "--label", "dog", "--output", output)
    assert result.exit_code == 0, result.output
    record = record_in(output.read_text("utf-8"))
    (p,) = decoded(record["loss_view"]["p"])
    says = f"the network says: {['cat', 'dog', '9'][p.argmax()]} ({p.max():.2f})"
    said = f"true class: dog    {says}    loss: {-np.log(p[1]):.4f}\n{record['mode_note']}\npage: {output}\n"
    assert result.output == said
    classifier = minicnn.Classifier.load(model)
    x = classifier.as_input(classifier.read(tmp_path / "picture.png"))
    assert record == recorded(
        classifier.network,
        x,
        [1],
        classes=["cat", "dog", "9"],
        title="model.safetensors on picture.png",
    )
    assert record["input_shape"] == [1, 3, 15, 20]

    result = call(tmp_path / "picture.png", "--model", model, "--eval", "--max-side", 10, "-o", output)
    record = record_in(output.read_text("utf-8"))
    assert (record["mode"], record["input_shape"]) == ("eval", [1, 3, 8, 10])
    assert record["labels_are_predicted"]
    assert f"class: {record['classes'][record['labels'][0]]} (as the network predicts)" in result.output


def test_the_program_says_of_a_picture_what_predict_says(tmp_path):
    network, image = trained_simple_net()
    model, output = tmp_path / "model", tmp_path / "page.html"
    minicnn.Classifier(network, ["cat", "dog", "9"], [0.5], [0.2]).save(model)
    Image.fromarray(np.clip(128 + 30 * image[0], 0, 255).astype(np.uint8)).save(tmp_path / "picture.png")
    classifier = minicnn.Classifier.load(model)
    (p,) = classifier.predict([classifier.read(tmp_path / "picture.png")])
    found = {}
    for options in ([], ["--eval"], ["--train"]):
        result = call(tmp_path / "picture.png", "--model", model, "--label", "dog", "-o", output, *options)
        assert result.exit_code == 0, result.output
        found["".join(options)] = record_in(output.read_text("utf-8"))
        assert found["".join(options)]["mode_note"] in result.output
    assert found[""] == found["--eval"]
    np.testing.assert_allclose(decoded(found[""]["loss_view"]["p"])[0], p, atol=1e-5)
    assert np.abs(decoded(found["--train"]["loss_view"]["p"])[0] - p).max() > 0.01


def test_the_program_on_a_digit_and_on_a_new_network(model, tmp_path):
    output = tmp_path / "page.html"
    assert "true class: 3 " in call("--digit", 3, "-o", output).output
    record = record_in(output.read_text("utf-8"))
    assert (record["input_shape"], record["labels"]) == ([1, 1, 32, 32], [3])
    assert (record["classes"], record["title"]) == (list("0123456789"), "a new SimpleNet on a handwritten 3")
    assert value(record, 0).max() > 0.9  # something is written there

    assert "class: 9 " in call("--digit", 9, "--model", model, "-o", output).output  # the model knows it, as its third
    record = record_in(output.read_text("utf-8"))
    assert (record["input_shape"], record["labels"]) == ([1, 3, 32, 32], [2])

    assert "class: 4 " in call(tmp_path / "picture.png", "--label", 4, "--seed", 1, "-o", output).output
    record = record_in(output.read_text("utf-8"))
    assert (record["input_shape"], record["classes"]) == ([1, 3, 30, 40], None)
    weight = minicnn.SimpleNet(rng=1)["conv1"].params["weight"]
    np.testing.assert_array_equal(decoded(layer_of(record, "conv1")["params"]["weight"]), weight)


def test_the_program_says_what_is_shown_in_part_and_opens_it(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    Image.fromarray(np.eye(80, dtype=np.uint8) * 255).save(tmp_path / "large.png")
    output = tmp_path / "page.html"
    result = call(tmp_path / "large.png", "--max-side", 80, "-o", output, "--open")
    assert "some arrays are shown in part" in result.output
    assert output.stat().st_size < 10_000_000
    assert opened == [output.as_uri()]


def test_the_program_used_wrongly(model, tmp_path):
    picture, output = tmp_path / "picture.png", tmp_path / "page.html"
    (tmp_path / "junk.png").write_bytes(b"junk")
    before = sorted(tmp_path.iterdir())
    for arguments, code, words in [
        ([], 2, "either IMAGE or --digit"),
        ([picture, "--digit", 3], 2, "either IMAGE or --digit"),
        ([picture, "--label", 10], 2, "one of 10 classes or its number from 0, got '10'"),
        ([picture, "--label", "bird", "--model", model], 2, "one of 3 classes (cat, dog, 9)"),
        ([tmp_path / "junk.png"], 1, "junk.png: it is no image"),
        ([tmp_path / "nowhere.png"], 1, "nowhere.png: it cannot be read"),
        ([picture, "--model", tmp_path / "nowhere"], 1, "no file"),
        ([picture, "--output", tmp_path / "nowhere" / "page.html"], 2, "there is no folder"),
        ([picture, "--output", tmp_path / "page.png"], 2, "ends in .html"),
    ]:
        result = call("--output", output, *arguments)
        assert result.exit_code == code, result.output
        assert words in " ".join(result.output.split()), result.output
    assert sorted(tmp_path.iterdir()) == before
