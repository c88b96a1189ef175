"""What goes wrong says so, naming the class, what was expected and what came; and it changes nothing."""

import numpy as np
import pytest

import minicnn
from minicnn import backends
from tests import checks

PARAMETRIZE_BACKEND = pytest.mark.parametrize("backend", checks.BACKENDS)


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def assert_says(error, *words):
    """All of `words` stand in the message."""
    for word in words:
        assert str(word) in str(error.value), f"{word!r} is missing in: {error.value}"


# layer, an input it cannot take, the error, and what the message holds.
WRONG_INPUTS = [
    (minicnn.Conv2d(3, 4, 3), zeros(1, 2, 5, 5), ValueError, ["Conv2d", 3, "channels", "got 2"]),
    (minicnn.Conv2d(3, 4, 3), zeros(2, 5, 5), ValueError, ["Conv2d", 3, "channels", "got 2"]),
    (minicnn.Conv2d(3, 4, 3), zeros(3, 5), ValueError, ["Conv2d", "(N, C, H, W)", "(3, 5)"]),
    (minicnn.Conv2d(3, 4, 3), zeros(1, 1, 3, 5, 5), ValueError, ["Conv2d", "(N, C, H, W)", "(1, 1, 3, 5, 5)"]),
    (minicnn.Conv2d(3, 4, 3), zeros(0, 3, 5, 5), ValueError, ["Conv2d", "at least one", "(0, 3, 5, 5)"]),
    (minicnn.Conv2d(3, 4, 3), zeros(1, 3, 2, 5), ValueError, ["Conv2d", "kernel (3, 3)", "(2, 5)", "padding (0, 0)"]),
    (minicnn.Conv2d(3, 4, (2, 7), padding=(0, 1)), zeros(1, 3, 2, 4), ValueError, ["(2, 7)", "(2, 4)", "(0, 1)"]),
    (minicnn.BatchNorm2d(3), zeros(2, 4, 5, 5), ValueError, ["BatchNorm2d", "3 channels", "got 4"]),
    (minicnn.BatchNorm2d(3), zeros(3, 5, 5), ValueError, ["BatchNorm2d", "(N, C, H, W)", "(3, 5, 5)"]),
    (minicnn.BatchNorm2d(3), zeros(0, 3, 5, 5), ValueError, ["BatchNorm2d", "(0, 3, 5, 5)"]),
    (minicnn.BatchNorm2d(3), zeros(1, 3, 1, 1), ValueError, ["BatchNorm2d", "more than one value", "got one"]),
    (minicnn.Linear(4, 2), zeros(3, 5), ValueError, ["Linear", "(N, 4)", "(3, 5)"]),
    (minicnn.Linear(4, 2), zeros(4), ValueError, ["Linear", "(N, 4)", "(4,)"]),
    (minicnn.Linear(4, 2), zeros(0, 4), ValueError, ["Linear", "(0, 4)"]),
    (minicnn.LogSoftmax(), zeros(4), ValueError, ["LogSoftmax", "(N, K)", "(4,)"]),
    (minicnn.LogSoftmax(), zeros(2, 0), ValueError, ["LogSoftmax", "(2, 0)"]),
    (minicnn.Flatten(), zeros(4), ValueError, ["Flatten", "(N, ...)", "(4,)"]),
    (minicnn.ReLU(), zeros(0, 4), ValueError, ["ReLU", "(0, 4)"]),
    (minicnn.MaxPool2d(3), zeros(1, 1, 2, 5), ValueError, ["MaxPool2d", "kernel (3, 3)", "(2, 5)"]),
    (minicnn.AvgPool2d(3), zeros(1, 1, 5, 2), ValueError, ["AvgPool2d", "kernel (3, 3)", "(5, 2)"]),
    *(
        (layer, zeros(*shape), ValueError, [type(layer).__name__, "(N, C, H, W)", shape])
        for layer in (
            minicnn.MaxPool2d(1),
            minicnn.AvgPool2d(1),
            minicnn.AdaptiveMaxPool2d(1),
            minicnn.AdaptiveAvgPool2d(1),
        )
        for shape in [(5, 5), (1, 1, 1, 5, 5)]
    ),
    (minicnn.AdaptiveMaxPool2d(1), zeros(1, 3, 0, 5), ValueError, ["AdaptiveMaxPool2d", "(1, 3, 0, 5)"]),
    *(
        (layer, x.astype(dtype), TypeError, [type(layer).__name__, "float32", np.dtype(dtype)])
        for layer, x in [
            (minicnn.Conv2d(3, 4, 3), zeros(1, 3, 5, 5)),
            (minicnn.BatchNorm2d(3), zeros(1, 3, 5, 5)),
            (minicnn.Linear(4, 2), zeros(1, 4)),
            (minicnn.ReLU(), zeros(3)),
            (minicnn.Flatten(), zeros(1, 3)),
            (minicnn.LogSoftmax(), zeros(1, 3)),
            (minicnn.MaxPool2d(2), zeros(1, 1, 2, 2)),
            (minicnn.AdaptiveAvgPool2d(2), zeros(1, 1, 2, 2)),
        ]
        for dtype in (np.int64, np.uint8, np.float16, np.complex64, bool, object)
    ),
    *(
        (layer, x, TypeError, [type(layer).__name__, "float32", "float64"])
        for layer, x in [
            (minicnn.Conv2d(3, 4, 3), zeros(1, 3, 5, 5, dtype=np.float64)),
            (minicnn.BatchNorm2d(3), zeros(1, 3, 5, 5, dtype=np.float64)),
            (minicnn.Linear(4, 2), zeros(1, 4, dtype=np.float64)),
        ]
    ),
]


