"""Grad-CAM and saliency: against their definitions written out, against PyTorch, and what they leave alone."""

import numpy as np
import pytest

import minicnn
from minicnn.classify.plot_explanation import draw_explanation
from tests.own_layers import Scaled
from tests.runs import bits, small_network, trained_simple_net


def plain_network():
    """A network without batchnorm that ends in scores, its features smaller than the image."""
    return minicnn.Sequential(
        body=minicnn.Sequential(conv1=minicnn.Conv2d(3, 6, 3, stride=2, padding=1, rng=0), relu1=minicnn.ReLU()),
        pool=minicnn.MaxPool2d(2),
        conv2=minicnn.Conv2d(6, 5, 3, padding=1, rng=1),
        relu2=minicnn.ReLU(),
        gap=minicnn.AdaptiveAvgPool2d(1),
        flat=minicnn.Flatten(),
        fc=minicnn.Linear(5, 4, rng=2),
    )


NETWORKS = {
    "SimpleNet": lambda: trained_simple_net((1, 1)),
    "SimpleNet, 2 x 3": lambda: trained_simple_net((2, 3)),
    "plain": plain_network,
}


def image(shape=(3, 17, 14), seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def score(network, x, k):
    """The score of class k, of a network in float64."""
    *layers, last = network
    x = x[None]
    for layer in layers if isinstance(last, minicnn.LogSoftmax) else [*layers, last]:
        x = layer.predict(x)
    return x[0, k]


@pytest.mark.quick
def test_saliency_is_the_gradient_by_difference_quotients():
    network = plain_network().to("reference", np.float64)
    x = image((3, 9, 8)).astype(np.float64)
    found = minicnn.saliency(network, x, 2)
    assert found.shape == x.shape
    for place in [(0, 0, 0), (1, 4, 5), (2, 8, 7), (0, 3, 3)]:
        step = np.zeros_like(x)
        step[place] = 1e-6
        quotient = (score(network, x + step, 2) - score(network, x - step, 2)) / 2e-6
        assert found[place] == pytest.approx(quotient, abs=1e-7)
    assert np.abs(found).max() > 1e-3


@pytest.mark.quick
def test_grad_cam_is_its_definition_written_out():
    network = plain_network().to("reference", np.float64)
    x = image((3, 16, 20)).astype(np.float64)
    found = minicnn.grad_cam(network, x, 1)
    assert found.layer == "relu2"
    below, above = list(network)[:4], list(network)[4:]
    features = x[None]
    for layer in below:
        features = layer.predict(features)

    def score_of(features):
        for layer in above:
            features = layer.predict(features)
        return features[0, 1]

    _, channels, height, width = features.shape
    weights = np.zeros(channels)
    for c in range(channels):
        for p in range(height):
            for q in range(width):
                step = np.zeros_like(features)
                step[0, c, p, q] = 1e-6
                weights[c] += (score_of(features + step) - score_of(features - step)) / 2e-6 / (height * width)
    heat = np.zeros((height, width))
    for c in range(channels):
        heat += weights[c] * features[0, c]
    np.testing.assert_allclose(found.weights, weights, atol=1e-8)
    np.testing.assert_allclose(found.heat, np.maximum(heat, 0), atol=1e-8)
    assert found.heat.max() > 0


@pytest.mark.torch
@pytest.mark.parametrize("name", NETWORKS)
def test_pytorch(name):
    torch = pytest.importorskip("torch")
    from minicnn.interop.torch import to_torch

    network, x = NETWORKS[name](), image()
    modules = [module for module in to_torch(network).eval().modules() if not list(module.children())]
    if isinstance(modules[-1], torch.nn.LogSoftmax):
        modules.pop()
    pixels = torch.tensor(x[None], requires_grad=True)
    y = pixels
    activations = []
    for module in modules:
        y = module(y)
        y.retain_grad()
        activations.append(y)
    y[0, 3].backward()
    scale = pixels.grad.abs().max().item()
    np.testing.assert_allclose(minicnn.saliency(network, x, 3), pixels.grad[0].numpy(), atol=1e-5 * scale)

    cam = minicnn.grad_cam(network, x, 3)
    features = [a for a in activations if a.ndim == 4 and a.shape[2] * a.shape[3] > 1][-1]
    if name == "SimpleNet, 2 x 3":
        assert cam.layer == "adaptive_pool"
    weights = features.grad[0].mean(dim=(1, 2))
    heat = torch.relu((weights[:, None, None] * features[0]).sum(dim=0)).detach().numpy()
    np.testing.assert_allclose(cam.weights, weights.numpy(), atol=1e-5 * weights.abs().max().item())
    np.testing.assert_allclose(cam.heat, heat, atol=1e-5 * max(heat.max(), 1e-3))


def test_a_layer_may_be_chosen():
    network = plain_network()
    assert minicnn.grad_cam(network, image(), 0, layer="body.relu1").heat.shape == (9, 7)
    assert minicnn.grad_cam(network, image(), 0, layer="conv2").heat.shape == (4, 3)
    with pytest.raises(KeyError, match=r"no layer 'conv9'; there are body.conv1"):
        minicnn.grad_cam(network, image(), 0, layer="conv9")
    with pytest.raises(ValueError, match="an image of several pixels, got fc"):
        minicnn.grad_cam(network, image(), 0, layer="fc")


def test_the_network_stays_as_it_is():
    network = small_network()
    before = bits(network)
    for explain in (minicnn.grad_cam, minicnn.saliency):
        explain(network, image((1, 8, 9)), 1)
    assert bits(network) == before
    assert network.training
    assert all(layer.memory is None and not layer.grads for layer in network)


def test_layers_of_ones_own_take_part():
    network = minicnn.Sequential(Scaled(2), *plain_network())
    np.testing.assert_allclose(
        minicnn.saliency(network, image(), 1), 2 * minicnn.saliency(plain_network(), 2 * image(), 1), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("x", "k", "error", "message"),
    [
        (image()[None], 0, ValueError, r"expected one image of shape \(C, H, W\), got shape \(1, 3"),
        (image().astype(np.float64), 0, TypeError, "expected input of the dtype"),
        (image(), 4, IndexError, "expected a class from 0 to 3, got 4"),
        (image(), -1, IndexError, "expected a class from 0 to 3, got -1"),
        (image(), 1.5, TypeError, "k: expected an integer, got 1.5"),
    ],
)
@pytest.mark.parametrize("explain", [minicnn.grad_cam, minicnn.saliency])
def test_bad_questions(explain, x, k, error, message):
    with pytest.raises(error, match=message):
        explain(plain_network(), x, k)


def test_networks_without_features_or_scores():
    flat = minicnn.Sequential(minicnn.Flatten(), minicnn.Linear(4, 3, rng=0))
    with pytest.raises(ValueError, match="an image of several pixels, got none in the network"):
        minicnn.grad_cam(flat, image((1, 2, 2)), 0)
    with pytest.raises(ValueError, match=r"expected a network with outputs \(N, K\)"):
        minicnn.saliency(minicnn.Sequential(minicnn.ReLU()), image(), 0)


@pytest.mark.quick
def test_the_figure_covers_the_image():
    pytest.importorskip("matplotlib")
    network, x = plain_network(), np.abs(image())
    figure = draw_explanation(x / x.max(), minicnn.grad_cam(network, x, 0), minicnn.saliency(network, x, 0), "$ 猫")
    plain, looked, salient = figure.axes[:3]
    assert looked.images[1].get_extent() == [-0.5, 13.5, 16.5, -0.5]
    assert looked.get_xlim() == plain.get_xlim() == salient.get_xlim()
