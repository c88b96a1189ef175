"""What holds a case of the table against an oracle. The mutants must fail exactly these functions.

Each way to run a case gives the same thing, a dict of its results: "y" (or "loss"), "dx", "dweight", "dbias", and
for batch normalisation the running statistics. So two ways are compared name by name.
"""

import zlib
from types import SimpleNamespace

import numpy as np

import minicnn
from minicnn.backends import get_backend
from minicnn.images import Images
from tests import naive

BACKENDS = ("reference", "cpu")
DTYPES = (np.float32, np.float64)

# How far a result may be from the expected one, relative to the largest magnitude of the expected array.
TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-10}


def assert_close(actual, expected, dtype, what):
    """Equal to `expected` within the tolerance of `dtype`; NaN and infinities in the same places."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: expected shape {expected.shape}, got {actual.shape}"
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite], err_msg=f"{what}: NaN or infinity")
    difference = np.abs(np.where(finite, actual.astype(np.float64) - np.where(finite, expected, 0), 0))
    scale = np.abs(expected[finite]).max(initial=0)
    if not difference.max(initial=0) <= TOLERANCE[np.dtype(dtype)] * scale:
        worst = np.unravel_index(np.argmax(difference), difference.shape)
        raise AssertionError(
            f"{what}: at {tuple(map(int, worst))} expected {expected[worst]!r}, got {actual[worst]!r}: "
            f"off by {difference[worst] / scale if scale else np.inf:.1e} of the largest magnitude {scale:.3g}, "
            f"allowed {TOLERANCE[np.dtype(dtype)]:.0e}"
        )


def assert_same_results(actual, expected, dtype, what):
    assert actual.keys() == expected.keys(), f"{what}: expected results {list(expected)}, got {list(actual)}"
    for name in expected:
        assert_close(actual[name], expected[name], dtype, f"{what}: {name}")


def problem(case):
    """The numbers of a case, float64 that float32 holds exactly: x, params, state; targets for a loss."""
    rng = np.random.default_rng(zlib.crc32(str(case).encode()))
    x = _rounded(_draw_values(rng, case.x, case.values)) if not case.is_mixed else _draw_images(rng, case)
    params, state, targets = {}, {}, None
    if case.layer.endswith("Loss"):
        targets = rng.integers(case.x[1], size=case.x[0])
        rows = np.arange(case.x[0])
        # Whatever x is, since a label of probability 0 would make the loss infinite.
        x[rows, targets] = _rounded(rng.standard_normal(case.x[0]))
    else:
        layer = getattr(minicnn, case.layer)(*case.args, **dict(case.kwargs))
        params = {name: rng.standard_normal(array.shape) for name, array in layer.params.items()}
        state = {name: array.astype(np.float64) for name, array in layer.state.items()}
        if "running_mean" in state:
            state["running_mean"] = rng.standard_normal(layer.num_features)
            state["running_var"] = rng.uniform(0.5, 2, layer.num_features)
    return SimpleNamespace(
        x=x,
        params={name: _rounded(array) for name, array in params.items()},
        state={name: _rounded(array) for name, array in state.items()},
        targets=targets,
        dy=None,  # drawn when the shape of y is known, see `draw_dy`
    )


def draw_dy(case, shape):
    """Random weights for the outputs. Never ones: under batch normalisation dx would be 0 whatever the code does."""
    rng = np.random.default_rng(zlib.crc32(str(case).encode()) + 1)
    if isinstance(shape[-1], tuple):
        sizes = list(zip(*shape[2:], strict=True))
        return Images([_rounded(rng.standard_normal((shape[1], *size))) for size in sizes])
    return _rounded(rng.standard_normal(shape))


def _draw_images(rng, case):
    channels, sizes = case.x
    pixels = _rounded(_draw_values(rng, (1, channels, 1, sum(h * w for h, w in sizes)), case.values))
    return cut_apart(pixels, sizes)


def side_by_side(images):
    """All pixels of all images as one image, (1, C, 1, P)."""
    return np.concatenate([image.reshape(len(image), -1) for image in images], axis=1)[None, :, None]


def cut_apart(pixels, sizes):
    """`side_by_side` undone."""
    images, first = [], 0
    for height, width in sizes:
        images.append(pixels[0, :, 0, first : first + height * width].reshape(-1, height, width))
        first += height * width
    return Images(images)


def numbers_of(array):
    """The numbers of `Images` as they lie in memory, for comparison and to be changed; of an array, the array."""
    return array.data if isinstance(array, Images) else np.asarray(array)


def _flat(batch):
    """The same as one axis, of any backend's arrays."""
    return (batch.data if isinstance(batch, Images) else batch).reshape(-1)