@PARAMETRIZE_BACKEND
@pytest.mark.parametrize(
    ("layer", "x", "error", "words"),
    WRONG_INPUTS,
    ids=[f"{type(layer).__name__}-{x.shape}-{x.dtype}" for layer, x, *_ in WRONG_INPUTS],
)
def test_wrong_inputs(backend, layer, x, error, words):
    layer.to(backend)
    state = {name: array.copy() for name, array in layer.state.items()}
    with pytest.raises(error) as raised:
        layer.forward(x)
    assert_says(raised, *words)
    assert layer.memory is None
    for name, array in layer.state.items():
        np.testing.assert_array_equal(array, state[name])
    if words[1:2] != ["more than one value"]:  # in evaluation one value per channel is enough
        with pytest.raises(error):
            layer.predict(x)


# Every layer with an input for it.
LAYERS = [
    (minicnn.Conv2d(2, 3, 3, rng=0), (2, 2, 5, 5)),
    (minicnn.BatchNorm2d(2), (2, 2, 5, 5)),
    (minicnn.ReLU(), (2, 2, 5, 5)),
    (minicnn.MaxPool2d(2), (2, 2, 5, 5)),
    (minicnn.AvgPool2d(2), (2, 2, 5, 5)),
    (minicnn.AdaptiveMaxPool2d(3), (2, 2, 5, 5)),
    (minicnn.AdaptiveAvgPool2d(3), (2, 2, 5, 5)),
    (minicnn.Flatten(), (2, 2, 5, 5)),
    (minicnn.Linear(4, 3, rng=0), (2, 4)),
    (minicnn.LogSoftmax(), (2, 4)),
    (minicnn.SimpleNet(in_channels=2, rng=0), (2, 2, 5, 5)),
]
PARAMETRIZE_LAYER = pytest.mark.parametrize(
    ("layer", "shape"), LAYERS, ids=[type(layer).__name__ for layer, _ in LAYERS]
)


@PARAMETRIZE_BACKEND
@PARAMETRIZE_LAYER
def test_each_forward_serves_one_backward(backend, layer, shape):
    layer.to(backend)
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    y = layer.predict(x)
    last = layer if not isinstance(layer, minicnn.Sequential) else layer["log_softmax"]
    for _ in range(2):
        with pytest.raises(RuntimeError) as raised:  # before any forward, and a second time after one
            layer.backward(np.ones_like(y))
        assert_says(raised, type(last).__name__, "forward")
        layer.forward(x)
        layer.backward(np.ones_like(y))


