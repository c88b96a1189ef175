"""Images of different sizes in one batch: every layer that takes them, against loops, quotients and PyTorch."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import minicnn
from minicnn import Images
from tests import cases, checks

PARAMETRIZE_BACKEND = pytest.mark.parametrize("backend", checks.BACKENDS)
SIZES = [(6, 5), (3, 9), (11, 4), (3, 3)]


def draw(sizes, channels=2, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return Images([rng.standard_normal((channels, h, w)).astype(dtype) for h, w in sizes])


@pytest.mark.quick
@pytest.mark.parametrize("case", cases.MIXED, ids=cases.name_of)
def test_loops(case):
    checks.check_against_naive(case)


@pytest.mark.parametrize("case", [case for case in cases.MIXED if case.numeric], ids=cases.name_of)
def test_difference_quotient(case):
    checks.check_numeric_gradient(case)


@pytest.mark.torch
@pytest.mark.parametrize("case", cases.MIXED, ids=cases.name_of)
def test_pytorch(case):
    checks.check_against_torch(case)


def test_the_table_holds_every_layer_that_takes_images():
    layers = {layer for layer in (getattr(minicnn, name) for name in minicnn.__all__) if isinstance(layer, type)}
    taking = {layer.__name__ for layer in layers if issubclass(layer, minicnn.Layer) and layer.takes_images}
    taking -= {"Residual", "Dropout"}  # which have tests of their own
    assert {case.layer for case in cases.MIXED} == taking
    assert {case.layer for case in cases.MIXED if case.numeric} == taking
    assert len(set(map(str, cases.MIXED))) == len(cases.MIXED)


# By hand


@PARAMETRIZE_BACKEND
def test_statistics_count_pixels_not_images(backend):
    """Pixels 1, 1, 1 and 5: their mean is 2, where the mean of the two images' means would be 3."""
    norm = minicnn.BatchNorm2d(1, eps=0).to(backend, np.float64)
    y = norm.forward(Images([np.ones((1, 1, 3)), np.full((1, 1, 1), 5.0)]))
    np.testing.assert_allclose(y.data * np.sqrt(3), [-1, -1, -1, 3], rtol=1e-15)  # var = (1 + 1 + 1 + 9) / 4
    assert norm.state["running_mean"] == pytest.approx(0.1 * 2)
    assert norm.state["running_var"] == pytest.approx(0.9 * 1 + 0.1 * 12 / 3)


@PARAMETRIZE_BACKEND
def test_adaptive_pooling_by_hand(backend):
    x = Images([np.float32([[[1, 2, 9, 3, 4]]]), np.float32([[[7]]])])
    pool = minicnn.AdaptiveMaxPool2d((1, 2)).to(backend)
    np.testing.assert_array_equal(pool.forward(x), np.float32([[[[9, 9]]], [[[7, 7]]]]))
    dx = pool.backward(np.float32([[[[1, 10]]], [[[100, 1000]]]]))
    np.testing.assert_array_equal(dx[0], [[[0, 0, 11, 0, 0]]])
    np.testing.assert_array_equal(dx[1], [[[1100]]])


# What comes out


@PARAMETRIZE_BACKEND
@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize(
    ("layer", "gives_array"),
    [
        (minicnn.Conv2d(2, 3, 3, padding=1, rng=0), False),
        (minicnn.BatchNorm2d(2), False),
        (minicnn.ReLU(), False),
        (minicnn.MaxPool2d(3), False),
        (minicnn.AvgPool2d(3), False),
        (minicnn.AdaptiveMaxPool2d(2), True),
        (minicnn.AdaptiveAvgPool2d((3, 2)), True),
        (minicnn.AdaptiveMaxPool2d((None, 2)), False),
        (minicnn.AdaptiveAvgPool2d(None), False),
    ],
    ids=lambda value: repr(value) if isinstance(value, minicnn.Layer) else str(value),
)
def test_the_form_of_the_output_depends_on_the_layer_alone(backend, layer, gives_array, equal):
    """`Images` stay `Images`, even where they happen to be of one size, until an adaptive pooling makes them so."""
    layer.to(backend)
    x = draw([(4, 5)] * 3 if equal else SIZES, dtype=np.float32)
    y = layer.forward(x)
    assert isinstance(y, np.ndarray) == gives_array
    assert isinstance(y, Images) != gives_array
    assert type(layer.predict(x)) is type(y)
    dx = layer.backward(y)
    assert isinstance(dx, Images)
    assert dx.shape == x.shape
    assert dx.dtype == x.dtype


