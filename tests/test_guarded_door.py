"""What people put into parameters, gradients, states and `use`, example by example, with the right value.

    a gradient of another dtype from an operation of one's own: the numbers of the reference
    an array of another dtype, shape or layout as parameter, gradient, statistic or state of an optimiser
    a layer replaced, or the network moved to another dtype, after the optimiser was made
    np.matrix, masked arrays and lists
    an operation of one's own that gives back another dtype or shape, its own input, or nothing
    copies, pickles and process pools of layers, networks, losses and optimisers

`tests/test_hostile_objects.py` tries thousands more.
"""

import concurrent.futures
import copy
import multiprocessing
import pickle
import warnings

import numpy as np
import pytest

import minicnn
from minicnn import SGD, Adam, AdamW, BatchNorm2d, Conv2d, CrossEntropyLoss, Linear, NLLLoss, ReLU, Sequential

OPTIMIZERS = {
    "SGD": lambda network: SGD(network, lr=0.1),
    "momentum": lambda network: SGD(network, lr=0.1, momentum=0.9),
    "Adam": lambda network: Adam(network, lr=0.1, eps=0.01),
    "AdamW": lambda network: AdamW(network, lr=0.1, eps=0.01),
}
PARAMETRIZE_OPTIMIZER = pytest.mark.parametrize("optimizer", OPTIMIZERS)
REFUSED = (ValueError, TypeError)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def small_network(backend="cpu", dtype=np.float32):
    """Numbers that are the same in every dtype."""
    return Sequential(
        conv=Conv2d(2, 4, 3, padding=1, rng=0),
        bn=BatchNorm2d(4),
        relu=ReLU(),
        mean=minicnn.AdaptiveAvgPool2d(1),
        flat=minicnn.Flatten(),
        fc=Linear(4, 3, rng=1),
    ).to(backend, dtype)


X, LABELS = draw(5, 2, 6, 5), np.array([0, 1, 2, 1, 0])


def train_once(network, optimizer=None):
    loss = CrossEntropyLoss()
    loss.ops = network.ops
    value = loss.forward(network.forward(X.astype(network["fc"].params["weight"].dtype)), LABELS)
    network.backward(loss.backward())
    if optimizer is not None:
        optimizer.step()
    return value


def numbers_of(network, optimizer=None):
    found = network.state_dict()
    return found if optimizer is None else found | optimizer.state_dict()[0] | {"steps": np.array(optimizer.steps)}


def assert_unchanged(before, network, optimizer=None):
    after = numbers_of(network, optimizer)
    assert after.keys() == before.keys()
    for name, array in before.items():
        assert after[name].tobytes() == array.tobytes(), f"{name} has changed"


def error_of(function, *arguments):
    """The ValueError or TypeError that function(*arguments) raises, or None."""
    try:
        function(*arguments)
    except REFUSED as error:
        return error
    return None


def assert_close(found, expected, tolerance=1e-5):
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=tolerance, atol=tolerance, err_msg=name)


# Gradients of another dtype from operations of one's own.


def own_weight_gradient(dtype):
    """As a learner writes it, with np.zeros of whatever dtype; in eighths, so that integers are different."""

    def linear_weight_gradient(dy, x):
        dweight = np.zeros((dy.shape[1], x.shape[1]), dtype)
        for n in range(len(dy)):
            dweight += np.rint(10 * np.outer(dy[n], x[n])).astype(dtype)
        return dweight

    return linear_weight_gradient


def own_conv_weight_gradient(dtype):
    def conv2d_weight_gradient(dy, x, kernel_size, stride, padding):
        return np.arange(4 * 2 * 3 * 3).reshape(4, 2, 3, 3).astype(dtype)

    return conv2d_weight_gradient


def own_batchnorm_gradient(dtype):
    def batchnorm2d_train_backward(dy, x, weight, mean, var, eps):
        return np.zeros(dy.shape, dy.dtype), np.arange(4).astype(dtype), np.ones(4).astype(dtype)

    return batchnorm2d_train_backward