@PARAMETRIZE_BACKEND
@PARAMETRIZE_LAYER
def test_a_wrong_dy_leaves_the_memory_for_the_right_one(backend, layer, shape):
    layer.to(backend)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape, np.float32)
    y = layer.forward(x)
    dy = rng.standard_normal(y.shape, np.float32)
    expected = layer.backward(dy)
    layer.forward(x)
    for wrong, error in [
        (dy[:1], ValueError),
        (dy[..., :-1], ValueError),
        (dy[None], ValueError),
        (dy.astype(np.float64), TypeError),
        (dy.astype(np.float16), TypeError),
        (dy.astype(np.int64), TypeError),
    ]:
        with pytest.raises(error) as raised:
            layer.backward(wrong)
        assert_says(raised, "dy", "expected", "got")
    np.testing.assert_array_equal(layer.backward(dy), expected)


@PARAMETRIZE_BACKEND
def test_a_refused_input_leaves_the_memory_of_the_last_one(backend):
    conv = minicnn.Conv2d(2, 3, 3, rng=0).to(backend)
    x, dy = np.ones((1, 2, 5, 5), np.float32), np.ones((1, 3, 3, 3), np.float32)
    conv.forward(x)
    expected = conv.backward(dy)
    conv.forward(x)
    with pytest.raises(ValueError, match="channels"):
        conv.forward(zeros(1, 4, 5, 5))
    np.testing.assert_array_equal(conv.backward(dy), expected)


@PARAMETRIZE_BACKEND
def test_a_wrong_dtype_of_a_network_is_said_once_and_clearly(backend):
    network = minicnn.SimpleNet(rng=0).to(backend)
    state = network.state_dict()
    with pytest.raises(TypeError) as raised:
        network.forward(zeros(2, 3, 8, 8, dtype=np.float64))
    assert_says(raised, "Conv2d", "float32", "float64", "astype")
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(array, state[name])


# output, labels, class weights, the error, and what the message holds.
WRONG_TARGETS = [
    (zeros(2, 3), [0, 3], None, ValueError, ["0 to 2", "got 3", "position 1"]),
    (zeros(2, 3), [-1, 0], None, ValueError, ["0 to 2", "got -1", "position 0"]),
    (zeros(2, 3), [0], None, ValueError, ["2 labels", "(1,)"]),
    (zeros(2, 3), [0, 1, 2], None, ValueError, ["2 labels", "(3,)"]),
    (zeros(2, 3), [[0], [1]], None, ValueError, ["2 labels", "(2, 1)"]),
    (zeros(2, 3), 0, None, ValueError, ["2 labels", "()"]),
    (zeros(2, 3), [0.0, 1.0], None, TypeError, ["integer labels", "float64"]),
    (zeros(2, 3), [True, False], None, TypeError, ["integer labels", "bool"]),
    (zeros(2, 3), ["a", "b"], None, TypeError, ["integer labels", "<U1"]),
    (zeros(2), [0, 1], None, ValueError, ["(N, K)", "(2,)"]),
    (zeros(2, 3, 1), [0, 1], None, ValueError, ["(N, K)", "(2, 3, 1)"]),
    (zeros(0, 3), np.zeros(0, int), None, ValueError, ["(N, K)", "(0, 3)"]),
    (zeros(2, 0), [0, 0], None, ValueError, ["(N, K)", "(2, 0)"]),
    (zeros(2, 3, dtype=int), [0, 1], None, TypeError, ["float32", "int64"]),
    (zeros(2, 3, dtype=np.float16), [0, 1], None, TypeError, ["float32", "float16"]),
    (zeros(2, 3), [0, 1], np.ones(4), ValueError, ["3 class weights", "got 4"]),
]


@PARAMETRIZE_BACKEND
@pytest.mark.parametrize("loss", [minicnn.NLLLoss, minicnn.CrossEntropyLoss])
@pytest.mark.parametrize(("output", "labels", "weight", "error", "words"), WRONG_TARGETS)
def test_wrong_outputs_and_labels(backend, loss, output, labels, weight, error, words):
    with pytest.raises(error) as raised:
        loss(weight=weight).to(backend).forward(output, labels)
    assert_says(raised, loss.__name__, *words)


@PARAMETRIZE_BACKEND
@pytest.mark.parametrize("loss", [minicnn.NLLLoss, minicnn.CrossEntropyLoss])
def test_each_forward_of_a_loss_serves_one_backward(backend, loss):
    loss = loss().to(backend)
    for _ in range(2):
        with pytest.raises(RuntimeError) as raised:
            loss.backward()
        assert_says(raised, type(loss).__name__, "forward")
        loss.forward(zeros(2, 3), [0, 1])
        with pytest.raises(ValueError, match="labels"):  # a refused batch leaves what the last one left
            loss.forward(zeros(2, 3), [0, 9])
        loss.backward()