@PARAMETRIZE_BACKEND
@pytest.mark.parametrize("case", [case for case in cases.MIXED if case.x[1][0] == (6, 5)], ids=cases.name_of)
def test_images_of_one_size_are_a_batch(backend, case):
    """The same numbers as the array (N, C, H, W), to the last bit but for the order of sums."""
    numbers = checks.problem(case)
    actual = checks.run_minicnn(case, backend, np.float64, numbers)
    layer = checks.new_layer(case, numbers, backend, np.float64)
    y = layer.forward(numbers.x.as_array())
    dy = np.asarray(checks.draw_dy(case, Images.of_array(y).shape).as_array())
    expected = {"y": y.reshape(-1), "dx": layer.backward(dy).reshape(-1)}
    expected |= {f"d{name}": grad for name, grad in layer.grads.items()}
    for name, array in expected.items():
        np.testing.assert_allclose(actual[name], array, rtol=1e-13, atol=1e-14, err_msg=name)


@PARAMETRIZE_BACKEND
def test_a_convolution_tells_the_sizes_it_makes(backend):
    conv = minicnn.Conv2d(2, 3, (3, 2), stride=2, padding=(1, 0)).to(backend)
    x = draw(SIZES, dtype=np.float32)
    assert conv.output_size((6, 5)) == (3, 2)
    assert all(type(n) is int for n in conv.output_size((6, 5)))
    np.testing.assert_array_equal(conv.output_size(x.sizes), [(3, 2), (2, 4), (6, 2), (2, 1)])
    np.testing.assert_array_equal(conv.forward(x).sizes, conv.output_size(x.sizes))


# A whole network


def small_network(backend):
    rng = np.random.default_rng(0)
    layers = {
        "conv1": minicnn.Conv2d(2, 4, 3, padding=1, rng=rng),
        "bn1": minicnn.BatchNorm2d(4),
        "relu1": minicnn.ReLU(),
        "conv2": minicnn.Conv2d(4, 8, 3, stride=2, padding=1, rng=rng),
        "bn2": minicnn.BatchNorm2d(8),
        "relu2": minicnn.ReLU(),
        "pool": minicnn.AdaptiveMaxPool2d((1, 1)),
        "flatten": minicnn.Flatten(),
        "fc": minicnn.Linear(8, 5, rng=rng),
        "log_softmax": minicnn.LogSoftmax(),
    }
    return minicnn.Sequential(**layers).to(backend, np.float64)


@PARAMETRIZE_BACKEND
@pytest.mark.parametrize("training", [True, False])
def test_difference_quotient_through_the_network(backend, training):
    network, loss = small_network(backend).train(training), minicnn.CrossEntropyLoss().to(backend)
    x, labels = draw(SIZES), np.array([0, 3, 1, 4])
    loss.forward(network.forward(x), labels)
    dx = network.backward(loss.backward())
    pairs = {"x": (x.data, dx.data)} | {
        name: (layer.params[key], layer.grads[key]) for name, layer, key in network.named_params()
    }
    rng = np.random.default_rng(1)
    for name, (values, gradient) in pairs.items():
        blind = training and name in ("conv1.bias", "conv2.bias")  # batch normalisation takes them out again
        assert np.abs(gradient).max() > 1e-4 or blind, f"{name}: all gradients are near 0"
        for place in rng.choice(values.size, min(values.size, 12), replace=False):
            numeric = checks.central_difference(
                lambda: loss.forward(network.forward(x), labels), values.reshape(-1), place
            )
            scale = max(np.abs(gradient).max(), 1e-3)
            assert abs(numeric - gradient.reshape(-1)[place]) <= 1e-6 * scale, f"{name}[{place}]"


