"""Reliability and temperature: by hand, against a fine search, and on a classifier and its file."""

import numpy as np
import pytest

import minicnn
from minicnn.classify.evaluate import Evaluation
from minicnn.classify.plots import draw_reliability
from minicnn.classify.reliability import reliability
from minicnn.classify.temperature import scaled, temperature_of

pytestmark = pytest.mark.quick


def overconfident(n_images=400, sharpness=3.0, seed=0):
    """(probabilities, labels): the labels are drawn from the right probabilities, of which these are a power."""
    rng = np.random.default_rng(seed)
    right = rng.dirichlet([1, 1, 1, 1], n_images)
    labels = np.array([rng.choice(4, p=p) for p in right])
    powers = right**sharpness
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32), labels


def test_the_temperature_has_the_largest_likelihood():
    probabilities, labels = overconfident()
    found = temperature_of(probabilities, labels)

    def likelihood(temperature):
        return np.log(scaled(probabilities.astype(np.float64), temperature)[np.arange(len(labels)), labels]).mean()

    grid = np.geomspace(0.1, 15, 4000)
    assert found == pytest.approx(grid[np.argmax([likelihood(t) for t in grid])], rel=2e-3)
    assert found == pytest.approx(3, rel=0.2)


def test_scaling_makes_it_as_sure_as_it_is_right():
    probabilities, labels = overconfident()
    fresh, fresh_labels = overconfident(4000, seed=1)
    names = list("abcd")
    before = reliability(Evaluation(names, [], fresh_labels, fresh))
    after = reliability(Evaluation(names, [], fresh_labels, scaled(fresh, temperature_of(probabilities, labels))))
    assert before.error > 0.15
    assert after.error < 0.05
    assert before.counts.sum() == after.counts.sum() == 4000


def test_bins_by_hand():
    probabilities = np.float32([[0.55, 0.45], [0.45, 0.55], [0.95, 0.05], [1, 0], [0.6, 0.4]])
    found = reliability(Evaluation(["a", "b"], [], np.array([0, 0, 0, 0, 1]), probabilities))
    assert found.counts.tolist() == [0, 0, 0, 0, 0, 3, 0, 0, 0, 2]
    assert found.accuracy[5] == pytest.approx(1 / 3)
    assert found.confidence[5] == pytest.approx((0.55 + 0.55 + 0.6) / 3)
    assert np.isnan(found.accuracy[0])
    assert found.error == pytest.approx((3 * (1.7 / 3 - 1 / 3) + 2 * (1 - 0.975)) / 5)


def test_a_probability_of_zero_is_no_end_of_it():
    probabilities = np.float32([[1, 0], [1, 0], [0, 1]])
    assert temperature_of(probabilities, np.array([0, 1, 1])) > 1
    assert np.isfinite(scaled(probabilities, 2)).all()
    with pytest.raises(ValueError, match="expected labelled images, got none"):
        temperature_of(probabilities[:0], np.array([], int))


def test_a_classifier_keeps_its_temperature(tmp_path):
    network = minicnn.SimpleNet(3, 1, rng=0)
    plain = minicnn.Classifier(network, ["a", "b", "c"], [0], [1])
    warm = minicnn.Classifier(network, ["a", "b", "c"], [0], [1], temperature=2.5)
    images = np.random.default_rng(0).random((4, 1, 9, 9), np.float32)
    np.testing.assert_allclose(warm.predict(images), scaled(plain.predict(images), 2.5), rtol=1e-6)
    assert (warm.predict(images).argmax(axis=1) == plain.predict(images).argmax(axis=1)).all()
    warm.save(tmp_path / "m")
    again = minicnn.Classifier.load(tmp_path / "m")
    assert again.temperature == 2.5
    np.testing.assert_array_equal(again.predict(images), warm.predict(images))


@pytest.mark.parametrize("temperature", [0, -1, np.nan])
def test_a_temperature_out_of_range(temperature):
    with pytest.raises(ValueError, match="Classifier: temperature: expected a finite number"):
        minicnn.Classifier(minicnn.SimpleNet(2, 1, rng=0), ["a", "b"], [0], [1], temperature=temperature)


def test_the_diagram_has_a_bar_for_each_bin():
    pytest.importorskip("matplotlib")
    probabilities, labels = overconfident(50)
    figure = draw_reliability(reliability(Evaluation(list("abcd"), [], labels, probabilities)))
    above, below = figure.axes
    assert len(above.patches) == len(below.patches) == 10
    assert above.get_ylabel() == "share that is right"
