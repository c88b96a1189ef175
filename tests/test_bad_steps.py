"""A step that cannot be made: it says why, and leaves weights, optimiser, statistics and counts to the bit."""

import numpy as np
import pytest

import minicnn
from minicnn.training.checkpoint import load_run
from tests.runs import small_network, small_problem

OPTIMIZERS = {
    "SGD": lambda network: minicnn.SGD(network, 0.01, momentum=0.9, nesterov=True, weight_decay=0.1),
    "Adam": lambda network: minicnn.Adam(network, 0.01, weight_decay=0.1),
    "AdamW": lambda network: minicnn.AdamW(network, 0.01),
}


def run_of(optimizer, backend="cpu", loss=None, **settings):
    network = small_network().to(backend)
    return minicnn.Trainer(network, loss or minicnn.NLLLoss(), OPTIMIZERS[optimizer](network), quiet=True, **settings)


def everything(trainer, path):
    """All that a run is made of, as it is saved."""
    trainer.save(path)
    arrays, run = load_run(path)
    return {name: array.tobytes() for name, array in arrays.items()} | run


def assert_refused(trainer, x, y, path, error=RuntimeError, match=None):
    before = everything(trainer, path)
    with np.errstate(all="ignore"), pytest.raises(error, match=match):
        trainer.step(x, y)
    assert everything(trainer, path) == before


class GradientOf:
    """A finite loss whose gradient has one number that is not."""

    def __init__(self, number):
        self.number, self.loss = number, minicnn.NLLLoss()

    def forward(self, output, target):
        return self.loss.forward(output, target)

    def backward(self):
        gradient = self.loss.backward()
        gradient[0, 1] = self.number
        return gradient


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("max_grad_norm", [None, 1.0])
def test_gradients_that_are_not_finite_change_nothing(tmp_path, backend, optimizer, number, max_grad_norm):
    trainer = run_of(optimizer, backend, max_grad_norm=max_grad_norm)
    twin = run_of(optimizer, backend, max_grad_norm=max_grad_norm)
    x, y = small_problem()
    for either in (trainer, twin):
        either.step(x, y)
    good, trainer.loss = trainer.loss, GradientOf(number)
    assert_refused(trainer, x, y, tmp_path / "run", match=r"expected .*finite.*, got .*at step 2 \(epoch 1\)")
    trainer.loss = good
    for either in (trainer, twin):
        either.step(x, y)
    for name, array in twin.network.state_dict().items():
        assert trainer.network.state_dict()[name].tobytes() == array.tobytes(), name


def test_the_message_names_parameters_and_the_cause(tmp_path):
    trainer, (x, y) = run_of("Adam", loss=GradientOf(np.inf)), small_problem()
    assert_refused(trainer, x, y, tmp_path / "run", match=r"fc\.bias.*gradients of .*fc\.weight.*Everything is as befo")


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("lr", [1e38, 1e300])
def test_finite_gradients_whose_step_overflows_change_nothing(tmp_path, backend, lr):
    trainer, (x, y) = run_of("SGD", backend, loss=GradientOf(1e10)), small_problem()
    trainer.optimizer.lr = lr
    assert_refused(trainer, x, y, tmp_path / "run", match="gradients are finite")


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_adam_without_eps_at_a_gradient_of_zero(tmp_path, backend):
    """0 / 0: a pixel that is 0 in every picture, and so a weight without gradient."""
    network = minicnn.Sequential(flatten=minicnn.Flatten(), fc=minicnn.Linear(36, 3, rng=0)).to(backend)
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network, eps=0), quiet=True)
    x, y = small_problem()
    x[:, :, 2, 2] = 0
    assert_refused(trainer, x, y, tmp_path / "run", match=r"fc\.weight")


@pytest.mark.parametrize("fuse", [True, False])
def test_statistics_that_overflow_change_nothing(tmp_path, fuse):
    """The variance of numbers of 1e25 is no float32, though the loss is finite."""
    trainer, (x, y) = run_of("Adam", fuse=fuse), small_problem()
    assert_refused(trainer, x * np.float32(1e25), y, tmp_path / "run", match=r"bn\.running_var|loss is nan")