@pytest.mark.quick
@PARAMETRIZE_BACKEND
def test_a_network_in_evaluation_treats_each_image_as_if_it_were_alone(backend):
    network = small_network(backend).eval()
    x = draw(SIZES)
    alone = np.concatenate([network.predict(image[None]) for image in x])
    np.testing.assert_allclose(network.predict(x), alone, rtol=1e-12)
    np.testing.assert_allclose(network.forward(x), alone, rtol=1e-12)
    dy = np.random.default_rng(2).standard_normal(alone.shape)
    dx = network.backward(dy)
    for n, image in enumerate(x):
        network.forward(image[None])
        np.testing.assert_allclose(dx[n], network.backward(dy[n : n + 1])[0], rtol=1e-10, atol=1e-14)


@PARAMETRIZE_BACKEND
def test_a_network_on_images_of_one_size(backend):
    x, dy = draw([(7, 6)] * 3), np.random.default_rng(2).standard_normal((3, 5))
    networks = small_network(backend), small_network(backend)
    y, expected_y = networks[0].forward(x), networks[1].forward(x.as_array())
    np.testing.assert_allclose(y, expected_y, rtol=1e-12)
    dx, expected_dx = networks[0].backward(dy), networks[1].backward(dy)
    np.testing.assert_allclose(dx.as_array(), expected_dx, rtol=1e-10, atol=1e-14)
    for (name, layer, key), (_, twin, _) in zip(*(network.named_params() for network in networks), strict=True):
        np.testing.assert_allclose(layer.grads[key], twin.grads[key], rtol=1e-10, atol=1e-13, err_msg=name)
    for name, array in networks[1].state_dict().items():
        np.testing.assert_allclose(networks[0].state_dict()[name], array, rtol=1e-12, err_msg=name)


@PARAMETRIZE_BACKEND
def test_the_order_of_the_images_is_that_of_the_outputs(backend):
    network, x = small_network(backend), draw(SIZES)
    order = [2, 0, 3, 1]
    y = network.forward(x)
    np.testing.assert_allclose(network.forward(x[order]), y[order], rtol=1e-10)


@PARAMETRIZE_BACKEND
def test_training_learns_whether_images_are_tall(backend):
    """A step of the trainer needs to know nothing of sizes."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(4, 12, (24, 2))
    x = Images([np.float64(h) + rng.standard_normal((2, h, w)) for h, w in sizes.tolist()])
    labels = (sizes[:, 0] > 7).astype(int)
    network = small_network(backend)
    optimizer = minicnn.Adam(network, lr=0.01)
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss().to(backend), optimizer, fuse=False, quiet=True)
    losses = [trainer.step(x, labels) for _ in range(30)]
    assert losses[-1] < 0.3 * losses[0]
    history = trainer.fit([(x, labels)], [(x, labels)], epochs=1)
    assert np.isfinite(history[0]["val_loss"])


# Mutants: each planted in the reference and in the CPU's operations, and seen by the checks above


def _per_image(true, x):
    """The mean over images of each one's own statistics: a small image counts as much as a large one."""
    means, variances = zip(*[true(image[None]) for image in x], strict=True)
    mean = np.mean(means, axis=0)
    return mean, np.mean([var + (m - mean) ** 2 for m, var in zip(means, variances, strict=True)], axis=0)


def _starts_of_the_next_image(true, x, *arguments):
    """Each image gets the pixels that begin where the next one does."""
    return true(x.like(np.roll(x.data, -x.channels * int(x.sizes[0].prod()))), *arguments)


def _starts_without_channels(true, x, *arguments):
    """Image n begins at starts[n], not at C * starts[n]."""
    wrong = [
        x.data[start : start + x.channels * h * w].reshape(-1, h, w)
        for start, (h, w) in zip(x.starts.tolist(), x.sizes.tolist(), strict=True)
    ]
    return true(Images(wrong), *arguments)


def _count_of_images(true, dy, x, weight, mean, var, eps):
    """dx with N in place of P as the number of values per channel."""
    direct, dweight, dbias = minicnn.backends.get_backend("reference").batchnorm2d_eval_backward(
        dy, x, weight, mean, var, eps
    )
    right = true(dy, x, weight, mean, var, eps)[0].data
    return x.like(direct.data + (right - direct.data) * (x.pixels / len(x))), dweight, dbias


def _running_count_of_images(true, running_mean, running_var, mean, var, count, momentum):
    true(running_mean, running_var, mean, var, len(cases.MIXED_BATCHNORM[0].x[1]), momentum)


