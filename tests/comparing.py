"""A network that is compared with the recording of PyTorch that `make_comparison_recording` wrote, whole or broken."""

import numpy as np

import minicnn
from minicnn.verify.compare import compare, recording
from tests.make_comparison_recording import PATH, layers


def broken(**replaced):
    """The network with other layers in the places named; None takes one out."""
    kept = {name: layer for name, layer in (layers() | replaced).items() if layer is not None}
    return minicnn.Sequential(**kept).to("reference", np.float64)


def with_recording(network, **options):
    return compare(network, PATH, **({"copy_weights": True} | options))


def faults(comparison):
    return [(row.name, row.what) for row in comparison.faults]


def statuses(comparison, what):
    """{name: status} of one kind of rows."""
    return {row.name: row.status for row in comparison.rows if row.what == what}


def conv2(cls=minicnn.Conv2d, **settings):
    return cls(4, 6, 3, **({"padding": 1, "rng": 1} | settings))


def same_trace(a, b):
    a_arrays, b_arrays = recording._arrays(a), recording._arrays(b)
    assert a_arrays.keys() == b_arrays.keys()
    for name, array in a_arrays.items():
        np.testing.assert_array_equal(array, b_arrays[name], err_msg=name)
        assert array.dtype == b_arrays[name].dtype
    assert (a.source, a.left_out, a.loss) == (b.source, b.left_out, b.loss)
    assert (a.setup.training, a.setup.loss, a.setup.optimizer) == (b.setup.training, b.setup.loss, b.setup.optimizer)
    for one, other in zip(a.calls, b.calls, strict=True):
        for key in ("name", "kind", "own", "text", "owns"):
            assert getattr(one, key) == getattr(other, key)


class WrongDx(minicnn.Conv2d):
    """The forgotten flip of the kernel."""

    def backward(self, dy, need_dx=True):
        dx = super().backward(dy)
        return self.ops.conv2d_input_gradient(
            dy, self.params["weight"][:, :, ::-1, ::-1].copy(), dx.shape[2:], self.stride, self.padding
        )


class NoBiasGradient(minicnn.Linear):
    def backward(self, dy, need_dx=True):
        dx = super().backward(dy)
        del self.grads["bias"]
        return dx


class Raising(minicnn.ReLU):
    where = "forward"

    def forward(self, x):
        if self.where == "forward":
            raise IndexError("[beyond]")
        return super().forward(x)

    def backward(self, dy, need_dx=True):
        raise IndexError("[beyond]")