def test_a_gradient_of_the_wrong_shape_leaves_the_statistics(tmp_path):
    class Wrong(GradientOf):
        def backward(self):
            return self.loss.backward()[:, :2]

    trainer, (x, y) = run_of("Adam", loss=Wrong(0)), small_problem()
    assert_refused(trainer, x, y, tmp_path / "run", ValueError, match="LogSoftmax.backward: dy")


@pytest.mark.parametrize("loss", [np.ones(3), None, "0.5", 1j])
def test_a_loss_that_is_no_number_is_named(tmp_path, loss):
    class Odd(GradientOf):
        def forward(self, output, target):
            return loss

    trainer, (x, y) = run_of("Adam", loss=Odd(0)), small_problem()
    assert_refused(trainer, x, y, tmp_path / "run", TypeError, match="Trainer: the loss: expected a number, got")


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("size", [1e15, 1e30, 3e38])
def test_large_gradients_of_adam_are_pytorchs(backend, size):
    """From 1e20 on the square is infinite in float32, and the update 0. That is a step like any other."""
    network = minicnn.Sequential(fc=minicnn.Linear(2, 1, bias=False, rng=0)).to(backend)

    class Sum:
        def forward(self, output, target):
            return 1.0

        def backward(self):
            return np.ones((1, 1), np.float32)

    trainer = minicnn.Trainer(network, Sum(), minicnn.Adam(network, lr=0.1), quiet=True)
    start, x = network["fc"].params["weight"].copy(), np.float32([[size, 1]])
    trainer.step(x, [0])
    step = np.float32([[0.1 if size < 1e19 else 0, 0.1]])  # of Adam's first step, whatever the gradient
    np.testing.assert_allclose(network["fc"].params["weight"], start - step, rtol=1e-5)
    np.testing.assert_allclose(trainer.optimizer.state["m"]["fc.weight"], x * np.float32(0.1), rtol=1e-5)
    trainer.step(x, [0])
    assert np.isfinite(network["fc"].params["weight"]).all()
    assert trainer.optimizer.steps == 2

    torch = pytest.importorskip("torch")
    weight = torch.nn.Parameter(torch.tensor(start))
    adam = torch.optim.Adam([weight], lr=0.1)
    for _ in range(2):
        weight.grad = torch.tensor(x)
        adam.step()
    np.testing.assert_allclose(network["fc"].params["weight"], weight.detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(
        trainer.optimizer.state["v"]["fc.weight"], adam.state[weight]["exp_avg_sq"].numpy(), rtol=1e-5
    )


def test_an_optimiser_to_which_infinite_gradients_do_no_harm_goes_on():
    class Signs(minicnn.SGD):
        def _update(self, ops, params, slots, grads, weight_decay):
            for param, grad in zip(params, grads, strict=True):
                param -= self.lr * np.sign(grad)

    network = minicnn.Sequential(flatten=minicnn.Flatten(), fc=minicnn.Linear(36, 3, rng=0))
    loss = GradientOf(-np.inf)
    trainer = minicnn.Trainer(network, loss, Signs(network, 0.5), quiet=True)
    x, y = small_problem()
    bias = network["fc"].params["bias"].copy()
    trainer.step(np.abs(x) + 1, y)
    np.testing.assert_allclose(np.abs(network["fc"].params["bias"] - bias), 0.5, rtol=1e-6)
    assert trainer.optimizer.steps == 1


def test_weights_that_are_lost_already_are_named_and_not_saved(tmp_path):
    """As by an optimiser's step outside the trainer. The checkpoint from before stays."""
    trainer, (x, y) = run_of("Adam"), small_problem()
    trainer.save(tmp_path / "run")
    good = load_run(tmp_path / "run")
    trainer.network["fc"].params["weight"][0, 0] = np.inf
    with np.errstate(all="ignore"), pytest.raises(RuntimeError, match=r"fc\.weight had been infinite or NaN already"):
        trainer.step(x, y)
    with pytest.raises(RuntimeError, match=r"Trainer.save: expected finite numbers, .*fc\.weight"):
        trainer.save(tmp_path / "run")
    arrays, run = load_run(tmp_path / "run")
    assert run == good[1]
    assert all(array.tobytes() == good[0][name].tobytes() for name, array in arrays.items())
