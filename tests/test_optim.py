"""Optimisers: first steps known by hand, then 100 steps against the loops and PyTorch."""

import json

import numpy as np
import pytest

import minicnn
from minicnn.backends import get_backend
from tests import cases, checks

pytestmark = pytest.mark.quick


def one_number(optimizer, backend, **kwargs):
    """The positions of a parameter that starts at 1 and has the gradient 0.5 three times."""
    network = minicnn.Sequential(fc=minicnn.Linear(1, 1, bias=False)).to(backend, np.float64)
    network["fc"].params["weight"][:] = 1
    optimizer = optimizer(network, **kwargs)
    positions = []
    for _ in range(3):
        network["fc"].grads["weight"] = np.float64([[0.5]])
        optimizer.step()
        positions.append(network["fc"].params["weight"].item())
    assert optimizer.steps == 3
    return positions


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_sgd_by_hand(backend):
    sgd = minicnn.SGD
    assert one_number(sgd, backend, lr=0.2) == pytest.approx([0.9, 0.8, 0.7])
    # Velocities 0.5, 0.75, 0.875; Nesterov looks one more step ahead: 0.75, 0.875, 0.9375.
    assert one_number(sgd, backend, lr=0.2, momentum=0.5) == pytest.approx([0.9, 0.75, 0.575])
    assert one_number(sgd, backend, lr=0.2, momentum=0.5, nesterov=True) == pytest.approx([0.85, 0.675, 0.4875])
    assert one_number(sgd, backend, lr=0.2, weight_decay=0.5)[:2] == pytest.approx([0.8, 0.62])


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_adam_by_hand(backend):
    """With one and the same gradient m_hat / sqrt(v_hat) is 1 at every step: that is what the bias correction does."""
    assert one_number(minicnn.Adam, backend, lr=0.1, eps=0) == pytest.approx([0.9, 0.8, 0.7])
    # The decay of AdamW is not divided by the root: 1 * 0.95 - 0.1, 0.85 * 0.95 - 0.1, ...
    decayed = one_number(minicnn.AdamW, backend, lr=0.1, eps=0, weight_decay=0.5)
    assert decayed == pytest.approx([0.85, 0.7075, 0.572125])


@pytest.mark.parametrize("case", cases.OPTIMIZERS + cases.VECTORS_STAY, ids=cases.name_of)
def test_loops(case):
    checks.check_optimizer_against_naive(*case)


@pytest.mark.torch
@pytest.mark.parametrize("case", cases.OPTIMIZERS + cases.VECTORS_STAY, ids=cases.name_of)
def test_pytorch(case):
    checks.check_optimizer_against_torch(*case)


