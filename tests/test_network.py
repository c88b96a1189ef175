"""Sequential and SimpleNet: the chain rule through many layers, and the state dict."""

import copy
import sys

import numpy as np
import pytest

import minicnn
from minicnn.backends import get_backend
from tests import checks, stored

pytestmark = pytest.mark.quick


def small_network(backend="reference", dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return minicnn.Sequential(
        conv1=minicnn.Conv2d(2, 4, 3, stride=2, padding=1, rng=rng),
        bn1=minicnn.BatchNorm2d(4),
        relu1=minicnn.ReLU(),
        pool=minicnn.AdaptiveAvgPool2d((3, 2)),
        flatten=minicnn.Flatten(),
        fc=minicnn.Linear(24, 5, rng=rng),
        log_softmax=minicnn.LogSoftmax(),
    ).to(backend, dtype)


def batch(seed=0, shape=(3, 2, 9, 7), dtype=np.float64):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).astype(dtype), rng.integers(5, size=shape[0])


def assert_same_state(actual, expected):
    assert list(actual) == list(expected)
    for name in expected:
        assert actual[name].dtype == expected[name].dtype, name
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)


@pytest.mark.parametrize("backend", checks.BACKENDS)
@pytest.mark.parametrize("training", [True, False])
def test_difference_quotient_through_the_network(backend, training):
    """The chain rule as a whole: every parameter and the input of a network, float64."""
    network, loss = small_network(backend).train(training), minicnn.CrossEntropyLoss().to(backend)
    x, labels = batch()
    loss.forward(network.forward(x), labels)
    dx = network.backward(loss.backward())

    rng = np.random.default_rng(1)
    pairs = {"x": (x, dx)} | {
        name: (layer.params[key], layer.grads[key]) for name, layer, key in network.named_params()
    }
    for name, (values, gradient) in pairs.items():
        # Adding to the bias before a batch normalisation in training changes nothing.
        blind = training and name == "conv1.bias"
        assert np.abs(gradient).max() > 1e-4 or blind, f"{name}: all gradients are near 0"
        for place in rng.choice(values.size, min(values.size, 12), replace=False):
            numeric = checks.central_difference(
                lambda: loss.forward(network.forward(x), labels), values.reshape(-1), place
            )
            scale = max(np.abs(gradient).max(), 1e-3)
            assert abs(numeric - gradient.reshape(-1)[place]) <= 1e-6 * scale, f"{name}[{place}]"


@pytest.mark.torch
def test_simplenet_gradients_are_pytorchs():
    """Every gradient of the published network, for the published batch."""
    import torch

    arrays, weights = stored.arrays("published"), stored.arrays("published.weights")
    for dtype in checks.DTYPES:
        x = torch.tensor(arrays["x"].astype(dtype), requires_grad=True)
        twin = checks.simplenet_torch().to(x.dtype)
        twin.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
        torch.nn.CrossEntropyLoss()(twin(x), torch.tensor(arrays["labels"])).backward()
        expected = {name: parameter.grad.numpy() for name, parameter in twin.named_parameters()}
        for backend in checks.BACKENDS:
            network, loss = minicnn.SimpleNet().to(backend, dtype), minicnn.CrossEntropyLoss().to(backend)
            network.load_state_dict(weights)
            loss.forward(network.forward(arrays["x"].astype(dtype)), arrays["labels"])
            dx = network.backward(loss.backward())
            checks.assert_close(dx, x.grad.numpy(), dtype, f"{backend}: dx")
            for name, layer, key in network.named_params():
                if name in ("conv1.bias", "conv2.bias", "conv3.bias"):
                    # Batch normalisation takes a bias before it out again: 0 but for rounding, on both sides.
                    limit = 1e4 * checks.TOLERANCE[np.dtype(dtype)] * np.finfo(dtype).eps ** 0.5
                    assert np.abs(layer.grads[key]).max() < limit, name
                    assert np.abs(expected[name]).max() < limit, name
                else:
                    checks.assert_close(layer.grads[key], expected[name], dtype, f"{backend}: {name}")


