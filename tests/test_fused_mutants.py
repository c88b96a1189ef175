"""Bugs planted in the fused operations, one at a time: the comparison with the plain layers must see each.

Three tables. AROUND: wrong operations made from the true ones by what goes in and comes out, for every backend, since
what an activation or a gradient looks like inside is the backend's own business. WITHIN: a plain operation that goes
wrong within the fused ones of `reference`, where each step is written out; the plain layers, which do not call it
there, stay right. ON_CPU: wrong in what the `cpu` backend's activations and gradients are made of.
"""

from typing import NamedTuple

import numpy as np
import pytest

from minicnn.backends import get_backend
from minicnn.backends.contract import Block
from minicnn.backends.reference import fused
from tests import checks
from tests.test_fusion import assert_fused_is_plain
from tests.test_mutants import BATCHNORM, plant

SHAPE = (2, 3, 9, 11)
TRAINING, EVALUATION, FROZEN = "training", "evaluation", "first batchnorm frozen"
UNPOOLED = "one block without pooling"
REFERENCE = get_backend("reference")
WRONG_BATCHNORM = {mutant.name: mutant.wrong for mutant in BATCHNORM}


class Mutant(NamedTuple):
    name: str
    operation: str
    wrong: object  # called with the true operation and its arguments
    mode: str = TRAINING
    stack: str = "simplenet"


# Around the operations


def _norm(**changes):
    """A block's forward with fields of its norm changed, each by a function of the norm."""

    def wrong(true, below, weight, bias, norm, stride, padding):
        norm = norm._replace(**{field: change(norm) for field, change in changes.items()})
        return true(below, weight, bias, norm, stride, padding)

    return wrong


def _without_bias(true, below, weight, bias, *arguments):
    return true(below, weight, None, *arguments)


def _flipped(true, below, weight, *arguments):
    return true(below, np.ascontiguousarray(weight[:, :, ::-1, ::-1]), *arguments)


def _blocks(wrong):
    """`fused_predict` whose every block is changed as `wrong` changes the arguments of one."""

    def wrong_predict(true, x, blocks, to_maximum):
        def changed(block):
            return wrong(lambda _, *arguments: Block(*arguments), None, *block)

        return true(x, [changed(block) for block in blocks], to_maximum)

    return wrong_predict


def _statistics_are_constants(true, gradient, activation, *arguments):
    return true(gradient, activation._replace(from_batch=False), *arguments)


def _statistics_are_of_the_batch(true, gradient, activation, *arguments):
    return true(gradient, activation._replace(from_batch=True), *arguments)


def _weight_flipped(true, gradient, activation, below, weight, *arguments):
    """As x meets it in forward, where backward turns it."""
    return true(gradient, activation, below, np.ascontiguousarray(weight[:, :, ::-1, ::-1]), *arguments)


def _gradients(conv=lambda *arrays: arrays, norm=lambda *arrays: arrays):
    """A block's backward with the parameter gradients of the convolution or of batchnorm changed."""

    def wrong(true, *arguments):
        d_conv, d_norm, below = true(*arguments)
        return conv(*d_conv), norm(*d_norm), below

    return wrong