WRONG_SETTINGS = [  # a call, the error, and what the message holds
    (lambda: minicnn.Conv2d(0, 1, 1), ValueError, ["Conv2d", "in_channels", "at least 1", "got 0"]),
    (lambda: minicnn.Conv2d(1, -2, 1), ValueError, ["Conv2d", "out_channels", "got -2"]),
    (lambda: minicnn.Conv2d(1, 1, 0), ValueError, ["Conv2d", "kernel_size", "got 0"]),
    (lambda: minicnn.Conv2d(1, 1, (1, 2, 3)), ValueError, ["Conv2d", "kernel_size", "pair", "(1, 2, 3)"]),
    (lambda: minicnn.Conv2d(1, 1, 1, stride=0), ValueError, ["Conv2d", "stride", "got 0"]),
    (lambda: minicnn.Conv2d(1, 1, 1, padding=-1), ValueError, ["Conv2d", "padding", "got -1"]),
    (lambda: minicnn.Conv2d(1, 1, 2.5), TypeError, ["Conv2d", "kernel_size", "integer", "2.5", "float"]),
    (lambda: minicnn.Conv2d(1, True, 1), TypeError, ["Conv2d", "out_channels", "integer", "bool"]),
    (lambda: minicnn.Conv2d(1, 1, "3"), TypeError, ["Conv2d", "kernel_size", "integer", "str"]),
    (lambda: minicnn.BatchNorm2d(0), ValueError, ["BatchNorm2d", "num_features", "got 0"]),
    (lambda: minicnn.BatchNorm2d(1, eps=-1), ValueError, ["BatchNorm2d", "eps", "got -1"]),
    (lambda: minicnn.BatchNorm2d(1, eps=float("nan")), ValueError, ["BatchNorm2d", "eps", "got nan"]),
    (lambda: minicnn.BatchNorm2d(1, momentum=1.5), ValueError, ["BatchNorm2d", "momentum", "got 1.5"]),
    (lambda: minicnn.Linear(0, 1), ValueError, ["Linear", "in_features", "got 0"]),
    (lambda: minicnn.Linear(1, 0), ValueError, ["Linear", "out_features", "got 0"]),
    (lambda: minicnn.MaxPool2d(0), ValueError, ["MaxPool2d", "kernel_size", "got 0"]),
    (lambda: minicnn.MaxPool2d(2, stride=0), ValueError, ["MaxPool2d", "stride", "got 0"]),
    (lambda: minicnn.MaxPool2d(2, padding=2), ValueError, ["MaxPool2d", "padding", "half", "(2, 2)"]),
    (lambda: minicnn.AvgPool2d(3, padding=(1, 2)), ValueError, ["AvgPool2d", "padding", "half", "(1, 2)"]),
    (lambda: minicnn.AdaptiveMaxPool2d(0), ValueError, ["AdaptiveMaxPool2d", "output_size", "got 0"]),
    (lambda: minicnn.AdaptiveAvgPool2d((1, 2, 3)), ValueError, ["AdaptiveAvgPool2d", "output_size", "(1, 2, 3)"]),
    (lambda: minicnn.AdaptiveAvgPool2d(2.0), TypeError, ["AdaptiveAvgPool2d", "output_size", "2.0", "float"]),
    (lambda: minicnn.CrossEntropyLoss(label_smoothing=1.5), ValueError, ["CrossEntropyLoss", "label_smoothing", "1.5"]),
    (lambda: minicnn.CrossEntropyLoss(weight=[1, 2]), TypeError, ["CrossEntropyLoss", "weights", "float", "int64"]),
    (lambda: minicnn.NLLLoss(weight=[[1.0]]), TypeError, ["NLLLoss", "weights", "(K,)", "(1, 1)"]),
    (lambda: minicnn.NLLLoss(weight=[1.0, -1.0]), ValueError, ["NLLLoss", "weights", "at least 0"]),
    (lambda: minicnn.NLLLoss(weight=[1.0, np.inf]), ValueError, ["NLLLoss", "weights", "finite"]),
    (lambda: minicnn.Sequential(), ValueError, ["Sequential", "at least one layer"]),
    (lambda: minicnn.Sequential(a=np.zeros(3)), TypeError, ["Sequential", "'a'", "ndarray"]),
    (lambda: minicnn.Sequential(**{"a.b": minicnn.ReLU()}), ValueError, ["Sequential", "dot", "'a.b'"]),
    (lambda: minicnn.Sequential(*[minicnn.ReLU()] * 2), ValueError, ["Sequential", "same layer", "two places"]),
    (lambda: _the_same_layer_deep_inside(), ValueError, ["Sequential", "same layer", "two places"]),
    (lambda: minicnn.SGD(_network(), lr=-1), ValueError, ["SGD", "lr", "got -1"]),
    (lambda: minicnn.SGD(_network(), lr=float("nan")), ValueError, ["SGD", "lr", "got nan"]),
    (lambda: minicnn.SGD(_network(), lr=1, momentum=-0.1), ValueError, ["SGD", "momentum", "got -0.1"]),
    (lambda: minicnn.SGD(_network(), lr=1, nesterov=True), ValueError, ["SGD", "nesterov", "momentum"]),
    (lambda: minicnn.SGD(_network().params, lr=1), TypeError, ["SGD", "network", "dict"]),
    (lambda: minicnn.Adam(minicnn.Linear(1, 1)), TypeError, ["Adam", "network", "Linear", "Sequential"]),
    (lambda: minicnn.Adam(_network(), betas=(1.0, 0.9)), ValueError, ["Adam", "betas", "below 1", "(1.0, 0.9)"]),
    (lambda: minicnn.Adam(_network(), eps=-1), ValueError, ["Adam", "eps", "got -1"]),
    (lambda: minicnn.AdamW(_network(), weight_decay=-1), ValueError, ["AdamW", "weight_decay", "got -1"]),
    (lambda: minicnn.StepLR(_optimizer(), step_size=0), ValueError, ["StepLR", "step_size", "got 0"]),
    (lambda: minicnn.StepLR(_optimizer(), step_size=1.5), ValueError, ["StepLR", "step_size", "whole", "got 1.5"]),
    (lambda: minicnn.CosineAnnealingLR(_optimizer(), T_max=0), ValueError, ["CosineAnnealingLR", "T_max", "got 0"]),
    (lambda: minicnn.LinearLR(_optimizer(), start_factor=0), ValueError, ["LinearLR", "start_factor", "got 0"]),
    (lambda: minicnn.OneCycleLR(_optimizer(), 0.1, total_steps=0), ValueError, ["OneCycleLR", "total_steps", "got 0"]),
    (lambda: minicnn.OneCycleLR(_optimizer(), 0.1, 9, pct_start=2), ValueError, ["OneCycleLR", "pct_start", "got 2"]),
    (lambda: backends.get_backend("gpu"), ValueError, ["backend", "'gpu'", "reference", "cpu"]),
    (lambda: minicnn.ReLU().to("gpu"), ValueError, ["backend", "'gpu'", "reference", "cpu"]),
    (lambda: minicnn.Linear(1, 1).to(dtype=np.float16), TypeError, ["Linear", "float32 or float64", "float16"]),
    (lambda: minicnn.NLLLoss().to("gpu"), ValueError, ["backend", "'gpu'", "reference", "cpu"]),
]