def _offsets_of_the_output(true, *arguments):
    """dx filled at the offsets that dy's images have: what lies behind them stays 0."""
    dy, dx = arguments[0], true(*arguments)
    data = np.zeros_like(dx.data)
    for n, image in enumerate(dx):
        start = dy.channels * int(dy.starts[n])
        data[start : start + image.size] = image.reshape(-1)[: len(data) - start]
    return dx.like(data)


def _first_image_only(true, dy, *arguments):
    if len(arguments) == 4 and isinstance(arguments[0], Images):
        return true(dy[:1], arguments[0][:1], *arguments[1:])
    return true(dy[:1])


TABLE = {str(case): case for case in cases.MIXED}
NORM = "BatchNorm2d 2x(5x4+1x7+1x1+9x6) 2"
CONV = "Conv2d 2x(7x9+3x3+8x4+12x5) 2 3 3 stride=2"
MAX = "MaxPool2d 2x(7x9+3x3+8x4+12x5) kernel_size=2 distinct"
AVG = "AvgPool2d 2x(7x9+3x3+8x4+12x5) kernel_size=2"
LOOPS, BOTH = (checks.check_against_naive,), (checks.check_against_naive, checks.check_numeric_gradient)
MUTANTS = {
    "statistics per image": ("batchnorm2d_statistics", _per_image, NORM, BOTH),
    "statistics from the next image's starts": ("batchnorm2d_forward", _starts_of_the_next_image, NORM, BOTH),
    "normalised without the factor C": ("batchnorm2d_forward", _starts_without_channels, NORM, BOTH),
    "mean(dy) over N": ("batchnorm2d_train_backward", _count_of_images, NORM, BOTH),
    "running_var with N": ("update_running_statistics_", _running_count_of_images, NORM, LOOPS),
    "convolution from the next image's starts": ("conv2d_forward", _starts_of_the_next_image, CONV, BOTH),
    "convolution without the factor C": ("conv2d_forward", _starts_without_channels, CONV, BOTH),
    "dweight of the first image": ("conv2d_weight_gradient", _first_image_only, CONV, BOTH),
    "dbias of the first image": ("conv2d_bias_gradient", _first_image_only, CONV, BOTH),
    "dx of convolution at dy's offsets": ("conv2d_input_gradient", _offsets_of_the_output, CONV, BOTH),
    "maximum from the next image's starts": ("max_pool2d_forward", _starts_of_the_next_image, MAX, BOTH),
    "maximum without the factor C": ("max_pool2d_forward", _starts_without_channels, MAX, BOTH),
    "dx of maximum at dy's offsets": ("max_pool2d_backward", _offsets_of_the_output, MAX, BOTH),
    "mean without the factor C": ("avg_pool2d_forward", _starts_without_channels, AVG, BOTH),
    "dx of mean at dy's offsets": ("avg_pool2d_backward", _offsets_of_the_output, AVG, BOTH),
}


@PARAMETRIZE_BACKEND
@pytest.mark.parametrize(("operation", "wrong", "case", "seen_by"), MUTANTS.values(), ids=MUTANTS.keys())
def test_mutants(monkeypatch, backend, operation, wrong, case, seen_by):
    ops, case = minicnn.backends.get_backend(backend), TABLE[case]
    true = getattr(ops, operation)
    for check in seen_by:
        check(case, [backend])
    monkeypatch.setattr(ops, operation, lambda *arguments: wrong(true, *arguments))
    for check in seen_by:
        with pytest.raises(AssertionError):
            check(case, [backend])


# Errors


