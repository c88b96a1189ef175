"""What the inspector records of the loss, and of labels and gradients that are given in its place."""

import numpy as np
import pytest

import minicnn
from minicnn.inspect import inspect
from minicnn.inspect.sample import decoded
from tests.records import (
    SquaredError,
    gradient,
    made,
    recorded,
    trained_batchnorm,
    value,
)

pytestmark = pytest.mark.quick


def test_p_minus_onehot():
    network, x, y = made("SimpleNet", np.float64)
    record = recorded(network, x, y)
    view = {name: decoded(array) for name, array in record["loss_view"].items()}
    np.testing.assert_array_equal(view["log_p"], value(record, 13))
    np.testing.assert_allclose(view["p"].sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(view["onehot"], np.eye(10)[y])
    np.testing.assert_array_equal(view["scale"], [1])
    np.testing.assert_array_equal(view["dlogits"], gradient(record, 12))
    np.testing.assert_allclose(view["dlogits"], view["p"] - view["onehot"], rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(view["second_log_softmax"], view["log_p"], rtol=1e-12)


LOSSES = {
    "plain": (minicnn.CrossEntropyLoss, {}),
    "weights": (minicnn.CrossEntropyLoss, {"weight": np.array([1.0, 0.0, 3.0])}),
    "smoothing": (minicnn.CrossEntropyLoss, {"label_smoothing": 0.2}),
    "both": (minicnn.CrossEntropyLoss, {"weight": np.array([1.0, 0.0, 3.0]), "label_smoothing": 0.2}),
}


@pytest.mark.parametrize("name", LOSSES)
def test_dlogits_with_every_kind_of_cross_entropy(name):
    network, x, _ = made("own", np.float64)
    kind, options = LOSSES[name]
    record = recorded(network, x, [1, 2], loss=kind(**options))
    view = {key: decoded(array) for key, array in record["loss_view"].items() if array is not None}
    assert record["loss_view"]["second_log_softmax"] is None
    np.testing.assert_allclose(
        view["dlogits"], view["scale"][:, None] * (view["p"] - view["onehot"]), rtol=1e-9, atol=1e-15
    )
    np.testing.assert_allclose(view["onehot"].sum(axis=1), 1)
    loss = -(view["scale"][:, None] * view["onehot"] * view["log_p"]).sum()
    assert loss == pytest.approx(record["loss"]["value"], rel=1e-12)
    if name == "weights":
        np.testing.assert_array_equal(view["scale"], [0, 1])


def test_negative_log_likelihood_needs_a_log_softmax():
    network, x, y = made("SimpleNet", np.float64)
    as_cross_entropy, as_nll = (
        recorded(network, x, y, loss=loss) for loss in (minicnn.CrossEntropyLoss(), minicnn.NLLLoss())
    )
    for name in ("p", "onehot", "dlogits"):
        first, second = (decoded(record["loss_view"][name]) for record in (as_cross_entropy, as_nll))
        np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-15)
    network, x, y = made("own")
    assert recorded(network, x, y, loss=minicnn.NLLLoss())["loss_view"] is None


def test_a_loss_of_ones_own():
    network, x, _ = made("own", np.float64)
    loss = SquaredError()
    target = np.ones((2, 3))
    record = recorded(network, x, target, loss=loss)
    assert record["loss"]["name"] == "SquaredError"
    assert (record["labels"], record["labels_are_predicted"], record["loss_view"]) == (None, False, None)
    np.testing.assert_array_equal(gradient(record, 5), value(record, 5) - target)
    assert not hasattr(loss, "difference")  # it was run on a copy


def test_without_labels_those_that_are_predicted():
    network, x, _ = made("own")
    record = recorded(network, x, classes=["a", "b", "c"])
    assert record["labels"] == network.predict(x).argmax(axis=1).tolist()
    assert record["labels_are_predicted"]
    assert record["classes"] == ["a", "b", "c"]


def test_one_image_is_a_batch_of_one():
    network, x, _ = made("own")
    expected = recorded(network, x[:1], [2])
    assert recorded(network, x[0], 2) == expected
    assert recorded(network, x[0], [2]) == expected
    assert recorded(network, x[:1], np.int64(2)) == expected
    assert expected["input_shape"] == [1, 3, 17, 23]


def test_a_gradient_in_place_of_a_loss():
    rng = np.random.default_rng(0)
    network = minicnn.Sequential(minicnn.Conv2d(2, 3, 3, rng=0), minicnn.ReLU()).to("reference", np.float64)
    x, dy = rng.standard_normal((2, 2, 5, 6)), rng.standard_normal((2, 3, 3, 4))
    record = recorded(network, x, dy=dy)
    network.forward(x)
    np.testing.assert_array_equal(gradient(record, 2), dy)
    np.testing.assert_array_equal(gradient(record, 0), network.backward(dy))
    assert [record[key] for key in ("loss", "labels", "labels_are_predicted", "loss_view")] == [None, None, False, None]


def test_vectors():
    network = minicnn.Sequential(minicnn.Linear(4, 5, rng=0), minicnn.ReLU(), minicnn.Linear(5, 2, rng=1))
    x = np.random.default_rng(0).standard_normal((3, 4), np.float32)
    record = recorded(network, x, [0, 1, 1])
    assert record["input_shape"] == [3, 4]
    np.testing.assert_allclose(value(record, 3), network.predict(x), rtol=1e-5)


def test_the_cpu_backend_gives_the_same_up_to_rounding():
    network, x, y = made("own", np.float64)
    reference, cpu = (recorded(network, x, y, backend=backend) for backend in ("reference", "cpu"))
    for k in range(6):
        np.testing.assert_allclose(value(cpu, k), value(reference, k), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(gradient(cpu, k), gradient(reference, k), rtol=1e-9, atol=1e-12)


def test_the_network_stays_as_it_was():
    network, x = trained_batchnorm()
    y = network.forward(x)
    network.backward(np.ones_like(y))
    network.forward(x)
    memory, state = {name: layer.memory for name, layer in network.named_layers()}, network.state_dict()
    grads = {name: layer.grads[key] for name, layer, key in network.named_params()}
    kept = {name: grad.copy() for name, grad in grads.items()}
    network["bn"].eval()
    inspect(network, x, [0, 1, 2, 3])
    assert network.training
    assert not network["bn"].training
    for name, layer in network.named_layers():
        assert layer.memory is memory[name]
        assert layer.ops.__name__ == "minicnn.backends.reference"
    for name, layer, key in network.named_params():
        assert layer.grads[key] is grads[name]
        np.testing.assert_array_equal(grads[name], kept[name])
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
    network.backward(np.ones_like(y))  # what forward remembered still serves


@pytest.mark.parametrize(
    ("settings", "first_label", "has_a_view"),
    [({"reduction": "sum"}, 2, False), ({"ignore_index": 1}, 1, False), ({"ignore_index": 1}, 2, True)],
)
def test_a_loss_that_is_no_mean_over_all_images_has_no_view(settings, first_label, has_a_view):
    """The page has its value and its gradient, as of a loss of one's own."""
    network, x, _ = made("SimpleNet", np.float64)
    x, labels = np.concatenate([x, x]), np.full(2 * len(x), 2)
    labels[0] = first_label
    record = recorded(network, x, labels, loss=minicnn.CrossEntropyLoss(**settings))
    assert (record["loss_view"] is not None) == has_a_view


def test_a_loss_of_ignored_labels_alone_is_refused():
    network, x, _ = made("SimpleNet", np.float64)
    with pytest.raises(ValueError, match=r"got nan; every label is one that it ignores"):
        recorded(network, x, np.full(len(x), 1), loss=minicnn.CrossEntropyLoss(ignore_index=1))
