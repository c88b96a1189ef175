"""Tests of the tests: bugs are planted one at a time, and the checks that the other files use must see each.

A mutant replaces one operation of a backend by a wrong one, which is made from the true one so that it can be
planted in every backend. `LOOPS` is the comparison with the loops, `QUOTIENT` the difference quotient; a mutant names
those that must see it. The quotient is blind where forward and backward are wrong together.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
import pytest

import minicnn
from minicnn import geometry, losses
from minicnn.backends import get_backend
from minicnn.backends.foreach import ONE_OF, one_by_one
from minicnn.geometry import adaptive_start, adaptive_stop
from tests import cases, checks, stored

LOOPS, QUOTIENT = checks.check_against_naive, checks.check_numeric_gradient
BOTH = (LOOPS, QUOTIENT)
TABLE = {str(case): case for case in cases.ALL}


class Mutant(NamedTuple):
    name: str
    operation: str
    wrong: object  # called with the true operation and its arguments
    case: str  # of the table, the case that shows it
    seen_by: tuple = BOTH


# Convolution

SHARP_CONV = "Conv2d 2x2x7x9 2 3 (2,3) stride=(2,3) padding=(1,2)"


def _flipped(weight):
    return np.ascontiguousarray(weight[:, :, ::-1, ::-1])


def _uncropped(true, dy, weight, input_size, stride, padding):
    padded = tuple(n + 2 * pad for n, pad in zip(input_size, padding, strict=True))
    return true(dy, weight, padded, stride, (0, 0))[:, :, : input_size[0], : input_size[1]].copy()


def _stride_forgotten(true, x, weight, bias, stride, padding):
    shape = true(x, weight, bias, stride, padding).shape
    return true(x, weight, bias, (1, 1), padding)[:, :, : shape[2], : shape[3]].copy()


CONV = [
    Mutant("kernel flipped in forward", "conv2d_forward", lambda true, x, w, *a: true(x, _flipped(w), *a), SHARP_CONV),
    Mutant(
        "kernel flipped in dx", "conv2d_input_gradient", lambda true, dy, w, *a: true(dy, _flipped(w), *a), SHARP_CONV
    ),
    Mutant("kernel flipped in dweight", "conv2d_weight_gradient", lambda true, *a: _flipped(true(*a)), SHARP_CONV),
    Mutant("padding not cropped from dx", "conv2d_input_gradient", _uncropped, SHARP_CONV),
    Mutant("stride forgotten", "conv2d_forward", _stride_forgotten, SHARP_CONV),
    Mutant("bias forgotten", "conv2d_forward", lambda true, x, w, bias, *a: true(x, w, None, *a), SHARP_CONV),
    Mutant(
        "dweight of the first image only",
        "conv2d_weight_gradient",
        lambda true, dy, x, *a: true(dy[:1], x[:1], *a),
        SHARP_CONV,
    ),
    Mutant(
        "dbias a mean over the images",
        "conv2d_bias_gradient",
        lambda true, dy: true(dy) / dy.dtype.type(len(dy)),
        SHARP_CONV,
    ),
]


# Pooling


def _max_assigned(true, dy, argmax, rows, columns, input_size):
    dx = np.zeros((*dy.shape[:2], input_size[0] * input_size[1]), dy.dtype)
    for n, c, p, q in np.ndindex(dy.shape):
        dx[n, c, argmax[n, c, p, q]] = dy[n, c, p, q]
    return dx.reshape(*dy.shape[:2], *input_size)


def _avg_assigned(true, dy, rows, columns, input_size):
    dx = np.zeros((*dy.shape[:2], *input_size), dy.dtype)
    for n, c, p, q in np.ndindex(dy.shape):
        (top, bottom, height), (left, right, width) = rows[p], columns[q]
        dx[n, c, top:bottom, left:right] = dy[n, c, p, q] / (height * width)
    return dx


def _last_maximum(true, x, rows, columns):
    """The true one on the image turned by half a turn, with the answer turned back."""
    height, width = x.shape[2:]
    turned = [
        np.stack([n - table[::-1, 1], n - table[::-1, 0], table[::-1, 2]], axis=1)
        for table, n in ((rows, height), (columns, width))
    ]
    y, argmax = true(np.ascontiguousarray(x[:, :, ::-1, ::-1]), *turned)
    return y[:, :, ::-1, ::-1].copy(), np.ascontiguousarray(height * width - 1 - argmax[:, :, ::-1, ::-1])


POOLING = [
    Mutant("max: = for +=", "max_pool2d_backward", _max_assigned, "AdaptiveMaxPool2d 1x2x5x14 (8,4) distinct"),
    Mutant("avg: = for +=", "avg_pool2d_backward", _avg_assigned, "AdaptiveAvgPool2d 1x3x10x10 (3,3)"),
    Mutant(
        "last maximum wins",
        "max_pool2d_forward",
        _last_maximum,
        "MaxPool2d 3x2x9x7 3 stride=2 padding=1 ties",
        (LOOPS,),
    ),
    Mutant(
        "NaN loses",
        "max_pool2d_forward",
        lambda true, x, *a: true(np.nan_to_num(x, nan=-9), *a),
        "AdaptiveMaxPool2d 3x2x10x7 (3,4) nan",
        (LOOPS,),
    ),
    Mutant(
        "padding not counted",
        "avg_pool2d_forward",
        lambda true, x, *tables: true(x, *map(_cut_extent, tables)),
        "AvgPool2d 2x2x8x7 kernel_size=3 stride=2 padding=1",
    ),
    Mutant(
        "dy not divided by the area",
        "avg_pool2d_backward",
        lambda true, dy, *tables_and_size: true(dy * dy.dtype.type(9), *tables_and_size),
        "AvgPool2d 2x3x7x5 kernel_size=3",
    ),
]


def _cut_extent(table):
    return np.stack([table[:, 0], table[:, 1], table[:, 1] - table[:, 0]], axis=1)


# Batch normalisation

TRAIN, EVAL = "BatchNorm2d 2x3x4x5 3", "BatchNorm2d 2x3x4x5 3 eval"


def _no_variance_path(true, dy, x, weight, mean, var, eps):
    dx, dweight, dbias = true(dy, x, weight, mean, var, eps)
    std = np.sqrt(var + eps)[:, None, None]
    x_hat = (x - mean[:, None, None]) / std
    lost = weight[:, None, None] / std * x_hat * dweight[:, None, None] / (dy.size // len(mean))
    return (dx + lost).astype(dx.dtype), dweight, dbias


def _dweight_of_x(true, dy, x, *arguments):
    dx, _, dbias = true(dy, x, *arguments)
    return dx, (dy * x).sum(axis=(0, 2, 3)), dbias


def _unbiased(true, x):
    mean, var = true(x)
    count = x.size // x.shape[1]
    return mean, var * x.dtype.type(count / (count - 1))


def _running_var_with_n(true, running_mean, running_var, mean, var, count, momentum):
    true(running_mean, running_var, mean, var * var.dtype.type((count - 1) / count), count, momentum)


BATCHNORM = [
    Mutant(
        "statistics are constants in training",
        "batchnorm2d_train_backward",
        lambda true, *a: get_backend("reference").batchnorm2d_eval_backward(*a),
        TRAIN,
    ),
    Mutant(
        "backward of training in evaluation",
        "batchnorm2d_eval_backward",
        lambda true, *a: get_backend("reference").batchnorm2d_train_backward(*a),
        EVAL,
    ),
    Mutant("no path through the variance", "batchnorm2d_train_backward", _no_variance_path, TRAIN),
    Mutant("dweight sums dy * x", "batchnorm2d_train_backward", _dweight_of_x, TRAIN),
    Mutant("normalised with n - 1", "batchnorm2d_statistics", _unbiased, TRAIN, (LOOPS,)),
    Mutant("running_var with n", "update_running_statistics_", _running_var_with_n, TRAIN, (LOOPS,)),
    Mutant(
        "momentum the wrong way",
        "update_running_statistics_",
        lambda true, *a: true(*a[:-1], 1 - a[-1]),
        TRAIN,
        (LOOPS,),
    ),
    Mutant(
        "eps forgotten", "batchnorm2d_forward", lambda true, *a: true(*a[:-1], 0.0), "BatchNorm2d 2x3x4x5 3 eps=1.0"
    ),
]

# ReLU, linear, log-softmax, losses

REST = [
    Mutant(
        "ReLU: slope 1 at 0",
        "relu_backward",
        lambda true, dy, y: np.where(y < 0, dy.dtype.type(0), dy),
        "ReLU 2x3x4x5 zeros",
        (LOOPS,),
    ),
    Mutant("ReLU: slope 1 everywhere", "relu_backward", lambda true, dy, y: dy.copy(), "ReLU 2x3x4x5 distinct"),
    Mutant(
        "linear: weight transposed", "linear_forward", lambda true, x, w, b: true(x, w.T.copy(), b), "Linear 4x5 5 5"
    ),
    Mutant(
        "linear: weight transposed in dx",
        "linear_input_gradient",
        lambda true, dy, w: true(dy, w.T.copy()),
        "Linear 4x5 5 5",
    ),
    Mutant(
        "linear: dweight transposed", "linear_weight_gradient", lambda true, *a: true(*a).T.copy(), "Linear 4x5 5 5"
    ),
    Mutant(
        "log-softmax without shift",
        "log_softmax_forward",
        lambda true, x: _unshifted(x),
        "LogSoftmax 4x5 large",
        (LOOPS,),
    ),
    Mutant(
        "log-softmax over the batch", "log_softmax_forward", lambda true, x: true(x.T.copy()).T.copy(), "LogSoftmax 4x3"
    ),
    Mutant(
        "log-softmax: y for exp(y)",
        "log_softmax_backward",
        lambda true, dy, y: dy - y * dy.sum(axis=1, keepdims=True),
        "LogSoftmax 4x3",
    ),
    Mutant(
        "loss: 1/N missing",
        "nll_loss_backward",
        lambda true, log_p, *a: true(log_p, *a) * log_p.dtype.type(len(log_p)),
        "NLLLoss 4x3",
    ),
    Mutant("loss: sign of the gradient", "nll_loss_backward", lambda true, *a: -true(*a), "CrossEntropyLoss 4x3"),
    Mutant(
        "loss: class weights forgotten",
        "nll_loss_forward",
        lambda true, log_p, t, w, e: true(log_p, t, np.ones_like(w), e),
        "NLLLoss 6x5 weight=(0.5,2.0,1.0,0.0,3.0)",
    ),
    Mutant(
        "loss: divided by N, not by the weights",
        "nll_loss_forward",
        lambda true, log_p, t, w, e: true(log_p, t, w, e) * w[t].sum() / len(t),
        "NLLLoss 6x5 weight=(0.5,2.0,1.0,0.0,3.0)",
    ),
    Mutant(
        "loss: smoothing forgotten in backward",
        "nll_loss_backward",
        lambda true, log_p, t, w, e: true(log_p, t, w, 0.0),
        "CrossEntropyLoss 6x5 label_smoothing=0.5",
    ),
]


def _unshifted(x):
    with np.errstate(over="ignore", divide="ignore"):
        return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


MUTANTS = CONV + POOLING + BATCHNORM + REST


def plant(monkeypatch, backend, operation, wrong):
    ops = get_backend(backend)
    true = getattr(ops, operation)

    def mutant(*arguments, **named):
        return wrong(partial(true, **named), *arguments)

    monkeypatch.setattr(ops, operation, mutant)
    for name, one in ONE_OF.items():
        if one == operation:
            monkeypatch.setattr(ops, name, one_by_one(name, mutant))


@pytest.mark.parametrize("backend", checks.BACKENDS)
@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_operations(monkeypatch, backend, mutant):
    case = TABLE[mutant.case]
    for check in mutant.seen_by:
        check(case, [backend])
    plant(monkeypatch, backend, mutant.operation, mutant.wrong)
    for check in mutant.seen_by:
        with pytest.raises(AssertionError):
            check(case, [backend])


# The gradient check

# What `minicnn.gradcheck` cannot see, and why. All of them are in a forward or in what it keeps: of the mutants in a
# backward it sees every one.
UNSEEN = {
    "last maximum wins": "backward follows forward to the cell it named, and where they differ, at a tie, is a kink",
    "NaN loses": "numbers that are not finite are refused, and all others pool as they should",
    "running_var with n": "y in training does not depend on the running statistics",
    "momentum the wrong way": "y in training does not depend on the running statistics",
    "log-softmax without shift": "the same function, but where it overflows",
}
FREE_OF_KINKS = {"ReLU": "distinct", "MaxPool2d": "distinct", "AdaptiveMaxPool2d": "distinct"}


def _gradcheck_sees(case, backend):
    try:
        return not checks.run_gradcheck(case, backend)
    except (TypeError, ValueError):
        return True


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_kill_rate_of_gradcheck(monkeypatch, backend):
    """30 of 35, and of those in a backward 20 of 20, each in a case that passes without the mutant."""
    seen = set()
    for mutant in MUTANTS:
        case = TABLE[mutant.case]
        if not case.numeric:
            case = case._replace(values=FREE_OF_KINKS.get(case.layer, "normal"))
        assert not _gradcheck_sees(case, backend), mutant.name
        with monkeypatch.context() as planted:
            plant(planted, backend, mutant.operation, mutant.wrong)
            if _gradcheck_sees(case, backend):
                seen.add(mutant.name)
    assert {mutant.name for mutant in MUTANTS} - seen == UNSEEN.keys()
    in_a_backward = {mutant.name for mutant in MUTANTS if mutant.operation.endswith(("_backward", "_gradient"))}
    assert in_a_backward <= seen
    assert (len(seen), len(MUTANTS)) == (30, 35)
    assert len(in_a_backward) == 20


# Optimisers


def _restarted(true, *arguments):
    true(*arguments[:-1], (arguments[-1] - 1) % 10 + 1)


def _without_square(true, param, m, v, grad, lr, beta1, beta2, eps, weight_decay, decoupled, step):
    m += (1 - beta1) * (grad - m)
    v += (1 - beta2) * (np.abs(grad) - v)
    param -= lr * m / (1 - beta1**step) / (np.sqrt(v / (1 - beta2**step)) + eps)


def _forgetful(true, param, velocity, *arguments):
    velocity[:] = 0
    true(param, velocity, *arguments)


ADAM, ADAMW = ("Adam", {"lr": 0.05}), ("AdamW", {"lr": 0.05})
SGD, DECAY = ("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.05, "weight_decay": 0.1})
MOMENTUM, NESTEROV = (("SGD", {"lr": 0.05, "momentum": 0.9} | more) for more in ({}, {"nesterov": True}))

OPTIMIZERS = [
    ("Adam's step starts again each epoch", "adam_step_", _restarted, ADAM),
    ("no bias correction", "adam_step_", lambda true, *a: true(*a[:-1], 10**9), ADAM),
    ("v without the square", "adam_step_", _without_square, ADAM),
    ("AdamW's decay not decoupled", "adam_step_", lambda true, *a: true(*a[:-2], False, a[-1]), ADAMW),
    ("betas swapped", "adam_step_", lambda true, *a: true(*a[:5], a[6], a[5], *a[7:]), ADAM),
    ("velocity not kept", "sgd_step_", _forgetful, MOMENTUM),
    ("Nesterov ignored", "sgd_step_", lambda true, *a: true(*a[:5], False, a[6]), NESTEROV),
    ("weight decay ignored", "sgd_step_", lambda true, *a: true(*a[:6], 0.0), DECAY),
    ("uphill", "sgd_step_", lambda true, p, v, g, lr, *a: true(p, v, g, -lr, *a), SGD),
]


@pytest.mark.parametrize("backend", checks.BACKENDS)
@pytest.mark.parametrize(
    ("operation", "wrong", "case"), [row[1:] for row in OPTIMIZERS], ids=[row[0] for row in OPTIMIZERS]
)
def test_optimizers(monkeypatch, backend, operation, wrong, case):
    assert case in cases.OPTIMIZERS
    checks.check_optimizer_against_naive(*case, [backend])
    plant(monkeypatch, backend, operation, wrong)
    with pytest.raises(AssertionError):
        checks.check_optimizer_against_naive(*case, [backend])


# Windows


def _floor_for_ceil(n_in, n_out):
    rows = [(adaptive_start(p, n_in, n_out), (p + 1) * n_in // n_out) for p in range(n_out)]
    return np.array([(start, stop, stop - start) for start, stop in rows])


def _without_overlap(n_in, n_out):
    stops = [adaptive_stop(p, n_in, n_out) for p in range(n_out)]
    starts = [0, *stops[:-1]]
    return np.array([(start, stop, stop - start) for start, stop in zip(starts, stops, strict=True)])


def _in_floating_point(n_in, n_out):
    rows = [(int(p * (n_in / n_out)), int(np.ceil((p + 1) * (n_in / n_out)))) for p in range(n_out)]
    return np.array([(start, min(stop, n_in), stop - start) for start, stop in rows])


WINDOWS = [
    (_floor_for_ceil, "AdaptiveAvgPool2d 1x3x10x10 (3,3)"),
    (_floor_for_ceil, "AdaptiveMaxPool2d 1x1x1x14 (1,4) distinct"),
    (_without_overlap, "AdaptiveAvgPool2d 1x1x1x14 (1,4)"),
    (_in_floating_point, "AdaptiveAvgPool2d 1x1x7x7 25"),
]


@pytest.mark.parametrize("backend", checks.BACKENDS)
@pytest.mark.parametrize(("wrong", "case"), WINDOWS)
def test_windows(monkeypatch, backend, wrong, case):
    checks.check_against_naive(TABLE[case], [backend])
    monkeypatch.setattr("minicnn.layers.pooling.adaptive_windows", wrong)
    with pytest.raises(AssertionError):
        checks.check_against_naive(TABLE[case], [backend])


@pytest.mark.parametrize(("wrong", "case"), WINDOWS)
def test_gradcheck_does_not_see_windows(monkeypatch, wrong, case):
    """Forward and backward take them from one table, so they are wrong together: another function, derived rightly."""
    monkeypatch.setattr("minicnn.layers.pooling.adaptive_windows", wrong)
    assert checks.run_gradcheck(TABLE[case], "reference")


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_windows_of_ceil_mode(monkeypatch, backend):
    """Without PyTorch's rule the last window lies in the padding alone, which the operations refuse or make NaN."""
    case = TABLE["AvgPool2d 1x2x3x5 kernel_size=2 padding=1 ceil_mode=True"]
    checks.check_against_naive(case, [backend])
    monkeypatch.setattr(geometry, "ceil_output_size", lambda n, k, s, p: -(-(n + 2 * p - k) // s) + 1)
    geometry._fixed_windows.cache_clear()
    with pytest.raises((AssertionError, ValueError)):
        checks.check_against_naive(case, [backend])
    geometry._fixed_windows.cache_clear()


@pytest.mark.parametrize("backend", checks.BACKENDS)
@pytest.mark.parametrize(
    ("case", "changed"),
    [
        ("NLLLoss 9x4 reduction=sum", {"total": None}),  # a mean all the same
        ("CrossEntropyLoss 9x4 ignore_index=1", {"kept": np.arange(9), "targets": np.zeros(9, np.int64)}),
    ],
)
def test_reduced_losses(monkeypatch, backend, case, changed):
    for check in BOTH:
        check(TABLE[case], [backend])
    true = losses.Reduced
    wrong = lambda *arguments: true(*dict(zip(("backend", "kept", "targets", "total"), arguments), **changed).values())  # noqa: E731,B905
    monkeypatch.setattr(losses, "Reduced", wrong)
    with pytest.raises(AssertionError):
        checks.check_against_naive(TABLE[case], [backend])


# Schedules, and the checks themselves

SCHEDULES = [
    (minicnn.StepLR, lambda self, t: self.base_lr * self.gamma ** ((t + 1) // self.step_size)),
    (minicnn.CosineAnnealingLR, lambda self, t: self.base_lr * (1 + np.cos(np.pi * t / (self.T_max + 1))) / 2),
    (minicnn.LinearLR, lambda self, t: self.base_lr * min(1, (t + 1) / self.total_iters)),
    (minicnn.OneCycleLR, lambda self, t: self.max_lr * (1 - abs(t / self.total_steps - 0.3))),
]


@pytest.mark.parametrize(("schedule", "wrong"), SCHEDULES)
def test_schedules(monkeypatch, schedule, wrong):
    names = [name for _, (name, _) in stored.description()["schedules"]]
    number = names.index(schedule.__name__)
    stored.check_schedule(number)
    monkeypatch.setattr(schedule, "lr_at", wrong)
    with pytest.raises(AssertionError):
        stored.check_schedule(number)


def test_the_published_losses_see_adam_restarted(monkeypatch):
    """The bug that such programs are known for: bias correction starts again with each epoch."""
    arrays = stored.arrays("published")
    problem = stored.arrays("published.weights"), arrays["x"], arrays["labels"]
    plant(monkeypatch, "cpu", "adam_step_", lambda true, *a: true(*a[:-1], 1))
    losses = checks.train_minicnn(*problem, "cpu", np.float32)
    assert np.abs(losses / arrays["losses"] - 1).max() > 1e-2


def test_a_quotient_check_that_cannot_fail_is_refused(monkeypatch):
    """Ones as dy under batch normalisation in training: dx is 0 for the right code and for much wrong code."""
    monkeypatch.setattr(checks, "draw_dy", lambda case, shape: np.ones(shape))
    with pytest.raises(AssertionError, match="says nothing"):
        checks.check_numeric_gradient(TABLE[TRAIN])


@pytest.mark.parametrize("dtype", checks.DTYPES)
def test_the_tolerance_is_what_it_says(dtype):
    expected = np.array([1.0, -200.0, 0.0, np.nan, np.inf])
    small, large = 0.9 * checks.TOLERANCE[np.dtype(dtype)] * 200, 1.1 * checks.TOLERANCE[np.dtype(dtype)] * 200
    checks.assert_close(expected + small, expected, dtype, "near")
    for wrong in (
        expected + np.array([0, 0, large, 0, 0]),
        expected[:-1],
        np.where(np.isnan(expected), 0, expected),
        np.where(expected == 0, np.nan, expected),
        -expected,
        np.where(np.isinf(expected), np.nan, expected),
        np.where(np.isinf(expected), 1e300, expected),
    ):
        with pytest.raises(AssertionError):
            checks.assert_close(wrong, expected, dtype, "far")
    with pytest.raises(AssertionError):
        checks.assert_close([1e-300], [0.0], dtype, "what should be 0 is 0")
