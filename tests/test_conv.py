"""Conv2d: numbers known by hand, then the loops, the difference quotient and PyTorch over the table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minicnn
from tests import cases, checks

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_by_hand(backend):
    conv = minicnn.Conv2d(1, 1, kernel_size=2).to(backend)
    conv.params["weight"] = np.float32([[[[1, 2], [3, 4]]]])
    conv.params["bias"] = np.float32([100])
    x = np.float32([[[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]])

    # 1*1 + 2*2 + 3*4 + 4*5 = 37: the kernel is not flipped, which would give 1*5 + 2*4 + 3*2 + 4*1 = 23.
    np.testing.assert_array_equal(conv.forward(x), [[[[137, 147], [167, 177]]]])
    dx = conv.backward(np.float32([[[[1, 0], [0, 10]]]]))

    np.testing.assert_array_equal(dx, [[[[1, 2, 0], [3, 14, 20], [0, 30, 40]]]])
    np.testing.assert_array_equal(conv.grads["weight"], [[[[51, 62], [84, 95]]]])
    np.testing.assert_array_equal(conv.grads["bias"], [11])


@pytest.mark.parametrize("case", cases.CONV, ids=cases.name_of)
def test_loops(case):
    checks.check_against_naive(case)


@pytest.mark.parametrize("case", [case for case in cases.CONV if case.numeric], ids=cases.name_of)
def test_difference_quotient(case):
    checks.check_numeric_gradient(case)


@pytest.mark.torch
@pytest.mark.parametrize("case", cases.CONV, ids=cases.name_of)
def test_pytorch(case):
    checks.check_against_torch(case)


SHAPES = st.tuples(*[st.integers(1, 3)] * 3, *[st.integers(3, 8)] * 2, *[st.integers(1, 3)] * 2, st.integers(0, 2))


@pytest.mark.parametrize("backend", checks.BACKENDS)
@given(shape=SHAPES, seed=st.integers(0, 2**32 - 1))
def test_linear_and_adjoint(backend, shape, seed):
    """Without bias y is linear in x and in the weight, so <dy, y> = <dx, x> = <dweight, weight>."""
    n_images, n_channels, n_filters, height, width, kernel, stride, padding = shape
    rng = np.random.default_rng(seed)
    conv = minicnn.Conv2d(n_channels, n_filters, kernel, stride, padding, bias=False, rng=rng).to(backend, np.float64)
    a, b = rng.standard_normal((2, n_images, n_channels, height, width))

    checks.assert_close(conv.predict(2 * a - b), 2 * conv.predict(a) - conv.predict(b), np.float64, "linear in x")
    y = conv.forward(a)
    dy = rng.standard_normal(y.shape)
    dx = conv.backward(dy)
    inner, scale = (dy * y).sum(), np.linalg.norm(dy) * np.linalg.norm(y)
    assert abs((dx * a).sum() - inner) <= 1e-12 * scale
    assert abs((conv.grads["weight"] * conv.params["weight"]).sum() - inner) <= 1e-12 * scale


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_first_layer_skips_the_input_gradient(backend):
    rng = np.random.default_rng(0)
    conv = minicnn.Conv2d(2, 3, 3, rng=rng).to(backend)
    x, dy = rng.standard_normal((1, 2, 5, 5), np.float32), rng.standard_normal((1, 3, 3, 3), np.float32)
    conv.forward(x)
    conv.backward(dy)
    with_dx = conv.grads["weight"]
    conv.forward(x)
    assert conv.backward(dy, need_dx=False) is None
    np.testing.assert_array_equal(conv.grads["weight"], with_dx)


def test_repr_shows_the_settings():
    conv = minicnn.Conv2d(3, 16, (3, 5), stride=2, padding=(0, 1), bias=False)
    assert repr(conv) == "Conv2d(3, 16, kernel_size=(3, 5), stride=(2, 2), padding=(0, 1), bias=False)"


def test_repr_shows_dilation_groups_and_padding_by_name():
    conv = minicnn.Conv2d(4, 6, 3, 1, "same", 2, 2, False)  # in PyTorch's order
    assert repr(conv) == (
        "Conv2d(4, 6, kernel_size=(3, 3), stride=(1, 1), padding='same', dilation=(2, 2), groups=2, bias=False)"
    )
    assert conv.params["weight"].shape == (6, 2, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"groups": 3}, ValueError, "groups that divide in_channels and out_channels, 4 and 6, got 3"),
        ({"groups": 0}, ValueError, "Conv2d: groups: expected at least 1"),
        ({"dilation": 0}, ValueError, "Conv2d: dilation: expected at least 1"),
        ({"dilation": True}, TypeError, "Conv2d: dilation: expected an integer"),
        ({"padding": "same", "stride": 2}, ValueError, "expected stride 1 with 'same'"),
        ({"padding": "full"}, ValueError, "'same' or 'valid', got 'full'"),
    ],
)
def test_settings_that_do_not_go_together(arguments, error, words):
    with pytest.raises(error, match=words):
        minicnn.Conv2d(4, 6, 3, **arguments)
    conv = minicnn.Conv2d(4, 6, 3)
    for name, value in arguments.items():
        setattr(conv, name, value)
    with pytest.raises(error, match=words):
        conv.forward(np.ones((1, 4, 9, 9), np.float32))


def test_fuse_leaves_alone_what_blocks_cannot_do():
    for settings, is_fused in [
        ({"dilation": 2}, False),
        ({"groups": 2}, False),
        ({"padding": "same", "kernel_size": 2}, False),
        ({"padding": "same"}, True),
        ({"padding": "valid"}, True),
    ]:
        conv = minicnn.Conv2d(2, 4, **{"kernel_size": 3, "rng": 0} | settings)
        network = minicnn.Sequential(conv=conv, bn=minicnn.BatchNorm2d(4), relu=minicnn.ReLU())
        fused = minicnn.fuse(network)
        assert (list(fused.children) == ["conv_to_relu"]) == is_fused
        x = np.random.default_rng(0).standard_normal((2, 2, 6, 7), np.float32)
        np.testing.assert_allclose(fused.forward(x), network.forward(x), rtol=1e-4, atol=1e-5)
    conv.dilation = (2, 2)
    with pytest.raises(RuntimeError, match="conv was given dilation"):
        fused.forward(x)


def _turned(of_axes):
    return tuple(pair[::-1] for pair in of_axes)


def _next_group(ops, weight, groups):
    host = ops.to_numpy(weight)
    return ops.asarray(np.roll(host, len(host) // groups, axis=0))


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_planted_bugs_of_general_convolutions_are_seen(monkeypatch, backend):
    """Dilation of one axis used for the other; padding before and after exchanged; a group that has another's weights;
    one group for all channels of a depthwise convolution."""

    def first(**settings):
        return next(case for case in cases.CONV if dict(case.kwargs) == settings)

    def planted(change):
        def convolution(conv):
            ops, padding = right(conv)
            return change(ops), padding

        return convolution

    def other_weights(general):
        class Wrong(type(general)):
            def conv2d_forward(self, x, weight, *rest):
                return super().conv2d_forward(x, _next_group(self.ops, weight, self.groups), *rest)

        return Wrong(*general)

    right = minicnn.Conv2d.convolution
    uneven = next(case for case in cases.CONV if case.args[2] == 2 and dict(case.kwargs) == {"padding": "same"})
    for case, change in [
        (first(dilation=(2, 3), stride=(3, 2), padding=(1, 2)), lambda ops: ops._replace(dilation=ops.dilation[::-1])),
        (uneven, lambda ops: ops._replace(pads=_turned(ops.pads))),
        (first(groups=2, padding=1), other_weights),
        (first(groups=4, padding=1), other_weights),
    ]:
        checks.check_against_naive(case, [backend])
        with monkeypatch.context() as patched:
            patched.setattr(minicnn.Conv2d, "convolution", planted(change))
            with pytest.raises((AssertionError, ValueError)):
                checks.check_against_naive(case, [backend])
