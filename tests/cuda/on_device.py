"""To the device and back, and operations of the cuda backend held against the reference's."""

import numpy as np

from minicnn import Images
from minicnn.backends import get_backend
from minicnn.backends.cuda import arrays
from minicnn.backends.cuda.runtime.device_array import DeviceArray
from tests import checks


def to_device(value):
    """Arrays and `Images` on the device; anything else, tables and sizes too, as it is."""
    if isinstance(value, Images):
        return value.like(arrays.asarray(value.data))
    return arrays.asarray(value) if isinstance(value, np.ndarray) and value.dtype != np.int64 else value


def to_host(value):
    """A DeviceArray, or `Images` of one, as the same on the host."""
    assert isinstance(numbers_of(value), DeviceArray), f"expected a result on the device, got {value!r}"
    return value.like(value.data.numpy()) if isinstance(value, Images) else value.numpy()


def numbers_of(value):
    return value.data if isinstance(value, Images) else value


def results_of(operation, *arguments):
    """What an operation gives for arguments that are sent to the device, on the host, as a list."""
    results = operation(*map(to_device, arguments))
    return [to_host(result) for result in (results if isinstance(results, tuple) else (results,))]


def check_against_reference(operation, dtype, *arguments, exact=False):
    """Results of `dtype` from arguments of `dtype`, of the form the reference's have. Returns them.

    The reference works in float64 from the same numbers; or, if results are to be `exact`, in `dtype`.
    """
    own = [_of_dtype(argument, dtype) for argument in arguments]
    actual = results_of(operation, *own)
    judge = getattr(get_backend("reference"), operation.__name__)
    expected = judge(*own if exact else [_of_dtype(argument, np.float64) for argument in own])
    expected = expected if isinstance(expected, tuple) else (expected,)
    for position, (result, wanted) in enumerate(zip(actual, expected, strict=True)):
        what = f"{operation.__name__}: result {position}"
        assert type(result) is type(wanted), what
        assert result.shape == wanted.shape, what
        numbers, wanted_numbers = numbers_of(result), numbers_of(wanted)
        is_integer = wanted_numbers.dtype.kind == "i"
        assert numbers.dtype == (wanted_numbers.dtype if is_integer else dtype), what
        if exact or is_integer:
            np.testing.assert_array_equal(numbers, wanted_numbers, err_msg=what)
        else:
            checks.assert_close(numbers, wanted_numbers, dtype, what)
    return actual


def _of_dtype(value, dtype):
    is_real = isinstance(value, np.ndarray | Images) and value.dtype.kind == "f"
    return value.astype(dtype) if is_real else value


def draw_like(batch, seed=0):
    """Random numbers of the form of `batch`: never ones, which wrong gradients may survive."""
    numbers = np.random.default_rng(seed).standard_normal(batch.size)
    return batch.like(numbers) if isinstance(batch, Images) else numbers.reshape(batch.shape)
