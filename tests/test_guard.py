"""The door to compiled code: an operation answers with the reference's numbers, or with an error before it computes."""

import importlib
import inspect

import numpy as np
import pytest

import minicnn
from minicnn import Images, backends
from minicnn.backends.declared import ARGUMENTS, CONTRACT
from minicnn.backends.foreach import LISTS, ONE_OF
from minicnn.backends.protocol import OPERATIONS
from tests.test_contract import REFERENCE, example_calls, examples_with_images, leaves

CPU = backends.get_backend("cpu")
MODULES = [importlib.import_module(f"minicnn.backends.{name}") for name in ("cpu", "cuda")]
NOT_GUARDED = {"asarray", "compile_kernels", "copy", "require_device", "prefetch", "to_numpy"}
CALLS = {name: call for name, call in example_calls(CPU, np.float32).items() if name in CONTRACT.keys() - ONE_OF}


@pytest.mark.parametrize("ops", [*MODULES, REFERENCE])
def test_what_the_guard_knows_is_every_operation_and_its_arguments(ops):
    assert set(CONTRACT) == set(OPERATIONS) - NOT_GUARDED
    for name, declared in ARGUMENTS.items():
        assert [argument.name for argument in declared] == list(inspect.signature(getattr(ops, name)).parameters), name


@pytest.mark.parametrize("ops", MODULES)
def test_every_operation_of_a_compiled_backend_is_guarded(ops):
    unguarded = [name for name in CONTRACT if not hasattr(getattr(ops, name), "__wrapped__")]
    assert unguarded == []


def changes(array):
    """(what, other array) like `array` in all but one thing that its companions do not share."""
    other = np.float64 if array.dtype == np.float32 else np.float32
    yield "dtype", array.astype(other)
    yield "whole numbers", array.astype(np.int16)
    yield "one axis more", array[None]
    yield "no axis", array.reshape(-1)[0]
    yield "empty", array[:0]
    for axis in range(array.ndim):
        if array.shape[axis] > 1:
            yield f"axis {axis} shorter", np.delete(array, -1, axis)
            yield f"axis {axis} for one", array.take([0], axis)
        yield f"axis {axis} longer", np.concatenate([array, array.take([0], axis)], axis)
    if array.ndim > 1:
        yield "transposed", array.T
    if array.dtype.kind == "i":
        yield "a place too far", array + array.dtype.type(10**6)
        yield "a place before the first", array - array.dtype.type(10**6)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_another_array_is_refused_or_gives_the_numbers_of_the_reference(name):
    messages = []
    for position, argument in enumerate(ARGUMENTS[name]):
        if argument.axes is None or not isinstance(CALLS[name][position], np.ndarray):
            continue
        for what, other in changes(CALLS[name][position]):
            arguments = [*CALLS[name][:position], other, *CALLS[name][position + 1 :]]
            results = []
            # The reference lays the blocks of fused operations out in another way.
            for ops in (CPU,) if name.startswith("fused") else (CPU, REFERENCE):
                own = [value.copy() if isinstance(value, np.ndarray) else value for value in arguments]
                try:
                    returned = getattr(ops, name)(*own)
                except (TypeError, ValueError) as error:
                    messages += [str(error)] if ops is CPU else []
                    break
                returned = np.asarray(returned) if isinstance(returned, np.generic) else returned
                results.append(leaves(own if returned is None else returned))
            for result, expected in zip(*results, strict=True) if len(results) == 2 else ():
                np.testing.assert_allclose(result, expected, rtol=2e-4, atol=1e-4, err_msg=f"{argument.name}: {what}")
    assert all("expected" in message and "got" in message for message in messages)
    # These are given an activation, and a norm, and no array beside.
    assert messages or name in ("fused_output", "fused_max", "fused_renormalised")


@pytest.mark.parametrize("name", sorted(CALLS))
def test_arrays_that_lie_otherwise_in_memory_give_the_same_numbers(name):
    def laid_out(value):
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or not value.ndim:
            return value
        apart = np.zeros((*value.shape, 2), value.dtype)
        apart[..., 0] = value
        return apart[..., 0][::-1].copy()[::-1] if value.ndim == 1 else apart[..., 0]

    declared = ARGUMENTS[name]
    arguments = [value if part.changed else laid_out(value) for part, value in zip(declared, CALLS[name], strict=True)]
    results = []
    for given in (CALLS[name], arguments):
        given = [value.copy() if part.changed else value for part, value in zip(declared, given, strict=True)]
        returned = getattr(CPU, name)(*given)
        results.append(leaves(given if returned is None else returned))
    for result, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("name", ONE_OF)
@pytest.mark.parametrize("position", range(4))
def test_lists_whose_members_do_not_fit_each_other_are_refused(name, position):
    if position == LISTS[name]:
        return
    arguments = example_calls(CPU, np.float32)[name]
    before = [array.copy() for array in leaves(arguments[: LISTS[name]])]
    one = arguments[position]
    for error, other, message in (
        (ValueError, one[:1], f"{name}: expected lists of one length, got"),
        (ValueError, one[::-1], f"{ONE_OF[name]}: .*: expected"),
        (ValueError, [one[0], one[1][:-1]], f"{ONE_OF[name]}: .*: expected"),
        (TypeError, [one[0], one[1].astype(np.float64)], f"{ONE_OF[name]}: .*: expected"),
        (TypeError, [one[0], "no array"], "expected"),
    ):
        with pytest.raises(error, match=message):
            getattr(CPU, name)(*arguments[:position], other, *arguments[position + 1 :])
    for array, old in zip(leaves(arguments[: LISTS[name]]), before, strict=True):
        np.testing.assert_array_equal(array, old)


