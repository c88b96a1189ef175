"""winners: which pixels won the max pooling, what they contributed, and the way back."""

import numpy as np
import pytest

import minicnn

pytestmark = pytest.mark.quick


@pytest.fixture(params=["cpu", "reference"])
def network(request):
    network = minicnn.SimpleNet(num_classes=3, in_channels=2, rng=0).to(request.param, np.float64)
    for seed in range(3):  # so that the running statistics are not those of a new network
        network.forward(np.random.default_rng(seed).standard_normal((4, 2, 6, 5)) + 1)
    return network


@pytest.fixture
def image():
    return np.random.default_rng(9).standard_normal((2, 7, 9))


def test_contributions_sum_to_the_score(network, image):
    scores = image[None]
    for layer in list(network)[:-1]:  # all but log-softmax
        scores = layer.predict(scores)
    bias = network["fc"].params["bias"]
    for k in range(3):
        contributions = minicnn.winners(network, image, k).contributions
        assert contributions.shape == (64,)
        np.testing.assert_allclose(contributions.sum() + bias[k], scores[0, k], rtol=1e-12)


def test_positions_are_where_the_features_are_largest(network, image):
    features = image[None]
    for layer in list(network)[: list(network.children).index("adaptive_pool")]:
        features = layer.predict(features)
    positions = minicnn.winners(network, image, 1).positions
    assert positions.shape == (64, 2)
    for channel, (row, column) in zip(features[0], positions, strict=True):
        assert channel[row, column] == channel.max()
        assert (channel.reshape(-1)[: row * channel.shape[1] + column] < channel.max()).all()  # the first of them


def test_the_gradient_is_a_finite_difference(network, image):
    """At every cell of the image, for each class. A step this small lets no other pixel win."""
    step = 1e-6
    moved = np.repeat(image[None], 2 * image.size, axis=0)
    for cell in range(image.size):
        moved[2 * cell].flat[cell] += step
        moved[2 * cell + 1].flat[cell] -= step
    outputs = np.concatenate([network.predict(part) for part in np.split(moved, 6)])
    differences = (outputs[0::2] - outputs[1::2]) / (2 * step)
    for k in range(3):
        gradient = minicnn.winners(network, image, k).gradient
        np.testing.assert_allclose(gradient.reshape(-1), differences[:, k], atol=1e-7 * np.abs(differences).max())
        assert np.abs(gradient).max() > 1e-3


def test_only_what_the_winners_saw_has_a_gradient(network):
    image = np.random.default_rng(0).standard_normal((2, 60, 50))
    positions, _, gradient = minicnn.winners(network, image, 0)
    seen = np.zeros(image.shape[1:], bool)
    for row, column in positions:  # three convolutions of 3 × 3 see 7 × 7
        seen[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4] = True
    assert not seen.all()
    # Winograd's convolution rounds differently from one cell of a tile to the next, the plain sums do not.
    rounding = 1e-12 if network.ops.__name__.endswith("cpu") else 0
    assert np.abs(gradient[:, ~seen]).max() <= rounding * np.abs(gradient).max()


def test_the_network_stays_as_it_was(network, image):
    x = np.random.default_rng(1).standard_normal((2, 2, 5, 5))
    before = network.state_dict()
    y = network.forward(x)
    minicnn.winners(network, image, 0)
    network.backward(np.ones_like(y))  # what forward remembered is still there
    grads = {name: layer.grads[key].copy() for name, layer, key in network.named_params()}
    minicnn.winners(network, image, 0)
    assert network.training
    for name, layer, key in network.named_params():
        np.testing.assert_array_equal(layer.grads[key], grads[name])
    for name, array in network.state_dict().items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):  # moved by forward
            np.testing.assert_array_equal(array, before[name])


def test_what_does_not_fit_is_named(network, image):
    with pytest.raises(IndexError, match="a class from 0 to 2, got 3"):
        minicnn.winners(network, image, 3)
    with pytest.raises(ValueError, match=r"one image of shape \(C, H, W\), got shape \(1, 2, 7, 9\)"):
        minicnn.winners(network, image[None], 0)
    with pytest.raises(TypeError, match="float32"):
        minicnn.winners(network, image.astype(np.float32), 0)
    with pytest.raises(TypeError, match="expected a network that ends in"):
        minicnn.winners(minicnn.Sequential(minicnn.ReLU()), image, 0)
    average = minicnn.Sequential(
        minicnn.ReLU(), minicnn.AdaptiveAvgPool2d(1), minicnn.Flatten(), minicnn.Linear(2, 2), minicnn.LogSoftmax()
    )
    with pytest.raises(TypeError, match="AdaptiveAvgPool2d"):
        minicnn.winners(average, image, 0)
