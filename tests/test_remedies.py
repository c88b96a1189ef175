"""The four slips of those who come from Keras, at each door where they may happen: the message says what to do."""

import numpy as np
import pytest

import minicnn
from tests.runs import small_network, small_problem

pytestmark = pytest.mark.quick

X, Y = small_problem()


def trainer():
    network = small_network()
    return minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network), quiet=True)


def classifier():
    return minicnn.Classifier(small_network(), ["a", "b", "c"], mean=[0.5], std=[0.25])


def cnn_classifier():
    return pytest.importorskip("minicnn.interop.sklearn").CNNClassifier(epochs=1, image_shape=(1, 6, 6))


DOORS = {
    "fit": lambda x, y: trainer().fit(x, y),
    "fit on batches": lambda x, y: trainer().fit([(x, y)]),
    "fit, to validate": lambda x, y: trainer().fit(X, Y, validation=(x, y)),
    "evaluate": lambda x, y: trainer().evaluate([(x, y)]),
    "step": lambda x, y: trainer().step(x, y),
    "Sequential.predict": lambda x, y: trainer().network.predict(x),
    "Classifier.predict": lambda x, y: classifier().predict(x),
    "CNNClassifier.fit": lambda x, y: cnn_classifier().fit(
        x if x.ndim == 4 and x.shape[1] != 1 else x.reshape(24, -1), y
    ),
}
PREDICTIONS = ("Sequential.predict", "Classifier.predict")


@pytest.mark.parametrize("door", [door for door in DOORS if door not in PREDICTIONS])
@pytest.mark.parametrize("dtype", [int, np.float32])
def test_one_hot_labels(door, dtype):
    with pytest.raises((TypeError, ValueError), match=r"argmax\(axis=1\)"):
        DOORS[door](X, np.eye(3, dtype=dtype)[Y])


@pytest.mark.parametrize("door", DOORS)
def test_channels_last(door):
    expected = r"\(1, H, W\)" if door == "Classifier.predict" else r"X?x?\.transpose\(0, 3, 1, 2\)"
    with pytest.raises(ValueError, match=expected):
        DOORS[door](X.transpose(0, 2, 3, 1), Y)


@pytest.mark.parametrize("door", [door for door in DOORS if door != "CNNClassifier.fit"])
def test_numbers_from_0_to_255(door):
    with pytest.raises(TypeError, match=r"astype\(np\.float32\) / 255"):
        DOORS[door]((X.clip(0, 1) * 255).astype(np.uint8), Y)


@pytest.mark.parametrize("door", [door for door in DOORS if door != "Sequential.predict"])
def test_not_a_number(door):
    x = X.copy()
    x[3, 0, 2, 2] = np.nan
    with pytest.raises((ValueError, RuntimeError), match="NaN"):
        DOORS[door](x, Y)


def test_a_plain_function_of_nan_is_nan():
    x = X.copy()
    x[3, 0, 2, 2] = np.nan
    assert np.isnan(small_network().predict(x)[3]).all()
    assert np.isfinite(small_network().predict(x)[4:]).all()


def test_a_lost_network_is_measured_all_the_same():
    lost = trainer()
    lost.network["fc"].params["bias"][0] = np.inf
    with np.errstate(all="ignore"):
        assert not np.isfinite(lost.evaluate([(X, Y)])["loss"])