@PARAMETRIZE_BACKEND
@pytest.mark.parametrize(
    ("layer", "error", "words"),
    [
        (minicnn.Conv2d(3, 4, 3), ValueError, ["Conv2d", "3 input channels", "got 2", "200"]),
        (minicnn.Conv2d(2, 4, 3), ValueError, ["Conv2d", "kernel (3, 3)", "got (2, 9)", "image 1"]),
        (minicnn.MaxPool2d(3), ValueError, ["MaxPool2d", "kernel (3, 3)", "got (2, 9)", "image 1"]),
        (minicnn.AvgPool2d(3), ValueError, ["AvgPool2d", "kernel (3, 3)", "got (2, 9)", "image 1"]),
        (minicnn.BatchNorm2d(3), ValueError, ["BatchNorm2d", "3 channels", "got 2", "200"]),
        (minicnn.Conv2d(2, 4, 3).to(dtype=np.float64), TypeError, ["Conv2d", "float64", "got float32"]),
        (minicnn.Flatten(), TypeError, ["Flatten", "expected an array", "Images(200", "AdaptiveMaxPool2d"]),
        (minicnn.Linear(4, 2), TypeError, ["Linear", "expected an array", "Images(200", "AdaptiveAvgPool2d"]),
        (minicnn.LogSoftmax(), TypeError, ["LogSoftmax", "expected an array", "Images(200", "AdaptiveMaxPool2d"]),
    ],
)
def test_wrong_inputs(backend, layer, error, words):
    """Said in one line, though there are 200 images."""
    x = draw([(5, 5), (2, 9), *[(1 + n % 5, 4) for n in range(198)]], dtype=np.float32)
    layer.to(backend)
    for call in (layer.forward, layer.predict):
        with pytest.raises(error) as raised:
            call(x)
        for word in words:
            assert word in str(raised.value), f"{word!r} is missing in: {raised.value}"
        assert len(str(raised.value)) < 300
    assert layer.memory is None


@PARAMETRIZE_BACKEND
@pytest.mark.parametrize("loss", [minicnn.NLLLoss, minicnn.CrossEntropyLoss])
def test_losses_take_none(backend, loss):
    with pytest.raises(TypeError, match=f"{loss.__name__}.*expected an array, got Images.*Adaptive"):
        loss().to(backend).forward(draw(SIZES), [0, 1, 2, 3])


@PARAMETRIZE_BACKEND
@pytest.mark.parametrize("layer", [minicnn.ReLU(), minicnn.BatchNorm2d(2), minicnn.AdaptiveMaxPool2d(1)])
@pytest.mark.parametrize("shapes", [[(2, 3, 4), (2, 5, 4)], [(2, 3, 4), (2, 3, 4)], [(2, 3, 4), (1, 3, 4)]])
def test_a_list_of_arrays_is_not_images(backend, layer, shapes):
    with pytest.raises(TypeError, match=r"expected one array, got a list of 2.*minicnn\.Images"):
        layer.to(backend).forward([np.zeros(shape, np.float32) for shape in shapes])


@PARAMETRIZE_BACKEND
def test_other_ways_to_write_ragged_images(backend):
    relu, ragged = minicnn.ReLU().to(backend), [[[[1.0, 2.0]]], [[[3.0]]]]
    with pytest.raises(ValueError, match=r"ReLU: input: .*minicnn\.Images"):
        relu.forward(ragged)
    objects = np.empty(2, object)
    objects[:] = [np.float32(image) for image in ragged]
    with pytest.raises(TypeError, match=r"ReLU: input: .*object.*minicnn\.Images"):
        relu.forward(objects)


@PARAMETRIZE_BACKEND
def test_one_pixel_in_the_whole_batch(backend):
    norm = minicnn.BatchNorm2d(2).to(backend, np.float64)
    with pytest.raises(ValueError, match="more than one value per channel"):
        norm.forward(draw([(1, 1)]))
    assert norm.state["num_batches_tracked"] == 0
    norm.forward(draw([(1, 1), (1, 1)]))
    norm.eval().forward(draw([(1, 1)]))


