"""`gradcheck` against layers whose numbers are right once, and that break what a layer must keep to; and what hides."""

import numpy as np
import pytest

import minicnn

RNG = np.random.default_rng(0)
IMAGES, VECTORS = RNG.standard_normal((3, 2, 4, 5)), RNG.standard_normal((4, 6))


class AddsGradients(minicnn.Linear):
    def backward(self, dy, need_dx=True):
        before = {key: grad.copy() for key, grad in self.grads.items()}
        dx = super().backward(dy, need_dx=need_dx)
        for key in before:
            self.grads[key] = self.grads[key] + before[key]
        return dx


class AddsToBiasAlone(minicnn.Linear):
    def backward(self, dy, need_dx=True):
        before = self.grads.get("bias", 0)
        dx = super().backward(dy, need_dx=need_dx)
        self.grads["bias"] = self.grads["bias"] + before
        return dx


class KeepsTheFirst(minicnn.Layer):
    kept = None

    def forward(self, x):
        self.kept = x.copy() if self.kept is None else self.kept
        return x * x

    def backward(self, dy):
        return 2 * self.kept * dy


class KeepsTheFirstMask(minicnn.Layer):
    mask = None

    def forward(self, x):
        if self.mask is None:
            self.mask = x > 0
        return np.where(x > 0, x, 0)

    def backward(self, dy):
        return np.where(self.mask, dy, 0)


class WritesIntoX(minicnn.Layer):
    def forward(self, x):
        self.mask = x > 0
        x[~self.mask] = 0
        return x

    def backward(self, dy):
        return np.where(self.mask, dy, 0)


class WritesIntoDy(minicnn.Layer):
    def forward(self, x):
        self.mask = x > 0
        return np.where(self.mask, x, 0)

    def backward(self, dy):
        dy[~self.mask] = 0
        return dy


BREACHES = {
    "adds to its gradients": (AddsGradients(6, 3, rng=0), VECTORS, "adds to the gradient of weight"),
    "adds to one gradient": (AddsToBiasAlone(6, 3, rng=0), VECTORS, "adds to the gradient of bias"),
    "keeps the first x": (
        KeepsTheFirst(),
        VECTORS,
        "after a pass on another x the gradient of x is not what a new copy",
    ),
    "keeps the first mask": (
        KeepsTheFirstMask(),
        VECTORS,
        "after a pass on another x the gradient of x is not what a new copy",
    ),
    "writes into x": (WritesIntoX(), VECTORS, "WritesIntoX.forward writes into its input x"),
    "writes into dy": (WritesIntoDy(), VECTORS, "WritesIntoDy.backward writes into dy"),
}


@pytest.mark.parametrize("name", BREACHES)
def test_the_contract_of_a_layer_is_held(name):
    layer, x, said = BREACHES[name]
    report = minicnn.gradcheck(layer, x)
    assert report.verdict == "WRONG"
    assert said in str(report)
    assert said in report.breaches[0]


def test_a_network_with_such_a_layer_is_wrong_as_well():
    network = minicnn.Sequential(fc1=minicnn.Linear(6, 5, rng=0), relu=WritesIntoDy(), fc2=AddsGradients(5, 3, rng=1))
    report = minicnn.gradcheck(network.to("reference"), VECTORS)
    assert report.verdict == "WRONG"


class WithoutWeight(minicnn.BatchNorm2d):
    """Its dx forgets the weight, which is 1 in a new layer."""

    def backward(self, dy, need_dx=True):
        weight = self.params["weight"]
        self.params["weight"] = np.ones_like(weight)
        dx = super().backward(dy, need_dx=need_dx)
        self.params["weight"] = weight
        return dx


class WithoutMean(minicnn.BatchNorm2d):
    """In evaluation its dweight forgets the running mean, which is 0 in a new layer."""

    def backward(self, dy, need_dx=True):
        dx = super().backward(dy, need_dx=need_dx)
        std = np.sqrt(self.state["running_var"] + self.eps)[:, None, None]
        self.grads["weight"] = (dy * self.x / std).sum(axis=(0, 2, 3))
        return dx

    def forward(self, x):
        self.x = x.copy()
        return super().forward(x)


class DividesByImages(minicnn.Linear):
    def backward(self, dy, need_dx=True):
        dx = super().backward(dy, need_dx=need_dx)
        self.grads["weight"] = self.grads["weight"] / len(dy)
        return dx


class ClipsInBackward(minicnn.ReLU):
    """The gate of ReLU6 behind the forward of ReLU."""

    def forward(self, x):
        self.open = (x > 0) & (x < 6)
        return np.maximum(x, 0)

    def backward(self, dy, need_dx=True):
        return np.where(self.open, dy, 0)


HIDDEN = {
    "a weight of 1": (WithoutWeight(2).to("reference"), IMAGES),
    "a mean of 0": (WithoutMean(2).to("reference").eval(), IMAGES),
    "one image": (DividesByImages(6, 3, rng=0).to("reference"), VECTORS[:1]),
    "no number beyond 6": (ClipsInBackward(), IMAGES),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_this_x_or_new_parameters_hide_is_found(name):
    layer, x = HIDDEN[name]
    before = {key: array.copy() for key, array in (layer.params | layer.state).items()}
    assert minicnn.gradcheck(layer, x).verdict == "WRONG"
    for key, array in (layer.params | layer.state).items():
        np.testing.assert_array_equal(array, before[key])


def test_a_refusal_names_the_parameters_where_x_is_random_already():
    closed = minicnn.Sequential(fc=minicnn.Linear(6, 5, rng=0), relu=minicnn.ReLU()).to("reference", np.float64)
    closed["fc"].params["bias"][:] = [-100, -101, -102, -103, -104]
    assert "change the parameters" in str(minicnn.gradcheck(closed, VECTORS))
    assert "Try an x of random numbers" in str(minicnn.gradcheck(minicnn.ReLU(), -np.ones((3, 4))))