AROUND = [
    Mutant("eps forgotten", "fused_conv_forward", _norm(eps=lambda norm: 0.0)),
    Mutant(
        "weight and bias of batchnorm exchanged",
        "fused_conv_forward",
        _norm(weight=lambda norm: norm.bias, bias=lambda norm: norm.weight),
    ),
    Mutant("bias of the convolution forgotten", "fused_conv_forward", _without_bias, EVALUATION),
    Mutant("kernel flipped in forward", "fused_conv_forward", _flipped),
    Mutant(
        "statistics of the batch in evaluation",
        "fused_conv_forward",
        _norm(mean=lambda norm: None, var=lambda norm: None),
        EVALUATION,
    ),
    Mutant(
        "statistics of the batch where batchnorm is frozen",
        "fused_conv_forward",
        _norm(mean=lambda norm: None, var=lambda norm: None),
        FROZEN,
    ),
    Mutant("predict: eps forgotten", "fused_predict", _blocks(_norm(eps=lambda norm: 0.0)), stack=UNPOOLED),
    Mutant("predict: mean forgotten", "fused_predict", _blocks(_norm(mean=lambda norm: 0 * norm.mean))),
    Mutant("predict: divided by the variance", "fused_predict", _blocks(_norm(var=lambda norm: norm.var**2))),
    Mutant("predict: bias of the convolution forgotten", "fused_predict", _blocks(_without_bias), stack=UNPOOLED),
    Mutant("predict and maximum: eps forgotten", "fused_predict", _blocks(_norm(eps=lambda norm: 0.0))),
    Mutant("predict and maximum: bias of the convolution forgotten", "fused_predict", _blocks(_without_bias)),
    Mutant(
        "maximum of the other image",
        "fused_max",
        lambda true, *a: (lambda y, peaks: (y[::-1].copy(), peaks))(*true(*a)),
    ),
    Mutant("dy of the other image at the peaks", "fused_max_backward", lambda true, dy, *a: true(dy[::-1].copy(), *a)),
    Mutant(
        "dy of the next channel at the peaks", "fused_max_backward", lambda true, dy, *a: true(np.roll(dy, 1, 1), *a)
    ),
    Mutant(
        "dy of the first image only",
        "fused_max_backward",
        lambda true, dy, *a: true(dy * (np.arange(len(dy)) == 0).astype(dy.dtype)[:, None], *a),
    ),
    Mutant(
        "da turned by half a turn",
        "fused_output_backward",
        lambda true, da, *a: true(np.ascontiguousarray(da[:, :, ::-1, ::-1]), *a),
        TRAINING,
        "without pooling",
    ),
    Mutant("statistics are constants in training", "fused_conv_backward", _statistics_are_constants),
    Mutant("backward of training in evaluation", "fused_conv_backward", _statistics_are_of_the_batch, EVALUATION),
    Mutant(
        "backward of training where batchnorm is frozen", "fused_conv_backward", _statistics_are_of_the_batch, FROZEN
    ),
    Mutant("kernel flipped in backward", "fused_conv_backward", _weight_flipped),
    Mutant(
        "kernel flipped in dweight",
        "fused_conv_backward",
        _gradients(conv=lambda dweight, dbias: (np.ascontiguousarray(dweight[:, :, ::-1, ::-1]), dbias)),
    ),
    Mutant(
        "dbias of the convolution 0 in evaluation",
        "fused_conv_backward",
        _gradients(conv=lambda dweight, dbias: (dweight, 0 * dbias)),
        EVALUATION,
    ),
    Mutant(
        "gradients of batchnorm exchanged",
        "fused_conv_backward",
        _gradients(norm=lambda dweight, dbias: (dbias, dweight)),
    ),
]


# Within the operations of `reference`