@PARAMETRIZE_OPTIMIZER
@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.int32, np.longdouble])
@pytest.mark.parametrize(
    "own",
    [
        ("fc", own_weight_gradient),
        ("fc", lambda dtype: own_bias_gradient(dtype)),
        ("conv", own_conv_weight_gradient),
        ("bn", own_batchnorm_gradient),
    ],
)
def test_an_own_gradient_of_another_dtype_gives_the_references_numbers(own, dtype, optimizer):
    """Converted to the parameter's dtype. Read as foreign bytes, weights of 1e20 came of it."""
    layer, make = own
    found = []
    for backend, network_dtype in (("cpu", np.float32), ("reference", np.float64)):
        network = small_network(backend, network_dtype)
        function = make(dtype if backend == "cpu" else np.float64)
        network[layer].use(**{function.__name__: function})
        made = OPTIMIZERS[optimizer](network)
        for _ in range(3):
            train_once(network, made)
        found.append(numbers_of(network, made))
        for name, of_layer, key in network.named_params():
            assert of_layer.params[key].dtype == network_dtype, name
            assert of_layer.grads[key].dtype == network_dtype, name
    assert_close(*found, tolerance=2e-4)


def own_bias_gradient(dtype):
    def linear_bias_gradient(dy):
        return np.rint(10 * dy.sum(axis=0)).astype(dtype)

    return linear_bias_gradient


@PARAMETRIZE_OPTIMIZER
@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, ">f4", bool])
def test_a_gradient_of_another_dtype_put_there_by_hand(dtype, optimizer):
    """Right, or refused before anything changes. Twice the same in either case."""
    outcomes = []
    for backend, network_dtype in (("cpu", np.float32), ("cpu", np.float32), ("reference", np.float64)):
        network = small_network(backend, network_dtype)
        made = OPTIMIZERS[optimizer](network)
        train_once(network, made)
        train_once(network)
        grad = np.rint(10 * draw(3, 4, seed=7)).astype(dtype)
        network["fc"].grads["weight"] = grad if backend == "cpu" else grad.astype(np.float64)
        before = numbers_of(network, made)
        error = error_of(made.step)
        outcomes.append(numbers_of(network, made) if error is None else None)
        if error is not None:
            assert "fc.weight" in str(error)
            assert_unchanged(before, network, made)
    first, second, expected = outcomes
    if first is None:
        assert second is None
        return
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)
    assert_close(first, expected, tolerance=1e-4)


# Weights, statistics and states of another shape or kind.

WRONG_WEIGHTS = {
    "Keras' (in, out)": lambda: (Linear(5, 3, rng=0), "weight", draw(5, 3)),
    "the weight of another layer": lambda: (Linear(5, 3, rng=0), "weight", draw(3, 4)),
    "a bias of one number": lambda: (Linear(5, 3, rng=0), "bias", draw(1)),
    "a bias as a row": lambda: (Linear(5, 3, rng=0), "bias", draw(1, 3)),
    "a bias of too many": lambda: (Linear(5, 3, rng=0), "bias", draw(4)),
    "a kernel for groups": lambda: (Conv2d(4, 6, 3, rng=0), "weight", draw(6, 2, 3, 3)),
    "channels last": lambda: (Conv2d(4, 6, 3, rng=0), "weight", draw(6, 3, 3, 4)),
    "Keras' kernel": lambda: (Conv2d(4, 6, 3, rng=0), "weight", draw(3, 3, 4, 6)),
    "another kernel size": lambda: (Conv2d(4, 6, 3, rng=0), "weight", draw(6, 4, 5, 5)),
    "a kernel of many channels": lambda: (Conv2d(16, 16, 3, padding=1, rng=0), "weight", draw(16, 8, 3, 3)),
    "a 1 × 1 kernel turned": lambda: (Conv2d(4, 6, 1, rng=0), "weight", draw(4, 6, 1, 1)),
    "a bias as (F, 1, 1)": lambda: (Conv2d(4, 6, 3, rng=0), "bias", draw(6, 1, 1)),
    "a scale as (1, C, 1, 1)": lambda: (BatchNorm2d(4), "weight", draw(1, 4, 1, 1)),
    "a scale of one number": lambda: (BatchNorm2d(4), "weight", draw(1)),
    "a shift of too many": lambda: (BatchNorm2d(4), "bias", draw(8)),
}


