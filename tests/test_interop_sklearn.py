"""CNNClassifier: scikit-learn's own checks, and that it works where scikit-learn's classifiers do."""

import pickle
import sys
from collections import Counter
from functools import partial

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import check_estimator

import minicnn
from minicnn.interop.sklearn import CNNClassifier
from tests.runs import bits


def digits(n_images=300):
    X, y = load_digits(return_X_y=True)
    return X[:n_images] / 16, y[:n_images]


def small(n_classes, image_shape, rng):
    """A network of one's own, at module level, so that it can be pickled."""
    channels, *_ = image_shape
    return minicnn.Sequential(
        conv=minicnn.Conv2d(channels, 8, 3, padding=1, rng=rng),
        relu=minicnn.ReLU(),
        pool=minicnn.AdaptiveAvgPool2d(2),
        flatten=minicnn.Flatten(),
        fc=minicnn.Linear(32, n_classes, rng=rng),
    )


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("settings", [{"epochs": 6}, pytest.param({}, marks=pytest.mark.slow)])
def test_scikit_learns_checks(settings):
    results = check_estimator(CNNClassifier(random_state=0, **settings), on_fail=None, on_skip=None)
    found = Counter(result["status"] for result in results)
    assert not [result for result in results if result["status"] not in ("passed", "skipped")]
    assert found["passed"] > 50
    assert found["skipped"] <= 2, "they need pandas, and SciPy's array API"


def test_it_learns_the_digits_with_any_labels():
    X, y = digits(800)
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])[y]
    classifier = CNNClassifier(epochs=8, random_state=0).fit(X[:600], names[:600])
    assert classifier.score(X[600:], names[600:]) > 0.9
    assert classifier.classes_.tolist() == sorted(set(names))
    proba = classifier.predict_proba(X[600:])
    assert (proba.shape, proba.dtype) == ((200, 10), np.float64)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(classifier.classes_[proba.argmax(axis=1)], classifier.predict(X[600:]))
    assert [row["epoch"] for row in classifier.history_] == list(range(1, 9))


@pytest.mark.quick
def test_probabilities_are_the_networks():
    X, y = digits()
    classifier = CNNClassifier(small, epochs=1, random_state=0).fit(X, y)
    scores = classifier.network_.predict(X.reshape(-1, 1, 8, 8).astype(np.float32)).astype(np.float64)
    expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.predict_proba(X), expected, rtol=1e-5)


def test_a_fit_is_repeated_to_the_bit():
    X, y = digits()
    first, second = (CNNClassifier(epochs=2, random_state=3).fit(X, y) for _ in range(2))
    assert bits(first.network_) == bits(second.network_)
    assert bits(first.fit(X, y).network_) == bits(second.network_)
    other = CNNClassifier(epochs=2, random_state=4).fit(X, y)
    assert bits(first.network_) != bits(other.network_)
    for random_state in (None, np.random.RandomState(0)):
        CNNClassifier(epochs=1, random_state=random_state).fit(X, y)


def test_partial_fit_makes_the_passes_of_fit():
    X, y = digits()
    whole = CNNClassifier(epochs=3, random_state=0).fit(X, y)
    parts = CNNClassifier(epochs=3, random_state=0)
    for _ in range(3):
        parts.partial_fit(X, y, classes=range(10))
    assert bits(parts.network_) == bits(whole.network_)
    before = bits(parts.network_)
    assert parts.partial_fit(X[:50], y[:50]) is parts
    assert bits(parts.network_) != before
    assert len(parts.history_) == 4


def test_partial_fit_knows_classes_that_come_later():
    X, y = digits()
    classifier = CNNClassifier(random_state=0)
    few = y < 3
    with pytest.raises(ValueError, match="expected classes, all labels, in the first call, got none"):
        classifier.partial_fit(X, y)
    classifier.partial_fit(X[few], y[few], classes=np.arange(10))
    assert classifier.predict_proba(X).shape == (300, 10)
    before = bits(classifier.network_)
    with pytest.raises(ValueError, match=r"expected labels among the classes .*, got \[11\]"):
        classifier.partial_fit(X[:2], [0, 11])
    with pytest.raises(ValueError, match=r"expected classes .* as before, got \[0, 1\]"):
        classifier.partial_fit(X[:2], [0, 1], classes=[0, 1])
    assert bits(classifier.network_) == before
    classifier.partial_fit(X, y, classes=range(10))


def test_clone_and_pickle():
    X, y = digits()
    classifier = CNNClassifier(small, optimizer=partial(minicnn.SGD, momentum=0.9), epochs=2, random_state=0).fit(X, y)
    copy = clone(classifier)
    assert copy.get_params() == classifier.get_params() | {"optimizer": copy.optimizer}
    with pytest.raises(NotFittedError):
        copy.predict(X)
    read = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(read.predict_proba(X), classifier.predict_proba(X))
    read.partial_fit(X, y)  # with the momentum and the order of images that it was pickled with
    assert bits(read.network_) == bits(classifier.partial_fit(X, y).network_)