def _network():
    return minicnn.Sequential(fc=minicnn.Linear(3, 2, rng=0), bn=minicnn.Sequential(minicnn.ReLU()))


def _optimizer():
    return minicnn.SGD(_network(), lr=0.1)


def _the_same_layer_deep_inside():
    relu = minicnn.ReLU()
    return minicnn.Sequential(relu, minicnn.Sequential(minicnn.Flatten(), minicnn.Sequential(relu)))


@pytest.mark.parametrize(("call", "error", "words"), WRONG_SETTINGS)
def test_wrong_settings(call, error, words):
    with pytest.raises(error) as raised:
        call()
    assert_says(raised, *words)


def test_an_unknown_layer_is_answered_with_the_known():
    with pytest.raises(KeyError) as raised:
        minicnn.SimpleNet()["conv4"]
    assert_says(raised, "SimpleNet", "'conv4'", "conv1", "fc")


def test_an_unknown_backend_leaves_a_network_where_it_was():
    network = minicnn.SimpleNet(rng=0)
    for wrong in ({"backend": "gpu"}, {"dtype": np.float16}):
        with pytest.raises((ValueError, TypeError)):
            network.to(**wrong)
        assert {layer.ops for _, layer in network.named_layers()} == {backends.get_backend("cpu")}


@PARAMETRIZE_BACKEND
@pytest.mark.parametrize(("optimizer", "kwargs"), [("SGD", {"lr": 0.1, "momentum": 0.9}), ("Adam", {}), ("AdamW", {})])
def test_a_step_without_gradients_changes_nothing(backend, optimizer, kwargs):
    """Also where only the last parameter is without: none is changed, no state, and the step is not counted."""
    network = minicnn.Sequential(a=minicnn.Linear(2, 3, rng=0), b=minicnn.Linear(3, 2, rng=0)).to(backend)
    optimizer = getattr(minicnn, optimizer)(network, **kwargs)
    network.forward(np.ones((1, 2), np.float32))
    network.backward(np.ones((1, 2), np.float32))
    del network["b"].grads["bias"]
    params = network.state_dict()
    with pytest.raises(RuntimeError) as raised:
        optimizer.step()
    assert_says(raised, type(optimizer).__name__, "b.bias", "backward")
    assert "a.weight" not in str(raised.value)
    assert optimizer.steps == 0
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(array, params[name])
    assert all((array == 0).all() for slot in optimizer.state.values() for array in slot.values())