@pytest.mark.torch
def test_simplenet_has_pytorchs_state_dict():
    """Keys and their order, shapes, dtypes and the number of batches; and PyTorch can load ours."""
    import torch

    twin, network = checks.simplenet_torch(), minicnn.SimpleNet(rng=0)
    expected, ours = twin.state_dict(), network.state_dict()
    assert list(ours) == list(expected)
    for name, tensor in expected.items():
        assert ours[name].shape == tuple(tensor.shape), name
        assert ours[name].dtype == tensor.numpy().dtype, name
    twin.load_state_dict({name: torch.tensor(array) for name, array in ours.items()})
    x = stored.arrays("published")["x"]
    with torch.no_grad():
        checks.assert_close(network.predict(x), twin.eval()(torch.tensor(x)).numpy(), np.float32, "predict")


@pytest.mark.torch
def test_initial_weights_are_spread_as_pytorchs():
    """Uniform within 1 / sqrt(fan_in), weights and biases: the same bound, and the same spread."""
    import torch

    torch.manual_seed(0)
    for name, args, fan_in in [("Conv2d", (16, 64, (3, 5)), 240), ("Linear", (400, 300), 400)]:
        ours, twin = getattr(minicnn, name)(*args, rng=0), getattr(torch.nn, name)(*args)
        for key, tensor in twin.state_dict().items():
            drawn, theirs = ours.params[key], tensor.numpy()
            for array in (drawn, theirs):
                assert np.abs(array).max() <= 1 / fan_in**0.5
                assert np.abs(array).max() > 0.9 / fan_in**0.5
            assert abs(drawn.mean()) < 0.2 / fan_in**0.5
            assert drawn.std() == pytest.approx(theirs.std(), rel=0.15)


def test_random_numbers_come_from_rng_alone():
    first, same, other = (minicnn.SimpleNet(rng=seed).state_dict() for seed in (1, 1, 2))
    assert_same_state(same, first)
    assert not np.array_equal(other["conv1.weight"], first["conv1.weight"])
    generator = np.random.default_rng(1)
    assert_same_state(minicnn.SimpleNet(rng=generator).state_dict(), first)
    assert not np.array_equal(minicnn.SimpleNet(rng=generator).state_dict()["fc.weight"], first["fc.weight"])
    assert not np.array_equal(first["conv1.weight"].ravel()[:32], first["conv2.weight"].ravel()[:32])


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_state_dict_there_and_back(backend):
    network, other = small_network(backend), small_network(backend, seed=1)
    network.forward(batch()[0])
    state = network.state_dict()
    other.load_state_dict(state)
    assert_same_state(other.state_dict(), state)
    x, _ = batch(1)
    np.testing.assert_array_equal(other.predict(x), network.predict(x))


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_state_dict_shares_no_memory(backend):
    network = small_network(backend)
    state = network.state_dict()
    before = {name: array.copy() for name, array in state.items()}
    for array in state.values():
        array += 1
    assert_same_state(network.state_dict(), before)
    network.load_state_dict(before)
    for array in before.values():
        array += 1
    assert_same_state(before, state)
    assert not np.array_equal(network.state_dict()["fc.bias"], state["fc.bias"])


def test_loading_keeps_the_dtype_of_the_network():
    wide, narrow = small_network(dtype=np.float64), small_network(dtype=np.float32, seed=1)
    narrow.load_state_dict(wide.state_dict())
    dtypes = {name: array.dtype for name, array in narrow.state_dict().items()}
    assert dtypes.pop("bn1.num_batches_tracked") == np.int64
    assert set(dtypes.values()) == {np.dtype(np.float32)}
    np.testing.assert_array_equal(narrow["fc"].params["weight"], wide["fc"].params["weight"].astype(np.float32))


