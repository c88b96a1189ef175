"""`network.summary`: shapes, parameters, what backward keeps, memory and operations, held against what happens."""

import numpy as np
import pytest

import minicnn
from tests.runs import bits, small_network


@pytest.mark.quick
def test_shapes_and_parameters_are_those_of_the_network():
    network = minicnn.SimpleNet(rng=0)
    summary = network.summary((3, 17, 23))
    assert [row.name for row in summary.rows] == list(network.children)
    x = np.zeros((1, 3, 17, 23), np.float32)
    for row, layer in zip(summary.rows, network, strict=True):
        x = layer.predict(x)
        assert row.output_shape == x.shape
        assert row.parameters == sum(param.size for param in layer.params.values())
    assert summary.parameters == 24_458  # PyTorch's number for the same network
    assert summary.parameter_bytes == 4 * 24_458


def test_what_is_kept_is_what_forward_keeps():
    network = minicnn.SimpleNet(rng=0)
    summary = network.summary((5, 3, 8, 9))
    network.eval().forward(np.zeros((5, 3, 8, 9), np.float32))
    arrays = {
        array.__array_interface__["data"][0]: array.nbytes
        for layer in network
        for array in vars(layer.memory).values()
        if isinstance(array, np.ndarray)
    }
    statistics = sum(2 * layer.params["weight"].nbytes for layer in network if isinstance(layer, minicnn.BatchNorm2d))
    # Of five images five times as much as of one, but for the statistics, which a batch has once.
    assert summary.kept_bytes == sum(arrays.values()) + 4 * statistics
    kept = {row.name: row for row in summary.rows}
    assert kept["relu1"].kept == {"y": "dy passes where y is positive"}
    assert kept["conv2"].kept_bytes == 0  # its x is relu1's y
    assert "argmax" in kept["adaptive_pool"].kept


def test_operations_by_hand():
    network = minicnn.Sequential(
        conv=minicnn.Conv2d(4, 6, 3, groups=2, bias=False, rng=0),
        flat=minicnn.Flatten(),
        fc=minicnn.Linear(24, 5, rng=0),
    )
    conv, flat, fc = network.summary((4, 4, 4)).rows
    assert conv.flops == 2 * (6 * 2 * 2) * (2 * 3 * 3)
    assert conv.backward_flops == 2 * conv.flops  # for dx and for dweight
    assert flat.flops == 0
    assert fc.flops == 2 * 24 * 5 + 5
    assert network.summary((7, 4, 4, 4)).flops == 7 * network.summary((4, 4, 4)).flops


@pytest.mark.quick
def test_mixed_sizes_are_the_sum_of_their_images():
    network = minicnn.SimpleNet(rng=0)
    sizes = [(3, 8, 30), (3, 20, 9), (3, 20, 9)]
    mixed, alone = network.summary(sizes), [network.summary(size) for size in sizes]
    assert mixed.input_shape == (3, 3, (8, 20), (9, 30))
    assert mixed.rows[0].output_shape == (3, 16, (8, 20), (9, 30))
    assert mixed.rows[-1].output_shape == (3, 10)
    assert mixed.flops == sum(summary.flops for summary in alone)
    assert mixed.kept_bytes == sum(summary.kept_bytes for summary in alone)
    assert mixed.parameters == alone[0].parameters


def test_the_network_stays_as_it_is():
    network = small_network()
    before = bits(network)
    network.summary((1, 6, 6))
    assert bits(network) == before
    assert network.training
    assert all(layer.memory is None and not layer.grads for layer in network)


def test_vectors_and_float64_and_nested_networks():
    inner = minicnn.Sequential(fc=minicnn.Linear(4, 3, rng=0))
    network = minicnn.Sequential(inner=inner, relu=minicnn.ReLU()).to("reference", np.float64)
    summary = network.summary((4,))
    assert [row.name for row in summary.rows] == ["inner.fc", "relu"]
    assert summary.rows[0].output_shape == (1, 3)
    assert summary.parameter_bytes == 8 * 15
    assert summary.rows[1].kept_bytes == 8 * 3


def test_an_own_layer_says_what_it_keeps_and_no_operations():
    class Twice(minicnn.Layer):
        def forward(self, x):
            y = 2 * x
            self.remember(y, x=x)
            return y

    (row,) = minicnn.Sequential(twice=Twice()).summary((1, 2, 2)).rows
    assert (row.flops, row.kept_bytes) == (None, 16)
    assert "?" in str(minicnn.Sequential(twice=Twice()).summary((1, 2, 2)))


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        (32, TypeError, "expected .C, H, W."),
        ((3, 8.5, 8), TypeError, "input_size: expected an integer, got 8.5"),
        ((3, 0, 8), ValueError, "expected at least 1, got 0"),
        ((), TypeError, r"got \(\)"),
        ((4, 8, 8), RuntimeError, "summary: the forward pass failed in layer 'conv1'.*expected 3 input channels"),
    ],
)
def test_bad_sizes(size, error, message):
    with pytest.raises(error, match=message):
        minicnn.SimpleNet(rng=0).summary(size)


def test_it_is_shown_in_a_terminal_and_in_a_notebook():
    summary = minicnn.Sequential(**{"a<b": minicnn.Conv2d(3, 4, 3, rng=0)}).summary((3, 8, 8))
    text, page = str(summary), summary._repr_html_()
    assert repr(summary) == text
    assert "1 × 4 × 6 × 6" in text
    assert "parameters: 112, 448 B" in text
    assert "dweight multiplies dy with x" in text
    assert "a&lt;b" in page
    assert "a<b" not in page
    assert page.count("<tr>") == 2