@PARAMETRIZE_BACKEND
@pytest.mark.parametrize(
    "layer",
    [minicnn.ReLU(), minicnn.BatchNorm2d(2), minicnn.MaxPool2d(1), minicnn.AvgPool2d(1), minicnn.Conv2d(2, 2, 1)],
    ids=lambda layer: type(layer).__name__,
)
def test_a_wrong_dy_is_named_and_leaves_the_memory_for_the_right_one(backend, layer):
    layer.to(backend, np.float64)
    sizes = [(1 + n % 7, 1 + n % 4) for n in range(200)]
    x, dy = draw(sizes), draw(sizes, seed=1)
    layer.forward(x)
    expected = layer.backward(dy)
    layer.forward(x)
    other = sizes.copy()
    other[150] = other[160] = (2, 9)
    for wrong, error, words in [
        (draw(other), ValueError, ["image 150", f"{sizes[150]}", "(2, 9)"]),
        (dy[:199], ValueError, ["200 of 2 channels", "199 of 2 channels"]),
        (draw(sizes, channels=3), ValueError, ["200 of 2 channels", "200 of 3 channels"]),
        (np.zeros((200, 2, 5, 5)), ValueError, ["Images", "got shape (200, 2, 5, 5)"]),
        (dy.astype(np.float32), TypeError, ["float64", "float32"]),
        (list(dy), TypeError, ["list of 200", "minicnn.Images"]),
    ]:
        with pytest.raises(error) as raised:
            layer.backward(wrong)
        for word in [type(layer).__name__, "dy", "expected", "got", *words]:
            assert word in str(raised.value), f"{word!r} is missing in: {raised.value}"
        assert len(str(raised.value)) < 300
    np.testing.assert_array_equal(layer.backward(dy).data, expected.data)


@PARAMETRIZE_BACKEND
def test_images_where_an_array_went_out(backend):
    pool = minicnn.AdaptiveMaxPool2d(1).to(backend)
    x = draw(SIZES)
    y = pool.forward(x)
    with pytest.raises(ValueError, match=r"dy: expected shape \(4, 2, 1, 1\), got Images"):
        pool.backward(x)
    assert pool.backward(y).shape == x.shape


# Threads, and compiling ahead

WITHOUT_CONVOLUTION = "minicnn.BatchNorm2d(5), minicnn.ReLU(), minicnn.AvgPool2d(2, 1, 1), minicnn.AdaptiveMaxPool2d(3)"
WITH_CONVOLUTION = f"minicnn.Conv2d(5, 8, 3, 1, 1, rng=0), minicnn.Conv2d(8, 5, 3, 2, 1, rng=0), {WITHOUT_CONVOLUTION}"
RUN = """
    import hashlib, sys
    import numpy as np, minicnn
    minicnn.set_num_threads(int(sys.argv[1]))
    rng = np.random.default_rng(0)
    sizes = [(40, 60), (7, 1), (1, 1), *rng.integers(1, 12, (40, 2)).tolist()]  # one is as large as all others
    network, digest = minicnn.Sequential(LAYERS), hashlib.sha256()
    for _ in range(2):
        y = network.forward(minicnn.Images([rng.standard_normal((5, h, w), np.float32) for h, w in sizes]))
        dx = network.backward(rng.standard_normal(y.shape, np.float32))
        for array in (y, dx.data, *network.state_dict().values(), *network["0"].grads.values()):
            digest.update(array.tobytes())
    print(digest.hexdigest())
"""


@pytest.mark.parametrize("layers", [WITHOUT_CONVOLUTION, WITH_CONVOLUTION], ids=["without conv", "with conv"])
def test_the_bits_do_not_depend_on_the_number_of_threads(layers):
    code = textwrap.dedent(RUN).replace("LAYERS", layers)
    digests = {}
    for threads in (1, 2, 3):
        command = [sys.executable, "-c", code, str(threads)]
        environment = os.environ | {"NUMBA_NUM_THREADS": "8"}
        digests[threads] = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert len(set(digests.values())) == 1, digests


@pytest.mark.parametrize("dtype", checks.DTYPES)
def test_kernels_compiled_for_batches_of_one_size_serve(dtype):
    """Images of different sizes need no kernels of their own, so nothing is compiled when the first of them come."""
    from numba.core import event

    from minicnn.backends import cpu

    cpu.compile_kernels(dtype, files=("activation", "batchnorm", "pooling"))
    compiled = []

    class Listener(event.Listener):
        def on_start(self, e):
            compiled.append(e.data["dispatcher"].py_func.__qualname__)

        def on_end(self, e):
            pass

    x = draw(SIZES, dtype=dtype)
    with event.install_listener("numba:compile", Listener()):
        for layer in (minicnn.BatchNorm2d(2), minicnn.ReLU(), minicnn.MaxPool2d(2), minicnn.AdaptiveAvgPool2d(3)):
            layer.to(dtype=dtype)
            layer.backward(layer.forward(x))
    assert compiled == []
