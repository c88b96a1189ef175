"""Classifier: its predictions, its file, and what it refuses; evaluation and training around it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import minicnn
from minicnn.classify.evaluate import Evaluation, relabelled
from minicnn.classify.train import channel_statistics, default_augment, default_order, train_classifier
from minicnn.data import ImageFolder
from minicnn.io.safetensors import read_safetensors, write_safetensors
from tests.own_layers import Scaled
from tests.shapes import write_shapes

pytestmark = pytest.mark.quick


def make_classifier(n_classes=3, channels=3, seed=0):
    network = minicnn.SimpleNet(n_classes, channels, rng=seed)
    network.forward(np.random.default_rng(seed).standard_normal((4, channels, 8, 8), np.float32))
    names = ["été", "b$x$", 'c "quoted"', "d"][:n_classes]
    return minicnn.Classifier(network, names, np.linspace(0.1, 0.7, channels), np.linspace(0.2, 0.3, channels))


@pytest.fixture
def images():
    rng = np.random.default_rng(5)
    sizes = [(1, 1), (9, 4), (30, 31), (5, 5), (1, 50), (64, 20), (5, 5)]
    return [rng.random((3, *size), np.float32) for size in sizes]


def test_probabilities_are_the_networks(images):
    classifier = make_classifier()
    probabilities = classifier.predict(images)
    assert probabilities.shape == (7, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    mean, std = (values[:, None, None] for values in (classifier.mean, classifier.std))
    for image, row in zip(images, probabilities, strict=True):
        expected = np.exp(classifier.network.predict(((image - mean) / std)[None])[0])
        np.testing.assert_allclose(row, expected, atol=1e-5)


@pytest.mark.parametrize("max_pixels", [1, 30, 1000, 10**9])
def test_predictions_do_not_depend_on_the_batches(images, max_pixels):
    classifier = make_classifier()
    expected = classifier.predict(images)
    np.testing.assert_allclose(classifier.predict(images, max_pixels), expected, atol=1e-6)
    np.testing.assert_allclose(classifier.predict(images[::-1], max_pixels)[::-1], expected, atol=1e-6)


def test_images_may_come_in_three_forms(images):
    classifier = make_classifier()
    expected = classifier.predict(images[3::3])
    np.testing.assert_array_equal(classifier.predict(np.stack(images[3::3])), expected)
    np.testing.assert_array_equal(classifier.predict(minicnn.Images(images[3::3])), expected)
    assert classifier.predict([]).shape == (0, 3)


def test_mirrored_images_are_looked_at_too_where_asked(images):
    classifier = make_classifier()
    plain, mirrored = classifier.predict(images), classifier.predict([image[:, :, ::-1] for image in images])
    both = classifier.predict(images, mirror=True)
    assert np.abs(plain - mirrored).max() > 1e-3
    np.testing.assert_allclose(both, (plain + mirrored) / 2, rtol=1e-5)
    np.testing.assert_allclose(
        both, classifier.predict([image[:, :, ::-1] for image in images], mirror=True), rtol=1e-5
    )
    assert both.dtype == np.float32


def test_no_more_is_computed_at_once_than_asked(images, monkeypatch):
    classifier, areas = make_classifier(), []
    predict = classifier._fused.predict

    def noted(images):
        areas.append(images.pixels)
        return predict(images)

    monkeypatch.setattr(classifier._fused, "predict", noted)
    classifier.predict(images, max_pixels=100)
    assert areas == [37, 930, 75, 1280, 25]


def test_what_cannot_be_predicted_is_named(images):
    classifier = make_classifier()
    with pytest.raises(ValueError, match=r"images of shape \(3, H, W\), got shape \(1, 4, 4\) at position 1"):
        classifier.predict([images[0], np.zeros((1, 4, 4), np.float32)])
    with pytest.raises(TypeError, match="float32 from 0 to 1, got uint8 at position 0"):
        classifier.predict(np.zeros((1, 3, 4, 4), np.uint8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": minicnn.ReLU()}, "expected a network, got ReLU"),
        (
            {"network": minicnn.Sequential(minicnn.ReLU())},
            "expected a network for images, with a Conv2d, got one without",
        ),
        ({"network": minicnn.Sequential(Scaled(2))}, "Classifier: 0 is a Scaled, a layer of your own"),
        ({"network": minicnn.SimpleNet(2, 3).to(dtype=np.float64)}, "a network of float32, got float64"),
        ({"network": minicnn.SimpleNet(2, 2)}, "1 or 3 input channels, got 2"),
        ({"class_names": ["a"]}, "expected 2 different class names"),
        ({"class_names": ["a", "a"]}, "expected 2 different class names"),
        ({"class_names": ["a", 1]}, "expected 2 different class names"),
        ({"mean": [0, 0]}, "mean to be 3 finite numbers"),
        ({"mean": [0, 0, np.nan]}, "mean to be 3 finite numbers"),
        ({"std": [1, 1, 0]}, "std above 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(change, message):
    arguments = {"network": minicnn.SimpleNet(2, 3), "class_names": ["a", "b"], "mean": [0] * 3, "std": [1] * 3}
    with pytest.raises((TypeError, ValueError), match=message):
        minicnn.Classifier(**(arguments | change))


# The file.


@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_gives_back_the_same_to_the_bit(tmp_path, channels):
    classifier = make_classifier(channels=channels)
    classifier.save(tmp_path / "m")
    other = minicnn.Classifier.load(tmp_path / "m")
    assert other.class_names == classifier.class_names
    assert other.channels == channels
    np.testing.assert_array_equal(other.mean, classifier.mean)
    np.testing.assert_array_equal(other.std, classifier.std)
    for name, array in classifier.network.state_dict().items():
        np.testing.assert_array_equal(other.network.state_dict()[name], array)
    image = np.random.default_rng(0).random((channels, 9, 7), np.float32)
    np.testing.assert_array_equal(other.predict([image]), classifier.predict([image]))


@pytest.mark.quick
def test_any_network_that_takes_images_of_any_size(tmp_path):
    """Its scores become probabilities, whether or not it ends in LogSoftmax."""
    network = minicnn.Sequential(
        body=minicnn.Sequential(conv=minicnn.Conv2d(1, 4, 3, padding=1, rng=0), relu=minicnn.ReLU()),
        pool=minicnn.AdaptiveAvgPool2d((2, 2)),
        flat=minicnn.Flatten(),
        fc=minicnn.Linear(16, 3, rng=0),
    )
    classifier = minicnn.Classifier(network, ["a", "b", "c"], [0.5], [0.25])
    images = [np.random.default_rng(n).random((1, 5 + n, 9), np.float32) for n in range(3)]
    found = classifier.predict(images)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    scores = network.predict((images[1][None] - np.float32(0.5)) / np.float32(0.25))[0]
    np.testing.assert_allclose(found[1], np.exp(scores) / np.exp(scores).sum(), rtol=1e-5)
    classifier.save(tmp_path / "m")
    again = minicnn.Classifier.load(tmp_path / "m")
    assert repr(again.network) == repr(network)
    np.testing.assert_array_equal(again.predict(images), found)
    assert repr(again) == "Classifier(Sequential, 1 channel, classes a, b, c)"


def test_a_simple_net_with_another_layer_in_it_keeps_that(tmp_path):
    network = minicnn.replace_head(minicnn.SimpleNet(5, 3, rng=0), 2, rng=0)
    network.children["adaptive_pool"] = minicnn.AdaptiveAvgPool2d(1)
    classifier = minicnn.Classifier(network, ["a", "b"], [0] * 3, [1] * 3)
    classifier.save(tmp_path / "m")
    assert repr(minicnn.Classifier.load(tmp_path / "m").network) == repr(network)


def test_the_weights_are_under_pytorchs_names(tmp_path):
    classifier = make_classifier()
    classifier.save(tmp_path / "m")
    network = minicnn.SimpleNet(3, 3)
    minicnn.load_weights(network, tmp_path / "m")  # which reads PyTorch's files
    np.testing.assert_array_equal(network["conv2"].params["weight"], classifier.network["conv2"].params["weight"])


def test_reading_shrinks_to_the_side_that_is_kept_in_the_file(tmp_path):
    PIL.Image.new("RGB", (40, 20), (255, 0, 0)).save(tmp_path / "a.png")
    classifier = minicnn.Classifier(minicnn.SimpleNet(2, 3, rng=0), ["a", "b"], [0] * 3, [1] * 3, max_side=10)
    classifier.save(tmp_path / "m")
    image = minicnn.Classifier.load(tmp_path / "m").read(tmp_path / "a.png")
    np.testing.assert_array_equal(image, np.broadcast_to(np.float32([1, 0, 0])[:, None, None], (3, 5, 10)))


def _description(classifier):
    return {
        "network": {"name": "SimpleNet", "num_classes": 3, "in_channels": 3},
        "class_names": classifier.class_names,
        "mean": classifier.mean.tolist(),
        "std": classifier.std.tolist(),
        "max_side": classifier.max_side,
    }


def test_the_description_is_what_the_damaged_ones_below_start_from(tmp_path):
    classifier = make_classifier()
    classifier.save(tmp_path / "m")
    metadata = read_safetensors(tmp_path / "m")[1]
    assert metadata["format"] == "minicnn classifier 2"
    assert json.loads(metadata["classifier"]) == _description(classifier)


@pytest.mark.parametrize("side", [None, 10])
def test_files_of_before_max_side_had_its_name_load(tmp_path, side):
    classifier = make_classifier()
    description = _description(classifier)
    del description["max_side"]
    metadata = {"format": "minicnn classifier 1", "classifier": json.dumps(description | {"longest": side})}
    write_safetensors(tmp_path / "m", classifier.network.state_dict(), metadata)
    loaded = minicnn.Classifier.load(tmp_path / "m")
    assert loaded.max_side == side
    assert loaded.class_names == classifier.class_names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "minicnn classifier 4"}, "written by a newer version of minicnn"),
        ({"format": "minicnn run 1"}, "a training run that was not finished"),
        ({"format": "minicnn classifier x"}, "a safetensors file without its class names"),
        ({"format": "pt"}, "a safetensors file without its class names"),
        ({"classifier": None}, "description is damaged"),
        ({"classifier": "{"}, "description is damaged"),
        ({"classifier": "[1]"}, "description is damaged"),
        ({"classifier": "{}"}, "damaged, there is no 'network'"),
        ({"network": {"name": "AlexNet", "num_classes": 3, "in_channels": 3}}, "network 'AlexNet'"),
        ({"network": {"name": "SimpleNet", "num_classes": 10**12, "in_channels": 3}}, "network's arguments"),
        ({"network": {"name": "SimpleNet", "num_classes": 3, "in_channels": 1}}, "network's arguments"),
        ({"network": "SimpleNet"}, "description is damaged"),
        ({"class_names": ["a", "b"]}, "network's arguments"),
        ({"class_names": ["a", "b", "b"]}, "3 different class names"),
        ({"class_names": 3}, "description is damaged"),
        ({"mean": [0, 0, "x"]}, "description is damaged"),
        ({"mean": [0, 0, None]}, "mean to be 3 finite numbers"),
        ({"std": [1, 1, -1]}, "std above 0"),
        ({"max_side": "x"}, "max_side: expected an integer"),
        ({"max_side": 0}, "max_side: expected at least 1"),
    ],
)
def test_a_damaged_description_is_named(tmp_path, change, message):
    classifier = make_classifier()
    description = _description(classifier)
    metadata = {"format": "minicnn classifier 2", "classifier": json.dumps(description)}
    for key, value in change.items():
        if key in description:
            metadata["classifier"] = json.dumps(description | {key: value})
        elif value is None:
            del metadata[key]
        else:
            metadata[key] = value
    write_safetensors(tmp_path / "m", classifier.network.state_dict(), metadata)
    with pytest.raises(ValueError, match=message) as caught:
        minicnn.Classifier.load(tmp_path / "m")
    assert str(caught.value).startswith(f"{tmp_path / 'm'}: ")


def test_weights_that_do_not_fit_are_named(tmp_path):
    classifier = make_classifier()
    metadata = {"format": "minicnn classifier 2", "classifier": json.dumps(_description(classifier))}
    write_safetensors(tmp_path / "m", minicnn.SimpleNet(4, 3).state_dict(), metadata)
    with pytest.raises(ValueError, match=r"/m: .*fc.bias: expected shape \(3,\), got \(4,\)"):
        minicnn.Classifier.load(tmp_path / "m")


@pytest.mark.parametrize("content", [b"", b"junk", b"\xff" * 100])
def test_other_files_are_no_models(tmp_path, content):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(ValueError, match=r"/m: expected a safetensors file"):
        minicnn.Classifier.load(tmp_path / "m")
    with pytest.raises(FileNotFoundError, match="no file"):
        minicnn.Classifier.load(tmp_path / "nowhere")


def test_weights_alone_are_no_model(tmp_path):
    minicnn.save_weights(minicnn.SimpleNet(), tmp_path / "w")
    with pytest.raises(ValueError, match=r"read with minicnn\.load_weights"):
        minicnn.Classifier.load(tmp_path / "w")


def test_a_killed_save_leaves_the_old_file(tmp_path):
    make_classifier(seed=0).save(tmp_path / "m")
    old = (tmp_path / "m").read_bytes()
    code = (
        "import os, signal, minicnn\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "minicnn.Classifier(minicnn.SimpleNet(2, 1), 'ab', [0], [1]).save('m')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(minicnn.__file__).parent.parent)}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment)
    assert result.returncode == -signal.SIGKILL
    assert (tmp_path / "m").read_bytes() == old


# Training and evaluation.


def test_channel_statistics_are_over_all_pixels(tmp_path):
    folder = ImageFolder(write_shapes(tmp_path / "s", 5, seed=0))
    pixels = np.concatenate([folder.image(n).reshape(3, -1) for n in range(10)], axis=1).astype(np.float64)
    mean, std = channel_statistics(folder)
    np.testing.assert_allclose(mean, pixels.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(axis=1), rtol=1e-10)


def test_the_default_batches_are_of_about_32_images(tmp_path):
    folder = ImageFolder(write_shapes(tmp_path / "s", 100, seed=0))
    counts = [len(batch) for batch in default_order(folder).batches(folder.sizes, np.random.default_rng(0))]
    assert 25 < np.mean(counts[:-1]) < 35


def test_augmented_images_stay_images():
    rng, image = np.random.default_rng(0), np.random.default_rng(1).random((3, 20, 30), np.float32)
    results = [default_augment(image, rng) for _ in range(20)]
    assert len({result.shape for result in results}) > 5
    assert all(result.min() >= 0 and result.max() <= 1 and result.dtype == np.float32 for result in results)


def test_training_needs_two_classes_with_images(tmp_path):
    one = ImageFolder(write_shapes(tmp_path / "one", 2, seed=0, classes=("bar",)))
    with pytest.raises(ValueError, match="two classes or more, got 1"):
        train_classifier(one, one)
    write_shapes(tmp_path / "two", 2, seed=0)
    (tmp_path / "two" / "empty").mkdir()
    two = ImageFolder(tmp_path / "two")
    with pytest.raises(ValueError, match="got none of empty; add some, or remove the folder"):
        train_classifier(two, two)


def test_classes_go_by_their_names(tmp_path):
    folder = ImageFolder(write_shapes(tmp_path / "s", 2, seed=0))
    (tmp_path / "s" / ".hidden").mkdir()  # no images, so nothing to know
    folder = relabelled(ImageFolder(tmp_path / "s"), ["disc", "x", "bar"])
    assert folder.labels.tolist() == [2, 2, 0, 0]
    with pytest.raises(ValueError, match="the classes disc, x, got images in bar"):
        relabelled(ImageFolder(tmp_path / "s"), ["disc", "x"])


def test_a_run_of_ones_own_is_compared_too(tmp_path):
    """Trainer(settings=…) keeps what it is told in the checkpoint, and compares it."""

    def trainer(settings):
        network = minicnn.Sequential(minicnn.Linear(2, 2, rng=0))
        optimizer = minicnn.SGD(network, lr=0.1)
        return minicnn.Trainer(network, minicnn.CrossEntropyLoss(), optimizer, settings=settings, quiet=True)

    begun = trainer({"seed": 3, "files": ("a", "b")})
    begun.fit([(np.ones((3, 2), np.float32), np.array([0, 1, 1]))], epochs=2)
    begun.save(tmp_path / "run")
    trainer({"seed": 3, "files": ["a", "b"]}).load(tmp_path / "run")
    trainer(None).load(tmp_path / "run")  # which asks for nothing
    other = trainer({"files": ("a",), "lr": 1})
    weight = other.network[0].params["weight"].copy()
    with pytest.raises(ValueError, match=r"expected what the run in .* was begun with, got something else") as caught:
        other.load(tmp_path / "run")
    assert str(caught.value).splitlines()[1:] == [
        "  seed: expected 3, got None",
        "  files: expected ['a', 'b'], got ['a']",
        "  lr: expected None, got 1",
    ]
    assert (other.epoch, other.history, other.optimizer.steps) == (0, [], 0)
    np.testing.assert_array_equal(other.network[0].params["weight"], weight)
    with pytest.raises(TypeError, match="settings that JSON can hold"):
        trainer({"rng": np.random.default_rng()})


def test_the_numbers_of_an_evaluation():
    probabilities = np.float32([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.4, 0.6, 0], [0.05, 0.95, 0]])
    result = Evaluation(["a", "b", "c"], [Path(name) for name in "pqrs"], np.array([0, 0, 1, 0]), probabilities)
    assert result.confusion.tolist() == [[1, 2, 0], [0, 1, 0], [0, 0, 0]]
    assert (result.accuracy, result.largest_share) == (0.5, 0.75)
    np.testing.assert_allclose(result.precision, [1, 1 / 3, np.nan])
    np.testing.assert_allclose(result.recall, [1 / 3, 1, np.nan])
    assert result.mistakes().tolist() == [3, 1]


def test_an_evaluation_leaves_bad_files_out(tmp_path):
    write_shapes(tmp_path / "s", 3, seed=0)
    cut = tmp_path / "s" / "bar" / "1.png"
    cut.write_bytes(cut.read_bytes()[:300])
    classifier = minicnn.Classifier(minicnn.SimpleNet(2, 3, rng=0), ["bar", "disc"], [0.2] * 3, [0.2] * 3)
    result = minicnn.evaluate(classifier, ImageFolder(tmp_path / "s"))
    assert [path.name for path in result.paths] == ["0.png", "2.png", "0.png", "1.png", "2.png"]
    assert result.labels.tolist() == [0, 0, 1, 1, 1]
    np.testing.assert_allclose(
        result.probabilities, classifier.predict([classifier.read(path) for path in result.paths]), atol=1e-6
    )