def _no_mean_path(true, dy, x, weight, mean, var, eps):
    dx, dweight, dbias = true(dy, x, weight, mean, var, eps)
    lost = weight / np.sqrt(var + eps) * dbias / (dy.size // len(mean))
    return (dx + lost[:, None, None]).astype(dx.dtype), dweight, dbias


def _sums_per_image(true, dy, x, *arguments):
    """Each image as if it were the batch."""
    parts = [true(dy[n : n + 1], x[n : n + 1], *arguments) for n in range(len(dy))]
    dx, dweight, dbias = zip(*parts, strict=True)
    return np.concatenate(dx), sum(dweight), sum(dbias)


def _images_counted(true, dy, x, weight, mean, var, eps):
    """The sums divided by N, and not by N * H * W."""
    direct, dweight, dbias = REFERENCE.batchnorm2d_eval_backward(dy, x, weight, mean, var, eps)
    through_statistics = true(dy, x, weight, mean, var, eps)[0] - direct
    return direct + through_statistics * (x.shape[2] * x.shape[3]), dweight, dbias


def _variance_of_rows(true, x):
    mean, _ = true(x)
    return mean, x.mean(axis=3, dtype=np.float64).var(axis=(0, 2))


def _mean_of_images(true, x):
    """Statistics of the images' means: the wrong axes."""
    means = x.mean(axis=(2, 3), dtype=np.float64)
    return means.mean(axis=0), means.var(axis=0)


def _next_pixel(true, dy, argmax, rows, columns, input_size):
    pixels = input_size[0] * input_size[1]
    return true(dy, ((argmax + 1) % pixels).astype(argmax.dtype), rows, columns, input_size)


def _transposed_pixel(true, dy, argmax, rows, columns, input_size):
    """Row and column exchanged, as if the image were stored by columns."""
    height, width = input_size
    return true(dy, (argmax % width * height + argmax // width).astype(argmax.dtype), rows, columns, input_size)


def _bias_not_scaled(true, weight, bias, norm):
    scale = (norm.weight / np.sqrt(norm.var + norm.eps)).astype(weight.dtype)
    folded, _ = true(weight, bias, norm)
    return folded, norm.bias - (scale * norm.mean).astype(weight.dtype) + bias


def _scaled_by_input_channel(true, weight, bias, norm):
    """Where a convolution has as many filters as channels, nothing but the numbers shows it."""
    folded, shift = true(weight, bias, norm)
    scale = norm.weight / np.sqrt(norm.var + norm.eps)
    return (weight * scale[: weight.shape[1], None, None]).astype(folded.dtype), shift


def _gate_open(true, dy, y):
    return dy.copy()


def _gate_of_the_gradient(true, dy, y):
    return np.where(dy > 0, dy, dy.dtype.type(0))


BACKWARD = "batchnorm2d_train_backward"

WITHIN = [
    Mutant("no path through the mean", BACKWARD, _no_mean_path),
    Mutant("no path through the variance", BACKWARD, WRONG_BATCHNORM["no path through the variance"]),
    Mutant("sums per image", BACKWARD, _sums_per_image),
    Mutant("images counted, not pixels", BACKWARD, _images_counted),
    Mutant("dweight sums dy * y", BACKWARD, WRONG_BATCHNORM["dweight sums dy * x"]),
    Mutant("normalised with n - 1", "batchnorm2d_statistics", WRONG_BATCHNORM["normalised with n - 1"]),
    Mutant("variance of the rows' means", "batchnorm2d_statistics", _variance_of_rows),
    Mutant("statistics of the images' means", "batchnorm2d_statistics", _mean_of_images),
    Mutant("statistics of the first image", "batchnorm2d_statistics", lambda true, x: true(x[:1])),
    Mutant("relu's gate open", "relu_backward", _gate_open),
    Mutant("relu's gate open, a lone block", "relu_backward", _gate_open, TRAINING, UNPOOLED),
    Mutant("relu's gate by the gradient's sign", "relu_backward", _gate_of_the_gradient),
    Mutant("relu forgotten in forward", "relu_forward", lambda true, y: y.copy(), TRAINING, "without pooling"),
    Mutant("the pixel behind the peak", "max_pool2d_backward", _next_pixel),
    Mutant("row and column of the peak exchanged", "max_pool2d_backward", _transposed_pixel),
    Mutant(
        "dbias a mean over the images",
        "conv2d_bias_gradient",
        lambda true, dy: true(dy) / dy.dtype.type(len(dy)),
        EVALUATION,
    ),
    Mutant("predict: bias not scaled", "folded", _bias_not_scaled),
    Mutant("predict: weight scaled by its input channel", "folded", _scaled_by_input_channel),
]


# On `cpu`

MEAN, SCALE, SHIFT = range(3)  # rows of an activation's coefficients


def _no_path(sums):
    """dy without what goes through one of the statistics: the gradient's sums are 0, but for batchnorm's own."""

    def wrong(true, gradient, *arguments):
        _, d_norm, _ = true(gradient, *arguments)
        d_conv, _, below = true(gradient._replace(**{sums: 0 * getattr(gradient, sums)}), *arguments)
        return d_conv, d_norm, below

    return wrong


def _coefficients(row, change):
    """A block's forward whose activation has another row of coefficients."""

    def wrong(true, *arguments):
        activation = true(*arguments)
        activation.y.coefficients[row] = change(activation.y.coefficients[row])
        return activation

    return wrong


def _gate_opened(true, da, activation):
    """z is far above 0 wherever the gradient is read."""
    coefficients = activation.y.coefficients.copy()
    coefficients[SHIFT] = 1e6
    return true(da, activation._replace(y=activation.y._replace(coefficients=coefficients)))


def _left_of_the_peaks(true, dy, peaks, activation):
    peaks = peaks.copy()
    peaks[:, 2] = np.maximum(peaks[:, 2] - 1, 0)
    return true(dy, peaks, activation)


def _peaks_always_positive(true, dy, peaks, activation):
    peaks = peaks.copy()
    peaks[:, 0] = 1
    return true(dy, peaks, activation)


def _one_image_counted(true, gradient, *arguments):
    """The sums divided by the pixels of one image of two."""
    _, d_norm, _ = true(gradient, *arguments)
    doubled = gradient._replace(sum_g=2 * gradient.sum_g, sum_g_distance=2 * gradient.sum_g_distance)
    d_conv, _, below = true(doubled, *arguments)
    return d_conv, d_norm, below


ON_CPU = [
    Mutant("no path through the mean", "fused_conv_backward", _no_path("sum_g")),
    Mutant("no path through the variance", "fused_conv_backward", _no_path("sum_g_distance")),
    Mutant("pixels of one image counted", "fused_conv_backward", _one_image_counted),
    Mutant("scale forgotten", "fused_conv_forward", _coefficients(SCALE, np.ones_like)),
    Mutant("mean forgotten", "fused_conv_forward", _coefficients(MEAN, np.zeros_like)),
    Mutant("shift forgotten", "fused_conv_forward", _coefficients(SHIFT, np.zeros_like)),
    Mutant("relu's gate open", "fused_output_backward", _gate_opened, TRAINING, "without pooling"),
    Mutant("relu's gate open at the peaks", "fused_max_backward", _peaks_always_positive),
    Mutant("the pixel to the left of the peak", "fused_max_backward", _left_of_the_peaks),
]


# The tests


def assert_seen(mutant, backend, plant_it):
    for dtype in checks.DTYPES:
        assert_fused_is_plain(mutant.stack, SHAPE, dtype, mutant.mode, backend)
    plant_it()
    for dtype in checks.DTYPES:
        with pytest.raises(AssertionError):
            assert_fused_is_plain(mutant.stack, SHAPE, dtype, mutant.mode, backend)


def each(mutants):
    return pytest.mark.parametrize("mutant", mutants, ids=[mutant.name for mutant in mutants])


@pytest.mark.parametrize("backend", checks.BACKENDS)
@each(AROUND)
def test_around_the_operations(monkeypatch, mutant, backend):
    assert_seen(mutant, backend, lambda: plant(monkeypatch, backend, mutant.operation, mutant.wrong))


@each(WITHIN)
def test_within_the_operations_of_reference(monkeypatch, mutant):
    true = getattr(fused, mutant.operation)

    def wrong(*arguments):
        return mutant.wrong(true, *arguments)

    assert_seen(mutant, "reference", lambda: monkeypatch.setattr(fused, mutant.operation, wrong))


@each(ON_CPU)
def test_on_cpu(monkeypatch, mutant):
    assert_seen(mutant, "cpu", lambda: plant(monkeypatch, "cpu", mutant.operation, mutant.wrong))