def test_what_joblib_maps_into_memory_predicts(tmp_path):
    X, y = digits()
    classifier = CNNClassifier(epochs=1, random_state=0).fit(X, y)
    joblib.dump(classifier, tmp_path / "classifier")
    read = joblib.load(tmp_path / "classifier", mmap_mode="r")
    np.testing.assert_array_equal(read.predict_proba(X), classifier.predict_proba(X))


def test_pipelines_searches_and_workers():
    X, y = digits()
    pipeline = make_pipeline(MinMaxScaler(), CNNClassifier(small, epochs=1, random_state=0))
    alone, workers = (cross_val_score(pipeline, X, y, cv=3, n_jobs=n, error_score="raise") for n in (1, 2))
    np.testing.assert_array_equal(alone, workers)
    grid = {"cnnclassifier__lr": [0.0, 0.02], "cnnclassifier__epochs": [6]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2, error_score="raise").fit(X, y)
    assert search.best_params_ == {"cnnclassifier__lr": 0.02, "cnnclassifier__epochs": 6}
    assert search.score(X, y) > 0.5


@pytest.mark.parametrize(
    ("n_features", "shape"),
    [(64, (1, 8, 8)), (784, (1, 28, 28)), (3072, (3, 32, 32)), (12, (3, 2, 2)), (10, (1, 2, 5)), (7, (1, 1, 7))],
)
def test_the_shape_of_images_that_is_taken_for_granted(n_features, shape):
    X = np.random.default_rng(0).random((4, n_features))
    assert CNNClassifier(epochs=1, random_state=0).fit(X, [0, 1, 0, 1]).image_shape_ == shape


def test_the_shape_of_images_that_is_given():
    X, seen = np.arange(24.0).reshape(2, 12), []

    def network(n_classes, image_shape, rng):
        seen.append((n_classes, image_shape))
        return small(n_classes, image_shape, rng)

    classifier = CNNClassifier(network, image_shape=(2, 3, 2), epochs=1, random_state=0).fit(X, ["a", "b"])
    assert seen == [(2, (2, 3, 2))]
    np.testing.assert_array_equal(classifier._as_images(X)[1], np.arange(12, 24).reshape(2, 3, 2))


@pytest.mark.parametrize("n_images", [2, 33, 65])
def test_images_of_one_pixel_and_batches_of_one_image(n_images):
    """Batchnorm has no variance of a single value."""
    X = np.linspace(0, 1, n_images)[:, None]
    classifier = CNNClassifier(epochs=1, random_state=0).fit(X, np.arange(n_images) % 2)
    assert classifier.predict(X).shape == (n_images,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_shape": (1, 8, 9)}, r"expected X with 72 features, of images \(1, 8, 9\), got 64"),
        ({"image_shape": (8, 8)}, r"image_shape: expected \(C, H, W\), got \(8, 8\)"),
        ({"image_shape": 64}, r"image_shape: expected \(C, H, W\), got 64"),
        ({"image_shape": (0, 8, 8)}, "image_shape: expected at least 1, got 0"),
        ({"epochs": 0}, "epochs: expected at least 1, got 0"),
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({"lr": -1}, "lr: expected a finite number of at least 0, got -1"),
        ({"network": lambda n_classes, image_shape, rng: minicnn.ReLU()}, "network: expected a Sequential, got ReLU"),
        ({"network": lambda *_: small(3, (1, 8, 8), 0)}, "labels from 0 to 2, got"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    X, y = digits()
    with pytest.raises((TypeError, ValueError), match=message):
        CNNClassifier(random_state=0, **({"epochs": 1} | settings)).fit(X, y)


def test_data_that_do_not_fit_are_refused_and_change_nothing():
    X, y = digits()
    classifier = CNNClassifier(epochs=1, random_state=0).fit(X, y)
    before = bits(classifier.network_)
    for wrong in (np.full_like(X, np.nan), np.full_like(X, 1e300), X[:, :-1], X.reshape(-1, 8, 8), X[:0]):
        for call in (classifier.predict, classifier.predict_proba, lambda X: classifier.partial_fit(X, y[: len(X)])):
            with pytest.raises(ValueError, match=r"Input|features|array"):
                call(wrong)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        classifier.partial_fit(X, np.linspace(0, 1, 300))
    assert bits(classifier.network_) == before


def test_without_scikit_learn_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    monkeypatch.delitem(sys.modules, "minicnn.interop.sklearn")
    with pytest.raises(ImportError, match=r"needs scikit-learn of at least 1\.6, .*; pip install 'scikit-learn>=1\.6'"):
        import minicnn.interop.sklearn  # noqa: F401