def test_a_parameter_may_lie_otherwise_in_memory():
    trained = []
    for contiguous in (True, False):
        network = minicnn.Sequential(a=minicnn.Linear(3, 2, rng=0))
        transposed = network["a"].params["weight"].T.copy()
        network["a"].params["weight"] = transposed.T.copy() if contiguous else transposed.T
        optimizer = minicnn.Adam(network)
        network.forward(np.float32([[1, 2, 3]]))
        network.backward(np.float32([[1, -1]]))
        optimizer.step()
        trained.append(network["a"].params["weight"])
    np.testing.assert_array_equal(*trained)


GOOD = minicnn.SimpleNet(rng=1).state_dict()
LAST = list(GOOD)[-1]
BAD_STATES = [
    ("missing", {name: array for name, array in GOOD.items() if name != LAST}, ValueError, ["missing", LAST]),
    ("extra", GOOD | {"fc2.weight": zeros(1)}, ValueError, ["unexpected", "fc2.weight"]),
    ("empty", {}, ValueError, ["missing", "conv1.weight", LAST]),
    ("misshapen last", GOOD | {LAST: zeros(11)}, ValueError, [LAST, "expected shape (10,)", "got (11,)"]),
    ("transposed", GOOD | {"fc.weight": zeros(64, 10)}, ValueError, ["fc.weight", "(10, 64)", "(64, 10)"]),
    ("one of many", GOOD | {LAST: zeros(1)}, ValueError, [LAST, "(10,)", "(1,)"]),  # must not be broadcast
    ("words", GOOD | {LAST: np.array(["a"] * 10)}, TypeError, [LAST, "float32", "<U1"]),
    ("complex", GOOD | {LAST: zeros(10, dtype=complex)}, TypeError, [LAST, "float32", "complex128"]),
    (
        "counter",
        GOOD | {"bn3.num_batches_tracked": np.array(1.5)},
        TypeError,
        ["bn3.num_batches_tracked", "int64", "float64"],
    ),
    (
        "everything at once",
        {name: array for name, array in GOOD.items() if name != "bn1.bias"} | {"new": zeros(1), LAST: zeros(3)},
        ValueError,
        ["missing bn1.bias", "unexpected new", LAST, "(3,)"],
    ),
]


@PARAMETRIZE_BACKEND
@pytest.mark.parametrize(("bad", "error", "words"), [row[1:] for row in BAD_STATES], ids=[row[0] for row in BAD_STATES])
def test_a_bad_state_dict_changes_no_bit(backend, bad, error, words):
    network = minicnn.SimpleNet(rng=0).to(backend)
    network.forward(np.random.default_rng(0).standard_normal((2, 3, 6, 6), np.float32))
    before = network.state_dict()
    with pytest.raises(error) as raised:
        network.load_state_dict(bad)
    assert_says(raised, "SimpleNet.load_state_dict", *words)
    for name, array in network.state_dict().items():
        assert array.tobytes() == before[name].tobytes(), name
    network.load_state_dict(GOOD)