@pytest.mark.parametrize(
    ("wrong", "fused"),
    [
        (wrong, fused)
        for wrong, make in WRONG_WEIGHTS.items()
        for fused in (False, True)
        if not (fused and isinstance(make()[0], Linear))
    ],
)
def test_a_weight_of_the_wrong_shape_is_refused(wrong, fused):
    """It gave numbers from foreign memory, another answer at each call."""
    layer, key, value = WRONG_WEIGHTS[wrong]()
    x = draw(2, layer.in_features) if isinstance(layer, Linear) else draw(2, getattr(layer, "in_channels", 4), 6, 6)
    right = layer.params[key]
    computed = layer
    if fused:
        conv = layer if isinstance(layer, Conv2d) else Conv2d(4, 4, 3, rng=0)
        bn = layer if isinstance(layer, BatchNorm2d) else BatchNorm2d(conv.out_channels)
        computed = minicnn.fuse(Sequential(conv, bn, ReLU()))
    y = computed.forward(x)
    layer.params[key] = value
    state = {name: array.copy() for name, array in layer.state.items()}
    for call in (computed.forward, computed.predict):
        with pytest.raises(ValueError, match=key):
            call(x)
    assert all(np.array_equal(layer.state[name], array) for name, array in state.items())
    layer.params[key] = right
    y = computed.forward(x)
    if key == "weight" and not (fused and isinstance(layer, BatchNorm2d)):  # a block keeps what batchnorm did forward
        layer.params[key] = value
        with pytest.raises(ValueError, match="expected"):
            computed.backward(np.ones_like(y))