def test_lists_are_of_one_dtype():
    arrays = [[np.ones(3, dtype) for dtype in (np.float32, np.float64)] for _ in range(3)]
    with pytest.raises(TypeError, match="foreach_sgd_step_: expected arrays of one dtype, got float32 and float64"):
        CPU.foreach_sgd_step_(*arrays, 0.1, 0.9, False, 0.0)


def test_what_cannot_be_changed_is_refused_in_lists_too():
    param = np.ones((4, 6), np.float32)
    with pytest.raises(TypeError, match="sgd_step_: param: expected a plain, contiguous, writeable array to change"):
        CPU.foreach_sgd_step_([param.T], [param.T.copy()], [param.T.copy()], 0.1, 0.9, False, 0.0)
    np.testing.assert_array_equal(param, 1)
    CPU.foreach_sgd_step_([param.T.copy()], [param.T.copy()], [param.T], 0.1, 0.9, False, 0.0)  # a gradient may lie so


@pytest.mark.parametrize("name", sorted(examples_with_images(CPU, np.float32)))
def test_images_of_other_sizes_are_refused(name):
    arguments = examples_with_images(CPU, np.float32)[name]()
    places = [position for position, value in enumerate(arguments) if isinstance(value, Images)]
    if len(places) + sum(isinstance(value, list | tuple) and len(value) == 4 for value in arguments) < 2:
        return  # one batch alone has nothing that it must fit
    fewer = arguments[places[0]][:-1]
    with pytest.raises(ValueError, match="expected"):
        getattr(CPU, name)(*arguments[: places[0]], fewer, *arguments[places[0] + 1 :])


def test_images_go_on_belonging_together():
    images = Images([np.zeros((3, 2, 5)), np.ones((3, 4, 1))])
    for attribute in ("data", "sizes", "starts", "channels", "shape"):
        with pytest.raises(AttributeError):
            setattr(images, attribute, getattr(images, attribute))
    short = Images.of(np.zeros(41), 3, images.sizes)
    with pytest.raises(ValueError, match="ReLU: input: expected 42 numbers"):
        minicnn.ReLU().predict(short)


OWN = {
    "linear_forward": lambda x, weight, bias: (x.astype(np.float64) @ weight.T + bias).tolist(),
    "linear_weight_gradient": lambda dy, x: np.asfortranarray(dy.astype(np.float64).T @ x),
    "linear_bias_gradient": lambda dy: dy.sum(axis=0, dtype=np.float64)[::-1][::-1],
    "linear_input_gradient": lambda dy, weight: np.asfortranarray(dy @ weight),
}


def test_results_of_ones_own_become_arrays_of_the_contract():
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((4, 3), np.float32), rng.standard_normal((4, 2), np.float32)
    plain, own = minicnn.Linear(3, 2, rng=0), minicnn.Linear(3, 2, rng=0).use(**OWN)
    results = []
    for layer in (plain, own):
        results.append([layer.forward(x), layer.backward(dy), *layer.grads.values()])
    for expected, result in zip(*results, strict=True):
        assert type(result) is np.ndarray
        assert result.dtype == np.float32
        assert result.flags.carray
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_a_result_of_ones_own_is_never_memory_of_an_argument():
    x = np.float32([[1, -2]])
    relu = minicnn.ReLU().use(relu_forward=lambda x: x, relu_backward=lambda dy, y: dy)
    y = relu.forward(x)
    dx = relu.backward(y)
    assert not np.shares_memory(x, y)
    assert not np.shares_memory(y, dx)


BAD_RESULTS = [
    ("None", None, TypeError),
    ("words", np.array([["a"] * 2] * 4), TypeError),
    ("complex", np.zeros((4, 2), complex), TypeError),
    ("a masked array", np.ma.masked_all((4, 2)), TypeError),
    ("a pair", (np.zeros((4, 2)), np.zeros((4, 2))), TypeError),
    ("a pair as a list", [np.zeros((4, 2)), np.zeros((4, 2))], ValueError),
    ("another shape", np.zeros((4, 3)), ValueError),
    ("to be broadcast", np.zeros((1, 2)), ValueError),
    ("a number", 0.0, ValueError),
    ("Images", Images([np.zeros((1, 2, 2))]), TypeError),
]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(("result", "error"), [row[1:] for row in BAD_RESULTS], ids=[row[0] for row in BAD_RESULTS])
def test_a_result_that_is_none_of_the_contract_is_refused(backend, result, error):
    layer = minicnn.Linear(3, 2, rng=0).to(backend).use(linear_forward=lambda x, weight, bias: result)
    with pytest.raises(error, match=r"expected .*got|expected an array without a mask"):
        layer.forward(np.zeros((4, 3), np.float32))


def test_winners_outside_the_image_are_refused():
    x = np.zeros((1, 1, 4, 4), np.float32)
    for winner in (-1, 16):
        pool = minicnn.MaxPool2d(2).use(
            max_pool2d_forward=lambda x, rows, columns, winner=winner: (
                x[:, :, ::2, ::2],
                np.full((1, 1, 2, 2), winner),
            )
        )
        with pytest.raises(ValueError, match="expected from 0 to 15"):
            pool.forward(x)


def test_an_update_of_ones_own_must_be_in_place():
    network = minicnn.Sequential(fc=minicnn.Linear(3, 2, rng=0)).use(
        sgd_step_=lambda param, velocity, grad, lr, *settings: param - lr * grad
    )
    optimizer = minicnn.SGD(network, 0.1)
    network.forward(np.ones((1, 3), np.float32))
    network.backward(np.ones((1, 2), np.float32))
    with pytest.raises(TypeError, match="own sgd_step_: expected None"):
        optimizer.step()