def test_moving_between_backends_keeps_everything_and_the_results():
    network = small_network("reference")
    x, labels = batch()
    network.forward(x)
    state, results = network.state_dict(), []
    for backend in ("cpu", "reference", "cpu"):
        assert network.to(backend) is network
        assert_same_state(network.state_dict(), state)
        loss = minicnn.CrossEntropyLoss().to(backend)
        value = loss.forward(network.eval().forward(x), labels)
        results.append((value, network.backward(loss.backward())))
    for value, dx in results[1:]:
        assert value == pytest.approx(results[0][0], rel=1e-12)
        checks.assert_close(dx, results[0][1], np.float64, "dx")


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_images_of_any_size(backend):
    network = minicnn.SimpleNet(num_classes=7, in_channels=1, rng=0).to(backend)
    for shape in [(1, 1, 1, 2), (2, 1, 5, 3), (1, 1, 17, 40)]:
        x = np.random.default_rng(0).standard_normal(shape, np.float32)
        y = network.forward(x)
        assert y.shape == (shape[0], 7)
        np.testing.assert_allclose(np.exp(y).sum(axis=1), 1, rtol=1e-5)
        assert network.backward(np.ones_like(y)).shape == shape


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_predict_changes_nothing(backend):
    network = small_network(backend)
    x, _ = batch()
    network.forward(x)
    state, memories = network.state_dict(), [layer.memory for _, layer in network.named_layers()]
    y = network.predict(x)
    assert network.training
    assert_same_state(network.state_dict(), state)
    assert [layer.memory for _, layer in network.named_layers()] == memories
    np.testing.assert_array_equal(network.eval()(x), y)


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_each_image_is_predicted_by_itself(backend):
    network = small_network(backend)
    x, _ = batch()
    one_by_one = np.concatenate([network.predict(image[None]) for image in x])
    checks.assert_close(network.predict(x), one_by_one, np.float64, "predict")


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_gradients_are_assigned_not_added(backend):
    network, loss = small_network(backend), minicnn.CrossEntropyLoss().to(backend)
    x, labels = batch()
    grads = []
    for _ in range(2):
        loss.forward(network.forward(x), labels)
        network.backward(loss.backward())
        grads.append({name: layer.grads[key].copy() for name, layer, key in network.named_params()})
    for name in grads[0]:
        np.testing.assert_array_equal(grads[1][name], grads[0][name], err_msg=name)
    assert list(grads[0]) == ["conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias", "fc.weight", "fc.bias"]


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_the_gradient_of_the_pictures_may_be_left_out(backend):
    network, loss = small_network(backend), minicnn.CrossEntropyLoss().to(backend)
    x, labels = batch()
    loss.forward(network.forward(x), labels)
    network.backward(loss.backward())
    grads = {name: layer.grads[key] for name, layer, key in network.named_params()}
    loss.forward(network.forward(x), labels)
    assert network.backward(loss.backward(), need_dx=False) is None
    for name, layer, key in network.named_params():
        np.testing.assert_array_equal(layer.grads[key], grads[name], err_msg=name)


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_networks_inside_networks(backend):
    flat = small_network(backend)
    layers = flat.children
    nested = minicnn.Sequential(
        body=minicnn.Sequential(
            stem=minicnn.Sequential(conv1=layers["conv1"], bn1=layers["bn1"]),
            relu1=layers["relu1"],
            pool=layers["pool"],
        ),
        head=minicnn.Sequential(layers["flatten"], layers["fc"], layers["log_softmax"]),
    )
    assert "body.stem.conv1.weight" in nested.state_dict()
    assert "head.1.bias" in nested.state_dict()
    assert nested["body.stem.bn1"] is flat["bn1"]
    assert nested["body"]["stem"]["bn1"] is flat["bn1"]
    assert not nested.eval()["body.stem.bn1"].training
    assert nested.train()["body.stem.bn1"].training

    x, _ = batch()
    dy = np.random.default_rng(2).standard_normal((3, 5))
    y = flat.forward(x)
    dx = flat.backward(dy)
    np.testing.assert_array_equal(nested.forward(x), y)
    np.testing.assert_array_equal(nested.backward(dy), dx)