@pytest.mark.parametrize("key", ["running_mean", "running_var"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "wrong", [draw(1), draw(5), draw(1, 4), draw(4).astype(np.float64), draw(4).astype(np.int64), [0.0] * 4, None]
)
def test_running_statistics_of_another_kind_are_right_or_refused(key, training, wrong):
    x = draw(3, 4, 5, 2)
    bn = BatchNorm2d(4).train(training)
    wrong = np.abs(wrong) if isinstance(wrong, np.ndarray) else wrong
    bn.state[key] = wrong
    other = {"running_mean": "running_var", "running_var": "running_mean"}[key]
    before = bn.state[other].copy(), np.array(bn.state["num_batches_tracked"])
    error = error_of(bn.forward, x)
    if error is not None:
        assert key in str(error)
        assert np.array_equal(bn.state[other], before[0])
        assert np.array_equal(bn.state["num_batches_tracked"], before[1])
        return
    judge = BatchNorm2d(4).to("reference", np.float64).train(training)
    judge.state[key] = np.array(wrong, np.float64)
    y = judge.forward(x.astype(np.float64))
    if not training:
        np.testing.assert_allclose(bn.forward(x), y, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(bn.state[key], judge.state[key], rtol=1e-5, atol=1e-5)


@PARAMETRIZE_OPTIMIZER
@pytest.mark.parametrize("wrong", ["float64", "shape", "Fortran", "list", "None", "read-only"])
def test_a_state_of_an_optimiser_of_another_kind_is_right_or_refused(optimizer, wrong):
    ways = {
        "float64": lambda a: a.astype(np.float64),
        "shape": lambda a: a[:1].copy(),
        "Fortran": np.asfortranarray,
        "list": lambda a: a.tolist(),
        "None": lambda a: None,
        "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    }
    network, twin = small_network(), small_network()
    made, right = OPTIMIZERS[optimizer](network), OPTIMIZERS[optimizer](twin)
    for each in ((network, made), (twin, right)):
        train_once(*each)
        train_once(each[0])
    slot = made.slots[-1]
    before, state = network.state_dict(), made.state[slot]["fc.weight"].copy()
    made.state[slot]["fc.weight"] = ways[wrong](state)
    error = error_of(made.step)
    if error is not None:
        assert "fc.weight" in str(error)
        assert_unchanged(before, network)
        assert made.steps == 1
        return
    right.step()
    assert_close(network.state_dict(), twin.state_dict())


@PARAMETRIZE_OPTIMIZER
@pytest.mark.parametrize("wrong", ["param and grad", "param and state", "state and grad", "two states"])
def test_arrays_that_are_one_are_right_or_refused(optimizer, wrong):
    network, twin = small_network(), small_network()
    made, right = OPTIMIZERS[optimizer](network), OPTIMIZERS[optimizer](twin)
    for each, copied in (((network, made), False), ((twin, right), True)):
        train_once(*each)
        train_once(each[0])
        layer, state = each[0]["fc"], each[1].state
        maybe_copied = np.copy if copied else lambda a: a
        if wrong == "param and grad":
            layer.grads["weight"] = maybe_copied(layer.params["weight"])
        elif wrong == "param and state":
            state[each[1].slots[0]]["fc.weight"] = maybe_copied(layer.params["weight"])
        elif wrong == "state and grad":
            layer.grads["weight"] = maybe_copied(state[each[1].slots[-1]]["fc.weight"])
        else:
            state[each[1].slots[-1]]["fc.weight"] = maybe_copied(state[each[1].slots[0]]["fc.weight"])
    before = numbers_of(network, made)
    error = error_of(made.step)
    if error is not None:
        assert "fc.weight" in str(error)
        assert_unchanged(before, network, made)
        return
    right.step()
    assert_close(network.state_dict(), twin.state_dict())


# A network that is another one than the optimiser was made for.


@PARAMETRIZE_OPTIMIZER
@pytest.mark.parametrize("features", [700, 2])
def test_a_layer_replaced_by_one_of_another_size_after_the_optimiser_was_made(optimizer, features):
    """Adam wrote past the end of its state."""
    network = small_network()
    made = OPTIMIZERS[optimizer](network)
    train_once(network, made)
    network.children["fc"] = Linear(4, features, rng=0)
    labels = LABELS % 2
    loss = CrossEntropyLoss()
    loss.forward(network.forward(X), labels)
    network.backward(loss.backward())
    before, steps = network.state_dict(), made.steps
    with pytest.raises(ValueError, match=r"fc\.weight"):
        made.step()
    assert_unchanged(before, network)
    assert made.steps == steps
    OPTIMIZERS[optimizer](network).step()
    assert all(np.isfinite(array).all() for array in network.state_dict().values())


@PARAMETRIZE_OPTIMIZER
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("dtypes", [(np.float32, np.float64), (np.float64, np.float32)])
def test_a_network_moved_to_another_dtype_after_the_optimiser_was_made(optimizer, dtypes, fused):
    """Right, which only an optimiser without a state can be, or refused."""
    first, then = dtypes
    network = small_network(dtype=first)
    made = OPTIMIZERS[optimizer](network)
    train_once(network, made)
    network.to(dtype=then)
    train_once(minicnn.fuse(network) if fused else network)
    grads = {name: layer.grads[key].copy() for name, layer, key in network.named_params()}
    before, steps = network.state_dict(), made.steps
    error = error_of(made.step)
    if error is not None:
        assert "conv.weight" in str(error)
        assert_unchanged(before, network)
        assert made.steps == steps
        return
    assert optimizer == "SGD"
    for name, layer, key in network.named_params():
        assert layer.params[key].dtype == then
        np.testing.assert_allclose(layer.params[key], before[name] - 0.1 * grads[name], rtol=1e-6, atol=1e-7)


# Subclasses and lists.


@pytest.mark.parametrize("place", ["input", "weight", "dy"])
def test_a_matrix_in_a_linear_layer(place):
    """It ended the process. Its * is another than an array's, and it has two axes for ever."""
    layer, x, dy = Linear(5, 3, rng=0), draw(4, 5), draw(4, 3, seed=1)
    twin = Linear(5, 3, rng=0)
    expected = [twin.forward(x), twin.backward(dy), twin.grads["weight"], twin.grads["bias"]]
    with pytest.warns(PendingDeprecationWarning):
        x_, dy_, weight = np.matrix(x), np.matrix(dy), np.matrix(layer.params["weight"])
    if place == "weight":
        layer.params["weight"] = weight
    found = []
    error = error_of(lambda: found.append(layer.forward(x_ if place == "input" else x)))
    error = error or error_of(lambda: found.append(layer.backward(dy_ if place == "dy" else dy)))
    if error is not None:
        assert isinstance(error, TypeError)
        assert "matrix" in str(error)
        return
    found += layer.grads.values()
    for a, b in zip(found, expected, strict=True):
        assert type(a) is np.ndarray
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("place", ["input", "weight", "dy"])
def test_masked_arrays_are_refused(place):
    """What is masked must neither count nor be taken for a number: dweight and dbias contradicted each other."""
    layer, x, dy = Linear(5, 3, rng=0), draw(4, 5), draw(4, 3, seed=1)
    masked = {"input": x, "dy": dy, "weight": layer.params["weight"]}[place]
    masked = np.ma.masked_array(masked, mask=masked > 0)
    if place == "weight":
        layer.params["weight"] = masked
    if place == "dy":
        layer.forward(x)
    with pytest.raises(TypeError, match="mask"):
        layer.backward(masked) if place == "dy" else layer.forward(masked if place == "input" else x)


@pytest.mark.parametrize("value", [[[1.0, 2.0]], ((1.0, 2.0),), None, "weight", 1.0, np.float32(1)])
@pytest.mark.parametrize("layer", [Linear(2, 1, rng=0), BatchNorm2d(1), Conv2d(2, 1, 1, rng=0)])
def test_a_parameter_that_is_no_array_is_refused(layer, value):
    right, layer.params["weight"] = layer.params["weight"], value
    x = draw(3, 2) if isinstance(layer, Linear) else draw(3, 2 - isinstance(layer, BatchNorm2d), 4, 4)
    try:
        for call in (layer.forward, layer.predict):
            with pytest.raises(REFUSED, match=rf"{type(layer).__name__}.*weight"):
                call(x)
    finally:
        layer.params["weight"] = right


# Operations of one's own that give back something else.

OTHER_RESULTS = {
    "nothing": (lambda y: None, TypeError),
    "a tuple": (lambda y: (y,), REFUSED),
    "a word": (lambda y: "y", TypeError),
    "one axis fewer": (lambda y: y[0], ValueError),
    "one axis more": (lambda y: y[None], ValueError),
    "one image fewer": (lambda y: y[:-1], ValueError),
    "complex numbers": (lambda y: y + 1j, TypeError),
}
RIGHT_RESULTS = {
    "float64": lambda y: y.astype(np.float64),
    "float16": lambda y: y.astype(np.float16).astype(np.float32).astype(np.float16),
    "Fortran order": np.asfortranarray,
    "a list": lambda y: y.tolist(),
    "a view": lambda y: np.concatenate([y, y])[: len(y)],
    "negative strides": lambda y: np.ascontiguousarray(y[::-1])[::-1],
}
OWN = {
    "linear_forward": (lambda: Linear(5, 3, rng=0), (4, 5)),
    "linear_input_gradient": (lambda: Linear(5, 3, rng=0), (4, 5)),
    "linear_weight_gradient": (lambda: Linear(5, 3, rng=0), (4, 5)),
    "conv2d_forward": (lambda: Conv2d(2, 3, 3, rng=0), (2, 2, 5, 6)),
    "conv2d_input_gradient": (lambda: Conv2d(2, 3, 3, rng=0), (2, 2, 5, 6)),
    "conv2d_weight_gradient": (lambda: Conv2d(2, 3, 3, rng=0), (2, 2, 5, 6)),
    "general_conv2d_forward": (lambda: Conv2d(2, 2, 3, groups=2, rng=0), (2, 2, 5, 6)),
    "general_conv2d_input_gradient": (lambda: Conv2d(2, 2, 3, groups=2, rng=0), (2, 2, 5, 6)),
    "general_conv2d_weight_gradient": (lambda: Conv2d(2, 2, 3, groups=2, rng=0), (2, 2, 5, 6)),
    "relu_forward": (ReLU, (4, 5)),
    "relu_backward": (ReLU, (4, 5)),
    "dropout": (lambda: minicnn.Dropout(0.5, seed=0), (4, 5)),
    "add": (lambda: minicnn.Residual(Linear(5, 5, rng=0)), (4, 5)),
    "batchnorm2d_forward": (lambda: BatchNorm2d(3), (4, 3, 2, 5)),
    "log_softmax_forward": (minicnn.LogSoftmax, (4, 5)),
    "log_softmax_backward": (minicnn.LogSoftmax, (4, 5)),
    "avg_pool2d_forward": (lambda: minicnn.AvgPool2d(2), (2, 3, 4, 6)),
    "avg_pool2d_backward": (lambda: minicnn.AvgPool2d(2), (2, 3, 4, 6)),
    "max_pool2d_backward": (lambda: minicnn.MaxPool2d(2), (2, 3, 4, 6)),
}


def passes(layer, x):
    y = layer.forward(x)
    dx = layer.backward(draw(*y.shape, seed=1).astype(y.dtype))
    return {"y": y, "dx": dx, **layer.grads, **layer.state}


@pytest.mark.parametrize("result", OTHER_RESULTS)
@pytest.mark.parametrize("name", OWN)
def test_an_own_operation_that_gives_back_another_thing_is_refused_by_name(name, result):
    make, shape = OWN[name]
    (layer, change, error), right = (make(), *OTHER_RESULTS[result]), getattr(minicnn.get_backend("cpu"), name)
    layer.use(**{name: lambda *arguments: change(right(*arguments))})
    state = {key: np.array(array) for key, array in layer.state.items()}
    with pytest.raises(error, match=name):
        passes(layer, draw(*shape))
    assert all(np.array_equal(layer.state[key], array) for key, array in state.items())


@pytest.mark.parametrize("result", RIGHT_RESULTS)
@pytest.mark.parametrize("name", OWN)
def test_an_own_operation_whose_numbers_lie_otherwise_gives_the_right_ones(name, result):
    make, shape = OWN[name]
    layer, right = make(), getattr(minicnn.get_backend("cpu"), name)
    layer.use(**{name: lambda *arguments: RIGHT_RESULTS[result](right(*arguments))})
    judge = make().to("reference", np.float64)
    found, expected = passes(layer, draw(*shape)), passes(judge, draw(*shape).astype(np.float64))
    assert_close(found, expected, tolerance=5e-3 if result == "float16" else 1e-5)
    counts = ("num_batches_tracked", "seed", "step")
    assert all(array.dtype == np.float32 for key, array in found.items() if key not in counts)


@pytest.mark.parametrize("wrong", [-1, 24, 10**6, -(2**31)])
def test_an_argmax_out_of_range_is_refused(wrong):
    def own(x, rows, columns):
        y, argmax = minicnn.get_backend("cpu").max_pool2d_forward(x, rows, columns)
        argmax[0, 0, 0, 0] = wrong
        return y, argmax

    layer = minicnn.MaxPool2d(2).use(max_pool2d_forward=own)
    with pytest.raises(ValueError, match="argmax"):
        passes(layer, draw(2, 3, 4, 6))


def test_an_own_operation_that_gives_back_its_input_leaves_it_alone():
    network = Sequential(a=Linear(4, 4, rng=0), same=ReLU(), b=Linear(4, 4, rng=1))
    network["same"].use(relu_forward=lambda x: x, relu_backward=lambda dy, y: dy)
    judge = Sequential(a=Linear(4, 4, rng=0), b=Linear(4, 4, rng=1)).to("reference", np.float64)
    x = draw(3, 4)
    before = x.copy()
    found, expected = network.forward(x), judge.forward(x.astype(np.float64))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    dy = draw(3, 4, seed=1)
    np.testing.assert_allclose(network.backward(dy), judge.backward(dy.astype(np.float64)), rtol=1e-5, atol=1e-6)
    assert x.tobytes() == before.tobytes()


# Copies.

WAYS = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "copy": copy.copy,
}
LAYERS = {
    "Conv2d": lambda: (Conv2d(2, 3, 3, rng=0), (2, 2, 5, 6)),
    "BatchNorm2d": lambda: (BatchNorm2d(3), (4, 3, 2, 5)),
    "ReLU": lambda: (ReLU(), (4, 5)),
    "MaxPool2d": lambda: (minicnn.MaxPool2d(2), (2, 3, 4, 6)),
    "AvgPool2d": lambda: (minicnn.AvgPool2d(2), (2, 3, 4, 6)),
    "AdaptiveMaxPool2d": lambda: (minicnn.AdaptiveMaxPool2d(2), (2, 3, 4, 6)),
    "AdaptiveAvgPool2d": lambda: (minicnn.AdaptiveAvgPool2d(2), (2, 3, 4, 6)),
    "Linear": lambda: (Linear(5, 3, rng=0), (4, 5)),
    "Flatten": lambda: (minicnn.Flatten(), (4, 3, 2)),
    "LogSoftmax": lambda: (minicnn.LogSoftmax(), (4, 5)),
    "Sequential": lambda: (small_network(), X.shape),
    "SimpleNet": lambda: (minicnn.SimpleNet(rng=0), (2, 3, 8, 8)),
    "fused": lambda: (minicnn.fuse(minicnn.SimpleNet(rng=0)), (2, 3, 8, 8)),
}


def own_relu(x):
    return np.maximum(x, 0) + 1


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LAYERS)
def test_a_copied_layer_computes_the_same(name, way, backend):
    layer, shape = LAYERS[name]()
    layer.to(backend)
    made = WAYS[way](layer)
    assert type(made) is type(layer)
    assert made.ops is layer.ops
    x = draw(*shape)
    y = layer.predict(x)
    assert made.predict(x).tobytes() == y.tobytes()
    found = made.forward(x)
    assert made.backward(np.ones_like(found)).shape == x.shape


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_deep_copy_has_arrays_of_its_own_and_goes_on_amid_a_step(name, way):
    layer, shape = LAYERS[name]()
    x = draw(*shape)
    y = layer.forward(x)
    made = WAYS[way](layer)
    dy = draw(*y.shape, seed=1)
    assert made.backward(dy).tobytes() == layer.backward(dy).tobytes()
    arrays = [list(each.params.values()) + list(each.grads.values()) for each in _every_layer(layer)]
    copies = [list(each.params.values()) + list(each.grads.values()) for each in _every_layer(made)]
    for mine, theirs in zip(arrays, copies, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert a.tobytes() == b.tobytes()
            assert not np.shares_memory(a, b)


def _every_layer(layer):
    return [each for _, each in layer.named_layers()] if isinstance(layer, Sequential) else [layer]


@pytest.mark.parametrize("way", WAYS)
def test_operations_of_ones_own_are_copied_along(way):
    made = WAYS[way](ReLU().use(relu_forward=own_relu))
    np.testing.assert_array_equal(made.predict(np.float32([-1, 2])), [1, 3])
    np.testing.assert_array_equal(made.own_operations["relu_forward"](np.float32([-1, 2])), [1, 3])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", [NLLLoss, CrossEntropyLoss, lambda: CrossEntropyLoss(np.float32([1, 2, 3]), 0.1)])
def test_a_copied_loss_goes_on(make, way):
    output, loss = -np.abs(draw(5, 3)), make()
    loss.forward(output, LABELS)
    made = WAYS[way](loss)
    assert made.backward().tobytes() == loss.backward().tobytes()
    assert made.forward(output, LABELS) == loss.forward(output, LABELS)


@PARAMETRIZE_OPTIMIZER
@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_a_copied_run_trains_on_to_the_same_bits(optimizer, way):
    """Network, optimiser and schedule in one copy; the original is left alone."""
    network = small_network()
    made = OPTIMIZERS[optimizer](network)
    schedule = minicnn.CosineAnnealingLR(made, T_max=10)
    for _ in range(3):
        train_once(network, made)
        schedule.step()
    other_network, other, other_schedule = WAYS[way]((network, made, schedule))
    assert other.network is other_network
    before = numbers_of(network, made)
    for _ in range(3):
        train_once(other_network, other)
        other_schedule.step()
    assert_unchanged(before, network, made)
    for _ in range(3):
        train_once(network, made)
        schedule.step()
    assert made.lr == other.lr
    assert_unchanged(numbers_of(network, made), other_network, other)


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
def test_an_optimiser_alone_copies_its_network_along(way):
    network = small_network()
    made = Adam(network)
    train_once(network, made)
    other = WAYS[way](made)
    train_once(network, made)
    train_once(other.network, other)
    assert_unchanged(numbers_of(network, made), other.network, other)


def _predict(network, x):
    return network.predict(x)


def _one_step(network, optimizer):
    value = train_once(network, optimizer)
    return value, network, optimizer


def test_a_process_pool():
    network = small_network()
    optimizer = Adam(network)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        predicted = list(pool.map(_predict, [network] * 2, [X, X[:1]]))
        value, trained, its_optimizer = pool.submit(_one_step, network, optimizer).result()
    for x, y in zip((X, X[:1]), predicted, strict=True):
        assert y.tobytes() == network.predict(x).tobytes()
    assert train_once(network, optimizer) == value
    assert_unchanged(numbers_of(network, optimizer), trained, its_optimizer)


# Settings that are set after construction.


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(
    "make", [lambda: Conv2d(2, 3, 3, rng=0), lambda: minicnn.MaxPool2d(3), lambda: minicnn.AvgPool2d(3)]
)
def test_settings_that_are_set_later_are_those_of_the_constructor_or_refused(make, backend):
    x, layer = draw(2, 2, 7, 8), make().to(backend)
    layer.stride = 2
    assert layer.forward(x).shape[2:] == (3, 3)
    assert layer.backward(draw(*layer.forward(x).shape)).shape == x.shape
    for stride, error in ((0, ValueError), ((1, 0), ValueError), (1.5, TypeError), (None, TypeError), ("2", TypeError)):
        layer.stride = stride
        with pytest.raises(error, match="stride"):
            layer.forward(x)


@pytest.mark.parametrize("way", [np.ndarray.tolist, np.asfortranarray, np.matrix])
def test_an_optimiser_loads_what_numpy_can_read(way):
    network = small_network()
    made, twin = Adam(network), Adam(network)
    train_once(network, made)
    arrays, settings = made.state_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        given = {name: way(array) if array.ndim == 2 else array for name, array in arrays.items()}
    twin.load_state_dict(given, settings)
    assert all(twin.state_dict()[0][name].tobytes() == array.tobytes() for name, array in arrays.items())