def _rounded(array):
    return np.asarray(array).astype(np.float32).astype(np.float64)


def _draw_values(rng, shape, values):
    size = int(np.prod(shape))
    offsets = {"normal": 0, "offset": 5, "far": 100, "high": 4000}
    if values in offsets:
        return rng.standard_normal(shape) + offsets[values]
    if values == "large":
        return 1000 * rng.standard_normal(shape)
    if values == "ties":
        return rng.integers(0, 3, shape).astype(np.float64)
    if values == "constant":  # in quarters, so that a mean over any number of them is exact
        per_channel = rng.integers(-8, 8, shape[1:2]) / 4
        return np.broadcast_to(per_channel.reshape(-1, *[1] * (len(shape) - 2)), shape).copy()
    x = ((rng.permutation(size) - size // 2 + 0.5) / 16).reshape(shape)  # steps of 1/16, none nearer to 0 than 1/32
    strewn = rng.random(shape) < 0.3
    if values == "zeros":
        x[strewn] = np.where(rng.random(shape) < 0.5, 0.0, -0.0)[strewn]
    elif values in ("nan", "inf"):
        x[strewn] = np.nan if values == "nan" else -np.inf
        if x.ndim == 4:
            x[0, 0] = -np.inf  # a plane without any number: all windows alike
    return x


def with_layout(array, layout):
    """The same numbers, lying in memory in the way that a case asks for."""
    if isinstance(array, Images):
        return array.like(with_layout(array.data, layout))
    if layout == "reversed":
        return np.ascontiguousarray(array[..., ::-1])[..., ::-1]
    if layout == "transposed":
        return np.ascontiguousarray(array.T).T
    if layout == "strided":
        wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), 7, array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    array = array.copy()
    array.flags.writeable = layout != "read-only"
    return array


def new_layer(case, numbers, backend, dtype):
    """The layer of a case with its numbers in it."""
    layer = getattr(minicnn, case.layer)(*case.args, **dict(case.kwargs)).to(backend, dtype).train(case.training)
    for arrays, values in ((layer.params, numbers.params), (layer.state, numbers.state)):
        for name, value in values.items():
            value = value.astype(arrays[name].dtype)
            stays = isinstance(arrays[name], np.ndarray)  # on the host, as the count of batches does
            arrays[name] = value if stays else layer.ops.asarray(value)
    return layer


def new_loss(case, backend):
    kwargs = dict(case.kwargs)
    if "weight" in kwargs:
        kwargs["weight"] = np.array(kwargs["weight"])
    return getattr(minicnn, case.layer)(**kwargs).to(backend)


def run_minicnn(case, backend, dtype, numbers=None):
    """Forward and backward by minicnn. On the way: nothing handed in is written to, and the dtype stays."""
    numbers = numbers or problem(case)
    x = with_layout(numbers.x.astype(dtype), case.layout)
    x_before = numbers_of(x).copy()
    if numbers.targets is not None:
        loss = new_loss(case, backend)
        results = {"loss": loss.forward(x, numbers.targets), "dx": loss.backward()}
    else:
        layer = new_layer(case, numbers, backend, dtype)
        y = layer.forward(x)
        dy = draw_dy(case, y.shape) if numbers.dy is None else numbers.dy
        dy = with_layout(dy.astype(dtype), case.layout)
        dy_before = numbers_of(dy).copy()
        results = {"y": y, "dx": layer.backward(dy)}
        if case.is_mixed:
            assert isinstance(results["dx"], Images), f"{backend} {case}: dx"
            assert results["dx"].shape == x.shape, f"{backend} {case}: dx"
            results = {name: _flat(result) for name, result in results.items()}
        results |= {f"d{name}": grad for name, grad in layer.grads.items()}
        np.testing.assert_array_equal(numbers_of(dy), dy_before, err_msg=f"{backend} {case}: dy was written to")
        for name, array in results.items():
            assert array.dtype == dtype, f"{backend} {case}: expected {name} of {dtype.__name__}, got {array.dtype}"
        results |= layer.state
    np.testing.assert_array_equal(numbers_of(x), x_before, err_msg=f"{backend} {case}: x was written to")
    to_numpy = get_backend(backend).to_numpy
    return {name: np.asarray(to_numpy(array)) for name, array in results.items()}


def run_naive(case):
    """Forward and backward by the loops, float64."""
    numbers = problem(case)
    x, params, kwargs = numbers.x, numbers.params, dict(case.kwargs)
    if numbers.targets is not None:
        weights, smoothing = kwargs.get("weight", (1.0,) * x.shape[1]), kwargs.get("label_smoothing", 0.0)
        which = {name: kwargs[name] for name in ("ignore_index", "reduction") if name in kwargs}
        log_p = naive.log_softmax_forward(x) if case.layer == "CrossEntropyLoss" else x
        dx = naive.nll_loss_backward(log_p, numbers.targets, weights, smoothing, **which)
        if case.layer == "CrossEntropyLoss":
            dx = naive.log_softmax_backward(dx, x)
        return {"loss": naive.nll_loss_forward(log_p, numbers.targets, weights, smoothing, **which), "dx": dx}

    if case.is_mixed:
        return _run_naive_on_images(case, numbers)

    # An unbatched image is a batch of one for the loops; everything else in its own shape.
    spatial = case.layer.endswith("2d")
    batch = x if x.ndim == 4 or not spatial else x[None]
    y, backward, state = _NAIVE[case.layer](case, batch, params, numbers.state)
    y_shape = y.shape if batch is x else y.shape[1:]
    dx, *grads = backward(draw_dy(case, y_shape).reshape(y.shape))
    names = [f"d{name}" for name in params]
    return {"y": y.reshape(y_shape), "dx": dx.reshape(x.shape), **dict(zip(names, grads, strict=False)), **state}


def _run_naive_on_images(case, numbers):
    """Image by image, each a batch of one, parameter gradients summed; batch normalisation takes all at once."""
    x, params, state = numbers.x, numbers.params, numbers.state
    if case.layer == "BatchNorm2d":
        y, backward, state = _naive_batchnorm(case, list(x), params, state)
        dx, *grads = backward(draw_dy(case, Images(y).shape))
    else:
        y, backwards, _ = zip(*[_NAIVE[case.layer](case, image[None], params, state) for image in x], strict=True)
        dy = draw_dy(case, Images([image[0] for image in y]).shape)
        dx, *grads = zip(*[backward(d[None]) for backward, d in zip(backwards, dy, strict=True)], strict=True)
        grads = [sum(grad) for grad in grads]
    y, dx = (np.concatenate([image.reshape(-1) for image in images]) for images in (y, dx))
    return {"y": y, "dx": dx, **{f"d{name}": grad for name, grad in zip(params, grads, strict=False)}, **state}


def _naive_conv(case, x, params, state):
    layer = minicnn.Conv2d(*case.args, **dict(case.kwargs))  # for its settings alone, as pairs
    padding = layer.padding
    if padding == "same":  # PyTorch's rule: of what the kernel spans but one, the larger half is after
        both = [d * (kernel - 1) for d, kernel in zip(layer.dilation, layer.kernel_size, strict=True)]
        padding = tuple((n // 2, n - n // 2) for n in both)
    padding = (0, 0) if padding == "valid" else padding
    weight, settings = params["weight"], (layer.stride, padding, layer.dilation, layer.groups)
    y = naive.conv2d_forward(x, weight, params.get("bias"), *settings)
    return y, lambda dy: naive.conv2d_backward(dy, x, weight, *settings), {}


def _naive_batchnorm(case, x, params, state):
    kwargs = {"eps": 1e-5, "momentum": 0.1} | dict(case.kwargs)
    mean, var = state["running_mean"], state["running_var"]
    if case.training:
        mean, var, unbiased = naive.batchnorm2d_statistics(x)
        keep = 1 - kwargs["momentum"]
        state = {
            "running_mean": keep * state["running_mean"] + kwargs["momentum"] * mean,
            "running_var": keep * state["running_var"] + kwargs["momentum"] * unbiased,
            "num_batches_tracked": state["num_batches_tracked"] + 1,
        }
    y = naive.batchnorm2d_forward(x, params["weight"], params["bias"], mean, var, kwargs["eps"])
    settings = (x, params["weight"], mean, var, kwargs["eps"], case.training)
    if case.is_mixed:
        return y, lambda dy: naive.batchnorm2d_backward(dy, *settings), state

    def backward(dy):
        dx, dweight, dbias = naive.batchnorm2d_backward(dy, *settings)
        return np.array(dx), dweight, dbias

    return np.array(y), backward, state


def _naive_pool(case, x, params, state):
    kwargs = dict(case.kwargs)
    if case.layer.startswith("Adaptive"):
        size = case.args[0] if isinstance(case.args[0], tuple) else (case.args[0],) * 2
        windows = [
            naive.adaptive_windows(n_in, n_in if n_out is None else n_out)
            for n_in, n_out in zip(x.shape[2:], size, strict=True)
        ]
    else:
        layer = getattr(minicnn, case.layer)(*case.args, **dict(case.kwargs))  # for its settings alone, as pairs
        settings = zip(x.shape[2:], layer.kernel_size, layer.stride, layer.padding, strict=True)
        counting = layer.ceil_mode, kwargs.get("count_include_pad", True)
        windows = [naive.fixed_windows(*axis, *counting) for axis in settings]
        if "divisor_override" in kwargs:  # an area is the product of two extents
            for axis, extent in enumerate((kwargs["divisor_override"], 1)):
                windows[axis] = [(start, stop, extent) for start, stop, _ in windows[axis]]
    if "Max" in case.layer:
        y, winners = naive.max_pool2d_forward(x, *windows)
        return y, lambda dy: [naive.max_pool2d_backward(dy, winners, x.shape)], {}
    y = naive.avg_pool2d_forward(x, *windows)
    return y, lambda dy: [naive.avg_pool2d_backward(dy, *windows, x.shape)], {}


def _naive_linear(case, x, params, state):
    y = naive.linear_forward(x, params["weight"], params.get("bias"))
    return y, lambda dy: naive.linear_backward(dy, x, params["weight"]), {}


_NAIVE = {
    "Conv2d": _naive_conv,
    "BatchNorm2d": _naive_batchnorm,
    **dict.fromkeys(("MaxPool2d", "AvgPool2d", "AdaptiveMaxPool2d", "AdaptiveAvgPool2d"), _naive_pool),
    "Linear": _naive_linear,
    "ReLU": lambda case, x, *_: (naive.relu_forward(x), lambda dy: [naive.relu_backward(dy, x)], {}),
    "Flatten": lambda case, x, *_: (naive.flatten_forward(x), lambda dy: [naive.flatten_backward(dy, x.shape)], {}),
    "LogSoftmax": lambda case, x, *_: (
        naive.log_softmax_forward(x),
        lambda dy: [naive.log_softmax_backward(dy, x)],
        {},
    ),
}


def _import_torch():
    """PyTorch with one thread, for the same reason as in `conftest`."""
    import torch

    torch.set_num_threads(1)
    return torch


def run_torch(case, dtype):
    """Forward and backward by a live PyTorch."""
    torch = _import_torch()
    numbers = problem(case)
    if case.is_mixed:
        return _run_torch_on_images(case, dtype, numbers)
    x = torch.tensor(numbers.x.astype(dtype), requires_grad=True)
    kwargs = dict(case.kwargs)
    if numbers.targets is not None:
        if "weight" in kwargs:
            kwargs["weight"] = torch.tensor(kwargs["weight"], dtype=x.dtype)
        loss = getattr(torch.nn, case.layer)(**kwargs)(x, torch.tensor(numbers.targets))
        loss.backward()
        return {"loss": loss.item(), "dx": x.grad.numpy()}

    if case.layer == "LogSoftmax":
        kwargs["dim"] = 1
    module = _torch_module(case, numbers, kwargs, x.dtype)
    y = module(x)
    y.backward(torch.tensor(draw_dy(case, tuple(y.shape)).astype(dtype)))
    return {"y": y.detach().numpy(), "dx": x.grad.numpy(), **_torch_grads_and_state(module)}


def _run_torch_on_images(case, dtype, numbers):
    """PyTorch has no images of different sizes: image by image, whose gradients it adds up; batch normalisation takes
    all pixels as one image (1, C, 1, P)."""
    torch = _import_torch()
    images = [image[None] for image in numbers.x.astype(dtype)]
    if case.layer == "BatchNorm2d":
        images = [side_by_side(numbers.x.astype(dtype))]
    inputs = [torch.tensor(image, requires_grad=True) for image in images]
    module = _torch_module(case, numbers, dict(case.kwargs), inputs[0].dtype)
    outputs = [module(x) for x in inputs]
    y = [output.detach().numpy() for output in outputs]
    if case.layer == "BatchNorm2d":
        dy = [side_by_side(draw_dy(case, numbers.x.shape))]
    else:
        dy = [image[None] for image in draw_dy(case, Images([image[0] for image in y]).shape)]
    for output, d in zip(outputs, dy, strict=True):
        output.backward(torch.tensor(d.astype(dtype)))
    dx = [x.grad.numpy() for x in inputs]
    if case.layer == "BatchNorm2d":
        y, dx = cut_apart(y[0], case.x[1]), cut_apart(dx[0], case.x[1])
    y, dx = (np.concatenate([image.reshape(-1) for image in images]) for images in (y, dx))
    return {"y": y, "dx": dx, **_torch_grads_and_state(module)}


def _torch_module(case, numbers, kwargs, dtype):
    torch = _import_torch()
    args = [(None, None) if arg is None else arg for arg in case.args]  # what PyTorch asks for in place of None
    module = getattr(torch.nn, case.layer)(*args, **kwargs).to(dtype).train(case.training)
    module.load_state_dict({name: torch.tensor(array) for name, array in (numbers.params | numbers.state).items()})
    return module


def _torch_grads_and_state(module):
    results = {f"d{name}": parameter.grad for name, parameter in module.named_parameters()} | dict(
        module.named_buffers()
    )
    return {name: tensor.numpy() for name, tensor in results.items()}


def check_against_naive(case, backends=BACKENDS):
    expected = run_naive(case)
    for backend in backends:
        for dtype in DTYPES:
            assert_same_results(run_minicnn(case, backend, dtype), expected, dtype, _who(case, backend, dtype, "loops"))


def check_against_torch(case, backends=BACKENDS):
    for dtype in DTYPES:
        expected = run_torch(case, dtype)
        for backend in backends:
            what = _who(case, backend, dtype, "PyTorch")
            assert_same_results(run_minicnn(case, backend, dtype), expected, dtype, what)


def _who(case, backend, dtype, oracle):
    return f"{case}: {backend} {np.dtype(dtype)} against {oracle}"


# The numeric check: step, error allowed relative to the largest gradient, and how many places of an array are tried.
STEP, NUMERIC_TOLERANCE, PLACES = 1e-4, 1e-6, 10


def check_numeric_gradient(case, backends=BACKENDS):
    """Backward against central differences of forward, float64, for the input and every parameter.

    The output is weighted by a random dy to one number. Of a large array, PLACES with the largest gradients and as
    many others are tried.
    """
    numbers = problem(case)
    rng = np.random.default_rng(zlib.crc32(str(case).encode()) + 2)
    for backend in backends:
        analytic = run_minicnn(case, backend, np.float64)
        weighted_output = _weighted_output(case, numbers, backend)
        for name, array in {"x": numbers.x, **numbers.params}.items():
            gradient = analytic[f"d{name}"].reshape(-1)
            places = np.arange(array.size)
            if array.size > 2 * PLACES:
                places = np.union1d(np.argsort(np.abs(gradient))[-PLACES:], rng.choice(array.size, PLACES))
            values = numbers_of(array).reshape(-1)
            numeric = np.array([central_difference(weighted_output, values, place) for place in places])
            what = f"{case}: {backend} d{name}"
            assert np.abs(numeric).max() > 1e-4, f"{what}: all gradients are near 0, so this check says nothing"
            difference = np.abs(gradient[places] - numeric)
            worst = np.argmax(difference)
            index = tuple(map(int, np.unravel_index(places[worst], numbers_of(array).shape)))
            assert difference[worst] <= NUMERIC_TOLERANCE * np.abs(numeric).max(), (
                f"{what}: worst at {index}: backward says {gradient[places[worst]]!r}, "
                f"the difference quotient {numeric[worst]!r}"
            )


def central_difference(function, values, place):
    """(f(a + STEP) - f(a - STEP)) / (2 * STEP) for a = values[place]; the values are as before afterwards."""
    before, outputs = values[place], []
    for step in (STEP, -STEP):
        values[place] = before + step
        outputs.append(function())
    values[place] = before
    return (outputs[0] - outputs[1]) / (2 * STEP)


def _weighted_output(case, numbers, backend):
    """A function without arguments: forward on `numbers` as they then are, weighted to one float."""
    if numbers.targets is not None:
        loss = new_loss(case, backend)
        return lambda: loss.forward(numbers.x, numbers.targets)
    layer = new_layer(case, numbers, backend, np.float64)
    layer.params.update(numbers.params)  # the arrays themselves, not copies
    dy = draw_dy(case, layer.forward(numbers.x).shape)
    return lambda: float((numbers_of(layer.forward(numbers.x)) * numbers_of(dy)).sum())


def run_gradcheck(case, backend):
    """The report of `minicnn.gradcheck` on a case; a loss is checked behind a layer that changes nothing."""
    numbers = problem(case)
    x = with_layout(numbers.x, case.layout)
    if numbers.targets is not None:
        return minicnn.gradcheck(minicnn.Flatten().to(backend), x, numbers.targets, loss=new_loss(case, backend))
    return minicnn.gradcheck(new_layer(case, numbers, backend, np.float64), x)


# Optimisers: gradients that depend on the parameters, so that an error at one step moves all later ones.
STEPS, PULL = 100, 0.5


def optimizer_problem(steps=STEPS):
    """start: dict of parameters; noise: a list of dicts. The gradient at step t is noise[t] + PULL * parameter."""
    rng = np.random.default_rng(0)
    shapes = {"weight": (4, 3), "bias": (4,)}
    start = {name: _rounded(rng.standard_normal(shape)) for name, shape in shapes.items()}
    noise = [{name: _rounded(rng.standard_normal(shape)) for name, shape in shapes.items()} for _ in range(steps)]
    return start, noise


def optimize_minicnn(name, kwargs, backend, dtype, start, noise, schedule=None):
    """The parameters after every step (steps, 16), and before it lr and momentum or beta1 (steps, 2)."""
    network = minicnn.Sequential(fc=minicnn.Linear(3, 4)).to(backend, dtype)
    layer = network["fc"]
    for key, value in start.items():
        layer.params[key] = layer.ops.asarray(value.astype(dtype))
    optimizer = getattr(minicnn, name)(network, **kwargs)
    if schedule is not None:
        schedule = getattr(minicnn, schedule[0])(optimizer, **schedule[1])
    params, settings = [], []
    for shove in noise:
        settings.append([optimizer.lr, optimizer.betas[0] if hasattr(optimizer, "betas") else optimizer.momentum])
        for key, param in layer.params.items():
            layer.grads[key] = shove[key].astype(dtype) + dtype(PULL) * param
        optimizer.step()
        if schedule is not None:
            schedule.step()
        params.append(np.concatenate([layer.params[key].ravel() for key in start]))
        assert params[-1].dtype == dtype
    return np.array(params), np.array(settings)


def optimize_naive(name, kwargs, start, noise):
    """As above, number by number in float64; only the parameters."""
    numbers = [float(value) for array in start.values() for value in array.ravel()]
    is_vector = [array.ndim == 1 for array in start.values() for _ in array.ravel()]
    slots = [(0.0,) if name == "SGD" else (0.0, 0.0) for _ in numbers]
    if name == "AdamW":
        kwargs = {"weight_decay": 0.01, "decoupled": True} | kwargs
    decays = {key: value for key, value in kwargs.items() if key != "decay_vectors"}
    stays = decays if kwargs.get("decay_vectors", True) else decays | {"weight_decay": 0.0}
    params = []
    for step, shove in enumerate(noise, start=1):
        shoves = np.concatenate([array.ravel() for array in shove.values()])
        for t, number in enumerate(numbers):
            grad = float(shoves[t]) + PULL * number
            kwargs = stays if is_vector[t] else decays
            if name == "SGD":
                numbers[t], *slots[t] = naive.sgd_step(number, *slots[t], grad, **kwargs)
            else:
                numbers[t], *slots[t] = naive.adam_step(number, *slots[t], grad, step, **kwargs)
        params.append(list(numbers))
    return np.array(params)


def optimize_torch(name, kwargs, dtype, start, noise, schedule=None):
    torch = _import_torch()
    tensors = {key: torch.nn.Parameter(torch.tensor(value.astype(dtype))) for key, value in start.items()}
    groups, kwargs = [{"params": list(tensors.values())}], dict(kwargs)
    if not kwargs.pop("decay_vectors", True):
        groups = [{"params": tensors["weight"]}, {"params": tensors["bias"], "weight_decay": 0.0}]
    optimizer = getattr(torch.optim, name)(groups, **kwargs)
    if schedule is not None:
        schedule = getattr(torch.optim.lr_scheduler, schedule[0])(optimizer, **schedule[1])
    params, settings = [], []
    for shove in noise:
        group = optimizer.param_groups[0]
        settings.append([group["lr"], group["betas"][0] if "betas" in group else group["momentum"]])
        for key, tensor in tensors.items():
            tensor.grad = torch.tensor(shove[key].astype(dtype)) + PULL * tensor.detach()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        params.append(np.concatenate([tensor.detach().numpy().ravel() for tensor in tensors.values()]))
    return np.array(params), np.array(settings)


def check_optimizer_against_naive(name, kwargs, backends=BACKENDS):
    start, noise = optimizer_problem()
    expected = optimize_naive(name, kwargs, start, noise)
    for backend in backends:
        for dtype in DTYPES:
            actual, _ = optimize_minicnn(name, kwargs, backend, dtype, start, noise)
            assert_close(actual, expected, dtype, f"{name} {kwargs}: {backend} against loops")


def check_optimizer_against_torch(name, kwargs, schedule=None, backends=BACKENDS):
    start, noise = optimizer_problem()
    for dtype in DTYPES:
        expected, expected_settings = optimize_torch(name, kwargs, dtype, start, noise, schedule)
        for backend in backends:
            what = f"{name} {kwargs} {schedule or ''}: {backend} against PyTorch"
            actual, settings = optimize_minicnn(name, kwargs, backend, dtype, start, noise, schedule)
            assert_close(settings, expected_settings, np.float64, f"{what}: learning rate and momentum")
            assert_close(actual, expected, dtype, what)


# The published program: one batch of random images, ten epochs.
EPOCHS = 10


def train_minicnn(weights, x, labels, backend, dtype, rewrite=lambda network: network):
    """The loss of each epoch."""
    network = minicnn.SimpleNet(num_classes=10, in_channels=3).to(backend, dtype)
    network.load_state_dict(weights)
    network = rewrite(network)
    loss, optimizer = minicnn.CrossEntropyLoss().to(backend), minicnn.Adam(network, lr=0.001)
    losses = []
    for _ in range(EPOCHS):
        losses.append(loss.forward(network.forward(x.astype(dtype)), labels))
        network.backward(loss.backward(), need_dx=False)
        optimizer.step()
    return np.array(losses)


def simplenet_torch():
    """The published network in PyTorch."""
    from collections import OrderedDict

    from torch import nn

    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 16, kernel_size=3, padding=1),
            bn1=nn.BatchNorm2d(16),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(16, 32, kernel_size=3, padding=1),
            bn2=nn.BatchNorm2d(32),
            relu2=nn.ReLU(),
            conv3=nn.Conv2d(32, 64, kernel_size=3, padding=1),
            bn3=nn.BatchNorm2d(64),
            relu3=nn.ReLU(),
            adaptive_pool=nn.AdaptiveMaxPool2d((1, 1)),
            flatten=nn.Flatten(),
            fc=nn.Linear(64, 10),
            log_softmax=nn.LogSoftmax(dim=1),
        )
    )


def train_torch(weights, x, labels, dtype):
    torch = _import_torch()
    x = torch.tensor(x.astype(dtype))
    network = simplenet_torch().to(x.dtype)
    network.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
    loss_function, optimizer = torch.nn.CrossEntropyLoss(), torch.optim.Adam(network.parameters(), lr=0.001)
    losses = []
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        loss = loss_function(network(x), torch.tensor(labels))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)
