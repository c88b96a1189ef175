"""Every backend keeps the contract of `minicnn.backends`: names, signatures, arrays in and out, the same bits.

What is computed is looked at here for the backends of the host; those of a device have folders of their own.
"""

import copy
import importlib
import inspect
from pathlib import Path

import numba
import numpy as np
import pytest

from minicnn import Images, backends
from minicnn.backends.contract import Block, Norm
from minicnn.backends.declared import ARGUMENTS, CONTRACT, RESULTS
from minicnn.backends.protocol import OPERATIONS, Operations
from minicnn.geometry import adaptive_windows, fixed_windows
from tests import cases, checks

pytestmark = pytest.mark.quick

REFERENCE = backends.get_backend("reference")
# A module can be imported, and looked at, where its backend cannot run.
PARAMETRIZE_MODULE = pytest.mark.parametrize(
    "ops", [importlib.import_module(f"minicnn.backends.{name}") for name in backends.NAMES]
)
PARAMETRIZE_BACKEND = pytest.mark.parametrize("ops", [backends.get_backend(name) for name in checks.BACKENDS])


def example_calls(ops, dtype, size=1, features=700):
    """Arguments for every operation, by its name: numbers that depend on `size` and `features` and nothing else."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.standard_normal(shape).astype(dtype)

    n, c, f, k, h, w = 3 * size, 4, 5, 6 * size, 9 * size, 8 * size
    x, dy_like_x, weight, bias = draw(n, c, h, w), draw(n, c, h, w), draw(f, c, 3, 2), draw(f)
    stride, padding = (2, 1), (1, 0)
    dy_conv = draw(n, f, (h + 2 - 3) // 2 + 1, w - 1)
    general = (2, 1), ((1, 0), (2, 1)), (1, 2), 2
    dy_general = draw(n, 6, (h + 1 - 3) // 2 + 1, w + 3 - 2)
    mean, var, scale, shift = draw(c), draw(c) ** 2 + dtype(0.5), draw(c), draw(c)
    rows, columns = adaptive_windows(h, 4), fixed_windows(w, 3, 2, 1)
    dy_pool = draw(n, c, len(rows), len(columns))
    _, argmax = REFERENCE.max_pool2d_forward(x, rows, columns)
    vectors, matrix, dy_linear = draw(n, features * size), draw(k, features * size), draw(n, k)
    log_p, targets = -np.abs(draw(n, k)), rng.integers(k, size=n)
    class_weights = np.abs(draw(k))
    param, grad, moment, moment2 = (draw(k, features * size) for _ in range(4))

    # What a fused operation takes, another one has made.
    norm = Norm(draw(f), draw(f), None, None, 1e-3)
    block = x, weight, bias, norm, stride, padding
    fixed_block = x, weight, bias, norm._replace(mean=draw(f), var=draw(f) ** 2), stride, padding
    activation = ops.fused_conv_forward(*block)
    _, peaks = ops.fused_max(activation)
    gradient = ops.fused_output_backward(dy_conv, activation)
    return {
        "asarray": (x,),
        "to_numpy": (x,),
        "copy": (x,),
        "sum_of_squares": (x,),
        "scale_": (x, 0.3),
        "conv2d_forward": (x, weight, bias, stride, padding),
        "conv2d_input_gradient": (dy_conv, weight, (h, w), stride, padding),
        "conv2d_weight_gradient": (dy_conv, x, (3, 2), stride, padding),
        "conv2d_bias_gradient": (dy_conv,),
        "general_conv2d_forward": (x, draw(6, c // 2, 3, 2), draw(6), *general),
        "general_conv2d_input_gradient": (dy_general, draw(6, c // 2, 3, 2), (h, w), *general),
        "general_conv2d_weight_gradient": (dy_general, x, (3, 2), *general),
        "batchnorm2d_statistics": (x,),
        "batchnorm2d_forward": (x, scale, shift, mean, var, 1e-5),
        "batchnorm2d_train_backward": (dy_like_x, x, scale, mean, var, 1e-5),
        "batchnorm2d_eval_backward": (dy_like_x, x, scale, mean, var, 1e-5),
        "update_running_statistics_": (mean, var, scale, shift**2, 12, 0.1),
        "add": (x, dy_like_x),
        "dropout": (x, 0.4, 12345678901234567, 3, 2),
        "relu_forward": (x,),
        "relu_backward": (dy_like_x, x),
        "max_pool2d_forward": (x, rows, columns),
        "max_pool2d_backward": (dy_pool, argmax, rows, columns, (h, w)),
        "avg_pool2d_forward": (x, rows, columns),
        "avg_pool2d_backward": (dy_pool, rows, columns, (h, w)),
        "linear_forward": (vectors, matrix, draw(k)),
        "linear_input_gradient": (dy_linear, matrix),
        "linear_weight_gradient": (dy_linear, vectors),
        "linear_bias_gradient": (dy_linear,),
        "log_softmax_forward": (dy_linear,),
        "log_softmax_backward": (dy_linear, log_p),
        "nll_loss_forward": (log_p, targets, class_weights, 0.1),
        "nll_loss_backward": (log_p, targets, class_weights, 0.1),
        "sgd_step_": (param, moment, grad, 0.1, 0.9, True, 0.01),
        "adam_step_": (param, moment, moment2**2, grad, 0.1, 0.9, 0.99, 1e-8, 0.01, False, 3),
        "foreach_sgd_step_": ((shift, param + 1), (scale, moment + 1), (mean, grad), 0.1, 0.9, True, 0.01),
        "foreach_adam_step_": (
            [param - 1, shift + 1],
            [moment - 1, scale + 1],
            [moment2**2 + 1, var + 1],
            [grad, mean],
            *(0.1, 0.9, 0.99, 1e-8, 0.01, True, 3),
        ),
        "fused_conv_forward": block,
        "fused_renormalised": (activation, fixed_block[3]),
        "fused_predict": (x, (Block(*fixed_block[1:]),), False),
        "fused_output": (activation,),
        "fused_output_backward": (dy_conv, activation),
        "fused_max": (activation,),
        "fused_max_backward": (draw(n, f), peaks, activation),
        "fused_conv_backward": (gradient, activation, x, weight, stride, padding, True),
    }


def examples_with_images(ops, dtype, size=1):
    """For every operation that takes `Images`, a function that makes arguments with them."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.standard_normal(shape).astype(dtype)

    c, f, sizes = 4, 5, [(5 * size, 4 * size), (1, 7 * size), (1, 1), (20 * size, 9 * size)]
    x, dy_like_x = (Images([draw(c, h, w) for h, w in sizes]) for _ in range(2))
    weight, bias, stride, padding = draw(f, c, 3, 3), draw(f), (2, 1), (1, 1)
    dy_conv = Images([draw(f, (h - 1) // 2 + 1, w) for h, w in sizes])
    of_group, general = draw(6, c // 2, 3, 2), ((2, 1), ((1, 1), (2, 0)), (1, 2), 2)
    dy_general = Images([draw(6, (h - 1) // 2 + 1, w) for h, w in sizes])
    mean, var, scale, shift = draw(c), draw(c) ** 2 + dtype(0.5), draw(c), draw(c)
    rows, columns = [adaptive_windows(h, 4) for h, _ in sizes], [fixed_windows(w, 3, 2, 1) for _, w in sizes]
    dy_pool, argmax = REFERENCE.max_pool2d_forward(dy_like_x, rows, columns)

    norm = Norm(draw(f), draw(f), None, None, 1e-3)
    block = x, weight, bias, norm, stride, padding
    fixed_block = x, weight, bias, norm._replace(mean=draw(f), var=draw(f) ** 2), stride, padding
    dy_max = draw(len(x), f)

    def after_a_block(arguments):
        activation = ops.fused_conv_forward(*block)
        return arguments(activation)

    return {
        "conv2d_forward": lambda: (x, weight, bias, stride, padding),
        "conv2d_input_gradient": lambda: (dy_conv, weight, x.sizes, stride, padding),
        "conv2d_weight_gradient": lambda: (dy_conv, x, (3, 3), stride, padding),
        "conv2d_bias_gradient": lambda: (dy_conv,),
        "general_conv2d_forward": lambda: (x, of_group, draw(6), *general),
        "general_conv2d_input_gradient": lambda: (dy_general, of_group, x.sizes, *general),
        "general_conv2d_weight_gradient": lambda: (dy_general, x, (3, 2), *general),
        "batchnorm2d_statistics": lambda: (x,),
        "batchnorm2d_forward": lambda: (x, scale, shift, mean, var, 1e-5),
        "batchnorm2d_train_backward": lambda: (dy_like_x, x, scale, mean, var, 1e-5),
        "batchnorm2d_eval_backward": lambda: (dy_like_x, x, scale, mean, var, 1e-5),
        "add": lambda: (x, dy_like_x),
        "dropout": lambda: (x, 0.4, 12345678901234567, 3, 2),
        "relu_forward": lambda: (x,),
        "relu_backward": lambda: (dy_like_x, x),
        "max_pool2d_forward": lambda: (x, rows, columns),
        "max_pool2d_backward": lambda: (dy_pool, argmax, rows, columns, x.sizes),
        "avg_pool2d_forward": lambda: (x, rows, columns),
        "avg_pool2d_backward": lambda: (dy_pool, rows, columns, x.sizes),
        "fused_conv_forward": lambda: block,
        "fused_renormalised": lambda: after_a_block(lambda a: (a, fixed_block[3])),
        "fused_predict": lambda: (x, (Block(*fixed_block[1:]),), False),
        "fused_output": lambda: after_a_block(lambda a: (a,)),
        "fused_output_backward": lambda: after_a_block(lambda a: (dy_conv, a)),
        "fused_max": lambda: after_a_block(lambda a: (a,)),
        "fused_max_backward": lambda: after_a_block(lambda a: (dy_max, ops.fused_max(a)[1], a)),
        "fused_conv_backward": lambda: after_a_block(
            lambda a: (ops.fused_output_backward(dy_conv, a), a, x, weight, stride, padding, True)
        ),
    }


# The kind of what comes back for `Images`, in order; nothing has more of them than it says.
WITH_IMAGES = {
    "conv2d_forward": [Images],
    "conv2d_input_gradient": [Images],
    "conv2d_weight_gradient": [np.ndarray],
    "conv2d_bias_gradient": [np.ndarray],
    "general_conv2d_forward": [Images],
    "general_conv2d_input_gradient": [Images],
    "general_conv2d_weight_gradient": [np.ndarray],
    "batchnorm2d_statistics": [np.ndarray] * 2,
    "batchnorm2d_forward": [Images],
    "batchnorm2d_train_backward": [Images, np.ndarray, np.ndarray],
    "batchnorm2d_eval_backward": [Images, np.ndarray, np.ndarray],
    "add": [Images],
    "dropout": [Images],
    "relu_forward": [Images],
    "relu_backward": [Images],
    "max_pool2d_forward": [Images, Images],
    "max_pool2d_backward": [Images],
    "avg_pool2d_forward": [Images],
    "avg_pool2d_backward": [Images],
    "fused_output": [Images],
    "fused_predict": [Images],
    "fused_conv_backward": [np.ndarray] * 4 + [Images],
}


# How many of the first arguments.
CHANGED = {
    "scale_": 1,
    "update_running_statistics_": 2,
    "sgd_step_": 2,
    "adam_step_": 3,
    "foreach_sgd_step_": 2,
    "foreach_adam_step_": 3,
}
NOT_AN_ARRAY_OPERATION = {"compile_kernels", "require_device", "prefetch"}
MAY_RETURN_ITS_ARGUMENT = {"asarray", "to_numpy"}
# Their results are in a layout that is the backend's own business; they are seen through the other fused operations.
OPAQUE = {"fused_conv_forward", "fused_renormalised", "fused_output_backward", "fused_max", "fused_max_backward"}


def results_of(ops, name, arguments):
    """Every array or float that an operation gives back or changes."""
    returned = getattr(ops, name)(*arguments)
    return leaves(arguments[: CHANGED[name]] if returned is None else returned)


RESULT_DTYPE = {"batchnorm2d_statistics": np.float64}  # whatever the dtype of x


def leaves(value):
    """The arrays and floats of nested tuples and lists, in order; of `Images` the array in them."""
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in leaves(part)]
    if isinstance(value, Images):
        return [value.data]
    return [value] if isinstance(value, np.ndarray | float) else []


@PARAMETRIZE_MODULE
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_same_signature_as_in_the_protocol(ops, name):
    """Names, order and defaults of the arguments; their types are mypy's business."""
    of_protocol = inspect.signature(getattr(Operations, name)).parameters
    of_backend = inspect.signature(getattr(ops, name)).parameters
    assert [(name, parameter.default) for name, parameter in of_protocol.items() if name != "self"] == [
        (name, parameter.default) for name, parameter in of_backend.items()
    ]


@PARAMETRIZE_MODULE
def test_a_backend_exports_nothing_else(ops):
    functions = {name for name, value in vars(ops).items() if inspect.isfunction(value)}
    assert functions == set(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_protocol_names_the_files_of_an_operation(name):
    """The last line of its entry: where it stands in the three backends."""
    *_, last_line = inspect.getdoc(getattr(Operations, name)).splitlines()
    folder = Path(backends.__file__).parent
    modules = [importlib.import_module(f"minicnn.backends.{backend}") for backend in backends.NAMES]
    files = [Path(inspect.getsourcefile(inspect.unwrap(getattr(module, name)))) for module in modules]
    assert last_line == ", ".join(file.relative_to(folder).as_posix() for file in files)


@pytest.mark.parametrize("name", CONTRACT)
def test_the_protocol_names_the_shape_of_every_array(name):
    """By the letters with which the guard checks it."""
    entry = inspect.getdoc(getattr(Operations, name))
    for argument in ARGUMENTS[name] + RESULTS[name]:
        if argument.axes in (None, ("...",), ("any",)) or argument.name in ("norm", "below", "activation"):
            continue  # no array, or one of any shape, or what other operations made
        shape = f"({argument.axes[0]},)" if len(argument.axes) == 1 else f"({', '.join(argument.axes)})"
        assert shape in entry, f"{argument.name} {shape}"
        assert argument.name in entry, argument.name


def test_every_operation_has_an_example_here():
    assert set(example_calls(REFERENCE, np.float32)) | NOT_AN_ARRAY_OPERATION == set(OPERATIONS)
    assert {name for name in OPERATIONS if name.endswith("_")} == set(CHANGED)


@PARAMETRIZE_BACKEND
@pytest.mark.parametrize("dtype", checks.DTYPES)
def test_arguments_stay_and_results_are_new(ops, dtype):
    for name, arguments in example_calls(ops, dtype).items():
        before = copy.deepcopy(arguments)
        results = results_of(ops, name, arguments)
        for position, (argument, old) in enumerate(zip(leaves(arguments), leaves(before), strict=True)):
            if position >= len(leaves(arguments[: CHANGED.get(name, 0)])):
                np.testing.assert_array_equal(argument, old, err_msg=f"{name} wrote to argument {position}")
            else:
                assert not np.array_equal(argument, old), f"{name} left argument {position} as it was"
        if name in OPAQUE:
            continue
        for result in results:
            if isinstance(result, float):
                assert name in ("sum_of_squares", "nll_loss_forward")
                continue
            expected = np.int32 if np.issubdtype(result.dtype, np.integer) else RESULT_DTYPE.get(name, dtype)
            assert result.dtype == expected, f"{name}: {result.dtype}"
            assert result.flags.c_contiguous, name
            if name not in CHANGED and name not in MAY_RETURN_ITS_ARGUMENT:
                inputs = [argument for argument in leaves(arguments) if isinstance(argument, np.ndarray)]
                assert not any(np.shares_memory(result, argument) for argument in inputs), name


def flattened(value):
    return [part for inner in value for part in flattened(inner)] if isinstance(value, tuple) else [value]


def test_every_operation_on_images_of_different_sizes_has_an_example():
    files = ("conv", "general_conv", "batchnorm", "activation", "addition", "dropout", "pooling", "fused")
    expected = {name for name in OPERATIONS if getattr(REFERENCE, name).__module__.endswith(files)}
    assert set(examples_with_images(REFERENCE, np.float32)) == expected - {"update_running_statistics_"}
    assert set(WITH_IMAGES) == expected - {"update_running_statistics_"} - OPAQUE


@PARAMETRIZE_BACKEND
@pytest.mark.parametrize("dtype", checks.DTYPES)
@pytest.mark.parametrize("name", examples_with_images(REFERENCE, np.float32))
def test_images_of_different_sizes(ops, dtype, name):
    """`Images` give `Images`, arguments stay, dtypes stay, and the numbers are the reference's."""
    arguments = examples_with_images(ops, dtype)[name]()
    before = copy.deepcopy(arguments)
    results = getattr(ops, name)(*arguments)
    for position, (argument, old) in enumerate(zip(leaves(arguments), leaves(before), strict=True)):
        np.testing.assert_array_equal(argument, old, err_msg=f"{name} wrote to argument {position}")
    if name in OPAQUE:
        return
    expected = flattened(getattr(REFERENCE, name)(*examples_with_images(REFERENCE, dtype)[name]()))
    assert [type(result) for result in flattened(results)] == WITH_IMAGES[name]
    for result, wanted in zip(flattened(results), expected, strict=True):
        assert result.shape == wanted.shape
        (numbers,), (wanted_numbers,) = leaves(result), leaves(wanted)
        is_integer = np.issubdtype(numbers.dtype, np.integer)
        assert numbers.dtype == (np.int32 if is_integer else RESULT_DTYPE.get(name, dtype))
        assert numbers.flags.c_contiguous
        inputs = [argument for argument in leaves(arguments) if isinstance(argument, np.ndarray)]
        assert not any(np.shares_memory(numbers, argument) for argument in inputs)
        checks.assert_close(numbers, wanted_numbers, dtype, name)


@PARAMETRIZE_BACKEND
def test_asarray(ops):
    """Contiguous memory that can be written to; a copy only where that asks for one."""
    plain = np.arange(6.0).reshape(2, 3)
    assert ops.asarray(plain) is plain
    assert ops.to_numpy(ops.asarray(plain)) is plain
    for layout in ("read-only", "reversed", "transposed", "strided"):
        array = ops.asarray(checks.with_layout(plain, layout))
        assert array.flags.c_contiguous, layout
        assert array.flags.writeable, layout
        np.testing.assert_array_equal(array, plain)


@pytest.mark.parametrize("dtype", checks.DTYPES)
def test_backends_agree_operation_by_operation(dtype):
    for name in example_calls(REFERENCE, dtype).keys() - OPAQUE:
        expected, *others = (
            results_of(ops, name, example_calls(ops, dtype)[name]) for ops in map(backends.get_backend, checks.BACKENDS)
        )
        for results in others:
            for actual, wanted in zip(results, expected, strict=True):
                checks.assert_close(actual, wanted, dtype, name)


@PARAMETRIZE_BACKEND
def test_compile_kernels_reports_each_kernel_once(ops):
    reports = []
    for dtype in checks.DTYPES:
        assert ops.compile_kernels(dtype, lambda *report: reports.append(report)) is None
        assert ops.compile_kernels(dtype) is None
    half = len(reports) // 2
    assert [done for _, done, _ in reports[:half]] == list(range(half))
    assert {total for _, _, total in reports} <= {half}


@pytest.fixture
def set_threads():
    """numba.set_num_threads, with the number of before put back afterwards."""
    before = numba.get_num_threads()
    yield numba.set_num_threads
    numba.set_num_threads(before)


@pytest.mark.parametrize("dtype", checks.DTYPES)
def test_the_same_bits_for_any_number_of_threads_and_in_every_run(set_threads, dtype):
    """On arrays of more than one chunk and block, so that there is work for two."""
    ops = backends.get_backend("cpu")
    for size in (1, 4):
        for name in example_calls(ops, dtype).keys() - OPAQUE:
            runs = []
            for threads in (1, 2, 2):
                set_threads(threads)
                runs.append(
                    [
                        np.asarray(result).tobytes()
                        for result in results_of(ops, name, example_calls(ops, dtype, size)[name])
                    ]
                )
            assert runs[1] == runs[0], f"{name}: one thread and two"
            assert runs[2] == runs[1], f"{name}: two runs"


@pytest.mark.parametrize("dtype", checks.DTYPES)
@pytest.mark.parametrize("name", list(WITH_IMAGES))
def test_the_same_bits_for_images_of_different_sizes(set_threads, dtype, name):
    ops = backends.get_backend("cpu")
    for size in (1, 9):
        runs = []
        for threads in (1, 2, 2):
            set_threads(threads)
            results = getattr(ops, name)(*examples_with_images(ops, dtype, size)[name]())
            runs.append([leaf.tobytes() for leaf in leaves(results)])
        assert runs[1] == runs[0], "one thread and two"
        assert runs[2] == runs[1], "two runs"


def test_the_same_bits_through_the_layers(set_threads):
    for case in cases.ALL[::5]:
        runs = []
        for threads in (1, 2):
            set_threads(threads)
            results = checks.run_minicnn(case, "cpu", np.float32)
            runs.append({name: array.tobytes() for name, array in results.items()})
        assert runs[0] == runs[1], case


def test_the_table_is_long_and_has_no_case_twice():
    assert len(set(cases.ALL)) == len(set(map(str, cases.ALL))) == len(cases.ALL) >= 200


def test_the_table_holds_every_layer_and_loss():
    import minicnn

    layers = {
        name
        for name in minicnn.__all__
        if inspect.isclass(getattr(minicnn, name))
        and (issubclass(getattr(minicnn, name), minicnn.Layer) or name.endswith("Loss"))
    }
    layers -= {"Layer", "Sequential", "SimpleNet", "Residual", "Dropout"}  # the last two have tests of their own
    assert {case.layer for case in cases.ALL} == layers
    assert {case.layer for case in cases.ALL if case.numeric} == layers
    assert {name for name, _ in cases.OPTIMIZERS} == {"SGD", "Adam", "AdamW"}
    of_steps = {name for name in minicnn.__all__ if name.endswith("LR")} - {"SequentialLR"}  # which is made of others
    assert {name for name, _ in cases.SCHEDULES} == of_steps