def test_children_by_name_and_by_position():
    network = minicnn.Sequential(minicnn.ReLU(), minicnn.Flatten())
    assert len(network) == 2
    assert isinstance(network["1"], minicnn.Flatten)
    assert repr(network) == "Sequential(\n  (0): ReLU()\n  (1): Flatten()\n)"


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_training_lowers_the_loss(backend):
    network = small_network(backend)
    loss, optimizer = minicnn.CrossEntropyLoss().to(backend), minicnn.Adam(network, lr=0.01)
    x, labels = batch()
    losses = []
    for _ in range(60):
        losses.append(loss.forward(network.forward(x), labels))
        network.backward(loss.backward(), need_dx=False)
        optimizer.step()
    assert losses[-1] < 0.1 * losses[0]


def test_own_operations_are_used_and_stay():
    calls = []

    def doubled(dy, y):
        calls.append(dy.shape)
        return 2 * get_backend("reference").relu_backward(dy, y)

    x, dy = np.random.default_rng(0).standard_normal((2, 2, 3, 6, 5), np.float32)
    network = minicnn.Sequential(relu=minicnn.ReLU())
    network.forward(x)
    expected = 2 * network.backward(dy)
    assert network.use(relu_backward=doubled) is network
    for backend in ("cpu", "reference"):
        network.to(backend).forward(x)
        np.testing.assert_array_equal(network.backward(dy), expected)
    assert len(calls) == 2
    copied = copy.deepcopy(network["relu"], {id(module): module for module in list(sys.modules.values())})
    copied.forward(x)
    np.testing.assert_array_equal(copied.backward(dy), expected)
    network.use(relu_backward=None)
    assert network["relu"].own_operations == {}
    assert network["relu"].ops is get_backend("reference")
    network.forward(x)
    np.testing.assert_array_equal(network.backward(dy), expected / 2)


def test_own_operations_must_be_operations():
    layer = minicnn.ReLU()
    with pytest.raises(
        ValueError, match=r"ReLU\.use: expected the name of an operation, got 'relu_bakward'; there are"
    ):
        layer.use(relu_bakward=np.sin)
    with pytest.raises(TypeError, match=r"ReLU\.use: expected a function as relu_backward, got 3"):
        layer.use(relu_backward=3)
    assert layer.own_operations == {}


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_a_forward_that_fails_has_not_been_counted(backend):
    network = minicnn.Sequential(
        bn=minicnn.BatchNorm2d(3),
        inner=minicnn.Sequential(bn=minicnn.BatchNorm2d(3)),
        flat=minicnn.Flatten(),
        fc=minicnn.Linear(7, 2, rng=0),
    ).to(backend)
    before = network.state_dict()
    with pytest.raises(ValueError, match="Linear"):
        network.forward(np.random.default_rng(0).standard_normal((2, 3, 4, 4), np.float32))
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


@pytest.mark.torch
def test_a_state_without_batchnorms_counter_loads_as_in_pytorch():
    """Files from before PyTorch 0.4.1, and of other frameworks, have none: the counter stays as it is."""
    torch = pytest.importorskip("torch")
    network, other = (minicnn.Sequential(bn=minicnn.BatchNorm2d(2)) for _ in range(2))
    twin = torch.nn.Sequential()
    twin.add_module("bn", torch.nn.BatchNorm2d(2))
    x = np.random.default_rng(0).standard_normal((2, 2, 3, 3), np.float32)
    for _ in range(3):
        network.forward(x)
        twin(torch.tensor(x))
    state = other.state_dict()
    del state["bn.num_batches_tracked"]
    network.load_state_dict(state)
    twin.load_state_dict({name: torch.tensor(array) for name, array in state.items()})
    assert network.state_dict()["bn.num_batches_tracked"] == twin.state_dict()["bn.num_batches_tracked"].item() == 3
    np.testing.assert_array_equal(network.state_dict()["bn.running_mean"], 0)