@pytest.mark.parametrize("backend", checks.BACKENDS)
@pytest.mark.parametrize("case", cases.OPTIMIZERS[3::4], ids=cases.name_of)
def test_large_parameters_are_changed_everywhere(backend, case):
    """Larger than one chunk of work, and not a multiple of it: every number moves as a single one would."""
    name, kwargs = case
    moved = []
    for n_features in (1, 40_001):
        network = minicnn.Sequential(fc=minicnn.Linear(n_features, 1, bias=False)).to(backend)
        network["fc"].params["weight"][:] = 1
        optimizer = getattr(minicnn, name)(network, **kwargs)
        for _ in range(2):
            network["fc"].grads["weight"] = np.full((1, n_features), 0.5, np.float32)
            optimizer.step()
        moved.append(network["fc"].params["weight"])
    np.testing.assert_allclose(moved[1], np.full((1, 40_001), moved[0].item()), rtol=1e-6)


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_the_gradients_stay_as_backward_left_them(backend):
    network = minicnn.Sequential(fc=minicnn.Linear(3, 2, rng=0)).to(backend)
    for optimizer in (
        minicnn.SGD(network, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        minicnn.Adam(network, weight_decay=0.1),
        minicnn.AdamW(network),
    ):
        network["fc"].grads = {"weight": np.ones((2, 3), np.float32), "bias": np.ones(2, np.float32)}
        optimizer.step()
        assert all((grad == 1).all() for grad in network["fc"].grads.values())


@pytest.mark.parametrize("make", [minicnn.SGD, minicnn.Adam, minicnn.AdamW])
@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_vectors_that_do_not_decay(backend, make):
    """Without gradients decay alone moves parameters: those of more than one axis, biases and batchnorm stay."""
    network = minicnn.SimpleNet(rng=0).to(backend)
    optimizer = make(network, lr=0.1, weight_decay=0.1, decay_vectors=False)
    before = network.state_dict()
    for _, layer in network.named_layers():
        layer.grads = {key: np.zeros_like(param) for key, param in layer.params.items()}
    optimizer.step()
    moved = {key for key, array in network.state_dict().items() if not np.array_equal(array, before[key])}
    assert moved == {"conv1.weight", "conv2.weight", "conv3.weight", "fc.weight"}


def test_whether_vectors_decay_is_part_of_the_state():
    arrays, settings = minicnn.AdamW(any_network(), decay_vectors=False).state_dict()
    resumed = minicnn.AdamW(any_network())
    resumed.load_state_dict(arrays, json.loads(json.dumps(settings)))
    assert resumed.decay_vectors is False
    del settings["decay_vectors"]  # as earlier versions wrote it
    resumed.load_state_dict(arrays, settings)
    assert resumed.decay_vectors is True
    with pytest.raises(TypeError, match="AdamW: decay_vectors: expected True or False, got 0"):
        resumed.decay_vectors = 0
    with pytest.raises(ValueError, match="decay_vectors: expected True or False"):
        resumed.load_state_dict(arrays, settings | {"decay_vectors": "no"})


BAD_NUMBERS = [np.nan, np.inf, -np.inf, -0.1, 10**400]
NO_NUMBERS = ["0.1", None, 1j, True, [0.1], np.ones(2)]
SETTINGS = [
    (minicnn.SGD, "lr"),
    (minicnn.SGD, "momentum"),
    (minicnn.SGD, "weight_decay"),
    (minicnn.Adam, "lr"),
    (minicnn.Adam, "eps"),
    (minicnn.AdamW, "weight_decay"),
]


def any_network():
    return minicnn.Sequential(fc=minicnn.Linear(2, 2, rng=0))


@pytest.mark.parametrize("bad", BAD_NUMBERS + NO_NUMBERS, ids=repr)
@pytest.mark.parametrize(("optimizer", "name"), SETTINGS)
def test_a_setting_that_is_no_such_number_is_refused_whenever_it_is_set(optimizer, name, bad):
    error = TypeError if any(bad is value for value in NO_NUMBERS) else ValueError
    with pytest.raises(error, match=f"{optimizer.__name__}: {name}: expected a"):
        optimizer(any_network(), **{"lr": 0.1, name: bad})
    made = optimizer(any_network(), lr=0.1)
    before = getattr(made, name)
    with pytest.raises(error, match=f"{optimizer.__name__}: {name}: expected a"):
        setattr(made, name, bad)
    assert getattr(made, name) == before


@pytest.mark.parametrize("bad", [(0.9, 1), (0.9, 1.5), (-0.1, 0.9), (np.nan, 0.9), (0.9,), 0.9, None, ("a", "b")])
def test_betas_are_checked_whenever_they_are_set(bad):
    adam = minicnn.Adam(any_network())
    with pytest.raises((TypeError, ValueError), match="Adam: betas: expected"):
        adam.betas = bad
    with pytest.raises((TypeError, ValueError), match="Adam: betas: expected"):
        minicnn.Adam(any_network(), betas=bad)
    assert adam.betas == (0.9, 0.999)


@pytest.mark.parametrize("number", [np.float32(0.5), np.float64(0.5), np.array(0.5), np.array(0.5, np.float32), 0.5])
def test_numpy_numbers_are_settings_like_any_other(number):
    sgd = minicnn.SGD(any_network(), lr=number, momentum=number, weight_decay=number)
    adam = minicnn.Adam(any_network(), lr=number, betas=(number, np.array([number, 0.25])[1]), eps=number)
    sgd.lr = number
    for made in (sgd, adam):
        arrays, settings = made.state_dict()
        other = type(made)(any_network(), lr=0.1, **({"momentum": 0.1} if made is sgd else {}))
        other.load_state_dict(arrays, json.loads(json.dumps(settings)))
        assert other.state_dict()[1] == settings
    assert (sgd.lr, sgd.momentum, adam.betas, adam.eps) == (0.5, 0.5, (0.5, 0.25), 0.5)


@pytest.mark.parametrize("spoil", ["missing", "shape", "integers", "nan", "negative v", "steps", "betas", "no dict"])
def test_a_damaged_state_changes_nothing(spoil):
    adam = minicnn.Adam(any_network())
    arrays, settings = minicnn.Adam(any_network(), lr=0.5).state_dict()
    if spoil == "missing":
        del arrays["v/fc.bias"]
    if spoil == "shape":
        arrays["v/fc.bias"] = np.zeros((1, 2), np.float32)
    if spoil == "integers":
        arrays["v/fc.bias"] = np.zeros(2, int)
    if spoil == "nan":
        arrays["m/fc.bias"][1] = np.nan
    if spoil == "negative v":
        arrays["v/fc.bias"][1] = -1
    if spoil == "steps":
        settings["steps"] = -5
    if spoil == "betas":
        settings["betas"] = [0.9, 2]
    before = adam.state_dict()
    with pytest.raises(ValueError, match=r"Adam.load_state_dict: .*expected"):
        adam.load_state_dict(arrays, None if spoil == "no dict" else settings)
    assert adam.state_dict()[1] == before[1]
    for key, array in adam.state_dict()[0].items():
        assert array.tobytes() == before[0][key].tobytes()


SIZES = (3, 16384, 1, 40000, 16385)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
@pytest.mark.parametrize("dtype", checks.DTYPES)
def test_one_call_for_all_parameters_gives_the_bits_of_one_call_for_each(name, dtype):
    rng = np.random.default_rng(0)
    operation, settings = {
        "SGD": ("sgd_step_", (0.1, 0.9, True, 0.01)),
        "Adam": ("adam_step_", (0.1, 0.9, 0.99, 1e-8, 0.01, False, 3)),
    }[name]
    cpu = get_backend("cpu")
    lists = [[rng.uniform(0.1, 1, size).astype(dtype) for size in SIZES] for _ in range(3 if name == "SGD" else 4)]
    found = []
    for threads in (1, 2):
        minicnn.set_num_threads(threads)
        copies = [[array.copy() for array in arrays] for arrays in lists]
        getattr(cpu, f"foreach_{operation}")(*copies, *settings)
        found.append([array.tobytes() for arrays in copies for array in arrays])
    for arrays in zip(*lists, strict=True):
        getattr(cpu, operation)(*arrays, *settings)
    assert found == [[array.tobytes() for arrays in lists for array in arrays]] * 2


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_an_own_step_is_called_for_every_parameter_of_its_layer(backend):
    """And the backend's for those of other layers."""
    called = []

    def keeps_still(param, m, v, grad, *settings):
        called.append(param.shape)

    network = minicnn.Sequential(first=minicnn.Linear(4, 5, rng=0), second=minicnn.Linear(5, 2, rng=0)).to(backend)
    network["first"].use(adam_step_=keeps_still)
    before = network.state_dict()
    network.backward(np.ones_like(network.forward(np.ones((3, 4), np.float32))))
    minicnn.Adam(network).step()
    assert called == [(5, 4), (5,)]
    for key, array in network.state_dict().items():
        assert np.array_equal(array, before[key]) == key.startswith("first"), key
